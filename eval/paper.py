"""The paper's tables with our figures beside its own. What the paper says is data: paper_tables.json."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..corpora.schema import EMOTION_TASKS
from ..redact import redact
from . import EvalError
from .audiobench import read_scores
from .metrics import METRICS, TASK_NAMES, Metric, find_metric
from .results import RESULTS, Run, read_run
from .tables import Cell, Table


PAPER_FILE = Path(__file__).with_name("paper_tables.json")
SECOND_HAND = "\u2020"
# The figure of a set, by task. SQA is a language model's rating: without one there is none, and word overlap is no
# substitute for it.
_HEADLINES = {metric.tasks[0]: metric for metric in METRICS if metric.headline}
# Wider tables have the paper's and our figures in lines of their own, not in columns side by side.
_WIDEST = 5


@dataclass(frozen=True)
class SetFigure:
    """A run's headline figure on one set.

    Args:
        corpora: names of the corpora in the set, joined.
        subset: names of their parts that are counted on their own, joined ("" for none): the data set's name for those
            read from AudioBench's form.
        task: its task.
        value: the figure, None if it does not exist.
        figures: all figures of the run; none for a score of AudioBench.
        about: what a reader must know: classes, answers, judge.
        column: the paper's column that the user gave the run for.
        run: that it is of; none for a score of AudioBench.
    """

    corpora: str
    subset: str
    task: str
    value: float | None
    figures: dict
    about: str
    column: str | None = None
    run: Run | None = None


def paper_table(number: int, rows: Sequence[str] = ()) -> Table:
    """One of the paper's tables 1 to 9.

    Args:
        number: of the table.
        rows: `NAME=RUN` or `NAME=RUN@COLUMN`, where NAME is a row of the table, or a new one; RUN the folder of a run,
            or a score log of AudioBench; COLUMN the set whose column it fills, told by the corpus's name when left
            out. A name given again adds a run on another set.

    Raises:
        EvalError: for a table that the paper has not, or a row that can't be read as one.
        FileNotFoundError: if a run is not there.
    """
    content = _read_paper()
    tables = {table["number"]: table for table in content["tables"]}
    if number not in tables:
        raise EvalError(f"the paper's tables are {min(tables)} to {max(tables)}; there is no table {number}.")
    table, sets = tables[number], content["sets"]
    columns = [column if isinstance(column, dict) else {"name": column, "set": column} for column in table["columns"]]
    ours: dict[str, list[SetFigure]] = {}
    for row in rows:
        name, figures = _read_row(row, {*sets, *(column["name"] for column in columns)})
        ours.setdefault(name, []).extend(figures)
    if any("evidence" in column for column in columns):  # of which the rows are sets
        ours = {
            name: [f for f in figures if f.task in _tasks_of_set(f.column or name, sets)]
            for name, figures in ours.items()
        }
    known = {row["name"]: row for row in table["rows"]}
    names = [*known, *(name for name in ours if name not in known)]
    cells = {name: [_our_cell(column, ours.get(name, []), sets, table) for column in columns] for name in names}
    for name in names:
        if "change" in known.get(name, {}) and name not in ours:
            cells[name] = _change(*(cells[part] for part in known[name]["change"]))
    theirs = {name: [_paper_cell(known.get(name, {}), column["name"]) for column in columns] for name in names}
    headings = [column["name"] for column in columns]
    if len(columns) > _WIDEST:
        lines = [
            (f"{name}, {who}", *line[name]) for name in names for who, line in (("paper", theirs), ("ours", cells))
        ]
        headings = ["row", *headings]
    else:
        lines = [(name, *(cell for pair in zip(theirs[name], cells[name]) for cell in pair)) for name in names]
        headings = ["row", *(f"{name} {who}" for name in headings for who in ("paper", "ours"))]
    return Table(
        f"Table {number}. {table['title']}",
        tuple(headings),
        tuple(lines),
        _note(table, theirs, ours, cells, columns, sets),
    )


def _our_cell(column: dict, figures: Sequence[SetFigure], sets: dict, table: dict) -> float | None:
    if "mean" in column:
        groups = [[f.value for f in figures if f.task in group] for group in column["mean"]]
        found = [value for group in groups for value in group if value is not None]
        # A mean without a part of what it is over would be another figure.
        return sum(found) / len(found) if all(groups) and len(found) == sum(map(len, groups)) else None
    if "evidence" in column:
        return _mean([_evidence(figure, find_metric(column["evidence"])) for figure in figures])
    wanted = column.get("set") or table["set"]
    figure = next((f for f in figures if _fills(f, wanted, sets[wanted])), None)
    if figure is None or "set" in column:
        return figure and figure.value
    of_task = figure.figures.get(figure.task, {})
    if "average" in column:
        return of_task.get(column["average"]) if of_task else figure.value
    per_class = of_task.get("per_class", {})
    return next((per_class[label].get("accuracy") for label in column["class"] if label in per_class), None)


def _mean(values: Sequence[float | None]) -> float | None:
    """None without values, and where one is missing: the mean would be another figure."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there and len(there) == len(values) else None


def _evidence(figure: SetFigure, metric: Metric) -> float | None:
    """A figure of explanations, of the rows of one task alone."""
    if figure.run is None:
        return None
    rows = [row for row in metric.rows(figure.run.rows) if row["task"] == figure.task]
    counts = metric.added(figure.run, rows) if rows else np.zeros((0, 2))
    scored = counts[~np.isnan(counts).any(axis=1)]
    value = float(metric.statistic(scored.sum(axis=0))) if len(scored) else float("nan")
    return None if math.isnan(value) else value


