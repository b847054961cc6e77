"""Reading a judge's reply: the verdict it ends with, or why it has none. Nothing is guessed or clamped."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...modeling_audiollm.evidence import find_quotes
from ...modeling_audiollm.replies import whole_characters, without_thoughts


LONGEST_REPLY = 100_000  # characters: more is no verdict but a model that did not stop
FAILURES = {
    "no_reply": "the judge could not be asked",
    "no_verdict": "the reply holds no verdict",
    "broken_json": "the reply's JSON is broken or cut short",
    "out_of_range": "the rating is outside the rubric's range",
    "echo": "the only verdict in the reply stands in the judged answer too",
}

_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.I | re.S)
_OBJECT_START = re.compile(r'\{\s*"')
_LABEL = re.compile(r"(?<!\w)rating[\s*_]*[:=][\s*_]*([^\n]*)", re.I)
# A number, perhaps of the highest ("4/5"), that is not the start of a range, an alternative or a longer number.
_VALUE = re.compile(
    r"(-?\d+(?:\.\d+)?)(?:\s*(?:/|out of)\s*(\d+))?[*_]*(?![\w/])(?!\.\d)(?!\s*(?:or|to|-|\u2013)\s*\d)", re.I
)


@dataclass(frozen=True)
class Rating:
    """What a judge gave one answer.

    Args:
        score: from 0 to the rubric's highest level; None is unscored, which is never a zero.
        reason: the judge's reasoning, or what went wrong.
        failure: a key of [`FAILURES`] if unscored.
        raw: the reply as it came, None if none came.
    """

    score: int | None
    reason: str
    failure: str | None = None
    raw: str | None = None


def read_rating(reply: str, highest: int, candidate: str = "") -> Rating:
    """Find the verdict of a reply.

    Looked for in this order: the whole reply as a JSON object; the last fenced one; the last one in the prose; the
    last `Rating: n` outside quotation marks. A reply with JSON that can't be read has no verdict, whatever else it
    says: the words of a cut-off reasoning are not a verdict.

    Args:
        reply: what the judge wrote.
        highest: of the rubric's levels 0, 1, ...
        candidate: the judged answer. A verdict of the reply that stands in it letter by letter may be its echo, and
            is not counted.
    """
    if len(reply) > LONGEST_REPLY:
        return _unscored("no_verdict", f"{reply[:1000]}... ({len(reply):,} characters)")
    text = without_thoughts(reply)
    try:
        found, prose = _json_verdict(text)
    except (ValueError, RecursionError):  # a thousand levels deep
        return _unscored("broken_json", reply)
    if found is not None:
        verdict, source = found
        if _stands_in(source, candidate):
            return _unscored("echo", reply)
        return _rating(verdict.get("rating"), highest, str(verdict.get("reasoning", "")).strip() or text, reply)
    labels = list(_LABEL.finditer(_without_quotes(prose)))
    if not labels:
        return _unscored("no_verdict", reply)
    value = _VALUE.match(labels[-1].group(1))
    if value is None or value.group(2) not in (None, str(highest)):
        return _unscored("no_verdict", reply)
    if any(_same_verdict(value, label.group(1)) for label in _LABEL.finditer(candidate)):
        return _unscored("echo", reply)
    return _rating(value.group(1), highest, text, reply)


def _json_verdict(text: str) -> tuple[tuple[dict[str, Any], str] | None, str]:
    """`(object with a rating, the part of the text that it is)` or None, and the text without its JSON objects.

    Raises:
        ValueError: if an object can't be read; what follows it may be inside it.
    """
    fenced = [match.group(1).strip() for match in _FENCE.finditer(text)]
    for part in [text, *reversed(fenced)]:
        verdict = _decode(part)
        if verdict is not None:
            return (verdict, part), ""
    at, last, prose = 0, None, []
    while (start := _OBJECT_START.search(text, at)) is not None:
        verdict, end = _DECODER.raw_decode(text, start.start())
        last = (verdict, text[start.start() : end]) if "rating" in verdict else last
        prose.append(text[at : start.start()])
        at = end
    return last, "".join([*prose, text[at:]])


def _decode(text: str) -> dict[str, Any] | None:
    try:
        verdict = _DECODER.decode(text)
    except ValueError:
        return None
    return verdict if isinstance(verdict, dict) and "rating" in verdict else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, strict=False)


def _rating(value: Any, highest: int, reason: str, reply: str) -> Rating:
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+(?:\.0+)?\s*", value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value % 1:
        return _unscored("no_verdict", reply)
    if not 0 <= value <= highest:
        return _unscored("out_of_range", reply)
    return Rating(int(value), whole_characters(reason), None, reply)


def _unscored(failure: str, reply: str) -> Rating:
    return Rating(None, f"{FAILURES[failure]}.", failure, reply)


def _without_quotes(text: str) -> str:
    for quote in reversed(find_quotes(text)):
        text = text[: quote.start] + text[quote.end :]
    return text


def _stands_in(part: str, candidate: str) -> bool:
    return " ".join(part.split()) in " ".join(candidate.split())


def _same_verdict(value: re.Match, labelled: str) -> bool:
    other = _VALUE.match(labelled)
    return other is not None and other.group(1) == value.group(1)


def rating_figures(ratings: Sequence[Rating], highest: int) -> dict[str, Any]:
    """What ratings come to.

    Returns:
        score: mean rating of the scored answers, as percent of the highest level; None if none was scored.
        n, n_scored, n_unscored; ratings: number of answers by rating; failures: number of unscored ones by kind.
    """
    scores = [rating.score for rating in ratings if rating.score is not None]
    return {
        "score": 100 * sum(scores) / (highest * len(scores)) if scores else None,
        "n": len(ratings),
        "n_scored": len(scores),
        "n_unscored": len(ratings) - len(scores),
        "ratings": {str(level): scores.count(level) for level in range(highest + 1)},
        "failures": dict(Counter(rating.failure for rating in ratings if rating.failure)),
    }
