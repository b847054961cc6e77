"""TESS: speaker, word and emotion in the file name."""

from __future__ import annotations

import re

from ..reader import Published, Reader
from .named_files import named_files


EMOTIONS = {
    "angry": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",
    "sad": "sad",
}
# One published file is called OA_bite_neutral.
NAME = re.compile(rf"(?P<speaker>[OY]A)F?_(?P<word>[a-z]+)_(?P<emotion>{'|'.join(EMOTIONS)})")
SPLITS = {"OA": "train", "YA": "test"}

TESS = Reader(
    name="tess",
    title="TESS (Pichora-Fuller & Dupuis, 2020)",
    layout="TESS, `{OAF,YAF}_EMOTION/SPEAKER_WORD_EMOTION.wav` at any depth; its two speakers, split by us: the older "
    "one (OAF) is train, the younger one (YAF) test.",
    utterances=named_files(
        NAME,
        "SPEAKER_WORD_EMOTION",
        lambda fields: {"emotion": fields["emotion"], "transcript": f"Say the word {fields['word']}."},
        lambda request: lambda fields: SPLITS[fields["speaker"]],
    ),
    tasks=("asr", "er"),
    splits=("train", "test"),
    emotions=EMOTIONS,
    published=tuple(
        Published(
            "the release, 200 words for each speaker and emotion", split, "er", dict.fromkeys(EMOTIONS.values(), 200)
        )
        for split in SPLITS.values()
    ),
    licence="CC BY-NC-ND 4.0",
)
