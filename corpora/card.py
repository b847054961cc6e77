"""The dataset card of an export: what it is, how many, whose, and under which licence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from .read import SUMMARY
from .readers import READERS
from .rejects import Reject
from .stored import stored_rows
from .verify import REPORT


TASKS = {
    "asr": "automatic-speech-recognition",
    "sqa": "question-answering",
    "er": "audio-classification",
    "sr": "audio-classification",
}
GROUPS = 1000


def dataset_card(rows: Path, name: str, form: str) -> str:
    """A card from the rows themselves, `read.json` and `verify.json` where they are there.

    Args:
        rows: as for [`verify`].
        name: of the dataset.
        form: it is exported in.
    """
    counts, teachers = _count(rows)
    corpora = sorted({key[0] for key in counts})
    head = {
        "pretty_name": name,
        "language": sorted({READERS[corpus].language for corpus in corpora if corpus in READERS}) or ["und"],
        "license": "other",
        "task_categories": sorted({TASKS[task] for _, _, task, _ in counts if task in TASKS}),
        "tags": ["speech", "emotion", "audiollm"],
    }
    if form == "datasets":
        splits = []
    else:
        names = sorted({split for _, split, _, _ in counts})
        splits = [{"split": split, "path": f"data/{split}-*"} for split in names]
    if splits and form != "sharegpt":
        head["configs"] = [{"config_name": "default", "data_files": splits}]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# {_plain(name)}",
        _sources(corpora, _json(rows, SUMMARY)),
        _table(counts),
        _labels(counts),
        _made_by(teachers),
        _checked(_json(rows, REPORT)),
        "Emotions named here are how speech sounded to annotators, not what people felt. Use needs the consent of "
        "those who are heard, and must not decide about people.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _count(rows: Path) -> tuple[Counter[tuple[str, ...]], Counter[str]]:
    counts: Counter[tuple[str, ...]] = Counter()
    teachers: Counter[str] = Counter()
    for item in stored_rows(rows):
        if not isinstance(item, Reject):
            row = item.row
            fields = ("corpus", "split", "task", "label")
            key = tuple(str(row.get(field) or ("train" if field == "split" else "")) for field in fields)
            counts[key if key in counts or len(counts) < GROUPS else (*key[:3], "further labels")] += 1
            made = row.get("provenance")
            teacher = made.get("teacher") if isinstance(made, dict) else None
            if teacher and (teacher in teachers or len(teachers) < GROUPS):
                teachers[str(teacher)] += 1
    return counts, teachers


def _sources(corpora: list[str], summary: dict[str, Any]) -> str:
    lines = ["## Where it comes from"]
    for corpus in corpora:
        reader = READERS.get(corpus)
        if reader:
            lines.append(f"- {reader.title}. Licence: {reader.licence}. Its terms hold for this dataset.")
        else:
            lines.append(f"- `{_plain(corpus)}`: own data; state its licence here.")
    if summary:
        questions = f"style `{summary['style']}`, label list `{summary['label_list']}`, seed {summary['seed']}"
        lines.append(f"\nQuestions are drawn from a pool: {questions}.")
    return "\n".join(lines)


def _table(counts: Counter[tuple[str, ...]]) -> str:
    lines = ["## Rows", "| corpus | split | task | label | rows |", "| --- | --- | --- | --- | ---: |"]
    for key, rows in sorted(counts.items()):
        lines.append(f"| {' | '.join(_plain(part) or ' ' for part in key)} | {rows:,} |")
    return "\n".join((lines[0], "", *lines[1:]))


def _labels(counts: Counter[tuple[str, ...]]) -> str:
    sets: dict[tuple[str, str], set[str]] = {}
    for corpus, _, task, label in counts:
        if task in ("er", "sr") and label:
            sets.setdefault((corpus, task), set()).add(label)
    lines = [
        f"- {_plain(corpus)}, {task}: {', '.join(sorted(map(_plain, found)))}"
        for (corpus, task), found in sets.items()
    ]
    return "\n".join(["## Label sets", "", *sorted(lines)]) if lines else ""


def _made_by(teachers: Counter[str]) -> str:
    if not teachers:
        return ""
    lines = [f"- `{_plain(teacher)}`: {rows:,} rows" for teacher, rows in teachers.most_common()]
    return "\n".join(["## Answers written by language models", "", *lines])


def _checked(report: dict[str, Any]) -> str:
    if not report:
        return "It was not verified: run `audiollm verify`."
    problems = ", ".join(f"{kind} {count:,}" for kind, count in report["problems"].items()) or "none"
    shared = {kind: found["groups"] for kind, found in report["shared_between_splits"].items() if found["groups"]}
    both = ", ".join(f"{kind} {count:,}" for kind, count in shared.items()) or "nothing"
    heard = f"{report['clips_heard']:,} clips heard, {report['hours_heard']} hours." if report["clips_heard"] else ""
    return f"## Verification\n\n{heard} Problems: {problems}. In more than one split: {both}."


def _json(rows: Path, name: str) -> dict[str, Any]:
    path = (rows if rows.is_dir() else rows.parent) / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _plain(text: str) -> str:
    """Text from data, so that it cannot be markup or leave its table cell."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>()#+!|$~" else letter for letter in " ".join(text.split()))[
        :200
    ]
