"""Rows as they are stored: JSON lines that `read` and `extract` write, and what `export` and `datasets` write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .clips import ClipStore
from .hub_tables import ALIASES, DatasetSplits, clip_of, open_dataset, spellings, usual_split
from .rejects import BadRow, Reject
from .tables import read_table


ROWS, REJECTS = "rows.jsonl", "rejects.jsonl"
PROBLEMS, ATTEMPTS = "problems.jsonl", "attempts.jsonl"
NO_ROWS = (REJECTS, PROBLEMS, ATTEMPTS)  # further JSON lines in the folders of `read`, `verify` and `extract`
MORE = "more"  # JSON column of an export, with what is in no column of the schema


class Stored(NamedTuple):
    """A row as it is written.

    Args:
        where: file and line, from the folder.
        row: as written, nothing of it checked.
        folder: that a relative path of its audio starts from.
    """

    where: str
    row: dict[str, Any]
    folder: Path


def stored_rows(source: str | Path, split: str | None = None) -> Iterator[Stored | Reject]:
    """Rows from wherever they lie, one at a time in bounded memory, and lines that are none.

    Args:
        source: a JSON-lines file; a folder of them, as `read` or `extract` writes; a folder of
            `datasets.save_to_disk`; a Parquet file, or a folder of them; a name on the Hub (`owner/name`). Clips that
            are stored with the rows are written to the cache of `datasets`, once for each sound.
        split: only files and parts of this split; a file that holds several is read whole.

    Raises:
        FileNotFoundError: if there is nothing there.
        CorpusError: if it cannot be opened.
    """
    path = Path(source)
    if is_dataset(path):
        yield from _dataset_rows(path, open_dataset(path), split)
        return
    for file in row_files(path, split):
        of = usual_split(file.stem) if file != path else None
        for item in read_table(file, kind="jsonl"):
            if isinstance(item, Reject):
                yield item
            else:
                where, row = item
                row = row | {"split": of} if of in ALIASES and row.get("split") is None else row
                yield Stored(where, row, file.parent)


def is_dataset(path: Path) -> bool:
    """Whether a path is what `datasets` writes, or names something on the Hub."""
    if path.is_file():
        return path.suffix.lower() == ".parquet"
    if not path.exists():
        return len(path.parts) == 2 and not path.is_absolute() and ".." not in path.parts and not path.suffix
    if any((path / mark).is_file() for mark in ("dataset_dict.json", "state.json")):
        return True
    return not any(path.glob("*.jsonl")) and next(path.rglob("*.parquet"), None) is not None


def row_files(rows: Path, split: str | None = None) -> list[Path]:
    """The JSON-lines files that hold the rows, or those of a split.

    Raises:
        FileNotFoundError: if there is none.
    """
    if rows.is_file():
        return [rows]
    if not rows.exists():
        raise FileNotFoundError(f"{rows}: no such file or folder.")
    if split is not None:
        named = [rows / f"{name}.jsonl" for name in spellings(split)]
        found = [file for file in (*named, rows / ROWS) if file.is_file()]
        if not found:
            raise FileNotFoundError(f"{named[0]}: no such corpus file.")
        return found[:1]
    files = [rows / ROWS] if (rows / ROWS).is_file() else sorted(rows.glob("*.jsonl"))
    files = [file for file in files if file.name not in NO_ROWS]
    if not files:
        raise FileNotFoundError(f"{rows}: no rows ({ROWS}, or SPLIT.jsonl); read a corpus first.")
    return files


def _dataset_rows(path: Path, splits: DatasetSplits, split: str | None) -> Iterator[Stored | Reject]:
    clips = ClipStore(path, clip_cache(), True)
    wanted = splits.named(split) if split and splits.divided else splits.all()
    for name, rows in wanted:
        for number, row in enumerate(rows):
            where = f"{name or path.name}, row {number}"
            try:
                yield Stored(where, _unpacked(row, name, clips), path)
            except BadRow as error:
                yield error.at(where)


def _unpacked(row: dict[str, Any], split: str, clips: ClipStore) -> dict[str, Any]:
    audio = row.get("audio")
    if isinstance(audio, dict):
        clip = clip_of(audio, "audio")
        digest = hashlib.sha256(clip.content or clip.samples.tobytes()).hexdigest()
        audio = clips.locate(clip, digest)[0]
    more = json.loads(row.get(MORE) or "{}")
    return {**{key: value for key, value in row.items() if key != MORE}, **more, "audio": audio} | (
        {"split": split} if split and not row.get("split") else {}
    )


def clip_cache() -> Path:
    """Where clips that came with rows are written."""
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "audiollm-clips"
