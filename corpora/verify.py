"""Verifying rows: counts beside the published ones, every clip heard once, and what train and test share.

Memory is the same for any number of rows: counts, the bounded caches below, and tables on disk (`seen.py`).
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ..files import naming_a_full_disk, replacing, write_whole
from .published import Comparison, Key, compare, table
from .readers import READERS
from .rejects import Reject
from .schema import RowError, validate_row
from .seen import Seen
from .sound_check import Heard, hear
from .stored import PROBLEMS, REJECTS, Stored, stored_rows
from .tables import read_table


REPORT = "verify.json"
SILENCE_DB = -60.0
MAX_SECONDS = 30.0
LABELS_COUNTED = 1000  # further ones are counted together
EXAMPLES = 20
CLIPS_REMEMBERED = GROUPS_REMEMBERED = 4096  # in memory; the others are looked up on disk
SHARED = ("audio", "speaker", "dialogue")


@dataclass
class Report:
    """What verification found.

    Args:
        rows: checked.
        targets: rows for each target.
        counts: rows for each corpus, split, subset, task and label; of several targets for the same clips, the one
            with most rows is counted.
        comparisons: with published counts.
        problems: how many of each kind; they are listed in `problems.jsonl`.
        examples: the first of each kind.
        shared: groups in several splits: how many of each kind for each pair of splits, and examples.
        labels: for each corpus and task, the label set and what of it was met.
        settings: limits, and whether clips were heard.
        clips, hours: heard.
        set_aside: rows that `read` or `extract` set aside.
        aside: the first of them.
    """

    rows: int = 0
    targets: Counter[str | None] = field(default_factory=Counter)
    counts: Counter[Key] = field(default_factory=Counter)
    comparisons: list[Comparison] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    shared: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    clips: int = 0
    hours: float = 0.0
    set_aside: int = 0
    aside: list[dict[str, Any]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing at all is wrong, and nothing was set aside."""
        return not (self.problems or self.set_aside) and not any(kind["groups"] for kind in self.shared.values())

    def as_json(self) -> dict[str, Any]:
        """As `verify.json`."""
        names = ("corpus", "split", "subset", "task", "label")
        return {
            "rows": self.rows,
            "targets": {str(target): rows for target, rows in self.targets.items()},
            "clips_heard": self.clips,
            "hours_heard": round(self.hours, 3),
            "settings": self.settings,
            "counts": [{**dict(zip(names, key)), "rows": rows} for key, rows in sorted_counts(self.counts)],
            "published": [comparison.as_json() for comparison in self.comparisons],
            "labels": self.labels,
            "problems": dict(self.problems),
            "set_aside": {"rows": self.set_aside, "examples": self.aside},
            "examples": self.examples,
            "shared_between_splits": self.shared,
        }

    def text(self) -> str:
        """For a person to read: table, named differences, problems."""
        parts = [table(self.counts, self.comparisons)]
        named = [comparison.sentence() for comparison in self.comparisons if comparison.difference]
        if named:
            parts.append("Differences from published counts\n" + "\n".join(f"  {line}" for line in named))
        for corpus, tasks in self.labels.items():
            for task, said in tasks.items():
                parts.append(f"Label set of {corpus}, {task}: {', '.join(said['set'] or said['met'])}")
                for what in ("missing", "unknown"):
                    if said[what]:
                        parts[-1] += f"\n  {what}: {', '.join(said[what])}"
        if self.settings["audio"]:
            parts.append(f"{self.clips:,} clips heard, {self.hours:.2f} hours")
        else:
            parts.append("Clips were not heard.")
        parts.append(self._problems_text())
        if self.set_aside:
            where, why = (self.aside[0].get(key) or self.aside[0].get(f"{key}s") for key in ("where", "reason"))
            parts.append(f"{self.set_aside:,} rows were set aside before, see {REJECTS}; the first: {where}: {why}")
        parts += [line for kind, found in self.shared.items() if (line := _shared_text(kind, found))]
        return "\n\n".join(parts)

    def _problems_text(self) -> str:
        if not self.problems:
            return "No problems in rows" + (" or clips." if self.settings["audio"] else ".")
        lines = [f"Problems, all listed in {PROBLEMS}"]
        for kind, count in self.problems.most_common():
            first = self.examples[kind][0]
            lines.append(f"  {kind}: {count:,}; the first: {first['row']} ({first['where']}): {first['reason']}")
        return "\n".join(lines)


