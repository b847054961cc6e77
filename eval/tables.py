"""Tables of results, one system a row, as Markdown, LaTeX or CSV.

    audiollm tables RUN [RUN ...] [--format markdown|latex|csv]
    audiollm tables RUN [RUN ...] --intervals [--cluster speaker]
    audiollm tables RUN RUN [RUN ...] --folds [--cluster speaker]
    audiollm tables --paper 2 --row "alt-4=RUN" [--row "alt-1=RUN"]

docs/tables.md says how runs and the paper's rows and columns are matched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..redact import redact
from ..reporting.markdown import plain
from . import EvalError
from .metrics import (
    METRICS,
    TASK_NAMES,
    Metric,
    cluster_names,
    evidence_part,
    find_metric,
    worst_class_counts,
)
from .results import Run, same_text
from .sheets import write_rows
from .statistics import (
    LEVEL,
    Comparison,
    Interval,
    bootstrap,
    class_averages,
    compare_bootstrap,
    compare_mcnemar,
    compare_randomised,
    holm,
    unweighted_average,
    weighted_average,
)


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # Straight quotes start shorthands of babel; a bracket or star would belong to the line break of the row before.
    '"': r"\char34{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\u2020": r"\textsuperscript{\dag}",
    "\n": " ",
    "\r": " ",
}


@dataclass(frozen=True)
class Cell:
    """A figure with what belongs to it.

    Args:
        value: the figure.
        low, high: its interval, or None.
        mark: a sign that a note explains.
        decimals: shown.
        signed: whether a figure above zero gets a plus, as differences do.
    """

    value: float
    low: float | None = None
    high: float | None = None
    mark: str = ""
    decimals: int = 1
    signed: bool = False

    def __str__(self) -> str:
        form = f"{'+' if self.signed else ''}.{self.decimals}f"
        value, *limits = (format(x, form) for x in (self.value, self.low, self.high) if x is not None)
        return f"{value}{self.mark}" + (f" [{', '.join(limits)}]" if limits else "")


@dataclass(frozen=True)
class Table:
    """A table before it is written in any format; a cell None is a figure that does not exist, and stays empty.

    Args:
        title: what it shows.
        columns: headings; the first one is of the row names.
        rows: as many cells as columns, numbers unformatted.
        note: what a reader must know to read the figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple, ...]
    note: str = ""

    def write(self, form: str) -> str:
        """The table in one of [`FORMATS`]."""
        return {"markdown": self.markdown, "latex": self.latex, "csv": self.csv}[form]()

    def markdown(self) -> str:
        cells = [[_markdown_text(cell) for cell in row] for row in (self.columns, *self.rows)]
        widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(self.columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [
            "| "
            + " | ".join(_pad(cell, width, column) for column, (cell, width) in enumerate(zip(row, widths)))
            + " |"
            for row in [cells[0], rule, *cells[1:]]
        ]
        return "\n".join([f"**{plain(self.title)}**", "", *lines, *(["", plain(self.note)] if self.note else [])])

    def latex(self) -> str:
        """A `table` with rules of the package booktabs; every text escaped."""
        lines = [[latex_text(format_cell(cell)) for cell in row] for row in (self.columns, *self.rows)]
        body = [" & ".join(line) + r" \\" for line in lines]
        note = rf"\par\smallskip {{\footnotesize {latex_text(self.note)}}}"
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex_text(self.title)}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}",
                r"\toprule",
                body[0],
                r"\midrule",
                *body[1:],
                r"\bottomrule",
                r"\end{tabular}",
                *([note] if self.note else []),
                r"\end{table}",
            ]
        )

    def csv(self) -> str:
        """Headings and rows alone, numbers unrounded; an interval's limits get columns of their own."""
        headings, places = [], []
        for column, heading in enumerate(self.columns):
            cells = [row[column] for row in self.rows if isinstance(row[column], Cell)]
            headings.append(heading)
            places.append((column, "value"))
            if any(cell.low is not None for cell in cells):
                headings += [f"{heading} low", f"{heading} high"]
                places += [(column, "low"), (column, "high")]
            if any(cell.mark for cell in cells):
                headings.append(f"{heading} mark")
                places.append((column, "mark"))
        return write_rows([headings, *([_part(row[c], part) for c, part in places] for row in self.rows)])


