"""Rows in the forms that others read: a `datasets` folder, Parquet for the Hub, ShareGPT, AudioBench."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files import naming_a_full_disk, write_whole
from ..processing.audio import AudioError
from ..redact import redact
from .card import dataset_card
from .places import ClipPlaces
from .rejects import Reject
from .schema import COLUMNS, RowError, features, validate_row
from .stored import MORE, PROBLEMS, stored_rows
from .tables import read_table


FORMATS = ("datasets", "parquet", "sharegpt", "audiobench", "audiobench-nested")
SHARD_BYTES = 400 << 20
BATCH = 64  # rows: each may hold minutes of audio
DROPPED_KINDS = ("missing", "unreadable", "zero-length", "not-finite", "silent", "too-long", "bad-row", "duplicate-id")
Note = Callable[[str], None]


class ExportError(ValueError):
    """Rows that cannot be exported, with the reason."""


def export(
    rows: Path,
    out: Path,
    form: str,
    drop_problems: bool = False,
    note: Note = print,
    audio_roots: Sequence[str | Path] = (),
) -> Counter[str]:
    """Write rows in another form, one at a time.

    Args:
        rows: as for [`verify`].
        out: folder to write; must not exist, or be empty.
        form: one of [`FORMATS`]. `datasets` is for `load_from_disk`; `parquet` (with a card) for `load_dataset` and
            the Hub; `sharegpt` has one JSON-lines file a split and copies of the clips; `audiobench` has its flat
            columns, `audiobench-nested` its nested ones.
        drop_problems: leave out rows of clips that verification found unusable (`problems.jsonl`).
        note: is told what is left out, and why.
        audio_roots: folders whose clips may go along, beside the rows' own (see [`places`](places.py)).

    Returns:
        Rows written for each split.

    Raises:
        ExportError: if the form is unknown, the folder is in use, or no row is left.
    """
    if form not in FORMATS:
        raise ExportError(f"unknown form {form!r}; it is one of {', '.join(FORMATS)}.")
    if out.exists() and any(out.iterdir()):
        raise ExportError(f"{out}: is not empty; name a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with naming_a_full_disk(out, "make room and export again; the half of it is deleted"):
            counts = _written(usable_rows(rows, drop_problems, note, audio_roots), out, form, note)
            if not counts:
                raise ExportError(f"{rows}: no row is left to export.")
            write_whole(out / "README.md", dataset_card(rows, out.name, form))
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return counts


def _written(items: Iterator[dict[str, Any]], out: Path, form: str, note: Note) -> Counter[str]:
    if form == "sharegpt":
        return _sharegpt(items, out, note)
    return _datasets(items, out, form, note)


def usable_rows(
    rows: Path, drop_problems: bool, note: Note, audio_roots: Sequence[str | Path] = ()
) -> Iterator[dict[str, Any]]:
    """Rows of the schema, with real paths of clips that may leave; all others are left out with a note."""
    bad_clips = _bad_clips(rows) if drop_problems else set()
    places, dropped = ClipPlaces(rows, audio_roots), 0
    for item in stored_rows(rows):
        if isinstance(item, Reject):
            note(f"left out: {item.where}: {item.reason}")
            continue
        try:
            row = validate_row(item.row, item.folder, item.where)
        except RowError as error:
            note(f"left out: {error}")
            continue
        if row["audio"]["path"] in bad_clips:
            dropped += 1
            continue
        try:
            yield row | {"audio": {"path": places.clip(row["audio"]["path"]), "bytes": None}}
        except AudioError as error:
            note(f"left out: {row['id']}: {error}")
    if dropped:
        note(f"left out: {dropped} rows of {len(bad_clips)} clips that verification found unusable ({PROBLEMS})")


def _bad_clips(rows: Path) -> set[str]:
    path = (rows if rows.is_dir() else rows.parent) / PROBLEMS
    if not path.is_file():
        raise ExportError(f"{path}: no such file; verify the rows first.")
    found = (item[1] for item in read_table(path) if not isinstance(item, Reject))
    return {problem["audio"] for problem in found if problem["kind"] in DROPPED_KINDS and problem["audio"]}


def _sharegpt(items: Iterator[dict[str, Any]], out: Path, note: Note) -> Counter[str]:
    """One conversation a row: `<audio>` and the question, then the answer."""
    counts: Counter[str] = Counter()
    files: dict[str, Any] = {}
    clips = _ClipFolder(out)
    try:
        for row in items:
            split = _split(row)
            if row["answer"] is None:
                note(f"left out: {row['id']}: it has no answer.")
                continue
            try:
                clip = clips.copy(row["audio"]["path"])
            except (FileNotFoundError, PermissionError) as error:
                note(f"left out: {row['id']}: {row['audio']['path']}: {error.strerror}.")
                continue
            if split not in files:
                files[split] = (out / f"{split}.jsonl").open("w", encoding="utf-8")
            said = (("human", f"<audio>{row['question']}"), ("gpt", row["answer"]))
            turns = [{"from": who, "value": words} for who, words in said]
            entry = {"id": row["id"], "conversations": turns, "audios": [clip]}
            files[split].write(json.dumps(entry, ensure_ascii=False) + "\n")
            counts[split] += 1
    finally:
        for file in files.values():
            file.close()
    return counts


class _ClipFolder:
    """Copies of clips in `out/audio`, one for each file, under names that cannot clash or leave the folder."""

    def __init__(self, out: Path):
        self.out = out
        (out / "audio").mkdir(parents=True, exist_ok=True)

    def copy(self, path: str) -> str:
        name = clip_name(path)
        if not (self.out / "audio" / name).exists():
            shutil.copyfile(path, self.out / "audio" / name)
        return f"audio/{name}"


def clip_name(path: str) -> str:
    """File name for a copy of a clip: its own, with a digest of where it was."""
    from .seen import short_digest

    stem, kind = os.path.splitext(os.path.basename(path))
    return f"{stem[:80]}-{short_digest('clip', path).hex()[:8]}{kind}"


def _split(row: dict[str, Any]) -> str:
    split = str(row["split"] or "train")
    if not split.replace("_", "").replace("-", "").isalnum():  # it becomes a file name
        raise ExportError(f"row {row['id']}: split {split[:60]!r} is no plain name.")
    return split


def _own(row: dict[str, Any], audio: dict[str, Any]) -> dict[str, Any]:
    more = {key: value for key, value in row.items() if key not in COLUMNS}
    return {
        **{column: row[column] for column in COLUMNS},
        "audio": audio,
        MORE: json.dumps(redact(more), ensure_ascii=False),
    }


def _flat(row: dict[str, Any], audio: dict[str, Any]) -> dict[str, Any]:
    return {"context": audio, "instruction": row["question"], "answer": row["answer"] or ""}


def _nested(row: dict[str, Any], audio: dict[str, Any]) -> dict[str, Any]:
    return {
        "context": {"text": row["transcript"], "audio": audio},
        "instruction": {"text": row["question"], "audio": None},
        "answer": {"text": row["answer"] or "", "audio": None},
        "other_attributes": {"id": row["id"], "label": row["label"], "speaker_id": row["speaker"]},
    }


def _form(form: str) -> tuple[Callable[..., dict[str, Any]], Any]:
    """What makes a row of a form, and the form's features."""
    from datasets import Features, Value

    text, audio = Value("string"), features()["audio"]
    part = {"text": text, "audio": audio}
    if form == "audiobench":
        return _flat, Features({"context": audio, "instruction": text, "answer": text})
    if form == "audiobench-nested":
        details = {"id": text, "label": text, "speaker_id": text}
        return _nested, Features({"context": part, "instruction": part, "answer": part, "other_attributes": details})
    return _own, Features({**features(), MORE: text})


