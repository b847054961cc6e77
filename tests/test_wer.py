"""Word error rate equals jiwer's and `evaluate`'s own, and has a rule for empty texts."""

from pathlib import Path

import evaluate
import jiwer
import pytest

import audiollm.eval
from audiollm.eval.normalizers import NORMALIZERS, load_normalizer, normalize_squad
from audiollm.eval.squad_score.squad_score import squad_figures
from audiollm.eval.wer.wer import word_errors


FOLDER = Path(audiollm.eval.__file__).parent
REFERENCES = [
    "Hello, world!",
    "I can't see the colour of it.",
    "Mr. Smith paid 20 dollars",
    "one two three",
    "left out",
    "我们 go to 吃饭 (laughs) 12 o'clock, uh",
]
PREDICTIONS = [
    "hello word",
    "I cannot see colour of it",
    "mister smith paid twenty dollars",
    "one one two three",
    "",
    "我 go 吃饭 lah twelve",
]


def evaluates_own_wer(predictions, references):
    """What metrics/wer/wer.py of `evaluate` computes: jiwer's errors and words, summed over the utterances."""
    errors = words = 0
    for prediction, reference in zip(predictions, references):
        output = jiwer.process_words(reference, prediction)
        errors += output.substitutions + output.deletions + output.insertions
        words += output.substitutions + output.deletions + output.hits
    return errors / words


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_wer_equals_jiwer_and_evaluates_own_on_the_same_normalised_text(normalizer):
    normalize = load_normalizer(normalizer)
    references, predictions = [normalize(t) for t in REFERENCES], [normalize(t) for t in PREDICTIONS]
    figures = word_errors(PREDICTIONS, REFERENCES, normalizer)
    assert figures["wer"] == pytest.approx(100 * jiwer.wer(references, predictions))
    assert figures["wer"] == pytest.approx(100 * evaluates_own_wer(predictions, references))


def test_the_normaliser_matters_and_is_named():
    plain, whisper = (word_errors(["hello world"], ["Hello, world!"], name) for name in ("none", "whisper_english"))
    assert (plain["wer"], whisper["wer"]) == (100.0, 0.0)
    assert (plain["normalizer"], whisper["normalizer"]) == ("none", "whisper_english")


def test_audiobenchs_normaliser_spells_numbers_and_drops_brackets_fillers_and_contractions():
    normalize = load_normalizer("audiobench")
    assert normalize("Um, I'm 20 (laughs) <noise> you're RIGHT") == "i am twenty you are right"
    assert normalize("(cough) uh") == "" and normalize("her umbrella") == "her umbrella"
    assert normalize("on the 21st of May, 300 of them") == "on the 21st of may 300 of them"


def test_in_mixed_speech_chinese_characters_and_english_words_are_the_units():
    normalize = load_normalizer("mandarin_english")
    assert normalize("我们去Orchard Road，吃饭 lah!") == "我 们 去 orchard road 吃 饭 lah"
    figures = word_errors(["我们去 orchard 吃饭啦"], ["我们去 Orchard Road 吃饭"], "mandarin_english")
    assert (figures["reference_words"], figures["deletions"], figures["insertions"]) == (7, 1, 1)
    assert figures["wer"] == pytest.approx(100 * 2 / 7)
    whole = word_errors(["我们去吃饭啦"], ["我们去吃饭"], "audiobench")
    assert (whole["reference_words"], whole["wer"]) == (1, 100.0)


def test_an_empty_prediction_is_all_deletions():
    figures = word_errors(["", "two"], ["one two", "two"])
    assert (figures["deletions"], figures["wer"]) == (2, pytest.approx(200 / 3))
    assert figures["n_empty_predictions"] == 1


def test_words_predicted_for_an_empty_reference_are_insertions():
    figures = word_errors(["noise here", "two"], ["", "two"])
    assert (figures["insertions"], figures["reference_words"], figures["wer"]) == (2, 1, 200.0)
    assert figures["n_empty_references"] == 1


