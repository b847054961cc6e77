"""RAVDESS: names of files say it all."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..labels import RAVDESS, itself
from ..reader import Published, Reader, Request
from ..rejects import CorpusError
from .named_files import Fields, named_files


RAVDESS_SPLITS = {"train": range(1, 17), "test": range(17, 21), "validation": range(21, 25)}
# Actors of odd numbers are men, of even ones women: two of each are held out.
RAVDESS_FOLDS = {str(fold): {2 * fold - 1, 2 * fold, 2 * fold + 11, 2 * fold + 12} for fold in range(1, 7)}
RAVDESS_SENTENCES = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
RAVDESS_NAME = re.compile(r"03-01-(?P<emotion>0[1-8])-0[12]-(?P<sentence>0[12])-0[12]-(?P<speaker>0[1-9]|1\d|2[0-4])")


def _splits(request: Request) -> Callable[[Fields], str]:
    fold = request.option("fold")
    if fold is None:
        return lambda fields: next(name for name, actors in RAVDESS_SPLITS.items() if int(fields["speaker"]) in actors)
    if fold not in RAVDESS_FOLDS:
        raise CorpusError(f"ravdess: fold={fold!r} is no fold; it is one of {', '.join(RAVDESS_FOLDS)}.")
    return lambda fields: "test" if int(fields["speaker"]) in RAVDESS_FOLDS[fold] else "train"


def _describe(fields: Fields) -> dict[str, str | None]:
    return {"emotion": RAVDESS[int(fields["emotion"]) - 1], "transcript": RAVDESS_SENTENCES[fields["sentence"]]}


def _ravdess_published() -> tuple[Published, ...]:
    source, note = "Livingstone & Russo 2018 (60 clips an actor), actors split by us", "a fold has other actors"
    return tuple(
        Published(
            source,
            split,
            "er",
            {label: len(actors) * (4 if label == "neutral" else 8) for label in RAVDESS},
            note=note,
        )
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
        _splits,
    ),
    tasks=("asr", "er"),
    emotions=itself(RAVDESS),
    published=_ravdess_published(),
    licence="CC BY-NC-SA 4.0",
    options={"fold": "of cross-validation, 1 to 6: two men and two women are test, all others train"},
)
