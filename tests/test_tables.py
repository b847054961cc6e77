"""Tables say what results say: paper and ours apart, nothing guessed, no markup or formula from data."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from audiollm.commands import main
from audiollm.eval import EvalError
from audiollm.eval.contrasts import UNDECIDED, claims_table, decide
from audiollm.eval.metrics import METRICS, cluster_names, find_metric
from audiollm.eval.paper import PAPER_FILE, paper_table
from audiollm.eval.results import read_run
from audiollm.eval.run import Settings, evaluate_system
from audiollm.eval.systems import System
from audiollm.eval.tables import (
    Cell,
    Table,
    all_tables,
    class_intervals,
    compare_runs,
    comparison_tables,
    folds_table,
    interval_table,
    latex_text,
    seeds_class_table,
    seeds_table,
)


NASTY = r"a_b & 50% $x$ #1 {c} ~ ^ \d <i> | =1"
LABELS = ("neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")


class Scripted(System):
    """Answers by the question's last word."""

    def __init__(self, name, answers):
        self.name, self.fingerprint, self.answers = name, name, answers

    def answer_batch(self, audios, questions):
        return [self.answers[question.rsplit(" ", 1)[1]] for question in questions]


def make_rows(count=40):
    for number in range(count):
        label = LABELS[number % 3]
        row = {"id": f"e{number}", "corpus": "meld", "task": "er", "label": label, "speaker": f"s{number % 4}"}
        yield row | {
            "transcript": f"words of {number}",
            "answer": f"The speaker sounds {label}.",
            "target": "evidence",
        }
    for number in range(6):
        row = {"id": f"a{number}", "corpus": "meld", "task": "asr", "label": None, "speaker": "s0"}
        yield row | {"transcript": "one two three four", "answer": "one two three four"}
    yield {"id": "q0", "corpus": "meld", "task": "sqa", "label": None, "transcript": "ten", "answer": "ten"}


def answers_of(rows, right):
    """A system that is right on the rows `right` says, and quotes what was said."""
    answers = {}
    for place, row in enumerate(rows):
        if row["task"] == "er":
            label = row["label"] if right(place) else "fear"
            answers[row["id"]] = f'The speaker sounds {label}: "{row["transcript"]}".'
        else:
            answers[row["id"]] = row["answer"] if right(place) else "one two"
    return answers


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    soundfile.write(folder / "clip.wav", np.zeros(800, np.float32), 16_000)
    rows = list(make_rows())
    lines = [{**row, "split": "test", "audio": "clip.wav", "question": f"what of {row['id']}"} for row in rows]
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    systems = {"good": lambda place: place % 5, "bad": lambda place: place % 2}
    for name, right in systems.items():
        settings = Settings(system=name, data=str(folder), label_set=",".join(LABELS))
        evaluate_system(settings, folder / name, Scripted(f"{name} {NASTY}", answers_of(rows, right)), progress=False)
    return folder


def cells_of(table, row):
    return dict(zip(table.columns, next(line for line in table.rows if line[0] == row)))


def test_seeds_of_a_training_are_one_line_with_mean_lowest_and_highest(runs):
    good, bad = (read_run(runs / name).results for name in ("good", "bad"))
    table = seeds_table({"both": [good, bad], "one": [good]})
    both, one = cells_of(table, "both"), cells_of(table, "one")
    high, low = (find_metric("emotion_accuracy").value(results["figures"]) for results in (good, bad))
    assert low < high and (both["seeds"], one["seeds"]) == (2, 1)
    assert both["emotion"] == f"{(low + high) / 2:.1f} ({low:.1f} to {high:.1f})"
    assert one["emotion"] == f"{high:.1f} ({high:.1f} to {high:.1f})"
    assert "Lower is better: WER" in table.note
    by_class = seeds_class_table({"both": [good, bad], "one": [good]}, "er")
    both, one = cells_of(by_class, "both"), cells_of(by_class, "one")
    label = next(iter(good["figures"]["er"]["per_class"]))
    wanted = [figures["figures"]["er"]["per_class"][label]["accuracy"] for figures in (good, bad)]
    assert wanted[0] != wanted[1] and both[label] == sum(wanted) / 2 and one[label] == wanted[0]
    assert both["weighted"] == (high + low) / 2 and "means over seeds" in by_class.note


