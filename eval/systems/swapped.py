"""A control that hears another recording: what is right all the same was not heard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...corpora.questions import draw_number
from ...processing.audio import load_audio
from ...processing.conversation import asked
from ..rows import clip_of
from .base import SAMPLING_RATE, System


class Swapped(System):
    """A system that is asked each row's question about another row's recording.

    The other recording is one of the same task with another label, where there is one; which, depends on the row alone
    and the rows evaluated.

    Args:
        system: asked.
    """

    def __init__(self, system: System):
        self.system = system
        self.name, self.fingerprint = f"{system.name}, swapped", f"swapped-{system.fingerprint}"
        self._others: dict[str, dict] = {}

    def meet(self, rows: Sequence[dict]) -> None:
        meet_rows(self.system, rows)
        by_task = defaultdict(list)
        for row in rows:
            by_task[row["task"]].append(row)
        self._others = {id_: other for some in by_task.values() for id_, other in _others(some).items()}

    def answer(self, audio: np.ndarray, question: str) -> str:
        raise ValueError("swapped recordings need the rows of an evaluation.")

    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
        others = [self._others[row["id"]] for row in rows]
        # What reads the transcript reads that of the recording which is heard.
        put = [row | {"transcript": other.get("transcript")} for row, other in zip(rows, others)]
        return ask_rows(self.system, put, [load_audio(other["audio"], SAMPLING_RATE) for other in others])

    def describe(self) -> dict:
        return {**self.system.describe(), "hears": "another recording"}

    def counted(self) -> dict[str, int]:
        return counted_by(self.system)


def meet_rows(system: Any, rows: Sequence[dict]) -> None:
    """Show a system the rows before it is asked, if it has use for them."""
    if hasattr(system, "meet"):
        system.meet(rows)


def counted_by(system: Any) -> dict[str, int]:
    """What a system has counted of its answers so far; nothing of one that does not count."""
    return system.counted() if hasattr(system, "counted") else {}


def ask_rows(system: Any, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
    """A system's answers about rows: all of a row for controls that need it, recording and question for others."""
    if hasattr(system, "answer_rows"):
        return system.answer_rows(rows, audios)
    return system.answer_batch(audios, [asked(row) for row in rows])


def _others(rows: Sequence[dict]) -> dict[str, dict]:
    """By id of each row of a task, one with another recording, and another label where there is one."""
    clips = {clip_of(row): row for row in rows}
    unlike = {
        label: [clip for clip, row in clips.items() if row.get("label") != label]
        for label in {row.get("label") for row in rows}
    }
    pools = {label: _Pool(found) for label, found in unlike.items()}
    every = _Pool(list(clips))
    others = {}
    for row in rows:
        clip, number = clip_of(row), draw_number(row["id"])
        drawn = pools[row.get("label")].draw(clip, number) or every.draw(clip, number)
        if drawn is None:
            raise ValueError(f"row {row['id']}: there is no other recording of the task {row['task']} to swap with.")
        others[row["id"]] = clips[drawn]
    return others


class _Pool:
    """Recordings to draw from, however many there are, in one step."""

    def __init__(self, clips: list[str]):
        self.clips, self.places = clips, {clip: place for place, clip in enumerate(clips)}

    def draw(self, own: str, number: int) -> str | None:
        """The one that a number falls on among all but a row's own; None if there is no other."""
        place = self.places.get(own)
        others = len(self.clips) - (place is not None)
        if not others:
            return None
        drawn = number % others
        return self.clips[drawn + (place is not None and drawn >= place)]
