"""MELD: rows of a CSV, clips by the numbers of dialogue and utterance.

File names and folders as in MELD.Raw.tar.gz (README of declare-lab/MELD, and loaders that others wrote for it)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..labels import MELD
from ..reader import (
    AUDIO_KINDS,
    Published,
    Reader,
    Request,
    Utterance,
    as_posix,
)
from ..rejects import Reject
from ..tables import read_table


MELD_FILES = {"train": "train", "validation": "dev", "test": "test"}
MELD_FOLDERS = {
    "train": ("train_splits", "train_splits_complete", "train"),
    "validation": ("dev_splits_complete", "dev_splits", "dev", "validation"),
    "test": ("output_repeated_splits_test", "test_splits_complete", "test_splits", "test"),
}
MELD_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")


def _meld(request: Request) -> Iterator[Utterance | Reject]:
    split = MELD_FILES[request.split]
    name = f"{split}_sent_emo.csv"
    tables = (request.root / name, request.root / split / name, *sorted(request.root.glob(f"*/{name}")))
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        return
    folders = _meld_folders(request.root, request.split)
    for item in read_table(table, MELD_COLUMNS, request.option("encoding")):
        if isinstance(item, Reject):
            yield item
            continue
        where, row = item
        dialogue, utterance = row["Dialogue_ID"].strip(), row["Utterance_ID"].strip()
        if not (dialogue.isdecimal() and utterance.isdecimal()):
            yield Reject(where, "Dialogue_ID", f"{dialogue[:40]!r}, {utterance[:40]!r} are no numbers.")
            continue
        clip = f"dia{dialogue}_utt{utterance}"
        yield Utterance(
            where=where,
            name=f"{split}-{clip}",
            audio=_meld_clip(request.root, folders, clip),
            transcript=row["Utterance"],
            emotion=row["Emotion"],
            sentiment=row["Sentiment"],
            speaker=row["Speaker"],
            dialogue=f"{split}-{dialogue}",
        )


def _meld_folders(root: Path, split: str) -> list[Path]:
    names = MELD_FOLDERS[split]
    nested = [root / MELD_FILES[split] / name for name in names]
    found = [folder for folder in (*(root / name for name in names), *nested) if folder.is_dir()]
    return [folder for folder in found if next(folder.glob("dia*_utt*.*"), None)]


def _meld_clip(root: Path, folders: list[Path], clip: str) -> str:
    """Sound rather than video; the place where the clip should be when there is none."""
    for kind in (*AUDIO_KINDS, ".mp4"):
        for folder in folders:
            path = folder / f"{clip}{kind}"
            if path.exists():
                return as_posix(path, root)
    return as_posix((folders[0] if folders else root) / f"{clip}.wav", root)


MELD_COUNTS = {  # emotions: neutral, joy, surprise, anger, sadness, disgust, fear; sentiments: neutral, pos., neg.
    "train": ((4710, 1743, 1205, 1109, 683, 271, 268), (4710, 2334, 2945)),
    "validation": ((470, 163, 150, 153, 111, 22, 40), (470, 233, 406)),
    "test": ((1256, 402, 281, 345, 208, 68, 50), (1256, 521, 833)),
}


def _meld_published() -> Iterator[Published]:
    for split, (emotions, sentiments) in MELD_COUNTS.items():
        yield Published("Poria et al. 2019", split, "er", dict(zip(MELD.values(), emotions)))
        yield Published("Poria et al. 2019", split, "sr", dict(zip(("neutral", "positive", "negative"), sentiments)))
    note = "one neutral clip of the CSV, dia125_utt3, has no readable audio in the release"
    yield Published("paper, appendix A.1", "train", "er", {None: 9988}, note=note)
    yield Published("paper, appendix A.1", "train", "sr", {None: 9988}, note=note)
    yield Published("AudioBench meld_emotion_test", "test", "er", {None: 2610})
    yield Published("AudioBench meld_sentiment_test", "test", "sr", {None: 2610})


MELD_READER = Reader(
    name="meld",
    title="MELD (Poria et al., 2019): MELD-ER and MELD-SR from the same rows",
    layout="MELD, `{train,dev,test}_sent_emo.csv` (at the top or in `train/`, ...) and `diaX_uttY.wav` (or flac, ogg, "
    "mp3) in `train_splits/`, `dev_splits_complete/`, `output_repeated_splits_test/` or `train/`, `dev/`, `test/`. "
    "The release has mp4, whose sound PyAV reads (`pip install av`).",
    utterances=_meld,
    tasks=("er", "sr", "asr"),
    usual=("er", "sr"),
    emotions=MELD,
    published=tuple(_meld_published()),
    licence="GPL-3.0 (annotations)",
    options={"encoding": "of the CSV, if it is not UTF-8"},
)
