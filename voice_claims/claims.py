"""Claims about a voice in an explanation ("low and slow", "a raised voice"), and whether the clip bears them out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..modeling_audiollm.evidence import find_quotes
from .norms import CUES, Norms


LEXICON_FILE = Path(__file__).with_name("lexicon.json")
NEGATION_REACH = 4  # tokens
NOUN_REACH = 8  # tokens back to the noun of "the pitch of the voice is rather low"
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[.,;:!?]")
_STOPS = frozenset(".;:!?")


@dataclass(frozen=True)
class Claim:
    """What a text says of one cue.

    Args:
        words: of the text.
        cue: a key of [`CUES`](norms.py), or None if no measure of ours decides it.
        direction: `high`, `low` or `middle` of what is usual.
        denied: whether the text denies it.
    """

    words: str
    cue: str | None
    direction: str | None = None
    denied: bool = False

    def holds(self, cues: Mapping[str, float | None], norms: Norms | None) -> bool | None:
        """Whether a clip bears the claim out; None if that can't be said of it."""
        if self.cue is None or norms is None:
            return None
        found = CUES[self.cue].compare(cues, norms.usual)
        return None if found is None else (found == self.direction) != self.denied


@dataclass(frozen=True)
class CueClaims:
    """Counts of the claims of a text: made, such as a measure can decide, and borne out."""

    claimed: int
    checkable: int
    true: int


def check_cues(explanation: str, cues: Mapping[str, float | None], norms: Norms | None) -> CueClaims:
    """Check what an explanation says of the voice against the measures of the clip.

    Args:
        explanation: an answer; what it quotes is no claim.
        cues: what [`measure_clip`](measures.py) gives of the clip.
        norms: of its speaker or corpus (see [`norms_by_speaker`](norms.py)); without, nothing can be checked.
    """
    verdicts = [claim.holds(cues, norms) for claim in find_claims(explanation)]
    return CueClaims(len(verdicts), sum(found is not None for found in verdicts), sum(map(bool, verdicts)))


def find_claims(text: str) -> list[Claim]:
    """Every claim about the voice in a text, in order; one that is made twice counts once."""
    pieces, end = [], 0
    text = text.replace("\u2019", "'")
    for quote in find_quotes(text):
        pieces += [text[end : quote.start], " quoted "]
        end = quote.end
    tokens = _TOKEN.findall("".join([*pieces, text[end:]]).lower())
    found: dict[tuple, Claim] = {}
    for sentence in _sentences(tokens):
        for claim in _Sentence(sentence).claims():
            key = (claim.cue, claim.direction, claim.denied) if claim.cue else (claim.words,)
            found.setdefault(key, claim)
    return list(found.values())


