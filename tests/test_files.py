"""Files are whole or not there, and a full disk is said as such."""

import errno
import json
import os
import sqlite3

import pytest

from audiollm import files
from audiollm.corpora.export import export
from audiollm.corpora.read import read_to_folder
from audiollm.corpora.reader import Request
from audiollm.files import naming_a_full_disk, new_folder, replacing, write_whole
from tests.test_corpora_verify import row, rows_file, tone


def test_a_file_appears_whole_and_the_old_one_stays_until_then(tmp_path):
    path = tmp_path / "it.json"
    write_whole(path, "old")
    with pytest.raises(KeyError), replacing(path) as file:
        file.write("half")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["it.json"]


def test_permissions_are_those_of_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_said_as_such_whoever_meets_it(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="the disk is full.*make room"), naming_a_full_disk(tmp_path):
        raise full
    with pytest.raises(sqlite3.OperationalError), naming_a_full_disk(tmp_path):
        raise sqlite3.OperationalError("syntax")  # there is room, so it is something else
    monkeypatch.setattr(files, "NEARLY_FULL", 1 << 62)
    with pytest.raises(OSError, match="the disk is full"), naming_a_full_disk(tmp_path):
        raise sqlite3.OperationalError("database or disk is full")
    with pytest.raises(ValueError, match="a row"), naming_a_full_disk(tmp_path):
        raise ValueError("a row")


def fill(monkeypatch, name):
    """Let the disk be full once a function of `json` is called for the second time."""
    dumps, calls = json.dumps, []

    def late(*args, **kwargs):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return dumps(*args, **kwargs)

    monkeypatch.setattr(f"audiollm.corpora.{name}.json.dumps", late)


def test_reading_and_exporting_onto_a_full_disk_leave_nothing_that_looks_whole(tmp_path, monkeypatch):
    for number in range(3):
        tone(tmp_path / "own" / "sad" / f"{number}.wav", seed=number)
    clips = [tone(tmp_path / "rows" / f"{number}.wav", seed=number) for number in range(3)]
    rows = rows_file(tmp_path / "rows", *(row(number, clip) for number, clip in enumerate(clips)))
    fill(monkeypatch, "read")
    with pytest.raises(OSError, match="the disk is full"):
        read_to_folder("own", Request(tmp_path / "own", "train"), tmp_path / "out", splits=["train"])
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(("rows", "rejects", "read"))]
    with pytest.raises(OSError, match="the disk is full"):
        export(rows, tmp_path / "exported", "sharegpt")
    assert not (tmp_path / "exported").exists()


def test_a_folder_that_another_wrote_meanwhile_stays_theirs(tmp_path):
    with (
        pytest.raises(FileExistsError, match="out was written by another process meanwhile"),
        new_folder(tmp_path / "out"),
    ):
        with new_folder(tmp_path / "out") as theirs:
            (theirs / "a").write_text("theirs")
    assert (tmp_path / "out" / "a").read_text() == "theirs" and [one.name for one in tmp_path.iterdir()] == ["out"]
