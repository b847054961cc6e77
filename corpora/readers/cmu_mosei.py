"""CMU-MOSEI, as the field passes it on: segments of films with a table of sentiments (MMSA's `label.csv`)."""

from __future__ import annotations

from collections.abc import Iterator

from ..reader import Published, Reader, Request, Utterance, as_posix
from ..rejects import Reject
from ..tables import read_table


SPLITS = {"train": "train", "valid": "validation", "test": "test"}
SENTIMENTS = {"Negative": "negative", "Neutral": "neutral", "Positive": "positive"}
KINDS = (".wav", ".flac", ".mp4")


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    table = next(iter(sorted(request.root.rglob("label.csv"))), None)
    if table is None:
        return
    clips = next(
        (table.parent / name for name in ("Raw", "wav") if (table.parent / name).is_dir()), table.parent / "Raw"
    )
    for item in read_table(table):
        if isinstance(item, Reject):
            if request.split == "train":
                yield item
            continue
        where, row = item
        if SPLITS.get(str(row.get("mode"))) != request.split:
            continue
        film, segment = str(row["video_id"]), str(row["clip_id"])
        found = [clips / film / f"{segment}{kind}" for kind in KINDS]
        path = next((path for path in found if path.is_file()), found[-1])
        yield Utterance(
            where=where,
            name=f"{film}_{segment}",
            audio=as_posix(path, request.root),
            transcript=row.get("text"),
            sentiment=row.get("annotation"),
            speaker=film,
            dialogue=film,
        )


CMU_MOSEI = Reader(
    name="cmu_mosei",
    title="CMU-MOSEI (Zadeh et al., 2018)",
    layout="CMU-MOSEI as MMSA passes it on, `label.csv` (video_id, clip_id, text, annotation, mode) and "
    "`Raw/VIDEO/CLIP.mp4` (or wav); its standard splits.",
    utterances=_utterances,
    tasks=("sr", "asr"),
    usual=("sr",),
    sentiments=SENTIMENTS,
    published=tuple(
        Published("MMSA's table, standard splits", SPLITS[mode], "sr", {None: rows})
        for mode, rows in {"train": 16326, "valid": 1871, "test": 4659}.items()
    ),
    licence="research; films of their authors on YouTube",
)
