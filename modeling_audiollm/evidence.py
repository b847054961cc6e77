# This file travels to the Hub with the weights, so it stands alone: standard library only, no import of ours.
"""Quotes in an explanation, and whether the transcript holds them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


# A quote counts as heard with some words wrong if at least this share of its words is right (4 of 5, 8 of 10).
FUZZY_THRESHOLD = 0.8

_DOUBLE_OPEN, _DOUBLE_CLOSE = "\u201c\u201e\u00ab\u300c\u300e", "\u201d\u00bb\u300d\u300f"
_PARTNERS = {"\u201c": "\u201d", "\u201e": "\u201d\u201c", "\u00ab": "\u00bb", "\u300c": "\u300d", "\u300e": "\u300f"}
_SINGLE_OPEN = "\u2018"
_DOUBLE_MARK = re.compile(f'["{_DOUBLE_OPEN}{_DOUBLE_CLOSE}]')
_SINGLE_MARK = re.compile("['\u2019\u2018]")
# Words written with a leading apostrophe: there it starts no quote, unless a closing mark follows.
_ELISIONS = re.compile(
    r"(?:bout|cause|cuz|coz|em|im|er|round|til|till|tis|twas|twill|n|kay|sup|ve|ll|re|d|m|s|\d0s)\b", re.I
)
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:'[^\W_]+)*")
_ELLIPSIS = re.compile(r"\.{2,}|\u2026|\[\s*(?:\.{2,}|\u2026)\s*\]")


@dataclass(frozen=True)
class Quote:
    """A quoted passage: `text == source[start:end]`, without its marks and outer spaces."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Grounding:
    """How a transcript holds a quote.

    `kind` is `"exact"` (letter by letter), `"normalised"` (but for case, punctuation and spaces), `"fuzzy"` (at least
    the threshold's share of its words) or None (not found). `similarity` in [0, 1] is 1 minus word edits per word.
    """

    kind: str | None
    similarity: float

    @property
    def grounded(self) -> bool:
        return self.kind is not None


def find_quotes(text: str) -> list[Quote]:
    """Find the passages that a text puts in quotation marks.

    Understands straight and curly double quotes, low and angled ones, corner brackets, and single quotes, which are
    told from apostrophes by the characters beside them. Of nested quotes the outermost is given. A mark without
    partner quotes nothing; so do quotes without a letter or digit.

    Args:
        text: any text, for example a model's explanation.

    Returns:
        Quotes in order; they never overlap.
    """
    pairs = _double_pairs(text)
    pairs += _single_pairs(text, pairs)
    quotes = []
    for opening, closing in _outermost(pairs):
        inside = text[opening + 1 : closing]
        start = opening + 1 + len(inside) - len(inside.lstrip())
        end = closing - (len(inside) - len(inside.rstrip()))
        if any(character.isalnum() for character in inside):
            quotes.append(Quote(text[start:end], start, end))
    return quotes


def ground_quote(quote: str, transcript: str, threshold: float = FUZZY_THRESHOLD) -> Grounding:
    """Look for a quote in what was said, deterministically.

    Args:
        quote: the quoted words. An ellipsis inside it stands for left-out words: its pieces must occur in order.
        transcript: what was said.
        threshold: least `similarity` in (0, 1] of a fuzzy match.

    Returns:
        The strictest `Grounding` that holds. Fuzzy similarity is 1 - d / n, where n is the quote's number of words and
        d the fewest word insertions, deletions and substitutions that turn it into some run of the transcript's words.
    """
    stripped = quote.strip()
    if stripped and re.search(_whole_words(stripped), transcript):
        return Grounding("exact", 1.0)
    said = normalised_words(transcript)
    pieces = [words for piece in _ELLIPSIS.split(quote) if (words := normalised_words(piece))]
    if not said or not pieces:
        return Grounding(None, 0.0)
    if _in_order(pieces, said):
        return Grounding("normalised", 1.0)
    words = [word for piece in pieces for word in piece]
    similarity = max(0.0, 1 - _edits_to_best_run(words, said) / len(words))
    return Grounding("fuzzy" if similarity >= threshold else None, similarity)


def _whole_words(words: str) -> str:
    return rf"(?<!\w)(?<!\w['\u2019]){re.escape(words)}(?!['\u2019]?\w)"


