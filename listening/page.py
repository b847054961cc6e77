"""A page of a recording: timeline, waveform, curve of the labels, and every segment to hear."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..files import write_whole
from ..reporting.pages import render_page
from ..reporting.quotes import Mark, cut
from .listener import Heard
from .outputs import SILENT, in_words


PAGE = "listen.html"
WIDTH, HEIGHT, COLUMNS, POINTS = 1000, 80, 1000, 2000
# Light enough for dark words on them; labels beyond them share the first.
COLOURS = ("#c9d1db", "#f5c542", "#8fc1ea", "#f29b6b", "#c3b1f0", "#8fd6b4", "#f0a8cf", "#9adcec")
KINDS = {None: ("unsaid", "not in the transcript"), "context": ("before", "said before, not in this segment")}


def write_page(heard: Heard, audio: str | Path, out: str | Path) -> Path:
    """Write `listen.html`, which plays the recording from where it lies; gives its path."""
    path = Path(out) / PAGE
    content = page(heard, Path(audio).name, quote(Path(os.path.relpath(audio, path.parent.resolve())).as_posix()))
    write_whole(path, content.encode("utf-8", "backslashreplace"))
    return path


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each label, in their order."""
    labels = list(labels)
    return dict.fromkeys(labels, COLOURS[0]) | dict(zip(labels, COLOURS))


def page(heard: Heard, name: str, source: str | None) -> str:
    """The page as HTML.

    Args:
        heard: what was found.
        name: of the recording.
        source: where the page finds it, or None to leave it without sound.
    """
    seconds = max([heard.seconds, 0.001, *(row["end"] for row in heard.rows)])
    rows = [{**row, "place": number} for number, row in enumerate(heard.rows, 1)]
    labels = list(dict.fromkeys(label for row in rows for label in row["scores"] or ()))
    tracks = list(dict.fromkeys(row["speaker"] for row in rows)) or [None]
    return render_page(
        "listen.html",
        "listen.js",
        media="'self' file:",
        name=name,
        source=source,
        seconds=seconds,
        clock=clock,
        colours=colours_of(labels),
        tracks=[
            (track or SILENT, [_block(row, seconds) for row in rows if row["speaker"] == track]) for track in tracks
        ],
        waves=[(track, _outline(peaks)) for track, peaks in heard.peaks.items() if len(peaks)],
        curves=_curves(rows, labels, seconds),
        width=WIDTH,
        height=HEIGHT,
        segments=[_segment(row) for row in rows],
        problems=heard.problems,
    )


def clock(seconds: float) -> str:
    """1:02:03, or 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _block(row: dict[str, Any], seconds: float) -> dict[str, Any]:
    left, width = 100 * row["start"] / seconds, 100 * (row["end"] - row["start"]) / seconds
    return {**row, "left": left, "width": width}


def _segment(row: dict[str, Any]) -> dict[str, Any]:
    reasoning, marks = row["reasoning"] or "", []
    for found in row["quotes"] or ():
        kind, title = KINDS.get(found["kind"], ("said", f"said ({found['kind']})"))
        marks.append(Mark(found["start"], found["end"], kind, title))
    return {**row, "marked": cut(reasoning, marks), "cues": in_words(row["cues"])}


def _outline(peaks: Sequence[float]) -> str:
    """The loudness as the points of a polygon."""
    heights = np.array([part.max() for part in np.array_split(np.asarray(peaks), min(COLUMNS, len(peaks)))])
    heights = heights / max(heights.max(), 1e-9) * HEIGHT / 2
    step = WIDTH / len(heights)
    upper = [f"{i * step:.1f},{HEIGHT / 2 - h:.1f}" for i, h in enumerate(heights)]
    lower = [f"{i * step:.1f},{HEIGHT / 2 + h:.1f}" for i, h in enumerate(heights)]
    return " ".join(upper + lower[::-1])


def _curves(rows: Sequence[dict[str, Any]], labels: Sequence[str], seconds: float) -> list[tuple[str, str]]:
    """For each label the points of its probability over time; of long recordings, means of neighbours."""
    scored = [row for row in rows if row["scores"]]
    if not scored:
        return []
    groups = np.array_split(np.arange(len(scored)), min(POINTS, len(scored)))
    middles = np.array([(row["start"] + row["end"]) / 2 for row in scored]) / seconds * WIDTH
    curves = []
    for label in labels:
        scores = np.array([row["scores"].get(label, 0.0) for row in scored])
        points = (f"{middles[g].mean():.1f},{HEIGHT * (1 - scores[g].mean()):.1f}" for g in groups)
        curves.append((label, " ".join(points)))
    return curves
