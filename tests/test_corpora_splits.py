"""Splits of a person's own data: the same rule for every form of table, disjoint and complete."""

import csv
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, DatasetDict, Features, Value

from audiollm.corpora.reader import Request, drawn_share
from audiollm.corpora.readers import CorpusError, read_corpus, read_items
from audiollm.corpora.readers.holdout import RANKED, Holdout


SPLITS = ("train", "validation", "test")
FORMS = ("csv", "jsonl", "datasets", "train of datasets", "parquet", "train of parquet")


def clips(root: Path, count: int) -> list[Path]:
    root.mkdir(parents=True, exist_ok=True)
    paths = [root / f"{number}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        soundfile.write(path, np.full(160, number / 100, np.float32), 16_000)
    return paths


def dataset_of(columns: dict[str, list]) -> Dataset:
    """Audio is made of plain bytes first: to encode it as `Audio`, datasets wants FFmpeg."""
    plain = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({name: plain if name == "audio" else Value("string") for name in columns})
    return Dataset.from_dict(columns, features=features).cast_column("audio", Audio(decode=False))


def store(root: Path, form: str, rows: list[dict]) -> Path:
    """Rows with `audio` paths as one undivided table."""
    if form in ("csv", "jsonl"):
        table = root / f"calls.{form}"
        with table.open("w", encoding="utf-8", newline="") as file:
            if form == "csv":
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        return table
    columns = {name: [row[name] and str(row[name]) for row in rows] for name in rows[0]}
    columns["audio"] = [{"bytes": (root / row["audio"]).read_bytes(), "path": None} for row in rows]
    dataset = dataset_of(columns)
    out = root / "stored"
    if form == "datasets":
        dataset.save_to_disk(str(out))
    elif form == "train of datasets":
        DatasetDict(train=dataset).save_to_disk(str(out))
    else:
        out.mkdir()
        dataset.to_parquet(str(out / ("train-00000-of-00001.parquet" if "train" in form else "calls.parquet")))
    return out


def read(root: Path, work: Path, split: str, **options: str) -> list[str]:
    """Transcripts of a split."""
    items = read_items("own", Request(root, split, ("er",), work=work, options=options))
    return [item["transcript"] for item in items]


def table(root: Path, rows: int, speakers: int, splits: tuple[str | None, ...] = (None,)) -> list[dict]:
    names = [path.name for path in clips(root, rows)]
    return [
        {
            "audio": name,
            "emotion": "sad",
            "transcript": str(number),
            **({"speaker": f"p{number % speakers}"} if speakers else {}),
            **({"split": splits[number % len(splits)]} if splits != (None,) else {}),
        }
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_an_undivided_table_is_train_and_nothing_else(tmp_path, form):
    root = store(tmp_path, form, table(tmp_path, 4, 2))
    assert [len(read(root, tmp_path / "work", split)) for split in SPLITS] == [4, 0, 0]


@pytest.mark.parametrize("form", FORMS)
def test_a_split_column_is_followed_in_every_form(tmp_path, form):
    root = store(tmp_path, form, table(tmp_path, 6, 2, ("train", "Dev", "TEST")))
    assert [read(root, tmp_path / "work", split) for split in SPLITS] == [["0", "3"], ["1", "4"], ["2", "5"]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows, speakers, share", [(9, 3, "0.3"), (9, 3, "0.01"), (9, 3, "0.99"), (7, 0, "0.5")])
def test_a_holdout_is_disjoint_complete_and_never_empty_or_all(tmp_path, form, rows, speakers, share):
    made = table(tmp_path, rows, speakers)
    root = store(tmp_path, form, made)
    train, none, test = (read(root, tmp_path / "work", split, holdout=share) for split in SPLITS)
    assert train and test and not none and sorted(train + test) == [row["transcript"] for row in made]
    if speakers:
        assert not {int(name) % speakers for name in train} & {int(name) % speakers for name in test}
    again = read(root, tmp_path / "work", "test", holdout=share)
    assert again == test


def test_a_clip_of_several_rows_is_in_one_split(tmp_path):
    rows = [row | {"transcript": f"{n}"} for n, row in enumerate(table(tmp_path, 5, 0) * 4)]
    root = store(tmp_path, "csv", rows)
    train, test = ({int(name) % 5 for name in read(root, tmp_path, split, holdout="0.5")} for split in SPLITS[::2])
    assert train and test and not train & test


def test_a_holdout_is_the_same_in_any_order_of_the_rows(tmp_path):
    rows = table(tmp_path, 12, 6)
    test = read(store(tmp_path, "csv", rows), tmp_path, "test", holdout="0.3")
    random.Random(0).shuffle(rows)
    assert sorted(read(store(tmp_path, "csv", rows), tmp_path, "test", holdout="0.3")) == sorted(test)


def test_a_holdout_of_a_folder_gives_no_training_clip_as_validation(tmp_path):
    for number, path in enumerate(clips(tmp_path / "made", 8)):
        (tmp_path / "own" / "sad").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "own" / "sad" / f"{number}.wav")
    source = {"reader": "own", "path": str(tmp_path / "own"), "options": {"holdout": "0.3"}}
    train, test = ({row["audio"]["path"] for row in read_corpus(source, split)} for split in ("train", "test"))
    assert len(train) == 6 and len(test) == 2 and not train & test
    with pytest.raises(CorpusError, match="nothing of split 'validation'"):
        read_corpus(source, "validation")


def test_a_holdout_that_cannot_be_is_refused(tmp_path):
    root = store(tmp_path, "csv", table(tmp_path, 4, 1))
    with pytest.raises(CorpusError, match="one speaker or clip only"):
        read(root, tmp_path, "train", holdout="0.5")
    for share in ("0", "1", "-0.1", "nan", "half"):
        with pytest.raises(CorpusError, match="is no share between 0 and 1"):
            read(root, tmp_path, "train", holdout=share)
    root.rename(tmp_path / "train.csv")
    with pytest.raises(CorpusError, match="is divided into splits already"):
        read(tmp_path, tmp_path, "train", holdout="0.5")


def test_of_endless_names_a_share_is_held_out_without_keeping_them():
    holdout = Holdout("0.2", 1)
    for number in range(3 * RANKED):
        holdout.add(f"speaker {number}")
    holdout.draw("here")
    found = Counter(holdout.split(f"speaker {number}") for number in range(3 * RANKED))
    assert abs(found["test"] / (3 * RANKED) - 0.2) < 0.01


def test_a_drawn_share_is_at_least_one_and_of_several_never_all():
    for names in range(2, 8):
        for share in (0.01, 0.5, 0.99):
            drawn = drawn_share([str(name) for name in range(names)], share, 0)
            assert 0 < len(drawn) < names


def test_splits_that_are_named_are_kept_apart(tmp_path):
    parts = {"train": 3, "dev": 2, "test": 1}
    sound = clips(tmp_path / "clips", 1)[0].read_bytes()
    made = {
        name: dataset_of(
            {
                "audio": [{"bytes": sound, "path": None}] * count,
                "emotion": ["sad"] * count,
                "transcript": [f"{name}{n}" for n in range(count)],
            }
        )
        for name, count in parts.items()
    }
    DatasetDict(made).save_to_disk(str(tmp_path / "saved"))
    for name, part in made.items():
        part.to_parquet(str(tmp_path / "files" / name / "0000.parquet"))
    for root in (tmp_path / "saved", tmp_path / "files"):
        assert [len(read(root, tmp_path / "work", split)) for split in SPLITS] == [3, 2, 1]
