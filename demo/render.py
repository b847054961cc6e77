"""Findings as HTML: where everything lies, for the template that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..listening.listener import Heard
from ..listening.page import colours_of
from ..listening.page import page as call_page
from ..modeling_audiollm.voice_cues import describe_cues
from ..reporting.pages import render
from ..reporting.quotes import Mark, Segment, cut
from .listen import Findings, HeardQuote


WIDTH, HEIGHT, COLUMNS = 800, 120, 400
EMPTY = '<p class="note">Record or upload something, then press Listen.</p>'


def page(findings: Findings) -> str:
    """All findings about one recording."""
    seconds = len(findings.samples) / findings.rate
    return render(
        "findings.html",
        found=findings,
        cues=describe_cues(findings.cues),
        reasoning=_marked(findings.reasoning, findings.quotes),
        seconds=seconds,
        spans=_spans(findings.quotes, seconds),
        outline=_outline(findings.samples),
        width=WIDTH,
        height=HEIGHT,
        colours=colours_of(findings.scores),
    )


def message(text: str) -> str:
    """A message about what went wrong."""
    return render("message.html", text=text)


def answer(question: str, text: str) -> str:
    """A free question and its answer."""
    return render("answer.html", question=question, text=text)


def call(heard: Heard, path: str) -> str:
    """A long recording: its page, in a frame of its own, which plays it from where Gradio serves it."""
    source = f"gradio_api/file={quote(str(path))}"  # beside the page, also where a proxy puts it under a path
    return render("call.html", content=call_page(heard, Path(path).name, source))


def _marked(reasoning: str, quotes: Sequence[HeardQuote]) -> list[Segment]:
    """The explanation, its quotes numbered and marked as said or not."""
    kinds = {True: ("said", "in the transcript"), False: ("unsaid", "not in the transcript")}
    return cut(reasoning, (Mark(q.start, q.end, *kinds[q.said], number) for number, q in enumerate(quotes, 1)))


def _spans(quotes: Sequence[HeardQuote], seconds: float) -> list[dict[str, Any]]:
    """The quotes that could be placed in time, in percent of the recording."""
    spans = []
    for number, found in enumerate(quotes, 1):
        if found.seconds is not None:
            start, end = found.seconds
            left, width = 100 * start / seconds, 100 * (end - start) / seconds
            spans.append({"number": number, "text": found.text, "left": left, "width": width})
    return spans


def _outline(samples: np.ndarray) -> str:
    """The recording's loudness as the points of a polygon."""
    columns = np.array_split(np.abs(samples), min(COLUMNS, len(samples)))
    peaks = np.array([column.max() for column in columns])
    heights = peaks / max(peaks.max(), 1e-9) * (HEIGHT / 2 - 14)
    middle, step = HEIGHT / 2 + 6, WIDTH / len(heights)
    upper = [f"{i * step:.1f},{middle - h:.1f}" for i, h in enumerate(heights)]
    lower = [f"{i * step:.1f},{middle + h:.1f}" for i, h in enumerate(heights)]
    return " ".join(upper + lower[::-1])
