"""Texts cut where they quote: which words are a quote, and whether they were said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..modeling_audiollm.evidence import find_quotes, ground_quote, normalised_words


_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff]|[^\\W_]+(?:['\u2019\u2018\u02bc`][^\\W_]+)*")


_TITLES = {"unsaid": "not in the transcript", "before": "said before, not in this recording"}


@dataclass(frozen=True)
class Segment:
    """A piece of a text, for the macro `marked`.

    Args:
        text: as it is.
        kind: `said`, `unsaid` or `before` (said in an earlier turn) for a quote, else empty.
        title: what a pointer on the quote shows.
        number: of the quote, where its place in time is shown elsewhere.
    """

    text: str
    kind: str = ""
    title: str = ""
    number: int | None = None


@dataclass(frozen=True)
class Mark:
    """Characters `start` to `end` of a text, marked as [`Segment`] says."""

    start: int
    end: int
    kind: str
    title: str = ""
    number: int | None = None


def cut(text: str, marks: Iterable[Mark]) -> list[Segment]:
    """A text in segments; of marks that overlap, the first counts."""
    segments, end = [], 0
    for mark in sorted(marks, key=lambda mark: mark.start):
        if mark.start < end:
            continue
        segments += [
            Segment(text[end : mark.start]),
            Segment(text[mark.start : mark.end], mark.kind, mark.title, mark.number),
        ]
        end = mark.end
    return [segment for segment in (*segments, Segment(text[end:])) if segment.text]


def mark_quotes(text: str, transcript: str | None, fuzzy: bool = True, context: Sequence[str] = ()) -> list[Segment]:
    """A text with its quotes marked as said or not.

    Args:
        text: an answer that may quote.
        transcript: what was said; without one nothing is marked.
        fuzzy: whether words that differ slightly from the transcript count as said.
        context: what was said before, turn by turn.
    """
    if transcript is None:
        return cut(text, ())
    marks = []
    for quote in find_quotes(text):
        found = ground_quote(quote.text, transcript, context=context)
        said = found.grounded and (fuzzy or found.kind != "fuzzy")
        kind = "said" if said else "before" if found.kind == "context" else "unsaid"
        marks.append(Mark(quote.start, quote.end, kind, f"said ({found.kind})" if said else _TITLES[kind]))
    return cut(text, marks)


def mark_quoted(transcript: str, answer: str) -> list[Segment]:
    """A transcript with the words marked that an answer quotes."""
    places = (place for quote in find_quotes(answer) for place in _places(quote.text, transcript))
    return cut(transcript, (Mark(start, end, "said") for start, end in places))


def _places(quoted: str, transcript: str) -> Iterator[tuple[int, int]]:
    """Where a transcript first says a quote, piece by piece, but for case and punctuation."""
    said = [
        (word, match.start(), match.end())
        for match in _WORD.finditer(transcript)
        for word in normalised_words(match.group())
    ]
    first = 0
    for piece in re.split(r"\.{2,}|\u2026", quoted):
        words = normalised_words(piece)
        starts = range(first, len(said) - len(words) + 1) if words else ()
        start = next((i for i in starts if [word for word, *_ in said[i : i + len(words)]] == words), None)
        if start is not None:
            first = start + len(words)
            yield said[start][1], said[first - 1][2]
