"""Plots of the audit page, each an SVG image on its own, in the look of the evaluation report."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from .extract import OUTCOMES
from .figures import OVERLAP_WORDS, TargetFigures, distinct, overlap


INK, FAINT, GRID = "#1c2430", "#6b7686", "#dfe4ea"
COLOURS = ("#0b7a75", "#d97a2b", "#5b5fc7", "#b03a5b")
OUTCOME_COLOURS = {"at once": "#0b7a75", "again": "#7cc4bd", "aside": "#cf4037", "failed": "#d99a1b", "open": GRID}
_WIDTH = 4.7
_STYLE = {
    "font.size": 10.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "svg.fonttype": "path",
}
MOST_LABELS, MOST_FAULTS = 24, 10


def outcome_plot(targets: dict[str, TargetFigures]) -> str:
    """Share of jobs by outcome, a bar for each target."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.4 + 0.5 * len(targets))
        for position, figures in enumerate(targets.values()):
            start = 0.0
            for outcome in OUTCOMES:
                share = 100 * figures.outcomes[outcome] / max(1, figures.jobs)
                axes.barh(
                    position, share, 0.6, start, color=OUTCOME_COLOURS[outcome], label=None if position else outcome
                )
                start += share
        axes.set_xlabel("% of jobs")
        _rows(figure, axes, list(targets), ncols=5)
        return _svg(figure)


def fault_plot(targets: dict[str, TargetFigures]) -> str | None:
    """Share of answers refused for each fault, by target; `None` if none was refused."""
    codes = sorted({code for figures in targets.values() for code in figures.faults})
    if not codes:
        return None
    codes.sort(key=lambda code: -sum(figures.faults[code] for figures in targets.values()))
    codes = codes[:MOST_FAULTS]
    series = {
        target: [100 * figures.faults[code] / max(1, figures.answers) for code in codes]
        for target, figures in targets.items()
    }
    return _bars(series, [code.replace("_", " ") for code in codes], "% of answers with this fault")


def label_plot(targets: dict[str, TargetFigures], task: str) -> str | None:
    """Accepted and refused jobs by label, a bar for each target; `None` if the task has none."""
    counts = {
        (target, label, accepted): count
        for target, figures in targets.items()
        for (of_task, label, accepted), count in figures.labels.items()
        if of_task == task
    }
    labels = sorted({label for _, label, _ in counts})[:MOST_LABELS]
    if not labels:
        return None
    height = 0.8 / len(targets)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.2 + max(0.36, 0.26 * len(targets)) * len(labels))
        for number, target in enumerate(targets):
            for position, label in enumerate(labels):
                kept, lost = (counts.get((target, label, accepted), 0) for accepted in (True, False))
                y = position + (number - (len(targets) - 1) / 2) * height
                colour = COLOURS[number % len(COLOURS)]
                axes.barh(y, kept, height * 0.9, color=colour, label=None if position else target)
                axes.barh(y, lost, height * 0.9, kept, color=colour, alpha=0.25)
        axes.set_xlabel("jobs; pale: not accepted")
        _rows(figure, axes, labels)
        return _svg(figure)


def length_plot(targets: dict[str, TargetFigures]) -> str | None:
    """Accepted answers by their number of words; `None` if there are none."""
    drawn = {target: figures.words for target, figures in targets.items() if figures.words}
    if not drawn:
        return None
    most = max(max(words) for words in drawn.values())
    width = max(1, most // 25)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(2.9)
        for number, (target, words) in enumerate(drawn.items()):
            axes.hist(
                list(words), range(0, most + 2 * width, width), weights=list(words.values()),
                color=COLOURS[number % len(COLOURS)], alpha=0.65, label=target,
            )  # fmt: skip
        axes.set_xlabel("words of accepted answers")
        axes.set_ylabel("answers")
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside upper left", ncols=2)
        return _svg(figure)


def distinct_plot(targets: dict[str, TargetFigures]) -> str | None:
    """Distinct-1 to distinct-3 and overlap of accepted answers, by target; `None` if there are none."""
    drawn = {target: figures.texts.items for target, figures in targets.items() if figures.texts.items}
    if not drawn:
        return None
    names = ["distinct-1", "distinct-2", "distinct-3", f"overlap, {OVERLAP_WORDS} words"]
    series = {
        target: [100 * (share or 0) for share in (*(distinct(texts, n) for n in (1, 2, 3)), overlap(texts))]
        for target, texts in drawn.items()
    }
    return _bars(series, names, "%; overlap: shared with another answer")


def _bars(series: dict[str, Sequence[float]], names: Sequence[str], unit: str) -> str:
    height = 0.8 / len(series)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.2 + max(0.36, 0.26 * len(series)) * len(names))
        for number, (target, values) in enumerate(series.items()):
            places = [position + (number - (len(series) - 1) / 2) * height for position in range(len(names))]
            axes.barh(places, values, height * 0.9, color=COLOURS[number % len(COLOURS)], label=target)
            for place, value in zip(places, values):
                axes.text(value + 1, place, f"{value:.0f}", va="center", fontsize=9, color=FAINT)
        axes.set_xlim(0, 112)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel(unit)
        _rows(figure, axes, names)
        return _svg(figure)


def _rows(figure: Figure, axes, names: Sequence[str], ncols: int = 2):
    # A pair of `$` in a label from data would start a formula.
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, frameon=False, fontsize=9, loc="outside upper left", ncols=ncols)


def _axes(height: float):
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()
