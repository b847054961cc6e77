"""Rewards: what each gives, on what they judge nothing, and how they are chosen."""

from pathlib import Path

import evaluate
import numpy as np
import pytest
import soundfile
from datasets import Dataset

from audiollm.eval import EvalError
from audiollm.eval.judges import Rating, RuleJudge
from audiollm.rewards import REWARDS, CuesTrue, JudgeReward, form, label, load_rewards, quotes_enough, quotes_said
from audiollm.rewards.registry import needs_of
from audiollm.training.grpo import report_rewards
from audiollm.training.reward_checks import CheckedReward
from audiollm.training.strict import ConfigError


SAID = "i lost my dear old dog on the way home last night"


@pytest.mark.parametrize(
    ("answer", "value", "partly"),
    [
        ("The speaker sounds sad.", 1.0, 1.0),
        ('They say "i am so happy", but the speaker is sad.', 1.0, 1.0),
        ("The speaker sounds angry.", 0.0, 0.25),
        ("The speaker sounds happy.", 0.0, 0.0),
        ("The speaker sounds neutral.", 0.0, 0.0),
        ("The speaker sounds sad and happy.", 0.0, 0.0),
        ("I cannot tell.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_a_label_is_rewarded_as_the_rule_reads_it(answer, value, partly):
    sets = {"er": ("neutral", "happy", "sad", "angry")}
    given = {"label": ["sad"], "task": ["er"], "label_sets": sets}
    assert label([answer], **given) == [value]
    assert label([[{"role": "assistant", "content": answer}]], **given) == [value]
    assert label([answer], **given, partial=True) == [partly]


def test_classes_that_people_hardly_tell_apart_are_half_right():
    given = {"label": ["happy"], "task": ["er"], "label_sets": {"er": ("happy", "excited", "sad")}}
    assert label(["The speaker is excited."], **given, partial=True) == [0.5]


def test_rows_without_label_or_of_other_tasks_are_not_judged():
    assert label(["sad"] * 3, label=["sad", None, "yes"], task=["er", "er", "sqa"]) == [1.0, None, None]
    assert form(["sad"] * 2, label=[None, "x"], task=["er", "asr"]) == [None, None]


@pytest.mark.parametrize(
    ("answer", "said", "enough"),
    [
        (f'Sad: "{SAID}".', 1.0, 0.0),
        ('Sad: "my dear old dog".', 1.0, 1.0),
        ('Sad: "i lost my dear old cat on the way".', 8 / 9, 1.0),
        ('Sad: "dog".', 1.0, 0.0),
        ('Sad: "i" and "on the".', 1.0, 0.0),
        ('Sad: "my new red bicycle".', 0.0, 0.0),
        ('Sad: "my dear old dog", "my new red bicycle".', 0.5, 1.0),
        ("Sad: I lost my dear old dog.", 0.0, 0.0),
    ],
)
def test_quotes_are_rewarded_for_being_said_and_for_telling_something(answer, said, enough):
    assert quotes_said([answer], transcript=[SAID]) == [pytest.approx(said)]
    assert quotes_enough([answer], transcript=[SAID]) == [enough]


def test_short_speech_may_be_quoted_whole():
    assert quotes_enough(['"my dog died"', '"help"'], transcript=["my dog died", "help"]) == [1.0, 1.0]


@pytest.mark.parametrize("reward", [quotes_said, quotes_enough])
def test_only_rows_that_ask_for_evidence_and_have_a_transcript_are_judged_by_their_quotes(reward):
    given = {"transcript": [SAID, SAID, None, ""], "target": ["evidence", "label", "evidence", "evidence"]}
    values = reward(['"my dear old dog"'] * 4, **given)
    assert values == [1.0, None, None, None]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('The speaker sounds sad. They say "my dear old dog".', 1.0),
        ('They say "my dear old dog". The speaker sounds sad.', 0.5),
        ("The speaker sounds sad. " + "They speak slowly and low. " * 20, 0.5),
        ("Sad.", 0.5),
        ("", 0.0),
    ],
)
def test_form_wants_the_label_first_and_a_fit_length(answer, value):
    assert form([answer], label=["sad"], task=["er"]) == [value]


class Rates(RuleJudge):
    """Rates by the number of words, and has nothing to say of an answer that asks for silence."""

    name = "words"

    def __init__(self):
        self.asked = []

    def rate(self, what, items):
        self.asked += [item.fields["answer"] for item in items]
        gone = Rating(None, "the judge could not be asked", "no_reply")
        return [
            gone if "silence" in item.fields["answer"] else Rating(min(2, len(item.fields["answer"].split())), "")
            for item in items
        ]


def test_a_judge_is_asked_once_for_each_answer_and_unscored_is_none():
    judge = Rates()
    reward = JudgeReward(judge)
    given = {"transcript": ["x"] * 4 + [None], "id": ["a", "a", "b", "a", "c"], "question": ["?"] * 5}
    answers = ["one", "one", "one two three", "silence", "one"]
    assert reward(answers, **given) == [0.5, 0.5, 1.0, None, None]
    assert reward(answers, **given) == [0.5, 0.5, 1.0, None, None]
    assert judge.asked == ["one", "one two three", "silence", "silence"]


def test_rows_of_two_corpora_with_the_same_id_are_judged_each_by_what_was_said():
    judge = Rates()
    JudgeReward(judge)(["so"] * 3, transcript=["lost", "won", "lost"], question=["how?"] * 3, id=["1"] * 3)
    assert len(judge.asked) == 2


def test_a_judge_that_rates_nothing_is_refused():
    with pytest.raises(EvalError, match="judge rule rates no relevance"):
        JudgeReward("rule")
    with pytest.raises(EvalError, match="not 'sqa'"):
        JudgeReward(Rates(), "sqa")


def test_claims_about_the_voice_are_rewarded_if_the_clip_bears_them_out(tmp_path):
    time = np.arange(16_000) / 16_000
    audio = []
    for hertz in (150, 150, 150, 150, 150, 250):
        audio.append({"path": str(tmp_path / f"{len(audio)}.wav"), "bytes": None})
        soundfile.write(audio[-1]["path"], 0.3 * np.sin(2 * np.pi * hertz * time), 16_000)
    rows = {"audio": audio, "speaker": ["a"] * 6, "transcript": [None] * 6}
    reward = CuesTrue(rows)
    answers = ["The voice is high.", "The voice is low.", "The voice is high, and not loud.", "The speaker is sad."]
    high = {"audio": [audio[-1]] * 4, "speaker": ["a", "a", "new", "a"], "transcript": [None] * 4}
    assert reward(answers, **high) == [1.0, 0.0, 1.0, None]
    assert reward(answers[:1], audio=audio[:1], speaker=["a"], transcript=[None]) == [0.0]
    assert reward([answers[0]], audio=[None], speaker=["a"], transcript=[None]) == [None]


ROWS = {
    "audio": [None] * 3,
    "speaker": [None] * 3,
    "id": ["a", "b", "c"],
    "task": ["er", "er", "asr"],
    "label": ["sad", "happy", None],
    "transcript": [SAID, None, SAID],
    "target": ["evidence"] * 3,
}


def test_rewards_are_loaded_by_name_with_the_label_sets_of_the_rows():
    loaded = load_rewards({"label": {"partial": True}, "quotes_said": {}}, ROWS)
    assert loaded["label"](completions=["They sound angry."] * 3, **ROWS) == [0.25, 0.0, None]
    assert loaded["label"].needs == ("label", "task") and loaded["quotes_said"].needs == ("transcript",)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"lable": {}}, "rewards: lable is unknown; did you mean label"),
        ({"label": {"partialy": True}}, "options of label.partialy is unknown; did you mean partial"),
        ({"judge": {"judge": "rule"}}, "rewards: judge: judge rule rates no relevance"),
        ({"judge": {}}, "rewards: judge: .*missing 1 required"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused_by_name(chosen, message):
    with pytest.raises(ConfigError, match=message):
        load_rewards(chosen, ROWS)


def test_the_plan_says_which_rows_a_reward_cannot_judge():
    loaded = load_rewards({"label": {}, "quotes_said": {}}, ROWS)
    rewards = [CheckedReward(name, reward) for name, reward in loaded.items()]
    assert report_rewards(rewards, [1.0, 0.5], Dataset.from_dict(ROWS)) == [
        "reward label x 1: 2 of 3 rows; 1 have no label",
        "reward quotes_said x 0.5: 2 of 3 rows; 1 have no transcript",
    ]
    asked = Dataset.from_dict({**ROWS, "target": ["label", "evidence", None]})
    assert report_rewards(rewards, [1.0, 0.5], asked)[1:] == [
        "reward quotes_said x 0.5: 1 of 3 rows; 1 ask for no evidence; 1 have no transcript",
    ]


@pytest.mark.parametrize("name", [name for name in REWARDS if name not in ("judge", "cues_true")])
def test_what_a_reward_needs_is_what_it_judges_nothing_without(name):
    for column in {*needs_of(REWARDS[name])} - {"task"}:
        row = {"label": ["sad"], "transcript": [SAID], "task": ["er"]} | {column: [None]}
        assert REWARDS[name](completions=['Sad: "my dear old dog".'], **row) == [None]


def test_rewards_are_figures_of_an_evaluate_module(tmp_path):
    score = evaluate.load(str(Path(__file__).parents[1] / "rewards" / "reward_score"), cache_dir=str(tmp_path))
    figures = score.compute(
        predictions=['Sad: "my dear old dog".', "Happy."],
        references=[SAID, SAID],
        labels=["sad", "sad"],
        rewards={"quotes_said": {}, "label": {}},
    )
    assert figures == {
        "quotes_said": {"mean": 0.5, "std": 0.5, "n": 2},
        "label": {"mean": 0.5, "std": 0.5, "n": 2},
    }
