"""Malformed corpora: each bad row lands in the reject file with a reason, and the rest comes through."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiollm.corpora.read import read_to_folder
from audiollm.corpora.reader import Request
from audiollm.corpora.readers import CorpusError
from audiollm.corpora.tables import MAX_LINE, read_table


GOOD = {"id": "good", "audio": "good.wav", "emotion": "sad", "transcript": "so long"}
HEADER = "id,audio,emotion,transcript"
AFTER = "after,good.wav,happy,hello"


def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    samples = np.random.default_rng(0).normal(0, 0.1, 800).astype(np.float32)
    soundfile.write(root / "good.wav", samples, 16_000)
    soundfile.write(root / "empty.wav", samples[:0], 16_000)
    (root / "nothing.wav").write_bytes(b"")
    (root / "noise.wav").write_bytes(os.urandom(500))
    (root / "page.wav").write_bytes(b"<html>404</html>")
    (root / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    (root / "folder.wav").mkdir()
    soundfile.write(tmp_path / "outside.wav", samples, 16_000)
    (root / "way-out.wav").symlink_to(tmp_path / "outside.wav")
    (root / "out").symlink_to(tmp_path)
    (root / "loop.wav").symlink_to(root / "loop.wav")
    (root / "gone.wav").symlink_to(root / "never-there.wav")
    return root


def read(root: Path, **settings) -> tuple[list[dict], list[dict]]:
    out = root.parent / "read"
    read_to_folder("own", Request(root, "", tasks=("er",), **settings), out, ("train",))
    lines = [(out / name).read_text(encoding="utf-8").splitlines() for name in ("rows.jsonl", "rejects.jsonl")]
    return tuple([json.loads(line) for line in part] for part in lines)


CSV_CASES = {
    "a field too few": ("bad,good.wav,sad", "has 3 fields, but the header has 4"),
    "a field too many": ("bad,good.wav,sad,so,long", "has 5 fields, but the header has 4"),
    "text after a quoted field": ('bad,good.wav,sad,"so" long', "the quotes are malformed"),
    "a quote that is never closed": ('bad,good.wav,sad,"so long', "a quote is opened and never closed"),
    "bytes of another encoding": (b"bad,good.wav,sad,caf\xe9", "not in the file's encoding"),
    "a huge field": (f"bad,good.wav,sad,{'x' * 70_000}", "is longer than 65,536 characters"),
    "a huge quoted field": (f'bad,good.wav,sad,"{"x" * 140_000}"', "is longer than 65,536 characters"),
    "a huge line": (f"bad,good.wav,sad,{'x' * (MAX_LINE + 10)}", "the line is longer than"),
    "an unknown label": ("bad,good.wav,gloomy,so long", "label 'gloomy' is unknown; the label set is"),
    "no label": ("bad,good.wav,,so long", "^is missing"),
    "a missing file": ("bad,never.wav,sad,so long", "never.wav: no such file"),
    "an empty path": ("bad,,sad,so long", "must be the path of an audio file"),
    "a path above the corpus": ("bad,../outside.wav,sad,so long", "leads outside of the corpus folder"),
    "an absolute path": ("bad,/etc/passwd,sad,so long", "leads outside of the corpus folder"),
    "a link out of the corpus": ("bad,way-out.wav,sad,so long", "a symbolic link leads outside of the corpus"),
    "a linked folder out of the corpus": ("bad,out/outside.wav,sad,x", "a symbolic link leads outside of the corpus"),
    "a link to itself": ("bad,loop.wav,sad,so long", "loop.wav: no such file"),
    "a link to nothing": ("bad,gone.wav,sad,so long", "gone.wav: no such file"),
    "a folder for a file": ("bad,folder.wav,sad,so long", "folder.wav: is a folder"),
    "a path far too long": (f"bad,{'x' * 5000}.wav,sad,x", "the path cannot be used|no such file"),
    "a zero-length clip": ("bad,empty.wav,sad,so long", "empty.wav: holds no samples"),
    "an empty file": ("bad,nothing.wav,sad,so long", "nothing.wav: is empty"),
    "random bytes": ("bad,noise.wav,sad,so long", "noise.wav: can't be decoded"),
    "a web page for a clip": ("bad,page.wav,sad,so long", "page.wav: can't be decoded"),
    "a video": ("bad,film.mp4,sad,so long", "film.mp4: (is video or AAC|can't be decoded)"),
    "an id twice": ("good,good.wav,sad,so long", "'own-good-er' is the id of train.csv, line 2 already"),
    "control characters": ("bad,good.wav,sad,so\x07long", "holds control characters"),
    "a NUL in the path": ("bad,good\x00.wav,sad,x", "the path holds a NUL"),
}


@pytest.mark.parametrize("line, reason", CSV_CASES.values(), ids=CSV_CASES)
def test_a_bad_csv_row_is_set_aside_and_the_rest_comes_through(tmp_path, line, reason):
    root = corpus(tmp_path)
    lines = [
        part if isinstance(part, bytes) else part.encode() for part in (HEADER, "good,good.wav,sad,hi", line, AFTER)
    ]
    (root / "train.csv").write_bytes(b"\n".join(lines) + b"\n")
    rows, rejects = read(root)
    assert [row["id"] for row in rows] == ["own-good-er", "own-after-er"]
    assert len(rejects) == 1 and re.search(reason, rejects[0]["reason"]), rejects
    assert rejects[0]["where"] == "train.csv, line 3"


JSON_CASES = {
    "no JSON": ('{"id": "bad", "audio"', "is not JSON"),
    "a list": ('["bad", "good.wav", "sad"]', "is a JSON list, not an object"),
    "endless nesting": ("[" * 100_000, "is not JSON"),
    "an endless number": ('{"id": ' + "9" * 10_000 + ', "audio": "good.wav", "emotion": "sad"}', "is not JSON"),
    "half a character": ('{"id": "bad\\ud83d", "audio": "good.wav", "emotion": "sad"}', "half of a character pair"),
    "a number for a path": ('{"id": "bad", "audio": 7, "emotion": "sad"}', "must be the path of an audio file"),
    "no audio": ('{"id": "bad", "emotion": "sad"}', "must be the path of an audio file"),
    "a list for a transcript": (
        '{"id": "bad", "audio": "good.wav", "emotion": "sad", "transcript": ["so"]}',
        "must be text",
    ),
    "a truth value for a label": ('{"id": "bad", "audio": "good.wav", "emotion": true}', "must be text; it is bool"),
    "an object without sound": ('{"id": "bad", "audio": {"path": "x"}, "emotion": "sad"}', "holds no audio"),
    "not-a-number for a label": ('{"id": "bad", "audio": "good.wav", "emotion": NaN, "sentiment": "x"}', "is missing"),
}


@pytest.mark.parametrize("line, reason", JSON_CASES.values(), ids=JSON_CASES)
def test_a_bad_json_row_is_set_aside_and_the_rest_comes_through(tmp_path, line, reason):
    root = corpus(tmp_path)
    last = json.dumps({**GOOD, "id": "after"})
    (root / "train.jsonl").write_text("\n".join([json.dumps(GOOD), line, "", last]))
    rows, rejects = read(root)
    assert [row["id"] for row in rows] == ["own-good-er", "own-after-er"]
    assert len(rejects) == 1 and reason in rejects[0]["reason"], rejects
    assert rejects[0]["where"] == "train.jsonl, line 2"


def test_quotes_newlines_and_a_byte_order_mark_are_no_problem(tmp_path):
    root = corpus(tmp_path)
    text = f'{HEADER}\r\ngood,good.wav,sad,"He said: ""no,\r\nnever"""\r\n{AFTER}\r\n'
    (root / "train.csv").write_bytes(text.encode("utf-8-sig"))
    rows, rejects = read(root)
    assert not rejects and rows[0]["transcript"] == 'He said: "no,\r\nnever"' and len(rows) == 2


