"""Of a reply that holds thoughts only the answer counts, whatever marks the thoughts, for all who read replies."""

import pytest

from audiollm.eval.judges import RuleJudge
from audiollm.eval.judges.ratings import read_rating
from audiollm.modeling_audiollm.replies import final_answer, without_thoughts
from audiollm.reasons.checks import clean_answer


@pytest.mark.parametrize(
    "reply",
    [
        "It is sad.",
        "<think>happy?</think>It is sad.",
        "<think>happy?</thinking>It is sad.",
        "<think >happy?</think >It is sad.",
        "<|channel|>final <|constrain|>text<|message|>It is sad.",
        "<think>\n\n</think>\n\nIt is sad.",
        "happy? no</think>\nIt is sad.",
        "<thought>happy?</thought> It is sad.",
        "<Thinking>happy? <summary>h</summary></Thinking> It is sad.",
        "<seed:think>happy?</seed:think>It is sad.",
        "[THINK]happy?[/THINK]It is sad.",
        "happy?[/THINK]It is sad.",
        "\u25c1think\u25b7happy?\u25c1/think\u25b7It is sad.",
        "<|START_THINKING|>happy?<|END_THINKING|>It is sad.",
        "<|begin_of_thought|>happy?<|end_of_thought|>It is sad.",
        "<|channel>thought\nhappy?<channel|>It is sad.",
        "<|channel|>analysis<|message|>happy?<|end|><|start|>assistant<|channel|>final<|message|>It is sad.<|return|>",
        "analysisWe ask: happy?assistantfinalIt is sad.",
        "<think>close </think> here? happy</think>It is sad.",
        "<reasoning>a <think>b</think> c</reasoning>It is sad.",
    ],
)
def test_thoughts_come_off(reply):
    assert without_thoughts(reply) == final_answer(reply) == clean_answer(reply) == "It is sad."
    assert RuleJudge().judge_one(reply, "sad", ("happy", "sad")).score == 1


@pytest.mark.parametrize(
    "reply",
    [
        "<think>I wonder whether they are happ",
        "<think>one</think><think>two",
        "<|channel|>analysis<|message|>They sound happ",
        "analysisWe need to decide whether they are happ",
        "[THINK]They sound",
        "",
    ],
)
def test_a_reply_that_ends_in_its_thoughts_has_no_answer(reply):
    assert final_answer(reply) == clean_answer(reply) == ""
    assert RuleJudge().judge_one(reply, "happy", ("happy", "sad")).score == 0
    assert read_rating(reply, 5).failure == "no_verdict"


@pytest.mark.parametrize(
    "text",
    ["I think they are sad.", "analysis of the voice: sad", "[reasoning] sad", "a final: sad", "1 < 2 > 1"],
)
def test_ordinary_text_is_left_alone(text):
    assert without_thoughts(text) == text
