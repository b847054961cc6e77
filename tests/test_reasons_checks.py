"""An answer becomes a target only if it states its label, quotes what was said and explains in its own words."""

import json
import re
from pathlib import Path

import pytest

from audiollm.corpora.labels import SENTIMENTS
from audiollm.eval.judges import RuleJudge
from audiollm.modeling_audiollm.emotion_lexicon import load_lexicon
from audiollm.reasons.checks import FAULTS, Demand, Fault, clean_answer, find_faults
from audiollm.reasons.prompts import DEFAULT_PROMPTS, PromptError, read_prompts


SAID = "I can't believe it, we won the cup! Nobody thought we'd do it."
POSITIVE = {"task": "sr", "label": "positive"}
CASES = Path(__file__).parent / "data" / "rule_judge_cases.jsonl"
EMOTION7 = load_lexicon().label_sets["emotion7"]
LABELS = ("angry", "happy", "neutral", "sad", "surprised")


def demand(target="evidence", label="happy", task="er", said=SAID, **more):
    return Demand(target, task, label, said, (8, 60), more.pop("labels", LABELS), **more)


def codes(text, *args, **kwargs):
    return [fault.code for fault in find_faults(clean_answer(text), demand(*args, **kwargs))]


GOOD = 'The speaker sounds happy. They say "we won the cup", which is what they had hoped for.'


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (GOOD, {}),
        ('The speaker sounds joyful, because of the words "Nobody thought we\'d do it", said in triumph.', {}),
        ("The speaker sounds happy. They quote 'we won the cup' and see a hope come true.", {}),
        ("The speaker sounds happy. \u201cWE WON THE CUP\u201d is a cry of triumph over all who doubted.", {}),
        ('The speaker sounds happy, not angry: "we won the cup" is a cry of triumph.', {}),
        ('The speaker is happy because her angry rival lost: "we won the cup" says that it is over.', {}),
        ("The speaker sounds happy. A long hope has come true against all odds.", {"target": "interpretive"}),
        ('The speaker sounds happy and excited. "we won the cup" is a cry of triumph.', {}),
        ('The sentiment is positive. The words "we won the cup" praise what happened.', POSITIVE),
        ('The speaker sounds homesick. The words "we won the cup" hide a longing for home.', {"label": "homesick"}),
        ("The speaker sounds happy. Nothing is said, but the silence is a content one.", {"said": ""}),
        ("The speaker sounds happy. Nothing is said, but the silence is a content one.", {"said": " ... "}),
        ("<think>It must be sad.</think> Answer: " + GOOD, {}),
    ],
)  # fmt: skip
def test_a_good_answer_is_accepted(text, asked):
    assert codes(text, **asked) == []


@pytest.mark.parametrize(
    ("text", "code", "asked"),
    [
        ("", "empty", {}),
        (" \n ...", "empty", {}),
        ("I'm sorry, but I cannot help with that, as the speech is private to the speaker.", "refusal", {}),
        ("As an AI language model I hear no happy voice in the words that are given here.", "refusal", {}),
        (GOOD.replace("happy", "fine"), "no_label", {}),
        (GOOD.replace("happy", "sad"), "no_label", {}),
        (GOOD.replace("happy", "sad"), "other_label", {}),
        (GOOD.replace("sounds happy", "does not sound happy"), "no_label", {}),
        (GOOD.replace("happy", "happy and surprised"), "other_label", {}),
        (GOOD.replace("happy", "sad rather than happy"), "no_label", {}),
        (GOOD + " Overall the speaker feels sad.", "other_label", {}),
        ('The speaker sounds "happy". They say "we won the cup", as they had hoped.', "no_label", {}),
        ('The speaker sounds happy. "we won the cup" comes from someone who shouts. She is excited.',
         "other_label", {"labels": (*LABELS, "excited")}),
        ("The speaker sounds happy. They tell of a victory that they had hoped for.", "no_quote", {}),
        ('The speaker sounds happy. They say "we lost the cup", which is what they hoped for.', "quote_not_said", {}),
        (GOOD + ' Also "we won" and "the big cup".', "quote_not_said", {}),
        ('The speaker sounds happy. They say "we won the cub" as they had always hoped.', "quote_not_said", {}),
        ("The speaker sounds happy.", "too_short", {}),
        ('The speaker sounds happy. "we won the cup"', "too_short", {}),
        (GOOD + " It is good" * 30 + ".", "too_long", {}),
        (GOOD[:-1] + " and", "unfinished", {}),
        ('El hablante suena happy. Dice "we won the cup" porque estaba esperando con muchas ganas.', "language", {}),
        ("The speaker sounds happy. " + "\u56e0\u4e3a\u4ed6\u4eec\u8d62\u4e86" * 3 + ".", "language", {}),
        (GOOD + " It is a good, good, good, good, good, good, good day.", "repetitive", {}),
        ("The speaker sounds happy. They won and they feel it. They won and they feel it.", "repetitive", {}),
        (GOOD + " The transcript says so.", "meta", {}),
        ("Here is the answer. " + GOOD, "meta", {}),
        ("- " + GOOD, "markup", {}),
        (GOOD + " </speech>", "markup", {}),
        ("**" + GOOD + "**", "markup", {}),
        ('The sentiment is positive. "we won the cup" is said by one who knows. She is sad.', "other_label", POSITIVE),
        ('The sentiment is neutral or positive. "we won the cup" is what happened to them.', "other_label", POSITIVE),
        ("The speaker sounds happy. A wish of many years has now come true.", "copied",
         {"target": "interpretive", "examples": ("The speaker sounds sad. A wish of many years has now gone by.",)}),
    ],
)  # fmt: skip
def test_a_fault_is_found(text, code, asked):
    assert code in codes(text, **asked)