@pytest.mark.parametrize("encoding, named", [("utf-16", None), ("cp1252", "cp1252"), ("utf-8-sig", None)])
def test_other_encodings_are_seen_by_their_mark_or_named(tmp_path, encoding, named):
    root = corpus(tmp_path)
    (root / "train.csv").write_bytes(f"{HEADER}\ngood,good.wav,sad,café\n".encode(encoding))
    rows, rejects = read(root, options={"encoding": named} if named else {})
    assert not rejects and rows[0]["transcript"] == "café"


def test_an_encoding_that_does_not_exist_is_named(tmp_path):
    root = corpus(tmp_path)
    (root / "train.csv").write_text(f"{HEADER}\n{AFTER}\n")
    with pytest.raises(CorpusError, match="encoding 'utf-9' is unknown"):
        read(root, options={"encoding": "utf-9"})


def test_an_unclosed_quote_takes_no_other_row_with_it(tmp_path):
    root = corpus(tmp_path)
    lines = [f"row{n},good.wav,sad,text {n}" for n in range(300)]
    lines[100] = 'row100,good.wav,sad,"text 100'
    (root / "train.csv").write_text("\n".join([HEADER, *lines]))
    rows, rejects = read(root)
    assert len(rows) == 299 and [reject["where"] for reject in rejects] == ["train.csv, line 102"]


@pytest.mark.parametrize(
    "header, message",
    [
        ("id,file,emotion,transcript,id", "the header names this column twice"),
        ("id,clip,emotion,transcript", "no column with audio paths in id, clip, emotion, transcript"),
        ("", "the file is empty"),
    ],
)
def test_a_table_without_a_usable_header_is_named(tmp_path, header, message):
    root = corpus(tmp_path)
    (root / "train.csv").write_text(f"{header}\na,good.wav,sad,x\n" if header else "")
    with pytest.raises(CorpusError, match=message):
        read(root)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (reject,) = read_table(tmp_path / "t.csv", ("a", "Emotion"))
    assert (reject.field, reject.reason) == ("Emotion", "the file has no such column; it has a, b.")


def test_a_killed_reading_leaves_no_half_file_under_its_name(tmp_path):
    root = corpus(tmp_path)
    (root / "train.csv").write_text(f"{HEADER}\n{AFTER}\ngood,good.wav,sad,x\n")

    def stop(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_to_folder("own", Request(root, "", tasks=("er",)), tmp_path / "read", ("train",), stop)
    assert not (tmp_path / "read" / "rows.jsonl").exists()
    assert len(read(root)[0]) == 2 and not list((tmp_path / "read").glob(".seen*"))


def test_a_corpus_is_not_written_over(tmp_path):
    root = corpus(tmp_path)
    (root / "rows.jsonl").write_text("mine")
    with pytest.raises(CorpusError, match="is the corpus itself"):
        read_to_folder("own", Request(root, ""), root, ("train",))