@pytest.fixture(scope="module")
def folds(runs, tmp_path_factory):
    """The rows of `runs / "good"` in two folds of two speakers each, evaluated one by one."""
    folder, rows = tmp_path_factory.mktemp("folds"), list(make_rows())
    answers = answers_of(rows, lambda place: place % 5)
    lines = [json.loads(line) for line in (runs / "test.jsonl").read_text().splitlines()]
    for fold in (0, 1):
        (folder / f"data-{fold}").mkdir()
        mine = [line | {"audio": str(runs / "clip.wav")} for line in lines if int(line["id"][1:]) % 2 == fold]
        (folder / f"data-{fold}" / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in mine))
        settings = Settings(system="good", data=str(folder / f"data-{fold}"), label_set=",".join(LABELS))
        evaluate_system(settings, folder / f"fold-{fold}", Scripted("good", answers), progress=False)
    return [folder / "fold-0", folder / "fold-1"]


def test_a_claim_says_in_how_many_seeds_it_is_so_and_counts_their_spread(runs):
    good, bad = (read_run(runs / name) for name in ("good", "bad"))
    decisions = decide([("worse", "better")], {"worse": [bad, good], "better": [good, good]})
    emotion = next(decision for decision in decisions if decision.metric.name == "emotion_accuracy")
    assert emotion.found.difference.estimate > 0 and (emotion.alike, emotion.seeds) == (1, 2)
    line = cells_of(claims_table([emotion]), "better over worse")
    assert line["so by seed"] == "1 of 2"
    # By rows alone each training's difference would decide; one gains, the other does not.
    assert emotion.verdict == UNDECIDED and "over trainings" in claims_table([emotion]).note

    def once(better):
        found = decide([("worse", "better")], {"worse": [bad], "better": [better]})
        return next(one for one in found if one.metric == emotion.metric)

    assert once(good).told == "seen, of one run" and "not over trainings" in claims_table([once(good)]).note
    same = once(bad)
    assert (same.found.difference.estimate, same.alike) == (0, 0)


def test_a_seed_without_a_figure_says_nothing_of_it(runs):
    """A training that quotes nothing has no share of quotes that were said: it neither decides nor counts."""
    good, bad = (read_run(runs / name) for name in ("good", "bad"))
    silent = replace(good, rows=[row | {"prediction": "She is sad."} for row in good.rows])

    def decided(*better):
        found = decide([("worse", "better")], {"worse": [bad] * len(better), "better": list(better)})
        return {decision.metric.name: decision for decision in found}

    found, without = (some["quotes_grounded"] for some in (decided(good, silent, good), decided(good, good)))
    assert found == without and found.seeds == 2
    assert "quotes_grounded" not in decided(silent)


def test_folds_stand_side_by_side_with_their_mean_and_all_their_rows(runs, folds):
    found = [read_run(fold) for fold in folds]
    whole = read_run(runs / "good").results["figures"]
    table = folds_table(found)
    assert table.columns[1:] == ("fold-0", "fold-1", "mean of folds", "all rows")
    for name in ("emotion_accuracy", "emotion_unweighted_accuracy_at_worst", "wer", "quotes_grounded"):
        metric = find_metric(name)
        cells = cells_of(table, metric.heading)
        each = [metric.value(run.results["figures"]) for run in found]
        assert [cells["fold-0"], cells["fold-1"]] == each and cells["mean of folds"] == pytest.approx(np.mean(each))
        pooled = cells["all rows"]
        assert pooled.value == pytest.approx(metric.value(whole)) and pooled.low <= pooled.value <= pooled.high
    # Only the first has a question: a mean over some of the folds would be another figure.
    assert (
        cells_of(table, "SQuAD F1")["mean of folds"] is None and cells_of(table, "SQuAD F1")["all rows"].value == 100
    )


def test_folds_are_drawn_by_cluster(folds):
    found = [read_run(fold) for fold in folds]
    for run in found:
        run.rows[:] = run.of_task("er")
    by_row, by_speaker = (
        cells_of(folds_table(found, cluster), "emotion")["all rows"] for cluster in (None, "speaker")
    )
    assert by_row.value == by_speaker.value and (by_row.low, by_row.high) != (by_speaker.low, by_speaker.high)
    assert "over clusters of the same speaker" in folds_table(found, "speaker").note


