"""A control that hears another recording: what is right all the same was not heard."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

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
        self._others = {row["id"]: _other(row, by_task[row["task"]]) for row in rows}

    def answer(self, audio: np.ndarray, question: str) -> str:
        raise ValueError("swapped recordings need the rows of an evaluation.")

    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
        others = [self._others[row["id"]] for row in rows]
        # What reads the transcript reads that of the recording which is heard.
        put = [row | {"transcript": other.get("transcript")} for row, other in zip(rows, others)]
        return ask_rows(self.system, put, [load_audio(other["audio"], SAMPLING_RATE) for other in others])

    def describe(self) -> dict:
        return {**self.system.describe(), "hears": "another recording"}


def meet_rows(system: Any, rows: Sequence[dict]) -> None:
    """Show a system the rows before it is asked, if it has use for them."""
    if hasattr(system, "meet"):
        system.meet(rows)


def ask_rows(system: Any, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
    """A system's answers about rows: all of a row for controls that need it, recording and question for others."""
    if hasattr(system, "answer_rows"):
        return system.answer_rows(rows, audios)
    return system.answer_batch(audios, [asked(row) for row in rows])


def _other(row: dict, rows: Sequence[dict]) -> dict:
    clips = {clip_of(other): other for other in rows if clip_of(other) != clip_of(row)}
    unlike = [other for other in clips.values() if other.get("label") != row.get("label")] or list(clips.values())
    if not unlike:
        raise ValueError(f"row {row['id']}: there is no other recording of the task {row['task']} to swap with.")
    draw = int.from_bytes(hashlib.sha256(row["id"].encode()).digest()[:8], "big")
    return unlike[draw % len(unlike)]
