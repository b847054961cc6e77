"""The one schema of all corpora: a row is a question about a clip, and its answer."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


TASKS = ("asr", "sqa", "er", "sr")
SPEECH_TASKS, EMOTION_TASKS = ("asr", "sqa"), ("er", "sr")
TARGETS = ("label", "interpretive", "evidence")
COLUMNS = (
    "id",
    "corpus",
    "split",
    "task",
    "audio",
    "transcript",
    "label",
    "question",
    "answer",
    "target",
    "speaker",
    "seconds",
)
REQUIRED = ("id", "task", "audio", "question")


class RowError(ValueError):
    """A row that does not fit the schema; names the file, the line, the field and what to do."""


def read_rows(path: str | Path, split: str | None = None) -> list[dict[str, Any]]:
    """Rows of a corpus on disk.

    Args:
        path: a JSON-lines file, or a folder that holds `{split}.jsonl` or `rows.jsonl`.
        split: which file of the folder; for a file, keep only rows of that split (rows that name none are kept).

    Returns:
        One mapping per row with all of [`COLUMNS`] (absent ones are `None`) and any further columns of the file, where
        `audio` is `{"path": absolute path, "bytes": None}`.

    Raises:
        FileNotFoundError: if there is no such file.
        RowError: for the first row that does not fit the schema.
    """
    path = Path(path)
    if path.is_dir():
        if split is None:
            raise ValueError(f"{path} is a folder; say which split to read.")
        whole = path / "rows.jsonl"  # as `audiollm read` writes it
        path = path / f"{split}.jsonl"
        path = whole if whole.exists() and not path.exists() else path
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such corpus file.")
    rows = [row for row in _parse(path) if split is None or row["split"] in (None, split)]
    if not rows:
        raise RowError(f"{path}: holds no rows{f' of split {split!r}' if split else ''}.")
    return rows


def _parse(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise RowError(f"{path}, line {number}: is not JSON ({error}).") from error
                yield validate_row(row, path.parent, f"{path}, line {number}")


def validate_row(row: dict[str, Any], root: Path, where: str) -> dict[str, Any]:
    """A row completed with absent columns and its audio path made absolute.

    Raises:
        RowError: naming `where` and the field at fault.
    """
    for field in REQUIRED:
        value = row.get(field)
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            raise RowError(f"{where}: field {field!r} is missing; every row needs {', '.join(REQUIRED)}.")
    if row["task"] not in TASKS:
        raise RowError(f"{where}: task {row['task']!r} is unknown; it is one of {', '.join(TASKS)}.")
    if row.get("target") not in (None, *TARGETS):
        raise RowError(f"{where}: target {row['target']!r} is unknown; it is one of {', '.join(TARGETS)}, or null.")
    if not isinstance(row["audio"], str):
        raise RowError(f"{where}: field 'audio' must be the path of an audio file; got {type(row['audio']).__name__}.")
    if "\x00" in row["audio"]:
        raise RowError(f"{where}: field 'audio' holds a NUL character.")
    audio = {"path": os.path.abspath(os.path.join(root, row["audio"])), "bytes": None}
    return dict.fromkeys(COLUMNS) | row | {"id": str(row["id"]), "audio": audio}