def test_what_is_no_cross_validation_is_refused(runs, folds, capsys):
    with pytest.raises(EvalError, match="one run is no cross-validation"):
        folds_table([read_run(folds[0])])
    with pytest.raises(EvalError, match="row a0 is in .*fold-0 and in .*good: folds share no row"):
        folds_table([read_run(folds[0]), read_run(runs / "good")])
    other = read_run(folds[1])
    other.results["settings"]["normalizer"] = "none"
    with pytest.raises(EvalError, match="normalisers"):
        folds_table([read_run(folds[0]), other])
    folds = [str(fold) for fold in folds]
    for wrong in (["--folds", "--intervals"], ["--cluster", "speaker"], ["--seed", "1"]):
        assert main(["tables", *folds, *wrong]) == 2 and "error: " in capsys.readouterr().err
    assert main(["tables", *folds, "--folds"]) == 0 and "**2 folds**" in capsys.readouterr().out


# The paper's figures


def test_the_papers_figures_are_those_of_the_design():
    def found(number, row, column):
        return cells_of(paper_table(number), row)[f"{column} paper"].value

    assert [found(1, row, "Avg.") for row in ("label", "interpretive", "evidence")] == [38.2, 57.8, 58.1]
    assert [found(2, row, "Overall") for row in ("single joint", "joint", "alt-1", "alt-4")] == [
        53.5,
        43.2,
        55.8,
        56.1,
    ]
    large = "Emotion2Vec+ large, alt-4"
    assert [found(3, large, column) for column in ("Overall", "ER/SR", "SQA")] == [57.2, 59.3, 55.6]
    evidence = [found(4, "Avg.", column) for column in ("Quotation", "Groundedness", "Relevance")]
    assert evidence == [57.5, 82.8, 65.3]
    changes = [
        found(7, f"{base}: change", column) for base in ("first base", "second base") for column in ("ER/SR", "SQA")
    ]
    assert changes == [12.3, -1.9, 22.4, -1.3]


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("form", ["markdown", "latex", "csv"])
def test_each_of_the_papers_tables_prints_without_any_run(number, form):
    text = paper_table(number).write(form)
    assert "None" not in text and "nan" not in text
    assert "ours" in text


def test_figures_read_at_second_hand_are_marked_and_explained():
    table = paper_table(5)
    assert str(cells_of(table, "Qwen2-Audio")["IEMOCAP paper"]) == "54.0\u2020"
    assert cells_of(table, "R1-AQA")["IEMOCAP paper"] is None
    assert "not checked against it" in table.note and "\u2020" not in paper_table(4).note


def test_every_row_and_column_of_the_papers_data_is_known():
    content = json.loads(PAPER_FILE.read_text())
    for table in content["tables"]:
        names = {column if isinstance(column, str) else column["name"] for column in table["columns"]}
        rows = [row["name"] for row in table["rows"]]
        assert len(rows) == len(set(rows))
        for row in table["rows"]:
            figures = [*row.get("figures", {}), *row.get("second_hand", {})]
            assert set(figures) <= names and len(figures) == len(set(figures))
            assert set(row.get("change", [])) <= set(rows)
        assert all(column in content["sets"] for column in table["columns"] if isinstance(column, str))


def test_a_run_fills_the_column_of_its_corpus_and_the_means(runs):
    table = paper_table(1, [f"evidence={runs / 'good'}"])
    cells = cells_of(table, "evidence")
    assert cells["MELD-ER ours"] == 80 and cells["Avg. ours"] == 80 and cells["IEMOCAP ours"] is None
    assert "Emotion on meld (7 classes, 40 of 40 answers scored, judge rule)" in table.note
    assert cells_of(table, "label")["MELD-ER ours"] is None


def test_the_user_may_say_which_column_a_run_fills(runs):
    table = paper_table(1, [f"evidence={runs / 'good'}@IEMOCAP"])
    cells = cells_of(table, "evidence")
    assert cells["IEMOCAP ours"] == 80 and cells["MELD-ER ours"] is None