def _tasks_of_set(name: str, sets: dict) -> tuple[str, ...]:
    return (sets[name]["task"],) if name in sets else EMOTION_TASKS


def _fills(figure: SetFigure, name: str, wanted: dict) -> bool:
    if figure.task != wanted["task"]:
        return False
    if figure.column:
        return figure.column == name
    return bool({figure.corpora.lower(), figure.subset.lower()}.intersection(wanted["corpora"]))


def _change(before: list, after: list) -> list:
    return [None if None in (one, other) else other - one for one, other in zip(before, after)]


def _paper_cell(row: dict, column: str) -> Cell | None:
    if column in row.get("figures", {}):
        return Cell(float(row["figures"][column]))
    if column in row.get("second_hand", {}):
        return Cell(float(row["second_hand"][column]), mark=SECOND_HAND)
    return None


def _read_row(row: str, columns: set[str]) -> tuple[str, list[SetFigure]]:
    name, equals, source = row.partition("=")
    name = name.strip()
    if not equals or not name or not source.strip():
        raise EvalError(f'--row {row!r}: write NAME=RUN, as in --row "alt-4=build/eval".')
    path, at, column = source.strip().rpartition("@")
    # An @ may also be part of a path.
    if not at or column not in columns:
        path, column = source.strip(), None
    return name, [figure for figure in _set_figures(Path(path), column) if figure.value is not None or figure.figures]


def _set_figures(path: Path, column: str | None) -> list[SetFigure]:
    if path.suffix == ".json" and path.name != RESULTS:
        return [_audiobench_figure(path, column)]
    run = read_run(path, answers=False)
    figures = run.results["figures"]
    found = []
    for task, headline in _HEADLINES.items():
        if task in figures:
            rows = run.of_task(task)
            corpora = " + ".join(sorted({str(row.get("corpus") or "unnamed") for row in rows}))
            subset = " + ".join(sorted({str(row["subset"]) for row in rows if row.get("subset")}))
            about = _about(run, task, f"{corpora} ({subset})" if subset else corpora)
            found.append(SetFigure(corpora, subset, task, headline.value(figures), figures, about, column, run))
    return found


def _about(run: Run, task: str, corpora: str) -> str:
    settings, figures = redact(run.results["settings"]), run.results["figures"][task]
    n, judge = figures["n"], f"judge {settings['judge']}"
    if task == "asr":
        details = f"{n} answers, normaliser {settings['normalizer']}"
    elif task == "sqa":
        details = f"{n} answers, {judge if figures.get('judge_score') is not None else 'rated by no language model'}"
    else:
        details = f"{len(run.labels(task))} classes, {figures['n_scored']} of {n} answers scored, {judge}"
    return f"{_title(task)} on {corpora} ({details})"


def _audiobench_figure(path: Path, column: str | None) -> SetFigure:
    log = read_scores(path)
    if log.task is None:
        raise EvalError(f"{path}: the data set {log.dataset} is of none of our tasks.")
    failed = f", {log.percent_failed:.1f} % of the judgements failed and count as zero" if log.percent_failed else ""
    about = f"{_title(log.task)} on {log.dataset} (AudioBench's {log.metric}{failed})"
    return SetFigure(log.dataset, "", log.task, log.score, {}, about, column)


def _title(task: str) -> str:
    return TASK_NAMES[task].capitalize()


def _note(table: dict, theirs: dict, ours: dict, cells: dict, columns: Sequence[dict], sets: dict) -> str:
    notes = [table["note"]] if "note" in table else []
    if any(cell is not None and cell.mark for line in theirs.values() for cell in line):
        notes.append(f"{SECOND_HAND} from reading notes of the paper, not checked against it.")
    filled = {name: figures for name, figures in ours.items() if any(cell is not None for cell in cells[name])}
    tasks = {task for column in columns for task in _tasks_of(column, table, sets)}
    if filled:
        sources = [f"{name}: {_sources(figures, tasks)}" for name, figures in filled.items()]
        notes.append(f"Ours, {'; '.join(sources)}.")
        if any("mean" in column or "evidence" in column for column in columns):
            notes.append("Our means are over these sets, whichever the paper's are over.")
    for name in ours.keys() - filled.keys():
        corpora = ", ".join(dict.fromkeys(figure.corpora for figure in ours[name])) or "no such set"
        notes.append(f"{name}: its figures are on {corpora} and fill no column here; RUN@COLUMN says which to fill.")
    notes.append("Empty: no figure, or none that a source gives.")
    return " ".join(notes)


def _sources(figures: Sequence[SetFigure], tasks: set[str]) -> str:
    return ", ".join(dict.fromkeys(figure.about for figure in figures if figure.task in tasks))


def _tasks_of(column: dict, table: dict, sets: dict) -> list[str]:
    """Tasks whose figures a column may show."""
    if "mean" in column:
        return [task for group in column["mean"] for task in group]
    if "evidence" in column:
        return [*EMOTION_TASKS]
    return [sets[column.get("set") or table["set"]]["task"]]


@cache
def _read_paper() -> dict:
    return json.loads(PAPER_FILE.read_text(encoding="utf-8"))
