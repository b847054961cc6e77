"""MELD: rows of a CSV, clips by the numbers of dialogue and utterance.

File names and folders as in MELD.Raw.tar.gz (README of declare-lab/MELD, and loaders that others wrote for it)."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..dialogue import CONTEXT_OPTION, Turn, context_turns, past_turns
from ..hub_tables import usual_split
from ..labels import MELD
from ..reader import (
    AUDIO_KINDS,
    FILM_KINDS,
    Published,
    Reader,
    Request,
    Utterance,
    visible,
)
from ..rejects import Reject
from ..tables import read_table


MELD_FILES = {"train": "train", "validation": "dev", "test": "test"}
MELD_COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
# `final_videos_test` stands before the names of some test clips: twins of files that are there, or instead of them.
CLIP_NAME = re.compile(r"(?P<said>final_videos_test|(?:train|dev|test)_)?(?P<clip>dia\d+_utt\d+)\.\w+")


def _meld(request: Request) -> Iterator[Utterance | Reject]:
    split = MELD_FILES[request.split]
    tables = {name: _table(request.root, name) for name in MELD_FILES.values()}
    table = tables[split]
    if table is None:
        return
    clips = _clips(request.root, split, alone=sum(map(bool, tables.values())) == 1)
    folders = sorted({os.path.dirname(path) or "." for path in clips.values()})
    most = context_turns(request.options) or 0
    said = _dialogues(table, request) if most else {}
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
        turn = _turn(row)
        yield Utterance(
            where=where,
            name=f"{split}-{clip}",
            audio=clips.get(clip, Path(folders[0] if folders else "", f"{clip}.wav").as_posix()),
            transcript=row["Utterance"],
            emotion=row["Emotion"],
            sentiment=row["Sentiment"],
            speaker=row["Speaker"],
            dialogue=f"{split}-{dialogue}",
            before=past_turns(said.get(dialogue, ()), turn, most),
            looked_in=tuple(folders) or (f"folders named for {split}",),
        )


def _dialogues(table: Path, request: Request) -> dict[str, list[Turn]]:
    """Turns of each dialogue of a split's table; lines that are no turn are told where they are read as rows."""
    found: dict[str, list[Turn]] = defaultdict(list)
    for item in read_table(table, MELD_COLUMNS, request.option("encoding")):
        if not isinstance(item, Reject) and item[1]["Utterance_ID"].strip().isdecimal():
            found[item[1]["Dialogue_ID"].strip()].append(_turn(item[1]))
    return found


def _turn(row: Mapping[str, Any]) -> Turn:
    number = int(row["Utterance_ID"])
    return Turn(number, number, row["Speaker"], row["Utterance"])


def _table(root: Path, split: str) -> Path | None:
    name = f"{split}_sent_emo.csv"
    return root / name if (root / name).is_file() else next(iter(visible(root.rglob(name))), None)


def _clips(root: Path, split: str, alone: bool) -> dict[str, str]:
    """`{diaX_uttY: path}` of a split, from folders (or files) named for it, however deep; sound rather than video.

    Splits number their dialogues alike, so that a clip of no named split is only taken where there is one table.
    """
    found: dict[str, tuple[int, str]] = {}
    kinds = (*AUDIO_KINDS, *FILM_KINDS)
    for folder, folders, names in os.walk(root):
        folders.sort()
        place = os.path.relpath(folder, root)
        of_folder = _split_named(place)
        for name in sorted(names):
            match, kind = CLIP_NAME.fullmatch(name), os.path.splitext(name)[1].lower()
            if match is None or kind not in kinds:
                continue
            own = of_folder or _split_named(match["said"] or "") or (split if alone else None)
            rank = 2 * kinds.index(kind) + bool(match["said"])
            if own == split and rank < found.get(match["clip"], (len(kinds) * 2, ""))[0]:
                found[match["clip"]] = (rank, Path(place, name).as_posix())
    return {clip: path for clip, (_, path) in found.items()}


def _split_named(place: str) -> str | None:
    """The split that a path is named for, by its last part that names one: `audio/train`, `dev_splits_complete`."""
    words = (re.split(r"[^a-z]+", part.lower()) for part in reversed(Path(place).parts))
    named = (usual_split(word) for part in words for word in part)
    return next((MELD_FILES[split] for split in named if split in MELD_FILES), None)


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
    layout="MELD, `{train,dev,test}_sent_emo.csv` and `diaX_uttY.wav` (or flac, ogg, mp3), at any depth, in folders "
    "named for their split: `train_splits/`, `dev_splits_complete/`, `output_repeated_splits_test/`, `audio/train/`. "
    "The release has mp4, whose sound PyAV reads (`pip install av`).",
    utterances=_meld,
    tasks=("er", "sr", "asr"),
    usual=("er", "sr"),
    emotions=MELD,
    published=tuple(_meld_published()),
    licence="GPL-3.0 (annotations)",
    options={"encoding": "of the CSV, if it is not UTF-8", **CONTEXT_OPTION},
)