def _shared_text(kind: str, found: dict[str, Any]) -> str:
    if not found["groups"]:
        return ""
    pairs = ", ".join(f"{count:,} in {pair}" for pair, count in found["splits"].items())
    names = ", ".join(example["name"] for example in found["examples"][:5])
    return f"The same {kind} in several splits: {pairs}. For example: {names}"


def sorted_counts(counts: Counter[Key]) -> list[tuple[Key, int]]:
    """Counts in a stable order."""
    return sorted(counts.items(), key=lambda pair: tuple(str(part or "") for part in pair[0]))


def verify(
    rows: Path,
    out: Path | None = None,
    audio: bool = True,
    max_seconds: float = MAX_SECONDS,
    silence: float = SILENCE_DB,
    progress: Any = None,
) -> Report:
    """Verify the rows of a corpus.

    Args:
        rows: rows of the schema in any form (see [`stored_rows`]); rows that `read` set aside are told of, too.
        out: folder for `verify.json` and `problems.jsonl`; that of the rows when left out.
        audio: whether to decode every clip; without, only rows are checked.
        max_seconds: a clip that is longer is listed.
        silence: peak in dB of full scale below which a clip is listed as silent.
        progress: called with each row.

    Raises:
        FileNotFoundError: if there are no rows.
    """
    items = stored_rows(rows)
    if out is None and not rows.exists():
        raise FileNotFoundError(f"{rows}: no such rows here; for rows on the Hub, say where the report is to go.")
    out = out or (rows if rows.is_dir() else rows.parent)
    out.mkdir(parents=True, exist_ok=True)
    report = Report(settings={"audio": audio, "max_seconds": max_seconds, "silence_db": silence})
    with naming_a_full_disk(out), replacing(out / PROBLEMS) as problems, Seen(out / ".seen.sqlite") as seen:
        check = _Check(report, seen, problems)
        for item in items:
            check.row(item)
            if progress is not None:
                progress(item)
        check.finish()
        for kind in SHARED:
            report.shared[kind] = _shared(seen, kind)
    rejected = _rejected(rows.with_name(REJECTS) if rows.is_file() else rows / REJECTS, report)
    report.comparisons = compare(report.counts, rejected, READERS)
    report.labels = _label_sets(report.counts)
    write_whole(out / REPORT, json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
    return report


class _Check:
    """The checks of one run; each row passes once."""

    def __init__(self, report: Report, seen: Seen, problems: IO[str]):
        self.report, self.seen, self.problems = report, seen, problems
        self.counts: dict[str | None, Counter[Key]] = {}
        self.contents: OrderedDict[str, bytes] = OrderedDict()
        self.note = lru_cache(maxsize=GROUPS_REMEMBERED)(self._note)

    def row(self, item: Stored | Reject):
        if isinstance(item, Reject):
            self._problem("bad-row", item.where, "", "", item.reason)
            return
        where, row, folder = item
        try:
            row = validate_row(row, folder, where)
        except RowError as error:
            self._problem("bad-row", where, str(row.get("id", ""))[:200], "", str(error))
            return
        self.report.rows += 1
        self._count(row)
        path, row_id = row["audio"]["path"], row["id"]
        if (before := self.seen.first("id", row_id, where)) is not None:
            self._problem("duplicate-id", where, row_id, path, f"the id is that of {before}.")
        split = str(row["split"])
        for kind in ("speaker", "dialogue"):
            if row.get(kind):
                self.note(kind, f"{row['corpus']}|{row[kind]}", split, str(row[kind]))
        if self.report.settings["audio"]:
            content = self._content(path, where, row_id)
            if content:
                self.note("audio", content, split, path)

    def _note(self, kind: str, key: str | bytes, split: str, name: str):
        self.seen.note(kind, key, split, name)

    def _count(self, row: dict[str, Any]):
        target = row["target"]
        counts = self.counts.setdefault(target, Counter())
        key = (row["corpus"], row["split"], row.get("subset"), row["task"], row["label"])
        if key not in counts and len(counts) >= LABELS_COUNTED:
            key = (*key[:4], "(further labels)")
        counts[key] += 1
        self.report.targets[target] += 1

    def finish(self):
        """Counts of clips: a clip with several targets is counted once."""
        totals = {target: Counter() for target in self.counts}
        for target, counts in self.counts.items():
            for key, rows in counts.items():
                totals[target][key[:4]] += rows
        for target, counts in self.counts.items():
            for key, rows in counts.items():
                if target == max(totals, key=lambda of: totals[of][key[:4]]):
                    self.report.counts[key] = rows

    def _content(self, path: str, where: str, row_id: str) -> bytes:
        """Digest of a clip's sound, empty if it has none. A clip is heard, and its problems told, the first time."""
        content = self.contents.get(path)
        if content is None:
            known = self.seen.value("content of", path)
            content = self._hear(path, where, row_id) if known is None else bytes.fromhex(known)
            self.contents[path] = content
            if len(self.contents) > CLIPS_REMEMBERED:
                self.contents.popitem(last=False)
        return content

    def _hear(self, path: str, where: str, row_id: str) -> bytes:
        heard = hear(path)
        self.seen.first("content of", path, heard.content.hex())
        if heard.problem:
            self._problem(heard.problem[0], where, row_id, path, heard.problem[1])
        else:
            self.report.clips += 1
            self.report.hours += heard.seconds / 3600
            self._listen(heard, path, where, row_id)
        return heard.content

    def _listen(self, heard: Heard, path: str, where: str, row_id: str):
        settings = self.report.settings
        if heard.decibels < settings["silence_db"]:
            self._problem("silent", where, row_id, path, f"its peak is {heard.decibels:.1f} dB of full scale.")
        if heard.seconds > settings["max_seconds"]:
            limit = settings["max_seconds"]
            self._problem("too-long", where, row_id, path, f"{heard.seconds:.1f} s; the limit is {limit:g} s.")
        if (before := self.seen.first("content", heard.content, f"{row_id} ({path})")) is not None:
            self._problem("duplicate-audio", where, row_id, path, f"sounds sample by sample as {before}.")

    def _problem(self, kind: str, where: str, row_id: str, audio: str, reason: str):
        entry = {"kind": kind, "where": where, "row": row_id, "audio": audio, "reason": reason}
        self.report.problems[kind] += 1
        examples = self.report.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(entry)
        self.problems.write(json.dumps(entry, ensure_ascii=True) + "\n")


def _shared(seen: Seen, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {"groups": 0, "splits": Counter(), "examples": []}
    for group in seen.shared(kind):
        found["groups"] += 1
        found["splits"][" and ".join(split for split, _ in group)] += 1
        if len(found["examples"]) < EXAMPLES:
            found["examples"].append({"name": group[0][1], "splits": [split for split, _ in group]})
    return found


def _rejected(path: Path, report: Report) -> Counter[Key]:
    """Rows set aside by split, task and label, from the reject file beside the rows; the report tells of them."""
    counts: Counter[Key] = Counter()
    for item in read_table(path) if path.is_file() else ():
        if not isinstance(item, Reject):
            row = item[1]
            report.set_aside += 1
            if len(report.aside) < EXAMPLES:
                report.aside.append(row)
            counts[row.get("corpus"), row.get("split"), None, row.get("task"), row.get("label")] += 1
    return counts


def _label_sets(counts: Counter[Key]) -> dict[str, dict[str, Any]]:
    sets: dict[str, dict[str, Any]] = {}
    for corpus, task, label in _met(counts):
        known = READERS[corpus].labels(task) if corpus in READERS else ()
        said = sets.setdefault(str(corpus), {}).setdefault(task, {"set": list(known), "met": [], "missing": []})
        if label not in said["met"]:
            said["met"].append(label)
    for tasks in sets.values():
        for said in tasks.values():
            said["met"].sort()
            said["missing"] = [label for label in said["set"] if label not in said["met"]]
            said["unknown"] = [label for label in said["met"] if said["set"] and label not in said["set"]]
    return sets


def _met(counts: Counter[Key]) -> Iterator[tuple[str | None, str, str]]:
    for corpus, _, _, task, label in counts:
        if task in ("er", "sr") and label is not None:
            yield corpus, task, label
