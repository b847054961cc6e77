"""Reading a corpus to files: `rows.jsonl`, `rejects.jsonl` and `read.json`, written row by row."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ..files import naming_a_full_disk, replacing, write_whole
from ..locks import folder_lock
from .places import note_places
from .reader import SPLITS, Reader, Request
from .readers import nothing_found, open_reader
from .rejects import CorpusError, Reject
from .seen import Seen
from .stored import REJECTS, ROWS


SUMMARY = "read.json"
KINDS_TOLD = 20


@dataclass
class ReadSummary:
    """What came of reading.

    Args:
        rows, rejects: counts for each split and task.
        reasons: how often each field was at fault, with the first reason given.
    """

    rows: Counter[tuple[str | None, str | None]]
    rejects: Counter[tuple[str | None, str | None]]
    reasons: dict[str, tuple[int, str]]

    def text(self) -> str:
        """For a person to read."""
        lines = [f"{split} {task}: {rows:,} rows" for (split, task), rows in self.rows.items()]
        lines.append(f"{sum(self.rejects.values()):,} set aside")
        lines += [f"  {field}: {rows:,}, the first: {reason}" for field, (rows, reason) in self.reasons.items()]
        return "\n".join(lines)


def read_to_folder(
    name: str, request: Request, out: Path, splits: Sequence[str] | None = None, progress: Any = None
) -> ReadSummary:
    """Read a corpus. Files appear under their names when they are whole; a killed reading is started again.

    Args:
        name: of the reader.
        request: what to read; its `split` is set for each of `splits`, its `work` to `out/audio`.
        out: folder to write; made.
        splits: those to read; when left out, all that the reader has.
        progress: called with each row or [`Reject`].

    Raises:
        CorpusError: if the reader is unknown, or nothing at all was found.
        FolderInUseError: if another process is at work in `out`.
    """
    reader = open_reader(name, request.root)
    if out.resolve() == request.root.resolve():
        raise CorpusError(f"{out}: is the corpus itself; name another folder for what is read.")
    with folder_lock(out, "run of read"):
        summary = _read(reader, request, out, splits or reader.splits, progress)
        if request.clip_root.exists():
            note_places(out, [request.clip_root])
        write_whole(out / SUMMARY, json.dumps(_settings(reader, request, summary), indent=1) + "\n")
    return summary


def _read(reader: Reader, request: Request, out: Path, splits: Sequence[str], progress: Any) -> ReadSummary:
    summary = ReadSummary(Counter(), Counter(), {})
    first: Reject | None = None
    with (
        naming_a_full_disk(out),
        replacing(out / ROWS) as rows,
        replacing(out / REJECTS) as rejects,
        Seen(out / ".seen.sqlite") as seen,
    ):
        for split in splits:
            for item in _unique(reader.located(replace(request, split=split, work=out / "audio")), seen):
                _write(item, out, rows, rejects, summary)
                first = item if first is None and isinstance(item, Reject) else first
                if progress is not None:
                    progress(item)
        if not summary.rows:
            raise nothing_found(reader, request.root, " or ".join(splits), first)
    return summary


def _unique(items: Iterator[tuple[str, dict[str, Any] | Reject]], seen: Seen) -> Iterator[dict[str, Any] | Reject]:
    for where, item in items:
        before = None if isinstance(item, Reject) else seen.first("id", item["id"], where)
        if before is None or isinstance(item, Reject):
            yield item
        else:
            reason = f"{item['id'][:200]!r} is the id of {before} already; ids must be unique."
            yield Reject(where, "id", reason, *(item[key] for key in ("corpus", "split", "task", "label")))


def _write(item: dict[str, Any] | Reject, out: Path, rows: IO[str], rejects: IO[str], summary: ReadSummary):
    if isinstance(item, dict):
        item = item | {"audio": os.path.relpath(item["audio"], out)}
        rows.write(json.dumps(item, ensure_ascii=False) + "\n")
        summary.rows[item["split"], item["task"]] += 1
        return
    rejects.write(json.dumps(item.entry(), ensure_ascii=True) + "\n")
    summary.rejects[item.split, item.task] += 1
    field = item.field or "row"
    if field in summary.reasons or len(summary.reasons) < KINDS_TOLD:
        count, reason = summary.reasons.get(field, (0, f"{item.where}: {item.reason}"))
        summary.reasons[field] = (count + 1, reason)


def _settings(reader: Reader, request: Request, summary: ReadSummary) -> dict[str, Any]:
    return {
        "reader": reader.name,
        "title": reader.title,
        "licence": reader.licence,
        "root": str(request.root),
        "tasks": list(request.tasks or reader.usual or reader.tasks),
        "seed": request.seed,
        "style": request.style,
        "label_list": request.label_list,
        "audio_checked": request.check_audio,
        "options": dict(request.options),
        "rows": _nested(summary.rows),
        "rejects": _nested(summary.rejects),
    }


def _nested(counts: Counter[tuple[str | None, str | None]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (split, task), rows in sorted(counts.items(), key=lambda pair: (_order(pair[0][0]), str(pair[0][1]))):
        nested.setdefault(str(split), {})[str(task)] = rows
    return nested


def _order(split: str | None) -> int:
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)