def test_evidence_figures_are_of_the_sets_task_and_means_over_all_runs(runs, tmp_path):
    soundfile.write(tmp_path / "clip.wav", np.zeros(800, np.float32), 16_000)
    rows = [
        {"id": f"{task}{number}", "task": task, "label": label, "corpus": "meld", "split": "test", "audio": "clip.wav"}
        | {"question": f"what of {task}{number}", "transcript": "words", "answer": "x", "target": "evidence"}
        for task, label in (("er", "happy"), ("sr", "negative"))
        for number in range(2)
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = {"er0": 'Happy: "words".', "er1": 'Sad: "words".', "sr0": 'Negative: "words".', "sr1": "Negative."}
    evaluate_system(Settings("s", str(tmp_path)), tmp_path / "out", Scripted("s", answers), progress=False)
    of = tmp_path / "out"
    table = paper_table(
        4, [f"MELD-ER={of}", f"MELD-SR={of}", f"mine={of}@MELD-SR", f"Avg.={of}", f"Avg.={runs / 'good'}"]
    )
    wanted = {"MELD-ER": 100, "MELD-SR": 50, "mine": 50, "Avg.": (100 + 50 + 100) / 3}
    assert {name: cells_of(table, name)["Quotation ours"] for name in wanted} == pytest.approx(wanted)
    assert "MELD-SR: Sentiment on meld (3 classes" in table.note and "MELD-ER: Emotion on meld (7" in table.note
    log = tmp_path / "m" / "iemocap_emotion_test_llama3_70b_judge_score.json"
    log.parent.mkdir()
    log.write_text(json.dumps({"llama3_70b_judge": {"judge_score": 50.0, "success_rate": 1.0}}))
    lacking = paper_table(4, [f"Avg.={of}", f"Avg.={log}"])
    assert cells_of(lacking, "Avg.")["Quotation ours"] is None


def test_a_set_in_audiobenchs_form_is_known_by_its_subset(runs, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("verdicts.jsonl", "results.json", "predictions.jsonl"):
        text = (runs / "good" / name).read_text()
        named = text.replace('"corpus": "meld"', '"corpus": "ab", "subset": "meld_emotion_test"')
        folder.joinpath(name).write_text(named)
    table = paper_table(1, [f"evidence={folder}"])
    assert (
        cells_of(table, "evidence")["MELD-ER ours"] == 80 and "Emotion on ab (meld_emotion_test) (7 cl" in table.note
    )


def test_word_overlap_does_not_stand_in_for_a_judged_answer(runs):
    table = paper_table(2, [f"alt-4={runs / 'good'}"])
    cells = cells_of(table, "alt-4")
    assert cells["SQA ours"] is None and cells["ER/SR ours"] == 80
    assert cells["Overall ours"] is None  # an overall mean without SQA would be another figure
    assert (
        "Question answering on meld (1 answers, rated by no language model)" in table.note and "WER" not in table.note
    )


def test_a_judged_answer_fills_the_mean(runs, tmp_path):
    log = tmp_path / "model" / "spoken_squad_test_llama3_70b_judge_score.json"
    log.parent.mkdir()
    log.write_text(json.dumps({"llama3_70b_judge": {"judge_score": 50.0, "success_rate": 1.0}}))
    sources = [f"alt-4={runs / 'er-only'}", f"alt-4={log}"]
    settings = Settings(system="good", data=str(runs), label_set=",".join(LABELS), tasks=("er",))
    answers = answers_of(list(make_rows()), lambda place: place % 5)
    evaluate_system(settings, runs / "er-only", Scripted("er-only", answers), progress=False)
    cells = cells_of(paper_table(2, sources), "alt-4")
    assert (cells["ER/SR ours"], cells["SQA ours"], cells["Overall ours"]) == (80, 50, 65)


def test_a_run_that_fills_no_column_is_named(runs):
    note = paper_table(6, [f"mine={runs / 'good'}"]).note
    assert "mine: its figures are on meld and fill no column here; RUN@COLUMN says which to fill." in note


def test_class_wise_tables_match_classes_by_their_other_names(runs):
    table = paper_table(9, [f"AudioLLM-Reasoning={runs / 'good'}"])
    ours, theirs = cells_of(table, "AudioLLM-Reasoning, ours"), cells_of(table, "Emotion2Vec+ large, paper")
    assert ours["neutral"] is not None and ours["joy"] is not None and ours["anger"] is None
    assert ours["weighted"] == 80 and theirs["weighted"].value == 44.7


def test_a_change_is_the_difference_of_its_two_rows(runs):
    rows = [f"first base={runs / 'bad'}", f"first base + emotion={runs / 'good'}"]
    cells = cells_of(paper_table(7, rows), "first base: change")
    assert cells["ER/SR ours"] == pytest.approx(30) and cells["ER/SR paper"].value == 12.3
    assert cells_of(paper_table(7, rows), "second base: change")["ER/SR ours"] is None


def test_a_row_that_the_paper_has_not_is_added(runs):
    table = paper_table(4, [f"mine={runs / 'good'}"])
    cells = cells_of(table, "mine")
    assert cells["Quotation ours"] == 100 and cells["Quotation paper"] is None
    assert cells["Groundedness ours"] is None  # a language model's rating, and only the rule judged


def test_an_audiobench_score_fills_a_cell(tmp_path):
    log = tmp_path / "SALMONN_7B" / "meld_emotion_test_llama3_70b_judge_binary_score.json"
    log.parent.mkdir()
    log.write_text(json.dumps({"llama3_70b_judge_binary": {"judge_score": 33.1, "success_rate": 1.0}}))
    table = paper_table(5, [f"SALMONN={log}"])
    assert cells_of(table, "SALMONN")["MELD-ER ours"] == 33.1 and "AudioBench's llama3_70b_judge_binary" in table.note


def test_faults_of_the_command_line_are_explained(runs, capsys):
    with pytest.raises(EvalError, match="tables are 1 to 9"):
        paper_table(12)
    with pytest.raises(EvalError, match="write NAME=RUN"):
        paper_table(1, ["alt-4"])
    assert main(["tables", "--paper", "1", "--row", "label=/no/such/run"]) == 2
    assert "error:" in capsys.readouterr().err
    assert main(["tables", "--row", "label=x"]) == 2 and main(["tables"]) == 2


# Formats


def test_latex_shows_every_character_as_it_is():
    assert latex_text("a_b & 50% $ # {c} ~ ^ \\") == (
        r"a\_b \& 50\% \$ \# \{c\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )


def test_a_row_that_starts_with_a_bracket_is_no_option_of_the_row_before():
    text = Table("t", ("a", "b"), (("x", 1.0), ("[2cm]", Cell(1, 0, 2)), ("*", 2.0))).latex()
    assert "{[}2cm{]} & 1.0 {[}0.0, 2.0{]}" in text and "\n{*} & 2.0" in text


def test_latex_tables_use_booktabs_and_escape_names(runs):
    text = all_tables([read_run(runs / "good").results])[0].latex()
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    bare = re.sub(r"\\[a-z]+\{?|\\[&%$#_{}]|\\\\", "", text)
    assert not set("%$#_^~") & set(bare)
    columns = len(all_tables([read_run(runs / "good").results])[0].columns)
    assert all(line.replace(r"\&", "").count("&") == columns - 1 for line in text.splitlines() if line.endswith(r"\\"))


def test_markdown_lets_no_html_or_column_through():
    text = Table("t", ("a", "b"), (("<img src=x>|", 1.25),)).markdown()
    assert "<img" not in text and text.splitlines()[-1].count(" | ") == 1


def test_csv_has_plain_numbers_limits_apart_and_no_formulas():
    table = Table("t", ("system", "WER"), (("=cmd()", Cell(12.345, 10, 15, "*")), ("b", None)))
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows[0] == ["system", "WER", "WER low", "WER high", "WER mark"]
    assert rows[1] == ["'=cmd()", "12.345", "10", "15", "*"] and rows[2] == ["b", "", "", "", ""]


def test_the_command_line_writes_each_format(runs, capsys):
    for form, sign in (("markdown", "**Overall**"), ("latex", r"\begin{table}"), ("csv", "system,emotion,")):
        assert main(["tables", str(runs / "good"), "--format", form]) == 0
        assert sign in capsys.readouterr().out
    assert main(["tables", str(runs / "good"), str(runs / "bad"), "--intervals"]) == 0
    assert "exact McNemar" in capsys.readouterr().out


# Intervals and tests


@pytest.mark.parametrize("name", [metric.name for metric in METRICS])
def test_a_metrics_counts_come_to_the_figure_in_the_results(runs, name):
    metric = find_metric(name)
    for run in (read_run(runs / "good"), read_run(runs / "bad")):
        rows = metric.rows(run.rows)
        figure = metric.value(run.results["figures"])
        if figure is None:  # no such task, or nobody rated
            assert not rows or not np.nan_to_num(metric.counts(run, rows)).any()
        else:
            assert metric.statistic(metric.counts(run, rows).sum(0)) == pytest.approx(figure)
            assert 0 <= figure <= (metric.highest or math.inf)


def test_interval_tables_agree_with_the_results(runs):
    run = read_run(runs / "good")
    found = class_intervals(run, "er")
    figures = run.results["figures"]["er"]
    assert found["weighted"].estimate == pytest.approx(figures["weighted_average"])
    assert found["unweighted"].estimate == pytest.approx(figures["unweighted_average"])
    for label, of_class in figures["per_class"].items():
        assert found[label].estimate == (None if of_class["accuracy"] is None else pytest.approx(of_class["accuracy"]))
    assert found["weighted"].low < 80 < found["weighted"].high
    assert "over clusters of the same speaker" in interval_table([run], "er", "speaker").note


def test_paired_tests_take_the_fitting_test_for_each_figure(runs):
    results = dict(compare_runs(read_run(runs / "good"), read_run(runs / "bad")))
    assert results["emotion"].test == "exact McNemar" and results["emotion"].n == 40
    assert results["emotion"].first == 80 and results["emotion"].second == 50
    # Of 8 and 20 wrong answers 4 are to the same rows (0, 10, 20, 30), so 16 rows against 4 decide.
    assert results["emotion"].p_value == pytest.approx(2 * sum(math.comb(20, k) for k in range(5)) / 2**20)
    assert results["WER"].test == "approximate randomisation" and results["WER"].first < results["WER"].second
    assert results["emotion unweighted"].test == "paired bootstrap"
    clustered = dict(compare_runs(read_run(runs / "good"), read_run(runs / "bad"), cluster="id"))
    assert clustered["emotion"].test == "approximate randomisation" and clustered["emotion"].units == 40


def test_figures_counted_by_different_rules_are_not_compared(runs):
    good, bad = read_run(runs / "good"), read_run(runs / "bad")
    bad.results["settings"]["normalizer"] = "none"
    with pytest.raises(EvalError, match="WER normalisers whisper_english and none"):
        compare_runs(good, bad)
    bad.results["label_sets"]["er"]["labels"] = ["happy", "sad"]
    with pytest.raises(EvalError, match="the same --label-set"):
        compare_runs(good, bad)


def test_other_judges_are_named(runs):
    good, bad = read_run(runs / "good"), read_run(runs / "bad")
    bad.results["settings"]["judge"] = "llm:x"
    assert "Judges: rule and llm:x." in comparison_tables(good, [bad])[0].note


def test_p_values_are_adjusted_over_all_systems(runs):
    good, bad = read_run(runs / "good"), read_run(runs / "bad")
    tables = comparison_tables(good, [bad, bad])
    assert len(tables) == 2 and tables[0].rows == tables[1].rows
    one = comparison_tables(good, [bad])[0]
    holm, plain = one.columns.index("p (Holm)"), one.columns.index("p")
    assert float(one.rows[0][holm]) > float(one.rows[0][plain])


def test_clusters_need_a_value_in_every_row(runs):
    run = read_run(runs / "good")
    with pytest.raises(EvalError, match="row q0 has no value in the column 'speaker'"):
        cluster_names(run.rows, "speaker")


def test_a_folder_whose_answers_are_not_those_of_its_results_is_refused(runs):
    folder = runs / "few"
    evaluate_system(
        Settings(system="good", data=str(runs), label_set=",".join(LABELS), limit=10, tasks=("er",)),
        folder,
        Scripted("few", answers_of(list(make_rows()), lambda place: place % 5)),
        progress=False,
    )
    (folder / "predictions.jsonl").write_text((runs / "good" / "predictions.jsonl").read_text())
    with pytest.raises(EvalError, match="holds 47 answers, but its results count 10.*--overwrite"):
        read_run(folder)
