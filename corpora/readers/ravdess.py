"""RAVDESS: names of files say it all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..labels import RAVDESS, itself
from ..reader import (
    Published,
    Reader,
    Request,
    Utterance,
    as_posix,
    visible,
)
from ..rejects import Reject


RAVDESS_SPLITS = {"train": range(1, 17), "test": range(17, 21), "validation": range(21, 25)}
RAVDESS_SENTENCES = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
RAVDESS_NAME = re.compile(r"03-01-(0[1-8])-0[12]-(0[12])-0[12]-(\d\d)$")


def _ravdess(request: Request) -> Iterator[Utterance | Reject]:
    for actor in RAVDESS_SPLITS[request.split]:
        for path in visible((request.root / f"Actor_{actor:02d}").glob("03-01-*")):
            fields = RAVDESS_NAME.match(path.stem)
            where = as_posix(path, request.root)
            if fields is None or int(fields[3]) != actor:
                yield Reject(where, "name", "is no RAVDESS speech name, 03-01-EMOTION-LEVEL-SENTENCE-TAKE-ACTOR.")
                continue
            yield Utterance(
                where=where,
                name=path.stem,
                audio=where,
                transcript=RAVDESS_SENTENCES[fields[2]],
                emotion=RAVDESS[int(fields[1]) - 1],
                speaker=fields[3],
            )


def _ravdess_published() -> tuple[Published, ...]:
    source = "Livingstone & Russo 2018 (60 clips an actor), actors split by us"
    return tuple(
        Published(source, split, "er", {label: len(actors) * (4 if label == "neutral" else 8) for label in RAVDESS})
        for split, actors in RAVDESS_SPLITS.items()
    )


RAVDESS_READER = Reader(
    name="ravdess",
    title="RAVDESS (Livingstone & Russo, 2018)",
    layout="RAVDESS speech, `Actor_NN/03-01-EE-II-SS-RR-NN.wav` (or flac); actors 01-16 train, 17-20 test, 21-24 "
    "validation.",
    utterances=_ravdess,
    tasks=("asr", "er"),
    emotions=itself(RAVDESS),
    published=_ravdess_published(),
    licence="CC BY-NC-SA 4.0",
)
