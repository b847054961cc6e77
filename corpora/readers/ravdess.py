"""RAVDESS: names of files say it all."""

from __future__ import annotations

import re

from ..labels import RAVDESS, itself
from ..reader import Published, Reader
from .named_files import Fields, named_files


RAVDESS_SPLITS = {"train": range(1, 17), "test": range(17, 21), "validation": range(21, 25)}
RAVDESS_SENTENCES = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
RAVDESS_NAME = re.compile(r"03-01-(?P<emotion>0[1-8])-0[12]-(?P<sentence>0[12])-0[12]-(?P<speaker>0[1-9]|1\d|2[0-4])")


def _split_of(fields: Fields) -> str:
    return next(split for split, actors in RAVDESS_SPLITS.items() if int(fields["speaker"]) in actors)


def _describe(fields: Fields) -> dict[str, str | None]:
    return {"emotion": RAVDESS[int(fields["emotion"]) - 1], "transcript": RAVDESS_SENTENCES[fields["sentence"]]}


def _ravdess_published() -> tuple[Published, ...]:
    source = "Livingstone & Russo 2018 (60 clips an actor), actors split by us"
    return tuple(
        Published(source, split, "er", {label: len(actors) * (4 if label == "neutral" else 8) for label in RAVDESS})
        for split, actors in RAVDESS_SPLITS.items()
    )


RAVDESS_READER = Reader(
    name="ravdess",
    title="RAVDESS (Livingstone & Russo, 2018)",
    layout="RAVDESS speech, `Actor_NN/03-01-EE-II-SS-RR-NN.wav` (or flac) at any depth; actors 01-16 train, 17-20 "
    "test, 21-24 validation.",
    utterances=named_files(
        RAVDESS_NAME,
        "03-01-EMOTION-LEVEL-SENTENCE-TAKE-ACTOR (speech of RAVDESS)",
        _describe,
        _split_of,
    ),
    tasks=("asr", "er"),
    emotions=itself(RAVDESS),
    published=_ravdess_published(),
    licence="CC BY-NC-SA 4.0",
)
