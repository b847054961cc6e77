"""Runs without a word of their data: figures, and what each row adds to them, which is all that tests are made of.

Transcripts of licensed corpora may not be passed on, and answers quote them. What is shared here can be: anybody can
then compare a run of their own with it, row by row.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from ..files import write_whole
from ..redact import redact
from . import EvalError
from .metrics import METRICS, Metric, shared_as
from .results import COUNTS, RESULTS, Run, digest, write_json


# What names things; what a row asks and is scored by is given as a digest, by which rows are known to be the same.
NAMING = ("id", "corpus", "subset", "task", "target", "speaker", "dialogue")
TEXTS = ("audio", "label", "transcript", "answer", "question")


def share_run(run: Run, folder: str | Path) -> None:
    """Write `results.json` and `counts.json`, which `audiollm tables` and `audiollm study --tables` read as a run.

    Columns that results are grouped by stay, other columns and paths of this machine do not.

    Args:
        run: with its answers.
        folder: to write to.

    Raises:
        EvalError: if a row's id is a path of this machine, which could neither be shared nor be compared without.
    """
    folder = Path(folder)
    for row in run.rows:
        if redact(row["id"]) != row["id"]:
            raise EvalError(f"{run.folder}: the id of the row {row['id']} is a path of this machine; give it another.")
    naming = dict.fromkeys((*NAMING, *run.results["settings"]["group_by"]))
    rows = [
        {column: row[column] for column in naming if row.get(column) is not None}
        | {column: digest(row[column]) for column in TEXTS if row.get(column) is not None and column not in naming}
        for row in run.rows
    ]
    counts = {metric.name: _column(run, metric) for metric in METRICS if shared_as(metric) == metric.name}
    shared = {"rows": rows, "counts": {name: column for name, column in counts.items() if any(column)}}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / COUNTS, json.dumps(redact(shared), ensure_ascii=False, separators=(",", ":")) + "\n")
    write_json(folder / RESULTS, redact({**run.results, "command": None}))


def _column(run: Run, metric: Metric) -> list[list[float | None] | None]:
    """What each row of a run adds to a metric's sums; None for rows that it is not of, and for what is unscored."""
    own = metric.rows(run.rows)
    added = metric.added(run, own) if own else np.zeros((0, 0))
    found = {row["id"]: [_plain(value) for value in counts] for row, counts in zip(own, added.tolist())}
    return [found.get(row["id"]) for row in run.rows]


def _plain(value: float) -> float | None:
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else value
