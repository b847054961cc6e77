# This file travels to the Hub with the weights, so it stands alone: standard library only, no import of ours.
"""Quotes in an explanation, and whether the transcript holds them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


# A quote counts as heard with some words wrong if at least this share of its words is right (4 of 5, 8 of 10).
FUZZY_THRESHOLD = 0.8

_DOUBLE_OPEN, _DOUBLE_CLOSE = "\u201c\u201e\u00ab\u300c\u300e", "\u201d\u00bb\u300d\u300f"
_PARTNERS = {"\u201d": "\u201c\u201e", "\u201c": "\u201e", "\u00bb": "\u00ab", "\u300d": "\u300c", "\u300f": "\u300e"}
_SINGLE_OPEN = "\u2018"
_DOUBLE_MARK = re.compile(f'["{_DOUBLE_OPEN}{_DOUBLE_CLOSE}]')
_SINGLE_MARK = re.compile("['\u2019\u2018]")
# Words written with a leading apostrophe: there it starts no quote, unless a closing mark follows.
_ELISIONS = re.compile(
    r"(?:bout|cause|cuz|coz|em|im|er|round|til|till|tis|twas|twill|n|kay|sup|ve|ll|re|d|m|s|\d0s)\b", re.I
)
# Before compatibility normalisation, which makes a space of an acute accent that stands alone.
_APOSTROPHE = re.compile("[\u2018\u2019\u201b\u02bb\u02bc\u2032\u00b4`\uff40]")
# Quotation marks that a wrong decoding or a wide font left: Windows-1252's in the place of controls, full-width ones.
_STRAY_MARKS = str.maketrans(
    "\x82\x84\x8b\x91\x92\x93\x94\x9b\uff02\uff07\uff62\uff63",
    "\u201a\u201e\u2039\u2018\u2019\u201c\u201d\u203a\"'\u300c\u300d",
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
    the threshold's share of its words), `"context"` (not said there, but in a turn before it) or None (not found).
    `similarity` in [0, 1] is 1 minus word edits per word. Only what the transcript holds is grounded.
    """

    kind: str | None
    similarity: float

    @property
    def grounded(self) -> bool:
        return self.kind not in (None, "context")


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
    marked = text.translate(_STRAY_MARKS)
    pairs = _double_pairs(marked)
    pairs += _single_pairs(marked, pairs)
    quotes = []
    for opening, closing in _outermost(pairs):
        inside = text[opening + 1 : closing]
        start = opening + 1 + len(inside) - len(inside.lstrip())
        end = closing - (len(inside) - len(inside.rstrip()))
        if any(character.isalnum() for character in inside):
            quotes.append(Quote(text[start:end], start, end))
    return quotes


def cut_quotes(text: str, sureness: Sequence[float], least: float) -> str:
    """Shorten each quote to the longest run of its words that are sure; the surest word alone if none is sure enough.

    Args:
        text: an explanation.
        sureness: for each character of `text`, a probability; a word is as sure as its least sure character.
        least: probability in [0, 1] from which a word stays.
    """
    pieces, end = [], 0
    for quote in find_quotes(text):
        words = [(quote.start + word.start(), quote.start + word.end()) for word in re.finditer(r"\S+", quote.text)]
        sure = [min(sureness[start:stop]) for start, stop in words]
        first, last = _longest_run([value >= least for value in sure]) or (sure.index(max(sure)),) * 2
        kept = text[words[first][0] : words[last][1]]
        pieces += [text[end : quote.start], kept if (first, last) == (0, len(words) - 1) else kept.strip(",.;:")]
        end = quote.end
    return "".join([*pieces, text[end:]])


def heard_sureness(
    text: str, written: Sequence[float], heard: str, sureness: Sequence[float], told: str = ""
) -> list[float]:
    """How sure a quoted word is, where a recogniser says how surely it heard it: who copies is sure of any word.

    The longest run of a quote's words that was heard word for word is as sure as it was heard, the others not at all.

    Args:
        text: an explanation.
        written: for each character of `text`, the probability that it was written with: what counts outside of quotes
            and in quotes of what was told.
        heard: what the recogniser heard.
        sureness: for each character of `heard`, a probability; a word is as sure as its least sure letter.
        told: other words that may be quoted, such as those of earlier turns.

    Returns:
        A number for each character of `text`.
    """
    said = [(word, min(sureness[start:end])) for word, start, end in _placed_words(heard)]
    others, found = normalised_words(told), list(written)
    for quote in find_quotes(text):
        words = _placed_words(quote.text)
        quoted = [word for word, _, _ in words]
        run = SequenceMatcher(None, [word for word, _ in said], quoted, autojunk=False).find_longest_match()
        if run.size < len(quoted) and _in_a_row(quoted, others):
            continue
        sure = [0.0] * len(quoted)
        sure[run.b : run.b + run.size] = [sure for _, sure in said[run.a : run.a + run.size]]
        found[quote.start : quote.end] = [1.0] * (quote.end - quote.start)  # nobody hears a comma
        for (_, start, end), value in zip(words, sure, strict=True):
            found[quote.start + start : quote.start + end] = [value] * (end - start)
    return found


