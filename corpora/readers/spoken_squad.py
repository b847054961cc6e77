"""Spoken-SQuAD: SQuAD's form, with a paragraph's sound in one clip a sentence.

The text is that of Chia-Hsuan-Lee/Spoken-SQuAD. The sound comes apart from it, as `ARTICLE_PARAGRAPH_SENTENCE.wav` by
their numbers in the file, in `train_wav/` and `dev_wav/` (as the loaders of others read it); we have not seen it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..clips import Clip
from ..reader import AUDIO_KINDS, Published, Reader, Request, Utterance, as_posix
from ..rejects import Reject
from ..tables import json_file


NOT_SQUAD = "is missing, or not of SQuAD's form."
FOLDERS = {"train": ("train_wav", "train"), "test": ("dev_wav", "test_wav", "test")}


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    listing = request.root / f"spoken_{request.split}-v1.1.json"
    if not listing.is_file():
        return
    clips = _Clips(request)
    for article, entry in enumerate(_list(json_file(listing), "data") or ()):
        passages = _list(entry, "paragraphs")
        if passages is None:
            yield Reject(f"{listing.name}, article {article}", "paragraphs", NOT_SQUAD)
        for paragraph, passage in enumerate(passages or ()):
            place = f"{listing.name}, article {article}, paragraph {paragraph}"
            questions = _list(passage, "qas")
            if questions is None:
                yield Reject(place, "qas", NOT_SQUAD)
            audio = clips.audio(article, paragraph)
            for qa in questions or ():
                yield _question(qa, passage, place, audio, f"{request.split}-{article}_{paragraph}")


def _list(entry: Any, field: str) -> list[Any] | None:
    found = entry.get(field) if isinstance(entry, dict) else None
    return found if isinstance(found, list) else None


def _question(qa: Any, passage: dict, place: str, audio: str | Clip, name: str) -> Utterance | Reject:
    try:
        answers = [answer["text"] for answer in qa["answers"]]
        return Utterance(
            where=f"{place}, question {qa['id']}",
            name=str(qa["id"]),
            audio=audio,
            transcript=passage["context"],
            question=qa["question"],
            answer=answers[0] if answers else None,
            task="sqa",
            dialogue=name,
        )
    except (KeyError, TypeError) as error:
        return Reject(place, str(error).strip("'")[:40], NOT_SQUAD)


class _Clips:
    """Sound of paragraphs: one file, or pieces to be joined."""

    def __init__(self, request: Request):
        self.root, self.split = request.root, request.split
        folders = (request.root / name for name in FOLDERS[request.split])
        self.folder = next((folder for folder in folders if folder.is_dir()), None)
        self.pieces: dict[str, list[tuple[int, str]]] = {}
        names = self.folder.iterdir() if self.folder else ()
        for path in names:
            piece = re.match(r"(\d+_\d+)_(\d+)$", path.stem)
            if piece and path.suffix.lower() in AUDIO_KINDS:
                self.pieces.setdefault(piece[1], []).append((int(piece[2]), as_posix(path, self.root)))

    def audio(self, article: int, paragraph: int) -> str | Clip:
        key = f"{article}_{paragraph}"
        pieces = [path for _, path in sorted(self.pieces.get(key, ()))]
        folder = self.folder or self.root / FOLDERS[self.split][0]
        if pieces:
            return Clip(pieces=pieces, name=f"spoken_squad-{self.split}-{key}")
        return as_posix(_existing(folder, key), self.root)


def _existing(folder: Path, key: str) -> Path:
    paths = (folder / f"{key}{kind}" for kind in AUDIO_KINDS)
    return next((path for path in paths if path.exists()), folder / f"{key}.wav")


SPOKEN_SQUAD = Reader(
    name="spoken_squad",
    title="Spoken-SQuAD (Lee et al., 2018)",
    layout="Spoken-SQuAD, `spoken_{train,test}-v1.1.json`, and `train_wav/`, `dev_wav/` with `A_P.wav` (or "
    "`A_P_S.wav`, joined when read) for article A, paragraph P, sentence S.",
    utterances=_utterances,
    tasks=("sqa",),
    splits=("train", "test"),
    published=(
        Published("Lee et al. 2018", "train", "sqa", {None: 37111}),
        Published("Lee et al. 2018", "test", "sqa", {None: 5351}),
    ),
    licence="CC BY-SA 4.0 (text, from SQuAD)",
)
