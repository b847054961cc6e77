"""SAVEE: emotion and sentence number in the file name, the speaker there or in the folder's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..reader import Published, Reader, Request, Utterance, as_posix
from ..rejects import Reject
from .named_files import audio_files


EMOTIONS = {
    "a": "angry",
    "d": "disgusted",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
SPEAKERS = {"DC": "train", "JE": "train", "JK": "train", "KL": "test"}
NAME = re.compile(rf"(?:(?P<speaker>{'|'.join(SPEAKERS)})_)?(?P<emotion>sa|su|[adfhn])(?P<number>\d\d)")


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    seen: dict[str, str] = {}
    for path in audio_files(request.root):
        where, match = as_posix(path, request.root), NAME.fullmatch(path.stem)
        speaker = match and (match["speaker"] or path.parent.name)
        if match is None or speaker not in SPEAKERS:
            if request.split == "train":
                yield Reject(where, "name", "is no SAVEE name, SPEAKER/EMOTION_NUMBER or SPEAKER_EMOTION_NUMBER.")
        elif SPEAKERS[speaker] == request.split:
            name = f"{speaker}_{match['emotion']}{match['number']}"
            if name in seen:
                yield Reject(where, "name", f"is there twice; {seen[name]} is read.")
                continue
            seen[name] = where
            yield Utterance(where=where, name=name, audio=where, emotion=match["emotion"], speaker=speaker)


SAVEE = Reader(
    name="savee",
    title="SAVEE (Jackson & Haq, 2014)",
    layout="SAVEE, `AudioData/SPEAKER/EMOTION_NUMBER.wav` or `SPEAKER_EMOTION_NUMBER.wav`, at any depth; speakers DC, "
    "JE and JK are train, KL is test, split by us.",
    utterances=_utterances,
    tasks=("er",),
    splits=("train", "test"),
    emotions=EMOTIONS,
    published=tuple(
        Published(
            "the release, 4 speakers (15 clips for each emotion, 30 neutral)",
            split,
            "er",
            {
                label: (30 if label == "neutral" else 15) * list(SPEAKERS.values()).count(split)
                for label in EMOTIONS.values()
            },
        )
        for split in ("train", "test")
    ),
    licence="by registration at the University of Surrey, research only",
)
