"""Emotion words of any label set are grouped on a wheel."""

import pytest

from audiollm.eval.wheel import WHEEL_FILE, sectors, wheel_score
from audiollm.eval.wheel_score.wheel_score import wheel_figures
from audiollm.modeling_audiollm.emotion_vocabulary import VOCABULARY


def test_the_wheel_has_concepts_of_the_vocabulary_each_once():
    import json

    listed = [name for names in json.loads(WHEEL_FILE.read_text())["sectors"].values() for name in names]
    assert len(listed) == len(set(listed)) and set(listed) <= VOCABULARY["emotions"].keys()
    off = VOCABULARY["emotions"].keys() - set(listed)
    assert off == {"positive", "negative", "other", "sarcasm", "demeanour"}


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("The speaker sounds annoyed.", "angry", (1.0, 1.0, 1.0)),
        ("They are happy and surprised.", "happy", (0.5, 1.0, 2 / 3)),
        ("They are happy.", "joy, fear", (1.0, 0.5, 2 / 3)),
        ("They are not happy, but sad.", "happy", (0.0, 0.0, 0.0)),
        ("I cannot tell.", "sad", (0.0, 0.0, 0.0)),
        ("They are sad.", "other", None),
    ],
)
def test_answers_are_scored_by_the_sectors_they_name(answer, reference, score):
    assert wheel_score(answer, reference) == (score and pytest.approx(score))


def test_answers_whose_label_is_on_no_wheel_are_left_out_and_counted():
    found = wheel_figures(["Sad.", "Sad."], ["sadness", "other"])
    assert (found["wheel_f1"], found["n"], found["n_off_wheel"]) == (100.0, 1, 1)


def test_spellings_of_corpora_are_in_their_sectors():
    assert sectors(["anger", "joy", "ang", "disgusted"]) >= {"anger", "joy", "disgust"}
