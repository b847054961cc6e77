"""Emotion words in sectors of a wheel of emotions (wheel.json), whatever the label set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ..modeling_audiollm.emotion_lexicon import load_lexicon
from ..modeling_audiollm.emotion_reading import reader_of
from ..modeling_audiollm.replies import final_answer


WHEEL_FILE = Path(__file__).with_name("wheel.json")
# Any set will do: all concepts of the vocabulary are read beside it.
_READ_AS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


def wheel_score(prediction: str, reference: str) -> tuple[float, float, float] | None:
    """Precision, recall and F1 of one answer in [0, 1]; None if the reference is on no wheel."""
    wanted = sectors(words for words in re.split(r"[,;/|]", reference) if words.strip())
    if not wanted:
        return None
    named = _sectors_of(reader_of(_READ_AS).read(final_answer(prediction)).concepts)
    both = len(named & wanted)
    precision, recall = both / len(named) if named else 0.0, both / len(wanted)
    return precision, recall, 2 * both / (len(named) + len(wanted))


def sectors(words: Iterable[str]) -> set[str]:
    """Sectors of the wheel that emotion words (labels of corpora, adjectives, nouns) are in."""
    return _sectors_of(load_lexicon().concept(word) for word in words)


def _sectors_of(concepts: Iterable[str | None]) -> set[str]:
    return {_wheel()[concept] for concept in concepts if concept in _wheel()}


@cache
def _wheel() -> dict[str | None, str]:
    """The sector of each concept."""
    data = json.loads(WHEEL_FILE.read_text(encoding="utf-8"))
    return {concept: sector for sector, concepts in data["sectors"].items() for concept in concepts}
