"""Explanations from what was measured of voices."""

import json

import numpy as np
import pytest
import soundfile

from audiollm.corpora.readers import read_corpus
from audiollm.modeling_audiollm.evidence import find_quotes, ground_quote
from audiollm.reasons.measured import LONGEST_QUOTE, QUESTIONS, explained, main, quote_of
from audiollm.voice_claims.claims import check_cues
from audiollm.voice_claims.measures import measure_clip
from audiollm.voice_claims.norms import norms_by_speaker


SAID = "I lost my old dog. Nobody has seen him since yesterday evening!"


def buzz(pitch: float, level: float, seconds: float = 1.5) -> np.ndarray:
    """A voice-like tone of many harmonics, which glides up and down by two semitones."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(pitch * 2 ** (np.sin(2 * np.pi * 3 * time) / 6)) / 16_000
    return level * sum(np.sin(n * phase) / n for n in range(1, 9)) / 3


@pytest.fixture
def rows(tmp_path):
    """A speaker whose last two clips are high and loud, low and quiet."""
    lines = []
    for number, (pitch, level) in enumerate([(150, 0.2)] * 5 + [(220, 0.6), (100, 0.05)]):
        soundfile.write(tmp_path / f"{number}.wav", buzz(pitch, level), 16_000)
        row = {"id": f"{number}-er", "task": "er", "audio": f"{number}.wav", "question": "?", "answer": "sad"}
        row |= {"transcript": SAID, "label": "sad", "target": "label", "corpus": "c", "split": "train"}
        lines.append(json.dumps(row | {"speaker": "a"}))
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    return read_corpus(str(tmp_path), "train")


def test_what_is_said_of_a_voice_is_what_stands_out(rows):
    voices = [row["answer"].rpartition("voice is ")[2] for row in explained(rows)]
    assert voices[:5] == ["even."] * 5
    assert {*voices[5][:-1].split(" and ")} == {"high", "loud"}
    assert {*voices[6][:-1].split(" and ")} == {"low", "quiet"}


def test_every_claim_is_read_and_borne_out_and_every_quote_said(rows):
    written = list(explained(rows))
    cues = [measure_clip(soundfile.read(row["audio"])[0], transcript=SAID) for row in written]
    for row, measured, norms in zip(written, cues, norms_by_speaker(cues, ["a"] * len(cues))):
        claims = check_cues(row["answer"], measured, norms)
        assert claims.true == claims.checkable == (0 if row["answer"].endswith("even.") else 2)
        (quote,) = find_quotes(row["answer"])
        assert ground_quote(quote.text, SAID).grounded and row["target"] == "evidence"


def test_a_quote_is_some_words_of_one_clause():
    quote = quote_of(SAID, "a row")
    assert quote in "nobody has seen him since yesterday evening" and len(quote.split()) == LONGEST_QUOTE
    assert quote_of("Oh!", "a row") == "oh"


def test_a_reason_without_a_quote_tells_the_same_voice(rows):
    written = list(explained(rows, ["interpretive", "evidence"]))
    for interpretive, evidence in zip(written[::2], written[1::2], strict=True):
        assert (interpretive["target"], evidence["target"]) == ("interpretive", "evidence")
        assert not find_quotes(interpretive["answer"]) and interpretive["question"] in QUESTIONS["er", "interpretive"]
        voice = evidence["answer"].rpartition("the voice is ")[2]
        assert interpretive["answer"] == f"The speaker sounds sad. The voice is {voice[:-1]} for them."


def test_what_explains_already_or_names_nothing_is_left(rows):
    explained_before = [{**row, "target": "evidence"} for row in rows]
    nameless = [{**row, "label": label} for row, label in zip(rows, ("other", None))]
    assert not list(explained([*explained_before, *nameless]))


def test_a_sentiment_is_explained_as_its_clip_is_and_each_clip_measured_once(rows, monkeypatch):
    of_sentiment = [{**row, "id": f"{row['id']}-2", "task": "sr", "label": "negative"} for row in rows]
    measured = []
    monkeypatch.setattr(
        "audiollm.reasons.measured.measure_clip", lambda *args, **kw: measured.append(1) or measure_clip(*args, **kw)
    )
    written = list(explained([*rows, *of_sentiment]))
    assert len(measured) == len(written) / 2 == 7
    for emotion, sentiment in zip(written[:7], written[7:]):
        assert sentiment["answer"].startswith('The sentiment is negative. They say "')
        assert sentiment["question"] in QUESTIONS["sr", "evidence"] and sentiment["task"] == "sr"
        assert sentiment["answer"].rpartition("voice")[2] == emotion["answer"].rpartition("voice")[2]


def test_the_command_says_what_it_leaves(rows, tmp_path, monkeypatch, capsys):
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    other = json.dumps(json.loads(lines[0]) | {"id": "0-asr", "task": "asr", "label": None})
    for name, some in (("both", [*lines[:2], other]), ("none", [other])):
        (tmp_path / name).mkdir()
        said = [json.loads(line) for line in some]
        said = [json.dumps(row | {"audio": str(tmp_path / row["audio"])}) for row in said]
        (tmp_path / name / "train.jsonl").write_text("\n".join(said))
    monkeypatch.setattr("sys.argv", ["measured", "--data", str(tmp_path / "both"), "--out", str(tmp_path / "out")])
    main()
    assert "2 explained rows; 1 of 3 rows are of other tasks" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["measured", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "no")])
    with pytest.raises(SystemExit):
        main()
    assert "nothing to explain in the split train: 1 of 1 rows" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
