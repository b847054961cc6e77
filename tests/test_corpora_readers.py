"""Each reader on a fixture in the published layout, made here; nothing of a real corpus is in it."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import soundfile
from datasets import Audio, Dataset, DatasetDict, Features, Value
from pyarrow.parquet import ParquetWriter

from audiollm.corpora.questions import ASR, AUDIOBENCH, EMOTION, PAPER, POOLS, STYLES, draw_question
from audiollm.corpora.reader import Request
from audiollm.corpora.readers import READERS, CorpusError, read_corpus, read_items
from audiollm.corpora.rejects import Reject
from audiollm.corpora.schema import RowError, features


def clip(path: Path, seconds: float = 0.05, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
    soundfile.write(path, noise, 16_000)
    return path


def read(name: str, root: Path, split: str, **settings) -> tuple[list[dict], list[Reject]]:
    items = list(read_items(name, Request(root, split, **settings)))
    rejects = [item for item in items if isinstance(item, Reject)]
    return [item for item in items if not isinstance(item, Reject)], rejects


MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime".split(",")
)


def meld(root: Path, folder: str, *rows: tuple, split: str = "train", kind: str = "wav"):
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{split}_sent_emo.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(MELD_HEADER)
        for number, (text, emotion, sentiment, dialogue, turn) in enumerate(rows):
            times = ("00:20:57,256", "00:21:00,049")
            writer.writerow((number + 1, text, "Somebody", emotion, sentiment, dialogue, turn, 1, 1, *times))
            if kind == "wav":
                clip(root / folder / f"dia{dialogue}_utt{turn}.wav", seed=number)
            elif kind == "mp4":
                (root / folder).mkdir(parents=True, exist_ok=True)
                (root / folder / f"dia{dialogue}_utt{turn}.mp4").write_bytes(b"\0\0\0 ftypisom" + bytes(64))


@pytest.mark.parametrize(
    "split, file, folder",
    [
        ("train", "train", "train_splits"),
        ("validation", "dev", "dev_splits_complete"),
        ("test", "test", "output_repeated_splits_test"),
        ("test", "test", "test"),
    ],
)
def test_meld_gives_emotion_and_sentiment_from_the_same_rows(tmp_path, split, file, folder):
    said = 'He said: "no,\nnever", and left'
    meld(tmp_path, folder, (said, "joy", "positive", 0, 0), ("Oh.", "fear", "negative", 0, 1), split=file)
    rows, rejects = read("meld", tmp_path, split)
    assert not rejects and [(row["task"], row["label"]) for row in rows] == [
        ("er", "happy"),
        ("sr", "positive"),
        ("er", "fearful"),
        ("sr", "negative"),
    ]
    assert rows[0]["id"] == f"meld-{file}-dia0_utt0-er" and rows[0]["label_published"] == "joy"
    assert rows[0]["transcript"] == said and rows[0]["dialogue"] == f"{file}-0" and rows[0]["seconds"] == 0.05
    assert rows[0]["audio"] == rows[1]["audio"] and Path(rows[0]["audio"]).parent.name == folder


def film(path: Path, sound: bool = True) -> Path:
    """An mp4 with half a second of picture, and of AAC at 44.1 kHz in two channels."""
    av = pytest.importorskip("av")
    with av.open(path, "w") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        voice = container.add_stream("aac", rate=44_100, layout="stereo") if sound else None
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8))
            frame.pts = number
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if voice:
            tone = np.sin(np.arange(22_050) * 2 * np.pi * 440 / 44_100).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]) / 2, "fltp", "stereo")
            frame.sample_rate = 44_100
            container.mux([*voice.encode(frame), *voice.encode()])
    return path


def test_the_sound_of_melds_films_is_written_once_for_both_tasks(tmp_path):
    rows = [(f"Line {number}.", "joy", "positive", 0, number) for number in range(3)]
    meld(tmp_path / "c", "train_splits", *rows, kind="mp4")  # the third stays broken, as dia125_utt3 is
    film(tmp_path / "c" / "train_splits" / "dia0_utt0.mp4")
    film(tmp_path / "c" / "train_splits" / "dia0_utt1.mp4", sound=False)
    found, rejects = read("meld", tmp_path / "c", "train", work=tmp_path / "work")
    assert [row["task"] for row in found] == ["er", "sr"] and len({row["audio"] for row in found}) == 1
    samples, rate = soundfile.read(found[0]["audio"])
    assert (rate, samples.ndim) == (16_000, 1) and found[0]["seconds"] == pytest.approx(0.5, abs=0.1)
    middle = samples[2000:6000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) * 16_000 / len(middle) == pytest.approx(440, abs=5)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)  # two equal channels are not louder than one
    assert ["utt1.mp4: holds no sound" in reject.reason for reject in rejects] == [True, True, False, False]
    assert "utt2.mp4: can't be decoded" in rejects[2].reason
    assert "has to be written to a file first" in read("meld", tmp_path / "c", "train")[1][0].reason


def test_meld_video_without_pyav_says_what_to_do_and_sound_beside_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("audiollm.processing.audio.av", None)
    meld(tmp_path, "train_splits", ("Hi.", "joy", "positive", 0, 0), ("Ho.", "joy", "positive", 0, 1), kind="mp4")
    clip(tmp_path / "train_splits" / "dia0_utt1.wav")
    rows, rejects = read("meld", tmp_path, "train", tasks=("er",), work=tmp_path / "work")
    assert [row["id"] for row in rows] == ["meld-train-dia0_utt1-er"]
    assert "dia0_utt0.mp4: is video or AAC; `pip install av` to read its sound, or extract it" in rejects[0].reason


@pytest.mark.parametrize("folder", ["train_splits_wav", "audio/train", "videos/train", "MELD.Raw/train/train_splits"])
def test_meld_is_found_as_it_lies_on_disks(tmp_path, folder):
    meld(tmp_path / "Downloads" / "MELD", folder, ("Hi.", "joy", "positive", 0, 0))
    meld(
        tmp_path / "Downloads" / "MELD",
        folder.replace("train", "dev"),
        ("No.", "anger", "negative", 0, 0),
        split="dev",
    )
    for root in (tmp_path, tmp_path / "Downloads", tmp_path / "Downloads" / "MELD"):
        for split, label in (("train", "happy"), ("validation", "angry")):
            (row,), rejects = read("meld", root, split, tasks=("er",))
            assert not rejects and row["label"] == label and ("dev" in row["audio"]) == (split == "validation")


def test_melds_test_twins_stand_in_for_clips_that_are_not_there(tmp_path):
    folder = "output_repeated_splits_test"
    meld(tmp_path, folder, ("Hi.", "joy", "positive", 0, 0), ("Ho.", "joy", "positive", 0, 1), split="test")
    for number in (0, 2):
        clip(tmp_path / folder / f"final_videos_testdia0_utt{number}.wav")
    (tmp_path / folder / "dia0_utt1.wav").rename(tmp_path / folder / "final_videos_testdia0_utt1.wav")
    rows, rejects = read("meld", tmp_path, "test", tasks=("er",))
    names = [Path(row["audio"]).name for row in rows]
    assert not rejects and names == ["dia0_utt0.wav", "final_videos_testdia0_utt1.wav"]


def test_meld_clips_in_one_folder_are_taken_where_nothing_else_can_be_meant(tmp_path):
    meld(tmp_path, "wav", ("Hi.", "joy", "positive", 0, 0))
    assert len(read("meld", tmp_path, "train", tasks=("er",))[0]) == 1
    meld(tmp_path, "none", ("No.", "anger", "negative", 0, 0), split="dev", kind="none")
    for split, named in (("train", "train"), ("validation", "dev")):
        rows, (reject,) = read("meld", tmp_path, split, tasks=("er",))
        assert not rows and f"no such file in {tmp_path}. Looked for in folders named for {named}." in reject.reason
    (tmp_path / "wav" / "dia0_utt0.wav").rename(tmp_path / "wav" / "dev_dia0_utt0.wav")
    assert [len(read("meld", tmp_path, split, tasks=("er",))[0]) for split in ("train", "validation")] == [0, 1]


def test_a_name_with_accents_is_found_in_either_spelling(tmp_path):
    for written, stored in (("caf\u00e9.wav", "cafe\u0301.wav"), ("nin\u0303o.wav", "ni\u00f1o.wav")):
        clip(tmp_path / stored)
        (tmp_path / "t.csv").write_text(f"filename,emotion\n{written},sad\n", encoding="utf-8")
        (row,), rejects = read("own", tmp_path / "t.csv", "train")
        assert not rejects and Path(row["audio"]).name == stored


@pytest.mark.parametrize(
    "table",
    [
        "filename;Emotion\na.wav;Happy\n",
        "path\tlabel\ttext\na.wav\tJOY\tone, two; three\n",
        '\ufeff,"Audio","EMOTION"\r\n0,a.wav, happiness \r\n',
        'audio,emotion,transcript\na.wav,joyful,"one, ""two""; three"\n',
        ",,file_name,emotion\n,,a.wav,hAPPY\n",
    ],
    ids=["semicolons", "tabs", "byte-order mark and an index", "quoted commas", "columns without names"],
)
def test_tables_are_read_as_programs_write_them(tmp_path, table):
    clip(tmp_path / "a.wav")
    (tmp_path / "calls.csv").write_bytes(table.encode())
    rows, rejects = read("own", tmp_path / "calls.csv", "train", tasks=("er",))
    assert not rejects and [row["label"] for row in rows] == ["happy"]


@pytest.mark.parametrize("word", ["Happy", "joy", " HAPPY ", "Joyful", "happiness"])
def test_labels_are_read_as_people_write_them(tmp_path, word):
    clip(tmp_path / word.strip() / "a.wav")
    (tmp_path / "t.jsonl").write_text(
        json.dumps({"audio": f"{word.strip()}/a.wav", "emotion": word, "sentiment": "POSITIVE"})
    )
    rows, _ = read("own", tmp_path / "t.jsonl", "train")
    assert [row["label"] for row in rows] == ["happy", "positive"] and rows[0]["label_published"] == word.strip()
    (row,), _ = read(
        "own",
        tmp_path / "t.jsonl",
        "train",
        tasks=("er",),
        options={"labels": "Sad,Glad", "map": f"{word.strip().upper()}:glad"},
    )
    assert row["label"] == "Glad"
    (tmp_path / "t.jsonl").unlink()
    assert [row["label"] for row in read("own", tmp_path, "train")[0]] == ["happy"]
    meld(tmp_path / "meld", "train_splits", ("Hi.", word, "Positive", 0, 0))
    assert [row["label"] for row in read("meld", tmp_path / "meld", "train")[0]] == ["happy", "positive"]


def test_meld_text_is_read_before_the_audio_is_there(tmp_path):
    meld(tmp_path, "", ("Hi.", "joy", "positive", 3, 4), kind="none")
    assert len(read("meld", tmp_path, "train")[1]) == 2
    rows, rejects = read("meld", tmp_path, "train", check_audio=False)
    assert not rejects and rows[0]["audio"].endswith("dia3_utt4.wav") and rows[0]["seconds"] is None


def iemocap(root: Path, turns: int = 10):
    labels = ["ang", "hap", "neu", "sad", "fru", "exc", "xxx", "sur", "fea", "oth"]
    for session in range(1, 6):
        for dialogue in (f"Ses0{session}F_impro01", f"Ses0{session}M_script01_1"):
            dialog = root / f"Session{session}" / "dialog"
            lines, texts = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""], []
            for number in range(turns):
                turn = f"{dialogue}_{'FM'[number % 2]}{number:03d}"
                lines += [f"[{number}.2901 - {number + 1}.2357]\t{turn}\t{labels[number]}\t[2.5000, 2.5000, 2.5000]"]
                lines += ["C-E2:\tNeutral;\t()", "A-E3:\tval 3; act 2; dom  2;\t()", ""]
                texts += [f"{turn} [00{number}.2901-00{number + 1}.2357]: Words of {turn}."]
                clip(root / f"Session{session}" / "sentences" / "wav" / dialogue / f"{turn}.wav", seed=number)
            for folder, content in (("EmoEvaluation", lines), ("transcriptions", texts)):
                (dialog / folder).mkdir(parents=True, exist_ok=True)
                (dialog / folder / f"{dialogue}.txt").write_text("\n".join(content) + "\n")
            (dialog / "EmoEvaluation" / f"._{dialogue}.txt").write_bytes(b"\0\5\26\7 a twin of macOS")


def test_iemocap_is_split_90_10_by_seed_and_turns_without_agreement_are_set_aside(tmp_path):
    iemocap(tmp_path)
    parts = {split: read("iemocap", tmp_path, split) for split in ("train", "test")}
    (train, rejects), (test, none) = parts["train"], parts["test"]
    assert len(train) == 81 and len(test) == 9 and not {row["id"] for row in train} & {row["id"] for row in test}
    assert len(rejects) == 10 and "agreed on no label" in rejects[0].reason and not none
    row = next(row for row in train if row["id"] == "iemocap-Ses03M_script01_1_M001-er")
    assert (row["label"], row["speaker"], row["dialogue"]) == ("happy", "Ses03M", "Ses03M_script01_1")
    assert row["transcript"] == "Words of Ses03M_script01_1_M001."
    assert [row["id"] for row in read("iemocap", tmp_path, "test")[0]] == [row["id"] for row in test]
    assert [row["id"] for row in read("iemocap", tmp_path, "test", seed=1)[0]] != [row["id"] for row in test]


def test_iemocap_can_hold_out_a_session(tmp_path):
    iemocap(tmp_path, turns=4)
    rows = read("iemocap", tmp_path, "test", options={"test_session": "5"}, tasks=("asr", "er"))[0]
    assert len(rows) == 16 and {row["speaker"] for row in rows} == {"Ses05F", "Ses05M"}
    with pytest.raises(CorpusError, match="test_session='6' is no session"):
        read("iemocap", tmp_path, "test", options={"test_session": "6"})


def test_iemocap_is_found_in_a_parent_folder(tmp_path):
    iemocap(tmp_path / "data" / "IEMOCAP_full_release")
    near = [read("iemocap", tmp_path / "data" / "IEMOCAP_full_release", split)[0] for split in ("train", "test")]
    for root in (tmp_path, tmp_path / "data"):
        found = [read("iemocap", root, split)[0] for split in ("train", "test")]
        assert found == near and all(found)


def test_a_turn_without_words_is_set_aside_when_words_are_asked_for(tmp_path):
    iemocap(tmp_path, turns=4)
    (tmp_path / "Session5" / "dialog" / "transcriptions" / "Ses05F_impro01.txt").unlink()
    settings = {"options": {"test_session": "5"}}
    rows, rejects = read("iemocap", tmp_path, "test", tasks=("asr", "er"), **settings)
    assert Counter(row["task"] for row in rows) == {"er": 8, "asr": 4}
    assert {(reject.task, reject.field, reject.reason) for reject in rejects} == {("asr", "transcript", "is missing.")}
    assert len(rejects) == 4 and not read("iemocap", tmp_path, "test", **settings)[1]


def test_m3ed_is_split_by_film_and_speakers_are_named(tmp_path):
    turn = {"Speaker": "A", "Text": "你好", "EmoAnnotation": {"final_main_emo": "Happy"}}
    dialogue = {"SpeakerInfo": {"A": {"Name": "Li"}}, "Dialog": {"film_1_1": turn, "film_1_2": {"Speaker": "A"}}}
    (tmp_path / "annotation.json").write_text(json.dumps({"film": {"film_1": dialogue}, "other": {}}))
    (tmp_path / "splitInfo").mkdir()
    for split, film in (("train", "other"), ("val", "other"), ("test", "film")):
        (tmp_path / "splitInfo" / f"movie_list_{split}.txt").write_text(f"{film}\n")
    clip(tmp_path / "modality_speech" / "A_film_1_1.wav")
    (row,), (reject,) = read("m3ed", tmp_path, "test")
    assert (row["label"], row["speaker"], row["transcript"]) == ("happy", "film-Li", "你好")
    assert reject.field == "EmoAnnotation" and "film_1_2" in reject.where
    assert read("m3ed", tmp_path, "train") == ([], [])
    (tmp_path / "splitInfo" / "movie_list_train.txt").write_text("other\nlost\n")
    (lost,) = read("m3ed", tmp_path, "train")[1]
    assert lost.where == "annotation.json, lost" and "is missing" in lost.reason


def test_nemo_holds_out_speakers(tmp_path):
    names = [
        f"{speaker}_{mood}_1" for speaker in ("AB0", "CD1", "EF2", "GH3", "IJ4") for mood in ("anger", "surprised")
    ]
    for name in names:
        clip(tmp_path / "samples" / f"{name}.wav")
    lines = ["file_id\traw_text", *(f"{name}.wav\tTo jest zdanie." for name in names)]
    (tmp_path / "data.tsv").write_text("\n".join(lines))
    train, test = read("nemo", tmp_path, "train")[0], read("nemo", tmp_path, "test")[0]
    assert len({row["speaker"] for row in test}) == 1 and len({row["speaker"] for row in train}) == 4
    assert Counter(row["task"] for row in train) == {"asr": 8, "er": 8}
    assert {row["label"] for row in test} == {None, "angry", "surprised"} and test[0][
        "transcript"
    ] == "To jest zdanie."
    (tmp_path / "data.tsv").write_text("\n".join(lines[:-2]))
    rejects = [reject for split in ("train", "test") for reject in read("nemo", tmp_path, split)[1]]
    assert [(reject.task, reject.field) for reject in rejects] == [("asr", "transcript")] * 2


def test_librispeech_parts_are_found_in_the_whole_corpus(tmp_path):
    for part, speaker in (("train-clean-100", 1), ("test-other", 2), ("test-clean", 3)):
        clip(tmp_path / part / f"{speaker}/7/{speaker}-7-0000.flac")
        (tmp_path / part / f"{speaker}/7/{speaker}-7.trans.txt").write_text(f"{speaker}-7-0000 SOME WORDS\n")
    assert [row["subset"] for row in read("librispeech", tmp_path, "test")[0]] == ["test-clean", "test-other"]
    assert [row["speaker"] for row in read("librispeech", tmp_path, "train")[0]] == ["1"]


def squad(root: Path, split: str = "test") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    qas = [
        {"id": "q1", "question": "Who won?", "answers": [{"text": "the broncos", "answer_start": 4}]},
        {"id": "q2", "question": "Where?", "answers": []},
        {"id": "q3", "answers": [{"text": "x"}]},
    ]
    data = {"data": [{"title": "T", "paragraphs": [{"context": "so the broncos won", "qas": qas}]}], "version": "1"}
    path = root / f"spoken_{split}-v1.1.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("kind", ["flac", "wav"])
def test_librispeech_is_found_in_a_parent_folder_as_flac_or_wav(tmp_path, kind):
    folder = tmp_path / "LibriSpeech" / "LibriSpeech" / "dev-clean" / "1" / "2"
    clip(folder / f"1-2-0000.{kind}")
    (folder / "1-2.trans.txt").write_text("1-2-0000 HELLO\n")
    (row,), rejects = read("librispeech", tmp_path, "validation")
    assert not rejects and row["subset"] == "dev-clean" and row["audio"].endswith(kind)
    assert read("librispeech", tmp_path, "train") == ([], [])


def test_spoken_squad_joins_the_sentences_of_a_paragraph(tmp_path):
    squad(tmp_path / "c")
    for sentence, seconds in ((0, 0.1), (10, 0.3), (2, 0.2)):
        clip(tmp_path / "c" / "dev_wav" / f"0_0_{sentence}.wav", seconds, seed=sentence)
    rows, rejects = read("spoken_squad", tmp_path / "c", "test", work=tmp_path / "work")
    assert [(row["question"], row["answer"]) for row in rows] == [("Who won?", "the broncos")]
    assert rows[0]["seconds"] == 0.6 and rows[0]["transcript"] == "so the broncos won"
    samples = soundfile.read(rows[0]["audio"])[0]
    last = soundfile.read(tmp_path / "c" / "dev_wav" / "0_0_10.wav")[0]
    np.testing.assert_allclose(samples[-len(last) :], last, atol=1e-4)  # sentence 10 comes after 2
    assert [reject.field for reject in rejects] == ["answer", "question"]
    needs = read("spoken_squad", tmp_path / "c", "test")[1]
    assert "has to be written to a file first" in needs[0].reason


def test_parts_of_a_squad_file_that_have_another_form_are_told(tmp_path):
    squad(tmp_path)
    clip(tmp_path / "dev_wav" / "0_0.wav")
    listing = tmp_path / "spoken_test-v1.1.json"
    data = json.loads(listing.read_text())
    data["data"] += [{"title": "U"}, {"paragraphs": [{"context": "x", "qas": {}}]}]
    listing.write_text(json.dumps(data))
    rows, rejects = read("spoken_squad", tmp_path, "test")
    assert len(rows) == 1 and [reject.field for reject in rejects[2:]] == ["paragraphs", "qas"]
    assert "article 1" in rejects[2].where and "article 2, paragraph 0" in rejects[3].where


def encoded(seed: int = 0, seconds: float = 0.1) -> bytes:
    import io

    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000))
    soundfile.write(buffer, noise, 16_000, format="WAV")
    return buffer.getvalue()


AUDIO, TEXT = Audio(sampling_rate=16_000), Value("string")
FLAT = Features({"context": AUDIO, "instruction": TEXT, "answer": TEXT})
PART = {"text": TEXT, "audio": AUDIO}
NESTED = Features({"context": PART, "instruction": PART, "answer": PART})


def parquet(path: Path, features: Features, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with ParquetWriter(path, features.arrow_schema) as writer:
        writer.write_table(pyarrow.Table.from_pylist(rows, schema=features.arrow_schema))
    return path


def flat(number: int, question: str | None, answer: str) -> dict:
    return {"context": {"bytes": encoded(number), "path": "x.wav"}, "instruction": question, "answer": answer}


def nested(number: int, question: str, answer: str) -> dict:
    audio = {"bytes": encoded(number), "path": None}
    return {
        "context": {"text": None, "audio": audio},
        "instruction": {"text": question, "audio": None},
        "answer": {"text": answer, "audio": None},
    }


@pytest.mark.parametrize("saved", ["parquet", "save_to_disk", "dataset_dict"])
def test_audiobench_flat_rows_are_read_from_every_kind_of_folder(tmp_path, saved):
    root = tmp_path / "meld_emotion_test"
    rows = [flat(0, "How do they feel?", "anger"), flat(1, None, "The emotion is joy."), flat(2, None, "I can't say")]
    file = parquet(tmp_path / "made" / "test-00000-of-00001.parquet", FLAT, rows)
    if saved == "parquet":
        (root / "data").mkdir(parents=True)
        file.rename(root / "data" / file.name)
    else:
        dataset = Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"), split="test")
        (dataset if saved == "save_to_disk" else DatasetDict(test=dataset)).save_to_disk(str(root))
    rows, (reject,) = read("audiobench", root, "test", work=tmp_path / "work")
    assert [(row["task"], row["label"]) for row in rows] == [("er", "angry"), ("er", "happy")]
    assert rows[0]["question"] == "How do they feel?" and rows[0]["answer"] == "anger"
    assert rows[1]["question"] in POOLS["er"] and rows[1]["answer"] == "The speaker sounds happy."
    assert soundfile.info(rows[0]["audio"]).duration == 0.1 and rows[0]["id"] != rows[1]["id"]
    assert "states no known label" in reject.reason
    assert read("audiobench", root, "train", work=tmp_path / "work") == ([], [])


@pytest.mark.parametrize("saved", ["parquet", "save_to_disk"])
def test_an_audiobench_set_in_one_piece_is_of_the_split_that_its_name_says(tmp_path, saved):
    root = tmp_path / "meld_emotion_test"
    file = parquet(tmp_path / "made" / "rows.parquet", FLAT, [flat(0, "How do they feel?", "anger")])
    if saved == "parquet":
        root.mkdir()
        file.rename(root / file.name)
    else:
        Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache")).save_to_disk(str(root))
    assert [len(read("audiobench", root, split, work=tmp_path / "w")[0]) for split in ("train", "test")] == [0, 1]


def test_audiobench_nested_rows_are_read(tmp_path):
    root = tmp_path / "spoken_squad_test_v1"
    parquet(root / "data" / "test-00000-of-00001.parquet", NESTED, [nested(0, "Who?", "she"), nested(1, "Who?", "")])
    (row,), (reject,) = read("audiobench", root, "test", work=tmp_path / "work")
    assert (row["task"], row["question"], row["answer"], row["label"]) == ("sqa", "Who?", "she", None)
    assert reject.field == "answer" and "row 1" in reject.where


def test_an_audiobench_name_that_tells_no_task_asks_for_it(tmp_path):
    parquet(tmp_path / "alpaca" / "test-00000-of-00001.parquet", FLAT, [flat(0, "Say hello.", "Hello.")])
    with pytest.raises(CorpusError, match="--option task="):
        read("audiobench", tmp_path / "alpaca", "test")
    rows = read("audiobench", tmp_path / "alpaca", "test", work=tmp_path / "w", options={"task": "sqa"})[0]
    assert rows[0]["answer"] == "Hello."


def test_mnsc_reads_parts_3_to_6_of_asr_and_sqa(tmp_path):
    for folder in ("ASR-PART3-Train", "ASR-PART3-Test", "SQA-PART6-Train", "ASR-PART1-Train", "SDS-PART3-Train"):
        row = flat(3, "Write it." if folder < "B" else "What is it?", "some words")
        parquet(tmp_path / folder / "train-00000-of-00001.parquet", FLAT, [row])
    rows = read("mnsc", tmp_path, "train", work=tmp_path / "work")[0]
    assert [(row["task"], row["subset"]) for row in rows] == [("asr", "ASR-PART3"), ("sqa", "SQA-PART6")]
    assert rows[0]["transcript"] == "some words" and len(read("mnsc", tmp_path, "test", work=tmp_path / "w")[0]) == 1
    assert [row["task"] for row in read("mnsc", tmp_path, "train", tasks=("sqa",), work=tmp_path / "w")[0]] == ["sqa"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder in the place of the Hub: `owner/name` below it is what `datasets` loads by that name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    on_disk = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: on_disk(path) and not str(path).startswith("owner/"))
    return tmp_path / "owner"


def test_splits_that_a_dataset_on_the_hub_lacks_are_empty(hub, tmp_path):
    rows = [flat(number, "How do they feel?", "anger") for number in range(20)]
    parquet(hub / "meld_emotion_test" / "data" / "dev-00000-of-00001.parquet", FLAT, rows)
    name = Path("owner/meld_emotion_test")
    found = read("audiobench", name, "validation", work=tmp_path / "work")[0]
    assert len(found) == 20 and soundfile.info(found[0]["audio"]).duration == 0.1
    assert read("audiobench", name, "test", work=tmp_path / "work") == ([], [])
    with pytest.raises(CorpusError, match="owner/never: no such folder here, and cannot be read from the Hub"):
        read("audiobench", Path("owner/never"), "test", options={"task": "er"})


def test_rows_of_the_schema_are_streamed_from_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    row = {"id": "a", "task": "er", "audio": {"bytes": encoded(3), "path": None}, "question": "How?", "label": "sad"}
    parquet(hub / "mine" / "data" / "test-00000-of-00001.parquet", features(), [row])
    (found,) = read_corpus("owner/mine", "test")
    assert (found["split"], found["label"]) == ("test", "sad") and Path(found["audio"]["path"]).is_file()
    with pytest.raises(RowError, match="holds no rows of split 'train'"):
        read_corpus("owner/mine", "train")


def test_mnsc_is_streamed_part_by_part(hub, tmp_path):
    configs = [f"{task}-PART{part}-Test" for task in ("ASR", "SQA") for part in (3, 4, 5, 6)]
    for config in configs:
        parquet(hub / "mnsc" / config / "train-00000-of-00001.parquet", FLAT, [flat(1, "What is said?", config)])
    card = [{"config_name": config, "data_files": f"{config}/train-*"} for config in configs]
    (hub / "mnsc" / "README.md").write_text(f"---\nconfigs: {json.dumps(card)}\n---\n")
    rows = read("mnsc", Path("owner/mnsc"), "test", work=tmp_path / "work", options={"parts": "36"})[0]
    assert [(row["task"], row["subset"]) for row in rows] == [
        ("asr", "ASR-PART3"),
        ("asr", "ASR-PART6"),
        ("sqa", "SQA-PART3"),
        ("sqa", "SQA-PART6"),
    ]


def test_cpqa_is_read_from_a_saved_dataset(tmp_path):
    file = parquet(tmp_path / "a.parquet", NESTED, [nested(0, "How does she feel about it?", "She seems angry.")])
    Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache")).save_to_disk(str(tmp_path / "CPQA"))
    (row,), rejects = read("cpqa", tmp_path / "CPQA", "test", work=tmp_path / "work")
    assert not rejects and (row["task"], row["answer"]) == ("sqa", "She seems angry.")
    (row,), _ = read("cpqa", tmp_path / "CPQA", "test", work=tmp_path / "work", options={"task": "er"})
    assert (row["task"], row["label"], row["question"]) == ("er", "angry", "How does she feel about it?")


def test_slue_sqa5_asks_written_questions_about_spoken_documents(tmp_path):
    spans = {"answer": ["the nile", "nile"], "start_second": [0.1, 0.1], "end_second": [0.2, 0.2]}
    spans_type = {"answer": [TEXT], "start_second": [Value("float64")], "end_second": [Value("float64")]}
    names = ("question_id", "raw_question_text", "document_id", "document_speaker_id", "raw_document_text")
    features = Features({**dict.fromkeys(names, TEXT), "document_audio": AUDIO, "answer_spans": spans_type})
    shared = {"document_id": "d/1", "document_speaker_id": "s", "raw_document_text": "It is the Nile."}
    shared |= {"document_audio": {"bytes": encoded(5), "path": None}, "answer_spans": spans}
    rows = [{"question_id": f"q{n}", "raw_question_text": "Which river?", **shared} for n in range(2)]
    rows.append({**rows[0], "question_id": "q2", "raw_question_text": None})
    parquet(tmp_path / "sqa5" / "verified_test-00000-of-00001.parquet", features, rows)
    found, (reject,) = read("slue_sqa5", tmp_path, "verified_test", work=tmp_path / "work")
    assert [row["answer"] for row in found] == ["the nile", "the nile"] and reject.field == "raw_question_text"
    assert found[0]["audio"] == found[1]["audio"] and len(list((tmp_path / "work").iterdir())) == 1
    assert read("slue_sqa5", tmp_path, "test", work=tmp_path / "work") == ([], [])


def test_emobox_lists_are_read_with_their_label_map(tmp_path):
    entry = {"key": "iemocap-Ses01F_impro01_F000", "dataset": "iemocap", "wav": "a/b.wav", "emo": "exc"}
    (tmp_path / "emobox_iemocap_test_fold_1.jsonl").write_text(json.dumps(entry) + "\n")
    (tmp_path / "label_map.json").write_text(json.dumps({"exc": "Happy"}))
    clip(tmp_path / "a" / "b.wav")
    (row,), _ = read("emobox", tmp_path, "test")
    assert row["label"] == "happy" and row["subset"] == "iemocap"
    assert read("emobox", tmp_path, "test", options={"fold": "2"}) == ([], [])
    assert read("emobox", tmp_path, "test", options={"labels": "sad,angry"})[1][0].field == "emotion"


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "metadata", "file"])
def test_own_tables_are_read_with_usual_and_with_named_columns(tmp_path, form):
    row = {"file_name": "a b.wav", "mood": "joy", "text": "hello", "who": "p1", "polarity": "positive"}
    clip(tmp_path / "a b.wav")
    name = {"metadata": "metadata.csv", "file": "anything.csv"}.get(form, f"train.{form}")
    mark = "\t" if form == "tsv" else ","
    text = json.dumps(row) if form == "jsonl" else f"{mark.join(row)}\n{mark.join(row.values())}\n"
    (tmp_path / name).write_text(text)
    options = {"emotion": "mood", "sentiment": "polarity", "speaker": "who", "map": "joy:happy", "corpus": "mine"}
    rows, rejects = read("own", tmp_path / name if form == "file" else tmp_path, "train", options=options)
    assert not rejects and {row["task"]: row["label"] for row in rows} == {
        "asr": None,
        "er": "happy",
        "sr": "positive",
    }
    assert rows[0]["corpus"] == "mine" and rows[0]["speaker"] == "p1" and rows[0]["transcript"] == "hello"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_own_rows_may_tell_what_was_said_before(tmp_path, form):
    clip(tmp_path / "a.wav")
    turns = [
        {"speaker": "Ann", "text": "I sold  it"},
        {"speaker": "Bob", "text": "..."},
        {"speaker": "Bob", "text": "why"},
    ]
    told = [turns, [], "a passage", [{"speaker": "Ann"}], [1]]
    rows = [{"audio": "a.wav", "text": "so", "speaker": "Bob", "context": context} for context in told]
    rows.append({**rows[0], "speaker": "p7", "context_speaker": "Ann"})
    if form == "jsonl":
        text = "\n".join(json.dumps(row) for row in rows)
    else:
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[-1]))
        writer.writeheader()
        writer.writerows({**row, "context": json.dumps(row["context"])} for row in rows)
        text = table.getvalue()
    (tmp_path / f"train.{form}").write_text(text)
    (first, bare, passage, named), rejects = read("own", tmp_path, "train", options={"task": "asr"})
    assert first["context"] == [{"speaker": "A", "text": "I sold it"}, {"speaker": "B", "text": "why"}]
    assert first["context_speaker"] == "B" and named["context_speaker"] == "A" and not {"context"} & {*bare, *passage}
    assert [reject.field for reject in rejects] == ["context", "context"]
    (last, *_), rejects = read("own", tmp_path, "train", options={"task": "asr", "context": "1"})
    assert len(rejects) == 3  # now the passage is no list of turns
    assert last["context"] == [{"speaker": "A", "text": "why"}] and last["context_speaker"] == "A"


def test_own_clips_may_lie_elsewhere_if_their_folder_is_named(tmp_path):
    good = clip(tmp_path / "clips" / "a.wav")
    other = clip(tmp_path / "elsewhere" / "b.wav")
    table = tmp_path / "tables" / "t.csv"
    table.parent.mkdir()
    table.write_text(f"audio,emotion\n{good},sad\na.wav,sad\n{other},sad\n")
    assert len(read("own", table, "train")[1]) == 3
    rows, (reject,) = read("own", table, "train", options={"clips": str(tmp_path / "clips")})
    assert [row["audio"] for row in rows] == [str(good)] * 2 and "leads outside" in reject.reason


def test_own_label_sets_can_be_named(tmp_path):
    (tmp_path / "train.csv").write_text("audio,emotion\na.wav,bored\na.wav,glad\n")
    clip(tmp_path / "a.wav")
    rows, (reject,) = read("own", tmp_path, "train", options={"labels": "bored, keen"}, label_list="always")
    assert rows[0]["label"] == "bored" and rows[0]["question"].endswith("Choose from: bored, keen.")
    assert "'glad' is unknown; the label set is bored, keen" in reject.reason
    assert len(read("own", tmp_path, "train", options={"labels": "any"})[0]) == 2


def test_own_splits_come_from_a_column_or_are_drawn_by_speaker(tmp_path):
    clip(tmp_path / "a.wav")
    lines = [f"a.wav,sad,p{n % 20},{'dev' if n < 5 else 'train'}" for n in range(60)]
    (tmp_path / "data.csv").write_text("\n".join(["audio,emotion,speaker,split", *lines]))
    assert len(read("own", tmp_path, "validation")[0]) == 5 and len(read("own", tmp_path, "train")[0]) == 55
    (tmp_path / "data.csv").write_text(
        "\n".join(["audio,emotion,speaker", *(line.rsplit(",", 1)[0] for line in lines)])
    )
    parts = [read("own", tmp_path, split, options={"holdout": "0.3"})[0] for split in ("train", "test")]
    speakers = [{row["speaker"] for row in part} for part in parts]
    assert sum(map(len, parts)) == 60 and all(speakers) and not speakers[0] & speakers[1]


def test_a_table_that_names_no_split_is_train_or_what_it_is_told(tmp_path):
    clip(tmp_path / "a.wav")
    (tmp_path / "calls.csv").write_text("audio,emotion\na.wav,sad\na.wav\n")
    table = tmp_path / "calls.csv"
    for options, splits in (({}, (1, 0)), ({"split": "test"}, (0, 1))):
        for split, count in zip(("train", "test"), splits):
            assert len(read("own", table, split, options=options)[0]) == count
    assert [len(read("own", table, split)[1]) for split in ("train", "validation", "test")] == [1, 0, 0]
    with pytest.raises(CorpusError, match="'much' is no share between 0 and 1"):
        read("own", table, "train", options={"holdout": "much"})


def test_json_rows_need_not_have_the_same_fields(tmp_path):
    clip(tmp_path / "a.wav")
    rows = [{"audio": "a.wav", "emotion": "sad"}, {"transcript": "hello", "audio": "a.wav"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [row["task"] for row in read("own", tmp_path, "train")[0]] == ["er", "asr"]


def test_a_question_is_not_asked_for_the_words_or_the_feeling_of_the_same_clip(tmp_path, caplog):
    clip(tmp_path / "a.wav")
    said = {"transcript": "my dog ran off", "emotion": "sad", "question": "Who ran off?", "answer": "a dog"}
    row = {"audio": "a.wav"} | said
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    rows = {row["task"]: row for row in read("own", tmp_path, "train")[0]}
    assert (rows["sqa"]["question"], rows["sqa"]["answer"]) == ("Who ran off?", "a dog")
    assert rows["asr"]["question"] in ASR and rows["asr"]["answer"] == "my dog ran off"
    assert rows["er"]["question"].startswith(tuple(EMOTION)) and rows["er"]["answer"] == "The speaker sounds sad."
    assert not caplog.messages
    (only,), _ = read("own", tmp_path, "train", options={"task": "er"})
    assert (only["task"], only["question"], only["answer"]) == ("er", "Who ran off?", "a dog")
    assert not caplog.messages
    (only,), _ = read("own", tmp_path, "train", tasks=("er",))
    assert only["question"].startswith(tuple(EMOTION))
    assert "the question of 1 rows is not asked" in caplog.text and "`--option task=er`" in caplog.text
    caplog.clear()
    (tmp_path / "train.jsonl").write_text(json.dumps(row | {"question": "  "}))
    (only,), _ = read("own", tmp_path, "train", options={"task": "er"})
    assert only["question"].startswith(tuple(EMOTION)) and only["answer"] == "a dog"
    rows, rejects = read("own", tmp_path, "train", tasks=("er", "sqa"))
    assert [row["task"] for row in rows] == ["er"]
    assert [(reject.field, reject.reason) for reject in rejects] == [("question", "is missing.")]
    read("own", tmp_path, "train", tasks=("er",))
    assert not caplog.messages


def test_a_row_that_serves_no_task_or_not_those_asked_for_is_set_aside(tmp_path):
    clip(tmp_path / "a.wav")
    (tmp_path / "train.csv").write_text("audio,emotion,transcript\na.wav,sad,hi\na.wav,,\na.wav,,hello\n")
    rows, (reject,) = read("own", tmp_path, "train")
    assert [row["task"] for row in rows] == ["asr", "er", "asr"]
    assert reject.reason == "has none of transcript, emotion, sentiment, question."
    rows, rejects = read("own", tmp_path, "train", tasks=("er",))
    assert len(rows) == 1 and [(item.where[-6:], item.field) for item in rejects] == [
        ("line 3", "emotion"),
        ("line 4", "emotion"),
    ]


def test_a_row_of_an_unknown_split_is_told_once(tmp_path):
    clip(tmp_path / "a.wav")
    (tmp_path / "data.csv").write_text("audio,emotion,split\na.wav,sad,train\na.wav,sad,later\na.wav,sad,Val\n")
    parts = [read("own", tmp_path, split) for split in ("train", "validation", "test")]
    assert [(len(rows), len(rejects)) for rows, rejects in parts] == [(1, 1), (1, 0), (0, 0)]
    assert "'later' is unknown; splits are validation, valid, val, dev, train" in parts[0][1][0].reason


def test_own_folders_take_labels_from_folders_and_words_from_text_files(tmp_path):
    clip(tmp_path / "train" / "angry" / "1.wav")
    (tmp_path / "train" / "angry" / "1.txt").write_text("go away\n")
    clip(tmp_path / "train" / "Joy" / "2.flac")
    clip(tmp_path / "train" / "walking" / "3.wav")
    rows, (reject,) = read("own", tmp_path, "train")
    assert [(row["task"], row["label"], row["transcript"]) for row in rows] == [
        ("er", "happy", None),
        ("asr", None, "go away"),
        ("er", "angry", "go away"),
    ]
    assert reject.where == "train/walking/3.wav" and read("own", tmp_path, "test") == ([], [])


def test_films_and_words_in_another_encoding_are_told_in_own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr("audiollm.processing.audio.av", None)
    clip(tmp_path / "sad" / "1.wav")
    (tmp_path / "sad" / "1.mp4").write_bytes(b"its film")
    (tmp_path / "sad" / "2.mp4").write_bytes(b"\0\0\0 ftypisom" + bytes(64))
    clip(tmp_path / "sad" / "3.wav")
    (tmp_path / "sad" / "3.txt").write_bytes(b"caf\xe9")
    rows, rejects = read("own", tmp_path, "train", work=tmp_path / "work")
    assert [Path(row["audio"]).name for row in rows] == ["1.wav"]
    assert [reject.where for reject in rejects] == ["sad/2.mp4", "sad/3.wav"]
    assert "2.mp4: is video" in rejects[0].reason and "3.txt: bytes that are not UTF-8" in rejects[1].reason


def test_own_datasets_folders_are_read(tmp_path):
    features = Features({"audio": AUDIO, "sentence": TEXT})
    rows = [{"audio": {"bytes": encoded(n), "path": None}, "sentence": f"number {n}"} for n in range(3)]
    parquet(tmp_path / "cv" / "data" / "train-00000-of-00001.parquet", features, rows)
    found = read("own", tmp_path / "cv", "train", work=tmp_path / "work")[0]
    assert [row["answer"] for row in found] == ["number 0", "number 1", "number 2"]


def test_wrong_requests_are_named(tmp_path):
    for settings, message in (
        ({"tasks": ("sqa",)}, "ravdess does not serve 'sqa'; it serves asr, er"),
        ({"options": {"folds": "1"}}, "ravdess has no option 'folds'; it has corpus, fold"),
        ({"options": {"fold": [1]}}, "option fold is .1.; it must be text or a number"),
        ({"options": {"fold": "0"}}, "fold='0' is no fold; it is one of 1, 2, 3, 4, 5, 6"),
    ):
        with pytest.raises(CorpusError, match=message):
            read("ravdess", tmp_path, "train", **settings)
    with pytest.raises(CorpusError, match="meld has no split 'dev'"):
        read("meld", tmp_path, "dev")
    with pytest.raises(CorpusError, match="corpus meld: .*unexpected keyword argument 'taks'"):
        read_corpus({"reader": "meld", "path": str(tmp_path), "taks": ["er"]}, "train")


def test_read_corpus_goes_on_after_bad_rows_and_says_so(tmp_path, caplog):
    meld(tmp_path, "train_splits", ("Hi.", "joy", "positive", 0, 0), ("Ho.", "glee", "positive", 0, 1))
    rows = read_corpus({"reader": "meld", "path": str(tmp_path), "tasks": ["er"]}, "train")
    assert len(rows) == 1 and "1 rows of train set aside" in caplog.text and "'glee' is unknown" in caplog.text


def test_a_corpus_without_a_usable_row_tells_the_first_problem(tmp_path):
    meld(tmp_path, "", ("Hi.", "joy", "positive", 0, 0), kind="none")
    with pytest.raises(CorpusError, match="First problem: train_sent_emo.csv, line 2: dia0_utt0.wav: no such file"):
        read_corpus({"reader": "meld", "path": str(tmp_path)}, "train")


def test_every_reader_says_what_it_is():
    for name, reader in READERS.items():
        assert reader.name == name and reader.title and reader.layout and reader.licence and reader.tasks
        for published in reader.published:
            assert published.task in reader.tasks and published.source and published.total > 0
            known = set(reader.labels(published.task))
            assert {label for label in published.counts if label} <= known and published.split in (
                None,
                *reader.splits,
            )


def test_questions_come_in_three_styles_with_and_without_the_label_list():
    labels = ("happy", "sad")
    for style, pools in STYLES.items():
        for task in ("asr", "er", "sr"):
            bare = {draw_question(task, f"r{n}", style=style) for n in range(200)}
            assert bare == {question.replace("{labels}", "") for question in pools[task]}
            listed = {draw_question(task, f"r{n}", style=style, labels=labels) for n in range(200)}
            assert all(("happy, sad" in question) == (task != "asr") for question in listed)
            assert not any("{" in question or "()" in question for question in bare | listed)
    assert not {*PAPER["er"], *AUDIOBENCH["er"]} & set(POOLS["er"])


def test_a_mixed_label_list_is_in_a_seeded_half():
    def draw(seed):
        return [draw_question("er", f"r{n}", seed, "paper", ("a", "b"), "mixed") for n in range(400)]

    assert 150 < sum("Choose from: a, b." in question for question in draw(0)) < 250
    assert draw(0) == draw(0) != draw(1)
    assert not any("Choose" in draw_question("er", f"r{n}", 0, "paper", ("a",), "never") for n in range(50))
