"""The rule judge decides plain cases, marks special ones, and never turns a special case into a zero."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from audiollm.eval.emotion_judge.emotion_judge import emotion_figures
from audiollm.eval.judges import OVERLAPPING, Case, RuleJudge, Verdict, load_judge
from audiollm.eval.judges.rule import SPECIAL_KINDS
from audiollm.modeling_audiollm.emotion_lexicon import find_label_set, load_lexicon, named_label_set


CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "rule_judge_cases.jsonl").read_text(encoding="utf-8").splitlines()
]
LABEL_SETS = load_lexicon().label_sets
EMOTION7 = LABEL_SETS["emotion7"]
judge = RuleJudge()


def verdict_of(case):
    return judge.judge_one(case["prediction"], case["label"], LABEL_SETS[case["label_set"]])


def test_the_cases_are_many_and_cover_every_kind_and_label_set():
    assert len(CASES) >= 300
    assert {case["kind"] for case in CASES} == {"plain", *SPECIAL_KINDS}
    assert {case["label_set"] for case in CASES} == set(LABEL_SETS)
    plain = Counter(case["expected"] for case in CASES if case["kind"] == "plain")
    assert min(plain.values()) > 20 and set(plain) == {0, 1}


def test_at_least_97_percent_of_the_plain_cases_are_decided_right():
    plain = [case for case in CASES if case["kind"] == "plain"]
    wrong = [case["prediction"] for case in plain if verdict_of(case).score != case["expected"]]
    assert len(wrong) <= 0.03 * len(plain), wrong


def test_special_cases_are_unscored_and_named():
    special = [case for case in CASES if case["kind"] != "plain"]
    missed = [c["prediction"] for c in special if (verdict_of(c).score, verdict_of(c).special) != (None, c["kind"])]
    assert len(missed) <= 0.03 * len(special), missed


def test_whether_a_case_is_special_does_not_depend_on_its_label():
    for case in CASES:
        labels = LABEL_SETS[case["label_set"]]
        verdicts = [judge.judge_one(case["prediction"], label, labels) for label in labels]
        kinds = {verdict.special if verdict.score is None else None for verdict in verdicts}
        assert len(kinds) == 1, case["prediction"]


def test_verdicts_do_not_depend_on_order_or_repetition():
    cases = [Case(c["prediction"], c["label"], LABEL_SETS[c["label_set"]]) for c in CASES]
    once, again = RuleJudge().judge(cases), RuleJudge().judge(cases[::-1])[::-1]
    assert once == again == judge.judge(cases)


def test_a_plain_verdict_names_the_class_in_the_spelling_of_the_label_set():
    verdict = judge.judge_one("The speaker is overjoyed.", "joy", ("joy", "sadness", "neutral"))
    assert (verdict.score, verdict.predicted) == (1, "joy")


def test_a_special_verdict_says_what_it_may_be():
    assert judge.judge_one("angry or sad", "sad", EMOTION7).stated == ("angry", "sad")
    assert judge.judge_one("The speaker sounds excited.", "sad", EMOTION7).stated == ("happy",)
    assert judge.judge_one("The speaker sounds excited.", "sad", EMOTION7).predicted is None


@pytest.mark.parametrize(
    "answer, stated",
    {
        "The speaker was happy before growing sad.": "sad",
        "The speaker used to be angry, now calm.": "neutral",
        "No longer sad but happy.": "happy",
        "A once happy voice is now sad.": "sad",
        "The speaker was angry. Now she is happy.": "happy",
        "The speaker sounds sad. They used to be happy.": "sad",
        "The speaker was sad before the call.": "sad",
        "The voice sounded scared a moment ago, but is happy now.": "happy",
    }.items(),
)
def test_what_is_over_yields_to_what_is(answer, stated):
    assert judge.stated_labels(answer, EMOTION7) == ((stated,), None)


def test_a_change_within_the_clip_is_several_emotions():
    for answer in ("The voice goes from joy to anger.", "From joy to anger.", "Happy at first, then sad."):
        assert judge.stated_labels(answer, EMOTION7)[1] == "several_emotions"


def test_labels_of_the_users_own_are_found():
    verdict = judge.judge_one("The speaker sounds sleepy.", "sleepy", ("sleepy", "happy"))
    assert verdict.score == 1


def test_a_label_outside_the_set_is_an_error_not_a_zero():
    with pytest.raises(ValueError, match="'calm' is not in the label set"):
        judge.judge_one("calm", "calm", ("happy", "sad"))


def test_label_sets_that_name_a_class_twice_are_refused():
    with pytest.raises(ValueError, match="same class"):
        judge.judge_one("x", "joy", ("joy", "happy"))


def test_the_smallest_named_set_that_holds_the_labels_is_found_in_the_datas_spelling():
    assert find_label_set(["joy", "anger"])[0] == "emotion7"
    assert "joy" in find_label_set(["joy", "anger"])[1] and "happy" not in find_label_set(["joy", "anger"])[1]
    assert find_label_set(["calm", "sad"])[0] == "ravdess8"
    assert find_label_set(["frustrated", "excited"])[0] == "iemocap10"
    assert find_label_set(["positive", "neutral"])[0] == "sentiment"
    assert find_label_set(["sleepy", "happy"]) == ("data", ("happy", "sleepy"))


def test_every_word_that_corpora_use_as_a_label_means_its_concept():
    lexicon = load_lexicon()
    for word, adjective in lexicon.label_words.items():
        assert lexicon.concept(word) == lexicon.concept(adjective) is not None


def test_label_sets_are_chosen_by_name_or_listed():
    assert named_label_set("sentiment")[1] == ("positive", "negative", "neutral")
    assert named_label_set("happy, sad") == ("custom", ("happy", "sad"))
    with pytest.raises(ValueError, match="emotion9"):
        named_label_set("emotion9")


def test_a_guess_with_a_question_mark_states_and_a_question_does_not():
    assert judge.judge_one("Possibly happy?", "happy", EMOTION7).score == 1
    assert judge.judge_one("Is the speaker happy?", "happy", EMOTION7).special == "no_emotion"


def test_an_unknown_judge_is_refused_by_name():
    with pytest.raises(ValueError, match="oracle"):
        load_judge("oracle")


def verdicts(*scores_and_stated):
    return [Verdict(s, "", stated, None if s is not None else "out_of_set") for s, stated in scores_and_stated]


def test_unscored_answers_are_counted_and_left_out_of_the_averages():
    labels = ("happy", "sad")
    judged = verdicts((1, ("happy",)), (None, ("happy",)), (None, ()), (0, ("happy",)))
    figures = emotion_figures(["happy", "happy", "happy", "sad"], judged, labels)
    assert figures["weighted_average"] == 50.0 and figures["unweighted_average"] == 50.0
    assert (figures["n_scored"], figures["n_unscored"], figures["special"]) == (2, 2, {"out_of_set": 2})
    assert figures["if_unscored_wrong"]["weighted_average"] == 25.0
    assert figures["if_unscored_right"]["weighted_average"] == 50.0
    assert figures["confusion"]["counts"] == [[1, 0, 0, 2], [1, 0, 0, 0]]


def test_averages_weigh_by_class_or_by_answer():
    labels = ("happy", "sad")
    judged = verdicts((1, ("happy",)), (1, ("happy",)), (1, ("happy",)), (0, ("happy",)))
    figures = emotion_figures(["happy", "happy", "happy", "sad"], judged, labels)
    assert (figures["weighted_average"], figures["unweighted_average"]) == (75.0, 50.0)


def test_nothing_scored_gives_no_average_rather_than_zero():
    figures = emotion_figures(["sad"], verdicts((None, ())), ("happy", "sad"))
    assert figures["weighted_average"] is None and figures["unweighted_average"] is None
    assert figures["if_unscored_wrong"]["weighted_average"] == 0.0


def test_answers_that_are_wrong_by_an_overlapping_class_are_counted():
    labels = ("happy", "excited", "sad")
    near = Verdict(0, "states excited; the label is happy.", ("excited",), OVERLAPPING)
    figures = emotion_figures(
        ["happy", "happy", "sad"], [near, Verdict(1, "", ("happy",)), Verdict(0, "", ("happy",))], labels
    )
    assert (figures["n_overlapping"], figures["n_right"], figures["n_unscored"]) == (1, 1, 0)
    assert figures["overlapping"] == pytest.approx(100 / 3)
    assert figures["confusion"]["counts"][0] == [1, 1, 0, 0, 0]  # excited, not "no class named"


def test_a_language_model_that_judges_all_does_not_tell_of_overlapping_classes():
    figures = emotion_figures(["happy"], [Verdict(0, "no.", judge="llm:m")], ("happy", "sad"))
    assert figures["overlapping"] is None


@pytest.mark.parametrize(
    "piece", ["\nthe ", "that ", "not ", "'", '"', "<think>", "too x to ", '{"a":', "no emotion can "]
)
def test_a_long_answer_takes_as_much_longer_as_it_is(piece):
    def seconds(length: int) -> float:
        text, taken = piece * (length // len(piece)), []
        for _ in range(3):
            began = time.process_time()
            RuleJudge().judge_one(text, "sad", ("sad", "happy", "neutral"))
            taken.append(time.process_time() - began)
        return min(taken)

    # Four times as long takes four times as much, where a search that starts again at every word takes sixteen.
    assert seconds(40_000) < 9 * seconds(10_000) + 0.02


def test_an_answer_without_end_is_not_read():
    verdict = RuleJudge().judge_one("sad " * 20_000, "sad", ("sad", "happy", "neutral"))
    assert verdict.score is None and "longer than 50,000 characters" in verdict.reason


def test_the_rule_counts_overlapping_classes_as_wrong_and_marks_them():
    labels = ("angry", "excited", "frustrated", "happy", "sad")
    judge = RuleJudge()
    for said, label in (("excited", "happy"), ("happy", "excited"), ("frustrated", "angry")):
        verdict = judge.judge_one(f"The speaker sounds {said}.", label, labels)
        assert (verdict.score, verdict.special, verdict.predicted) == (0, OVERLAPPING, said)
    assert judge.judge_one("The speaker sounds sad.", "happy", labels).special is None
    assert judge.judge_one("The speaker sounds happy.", "happy", labels) == Verdict(
        1, "states happy; the label is happy.", ("happy",)
    )
