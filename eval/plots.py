"""Plots of the report, each an SVG image on its own."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure


INK, FAINT, GRID = "#1c2430", "#6b7686", "#dfe4ea"
COLOURS = ("#0b7a75", "#d97a2b", "#5b5fc7", "#b03a5b", "#5c8a2f", "#8a6d3b")
_HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#bfe3df", "#0b7a75", "#064e4b"])
# Narrow, with large type: the page shows plots at the width of a phone too.
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


def loss_plot(history: Sequence[dict]) -> str | None:
    """Training loss by step, a colour and a band for each round, with what learns in it where the log says so.

    Args:
        history: `log_history` of a `trainer_state.json`; entries with `loss` and `step`, and optionally `round`,
            `train` (parts) and `tasks`.

    Returns:
        An SVG document; None if the log holds no loss.
    """
    logged = [entry for entry in history if "loss" in entry and "step" in entry]
    if not logged:
        return None
    rounds: list[tuple[object, list[dict]]] = []
    for entry in logged:
        if not rounds or rounds[-1][0] != entry.get("round"):
            rounds.append((entry.get("round"), []))
        rounds[-1][1].append(entry)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(3.1)
        losses = [entry["loss"] for entry in logged]
        axes.plot([entry["step"] for entry in logged], losses, color=GRID, linewidth=1)
        smooth = _smooth(losses, max(1, len(losses) // 40))
        start = 0
        for number, (name, entries) in enumerate(rounds):
            colour = COLOURS[number % len(COLOURS)]
            end = start + len(entries)
            # From the last point of the round before, so that the line has no gaps.
            points = range(max(0, start - 1), end)
            axes.plot(
                [logged[i]["step"] for i in points],
                [smooth[i] for i in points],
                color=colour,
                linewidth=2,
                label=None if name is None else _plain(f"round {name}"),
            )
            if number % 2:
                axes.axvspan(logged[start - 1]["step"], entries[-1]["step"], color="#f3f5f8", zorder=0, linewidth=0)
            start = end
        evaluated = [entry for entry in history if "eval_loss" in entry and "step" in entry]
        if evaluated:
            axes.plot(
                [entry["step"] for entry in evaluated],
                [entry["eval_loss"] for entry in evaluated],
                "o",
                color=INK,
                markersize=4,
                label="validation",
            )
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("training loss")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        if evaluated or rounds[0][0] is not None:
            handles = axes.get_legend_handles_labels()
            figure.legend(*handles, frameon=False, fontsize=9, loc="outside upper left", ncols=3)
        return _svg(figure)


def confusion_plot(confusion: dict) -> str:
    """Confusion matrix: counts, shaded by the share of each row.

    Args:
        confusion: `rows`, `columns` and `counts` as `emotion_figures` gives them; columns that nothing fell into and
            that are no class are left out.
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
        axes.set_xticks(
            range(len(kept)),
            [_plain(confusion["columns"][i]) for i in kept],
            rotation=40,
            ha="right",
            rotation_mode="anchor",
        )
        axes.set_yticks(range(len(rows)), [_plain(row) for row in rows])
        axes.set_xlabel("answer")
        axes.set_ylabel("label")
        axes.tick_params(length=0)
        axes.set_xticks([x + 0.5 for x in range(len(kept) - 1)], minor=True)
        axes.set_yticks([y + 0.5 for y in range(len(rows) - 1)], minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        return _svg(figure)


def class_plot(systems: Sequence[tuple[str, dict, dict]]) -> str:
    """Bars of the accuracy by class with intervals, one colour for each system, and the number of scored answers.

    Args:
        systems: `(name, per_class, intervals)`, `per_class` as `emotion_figures` gives it, `intervals` by label.
    """
    labels = list(dict.fromkeys(label for _, per_class, _ in systems for label in per_class))
    height = 0.8 / len(systems)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(1.2 + max(0.36, 0.24 * len(systems)) * len(labels))
        for number, (name, per_class, intervals) in enumerate(systems):
            for position, label in enumerate(labels):
                figures = per_class.get(label, {})
                accuracy = figures.get("accuracy")
                y = position + (number - (len(systems) - 1) / 2) * height
                axes.barh(
                    y,
                    accuracy or 0,
                    height * 0.92,
                    color=COLOURS[number % len(COLOURS)],
                    label=_plain(name) if position == 0 else None,
                )
                interval = intervals.get(label)
                end = accuracy or 0
                if interval is not None and interval.low is not None:
                    axes.plot([interval.low, interval.high], [y, y], color=INK, linewidth=1.3, solid_capstyle="butt")
                    end = max(end, interval.high)
                text = "none scored" if accuracy is None else f"{accuracy:.0f}%  of {figures['n_scored']}"
                axes.text(end + 1.5, y, text, va="center", fontsize=9, color=FAINT)
        axes.set_yticks(range(len(labels)), [_plain(label) for label in labels])
        axes.invert_yaxis()
        axes.set_xlim(0, 128)
        axes.set_xticks([0, 25, 50, 75, 100])
        axes.set_xlabel("right answers of the scored, %")
        axes.tick_params(length=0)
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        if len(systems) > 1:
            figure.legend(
                *axes.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside upper left", ncols=2
            )
        return _svg(figure)


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


def _plain(text: str) -> str:
    """A text from data as matplotlib shows it letter by letter: a pair of `$` would start a formula."""
    return str(text).replace("$", r"\$")


def _smooth(values: Sequence[float], reach: int) -> list[float]:
    """Mean over so many values before and after each."""
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
