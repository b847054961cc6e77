"""AudioBench's logs are read as it writes them, ours as it reads them, and its zeros for failures are told apart."""

import json

import numpy as np
import pytest
import soundfile

from audiollm.commands import main
from audiollm.corpora.schema import read_rows
from audiollm.eval import EvalError
from audiollm.eval.audiobench import (
    evaluate_log,
    import_answers,
    read_answers,
    read_scores,
    score_table,
    write_answers,
)
from audiollm.eval.results import read_run
from audiollm.eval.run import Settings, evaluate_system
from audiollm.eval.systems import System


BINARY = "meld_emotion_test_llama3_70b_judge_binary_score.json"


class Echo(System):
    name, fingerprint = "echo/../model", "echo-1"

    def answer_batch(self, audios, questions):
        return [f"The speaker sounds {question.split()[-1]}." for question in questions]


@pytest.fixture
def corpus(tmp_path):
    soundfile.write(tmp_path / "clip.wav", np.zeros(800, np.float32), 16_000)
    rows = [
        {"id": f"m{number}", "task": "er", "audio": "clip.wav", "corpus": "meld", "split": "test", "label": label}
        | {"question": f"Feeling? {said}", "answer": f"The speaker's tone sounds {label}.", "transcript": "hm"}
        for number, (label, said) in enumerate([("joy", "joy"), ("anger", "sadness"), ("neutral", "neutral")])
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def run(corpus):
    evaluate_system(Settings(system="echo", data=str(corpus)), corpus / "run", Echo(), progress=False)
    return read_run(corpus / "run")


def their_log(corpus, names=("text", "answer"), order=None, model="SALMONN_7B"):
    rows = [json.loads(line) for line in (corpus / "test.jsonl").read_text().splitlines()]
    entries = [
        {names[0]: "What emotion is it?", names[1]: row["answer"], "task_type": "ER", "model_prediction": said}
        for row, said in zip(rows, ("Happy.", "They sound furious.", "It is sad."))
    ]
    path = corpus / "log" / model / "meld_emotion_test.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(entries if order is None else [entries[place] for place in order]))
    return path


@pytest.mark.parametrize("names", [("text", "answer"), ("instruction", "reference")])
def test_prediction_logs_of_both_forms_are_read(corpus, names):
    answers = read_answers(their_log(corpus, names))
    assert [answer.prediction for answer in answers] == ["Happy.", "They sound furious.", "It is sad."]
    assert answers[0].reference == "The speaker's tone sounds joy." and answers[0].task_type == "ER"


def test_written_logs_hold_both_pairs_of_names_in_the_datas_order(corpus, run):
    (path,) = write_answers(run, "meld_emotion_test", corpus / "log")
    assert path == corpus / "log" / "echo_.._model" / "meld_emotion_test.json"
    entries = json.loads(path.read_text())
    assert [entry["id"] for entry in entries] == ["m0", "m1", "m2"]
    assert entries[1]["text"] == entries[1]["instruction"] == "Feeling? sadness"
    assert entries[1]["answer"] == entries[1]["reference"] == "The speaker's tone sounds anger."
    assert entries[1]["model_prediction"] == "The speaker sounds sadness." and entries[1]["task_type"] == "ER"


def test_a_written_log_comes_back_as_it_was(corpus, run):
    (path,) = write_answers(run, "meld_emotion_test", corpus / "log")
    results = evaluate_log(path, str(corpus), "test", corpus / "again")
    assert results["figures"] == run.results["figures"]


def test_a_run_with_unanswered_rows_is_not_written(corpus, run):
    run.results["counts"]["errors"] = 1
    with pytest.raises(EvalError, match="1 rows have no answer, and AudioBench knows rows by their order"):
        write_answers(run, "meld_emotion_test", corpus / "log")


def test_their_answers_are_judged_as_any_systems(corpus):
    log = their_log(corpus)
    results = evaluate_log(log, str(corpus), "test", corpus / "judged")
    assert results["system"]["name"] == "SALMONN_7B" and results["counts"]["answered"] == 3
    assert results["figures"]["er"]["n_right"] == 2
    line = json.loads((corpus / "judged" / "predictions.jsonl").read_text().splitlines()[0])
    assert line["asked"] == "What emotion is it?" and line["question"] == "Feeling? joy"
    assert evaluate_log(log, str(corpus), "test", corpus / "judged")["figures"] == results["figures"]


def test_answers_in_another_order_or_number_are_refused(corpus):
    rows = read_rows(corpus, "test")
    shuffled = their_log(corpus, order=(1, 0, 2))
    with pytest.raises(EvalError, match="entry 1: its reference .*anger.* is not that of row m0"):
        import_answers(shuffled, rows, corpus / "out")
    fewer = their_log(corpus, order=(0,), model="fewer")
    with pytest.raises(EvalError, match="holds 1 answers, the corpus 3 rows"):
        import_answers(fewer, rows, corpus / "out")


def test_a_label_in_our_words_fits_a_reference_in_theirs(corpus):
    labels = ("happy", "anger", "sad")
    rows = [row | {"answer": "x", "label": label} for row, label in zip(read_rows(corpus, "test"), labels)]
    log = their_log(corpus)
    with pytest.raises(EvalError, match="entry 3: its reference .*neutral.* is not that of row m2"):
        import_answers(log, rows, corpus / "out")
    import_answers(log, [*rows[:2], rows[2] | {"label": "neutral"}], corpus / "fits")


def test_broken_logs_are_refused_with_the_place(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "q", "answer": "a"}]')
    with pytest.raises(EvalError, match="entry 1: has no model_prediction"):
        read_answers(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[")
    with pytest.raises(EvalError, match="not JSON"):
        read_answers(tmp_path / "b.json")
    with pytest.raises(EvalError, match="DATASET_METRIC_score.json"):
        read_scores(tmp_path / "b.json")


def write_scores(folder, name, content):
    path = folder / "MERaLiON" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def details(*ratings):
    return [{"rate_score": float(rating or 0), "success": int(rating is not None)} for rating in ratings]


def test_a_judges_score_log_tells_failures_from_zeros(tmp_path):
    content = {
        "llama3_70b_judge_binary": {"judge_score": 50.0, "success_rate": 0.75},
        "details": details(1, 1, 0, None),
    }
    log = read_scores(write_scores(tmp_path, BINARY, content))
    assert (log.model, log.dataset, log.metric, log.task) == (
        "MERaLiON",
        "meld_emotion_test",
        "llama3_70b_judge_binary",
        "er",
    )
    assert (log.score, log.n, log.n_failed) == (50, 4, 1)
    assert log.score_without_failures == pytest.approx(100 * 2 / 3)


def test_a_score_of_five_levels_is_in_percent_too(tmp_path):
    content = {"llama3_70b_judge": {"judge_score": 60.0, "success_rate": 0.75}, "details": details(5, 4, 3, None)}
    log = read_scores(write_scores(tmp_path, "spoken_squad_test_llama3_70b_judge_score.json", content))
    assert log.task == "sqa" and log.score_without_failures == pytest.approx(20 * 4)
    content["details"], content["llama3_70b_judge"]["judge_score"] = details(0, 0, None), 0.0
    log = read_scores(write_scores(tmp_path, "spoken_squad_test_llama3_70b_judge_score.json", content))
    assert log.score_without_failures == 0 and log.n_failed is None  # two of three is no three quarters


@pytest.mark.parametrize("rate", [0.9988505747126437, 0.5])
def test_a_stored_sample_is_not_taken_for_the_whole(tmp_path, rate):
    content = {"llama3_70b_judge": {"judge_score": 1.68, "success_rate": rate}, "details": details(0, 0, 0)}
    log = read_scores(write_scores(tmp_path, "meld_emotion_test_llama3_70b_judge_score.json", content))
    assert (log.stored, log.n, log.n_failed) == (3, None, None)
    assert log.percent_failed == pytest.approx(100 * (1 - rate))
    assert log.score_without_failures == pytest.approx(1.68 / rate)
    text = score_table([log]).csv().splitlines()[1]
    assert text.startswith("MERaLiON,meld_emotion_test,llama3_70b_judge,1.68,,")


def test_a_sample_without_a_success_rate_says_nothing_of_failures(tmp_path):
    content = {"gpt4o_judge": {"judge_score": 37.5}, "details": details(1, 1, None)}
    log = read_scores(write_scores(tmp_path, "iemocap_emotion_test_gpt4o_judge_score.json", content))
    assert (log.n, log.n_failed, log.percent_failed, log.score_without_failures) == (None, None, None, None)


def test_a_judge_that_always_failed_leaves_no_score(tmp_path):
    content = {"gpt4o_judge": {"judge_score": 0.0, "success_rate": 0.0}, "details": details(None, None)}
    log = read_scores(write_scores(tmp_path, "iemocap_emotion_test_gpt4o_judge_score.json", content))
    assert (log.n_failed, log.score_without_failures) == (2, None)


@pytest.mark.parametrize(
    "dataset", ["cna_test", "mediacorp_short_test", "seame_dev_man", "tedlium3_test", "idpc_test"]
)
def test_every_word_error_rate_is_one_of_transcription(tmp_path, dataset):
    samples = [
        {"reference": "a b c d", "prediction": "a", "wer": 0.75},
        {"reference": "e", "prediction": "e", "wer": 0.0},
    ]
    log = read_scores(write_scores(tmp_path, f"{dataset}_wer_score.json", {"wer": 1.17, "sample_wer": samples}))
    assert (log.task, log.score, log.n, log.stored) == ("asr", pytest.approx(117), None, 2)
    log = read_scores(write_scores(tmp_path, f"{dataset}_wer_score.json", {"wer": 0.6, "sample_wer": samples}))
    assert log.n == 2


@pytest.mark.parametrize("score", ["49", None, float("nan"), True, {"judge_score": 1}])
def test_a_score_that_is_no_number_is_refused(tmp_path, score):
    content = {"gpt4o_judge": {"judge_score": score}}
    with pytest.raises(EvalError, match="is no score"):
        read_scores(write_scores(tmp_path, "iemocap_emotion_test_gpt4o_judge_score.json", content))


def test_word_error_rates_become_percent(tmp_path):
    content = {"wer": 0.0229, "sample_wer": [{"reference": "a", "prediction": "a", "wer": 0.0229}]}
    log = read_scores(write_scores(tmp_path, "librispeech_test_clean_wer_score.json", content))
    assert (log.task, log.metric, log.n, log.n_failed) == ("asr", "wer", 1, None)
    assert log.score == pytest.approx(2.29)


def test_the_command_line_prints_scores(tmp_path, capsys):
    content = {"llama3_70b_judge_binary": {"judge_score": 49.0, "success_rate": 1.0}}
    path = write_scores(tmp_path, BINARY, content)
    assert main(["audiobench", "scores", str(path)]) == 0 and "49.0" in capsys.readouterr().out
    assert main(["audiobench", "scores", str(tmp_path / "none_wer_score.json")]) == 2
    assert "error:" in capsys.readouterr().err
    assert "<" not in score_table([read_scores(path)]).latex()
