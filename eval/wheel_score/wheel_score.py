"""Open vocabulary: which emotions an answer names, grouped on a wheel, beside those of the reference."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

from audiollm.eval.wheel import wheel_score


_DESCRIPTION = """
Emotion words of an answer, whatever the label set, grouped into the sectors of a wheel of emotions (wheel.json),
beside the sectors of the reference's words: precision, recall and F1 of each answer, and their means over answers. An
answer that names several emotions, or others than the label set has, is scored too, unlike by a closed set. Denied,
quoted and past emotions are not named (as for the rule judge). Synonyms count as the same, so does annoyed for angry.
"""

_INPUTS = """
Args:
    predictions (list of str): answers.
    references (list of str): emotion words, several with commas; those that are on no wheel leave their answer out.
Returns:
    wheel_precision, wheel_recall, wheel_f1: means over answers, in percent.
    n: answers scored; n_off_wheel: those left out.
Example:
    >>> wheel = evaluate.load("eval/wheel_score")
    >>> wheel.compute(predictions=["Glad and a bit scared."], references=["happy"])["wheel_recall"]
    100.0
"""

_CITATION = """
@incollection{plutchik1980general,
    title = {A general psychoevolutionary theory of emotion},
    author = {Plutchik, Robert},
    booktitle = {Theories of Emotion},
    year = {1980}
}
"""


class WheelScore(evaluate.Metric):
    """Open-vocabulary emotions as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict:
        return wheel_figures(predictions, references)


def wheel_figures(predictions: Sequence[str], references: Sequence[str]) -> dict:
    """Means over answers, as described for the module."""
    scores = [wheel_score(prediction, words) for prediction, words in zip(predictions, references)]
    kept = [score for score in scores if score is not None]
    means = [100 * sum(column) / len(kept) for column in zip(*kept)] if kept else [None] * 3
    names = ("wheel_precision", "wheel_recall", "wheel_f1")
    return {**dict(zip(names, means)), "n": len(kept), "n_off_wheel": len(scores) - len(kept)}
