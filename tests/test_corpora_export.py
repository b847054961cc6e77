import json
from pathlib import Path

import pytest
import soundfile
from datasets import load_dataset, load_from_disk

from audiollm.corpora.export import ExportError, export
from audiollm.corpora.push import push
from audiollm.corpora.reader import Request
from audiollm.corpora.readers import read_items
from audiollm.corpora.verify import verify
from tests.test_corpora_verify import row, rows_file, tone


@pytest.fixture
def rows(tmp_path) -> Path:
    folder = tmp_path / "read"
    clips = [tone(folder / name, seed=n) for n, name in enumerate(("a.wav", "b.wav", "c.wav"))]
    first = row(0, clips[0], speaker="ann", provenance={"teacher": "a<b>|c", "seed": 1})
    return rows_file(folder, first, row(1, clips[1], label="happy", answer="Happy."), row(2, clips[2], split="test"))


def test_a_datasets_folder_holds_the_clips_and_all_fields(rows, tmp_path):
    assert export(rows, tmp_path / "out", "datasets") == {"train": 2, "test": 1}
    dataset = load_from_disk(str(tmp_path / "out"))
    assert set(dataset) == {"train", "test"} and dataset["train"].features["audio"].sampling_rate == 16_000
    first = dataset["train"].with_format("arrow")[0].to_pylist()[0]
    assert first["audio"]["bytes"] == (rows / "a.wav").read_bytes() and first["speaker"] == "ann"
    assert json.loads(first["more"]) == {"provenance": {"teacher": "a<b>|c", "seed": 1}}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train", "test", "dataset_dict.json", "README.md"}


def test_parquet_is_loaded_by_the_hub_library_with_its_card(rows, tmp_path):
    export(rows, tmp_path / "out", "parquet")
    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(part) for split, part in loaded.items()} == {"train": 2, "test": 1}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "path: data/train-*" in card and "| mine | train | er | happy | 1 |" in card
    assert "`a\\<b\\>\\|c`: 1 rows" in card and "It was not verified" in card


@pytest.mark.parametrize("form", ["audiobench", "audiobench-nested"])
def test_audiobench_forms_come_back_through_its_reader(rows, tmp_path, form):
    export(rows, tmp_path / "own_emotion_test", form)
    found = list(read_items("audiobench", Request(tmp_path / "own_emotion_test", "train", work=tmp_path / "work")))
    assert [(item["question"], item["answer"], item["label"]) for item in found] == [
        ("How?", "Sad.", "sad"),
        ("How?", "Happy.", "happy"),
    ]
    assert (soundfile.read(found[0]["audio"])[0] == soundfile.read(rows / "a.wav")[0]).all()


def test_sharegpt_has_conversations_and_copies_of_the_clips(rows, tmp_path):
    export(rows, tmp_path / "out", "sharegpt")
    (entry, _) = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert [(turn["from"], turn["value"]) for turn in entry["conversations"]] == [
        ("human", "<audio>How?"),
        ("gpt", "Sad."),
    ]
    assert (tmp_path / "out" / entry["audios"][0]).read_bytes() == (rows / "a.wav").read_bytes()


def test_rows_of_bad_clips_are_left_out_on_request(rows, tmp_path):
    (rows / "b.wav").write_text("no audio")
    with pytest.raises(ExportError, match="verify the rows first"):
        export(rows, tmp_path / "early", "sharegpt", drop_problems=True)
    verify(rows)
    notes = []
    found = export(rows, tmp_path / "out", "sharegpt", drop_problems=True, note=notes.append)
    assert found == {"train": 1, "test": 1}
    assert notes == ["left out: 1 rows of 1 clips that verification found unusable (problems.jsonl)"]


def test_a_missing_clip_is_noted_and_the_rest_exported(rows, tmp_path):
    (rows / "a.wav").unlink()
    for form in ("parquet", "sharegpt"):
        notes = []
        assert export(rows, tmp_path / form, form, note=notes.append) == {"train": 1, "test": 1}
        assert len(notes) == 1 and "r0" in notes[0] and "a.wav" in notes[0]


def test_exports_that_cannot_be_are_refused(rows, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ExportError, match="is not empty"):
        export(rows, tmp_path / "full", "parquet")
    with pytest.raises(ExportError, match="unknown form 'csv'"):
        export(rows, tmp_path / "new", "csv")
    rows_file(rows, row(0, "a.wav", split="../../up"))
    with pytest.raises(ExportError, match="is no plain name"):
        export(rows, tmp_path / "new", "sharegpt")


def test_a_dry_run_of_push_writes_what_push_uploads(rows, tmp_path, monkeypatch):
    uploaded = {}

    class Hub:
        def create_repo(self, name, **settings):
            uploaded["repo"] = (name, settings)
            return f"https://hub.test/datasets/{name}"

        def upload_folder(self, repo_id, repo_type, folder_path):
            files = [path for path in Path(folder_path).rglob("*") if path.is_file()]
            uploaded["files"] = {str(path.relative_to(folder_path)): path.read_bytes() for path in files}

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert push(rows, "me/set") == "https://hub.test/datasets/me/set"
    assert uploaded["repo"] == ("me/set", {"repo_type": "dataset", "private": True, "exist_ok": True})
    push(rows, "me/set", dry_run=tmp_path / "set")
    written = {str(path.relative_to(tmp_path / "set")): path.read_bytes() for path in (tmp_path / "set").rglob("*.*")}
    assert written == uploaded["files"]
    assert set(written) == {"README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"}