def normalised_words(text: str) -> list[str]:
    """Words for comparing: compatibility-normalised, case-folded, no punctuation but apostrophes inside words.

    Chinese characters and kana count as words of their own.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(re.sub("[\u2018\u2019\u02bc`]", "'", folded))


def _double_pairs(text: str) -> list[tuple[int, int]]:
    opened: list[tuple[int, str]] = []
    pairs = []
    for position, mark in ((match.start(), match.group()) for match in _DOUBLE_MARK.finditer(text)):
        if mark == '"':
            if _opens(text, position) and not (_closes(text, position) and _innermost(opened, '"')):
                opened.append((position, mark))
            elif _innermost(opened, '"'):
                pairs.append((_pop(opened, '"'), position))
            elif not _closes(text, position):
                opened.append((position, mark))
        elif mark in _DOUBLE_CLOSE or (mark == "\u201c" and _innermost(opened, "\u201e")):
            partner = next((m for m in (m for _, m in reversed(opened)) if mark in _PARTNERS.get(m, "")), None)
            if partner:
                pairs.append((_pop(opened, partner), position))
        elif mark in _DOUBLE_OPEN:
            opened.append((position, mark))
    return pairs


def _innermost(opened: list[tuple[int, str]], mark: str) -> bool:
    return any(m == mark for _, m in opened)


def _pop(opened: list[tuple[int, str]], mark: str) -> int:
    """Close the latest `mark`, dropping what was opened after it and never closed."""
    while opened[-1][1] != mark:
        opened.pop()
    return opened.pop()[0]


def _single_pairs(text: str, doubles: list[tuple[int, int]]) -> list[tuple[int, int]]:
    marks = [match.start() for match in _SINGLE_MARK.finditer(text) if not _inside_word(text, match.start())]
    marks = [mark for mark in marks if not any(opening < mark < closing for opening, closing in doubles)]
    pairs = []
    at = 0
    while at < len(marks):
        opening = marks[at]
        at += 1
        if not _opens(text, opening):
            continue
        closing = _closing_single(text, opening, marks[at:])
        if closing is not None:
            pairs.append((opening, closing))
            at = next((n for n in range(at, len(marks)) if marks[n] > closing), len(marks))
    return pairs


def _closing_single(text: str, opening: int, marks: list[int]) -> int | None:
    closers = [m for m in marks if text[m] != _SINGLE_OPEN and _closes(text, m)]
    openers = [m for m in marks if _opens(text, m) and not _closes(text, m)]
    elided = _ELISIONS.match(text, opening + 1)
    for number, mark in enumerate(closers):
        later = number + 1 < len(closers) and not any(mark < m < closers[number + 1] for m in openers)
        if _trailing_apostrophe(text, mark) and (later or elided):
            continue
        nested = [m for m in openers if m < mark and not _ELISIONS.match(text, m + 1)]
        if nested and text[opening] != _SINGLE_OPEN:
            return None  # the opening mark has no partner: a later one starts the quote
        if nested and len(closers) > number + len(nested):
            return closers[number + len(nested)]
        return None if elided and elided.end() != mark and _trailing_apostrophe(text, mark) else mark
    return None


def _trailing_apostrophe(text: str, position: int) -> bool:
    """Whether this may be the apostrophe of "the boys' room", "goin' home" or "an' then", not a closing mark."""
    ends_like_one = re.search(r"(?:s|in|an|o|ol)$", text[max(0, position - 3) : position], re.I)
    return bool(ends_like_one) and bool(re.match(r"\s+[a-z0-9]", text[position + 1 : position + 4]))


def _inside_word(text: str, position: int) -> bool:
    return text[position - 1 : position].isalnum() and text[position + 1 : position + 2].isalnum()


def _opens(text: str, position: int) -> bool:
    before, after = text[position - 1 : position] if position else "", text[position + 1 : position + 2]
    clear_before = not before or before.isspace() or before in "([{<-\u2013\u2014/:;,=*_\"'\u201c\u2018\u201e>"
    starts_words = after.isalnum() or bool(re.match(r"\.\.|[^\s.,;:!?)\]}]", text[position + 1 : position + 3]))
    return clear_before and starts_words


def _closes(text: str, position: int) -> bool:
    before, after = text[position - 1 : position] if position else "", text[position + 1 : position + 2]
    return bool(before) and not before.isspace() and not after.isalnum()


def _outermost(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for opening, closing in sorted(pairs):
        if not kept or opening > kept[-1][1]:
            kept.append((opening, closing))
    return kept


def _in_order(pieces: list[list[str]], said: list[str]) -> bool:
    start = 0
    for piece in pieces:
        runs = range(start, len(said) - len(piece) + 1)
        found = next((i for i in runs if said[i : i + len(piece)] == piece), None)
        if found is None:
            return False
        start = found + len(piece)
    return True


def _edits_to_best_run(words: list[str], said: list[str]) -> int:
    """Fewest word edits between `words` and any run of `said` (Sellers' search: start and end of the run are free)."""
    row = [0] * (len(said) + 1)
    for count, word in enumerate(words, start=1):
        previous, row = row, [count]
        for i, heard in enumerate(said, start=1):
            row.append(min(previous[i - 1] + (word != heard), previous[i] + 1, row[i - 1] + 1))
    return min(row)