def _placed_words(text: str) -> list[tuple[str, int, int]]:
    """The words of a text as they are compared, with their places in it."""
    plain = _APOSTROPHE.sub("'", text.translate(_STRAY_MARKS))
    return [(_folded(word.group()), word.start(), word.end()) for word in _WORD.finditer(plain)]


def _in_a_row(words: Sequence[str], among: Sequence[str]) -> bool:
    return any(among[at : at + len(words)] == words for at in range(len(among) - len(words) + 1))


def _longest_run(good: Sequence[bool]) -> tuple[int, int] | None:
    """First and last index of the longest run of trues, the earliest of several; None without any."""
    best, start = None, None
    for index, value in enumerate([*good, False]):
        if value and start is None:
            start = index
        elif not value and start is not None:
            if best is None or index - start > best[1] - best[0] + 1:
                best = (start, index - 1)
            start = None
    return best


def ground_quote(
    quote: str, transcript: str, threshold: float = FUZZY_THRESHOLD, context: Sequence[str] = ()
) -> Grounding:
    """Look for a quote in what was said, deterministically.

    Args:
        quote: the quoted words. An ellipsis inside it stands for left-out words: its pieces must occur in order.
        transcript: what was said.
        threshold: least `similarity` in (0, 1] of a fuzzy match.
        context: what was said before, turn by turn; a quote that only a turn of it holds is of the kind `"context"`.

    Returns:
        The strictest `Grounding` that holds. Fuzzy similarity is 1 - d / n, where n is the quote's number of words and
        d the fewest word insertions, deletions and substitutions that turn it into some run of the transcript's words.
    """
    found = _ground(quote, transcript, threshold)
    if found.grounded:
        return found
    before = (_ground(quote, turn, threshold) for turn in context)
    nearest = max((there.similarity for there in before if there.grounded), default=None)
    return found if nearest is None else Grounding("context", nearest)


def _ground(quote: str, transcript: str, threshold: float) -> Grounding:
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
    return _WORD.findall(_folded(_APOSTROPHE.sub("'", text.translate(_STRAY_MARKS))))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _double_pairs(text: str) -> list[tuple[int, int]]:
    opened = _Opened()
    pairs = []
    for position, mark in ((match.start(), match.group()) for match in _DOUBLE_MARK.finditer(text)):
        if mark == '"':
            closes, opens = _closes(text, position), _opens(text, position)
            if opened.count['"'] and (closes or not opens):
                pairs.append((opened.close('"'), position))
            elif opens or not closes:
                opened.add(mark, position)
            continue
        partners = _PARTNERS.get(mark, "")
        if any(opened.count[partner] for partner in partners):
            pairs.append((opened.close(partners), position))
        elif mark in _DOUBLE_OPEN:
            opened.add(mark, position)
    return pairs


class _Opened:
    """Opening marks that wait for their partners."""

    def __init__(self):
        self.count: Counter[str] = Counter()
        self._stack: list[tuple[str, int]] = []

    def add(self, mark: str, position: int) -> None:
        self.count[mark] += 1
        self._stack.append((mark, position))

    def close(self, marks: str) -> int:
        """Where the latest of these marks was opened; those opened after it and never closed are dropped."""
        while True:
            mark, position = self._stack.pop()
            self.count[mark] -= 1
            if mark in marks:
                return position


def _single_pairs(text: str, doubles: list[tuple[int, int]]) -> list[tuple[int, int]]:
    opening = closing = -1
    marks = []
    outer = iter(_outermost(doubles))
    for match in _SINGLE_MARK.finditer(text):
        position = match.start()
        while closing < position:
            opening, closing = next(outer, (len(text), len(text)))
        if position < opening and not _inside_word(text, position):
            closes = match.group() != _SINGLE_OPEN and _closes(text, position)
            if closes or _opens(text, position):
                marks.append((position, closes))
    pairs, at = [], 0
    last_closing = max((number for number, (_, closes) in enumerate(marks) if closes), default=-1)
    while at < last_closing:
        partner = _closing_single(text, marks, at)
        if partner is not None:
            pairs.append((marks[at][0], marks[partner][0]))
        at = at + 1 if partner is None else partner + 1
    return pairs


def _closing_single(text: str, marks: list[tuple[int, bool]], at: int) -> int | None:
    """Index of the mark that closes the single quote opened by mark `at`, None if it opens none."""
    opening = marks[at][0]
    if not _opens(text, opening):
        return None
    elided = _ELISIONS.match(text, opening + 1)
    nested, nearest = 0, None
    for number in range(at + 1, len(marks)):
        position, closes = marks[number]
        if not closes:
            if _ELISIONS.match(text, position + 1):
                continue
            if text[opening] != _SINGLE_OPEN:
                return None  # the opening mark has no partner: this later one starts the quote
            nested += 1
            continue
        if _trailing_apostrophe(text, position):
            closes_later = number + 1 < len(marks) and marks[number + 1][1]
            if closes_later or (elided and elided.end() != position):
                continue
        if not nested:
            return number
        nested -= 1
        nearest = number if nearest is None else nearest
    return nearest


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