def format_cell(cell: object) -> str:
    """A cell as text: one decimal for a figure, nothing for a missing one."""
    if cell is None:
        return ""
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def latex_text(text: str) -> str:
    """A text that LaTeX shows as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


def _part(cell: object, part: str) -> object:
    if isinstance(cell, Cell):
        return getattr(cell, part)
    return cell if part == "value" else None


def _markdown_text(cell: object) -> str:
    """A cell for Markdown: names from data are harmless, figures as they are."""
    return plain(cell) if isinstance(cell, str) else format_cell(cell)


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def overall_table(results: Sequence[dict]) -> Table:
    """The main figures of several systems."""
    shown = _shown(METRICS, [result["figures"] for result in results])
    rows = [
        (
            result["system"]["name"],
            *(metric.value(result["figures"]) for metric in shown),
            result["counts"]["unscored"],
            result["counts"]["errors"],
        )
        for result in results
    ]
    headings = ("system", *(metric.heading for metric in shown), "unscored", "errors")
    return Table("Overall", headings, tuple(rows), _note(shown, results))


def summary_table(results: Sequence[dict]) -> Table:
    """What matters first of few systems, one figure a line."""
    shown = _shown([metric for metric in METRICS if metric.title], [result["figures"] for result in results])
    lines = [(metric.heading, *(metric.value(result["figures"]) for result in results)) for metric in shown]
    for name in ("unscored", "errors"):
        counts = [result["counts"][name] for result in results]
        lines += [(name, *counts)] if any(counts) else []
    return Table(
        "Results", ("%", *(result["system"]["name"] for result in results)), tuple(lines), _note(shown, results)
    )


def seeds_table(results: Mapping[str, Sequence[dict]]) -> Table:
    """What matters first, as means over trainings that differ by their seeds, with the lowest and the highest.

    Args:
        results: of the trainings of each kind, by its name.
    """
    everything = [result for some in results.values() for result in some]
    shown = _shown([metric for metric in METRICS if metric.title], [result["figures"] for result in everything])

    def over_seeds(metric: Metric, some: Sequence[dict]) -> str | None:
        values = [value for result in some if (value := metric.value(result["figures"])) is not None]
        return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else None

    rows = [(name, len(some), *(over_seeds(metric, some) for metric in shown)) for name, some in results.items()]
    headings = ("run", "seeds", *(metric.heading for metric in shown))
    return Table("Means over seeds, lowest and highest", headings, tuple(rows), _note(shown, everything))


def _note(metrics: Sequence[Metric], results: Sequence[dict]) -> str:
    notes = dict.fromkeys(metric.note for metric in metrics if metric.note)
    lower = [metric.heading for metric in metrics if not metric.higher_is_better]
    notes |= {f"Lower is better: {', '.join(lower)}": None} if lower else {}
    return " ".join(["Percent.", *(f"{note}." for note in notes), _conditions(results)])


def _shown(metrics: Sequence[Metric], figures: Sequence[dict], part: str | None = None) -> list[Metric]:
    return [metric for metric in metrics if any(metric.value(some, part) is not None for some in figures)]


def folds_table(runs: Sequence[Run], cluster: str | None = None, seed: int = 0) -> Table:
    """What a cross-validation found: figures of each fold, their mean, and of the rows of all folds with an interval.

    Args:
        runs: one for each fold, on rows that no other has.
        cluster: column whose values are drawn whole (`speaker`, `audio`); None draws rows.
        seed: of the draws.

    Raises:
        EvalError: if two runs have a row in common or count by different rules, or there is but one.
    """
    if len(runs) < 2:
        raise EvalError("one run is no cross-validation: give the runs of all folds.")
    _check_folds(runs)
    figures = [run.results["figures"] for run in runs]
    shown, lines = _shown(METRICS, figures), []
    for metric in shown:
        values = [metric.value(of_fold) for of_fold in figures]
        told = [value for value in values if value is not None]
        mean = float(np.mean(told)) if len(told) == len(runs) else None
        lines.append((metric.heading, *values, mean, interval_cell(_pooled(metric, runs, cluster, seed))))
    unit = f"clusters of the same {cluster}" if cluster else "rows"
    note = (
        f"All rows: of all folds together, in brackets a {LEVEL:.0%} percentile bootstrap over {unit}, 10,000 "
        f"resamples, seed {seed}. {_note(shown, [run.results for run in runs])}"
    )
    columns = ("%", *(run.folder.resolve().name for run in runs), "mean of folds", "all rows")
    return Table(f"{len(runs)} folds", columns, tuple(lines), note)


def _check_folds(runs: Sequence[Run]) -> None:
    found: dict[str, Run] = {}
    for run in runs:
        _check_conditions(runs[0], run, {row["task"] for row in run.rows})
        for row in run.rows:
            if row["id"] in found:
                raise EvalError(
                    f"row {row['id']} is in {found[row['id']].folder} and in {run.folder}: folds share no row."
                )
        found |= {row["id"]: run for row in run.rows}


def _pooled(metric: Metric, runs: Sequence[Run], cluster: str | None, seed: int) -> Interval | None:
    """A figure over the scored rows of several runs, with its interval."""
    counts, rows = [], []
    for run in runs:
        own = metric.rows(run.rows)
        if own:
            added = metric.added(run, own)
            scored = ~np.isnan(added).any(axis=1)
            counts.append(added[scored])
            rows += [own[place] for place in np.flatnonzero(scored)]
    if not rows:
        return None
    return bootstrap(np.concatenate(counts), metric.statistic, cluster_names(rows, cluster), seed=seed)[0]


def class_table(results: Sequence[dict], task: str) -> Table:
    """Accuracy by class of several systems, with both averages (the paper's tables 8 and 9)."""
    return _class_table([(result["system"]["name"], [result]) for result in results], task, "system")


def seeds_class_table(results: Mapping[str, Sequence[dict]], task: str) -> Table:
    """As [`class_table`], of means over trainings that differ by their seeds."""
    return _class_table(list(results.items()), task, "run")


def _class_table(named: Sequence[tuple[str, Sequence[dict]]], task: str, heading: str) -> Table:
    figures = [
        (name, [result["figures"][task] for result in some if task in result["figures"]]) for name, some in named
    ]
    labels = list(dict.fromkeys(label for _, some in figures for one in some for label in one["labels"]))

    def mean(values: Iterable[float | None]) -> float | None:
        found = [value for value in values if value is not None]
        return float(np.mean(found)) if found else None

    rows = [
        (
            name,
            *(mean((one["per_class"].get(label) or {}).get("accuracy") for one in some) for label in labels),
            mean(one["unweighted_average"] for one in some),
            mean(one["weighted_average"] for one in some),
            sum(one["n_unscored"] for one in some),
        )
        for name, some in figures
        if some
    ]
    note = "Percent right of the scored answers."
    if any(len(some) > 1 for _, some in figures):
        note = "Percent right of the scored answers: means over seeds; unscored: of all seeds."
    columns = (heading, *labels, "unweighted", "weighted", "unscored")
    return Table(f"By class: {TASK_NAMES[task]}", columns, tuple(rows), note)


def class_intervals(run: Run, task: str, cluster: str | None = None, seed: int = 0) -> dict[str, Interval]:
    """Bootstrap intervals of a run's accuracy by class, and of `unweighted` and `weighted`.

    Args:
        run: the run.
        task: `er` or `sr`.
        cluster: column whose values are drawn whole (`speaker`, `audio`); None draws answers.
        seed: of the draws.
    """
    rows = run.of_task(task)
    counts = find_metric(f"{TASK_NAMES[task]}_accuracy").added(run, rows)
    scored = ~np.isnan(counts).any(axis=1)
    rows = [rows[index] for index in np.flatnonzero(scored)]
    found = bootstrap(counts[scored], class_averages, cluster_names(rows, cluster), seed=seed) if rows else []
    names = [*run.labels(task), "unweighted", "weighted"]
    return dict(zip(names, found or [Interval(None, None, None)] * len(names)))


def interval_table(runs: Sequence[Run], task: str, cluster: str | None = None, seed: int = 0) -> Table:
    """Accuracy by class with 95% bootstrap intervals, which the paper's tables 8 and 9 lack."""
    runs = [run for run in runs if run.of_task(task)]
    intervals = [class_intervals(run, task, cluster, seed) for run in runs]
    names = list(
        dict.fromkeys(name for found in intervals for name in found if name not in ("unweighted", "weighted"))
    )
    names += ["unweighted", "weighted"]
    rows = [(run.name, *(interval_cell(found.get(name)) for name in names)) for run, found in zip(runs, intervals)]
    drawn = f"clusters of the same {cluster}" if cluster else "answers"
    note = (
        f"Percent right of the scored answers; in brackets a {LEVEL:.0%} percentile bootstrap over {drawn}, 10,000 "
        f"resamples, seed {seed}."
    )
    return Table(f"By class: {TASK_NAMES[task]}", ("system", *names), tuple(rows), note)


def compare_runs(first: Run, second: Run, cluster: str | None = None, seed: int = 0) -> list[tuple[str, Comparison]]:
    """Paired tests of two runs' figures on the rows that both answered (and, for ER and SR, that both have scored).

    Right and wrong answers get the exact McNemar test, unless rows are clustered; unweighted averages the paired
    bootstrap; all other figures, such as WER, approximate randomisation.

    Raises:
        EvalError: if the runs share no rows, or disagree on a row's question (unless `ask` changed it), label,
            transcript or answer, on the classes or on the normaliser.
    """
    pairs = _paired_rows(first, second)
    _check_conditions(first, second, {row["task"] for row, _ in pairs})
    theirs = {row["id"]: other for row, other in pairs}
    comparisons = []
    for metric in METRICS:
        ours = metric.rows([row for row, _ in pairs]) if metric.tested else []
        if not ours:
            continue
        one, other = metric.added(first, ours), metric.added(second, [theirs[row["id"]] for row in ours])
        both = ~(np.isnan(one).any(1) | np.isnan(other).any(1))
        one, other = one[both], other[both]
        clusters = cluster_names([ours[index] for index in np.flatnonzero(both)], cluster)
        if metric.binary and clusters is None:
            half = one.shape[1] // 2
            result = compare_mcnemar(one[:, :half].sum(1) > 0, other[:, :half].sum(1) > 0)
        elif metric.statistic is unweighted_average:
            result = compare_bootstrap(one, other, metric.statistic, clusters, seed=seed)
        else:
            result = compare_randomised(one, other, metric.statistic, clusters, seed=seed)
        if result.first is not None and result.second is not None:
            comparisons.append((metric.heading, result))
    return comparisons


def comparison_tables(first: Run, others: Sequence[Run], cluster: str | None = None, seed: int = 0) -> list[Table]:
    """Paired tests of one run against each of the others; p-values are adjusted for all of them by Holm's method."""
    results = [compare_runs(first, other, cluster=cluster, seed=seed) for other in others]
    adjusted = iter(holm([result.p_value for found in results for _, result in found]))
    unit = f"clusters of the same {cluster}" if cluster else "rows"
    note = (
        "Percent, on rows that both systems answered and that are scored for both; + says that the second system's "
        f"figure is higher than the first's. Two-sided tests over {unit}, seed {seed}; Holm's correction for all "
        f"tests with {first.name}."
    )
    tables = []
    for other, found in zip(others, results):
        rows = [
            (
                name,
                *(result.first, result.second, interval_cell(result.difference, signed=True)),
                *(result.test, result.n, p_text(result.p_value), p_text(next(adjusted))),
            )
            for name, result in found
        ]
        judges = [redact(run.results["settings"]["judge"]) for run in (first, other)]
        judged = f" Judges: {' and '.join(judges)}." if judges[0] != judges[1] else ""
        columns = ("figure", first.name, other.name, "second minus first", "test", "rows", "p", "p (Holm)")
        tables.append(Table(f"Paired tests: {first.name} and {other.name}", columns, tuple(rows), note + judged))
    return tables


def controls_table(first: Run, others: Sequence[Run], cluster: str | None = None, seed: int = 0) -> Table | None:
    """What a run's hearing adds: its accuracy beside that of controls, which say in their results what they hear.

    Answers that are unscored count as wrong, on both sides: a control that declines is not left out.

    Args:
        first: the run.
        others: runs on the same rows, of which controls are shown.
        cluster, seed: as in [`compare_runs`].

    Returns:
        None if none of the others is a control of a task that the run has.
    """
    lines = []
    for other in others:
        hears = other.results["system"].get("hears")
        for metric in METRICS if hears else ():
            if not _of_all_answers(metric) or not first.of_task(metric.tasks[0]):
                continue
            pairs = [(row, theirs) for row, theirs in _paired_rows(first, other) if row["task"] == metric.tasks[0]]
            if not pairs:
                continue
            _check_conditions(first, other, set(metric.tasks))
            ours, theirs = (list(side) for side in zip(*pairs))
            counts = metric.added(other, theirs), metric.added(first, ours)
            result = compare_bootstrap(*counts, metric.statistic, cluster_names(ours, cluster), seed=seed)
            figures = (result.second, result.first, interval_cell(result.difference, signed=True))
            lines.append((other.name, hears, TASK_NAMES[metric.tasks[0]], *figures, result.n, p_text(result.p_value)))
    if not lines:
        return None
    unit = f"clusters of the same {cluster}" if cluster else "rows"
    note = (
        "Percent right of all answers, the unscored as wrong, on rows that both answered; differences with "
        f"{LEVEL:.0%} intervals by the paired bootstrap over {unit}, seed {seed}; of this run alone."
    )
    columns = ("control", "hears", "figure", first.name, "control's", "hearing adds", "rows", "p")
    return Table(f"Controls: what {first.name} hears", columns, tuple(lines), note)


def _of_all_answers(metric: Metric) -> bool:
    """Whether it is how many answers are right, the unscored as wrong."""
    return metric.counts is worst_class_counts and metric.statistic is weighted_average


def group_table(result: dict, column: str) -> Table:
    """One system's main figures by the values of a grouping column (or pair of columns)."""
    groups = result["groups"][column]
    part = evidence_part(result["figures"])
    shown: list[tuple[str, Callable[[dict], object]]] = []
    for metric in _shown([metric for metric in METRICS if metric.grouped], [*groups.values()], part):
        shown.append((metric.heading, lambda figures, metric=metric: metric.value(figures, part)))
        if metric.headline:
            task = metric.tasks[0]
            heading, size = ("words", "reference_words") if task == "asr" else (f"{TASK_NAMES[task]} answers", "n")
            shown.append((heading, lambda figures, task=task, size=size: figures.get(task, {}).get(size)))
    rows = [(value, *(find(group) for _, find in shown)) for value, group in groups.items()]
    return Table(f"{result['system']['name']} by {column}", (column, *(heading for heading, _ in shown)), tuple(rows))


def all_tables(results: Sequence[dict]) -> list[Table]:
    """Every table that results allow."""
    tables = [overall_table(results)]
    tables += [class_table(results, task) for task in ("er", "sr") if any(task in r["figures"] for r in results)]
    return tables + [group_table(result, column) for result in results for column in result["groups"]]


def interval_tables(runs: Sequence[Run], cluster: str | None = None, seed: int = 0) -> list[Table]:
    """Class-wise tables with intervals, and the paired tests of the first run against the others."""
    tables = [interval_table(runs, task, cluster, seed) for task in ("er", "sr") if any(r.of_task(task) for r in runs)]
    controls = controls_table(runs[0], runs[1:], cluster, seed)
    return [*tables, *([controls] if controls else []), *comparison_tables(runs[0], runs[1:], cluster, seed)]


def _paired_rows(first: Run, second: Run) -> list[tuple[dict, dict]]:
    theirs = {row["id"]: row for row in second.rows}
    pairs = [(row, theirs[row["id"]]) for row in first.rows if row["id"] in theirs]
    if not pairs:
        raise EvalError(f"{first.folder} and {second.folder} share no rows; evaluate both on the same data.")
    ways = [redact(run.results["settings"].get("ask")) for run in (first, second)]  # one may have been shared
    same = ["task", "label", "transcript", "answer", *(["question"] if ways[0] == ways[1] else [])]
    for one, other in pairs:
        for name in same:
            if not same_text(one.get(name), other.get(name)):
                raise EvalError(
                    f"row {one['id']}: {first.folder} and {second.folder} differ in {name!r}; evaluate both on the "
                    "same data."
                )
    return pairs


def compatible_pairs(first: Run, second: Run) -> tuple[list[dict], list[dict]]:
    """Rows that two runs both answered, side by side.

    Raises:
        EvalError: as [`compare_runs`].
    """
    pairs = _paired_rows(first, second)
    _check_conditions(first, second, {row["task"] for row, _ in pairs})
    return [row for row, _ in pairs], [row for _, row in pairs]


def _check_conditions(first: Run, second: Run, tasks: set[str]) -> None:
    """Refuse to compare figures that were counted by different rules."""
    for task in tasks & first.results["label_sets"].keys():
        classes = [", ".join(run.labels(task)) for run in (first, second)]
        if classes[0] != classes[1]:
            raise EvalError(
                f"{first.folder} and {second.folder} have other {TASK_NAMES[task]} classes ({'; '.join(classes)}): "
                "evaluate both with the same --label-set."
            )
    # One may have been shared.
    normalizers = [redact(run.results["settings"]["normalizer"]) for run in (first, second)]
    if "asr" in tasks and len(set(normalizers)) > 1:
        raise EvalError(
            f"{first.folder} and {second.folder} have the WER normalisers {' and '.join(normalizers)}: evaluate both "
            "with the same --normalizer."
        )


def interval_cell(interval: Interval | None, signed: bool = False) -> Cell | None:
    """A figure with its interval, None where there is none."""
    if interval is None or interval.estimate is None:
        return None
    return Cell(interval.estimate, interval.low, interval.high, signed=signed)


def p_text(value: float | None) -> str | None:
    """A p-value as tables show it."""
    return None if value is None else f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _conditions(results: Sequence[dict]) -> str:
    sets = {
        f"{TASK_NAMES[task].capitalize()} classes: {', '.join(labels['labels'])}"
        for result in results
        for task, labels in result["label_sets"].items()
    }
    judges = {f"judge: {redact(result['settings']['judge'])}" for result in results}
    normalizers = {f"WER normaliser: {redact(r['settings']['normalizer'])}" for r in results if "asr" in r["figures"]}
    return "; ".join([*sorted(sets), *sorted(judges), *sorted(normalizers)]) + "."