def _datasets(items: Iterator[dict[str, Any]], out: Path, form: str, note: Note) -> Counter[str]:
    """Write a `DatasetDict`, or Parquet files `data/SPLIT-00000-of-0000N.parquet`, with the clips inside."""
    from datasets import Dataset, DatasetDict, concatenate_datasets

    work = out / ".work"
    work.mkdir()
    counts, files = _shards(items, work, form, note)
    if form == "datasets":
        parts = {split: [Dataset.from_file(str(path)) for path in paths] for split, paths in files.items()}
        DatasetDict({split: concatenate_datasets(part) for split, part in parts.items()}).save_to_disk(str(out))
        del parts  # lets go of the files
    else:
        (out / "data").mkdir()
        for split, paths in files.items():
            for number, path in enumerate(paths):
                path.rename(out / "data" / f"{split}-{number:05d}-of-{len(paths):05d}.parquet")
    shutil.rmtree(work)
    return counts


def _shards(
    items: Iterator[dict[str, Any]], work: Path, form: str, note: Note
) -> tuple[Counter[str], dict[str, list[Path]]]:
    """Rows of each split, and the files that hold them; a batch of rows is in memory at a time."""
    from datasets.arrow_writer import ArrowWriter, ParquetWriter

    make, columns = _form(form)
    new_writer = ArrowWriter if form == "datasets" else ParquetWriter
    writers: dict[str, ArrowWriter] = {}
    files: dict[str, list[Path]] = {}
    counts, size = Counter(), Counter()
    for row in items:
        path = row["audio"]["path"]
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            note(f"left out: {row['id']}: {path}: {error.strerror}.")
            continue
        split = _split(row)
        if split not in writers or size[split] >= SHARD_BYTES:
            if split in writers:
                writers[split].finalize()
            shards = files.setdefault(split, [])
            shards.append(work / f"{split}-{len(shards):05d}")
            writers[split] = new_writer(path=str(shards[-1]), features=columns, writer_batch_size=BATCH)
            size[split] = 0
        writers[split].write(make(row, {"bytes": content, "path": clip_name(path)}))
        counts[split] += 1
        size[split] += len(content)
    for writer in writers.values():
        writer.finalize()
    return counts, files
