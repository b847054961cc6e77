import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import concatenate_datasets, load_from_disk

from audiollm.corpora.export import export
from audiollm.corpora.questions import POOLS, draw_question
from audiollm.corpora.readers import CorpusError, read_corpus
from audiollm.corpora.schema import COLUMNS, RowError, read_rows


GOOD = {"id": "a", "task": "er", "audio": "a.wav", "question": "How?"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_rows_are_completed_and_audio_paths_resolved(tmp_path):
    (row,) = read_rows(write(tmp_path / "train.jsonl", {**GOOD, "carrier": "voice"}).parent, "train")
    assert set(COLUMNS) <= set(row) and row["carrier"] == "voice" and row["answer"] is None
    assert row["audio"] == {"path": str(tmp_path / "a.wav"), "bytes": None}


def test_a_file_with_several_splits_gives_the_one_asked_for(tmp_path):
    path = write(tmp_path / "all.jsonl", {**GOOD, "split": "train"}, {**GOOD, "id": "b", "split": "test"})
    assert [row["id"] for row in read_rows(path, "test")] == ["b"]
    assert len(read_rows(path)) == 2


@pytest.mark.parametrize(
    "row, message",
    [
        ("{not json", "line 2: is not JSON"),
        ({**GOOD, "audio": None}, "line 2: field 'audio' is missing"),
        ({**GOOD, "audio": {"array": []}}, "field 'audio' must be the path"),
        ({key: value for key, value in GOOD.items() if key != "question"}, "field 'question' is missing"),
        ({**GOOD, "task": "emotion"}, "task 'emotion' is unknown; it is one of asr, sqa, er, sr"),
        ({**GOOD, "target": "summary"}, "target 'summary' is unknown"),
        ({**GOOD, "transcript": 911}, "field 'transcript' must be text, as \"911\"; it is the number 911"),
        ({**GOOD, "label": float("nan")}, "field 'label' must be text; it is the number nan"),
        ({**GOOD, "question": ["How?"]}, "field 'question' must be text; it is a list"),
        ({**GOOD, "answer": {"text": "Sad."}}, "field 'answer' must be text; it is an object"),
        ({**GOOD, "answer": True}, "field 'answer' must be text"),
        ({**GOOD, "id": False}, "field 'id' must be text"),
        ({**GOOD, "id": " "}, "field 'id' is empty"),
        ({**GOOD, "id": None}, "field 'id' is missing"),
        ({**GOOD, "task": ["er"]}, "field 'task' must be text"),
        ({**GOOD, "target": []}, "field 'target' must be text"),
        ({**GOOD, "split": 1}, "field 'split' must be text"),
        ({**GOOD, "seconds": "2.1"}, "field 'seconds' must be a number, as 2.1; it is the text '2.1'"),
        ({**GOOD, "seconds": float("inf")}, "field 'seconds' must be a length"),
        ({**GOOD, "seconds": -1}, "field 'seconds' must be a length"),
        ({**GOOD, "answer": "\ud800"}, "field 'answer' holds half of a character pair"),
        ([1, 2], "line 2: is a JSON list, not an object"),
        (GOOD, "line 2: field 'id' is there more than once: 'a' is that of .*train.jsonl, line 1"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, row, message):
    with pytest.raises(RowError, match=message):
        read_rows(write(tmp_path / "train.jsonl", GOOD, row))


def test_whole_numbers_will_do_as_names(tmp_path):
    (row,) = read_rows(write(tmp_path / "a.jsonl", {**GOOD, "id": 7, "speaker": 3, "seconds": 2}))
    assert (row["id"], row["speaker"], row["seconds"]) == ("7", "3", 2.0)


def test_rows_of_a_folder_are_of_the_split_that_their_file_is_named_for(tmp_path):
    write(tmp_path / "dev.jsonl", GOOD)
    (row,) = read_rows(tmp_path, "validation")
    assert row["split"] == "validation"


@pytest.mark.parametrize("form", ["json lines", "datasets", "one dataset", "parquet", "parquet file"])
def test_training_and_evaluation_take_rows_in_every_form(tmp_path, monkeypatch, form):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    clip(tmp_path / "in" / "a.wav")
    rows = [{**GOOD, "id": f"{split}{n}", "split": split, "mood": n} for split in ("train", "test") for n in range(2)]
    source = write(tmp_path / "in" / "rows.jsonl", *rows).parent
    if form != "json lines":
        source = tmp_path / "out"
        export(tmp_path / "in", source, "datasets" if "dataset" in form else "parquet")
    if form == "one dataset":
        source = tmp_path / "one"
        concatenate_datasets(load_from_disk(str(tmp_path / "out")).values()).save_to_disk(str(source))
    if form == "parquet file":
        (source,) = (tmp_path / "out" / "data").glob("test-*")
    for split in ("test",) if form == "parquet file" else ("train", "test"):
        found = read_corpus(str(source), split)
        assert [(row["id"], row["split"], row["mood"]) for row in found] == [(f"{split}{n}", split, n) for n in (0, 1)]
        assert (soundfile.read(found[0]["audio"]["path"])[0] == soundfile.read(tmp_path / "in" / "a.wav")[0]).all()


def test_a_corpus_can_be_named_with_its_reader_on_a_command_line(tmp_path):
    clip(tmp_path / "Actor_01" / "03-01-05-02-01-01-01.wav")
    (row,) = read_corpus(f"{{reader: ravdess, path: {tmp_path}, tasks: [er]}}", "train")
    assert row["label"] == "angry"
    with pytest.raises(CorpusError, match="is not of the form"):
        read_corpus("{reader: [ravdess", "train")


def test_missing_and_empty_corpora_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="test.jsonl: no such corpus file"):
        read_rows(tmp_path, "test")
    with pytest.raises(RowError, match="holds no rows of split 'test'"):
        read_rows(write(tmp_path / "a.jsonl", {**GOOD, "split": "train"}), "test")


def test_questions_are_drawn_by_row_and_seed_and_use_the_whole_pool():
    drawn = Counter(draw_question("er", f"row{number}") for number in range(300))
    assert set(drawn) == set(POOLS["er"]) and min(drawn.values()) > 60
    assert draw_question("er", "row1") == draw_question("er", "row1")
    assert any(draw_question("er", f"row{n}", 1) != draw_question("er", f"row{n}") for n in range(9))


def clip(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(800, np.float32), 16_000)


def test_ravdess_is_split_by_actor_and_labelled_by_file_name(tmp_path):
    for name in ("Actor_01/03-01-05-02-01-01-01", "Actor_17/03-01-02-01-02-01-17", "Actor_21/03-01-01-01-01-01-21"):
        clip(tmp_path / f"{name}.wav")
    source = {"reader": "ravdess", "path": str(tmp_path)}
    train, test = read_corpus(source, "train"), read_corpus(source, "test")
    assert [row["task"] for row in train] == ["asr", "er"]
    assert train[1]["label"] == "angry" and train[1]["answer"] == "The speaker sounds angry."
    assert test[0]["transcript"] == "dogs are sitting by the door" and test[1]["label"] == "calm"
    assert Path(train[0]["audio"]["path"]).exists()


def test_each_actor_of_ravdess_is_held_out_in_one_fold(tmp_path):
    actors = {f"{actor:02}" for actor in range(1, 25)}
    for actor in actors:
        clip(tmp_path / f"03-01-05-02-01-01-{actor}.wav")
    held_out = []
    for fold in range(1, 7):
        source = {"reader": "ravdess", "path": str(tmp_path), "tasks": ["er"], "options": {"fold": fold}}
        test, train = ({row["speaker"] for row in read_corpus(source, split)} for split in ("test", "train"))
        assert test | train == actors and not test & train
        assert sorted(int(actor) % 2 for actor in test) == [0, 0, 1, 1]
        held_out += sorted(test)
    assert sorted(held_out) == sorted(actors)


def test_librispeech_is_read_with_its_transcripts(tmp_path):
    clip(tmp_path / "12" / "34" / "12-34-0000.flac")
    (tmp_path / "12" / "34" / "12-34.trans.txt").write_text("12-34-0000 HE HOPED THERE WOULD BE STEW\n")
    (row,) = read_corpus({"reader": "librispeech", "path": str(tmp_path)}, "train")
    assert row["transcript"] == row["answer"] == "he hoped there would be stew" and row["speaker"] == "12"


def test_a_folder_without_the_corpus_says_what_was_expected(tmp_path):
    with pytest.raises(CorpusError, match="nothing of split 'train' found. Expected layout: RAVDESS speech"):
        read_corpus({"reader": "ravdess", "path": str(tmp_path)}, "train")
    with pytest.raises(CorpusError, match="Unknown corpus reader 'x'"):
        read_corpus({"reader": "x", "path": str(tmp_path)}, "train")
