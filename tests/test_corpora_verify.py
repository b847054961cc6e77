import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiollm.corpora.read import read_to_folder
from audiollm.corpora.reader import Request
from audiollm.corpora.schema import read_rows
from audiollm.corpora.verify import verify
from audiollm.locks import FolderInUseError, folder_lock


REAL_MELD = Path(__file__).parents[2] / "shared" / "data" / "meld"


def tone(path: Path, seconds: float = 0.1, seed: int = 0, gain: float = 0.1) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, gain, round(seconds * 16_000)), 16_000)
    return path.name


def row(number: int, audio: str, **fields) -> dict:
    given = {"id": f"r{number}", "corpus": "mine", "split": "train", "task": "er", "audio": audio, "label": "sad"}
    return {**given, "question": "How?", "answer": "Sad.", "target": "label", **fields}


def rows_file(folder: Path, *rows: object) -> Path:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows)
    (folder / "rows.jsonl").write_text(text + "\n")
    return folder


def kinds(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (folder / "problems.jsonl").read_text().splitlines():
        problem = json.loads(line)
        found.setdefault(problem["kind"], []).append(problem["row"])
    return found


def test_every_kind_of_bad_clip_is_listed_with_its_row(tmp_path):
    good, silent = tone(tmp_path / "good.wav"), tone(tmp_path / "silent.wav", gain=1e-5, seed=1)
    long = tone(tmp_path / "long.wav", seconds=2.5, seed=2)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    samples = soundfile.read(tmp_path / "good.wav", dtype="int16")[0]
    soundfile.write(tmp_path / "same.flac", samples, 16_000)  # the same sound in another container
    soundfile.write(tmp_path / "cut.flac", soundfile.read(tmp_path / "long.wav")[0], 16_000)
    cut = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "text.wav").write_text("no audio")
    clips = [good, silent, long, "empty.wav", "nan.wav", "same.flac", "text.wav", "never.wav", "cut.flac", good]
    rows = [row(number, clip) for number, clip in enumerate(clips)]
    report = verify(rows_file(tmp_path, *rows, row(0, good), '{"id": "x"}', "no json"), max_seconds=2)
    assert kinds(tmp_path) == {
        "silent": ["r1"],
        "too-long": ["r2"],
        "zero-length": ["r3"],
        "not-finite": ["r4"],
        "duplicate-audio": ["r5"],
        "unreadable": ["r6", "r8"],
        "missing": ["r7"],
        "duplicate-id": ["r0"],
        "bad-row": ["x", ""],
    }
    assert report.rows == 11 and report.clips == 4 and not report.clean
    assert "too-long: 1; the first: r2 (rows.jsonl, line 3): 2.5 s; the limit is 2 s" in report.text()
    written = json.loads((tmp_path / "verify.json").read_text())
    assert written["problems"]["unreadable"] == 2 and written["settings"]["max_seconds"] == 2


def test_what_train_and_test_share_is_reported(tmp_path):
    clips = [tone(tmp_path / f"{n}.wav", seed=n % 3) for n in range(4)]  # 0 and 3 sound the same
    rows = [
        row(0, clips[0], speaker="ann", dialogue="d1"),
        row(1, clips[1], speaker="bob", dialogue="d2"),
        row(2, clips[2], split="test", speaker="ann", dialogue="d3"),
        row(3, clips[3], split="test", speaker="eve", dialogue="d2"),
        row(4, clips[1], split="validation", speaker="ann", corpus="other"),
    ]
    report = verify(rows_file(tmp_path, *rows))
    assert {kind: found["groups"] for kind, found in report.shared.items()} == {
        "audio": 2,
        "speaker": 1,
        "dialogue": 1,
    }
    assert report.shared["speaker"]["examples"] == [{"name": "ann", "splits": ["test", "train"]}]
    assert report.shared["audio"]["splits"] == {"test and train": 1, "train and validation": 1}
    assert "The same dialogue in several splits: 1 in test and train. For example: d2" in report.text()


def test_a_clean_corpus_is_clean(tmp_path):
    rows = [
        row(n, tone(tmp_path / f"{n}.wav", seed=n), speaker=f"s{n}", split=s) for n, s in enumerate(("train", "test"))
    ]
    report = verify(rows_file(tmp_path, *rows))
    assert report.clean and "No problems in rows or clips." in report.text() and (tmp_path / "problems.jsonl").exists()


def meld_rows(folder: Path, neutral: int) -> Path:
    labels = {
        "neutral": neutral,
        "happy": 402,
        "surprised": 281,
        "angry": 345,
        "sad": 208,
        "disgusted": 68,
        "fearful": 50,
    }
    every = [label for label, count in labels.items() for _ in range(count)]
    rows = [row(n, "x.wav", corpus="meld", split="test", label=label) for n, label in enumerate(every)]
    return rows_file(folder, *rows)


