"""MSP-Podcast: consensus labels in a table, clips and transcripts in folders beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..reader import Reader, Request, Utterance
from ..rejects import Reject
from ..tables import read_table


EMOTIONS = {
    "A": "angry",
    "S": "sad",
    "H": "happy",
    "U": "surprised",
    "F": "fearful",
    "D": "disgusted",
    "C": "contemptuous",
    "N": "neutral",
}
EXCLUDED = {"X": "the annotators agreed on no label (`X`).", "O": "another emotion than those asked for (`O`)."}
SPLITS = {"train": ("Train",), "validation": ("Development",), "test": ("Test1", "Test2", "Test3")}
LABELS = "Labels/labels_consensus.csv"


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    table = next(iter(sorted(request.root.rglob(LABELS))), None)
    if table is None:
        return
    root = table.parent.parent
    audio = next((root / name for name in ("Audios", "Audio") if (root / name).is_dir()), root / "Audios")
    for item in read_table(table):
        if isinstance(item, Reject):
            if request.split == "train":
                yield item
            continue
        where, row = item
        if row.get("Split_Set") not in SPLITS[request.split]:
            continue
        clip = str(row["FileName"])
        text = root / "Transcripts" / f"{Path(clip).stem}.txt"
        yield Utterance(
            where=where,
            name=Path(clip).stem,
            audio=(audio / clip).relative_to(request.root).as_posix(),
            transcript=text.read_text(encoding="utf-8", errors="replace").strip() if text.is_file() else None,
            emotion=row.get("EmoClass"),
            speaker=str(row.get("SpkrID") or "Unknown"),
            subset=row["Split_Set"],
        )


MSP_PODCAST = Reader(
    name="msp_podcast",
    title="MSP-Podcast (Lotfian & Busso, 2019)",
    layout=f"MSP-Podcast as released, `{LABELS}`, `Audios/*.wav` and `Transcripts/*.txt`; its own partitions, of "
    "which Test1 to Test3 are subsets of test.",
    utterances=_utterances,
    tasks=("er", "asr"),
    usual=("er",),
    emotions=EMOTIONS,
    excluded=EXCLUDED,
    licence="by agreement with UT Dallas, research only",
)
