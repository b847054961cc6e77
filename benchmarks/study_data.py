"""The rows that `configs/study` trains on and is evaluated on, from corpora under one folder.

    python benchmarks/study_data.py --corpora data --out data/study

Reads RAVDESS (as published), nEMO and LibriSpeech test-other (as published), `meld_tts` (MELD's sentences, spoken: a
table with `text`, `emotion`, `sentiment`, `file_name`, `speaker`), and `squad_tts` (short contexts of Spoken-SQuAD,
spoken: `context`, `question`, `answer`, `file_name`, `speaker`). Which rows are drawn is the same each time.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audiollm.corpora.readers import read_corpus
from audiollm.files import write_whole
from audiollm.reasons.measured import explained


Row = dict[str, Any]
TEST_ACTORS = ("15", "16", "17", "18", "19", "20")
MELD = {"transcript": "text", "emotion": "emotion", "sentiment": "sentiment"}
SQUAD = {"transcript": "context", "question": "question", "answer": "answer"}
PLACES = {"audio": "file_name", "speaker": "speaker"}


def draw(rows: Iterable[Row], each: int, *columns: str) -> list[Row]:
    """So many rows of every group that has the same values in `columns`; the same ones each time."""
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["id"]):
        groups[tuple(row[column] for column in columns)].append(row)
    return [row for key in sorted(groups) for row in random.Random(0).sample(groups[key], min(each, len(groups[key])))]


def shorter(rows: Iterable[Row], task: str, seconds: float) -> list[Row]:
    return [row for row in rows if row["task"] == task and row["seconds"] <= seconds]


def write(folder: Path, split: str, rows: Iterable[Row]):
    lines = []
    for row in rows:
        audio = row["audio"] if isinstance(row["audio"], str) else row["audio"]["path"]
        lines.append(json.dumps({**row, "audio": str(Path(audio).resolve()), "split": split}, ensure_ascii=False))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{split}.jsonl", "\n".join(lines) + "\n")
    print(f"{folder}: {len(lines)} rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="their common folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for explained, words, spoken, test, unseen")
    options = parser.parse_args()

    def read(name: str, split: str, reader: str = "own", columns: dict[str, str] | None = None) -> list[Row]:
        own = {"options": {**columns, **PLACES}} if columns else {}
        return read_corpus({"reader": reader, "path": str(options.corpora / name), **own}, split)

    acted = [row for split in ("train", "test") for row in read("ravdess", split, "ravdess") if row["task"] == "er"]
    meld, squad = read("meld_tts", "train", columns=MELD), read("squad_tts", "train", columns=SQUAD)
    labelled = [row for row in acted if row["speaker"] not in TEST_ACTORS]
    labelled += draw(shorter(meld, "er", 6), 70, "label") + draw(shorter(meld, "sr", 6), 80, "label")
    told = explained(labelled, ("interpretive", "evidence"))
    write(options.out / "explained", "train", [*({**row, "target": "label"} for row in labelled), *told])

    spoken = draw(shorter(meld, "asr", 6), 140, "speaker") + draw(shorter(squad, "asr", 9), 30, "speaker")
    write(options.out / "spoken", "train", spoken)
    words = draw(shorter(meld, "asr", 6), 20, "speaker") + draw(shorter(squad, "asr", 9), 7, "speaker")
    write(options.out / "words", "train", words + draw(shorter(squad, "sqa", 9), 80, "speaker"))

    new = read("meld_tts", "test", columns=MELD)
    test = draw([row for row in acted if row["speaker"] in TEST_ACTORS], 2, "speaker", "label")
    test += draw(shorter(new, "er", 30), 8, "label") + draw(shorter(new, "sr", 30), 10, "label")
    test += draw(read("librispeech", "test", "librispeech"), 2, "speaker")
    test += draw(shorter(read("squad_tts", "test", columns=SQUAD), "sqa", 30), 20, "speaker")
    write(options.out / "test", "test", test)
    polish = [row for split in ("train", "test") for row in read("nemo", split, "nemo") if row["task"] == "er"]
    write(options.out / "unseen", "test", draw(polish, 2, "speaker", "label"))


if __name__ == "__main__":
    main()
