"""A judge study is blind, comes back from spreadsheets as they are, and counts what it says it counts."""

import csv
import io
import json

import pytest

from audiollm.commands import main
from audiollm.eval import EvalError
from audiollm.eval.judge_study import (
    HEADINGS,
    StudyCase,
    agreement,
    draw_cases,
    majority,
    read_key,
    read_ratings,
    score_study,
    study_tables,
    write_study,
)
from audiollm.eval.judges import RuleJudge
from audiollm.eval.results import Run
from audiollm.eval.sheets import safe_text


LABELS = ["neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"]
FORMULA = '=HYPERLINK("http://x.test") They sound sad or angry.'


def make_run(folder="run", count=12, judge="hybrid:test"):
    rows, verdicts = [], {}
    for number in range(count):
        id_ = f"r{number}"
        plain = number % 4 == 3
        prediction = "The speaker sounds sad." if plain else FORMULA if number == 0 else "They sound sad or angry."
        row = {"id": id_, "corpus": "toy", "task": "er", "question": "How?", "label": "sad", "transcript": "I, \u00e9"}
        rows.append(row | {"prediction": prediction, "error": None})
        verdicts[id_] = {"id": id_, "judge": judge, "score": number % 2, "reason": f"secret {number}"}
        verdicts[id_]["special"] = None if plain else "several_emotions"
    results = {
        "system": {"name": "hidden-system"},
        "settings": {"judge": judge},
        "label_sets": {"er": {"name": "emotion7", "labels": LABELS}},
    }
    return Run(folder, results, rows, verdicts)


def rate(sheet, ratings, form="utf-8-sig", delimiter=",", order=None):
    """What a spreadsheet saves after a rater filled the sheet."""
    rows = list(csv.reader(io.StringIO(sheet.read_text(encoding="utf-8-sig"))))
    head, lines = rows[0], rows[1:]
    for line in lines:
        line[head.index("right")] = ratings.get(line[0], "")
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([head, *(lines if order is None else order(lines))])
    sheet.write_bytes(text.getvalue().encode(form))
    return sheet


@pytest.fixture
def study(tmp_path):
    sheet, key = write_study([make_run()], tmp_path / "study", count=6, seed=1)
    return sheet, read_key(key)


def test_only_special_cases_are_drawn_and_the_same_each_time():
    cases, rows = draw_cases([make_run()], count=6, seed=1)
    assert len(cases) == 6 and all(case.special == "several_emotions" for case in cases)
    assert (cases, rows) == draw_cases([make_run()], count=6, seed=1) != draw_cases([make_run()], count=6, seed=2)


def test_answers_of_an_overlapping_class_are_drawn_where_a_language_model_decided():
    labels = ["neutral", "happy", "excited", "sad", "angry", "frustrated"]
    row = {"id": "1", "task": "er", "corpus": "toy", "question": "How?", "label": "happy", "transcript": ""}
    row["prediction"] = "The speaker sounds excited."
    rule = RuleJudge().judge_one(row["prediction"], "happy", labels).to_dict()
    asked = {"score": 1, "reason": "near", "special": None, "stated": [], "judge": "llm:m"}
    runs = {
        judge: Run(
            "run",
            {"system": {"name": "s"}, "settings": {"judge": judge}, "label_sets": {"er": {"labels": labels}}},
            [row],
            {"1": verdict},
        )
        for judge, verdict in {"rule": rule, "llm:m": asked, "hybrid:m": asked | {"special": rule["special"]}}.items()
    }
    for judge in ("llm:m", "hybrid:m"):
        assert [case.special for case in draw_cases([runs[judge]])[0]] == ["overlapping_classes"]
    with pytest.raises(EvalError, match="no special case that a judge has decided"):
        draw_cases([runs["rule"]])


def test_special_is_told_by_the_rule_where_the_judge_does_not_say():
    run = make_run(judge="llm:test")
    for verdict in run.verdicts.values():
        verdict["special"] = None
    assert len(draw_cases([run])[0]) == 9


def test_undecided_cases_cannot_be_studied():
    run = make_run(judge="rule")
    for verdict in run.verdicts.values():
        verdict["score"] = None
    with pytest.raises(EvalError, match="no special case that a judge has decided .9 undecided.*hybrid:MODEL"):
        draw_cases([run])


def test_the_sheet_is_blind_and_opens_as_text(study):
    sheet, cases = study
    text = sheet.read_text(encoding="utf-8-sig")
    assert "secret" not in text and "hidden-system" not in text and "several" not in text and "r1" not in text
    rows = list(csv.reader(io.StringIO(text)))
    assert tuple(rows[0]) == HEADINGS and len(rows) == 7 and all(line[6] == "" for line in rows[1:])
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbf")
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_formulas_are_disarmed(text):
    assert safe_text(text) == f"'{text}" and safe_text("a=1") == "a=1"


def test_a_study_with_ratings_is_not_overwritten(study):
    with pytest.raises(EvalError, match="holds a study already"):
        write_study([make_run()], study[0].parent)