@dataclass(frozen=True)
class _Entry:
    """What a phrase does: roles, the cue and direction that it claims, or the cue that it names."""

    roles: set[str] = field(default_factory=set)
    claims: list[tuple[str | None, str | None]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@cache
def _lexicon() -> dict[str, list[tuple[tuple[str, ...], _Entry]]]:
    """Phrases by their first word, longest first."""
    data = json.loads(LEXICON_FILE.read_text(encoding="utf-8"))
    entries: dict[tuple[str, ...], _Entry] = {}

    def entry(phrase: str) -> _Entry:
        return entries.setdefault(tuple(phrase.split()), _Entry())

    for cue, words in data["cues"].items():
        for noun in words["nouns"]:
            entry(noun).names.append(cue)
        for direction in ("high", "low"):
            for phrase in words[direction]:
                entry(phrase).claims.append((cue, direction))
    for group in data["relative"]:
        for word in group["words"]:
            entry(word).roles.add("relative")
            entry(word).claims.append((group["alone"], group["direction"]))
    for phrase in data["unmeasured"]:
        entry(phrase).claims.append((None, None))
    for role in ("certain", "voice", "negators", "other_things", "joins", "ends", "clause_ends"):
        for phrase in data[role]:
            entry(phrase).roles.add(role)
    index: dict[str, list[tuple[tuple[str, ...], _Entry]]] = {}
    for words, found in sorted(entries.items(), key=lambda item: -len(item[0])):
        index.setdefault(words[0], []).append((words, found))
    return index


def _sentences(tokens: list[str]) -> Iterator[list[str]]:
    start = 0
    for position in range(len(tokens) + 1):
        if position == len(tokens) or tokens[position] in _STOPS:
            if position > start and tokens[position : position + 1] != ["?"]:
                yield tokens[start:position]
            start = position + 1


@dataclass(frozen=True)
class _Part:
    """A phrase of the lexicon, or a word that it does not know, and where it stands."""

    words: str
    start: int
    end: int
    entry: _Entry


class _Sentence:
    def __init__(self, tokens: list[str]):
        self.parts = list(_parts(tokens))
        self.speaks_of_voice = any(part.entry.roles & {"voice", "certain"} for part in self.parts)

    def claims(self) -> Iterator[Claim]:
        if not self.speaks_of_voice:
            return
        for number, part in enumerate(self.parts):
            if "other_things" in part.entry.roles or not part.entry.claims:
                continue
            cue, direction = part.entry.claims[0]
            if "relative" in part.entry.roles:
                cue = self._cue_of(number, cue)
                if cue is None:
                    continue
            elif (part.entry.names and self._described(number)) or self._of_a_thing(number):
                continue  # "frequent pauses": the adjective claims
            yield Claim(part.words, cue, direction, denied=self._denied(number))

    def _cue_of(self, number: int, alone: str | None) -> str | None:
        """The cue that "high" and its like speak of: that of the noun behind it, or of the one before."""
        for part in self.parts[number + 1 :]:
            if part.entry.names:
                return part.entry.names[0]
            if "voice" in part.entry.roles and "joins" not in part.entry.roles:
                following = self.parts[self.parts.index(part) + 1 :][:1]
                if following and following[0].entry.names:
                    return following[0].entry.names[0]
                return alone
            if part.entry.roles & {"ends", "clause_ends", "negators"}:
                break
            if not (part.entry.roles & {"joins", "relative"} or part.entry.claims or part.words == ","):
                return None  # a noun that is no part of a voice: "low prices"
        here = self.parts[number].start
        for part in reversed(self.parts[:number]):
            if here - part.end > NOUN_REACH or "clause_ends" in part.entry.roles:
                break
            if part.entry.names:
                return part.entry.names[0]
            if "voice" in part.entry.roles:
                return self._noun_before(number) or alone
        return None

    def _noun_before(self, number: int) -> str | None:
        """The cue of a noun that the voice belongs to, as in "the pitch of the voice is low"."""
        words = [part.words for part in self.parts[:number]]
        if "of" not in words:
            return None
        before = self.parts[: words.index("of")]
        return before[-1].entry.names[0] if before and before[-1].entry.names else None

    def _described(self, number: int) -> bool:
        """Whether the word names what an adjective beside it claims something of."""
        before = self.parts[number - 1].entry.roles if number else set()
        return "relative" in before

    def _of_a_thing(self, number: int) -> bool:
        """Whether the word belongs to a noun that is no part of a voice: "a fast car"."""
        part, behind = self.parts[number], self.parts[number + 1 : number + 2]
        if part.words.endswith("ly") or "certain" in part.entry.roles or not behind:
            return False
        known = behind[0].entry.roles or behind[0].entry.claims or behind[0].entry.names
        return not known and behind[0].words != ","

    def _denied(self, number: int) -> bool:
        """Whether a negation in the same clause reaches the claim."""
        here = self.parts[number].start
        for part in reversed(self.parts[:number]):
            if here - part.end >= NEGATION_REACH or "clause_ends" in part.entry.roles:
                return False
            if "negators" in part.entry.roles:
                return True
            if part.words == ",":
                return False
        return False


def _parts(tokens: list[str]) -> Iterator[_Part]:
    at, lexicon = 0, _lexicon()
    while at < len(tokens):
        for words, entry in lexicon.get(tokens[at], ()):
            if tuple(tokens[at : at + len(words)]) == words:
                yield _Part(" ".join(words), at, at + len(words), entry)
                at += len(words)
                break
        else:
            yield _Part(tokens[at], at, at + 1, _Entry())
            at += 1
