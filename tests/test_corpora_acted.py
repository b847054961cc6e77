"""Readers of corpora of acted and of found emotion, each on a tree in its published layout, made here."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from audiollm.corpora.readers import READERS
from audiollm.corpora.readers.cremad import SENTENCES as CREMAD_SENTENCES
from tests.test_corpora_readers import clip, read


def read_all(name: str, root: Path, **settings):
    return {split: read(name, root, split, **settings) for split in READERS[name].splits}


def labels(rows) -> Counter:
    return Counter(row["label"] for row in rows if row["task"] == "er")


@pytest.mark.parametrize("below", ["AudioWAV", "cremad/AudioWAV", "."])
def test_cremad_splits_by_actor_and_knows_the_sentences(tmp_path, below):
    for actor in range(1001, 1011):
        for emotion in ("ANG", "NEU"):
            clip(tmp_path / below / f"{actor}_TSI_{emotion}_XX.wav")
    found = read_all("cremad", tmp_path)
    speakers = {split: {row["speaker"] for row in rows} for split, (rows, _) in found.items()}
    assert [len(speakers[split]) for split in ("train", "validation", "test")] == [7, 1, 2]
    assert len(set.union(*speakers.values())) == 10
    rows = [row for rows, _ in found.values() for row in rows]
    assert labels(rows) == {"angry": 10, "neutral": 10}
    assert {row["transcript"] for row in rows} == {CREMAD_SENTENCES["TSI"]}


def test_a_name_that_says_nothing_is_told_once_and_a_twin_is_set_aside(tmp_path):
    for folder in ("AudioWAV", "AudioWAV/AudioWAV"):
        clip(tmp_path / folder / "1001_TSI_ANG_XX.wav")
    clip(tmp_path / "AudioWAV" / "holiday.wav")
    rejects = [reject for _, rejects in read_all("cremad", tmp_path).values() for reject in rejects]
    assert sorted(reject.reason.split(";")[0].split(",")[0] for reject in rejects) == [
        "is no name of this corpus",
        "is there twice",
    ]


def test_tess_reads_both_speakers_and_the_misnamed_file(tmp_path):
    root = tmp_path / "TESS Toronto emotional speech set data"
    for path in ("OAF_angry/OAF_back_angry", "OAF_neutral/OA_bite_neutral", "YAF_pleasant_surprised/YAF_back_ps"):
        clip(root / f"{path}.wav")
    found = read_all("tess", tmp_path)
    assert labels(found["train"][0]) == {"angry": 1, "neutral": 1}
    assert labels(found["test"][0]) == {"surprised": 1}
    assert {row["transcript"] for row in found["train"][0]} == {"Say the word back.", "Say the word bite."}
    assert not any(rejects for _, rejects in found.values())


def test_savee_reads_both_layouts(tmp_path):
    for path in ("AudioData/DC/a01", "AudioData/KL/su15", "ALL/JE_sa02"):
        clip(tmp_path / f"{path}.wav")
    found = read_all("savee", tmp_path)
    assert labels(found["train"][0]) == {"angry": 1, "sad": 1} and labels(found["test"][0]) == {"surprised": 1}
    assert {row["speaker"] for row in found["train"][0]} == {"DC", "JE"}


def test_emodb_is_german_and_knows_its_sentences(tmp_path):
    for speaker in ("03", "08", "09", "10", "11"):
        clip(tmp_path / "wav" / f"{speaker}a01Fa.wav")
        clip(tmp_path / "wav" / f"{speaker}b10Lc.wav")
    rows = [row for rows, _ in read_all("emodb", tmp_path).values() for row in rows]
    assert labels(rows) == {"happy": 5, "bored": 5} and READERS["emodb"].language == "de"
    assert "Der Lappen liegt auf dem Eisschrank." in {row["transcript"] for row in rows}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_esd_takes_parts_by_the_number_of_the_text(tmp_path, encoding):
    speaker = tmp_path / "Emotion Speech Dataset" / "0011"
    lines = []
    for number, emotion in ((351, "Angry"), (400, "Angry"), (371, "Angry"), (350, "Neutral")):
        clip(speaker / emotion / f"0011_{number:06d}.wav")
        lines.append(f"0011_{number:06d}\tSome words {number}.\t{emotion}")
    (speaker / "0011.txt").write_text("\n".join(lines), encoding=encoding)
    clip(tmp_path / "Emotion Speech Dataset" / "0001" / "Sad" / "0001_001200.wav")
    found = read_all("esd", tmp_path)
    names = {split: sorted({Path(row["audio"]).stem for row in rows}) for split, (rows, _) in found.items()}
    assert names == {
        "validation": ["0011_000351"],
        "test": ["0011_000371", "0011_000400"],
        "train": ["0011_000350"],
    }
    assert {row["transcript"] for row in found["validation"][0]} == {"Some words 351."}
    rows, _ = read("esd", tmp_path, "train", options={"language": "zh"}, tasks=("er",))
    assert labels(rows) == {"sad": 1}


def write_csv(path: Path, *rows: dict):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_msp_podcast_keeps_its_partitions_and_sets_disagreement_aside(tmp_path):
    root = tmp_path / "MSP-Podcast-1.11"
    rows = [
        {"FileName": f"MSP-PODCAST_0001_{number:04d}.wav", "EmoClass": label, "SpkrID": "7", "Split_Set": part}
        for number, (label, part) in enumerate([("A", "Train"), ("X", "Train"), ("C", "Test1"), ("N", "Test2")])
    ]
    write_csv(root / "Labels" / "labels_consensus.csv", *rows)
    for row in rows:
        clip(root / "Audios" / row["FileName"])
    (root / "Transcripts").mkdir()
    (root / "Transcripts" / "MSP-PODCAST_0001_0000.txt").write_text("Hello there.\n")
    found = read_all("msp_podcast", tmp_path)
    train, rejects = found["train"]
    assert [(row["label"], row["transcript"]) for row in train] == [("angry", "Hello there.")]
    assert "agreed on no label" in rejects[0].reason
    assert [(row["label"], row["subset"]) for row in found["test"][0]] == [
        ("contemptuous", "Test1"),
        ("neutral", "Test2"),
    ]


def test_cmu_mosei_gives_sentiment_by_film(tmp_path):
    rows = [
        {"video_id": "-3g5yACwYnA", "clip_id": number, "text": "Well.", "annotation": feeling, "mode": mode}
        for number, (feeling, mode) in enumerate([("Positive", "train"), ("Negative", "valid"), ("Neutral", "test")])
    ]
    write_csv(tmp_path / "MOSEI" / "label.csv", *rows)
    for row in rows:
        clip(tmp_path / "MOSEI" / "Raw" / row["video_id"] / f"{row['clip_id']}.wav")
    found = read_all("cmu_mosei", tmp_path)
    assert [row["label"] for rows, _ in found.values() for row in rows] == ["positive", "negative", "neutral"]
    assert found["train"][0][0]["speaker"] == "-3g5yACwYnA"


@pytest.mark.parametrize(
    "name, total", {"cremad": 7442, "tess": 2800, "savee": 480, "emodb": 535, "esd": 17500, "cmu_mosei": 22856}.items()
)
def test_published_counts_add_up(name, total):
    assert sum(published.total for published in READERS[name].published) == total


@pytest.mark.parametrize("above", [".", "Audio_Speech_Actors_01-24", "audio/Audio_Speech_Actors_01-24"])
def test_ravdess_is_found_below_its_parents(tmp_path, above):
    clip(tmp_path / above / "Actor_01" / "03-01-05-02-01-01-01.wav")
    rows, rejects = read("ravdess", tmp_path, "train", tasks=("er",))
    assert not rejects and [row["label"] for row in rows] == ["angry"]
