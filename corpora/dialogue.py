"""Turns before an utterance, for rows with context: past ones only, and their speakers without names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

from .rejects import CorpusError


CONTEXT_OPTION = {"context": "so many turns before each, at most, as `context`; none when left out"}


class Turn(NamedTuple):
    """A turn of a dialogue.

    Args:
        start: when it begins, in seconds or as its number.
        end: when it is over, by the same clock.
        speaker: who speaks.
        text: what is said.
    """

    start: float
    end: float
    speaker: str | None
    text: Any


def context_turns(options: Mapping[str, str]) -> int | None:
    """How many turns of context are wanted; `None` for rows without the field.

    Raises:
        CorpusError: if the option is no whole number.
    """
    asked = options.get("context")
    if asked is None:
        return None
    if not str(asked).isdecimal():
        raise CorpusError(f"context={asked!r} is no number of turns; it is a whole number, as context=12.")
    return int(asked)


def past_turns(dialogue: Iterable[Turn], now: Turn, most: int) -> tuple[Turn, ...]:
    """The last `most` turns with words that began before a turn did, and are over when it is; oldest first."""
    worded = (turn for turn in dialogue if isinstance(turn.text, str) and any(map(str.isalnum, turn.text)))
    over = (turn for turn in worded if turn.start < now.start and turn.end <= now.end)
    past = sorted(over, key=lambda turn: (turn.start, turn.end))
    return tuple(past[len(past) - most :] if most < len(past) else past)


def anonymous(turns: Iterable[Turn], speaker: str | None) -> tuple[list[dict[str, str | None]], str | None]:
    """Turns as rows hold them, and the target's speaker: letters in order of appearance, `A` the first who speaks."""
    letters: dict[Hashable, str] = {}

    def letter(name: str | None) -> str | None:
        return None if name is None else letters.setdefault(name, _letter(len(letters)))

    context = [{"speaker": letter(turn.speaker), "text": " ".join(turn.text.split())} for turn in turns]
    return context, letter(speaker) if context else None


def _letter(number: int) -> str:
    """A to Z, then AA, AB, ..."""
    before, place = divmod(number, len(ascii_uppercase))
    return (_letter(before - 1) if before else "") + ascii_uppercase[place]