def test_a_fault_says_what_it_found():
    (fault,) = find_faults(GOOD.replace("we won the cup", "we lost"), demand())
    assert (fault.code, fault.detail) == ("quote_not_said", "we lost")


def test_a_near_emotion_may_stand_beside_its_label_only_where_the_set_lacks_it():
    text = 'The speaker sounds angry and annoyed. "Nobody thought we\'d do it" is said as a reproach.'
    assert codes(text, label="angry") == []
    assert codes(text, label="angry", labels=(*LABELS, "frustrated")) == ["other_label"]


def test_words_of_an_example_that_the_speech_has_too_are_no_copy():
    examples = ('The speaker sounds sad. They say that nobody thought we would do it. "we won"',)
    said = "nobody thought we would do it"
    text = "The speaker sounds happy. Somehow nobody thought we would do it, and yet it is done."
    assert codes(text, "interpretive", said=said, examples=examples) == []
    assert codes(text, "interpretive", said="it is done", examples=examples) == ["copied"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The speaker sounds happy. We won the cup, nobody thought we'd do it.", ["parroted"]),
        ("The speaker sounds happy. They won the cup! Nobody thought we'd do it.", ["parroted"]),
        ("The speaker sounds happy. Nobody thought that they would win, and so they rejoice.", []),
        ("The speaker sounds happy. They won the cup, which means all the world to them today.", []),
        ('The speaker sounds happy. "it, we won the cup! Nobody thought" says who doubted this before.', []),
    ],
)
def test_the_speech_again_without_a_word_of_explanation_is_parroted(text, found):
    assert codes(text, "interpretive") == found


def test_characters_that_no_text_has_are_dropped():
    assert clean_answer("a\x00b\ud800c\ufffd\n") == "abc"


def test_acceptance_reads_as_the_judge_does():
    judge = RuleJudge()
    for case in map(json.loads, CASES.read_text(encoding="utf-8").splitlines()):
        if (case["label_set"], case["kind"], case["expected"]) == ("emotion7", "plain", 1):
            (stated,) = judge.judge_one(case["prediction"], case["label"], EMOTION7).stated
            for other in set(EMOTION7) - {stated}:
                assert {"no_label", "other_label"} & set(codes(case["prediction"], label=other, labels=EMOTION7))


@pytest.mark.parametrize(
    ("text", "label", "code"),
    [
        # A prediction that hedges and then decides is decided; a target that hedges would teach to hedge.
        ("I cannot be certain, but the speaker sounds angry.", "angry", "refusal"),
        # A prediction may quote its answer; a target's quotes are the speaker's words.
        ("The emotion is 'angry'.", "angry", "no_label"),
        # A prediction of the sentiment may name an emotion; a target states its label in so many words.
        ("The speaker sounds furious.", "negative", "no_label"),
    ],
)
def test_acceptance_is_stricter_than_the_judge_where_a_target_would_teach_a_fault(text, label, code):
    labels = SENTIMENTS if label in SENTIMENTS else EMOTION7
    assert RuleJudge().judge_one(text, label, labels).score == 1
    assert code in codes(text, label=label, labels=labels, task="sr" if label in SENTIMENTS else "er")


def test_labels_that_mean_the_same_are_one_label():
    assert codes(GOOD, labels=("joy", "happy", "sad")) == codes(GOOD, label="joy", labels=("happy", "sad")) == []


def test_every_fault_has_a_hint_for_the_teacher():
    prompts = read_prompts()
    for code in FAULTS:
        plain, hinted = (prompts.messages("evidence", "er", "sad", "x", faults) for faults in ([], [Fault(code)]))
        assert hinted[:-1] == plain[:-1] and len(hinted[-1]["content"]) > len(plain[-1]["content"]) + 40


def test_a_prompt_file_without_a_hint_is_refused_before_anything_is_asked(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(re.sub("  parroted: .*\n", "", DEFAULT_PROMPTS.read_text()))
    with pytest.raises(PromptError, match="mine.yaml: field 'parroted' is missing"):
        read_prompts(path)
