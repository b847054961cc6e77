"""Label sets of the corpora. A number means nothing without the set it was measured on (anchors, P24)."""

from __future__ import annotations


RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
SENTIMENT_OF = {
    "neutral": "neutral",
    "calm": "neutral",
    "happy": "positive",
    "sad": "negative",
    "angry": "negative",
    "fearful": "negative",
    "disgusted": "negative",
}


def label_answer(label: str, task: str) -> str:
    """The `label` target: the answer that states a label and no more, in the words that labels are scored after."""
    return f"The sentiment is {label}." if task == "sr" else f"The speaker sounds {label}."
