"""Runs without a word of their data: figures, and what each row adds to them, which is all that tests are made of.

Transcripts of licensed corpora may not be passed on, and answers quote them. What is shared here can be: anybody can
then compare a run of their own with it, row by row.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole
from ..redact import redact
from . import EvalError
from .metrics import METRICS, Metric, shared_as
from .results import COUNTS, PREDICTIONS, RESULTS, Run, digest, write_json


# What names things; what a row asks and is scored by is given as a digest, by which rows are known to be the same.
NAMING = ("id", "corpus", "subset", "task", "target", "speaker", "dialogue")
TEXTS = ("audio", "label", "transcript", "answer", "question")
# What a system tells of itself; a prior that repeats an answer tells that, too.
SYSTEM = ("name", "fingerprint", "hears", "parameters", "dtype", "device", "max_new_tokens", "quote_confidence")


def share_run(run: Run, folder: str | Path, columns: Sequence[str] = ()) -> None:
    """Write `results.json` and `counts.json.gz`, which `audiollm tables` and `audiollm study --tables` read as a run.

    Args:
        run: with its answers.
        folder: to write to.
        columns: further ones that stay, to cluster by; those that results are grouped by do.

    Raises:
        EvalError: if a column that stays is one of texts, or holds a path of this machine, which could neither be
            shared nor be compared without; or if the folder holds answers.
    """
    folder = Path(folder)
    if (folder / PREDICTIONS).exists():
        raise EvalError(f"{folder} holds answers of a run; share into another folder.")
    kept = tuple(dict.fromkeys((*NAMING, *run.results["settings"]["group_by"], *columns)))
    _check_columns(run, kept)
    rows = [
        {column: row[column] for column in kept if row.get(column) is not None}
        | {column: digest(str(row[column])) for column in TEXTS if row.get(column) is not None and column not in kept}
        for row in run.rows
    ]
    counts = {metric.name: _column(run, metric) for metric in METRICS if shared_as(metric) == metric.name}
    shared = {"rows": rows, "counts": {name: column for name, column in counts.items() if any(column)}}
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(shared, ensure_ascii=False, separators=(",", ":")).encode()
    write_whole(folder / COUNTS, gzip.compress(content, mtime=0))
    write_json(folder / RESULTS, _public(run.results))


def _check_columns(run: Run, kept: Iterable[str]) -> None:
    for column in kept:
        if column in TEXTS and column != "label":
            raise EvalError(f"{run.folder}: its results are grouped by {column}, a text, and cannot be shared.")
        for row in run.rows:
            value = row.get(column)
            if redact(value) != value:
                raise EvalError(
                    f"{run.folder}: row {row['id']}: {column} {value!r} is a path of this machine or a secret; give "
                    "it another name."
                )


def _public(results: dict[str, Any]) -> dict[str, Any]:
    """Results without what a system, an error or a command line may tell beside figures."""
    system = {name: results["system"][name] for name in SYSTEM if name in results["system"]}
    errors = [{"id": error["id"]} for error in results["errors"]]
    kept = {name: redact(value) for name, value in results.items() if name not in ("command", "groups")}
    # What groups are called was looked at row by row; of pairs of names the text would not be theirs any more.
    groups = {
        column: {value: redact(figures) for value, figures in found.items()}
        for column, found in results["groups"].items()
    }
    return {**kept, "system": redact(system), "groups": groups, "errors": errors}


def _column(run: Run, metric: Metric) -> list[list[float | None] | None]:
    """What each row of a run adds to a metric's sums; None for rows of other tasks, and for what is unscored.

    Rows that an evidence figure leaves out where others ask for evidence are there: beside another run they may count.
    """
    own = [row for row in run.rows if row["task"] in metric.tasks]
    added = metric.added(run, own).tolist() if own else []
    found = {row["id"]: [_plain(value) for value in counts] for row, counts in zip(own, added)}
    return [found.get(row["id"]) for row in run.rows]


def _plain(value: float) -> float | None:
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else value
