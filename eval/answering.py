"""Asking a system for its answers: in batches, kept as they arrive, and never twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..language_models.journal import Journal
from ..processing.audio import AudioError, load_audio
from ..processing.conversation import asked
from . import EvalError
from .systems import SAMPLING_RATE, System
from .systems.base import NoReply
from .systems.swapped import ask_rows


# Clips of so many batches are loaded together and sorted by length, so that little of a batch is padding.
BATCHES_PER_CHUNK = 8


def answer_rows(
    system: System,
    rows: Sequence[dict],
    path: Path,
    clips: Mapping[str, str],
    batch_size: int = 8,
    progress: bool = True,
    after_batch: Callable[[], object] = lambda: None,
) -> int:
    """Ask a system for the rows that a predictions file does not answer yet, adding answers as they arrive.

    A row whose audio can't be read, or that the system refuses with a ValueError, is recorded with its error, and the
    run goes on. `after_batch` is called whenever the answers of a batch are kept, and `clips` names the recording of
    each row in the file (see [`name_clips`](rows.py)).

    Returns:
        Number of rows asked now.

    Raises:
        JournalError: if a line of the file is broken.
    """
    with Journal(path) as journal:
        waiting = [row for row in rows if _unanswered(row, journal.entries.get(row["id"]))]
        _keep_corrections(journal, rows, {row["id"] for row in waiting}, clips)
        done = len(rows) - len(waiting)
        with tqdm(total=len(rows), initial=done, unit="row", desc=system.name, disable=not progress) as bar:

            def record(row: dict, answer: str | ValueError) -> None:
                journal.append({**row, "audio": clips[row["id"]], **_entry(answer)})
                bar.update()

            for chunk in _chunks(waiting, batch_size * BATCHES_PER_CHUNK):
                for batch in _batches(chunk, batch_size, record):
                    for row, answer in _answer_batch(system, batch):
                        record(row, answer)
                    after_batch()
    return len(waiting)


def join_predictions(rows: Iterable[dict], predictions: dict[str, dict]) -> tuple[list[dict], list[dict]]:
    """Rows with their `prediction`, and rows with their `error`, and with `refused` where the system can't answer."""
    answered, failed = [], []
    for row in rows:
        found = predictions.get(row["id"], {"prediction": None, "error": "no answer was recorded."})
        joined = {**row, "prediction": found["prediction"], "error": found["error"]}
        if joined["error"] is None:
            answered.append(joined)
        else:
            failed.append({**joined, "refused": found.get("refused", False)})
    return answered, failed


def _keep_corrections(journal: Journal, rows: Sequence[dict], waiting: set[str], clips: Mapping[str, str]) -> None:
    """Note what became of answered rows since: a label or transcript that was put right."""
    for row in rows:
        entry = journal.entries.get(row["id"])
        if entry is not None and row["id"] not in waiting:
            line = {**entry, **row, "audio": clips[row["id"]]}
            if json.dumps(line, sort_keys=True) != json.dumps(entry, sort_keys=True):
                journal.append(line)


def _unanswered(row: dict, prediction: dict | None) -> bool:
    return prediction is None or prediction["error"] is not None or asked(prediction) != asked(row)


def _chunks(rows: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _batches(rows: list[dict], size: int, reject: Callable[[dict, ValueError], None]) -> Iterator[list[tuple]]:
    """Batches of `(row, audio)`, by task and length; rows without usable audio go to `reject`."""
    loaded = []
    for row in rows:
        try:
            loaded.append((row, load_audio(row["audio"], SAMPLING_RATE)))
        except AudioError as error:
            reject(row, error)
    # By task first: transcripts and explanations end at different lengths, and a batch takes as long as its longest.
    loaded.sort(key=lambda item: (item[0]["task"], len(item[1])))
    yield from _chunks(loaded, size)


def _answer_batch(system: System, batch: list[tuple]) -> list[tuple]:
    """`(row, answer or error)` of a batch; if the batch is refused, row by row."""
    rows = [row for row, _ in batch]
    try:
        answers = ask_rows(system, rows, [audio for _, audio in batch])
    except ValueError as error:
        if len(batch) == 1:
            return [(rows[0], error)]
        return [answer for item in batch for answer in _answer_batch(system, [item])]
    if len(answers) != len(rows):
        raise EvalError(f"system {system.name} gave {len(answers)} answers to {len(rows)} questions.")
    return list(zip(rows, answers))


def _entry(answer: str | ValueError) -> dict:
    """What is recorded of an answer; of an error, whether the row is refused, as it would be again."""
    if not isinstance(answer, ValueError):
        return {"prediction": answer, "error": None}
    error = str(answer) if isinstance(answer, AudioError) else f"{type(answer).__name__}: {answer}"
    return {"prediction": None, "error": error, "refused": not isinstance(answer, NoReply)}
