"""Label sets of the corpora. A number means nothing without the set it was measured on.

One vocabulary of adjectives serves all corpora, so that they can be mixed; each set maps the corpus' own words to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..modeling_audiollm.emotion_lexicon import load_lexicon


RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
MELD = {
    "neutral": "neutral",
    "joy": "happy",
    "surprise": "surprised",
    "anger": "angry",
    "sadness": "sad",
    "disgust": "disgusted",
    "fear": "fearful",
}
IEMOCAP = {
    "ang": "angry",
    "dis": "disgusted",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "oth": "other",
    "sad": "sad",
    "sur": "surprised",
}
M3ED = {
    "Neutral": "neutral",
    "Happy": "happy",
    "Surprise": "surprised",
    "Sad": "sad",
    "Disgust": "disgusted",
    "Anger": "angry",
    "Fear": "fearful",
}
NEMO = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprised",
}
SENTIMENTS = ("neutral", "positive", "negative")
SENTIMENT_OF = {
    "neutral": "neutral",
    "calm": "neutral",
    "happy": "positive",
    "sad": "negative",
    "angry": "negative",
    "fearful": "negative",
    "disgusted": "negative",
}
# Other words for the labels that corpora and AudioBench's answers use.
SYNONYMS = load_lexicon().label_words


def itself(labels: tuple[str, ...]) -> dict[str, str]:
    """A label set whose own words are those of the vocabulary, as a mapping like the others."""
    return dict(zip(labels, labels))


def find_label(word: str, known: Mapping[str, str]) -> str | None:
    """The label that a corpus' word means, whatever its case; `None` if the set has none for it.

    Args:
        word: as the corpus has it: `Happy`, `joy`, `ANGER`.
        known: the corpus' own words and their labels; synonyms of a label will do too. Empty takes any word.
    """
    if word in known:
        return known[word]
    folded = " ".join(word.split()).lower()
    if not known:
        return SYNONYMS.get(folded, word)
    own = {said.lower(): label for said, label in known.items()}
    usual = {SYNONYMS.get(label.lower(), label.lower()): label for label in known.values()}
    return own.get(folded) or usual.get(SYNONYMS.get(folded, folded))


EMOTIONS = tuple(sorted({*RAVDESS, *MELD.values(), *IEMOCAP.values()} - {"other"}))


def label_answer(label: str, task: str) -> str:
    """The `label` target: the answer that states a label and no more, in the words that labels are scored after."""
    return f"The sentiment is {label}." if task == "sr" else f"The speaker sounds {label}."


def label_in_answer(answer: str, labels: Mapping[str, str] | tuple[str, ...]) -> str | None:
    """The label that a short answer states, or `None` if it states none or several.

    Args:
        answer: such as `"anger"`, `"The speaker sounds angry."`.
        labels: words to look for and the labels they mean, or labels.
    """
    words = "".join(letter if letter.isalnum() else " " for letter in answer.lower()).split()
    known = itself(labels) if isinstance(labels, tuple) else labels
    stated = {known[word] for word in words if word in known}
    return stated.pop() if len(stated) == 1 else None
