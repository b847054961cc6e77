"""Plots of the pages, each an SVG image on its own; they know only the figures that they draw."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure


INK, FAINT, GRID = "#1c2430", "#6b7686", "#dfe4ea"
COLOURS = ("#0b7a75", "#d97a2b", "#5b5fc7", "#b03a5b", "#5c8a2f", "#8a6d3b")
_HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#bfe3df", "#0b7a75", "#064e4b"])
# Narrow, with large type: the page shows plots at the width of a phone too.
_WIDTH = 4.7
_STYLE: Any = {
    "font.size": 10.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "svg.fonttype": "path",
}


def loss_plot(history: Sequence[Mapping]) -> str | None:
    """Training loss by step, a colour and a band for each round; a round's curve is smoothed by itself.

    Args:
        history: `log_history` of a `trainer_state.json`; entries with `step`, `loss` or `eval_loss`, perhaps `round`.

    Returns:
        An SVG document; None if the log holds no loss.
    """
    logged = [entry for entry in history if "loss" in entry and "step" in entry]
    if not logged:
        return None
    reach = max(1, len(logged) // 40)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(3.1)
        before = logged[0]["step"]
        for number, (name, entries) in enumerate(groupby(logged, key=lambda entry: entry.get("round"))):
            entries = list(entries)
            steps, losses = [entry["step"] for entry in entries], [entry["loss"] for entry in entries]
            axes.plot(steps, losses, color=GRID, linewidth=1)
            axes.plot(
                steps,
                _smooth(losses, reach),
                "o-" if len(steps) == 1 else "-",
                color=COLOURS[number % len(COLOURS)],
                linewidth=2,
                markersize=3,
                label=None if name is None else _plain(f"round {name}"),
            )
            if number % 2:
                axes.axvspan(before, steps[-1], color="#f3f5f8", zorder=0, linewidth=0)
            before = steps[-1]
        evaluated = [entry for entry in history if "eval_loss" in entry and "step" in entry]
        if evaluated:
            steps, losses = [entry["step"] for entry in evaluated], [entry["eval_loss"] for entry in evaluated]
            axes.plot(steps, losses, "o", color=INK, markersize=4, label="validation")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("training loss")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        return _svg(figure, axes, ncols=3)


def confusion_plot(confusion: Mapping) -> str:
    """Confusion matrix: counts, shaded by the share of each row.

    Args:
        confusion: `rows`, `columns` and `counts`; columns that nothing fell into and that are no row are left out.
    """
    rows, counts = confusion["rows"], confusion["counts"]
    kept = [
        index
        for index, column in enumerate(confusion["columns"])
        if column in rows or any(line[index] for line in counts)
    ]
    counts = [[line[index] for index in kept] for line in counts]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.5 + 0.42 * len(rows))
        shares = [[count / (sum(line) or 1) for count in line] for line in counts]
        axes.imshow(shares, cmap=_HEAT, vmin=0, vmax=1, aspect="auto")
        for y, line in enumerate(counts):
            for x, count in enumerate(line):
                if count:
                    colour = "white" if shares[y][x] > 0.45 else INK
                    axes.text(x, y, str(count), ha="center", va="center", color=colour)
        names = [_plain(confusion["columns"][index]) for index in kept]
        axes.set_xticks(range(len(kept)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), [_plain(row) for row in rows])
        axes.set_xlabel("answer")
        axes.set_ylabel("label")
        axes.tick_params(length=0)
        axes.set_xticks([x + 0.5 for x in range(len(kept) - 1)], minor=True)
        axes.set_yticks([y + 0.5 for y in range(len(rows) - 1)], minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        return _svg(figure)


def class_plot(systems: Sequence[tuple[str, Mapping, Mapping]]) -> str:
    """Bars of the accuracy by class with intervals, one colour for each system, and the number of scored answers.

    Args:
        systems: name, then by class `accuracy` (percent or None) and `n_scored`, then by class an interval with `low`
            and `high`.
    """
    labels = list(dict.fromkeys(label for _, per_class, _ in systems for label in per_class))
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.2 + max(0.36, 0.24 * len(systems)) * len(labels))
        for number, (name, per_class, intervals) in enumerate(systems):
            figures = [per_class.get(label, {}) for label in labels]
            places, height = _places(labels, number, len(systems))
            values = [each.get("accuracy") or 0 for each in figures]
            axes.barh(places, values, height * 0.92, color=COLOURS[number % len(COLOURS)], label=_plain(name))
            for label, each, y, end in zip(labels, figures, places, values):
                interval = intervals.get(label)
                if interval is not None and interval.low is not None:
                    axes.plot([interval.low, interval.high], [y, y], color=INK, linewidth=1.3, solid_capstyle="butt")
                    end = max(end, interval.high)
                known = each.get("accuracy") is not None
                text = f"{each['accuracy']:.0f}%  of {each['n_scored']}" if known else "none scored"
                axes.text(end + 1.5, y, text, va="center", fontsize=9, color=FAINT)
        axes.set_xlim(0, 128)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("right answers of the scored, %")
        _name_rows(axes, labels)
        return _svg(figure, axes if len(systems) > 1 else None)


def bar_plot(series: Mapping[str, Sequence[float]], names: Sequence[str], unit: str) -> str | None:
    """Percentages by name, a bar for each series; None without any.

    Args:
        series: values for all names, by what they belong to.
        names: of the values.
        unit: what the axis says.
    """
    if not series or not names:
        return None
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.2 + max(0.36, 0.26 * len(series)) * len(names))
        for number, (name, values) in enumerate(series.items()):
            places, height = _places(names, number, len(series))
            axes.barh(places, values, height * 0.9, color=COLOURS[number % len(COLOURS)], label=_plain(name))
            for place, value in zip(places, values):
                axes.text(value + 1, place, f"{value:.0f}", va="center", fontsize=9, color=FAINT)
        axes.set_xlim(0, 112)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel(unit)
        _name_rows(axes, names)
        return _svg(figure, axes)


def stacked_plot(rows: Mapping[str, Mapping[str, float]], colours: Mapping[str, str], unit: str) -> str:
    """A bar for each row, made of a piece for each colour.

    Args:
        rows: sizes of the pieces, by row and piece.
        colours: of the pieces, in their order.
        unit: what the axis says.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.4 + 0.5 * len(rows))
        start = [0.0] * len(rows)
        for piece, colour in colours.items():
            sizes = [row.get(piece, 0.0) for row in rows.values()]
            axes.barh(range(len(rows)), sizes, 0.6, start, color=colour, label=_plain(piece))
            start = [before + size for before, size in zip(start, sizes)]
        axes.set_xlabel(unit)
        _name_rows(axes, list(rows))
        return _svg(figure, axes, ncols=5)


