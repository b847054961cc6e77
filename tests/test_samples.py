"""The embedded corpus is what it claims to be: complete, small, and without leaks between its splits."""

import json
import re
import runpy
import sys
from collections import Counter
from pathlib import Path

import pytest
import soundfile as sf


SAMPLES = Path(__file__).resolve().parents[1] / "samples"
SPLITS = ("train", "validation", "test")
EMOTIONS = {"neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"}
COLUMNS = {
    "id", "corpus", "split", "task", "audio", "transcript", "label", "question", "answer", "target", "speaker",
    "carrier", "wording", "prosody_strength", "seconds", "emotion",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    return {
        split: [json.loads(line) for line in (SAMPLES / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for split in SPLITS
    }


@pytest.fixture(scope="module")
def every_row(rows) -> list[dict]:
    return [row for split in SPLITS for row in rows[split]]


@pytest.fixture(scope="module")
def mismatched() -> list[dict]:
    return [json.loads(line) for line in (SAMPLES / "mismatch.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def texts():
    """The module with the templates; it stands beside the script, so it is imported by its folder."""
    sys.path.insert(0, str(SAMPLES))
    try:
        import sentences
    finally:
        sys.path.remove(str(SAMPLES))
    return sentences


def test_every_row_has_the_columns_of_the_schema(rows):
    for split, found in rows.items():
        assert found
        for row in found:
            assert set(row) == COLUMNS, row["id"]
            assert row["split"] == split
            assert row["task"] in {"asr", "sqa", "er", "sr"}
            assert row["target"] in ({"label", "interpretive", "evidence"} if row["task"] in {"er", "sr"} else {None})
            assert row["question"] and row["answer"] and row["emotion"] in EMOTIONS


def test_ids_are_unique(every_row):
    assert len({row["id"] for row in every_row}) == len(every_row)


def test_tasks_of_a_clip_are_complete(rows):
    full = {
        ("asr", None), ("sqa", None), ("er", "label"), ("er", "interpretive"), ("er", "evidence"),
        ("sr", "label"), ("sr", "evidence"),
    }  # fmt: skip
    asked = {("asr", None), ("sqa", None), ("er", "evidence"), ("sr", "evidence")}
    for split, found in rows.items():
        clips: dict[str, list] = {}
        for row in found:
            clips.setdefault(row["audio"], []).append((row["task"], row["target"]))
        wanted = asked if split == "test" else full
        assert all(sorted(tasks, key=str) == sorted(wanted, key=str) for tasks in clips.values())


def test_audio_is_16_khz_mono_of_the_stated_length(every_row):
    for audio, row in {row["audio"]: row for row in every_row}.items():
        info = sf.info(SAMPLES / audio)
        assert (info.samplerate, info.channels) == (16_000, 1), audio
        assert info.duration == pytest.approx(row["seconds"], abs=0.01)
        assert 0.3 < info.duration <= 4.0, audio


def test_no_audio_file_without_a_row(every_row, mismatched):
    on_disk = {path.relative_to(SAMPLES).as_posix() for path in (SAMPLES / "audio").rglob("*") if path.is_file()}
    assert on_disk == {row["audio"] for row in every_row + mismatched}


def test_the_corpus_stays_below_six_and_a_half_megabytes():
    others = {"__pycache__", "base", "tiny-base", "small"}
    files = [path for path in SAMPLES.rglob("*") if path.is_file() and not others & set(path.parts)]
    assert sum(path.stat().st_size for path in files) <= 6_500_000


def test_the_tiny_base_stays_below_sixteen_mebibytes():
    assert sum(path.stat().st_size for path in (SAMPLES / "tiny-base").rglob("*")) <= 16 << 20


def test_no_sentence_is_in_two_splits(rows):
    said = {split: {row["transcript"] for row in found} for split, found in rows.items()}
    for one, other in [("train", "test"), ("train", "validation"), ("validation", "test")]:
        assert not said[one] & said[other]


def test_test_speakers_speak_only_in_test(rows):
    assert {row["speaker"] for row in rows["test"]} == {"t1", "t2"}
    assert not {"t1", "t2"} & {row["speaker"] for row in rows["train"] + rows["validation"]}


def test_quotes_are_words_of_the_transcript(every_row):
    for row in every_row:
        quotes = re.findall(r'"([^"]*)"', row["answer"])
        assert len(quotes) == (1 if row["target"] == "evidence" else 0), row["id"]
        for quote in quotes:
            assert f" {quote} " in f" {row['transcript']} ", row["id"]
            assert 3 <= len(quote.split()) <= 6, row["id"]


def test_answers_begin_with_the_label(every_row):
    for row in every_row:
        if row["task"] == "er":
            assert row["label"] == row["emotion"]
            assert row["answer"].startswith(f"The speaker sounds {row['label']}."), row["id"]
        elif row["task"] == "sr":
            assert row["label"] in {"positive", "negative", "neutral"}
            assert row["answer"].startswith(f"The sentiment is {row['label']}."), row["id"]
        elif row["task"] == "asr":
            assert row["answer"] == row["transcript"]


def test_evidence_names_the_voice_alone_only_where_the_words_are_plain(every_row):
    for row in every_row:
        if row["target"] == "evidence":
            assert ("are plain" in row["answer"]) == (row["carrier"] == "voice"), row["id"]


def test_questions_tell_which_target_is_wanted(every_row):
    targets: dict[str, set] = {}
    for row in every_row:
        if row["task"] != "sqa":
            targets.setdefault(row["question"], set()).add((row["task"], row["target"]))
    assert all(len(found) == 1 for found in targets.values())


def test_emotions_are_balanced_in_each_carrier(rows):
    for split in SPLITS:
        clips = {row["audio"]: row for row in rows[split]}.values()
        for carrier in ("words", "voice"):
            counts = Counter(row["emotion"] for row in clips if row["carrier"] == carrier)
            assert set(counts) == EMOTIONS
            assert len(set(counts.values())) == 1


def test_same_words_do_not_tell_the_emotion_of_voice_clips(rows):
    """Everyday sentences: no word of theirs may belong to one emotion by the way they were dealt out."""
    for split in SPLITS:
        assert all(row["prosody_strength"] >= 0.7 for row in rows[split] if row["carrier"] == "voice")
    by_text: dict[str, set] = {}
    for row in rows["train"]:
        if row["carrier"] == "voice":
            by_text.setdefault(row["transcript"], set()).add(row["emotion"])
    assert sum(len(emotions) > 1 for emotions in by_text.values()) > 10


def test_words_and_voice_of_a_mismatch_are_every_pair_of_emotions(mismatched, rows, texts):
    pairs = Counter((row["words_label"], row["voice_label"], row["speaker"]) for row in mismatched)
    feelings = EMOTIONS - {"neutral"}
    assert set(pairs) == {
        (one, other, speaker) for one in feelings for other in feelings if one != other for speaker in ("t1", "t2")
    }
    assert set(pairs.values()) == {2}
    told = {s.text: s.emotion for found in texts.template_sentences()["test"] for s in found}
    told |= {s.text: s.emotion for s in texts.free_sentences("test")}
    learnt = {row["transcript"] for row in rows["train"] + rows["validation"]}
    for row in mismatched:
        assert told[row["transcript"]] == row["words_label"], row["id"]
        assert row["transcript"] not in learnt and row["prosody_strength"] >= 0.8, row["id"]


def test_free_sentences_match_no_template_and_use_known_words(texts):
    shapes = [texts.pattern(line) for _, _, line in texts.all_templates()]
    from_templates = {w for found in texts.template_sentences()["train"] for s in found for w in s.text.split()}
    for split in SPLITS:
        for sentence in texts.free_sentences(split):
            assert not any(shape.fullmatch(sentence.text) for shape in shapes), sentence.text
            assert set(sentence.text.split()) <= from_templates, sentence.text


def test_templates_give_no_sentence_to_two_splits(texts):
    said = {split: {s.text for found in texts.template_sentences()[split] for s in found} for split in SPLITS}
    assert all(said[split] for split in SPLITS)
    assert not said["train"] & said["test"]
    assert not said["train"] & said["validation"]
    assert not said["validation"] & said["test"]


def test_rows_are_of_the_texts_in_the_source(rows, texts):
    shapes = {number: texts.pattern(line) for number, (_, _, line) in enumerate(texts.all_templates())}
    for split in SPLITS:
        free = {s.text for s in texts.free_sentences(split)}
        for row in rows[split]:
            if row["wording"] == "free":
                assert row["transcript"] in free
            else:
                assert any(shape.fullmatch(row["transcript"]) for shape in shapes.values())
                assert row["transcript"] not in free


def test_the_tiny_base_is_given_all_the_code_that_it_names(tmp_path):
    base_code = runpy.run_path(str(SAMPLES / "base_code.py"))
    base_code["write_code"](tmp_path)
    copies = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.py")}
    for name, text in copies.items():
        homes = [SAMPLES.parent / room / name for room in ("modeling_audiollm", "processing")]
        assert text == next(home for home in homes if home.is_file()).read_text(encoding="utf-8")
    named = re.findall(r'"(\w+)\.[A-Z]\w+"', (SAMPLES / "tiny-base" / "config.json").read_text(encoding="utf-8"))
    assert named and {f"{module}.py" for module in named} <= set(copies)
    imported = {f"{module}.py" for text in copies.values() for module in re.findall(r"from \.(\w+) import", text)}
    assert imported <= set(copies)


def test_the_code_beside_the_tiny_base_is_no_part_of_the_repository():
    ignored = (SAMPLES.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "samples/tiny-base/*.py" in ignored
