"""What answers are rewarded with, as figures: mean and spread of each reward."""

import statistics

import datasets
import evaluate

from audiollm.rewards.registry import load_rewards


_DESCRIPTION = """
Rewards for explanations that can be verified, each from 0 to 1: `label` (the emotion is right), `quotes_said` (what is
quoted was said), `quotes_enough` (it is neither a common word nor everything), `form`. See audiollm.rewards.
"""

_INPUTS = """
Args:
    predictions (list of str): explanations.
    references (list of str): transcripts of the recordings.
    labels (list of str): emotion or sentiment of each; None where there is none.
    tasks (list of str): `er` or `sr` for each; all `er` by default.
    rewards (dict): names, each with its options.
Returns:
    For each reward `mean` and `std` (None without values), and `n`, how many answers it judged.
Example:
    >>> score = evaluate.load("rewards/reward_score")
    >>> score.compute(predictions=['Sad: "I miss him".'], references=["I miss him."], labels=["sad"],
    ...     rewards={"quotes_said": {}})["quotes_said"]["mean"]
    1.0
"""


class RewardScore(evaluate.Metric):
    """Rewards as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references, labels=None, tasks=None, rewards=None) -> dict:
        many = len(predictions)
        rows = {"label": labels or [None] * many, "task": tasks or ["er"] * many, "transcript": references}
        figures = {}
        for name, reward in load_rewards(rewards or {"quotes_said": {}}, rows).items():
            values = [value for value in reward(completions=predictions, **rows) if value is not None]
            figures[name] = {
                "mean": statistics.fmean(values) if values else None,
                "std": statistics.pstdev(values) if values else None,
                "n": len(values),
            }
        return figures
