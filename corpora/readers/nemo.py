"""nEMO: file names as published, text from a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..labels import NEMO
from ..reader import (
    AUDIO_KINDS,
    Published,
    Reader,
    Request,
    Utterance,
    as_posix,
    drawn_share,
    visible,
)
from ..rejects import Reject
from ..tables import read_table


NEMO_NAME = re.compile(r"(?P<speaker>[A-Z]+\d+)_(?P<emotion>[a-z]+)_(?P<sentence>\d+)$")


def _nemo(request: Request) -> Iterator[Utterance | Reject]:
    folder = next((request.root / name for name in ("samples", "audio") if (request.root / name).is_dir()), None)
    if folder is None:
        return
    paths = [path for path in visible(folder.iterdir()) if path.suffix.lower() in AUDIO_KINDS]
    speakers = sorted({match["speaker"] for path in paths if (match := NEMO_NAME.match(path.stem))})
    if not speakers:
        return
    test = drawn_share(speakers, 0.2, request.seed)
    texts = _nemo_texts(request.root)
    for path in paths:
        where, fields = as_posix(path, request.root), NEMO_NAME.match(path.stem)
        if fields is None:
            if request.split == "train":
                yield Reject(where, "name", "is no nEMO name, SPEAKER_EMOTION_SENTENCE.")
        elif (fields["speaker"] in test) == (request.split == "test"):
            yield Utterance(
                where=where,
                name=path.stem,
                audio=where,
                transcript=texts.get(path.stem),
                emotion=_nemo_emotion(fields["emotion"]),
                speaker=fields["speaker"],
            )


def _nemo_emotion(word: str) -> str:
    return "surprised" if word == "surprise" else word


def _nemo_texts(root: Path) -> dict[str, str | None]:
    table = next((root / name for name in ("metadata.jsonl", "data.tsv") if (root / name).is_file()), None)
    rows = (item[1] for item in read_table(table) if not isinstance(item, Reject)) if table else ()
    return {
        Path(str(row.get("file_name") or row.get("file_id"))).stem: row.get("raw_text") or row.get("text")
        for row in rows
    }


NEMO_READER = Reader(
    name="nemo",
    title="nEMO (Christop, 2024), Polish",
    layout="nEMO, `samples/SPEAKER_EMOTION_N.wav` (or `audio/`) with `data.tsv` or `metadata.jsonl`; no split is "
    "published: a seeded fifth of the speakers is test.",
    utterances=_nemo,
    tasks=("er", "asr"),
    usual=("er", "asr"),
    splits=("train", "test"),
    emotions=NEMO,
    published=(
        Published(
            "dataset card amu-cai/nEMO, all speakers",
            None,
            "er",
            {"angry": 749, "fearful": 736, "happy": 749, "neutral": 809, "sad": 769, "surprised": 669},
        ),
    ),
    licence="CC BY-NC-SA 4.0",
    language="pl",
)