def test_a_reference_emptied_by_the_normaliser_counts_as_empty():
    assert word_errors(["", "yes"], ["[laughs] Hmm", "yes"], "whisper_english")["wer"] == 0.0


@pytest.mark.parametrize("predictions", [[], ["", ""], ["a", "b c"]])
def test_without_a_reference_word_there_is_no_rate(predictions):
    assert word_errors(predictions, [""] * len(predictions))["wer"] is None


def test_unequal_numbers_and_unknown_normalisers_are_refused():
    with pytest.raises(ValueError, match="2 predictions for 1"):
        word_errors(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="klingon"):
        word_errors(["a"], ["a"], "klingon")


def test_whispers_spelling_table_is_used_when_its_folder_is_given(tmp_path):
    (tmp_path / "normalizer.json").write_text('{"colour": "color"}')
    assert word_errors(["color"], ["colour"], f"whisper_english:{tmp_path}")["wer"] == 0.0
    with pytest.raises(ValueError, match="normalizer.json"):
        load_normalizer(f"whisper_english:{tmp_path}/none")


@pytest.mark.parametrize(
    "module, inputs, options, figure, value",
    [
        ("wer", (["a b"], ["A b."]), {"normalizer": "whisper_english"}, "wer", 0.0),
        ("squad_score", (["the red car"], ["Red car."]), {}, "squad_exact_match", 100.0),
        ("wheel_score", (["Glad, and a bit scared."], ["happy"]), {}, "wheel_precision", 50.0),
        ("evidence_score", (['Sad: "I miss him"'], ["i miss him"]), {}, "quotes_grounded", 100.0),
        (
            "emotion_judge",
            (["joyful", "furious"], ["joy", "sadness"]),
            {"labels": "emotion7"},
            "weighted_average",
            50.0,
        ),
    ],
)
def test_every_metric_folder_loads_by_evaluate(module, inputs, options, figure, value, tmp_path):
    metric = evaluate.load(str(FOLDER / module), cache_dir=str(tmp_path))
    predictions, references = inputs
    assert metric.compute(predictions=predictions, references=references, **options)[figure] == value
    assert metric.description and metric.citation and "Args:" in metric.inputs_description


def test_squad_figures_follow_squads_normalisation():
    assert normalize_squad("The  U.S. (an army)!") == "us army"
    figures = squad_figures(["The answer is Ford.", "Ford", ""], ["ford", "the Ford", "ford"])
    assert figures["squad_exact_match"] == pytest.approx(100 / 3)
    assert figures["squad_f1"] == pytest.approx(100 * (0.5 + 1 + 0) / 3)
    assert figures["contains_reference"] == pytest.approx(200 / 3)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize(
    "said",
    [
        "don\u2019t say \u201ccaf\u00e9\u201d 12%",
        "don\x92t say \x93caf\u00e9\x94 12%",
        "don\u02bct say \u201ecafe\u0301\u201d 12%",
        "don\uff07t say \uff02caf\u00e9\uff02 \uff11\uff12\uff05",
        "d\uff4fn\u00b4t\u3000say\u00a0\u00abcaf\u00e9\u00bb \ufeff12%",
        "don\u00e2\u20ac\u2122t say \u00e2\u20ac\u0153caf\u00e9\u00e2\u20ac\x9d 12%",
    ],
)
def test_how_a_character_was_typed_or_decoded_is_no_error(normalizer, said):
    assert word_errors([said], ['don\'t say "caf\u00e9" 12%'], normalizer)["wer"] == 0


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_other_words_stay_other_words(normalizer):
    assert word_errors(["dont cafe"], ["do caf\u00e8s"], normalizer)["wer"] == 100


def test_spoken_answers_are_compared_without_regard_to_their_quotes():
    assert squad_figures(["\u201cdon\u2019t\u201d"], ["don't"])["squad_exact_match"] == 100