def parts_plot(series: Mapping[str, Sequence[tuple[float, float]]], names: Sequence[str], unit: str) -> str | None:
    """Bars by name of two parts, the second one pale, a bar for each series; None without any."""
    if not series or not names:
        return None
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.2 + max(0.36, 0.26 * len(series)) * len(names))
        for number, (name, values) in enumerate(series.items()):
            places, height = _places(names, number, len(series))
            first, second = zip(*values)
            colour = COLOURS[number % len(COLOURS)]
            axes.barh(places, first, height * 0.9, color=colour, label=_plain(name))
            axes.barh(places, second, height * 0.9, first, color=colour, alpha=0.25)
        axes.set_xlabel(unit)
        _name_rows(axes, names)
        return _svg(figure, axes)


def count_plot(series: Mapping[str, Mapping[int, int]], x: str, y: str) -> str | None:
    """How often each number occurs, by series; None without any.

    Args:
        series: counts by number.
        x, y: what the axes say.
    """
    drawn = {name: counts for name, counts in series.items() if counts}
    if not drawn:
        return None
    most = max(max(counts) for counts in drawn.values())
    width = max(1, most // 25)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(2.9)
        for number, (name, counts) in enumerate(drawn.items()):
            axes.hist(
                list(counts), range(0, most + 2 * width, width), weights=list(counts.values()),
                color=COLOURS[number % len(COLOURS)], alpha=0.65, label=_plain(name),
            )  # fmt: skip
        axes.locator_params(integer=True)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        return _svg(figure, axes)


class Bounds(Protocol):
    """A figure with its interval; any of them may be missing."""

    @property
    def estimate(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def interval_plot(
    groups: Mapping[str, Sequence[tuple[str, Bounds, str]]], colours: Mapping[str, str], unit: str
) -> str | None:
    """Figures with their intervals, one line each, below the name of their group; None without any.

    Args:
        groups: by name, lines of a name, a figure and a kind.
        colours: by kind.
        unit: what the axis says; 0 is marked. A figure that is far from all others stands at the edge, as a number,
            and an interval that goes on beyond it ends in an arrow.
    """
    if not groups:
        return None
    lines: list[tuple[str, Bounds | None, str]] = []
    for group, members in groups.items():
        lines += [(group, None, ""), *members]
    edge = _edge([bounds for _, bounds, _ in lines if bounds is not None])
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.2 + 0.24 * len(lines))
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlim(*_ends([bounds for _, bounds, _ in lines if bounds is not None], edge))
        far = []
        for place, (_, bounds, kind) in enumerate(lines):
            if bounds is None or bounds.estimate is None:
                continue
            if abs(bounds.estimate) > edge:
                far.append((place, bounds.estimate, colours[kind]))
                continue
            if bounds.low is not None and bounds.high is not None:
                _draw_interval(axes, place, (bounds.low, bounds.high), colours[kind])
            axes.plot([bounds.estimate], [place], "o", color=colours[kind], markersize=5)
        _draw_at_the_ends(axes, far)
        for kind, colour in colours.items():
            axes.plot([], [], "o-", color=colour, linewidth=2, markersize=5, label=_plain(kind))
        axes.set_xlabel(unit)
        _name_rows(axes, [name for name, _, _ in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        for text, (_, bounds, _) in zip(axes.get_yticklabels(), lines):
            text.set_fontweight("normal" if bounds is not None else "bold")
        return _svg(figure, axes, ncols=len(colours))


def _draw_at_the_ends(axes: Axes, far: Sequence[tuple[int, float, str]]) -> None:
    """Figures that are beyond the axis, each as its row, value and colour."""
    ends = axes.get_xlim()
    for place, value, colour in far:
        end, marker, side, text = (ends[1], ">", "right", f"{value:+.1f}   ")
        if value < 0:
            end, marker, side, text = (ends[0], "<", "left", f"   {value:+.1f}")
        axes.plot([end], [place], marker, color=colour, markersize=6, clip_on=False)
        axes.text(end, place, text, ha=side, va="center", fontsize=8, color=INK)


def _draw_interval(axes: Axes, place: int, interval: tuple[float, float], colour: str) -> None:
    left, right = axes.get_xlim()
    low, high = max(interval[0], left), min(interval[1], right)
    axes.plot([low, high], [place, place], color=colour, linewidth=2)
    for end, marker, beyond in ((left, "<", interval[0] < left), (right, ">", interval[1] > right)):
        if beyond:
            axes.plot([end], [place], marker, color=colour, markersize=4, clip_on=False)


def _edge(all_bounds: Sequence[Bounds]) -> float:
    """From where on a figure is so far from all others that an axis which showed it would make dots of them."""
    sizes = [abs(bounds.estimate) for bounds in all_bounds if bounds.estimate is not None]
    return 4 * max(float(np.quantile(sizes, 0.9)), 1.0) if sizes else float("inf")


def _ends(all_bounds: Sequence[Bounds], edge: float) -> tuple[float, float]:
    """Of an axis that shows all figures and their intervals as far as the edge, and 0."""
    found = [(b.estimate, b.low, b.high) for b in all_bounds]
    values = [value for figures in found for value in figures if value is not None and np.isfinite(value)]
    low, high = min([0.0, *values]), max([0.0, *values])
    margin = 0.03 * (min(high, edge) - max(low, -edge)) or 1.0
    return max(low - margin, -edge), min(high + margin, edge)


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _places(names: Sequence[str], number: int, series: int) -> tuple[list[float], float]:
    """Where the bars of a series stand, one for each name, and how high they are."""
    height = 0.8 / series
    return [position + (number - (series - 1) / 2) * height for position in range(len(names))], height


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _svg(figure: Figure, legend_of: Axes | None = None, ncols: int = 2) -> str:
    """The figure as a document, with a legend over the axes if they have one to show."""
    handles, labels = legend_of.get_legend_handles_labels() if legend_of is not None else ([], [])
    if handles:
        figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside upper left", ncols=ncols)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _plain(text: object) -> str:
    """A text from data as matplotlib shows it letter by letter: a pair of `$` would start a formula."""
    return str(text).replace("$", r"\$")


def _smooth(values: Sequence[float], reach: int) -> list[float]:
    """Mean over so many values before and after each."""
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