@pytest.mark.parametrize(
    "form, delimiter, order",
    [
        ("utf-8", ",", None),
        ("utf-8-sig", ";", lambda lines: lines[::-1]),
        ("utf-16", "\t", lambda lines: [*lines, [""] * 8]),
        ("cp1252", ";", lambda lines: [line[:7] for line in lines]),
    ],
)
def test_ratings_come_back_from_any_spreadsheet(study, form, delimiter, order):
    sheet, cases = study
    given = dict(zip((case.case for case in cases), ("1", "0", "Right", " wrong ", "", "yes")))
    ratings = read_ratings(rate(sheet, given, form, delimiter, order), cases)
    assert [ratings[case.case] for case in cases] == [True, False, True, False, None, True]


def test_faults_of_a_sheet_are_named_together(study):
    sheet, cases = study
    rate(sheet, {cases[0].case: "maybe", cases[1].case: "1"}, order=lambda lines: [*lines, lines[2]])
    with pytest.raises(
        EvalError, match=rf"{cases[0].case} is rated 'maybe'.*; line 8: case {cases[2].case} is there twice"
    ):
        read_ratings(sheet, cases)
    rate(sheet, {}, order=lambda lines: lines[:4])
    with pytest.raises(EvalError, match=f"no line for {cases[4].case}, {cases[5].case}"):
        read_ratings(sheet, cases)


def test_other_files_are_refused_with_a_reason(tmp_path, study):
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(EvalError, match="save it as CSV"):
        read_ratings(tmp_path / "a.xlsx", study[1])
    (tmp_path / "a.csv").write_text("case,verdict\nC0001,1\n")
    with pytest.raises(EvalError, match="no column right; found"):
        read_ratings(tmp_path / "a.csv", study[1])
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(EvalError, match="not the key of a study"):
        read_key(tmp_path / "key.json")


def test_the_error_directions_are_the_papers():
    # 20 both right, 1 too lenient, 8 too strict, 21 both wrong: section 7's 2% and 16% of 50.
    pairs = [(True, True)] * 20 + [(True, False)] + [(False, True)] * 8 + [(False, False)] * 21
    found = agreement("all", pairs)
    assert (found.too_lenient.estimate, found.too_strict.estimate, found.agree.estimate) == (2, 16, 82)
    # By hand: chance (21 x 28 + 29 x 22) / 2500 = 0.4904, kappa (0.82 - 0.4904) / 0.5096.
    assert found.kappa.estimate == pytest.approx(0.32960 / 0.5096, abs=1e-4)
    assert found.kappa.low < found.kappa.estimate < found.kappa.high and found.n == 50


def test_constant_raters_have_no_kappa():
    found = agreement("all", [(True, True)] * 5)
    assert found.agree.estimate == 100 and found.kappa.estimate is None


def test_people_are_the_majority_and_ties_are_named():
    ratings = [
        {"a": True, "b": True, "c": None},
        {"a": True, "b": False, "c": None},
        {"a": False, "b": None, "c": None},
    ]
    assert majority(ratings) == {"a": True, "b": None, "c": None}


def make_case(name, score, **changes):
    case = {"case": name, "system": "s", "corpus": "toy", "row": name, "task": "er", "special": "x_y"}
    return StudyCase(**(case | {"judge": "llm:test", "score": score, "reason": ""} | changes))


def test_missing_ratings_are_left_out_and_named():
    cases = [make_case("C1", 1), make_case("C2", 0), make_case("C3", 1, system="t")]
    raters = {"ann": {"C1": True, "C2": True, "C3": None}, "ben": {"C1": True, "C2": False, "C3": None}}
    study = score_study(cases, raters)
    assert study["judge"][0].n == 1 and study["missing"] == {"ann": ["C3"], "ben": ["C3"]} and study["ties"] == ["C2"]
    assert [found.n for found in study["raters"]] == [2, 2] and study["between"][0].agree.estimate == 50
    text = "\n".join(table.markdown() for table in study_tables(study))
    assert "Not rated, left out: ann: C3; ben: C3." in text and "Without a majority, left out: C2." in text
    with pytest.raises(EvalError, match="no case is rated"):
        score_study(cases, {"ann": dict.fromkeys(("C1", "C2", "C3"))})


def test_the_command_line_prints_tables_and_json(study, capsys):
    sheet, cases = study
    rate(sheet, {case.case: str(case.score) for case in cases})
    key = str(sheet.with_name("key.json"))
    assert main(["judge-study", "score", str(sheet), "--key", key]) == 0
    assert "100.0 [100.0, 100.0]" in capsys.readouterr().out
    assert main(["judge-study", "score", str(sheet), "--key", key, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judge"][0]["kappa"]["estimate"] == 1 and found["cases"] == 6
    assert main(["judge-study", "score", str(sheet), "--key", "nowhere.json"]) == 2
    assert "error:" in capsys.readouterr().err
