"""The one schema of all corpora: a row is a question about a clip, and its answer."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..processing.conversation import ContextError, read_turns
from .rejects import CorpusError, Reject
from .stored import stored_rows


TASKS = ("asr", "sqa", "er", "sr")
SPEECH_TASKS, EMOTION_TASKS = ("asr", "sqa"), ("er", "sr")
TARGETS = ("label", "interpretive", "evidence")
# Columns and what they hold, as `datasets` names types.
TYPES = {
    "id": "string",
    "corpus": "string",
    "split": "string",
    "task": "string",
    "audio": "audio",
    "transcript": "string",
    "label": "string",
    "question": "string",
    "answer": "string",
    "target": "string",
    "speaker": "string",
    "context": "turns",
    "context_speaker": "string",
    "seconds": "float64",
}
COLUMNS = tuple(TYPES)
REQUIRED = ("id", "task", "audio", "question")
NAMES = ("id", "speaker", "dialogue")  # a whole number will do for these
_TEXTS = tuple(column for column, kind in TYPES.items() if kind == "string")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


class RowError(ValueError):
    """A row that does not fit the schema; names the file, the line, the field and what to do."""


def features() -> Any:
    """The schema as `datasets.Features`."""
    from datasets import Audio, Features, List, Value

    kinds = {
        "audio": Audio(sampling_rate=16_000),
        "turns": List({"speaker": Value("string"), "text": Value("string")}),
    }
    return Features({column: kinds.get(kind) or Value(kind) for column, kind in TYPES.items()})


def read_rows(path: str | Path, split: str | None = None) -> list[dict[str, Any]]:
    """Rows of a corpus in any form that holds the schema (see [`stored_rows`]).

    Args:
        path: a JSON-lines file; a folder that holds `{split}.jsonl` or `rows.jsonl`, as `audiollm read` writes it; a
            `datasets` folder, Parquet, or a name on the Hub, with the schema's columns.
        split: which to read; rows of a file that name no split are in each.

    Returns:
        One mapping per row with all of [`COLUMNS`] (absent ones are `None`) and any further columns, where `audio` is
        `{"path": absolute path, "bytes": None}`.

    Raises:
        FileNotFoundError: if there is no such file.
        RowError: for the first row that does not fit the schema, or has the id of another one.
    """
    if split is None and Path(path).is_dir():
        raise ValueError(f"{path} is a folder; say which split to read.")
    rows, ids = [], {}
    for row, where in iterate_rows(path, split):
        if row["id"] in ids:
            first = f"{row['id'][:200]!r} is that of {ids[row['id']]}"
            raise RowError(f"{where}: field 'id' is there more than once: {first}; ids are unique.")
        ids[row["id"]] = where
        rows.append(row)
    if not rows:
        raise RowError(f"{path}: holds no rows{f' of split {split!r}' if split else ''}.")
    return rows


def iterate_rows(path: str | Path, split: str | None = None) -> Iterator[tuple[dict[str, Any], str]]:
    """As [`read_rows`], one at a time with its place, in bounded memory; without looking for ids that are twice.

    Raises:
        RowError: for the first row that does not fit the schema.
    """
    top = Path(path) if Path(path).is_dir() else Path(path).parent
    try:
        for item in stored_rows(path, split):
            where = str((top if isinstance(item, Reject) else item.folder) / item.where)
            if isinstance(item, Reject):
                raise RowError(f"{where}: {item.reason}")
            row = validate_row(item.row, item.folder, where)
            if split is None or row["split"] in (None, split):
                yield row, where
    except CorpusError as error:
        raise RowError(str(error)) from error


def validate_row(row: dict[str, Any], root: Path, where: str) -> dict[str, Any]:
    """A row completed with absent columns and its audio path made absolute.

    Args:
        row: as it was written.
        root: folder that its audio path starts from.
        where: file and line, for errors.

    Raises:
        RowError: naming `where` and the field at fault.
    """
    for field in REQUIRED:
        value = row.get(field)
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            raise RowError(f"{where}: field {field!r} is missing; every row needs {', '.join(REQUIRED)}.")
    if not isinstance(row["audio"], str):
        raise RowError(f"{where}: field 'audio' must be the path of an audio file; got {_kind(row['audio'])}.")
    checked = {field: _text(field, row.get(field), where) for field in _TEXTS} | {
        "audio": _text("audio", row["audio"], where),
        "seconds": _seconds(row.get("seconds"), where),
        "context": _context(row.get("context"), where),
    }
    if checked["task"] not in TASKS:
        raise RowError(f"{where}: task {checked['task']!r} is unknown; it is one of {', '.join(TASKS)}.")
    if checked["target"] not in (None, *TARGETS):
        known = ", ".join(TARGETS)
        raise RowError(f"{where}: target {checked['target']!r} is unknown; it is one of {known}, or null.")
    audio = {"path": os.path.abspath(os.path.join(root, str(checked["audio"]))), "bytes": None}
    return dict.fromkeys(COLUMNS) | row | checked | {"audio": audio}


def _text(field: str, value: Any, where: str) -> str | None:
    if value is None:
        return None
    if field in NAMES and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise RowError(f"{where}: field {field!r} must be text{_hint(value)}; it is {_kind(value)}.")
    if "\x00" in value:
        raise RowError(f"{where}: field {field!r} holds a NUL character.")
    if not value.isascii() and _HALF_PAIR.search(value):
        raise RowError(f"{where}: field {field!r} holds half of a character pair.")
    if field in REQUIRED and not value.strip():
        raise RowError(f"{where}: field {field!r} is empty.")
    return value


def _hint(value: Any) -> str:
    return f', as "{value}"' if isinstance(value, (int, bool)) else ""


def _seconds(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RowError(f"{where}: field 'seconds' must be a number, as 2.1; it is {_kind(value)}.")
    if not (math.isfinite(value) and value >= 0):
        raise RowError(f"{where}: field 'seconds' must be a length, not {value}.")
    return float(value)


def _context(value: Any, where: str) -> list[dict[str, str | None]] | None:
    if value is None:
        return None
    try:
        turns = read_turns(value)
    except ContextError as error:
        raise RowError(f"{where}: field {str(error)}") from error
    for number, turn in enumerate(turns, 1):
        for field in turn:
            _text(f"context, turn {number}, {field}", turn[field], where)
    return turns


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, bool):
        return f"{str(value).lower()}, true or false"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    names = {str: f"the text {str(value)[:40]!r}", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
