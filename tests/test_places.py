"""What rows name leaves the machine only from folders that a person named, and only if it is audio."""

import json
import os

import pyarrow.parquet
import pytest
import soundfile

from audiollm.__main__ import main
from audiollm.corpora.export import ExportError, export
from audiollm.corpora.places import NOTE, ClipPlaces
from audiollm.corpora.read import read_to_folder
from audiollm.corpora.reader import Request
from audiollm.hub import PublishError
from audiollm.hub.publish import choose_samples
from audiollm.processing.audio import AudioError
from tests.test_corpora_verify import row, rows_file, tone


@pytest.fixture
def corpus(tmp_path):
    """Rows whose clips are audio inside, audio outside by several ways, and files that are no audio."""
    folder = tmp_path / "corpus"
    tone(folder / "audio" / "good.wav")
    outside = tmp_path / "private" / tone(tmp_path / "private" / "call.wav", seed=1)
    (folder / "audio" / "notes.wav").write_text("my password")
    (folder / "audio" / "half.wav").write_bytes((folder / "audio" / "good.wav").read_bytes()[:2000])
    (folder / "linked.wav").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path / "private")
    (folder / "inside.wav").symlink_to(folder / "audio" / "good.wav")
    os.mkfifo(folder / "pipe.wav")
    names = [
        *("audio/good.wav", "inside.wav", str(outside), "../private/call.wav", "audio/../../private/call.wav"),
        *("linked.wav", "linked/call.wav", outside.as_uri(), "/etc/passwd", "audio/notes.wav", "audio/half.wav"),
        *("pipe.wav", "audio", "/proc/self/environ", "~/.ssh/id_rsa"),
    ]
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return rows_file(folder, *(row(number, name, corpus="c") for number, name in enumerate(names)))


@pytest.mark.parametrize("form", ["parquet", "sharegpt", "datasets", "audiobench"])
def test_an_export_holds_only_audio_of_the_corpus_folder(corpus, tmp_path, form):
    notes = []
    assert export(corpus, tmp_path / "out", form, note=notes.append) == {"train": 2}
    assert len(notes) == 13 and sum("--audio-root" in note for note in notes) == 7
    private = (tmp_path / "private" / "call.wav").read_bytes()
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert private[100:2000] not in written and b"my password" not in written and b"root:" not in written


def test_a_named_folder_is_allowed(corpus, tmp_path):
    named = tmp_path / "private"
    assert export(corpus, tmp_path / "out", "sharegpt", note=lambda _: None, audio_roots=[named]) == {"train": 7}
    command = ["export", str(corpus), str(tmp_path / "again"), "--format", "sharegpt", "--audio-root", str(named)]
    assert main(command) == 0
    assert len((tmp_path / "again" / "train.jsonl").read_text().splitlines()) == 7


def test_what_read_was_given_may_leave_and_a_note_of_somebody_else_counts_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    tone(tmp_path / "own" / "sad" / "1.wav")
    read_to_folder("own", Request(tmp_path / "own", "train", work=None), tmp_path / "rows", splits=["train"])
    assert export(tmp_path / "rows", tmp_path / "out", "parquet") == {"train": 1}
    note = json.loads((tmp_path / "rows" / NOTE).read_text())
    assert (tmp_path / "state" / "audiollm" / "key").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    with pytest.raises(ExportError, match="no row is left"):
        export(tmp_path / "rows", tmp_path / "none", "parquet", note=lambda _: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "rows" / NOTE).write_text(json.dumps(note | {"roots": ["/"]}))
    assert ClipPlaces(tmp_path / "rows").roots == (str(tmp_path / "rows"),)


def test_published_samples_come_from_the_corpus_folder(corpus, tmp_path):
    with pytest.raises(PublishError, match="outside of the corpus' folder|decoded|folder|cut off|pipe"):
        choose_samples(corpus, "train", 15)
    (clip,) = choose_samples(corpus, "train", 1)
    assert soundfile.info(clip["source"]).frames


def test_samples_of_one_name_from_two_folders_are_both_shown(tmp_path):
    for label in ("sad", "happy"):
        tone(tmp_path / label / "1.wav")
    rows = [row(number, f"{label}/1.wav", label=label) for number, label in enumerate(("sad", "happy"))]
    (rows_file(tmp_path, *rows) / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    assert [clip["path"] for clip in choose_samples(tmp_path, "train", 2)] == ["samples/1.wav", "samples/1-2.wav"]


def test_a_page_says_why_a_clip_is_not_in_it_without_naming_its_folder(corpus, tmp_path):
    with pytest.raises(AudioError) as caught:
        ClipPlaces(corpus).clip(tmp_path / "private" / "call.wav")
    assert "--audio-root" in caught.value.reason and str(tmp_path) not in caught.value.reason


def test_clips_inside_a_dataset_may_leave_with_it_and_files_that_its_rows_name_may_not(tmp_path):
    clips = [tone(tmp_path / "rows" / f"{number}.wav", seed=number) for number in range(2)]
    rows = rows_file(tmp_path / "rows", *(row(number, clip) for number, clip in enumerate(clips)))
    export(rows, tmp_path / "stored", "parquet")
    assert export(tmp_path / "stored", tmp_path / "again", "sharegpt") == {"train": 2}
    tone(tmp_path / "private.wav")
    named = pyarrow.Table.from_pylist([row(3, str(tmp_path / "private.wav"))])
    (tmp_path / "theirs").mkdir()
    pyarrow.parquet.write_table(named, tmp_path / "theirs" / "train-00000-of-00001.parquet")
    with pytest.raises(ExportError, match="no row is left"):
        export(tmp_path / "theirs", tmp_path / "none", "sharegpt", note=lambda _: None)