def test_counts_are_compared_with_the_published_ones_and_differences_named(tmp_path):
    folder = meld_rows(tmp_path, 1254)
    reject = {"where": "x", "field": "audio", "reason": "gone", "corpus": "meld", "split": "test", "task": "er"}
    (folder / "rejects.jsonl").write_text(json.dumps({**reject, "label": "neutral"}) + "\n")
    text = verify(folder, audio=False).text()
    assert (
        "meld test er neutral: 1,254 rows, 1,256 published (Poria et al. 2019): 2 fewer; 1 set aside, 1 unexpl" in text
    )
    assert "test er happy" not in text.split("Differences")[1]
    assert any(line.split()[:6] == ["meld", "test", "er", "neutral", "1,254", "1,256"] for line in text.splitlines())
    assert "Clips were not heard." in text and "Label set of meld, er: neutral, happy, surprised" in text


def test_rows_of_several_targets_count_a_clip_once(tmp_path):
    rows = [row(n, "x.wav", target=target) for n, target in enumerate(("label", "evidence", "label", "interpretive"))]
    report = verify(rows_file(tmp_path, *rows), audio=False)
    assert sum(report.counts.values()) == 2 and report.targets == {"label": 2, "evidence": 1, "interpretive": 1}


def test_unknown_labels_of_a_known_corpus_are_told(tmp_path):
    rows = [row(0, "x.wav", corpus="meld", label="gloomy"), row(1, "x.wav", corpus="meld", label="sad")]
    said = verify(rows_file(tmp_path, *rows), audio=False).labels["meld"]["er"]
    assert said["unknown"] == ["gloomy"] and "happy" in said["missing"] and "sad" not in said["missing"]


def test_endless_labels_are_counted_in_bounded_memory(tmp_path):
    report = verify(rows_file(tmp_path, *(row(n, "x.wav", label=f"l{n}") for n in range(1100))), audio=False)
    assert len(report.counts) == 1001 and sum(report.counts.values()) == 1100


def test_rows_written_by_read_are_found_by_read_rows(tmp_path):
    rows_file(tmp_path, row(0, "a.wav"), row(1, "b.wav", split="test"))
    assert [found["id"] for found in read_rows(tmp_path, "test")] == ["r1"]


def test_what_read_set_aside_is_told_and_its_rows_can_be_moved_with_their_clips(tmp_path):
    tone(tmp_path / "work" / "clips" / "a.wav")
    table = tmp_path / "work" / "calls.csv"
    table.write_text("audio,emotion\nclips/a.wav,Sad\nclips/a.wav,hungry\n")
    read_to_folder("own", Request(table, ""), tmp_path / "work" / "read")
    (line,) = (tmp_path / "work" / "read" / "rows.jsonl").read_text().splitlines()
    assert json.loads(line)["audio"] == "../clips/a.wav"
    (tmp_path / "work").rename(tmp_path / "moved")
    report = verify(tmp_path / "moved" / "read")
    assert not report.problems and not report.clean and report.as_json()["set_aside"]["rows"] == 1
    assert "1 rows were set aside before, see rejects.jsonl; the first: calls.csv, line 3: label" in report.text()


def test_two_cannot_read_into_one_folder(tmp_path):
    (tmp_path / "a.csv").write_text("audio,emotion\na.wav,sad\n")
    tone(tmp_path / "a.wav")
    with folder_lock(tmp_path / "out", "run of read"):
        with pytest.raises(FolderInUseError, match="out is in use by a run of read"):
            read_to_folder("own", Request(tmp_path / "a.csv", ""), tmp_path / "out")
    assert read_to_folder("own", Request(tmp_path / "a.csv", ""), tmp_path / "out").rows == {("train", "er"): 1}


@pytest.mark.skipif(not REAL_MELD.is_dir(), reason="MELD's annotations are not in this checkout")
def test_the_real_meld_annotations_have_the_published_counts(tmp_path):
    summary = read_to_folder("meld", Request(REAL_MELD, "", check_audio=False), tmp_path)
    assert summary.rows == {
        (split, task): count
        for split, count in (("train", 9989), ("validation", 1109), ("test", 2610))
        for task in ("er", "sr")
    }
    report = verify(tmp_path, audio=False)
    wrong = [item.sentence() for item in report.comparisons if item.difference]
    assert len(report.comparisons) == 40 and len(wrong) == 2 and all("dia125_utt3" in line for line in wrong)
    assert not report.problems and not summary.rejects
