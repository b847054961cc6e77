"""EmoBox's lists of folds, for any of its corpora (emo-box/EmoBox, `data/`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..labels import IEMOCAP, M3ED
from ..reader import (
    Published,
    Reader,
    Request,
    Utterance,
    visible,
)
from ..rejects import Reject
from ..tables import json_file, read_table
from .m3ed import M3ED_READER


EMOBOX_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
EMOBOX_LABELS = {
    **{word.lower(): label for word, label in M3ED.items()},
    **{label: label for label in (*M3ED.values(), "calm", "other")},
    **IEMOCAP,
    "exc": "happy",  # EmoBox counts excitement as happiness (its label_map.json)
}


def _emobox(request: Request) -> Iterator[Utterance | Reject]:
    fold = request.option("fold", "1")
    name = f"*_{EMOBOX_SPLITS[request.split]}_fold_{fold}.jsonl"
    labels = _emobox_labels(request.root)
    for listing in visible(iter({*request.root.glob(name), *request.root.glob(f"fold_*/{name}")})):
        for item in read_table(listing, ("key", "dataset", "wav", "emo")):
            if isinstance(item, Reject):
                yield item
                continue
            where, row = item
            key = str(row["key"])
            yield Utterance(
                where=where,
                name=key,
                audio=row["wav"],
                emotion=labels.get(row["emo"], str(row["emo"]).lower()),
                speaker=row.get("spk"),
                subset=str(row["dataset"]),
            )


def _emobox_labels(root: Path) -> dict[str, str]:
    path = root / "label_map.json"
    return {str(code): str(word).lower() for code, word in json_file(path).items()} if path.is_file() else {}


FOLD_1 = {"neutral": 384, "happy": 278, "angry": 229, "sad": 194}
EMOBOX_READER = Reader(
    name="emobox",
    title="EmoBox fold lists (Ma et al., 2024), for any of its corpora",
    layout="EmoBox, `NAME_{train,valid,test}_fold_N.jsonl` (with `label_map.json`), whose `wav` paths start here.",
    utterances=_emobox,
    tasks=("er",),
    emotions=EMOBOX_LABELS,
    published=(
        Published(
            "EmoBox, fold 1", "test", "er", {"neutral": 384, "happy": 278, "angry": 229, "sad": 194}, subset="iemocap"
        ),
        replace(M3ED_READER.published[-1], subset="m3ed"),
    ),
    licence="lists MIT; the audio has its own",
    options={"fold": "number of the fold (1)", "labels": "label set: a,b,c; `any` takes every label"},
)
