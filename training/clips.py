"""Rows that cannot be trained on are found before a step is spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..processing.audio import AudioError, open_audio


SHOWN = 10
THREADS = 8
REMOTE = ("http://", "https://")


class BadRowsError(ValueError):
    """Rows without an answer, or whose clips cannot be read; names them."""


def clip_key(audio: Any) -> Any:
    """What is the same for rows about one clip, whose samples need not be read for it."""
    return (audio.get("path"), audio.get("bytes")) if isinstance(audio, Mapping) else audio


def refuse_bad_rows(rows: Iterable[Any], answers: bool = True):
    """Look for the answer of each row, if there have to be answers, open each clip once and read its header.

    What lies on other machines is not fetched, and damage that a header does not show is for `audiollm verify`, which
    hears all clips.

    Raises:
        BadRowsError: with how many there are, and the first of them.
    """
    wrong: list[str] = []
    clips: dict[str, str] = {}
    for row in rows:
        audio = row["audio"]
        if answers and not row.get("answer"):
            wrong.append(f"row {row['id']!r} has no answer to learn (extract its reasons first)")
        if audio.get("bytes") is not None:
            wrong += _problems(audio, row["id"])
        elif not str(audio.get("path")).startswith(REMOTE):
            clips.setdefault(audio.get("path"), row["id"])
    with ThreadPoolExecutor(THREADS) as pool:
        for problems in pool.map(_problems, clips, clips.values()):
            wrong += problems
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more (`audiollm verify` lists all)" if len(wrong) > SHOWN else ""
        raise BadRowsError(f"{len(wrong)} rows or clips cannot be trained on: {'; '.join(wrong[:SHOWN])}{more}.")


def _problems(audio: Any, row: str) -> list[str]:
    try:
        with open_audio(audio):
            return []
    except AudioError as error:
        return [f"row {row!r}: {str(error).rstrip('.')}"]
