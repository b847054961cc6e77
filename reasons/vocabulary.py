"""Words by which an explanation is known to state a label, to refuse, or to speak of its own making."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path


VOCABULARY_FILE = Path(__file__).with_name("vocabulary.json")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True)
class Emotion:
    """A label that the vocabulary knows, its valence, and the labels it may stand beside."""

    name: str
    valence: str | None
    near: frozenset[str]


@dataclass(frozen=True)
class Vocabulary:
    """Word lists of vocabulary.json, phrases as tuples of words, and what every emotion word means."""

    emotions: dict[str, Emotion]
    emotion_words: dict[tuple[str, ...], str]
    sentiment_words: dict[tuple[str, ...], str]
    lists: dict[str, frozenset[tuple[str, ...]]]

    def emotion_of(self, label: str) -> str:
        """The vocabulary's name of an emotion label; the label itself, in lower case, if it has none."""
        return self.emotion_words.get(split_words(label), " ".join(split_words(label)))

    def has(self, name: str, text: str) -> str | None:
        """The first phrase of a list that a text holds."""
        words = split_words(text)
        phrases = self.lists[name]
        longest = max(map(len, phrases))
        for start in range(len(words)):
            for length in range(1, longest + 1):
                if words[start : start + length] in phrases:
                    return " ".join(words[start : start + length])
        return None


def split_words(text: str) -> tuple[str, ...]:
    """Lower-case words; a hyphen parts words, an apostrophe inside a word does not."""
    return tuple(_WORD.findall(text.lower().replace("\u2019", "'")))


@cache
def load_vocabulary() -> Vocabulary:
    """Read vocabulary.json, once."""
    data = json.loads(VOCABULARY_FILE.read_text(encoding="utf-8"))
    emotions, sentiments = data.pop("emotions"), data.pop("sentiments")
    lists = {name: frozenset(map(split_words, words)) for name, words in data.items() if name != "about"}
    return Vocabulary(
        emotions={
            name: Emotion(name, entry["valence"], frozenset(entry.get("near", ()))) for name, entry in emotions.items()
        },
        emotion_words={split_words(word): name for name, entry in emotions.items() for word in entry["words"]},
        sentiment_words={split_words(word): name for name, words in sentiments.items() for word in words},
        lists=lists,
    )
