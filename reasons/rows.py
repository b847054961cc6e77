"""The rows that reasons are extracted for, read one at a time so that a corpus may be larger than memory."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..corpora.rejects import Reject
from ..corpora.schema import EMOTION_TASKS, RowError, validate_row
from ..corpora.stored import Stored, is_dataset, row_files, stored_rows
from ..modeling_audiollm.emotion_lexicon import split_words


TEACHER_TARGETS = ("interpretive", "evidence")
# More does not fit a teacher's prompt; a clip of a minute holds some 150 words.
MAX_TRANSCRIPT, MAX_LABEL = 8_000, 40
# A split names a file of the output.
_SPLIT = re.compile(r"[A-Za-z0-9][\w-]{0,60}")
NOT_EXPLAINED = ("other", "unknown", "undecided", "mixed", "none")
RESERVED = ("attempts", "rejects", "rows")
_HALF_PAIR = re.compile("[\ud800-\udfff]")


class InputError(ValueError):
    """An input that holds nothing to explain; names it."""


@dataclass(frozen=True)
class Unfit:
    """A line of the input that no reason can be extracted for, and why."""

    where: str
    reason: str
    id: str | None = None


@dataclass(frozen=True)
class Job:
    """A target to be extracted for a row; `key` changes when the row's task, label or transcript does."""

    key: str
    row: dict[str, Any]
    target: str

    @property
    def kind(self) -> tuple[str, str]:
        return self.target, self.row["task"]


@dataclass
class Survey:
    """What an input holds: rows by `(task, label)`, lines left out by reason, unfit lines, labels by task."""

    rows: Counter = field(default_factory=Counter)
    left_out: Counter = field(default_factory=Counter)
    unfit: int = 0
    first_unfit: str = ""
    splits: set[str | None] = field(default_factory=set)

    def labels(self, task: str) -> tuple[str, ...]:
        return tuple(sorted({label for kind, label in self.rows if kind == task}))


class Input:
    """Rows of the schema.

    Args:
        paths: where they lie, in any form (see [`stored_rows`]).
        split: keep rows of this split only.
        limit: read only so many rows that can be explained.

    Raises:
        InputError: if there are none.
    """

    def __init__(self, paths: Sequence[str | Path], split: str | None = None, limit: int | None = None):
        self.split, self.limit = split, limit
        self.paths = [Path(path) for path in paths]
        try:
            self.files = [file for path in self.paths for file in ([path] if is_dataset(path) else row_files(path))]
        except FileNotFoundError as error:
            raise InputError(str(error)) from error

    def __iter__(self) -> Iterator[dict[str, Any] | Unfit]:
        """Rows with a label and a transcript, and lines that are unfit; those of other tasks are passed over."""
        return (item for item in self._read() if not isinstance(item, str))

    def survey(self) -> Survey:
        """Read all and count.

        Raises:
            InputError: if nothing can be explained.
        """
        survey = Survey()
        for item in self._read():
            if isinstance(item, str):
                survey.left_out[item] += 1
            elif isinstance(item, Unfit):
                survey.unfit += 1
                survey.first_unfit = survey.first_unfit or f"; the first: {item.where}: {item.reason}"
            else:
                survey.rows[item["task"], item["label"]] += 1
                survey.splits.add(item["split"])
        if not survey.rows:
            names = ", ".join(map(str, self.files))
            left_out = "".join(f"; {count} {reason}" for reason, count in survey.left_out.items())
            wanted = "no row with task er or sr, a label and a transcript"
            raise InputError(f"{names}: {wanted} ({survey.unfit} unfit{left_out}){survey.first_unfit}")
        return survey

    def jobs(self, targets: Sequence[str]) -> Iterator[Job]:
        """What a teacher has to be asked, in the order of the input."""
        for row in self:
            if not isinstance(row, Unfit):
                yield from (Job(job_key(row, target), row, target) for target in targets if explainable(row))

    def _read(self) -> Iterator[dict[str, Any] | Unfit | str]:
        seen: set[int] = set()
        given = 0
        for stored in (stored for path in self.paths for stored in stored_rows(path)):
            item = self._item(stored, seen)
            if item is not None:
                yield item
                given += isinstance(item, dict)
                if given == self.limit:
                    return

    def _item(self, stored: Stored | Reject, seen: set[int]) -> dict[str, Any] | Unfit | str | None:
        if isinstance(stored, Reject):
            return Unfit(stored.where, stored.reason)
        where, row, folder = stored
        if self.split is not None and row.get("split") not in (None, self.split):
            return None
        if row.get("task") not in EMOTION_TASKS:
            return f"of task {row.get('task')}"
        if row.get("target") in TEACHER_TARGETS:
            return "with a reason already"
        try:
            row = validate_row(row, folder, where)
        except RowError as error:
            return Unfit(where, str(error).removeprefix(f"{where}: "), _HALF_PAIR.sub("?", str(row.get("id"))))
        reason = _fault(row)
        if reason is None and hash(row["id"]) in seen:
            reason = "another row before it has this id."
        seen.add(hash(row["id"]))
        return row if reason is None else Unfit(where, reason, _HALF_PAIR.sub("?", row["id"]))


def job_key(row: dict[str, Any], target: str) -> str:
    """By which a row's target is known in the journal."""
    told = [[turn["speaker"], turn["text"]] for turn in row.get("context") or ()]
    source = json.dumps([row["task"], row["label"], row["transcript"], *([told] if told else [])])
    return f"{row['id']}:{target}:{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def explainable(row: dict[str, Any]) -> bool:
    """Whether its label names something to explain: not "other"."""
    return " ".join(split_words(row["label"])) not in NOT_EXPLAINED


def _fault(row: dict[str, Any]) -> str | None:
    for name, most in (("label", MAX_LABEL), ("transcript", MAX_TRANSCRIPT)):
        if row[name] is None:
            return f"field {name!r} is missing."
        if len(row[name]) > most:
            return f"field {name!r} has {len(row[name])} characters, more than {most}."
    if not split_words(row["label"]):
        return "field 'label' holds no word."
    split = row["split"]
    if split is not None and (not _SPLIT.fullmatch(split) or split in RESERVED):
        return f"field 'split' can't name a file: {split[:60]!r}."
    return None
