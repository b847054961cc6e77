"""Findings as HTML. Every text of a model or a person is escaped: it is shown, never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ..modeling_audiollm.timeline import EmotionSegment
from ..modeling_audiollm.voice_cues import describe_cues
from .listen import Findings, HeardQuote


WIDTH, HEIGHT, COLUMNS = 800, 120, 400
# Light enough for dark words on them; labels beyond them share the first.
COLOURS = ("#c9d1db", "#f5c542", "#8fc1ea", "#f29b6b", "#c3b1f0", "#8fd6b4", "#f0a8cf", "#9adcec")
EMPTY = '<p class="note">Record or upload something, then press Listen.</p>'


def page(findings: Findings) -> str:
    """All findings about one recording."""
    return "".join(
        [
            _section("answer", _headline(findings) + explanation(findings.reasoning, findings.quotes)),
            _section("where", waveform(findings) + quote_times(findings)),
            timeline(findings.timeline, list(findings.scores)),
            _section("scores", "<h3>How likely each label is</h3>" + bars(findings.scores, findings.label)),
            _section(
                "sentiment",
                f"<h3>Sentiment: {escape(findings.sentiment)}</h3>"
                + bars(findings.sentiment_scores, findings.sentiment)
                + f"<p>{escape(findings.sentiment_reasoning)}</p>",
            ),
            _section(
                "transcript", f"<h3>What the model heard</h3><blockquote>{escape(findings.transcript)}</blockquote>"
            ),
        ]
    )


def message(text: str) -> str:
    """A message about what went wrong."""
    return f'<p class="problem" role="alert">{escape(text)}</p>'


def answer(question: str, text: str) -> str:
    """A free question and its answer."""
    return (
        f'<div class="free"><p class="note">{escape(question)}</p><p>{escape(text) or "<em>no answer</em>"}</p></div>'
    )


def explanation(reasoning: str, quotes: Sequence[HeardQuote]) -> str:
    """The explanation, its quotes marked as said or not."""
    pieces, end = [], 0
    for number, quote in enumerate(quotes, 1):
        kind, title = ("said", "in the transcript") if quote.said else ("unsaid", "not in the transcript")
        pieces += [
            escape(reasoning[end : quote.start]),
            f'<mark class="{kind}" title="{title}">{escape(quote.text)}<sup>{number}</sup></mark>',
        ]
        end = quote.end
    return f'<p class="reasoning">{"".join([*pieces, escape(reasoning[end:])])}</p>'


def bars(scores: Mapping[str, float], best: str) -> str:
    """Probabilities of all labels, as bars with figures."""
    rows = "".join(
        f'<div role="listitem"{" class=best" if label == best else ""}><span>{escape(label)}</span>'
        f'<i><b style="width:{100 * score:.1f}%"></b></i><span>{100 * score:.1f}%</span></div>'
        for label, score in scores.items()
    )
    return f'<div class="bars" role="list">{rows}</div>'


def waveform(findings: Findings) -> str:
    """The recording drawn, with the quotes that could be placed in time."""
    seconds = len(findings.samples) / findings.rate
    columns = np.array_split(np.abs(findings.samples), min(COLUMNS, len(findings.samples)))
    peaks = np.array([column.max() for column in columns])
    heights = peaks / max(peaks.max(), 1e-9) * (HEIGHT / 2 - 14)
    middle, step = HEIGHT / 2 + 6, WIDTH / len(heights)
    upper = [f"{i * step:.1f},{middle - h:.1f}" for i, h in enumerate(heights)]
    lower = [f"{i * step:.1f},{middle + h:.1f}" for i, h in enumerate(heights)]
    marks = "".join(
        f'<span class="span" title="{escape(quote.text)}" style="left:{100 * start / seconds:.2f}%;'
        f'width:{100 * (end - start) / seconds:.2f}%">{number}</span>'
        for number, quote in enumerate(findings.quotes, 1)
        for start, end in ([quote.seconds] if quote.seconds is not None else [])
    )
    return (
        f'<div class="wave">{marks}<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Waveform of {seconds:.1f} seconds"><polygon points="{" ".join(upper + lower[::-1])}"></polygon>'
        "</svg></div>"
        f'<div class="axis"><span>0 s</span><span>{seconds / 2:.1f} s</span><span>{seconds:.1f} s</span></div>'
    )


def quote_times(findings: Findings) -> str:
    """When each quote was said, or plainly that this is not known."""
    if not findings.quotes:
        return '<p class="note">The explanation quotes nothing.</p>'
    lines = []
    for number, quote in enumerate(findings.quotes, 1):
        if quote.seconds is not None:
            when = f"{quote.seconds[0]:.2f} to {quote.seconds[1]:.2f} s"
        else:
            when = "not placed in time" if quote.said else "not in what the model heard"
        lines.append(f"<li value={number}>{escape(quote.text)}: <b>{when}</b></li>")
    note = f'<p class="note">{escape(findings.alignment_note)}</p>' if findings.alignment_note else ""
    return f'<ol class="times">{"".join(lines)}</ol>{note}'


def timeline(segments: Sequence[EmotionSegment], labels: Sequence[str]) -> str:
    """Emotion over time; nothing for a short recording."""
    if not segments:
        return ""
    total = segments[-1].end
    colours = {label: COLOURS[i] if i < len(COLOURS) else COLOURS[0] for i, label in enumerate(labels)}
    blocks = "".join(
        f'<span style="width:{100 * (s.end - s.start) / total:.2f}%;background:{colours[s.label]}" '
        f'title="{escape(s.label)}, {s.start:.1f} to {s.end:.1f} s, {100 * s.score:.0f}%">{escape(s.label)}</span>'
        for s in segments
    )
    lines = "".join(
        f'<li><i style="background:{colours[s.label]}"></i>{s.start:.1f} to {s.end:.1f} s: {escape(s.label)} '
        f"({100 * s.score:.0f}%)</li>"
        for s in segments
    )
    return _section(
        "timeline",
        f'<h3>Emotion over time</h3><div class="strip" role="img" aria-label="Emotion over {total:.0f} seconds">'
        f"{blocks}</div><div class='axis'><span>0 s</span><span>{total:.1f} s</span></div>"
        f"<details><summary>When</summary><ul>{lines}</ul></details>",
    )


def _headline(findings: Findings) -> str:
    return (
        f'<p class="label">{escape(findings.label)} <span>{100 * findings.scores[findings.label]:.0f}%</span></p>'
        f'<p class="cues"><b>The voice, measured:</b> {escape(describe_cues(findings.cues))}</p>'
    )


def _section(name: str, content: str) -> str:
    return f'<section class="finding {name}">{content}</section>'
