"""CREMA-D: actor, sentence, emotion and level in the file name."""

from __future__ import annotations

import re

from ..reader import Published, Reader
from .named_files import named_files


EMOTIONS = {"ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
SENTENCES = {  # README of the corpus
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
NAME = re.compile(rf"(?P<speaker>1\d{{3}})_(?P<sentence>{'|'.join(SENTENCES)})_(?P<emotion>{'|'.join(EMOTIONS)})_\w\w")

CREMAD = Reader(
    name="cremad",
    title="CREMA-D (Cao et al., 2014)",
    layout="CREMA-D, `AudioWAV/ACTOR_SENTENCE_EMOTION_LEVEL.wav` at any depth; no split is published: a seeded fifth "
    "of the actors is test, and of the others an eighth validation.",
    utterances=named_files(
        NAME,
        "ACTOR_SENTENCE_EMOTION_LEVEL",
        lambda fields: {"emotion": fields["emotion"], "transcript": SENTENCES[fields["sentence"]]},
    ),
    tasks=("asr", "er"),
    emotions=EMOTIONS,
    published=(
        Published(
            "Cao et al. 2014, by intended emotion, 91 actors",
            None,
            "er",
            {label: 1087 if label == "neutral" else 1271 for label in EMOTIONS.values()},
        ),
    ),
    licence="Open Database License 1.0",
)
