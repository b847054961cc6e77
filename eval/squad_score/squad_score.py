"""Spoken question answering by word overlap: SQuAD's exact match and token F1."""

from collections import Counter

import datasets
import evaluate

from audiollm.eval.normalizers import normalize_squad


_DESCRIPTION = """
Exact match and token F1 of answers, as SQuAD defines them: after lower-casing and removing punctuation, articles and
extra spaces. A right answer in a long sentence has a low F1: this is word overlap, no judgement of meaning. The
paper's SQA figure is a language model's rating from 0 to 5: another figure, which `sqa_judge` gives.
"""

_INPUTS = """
Args:
    predictions (list of str): answers.
    references (list of str): right answers.
Returns:
    squad_exact_match: answers equal to the reference after normalisation, in percent.
    squad_f1: mean of the answers' token F1, in percent.
    contains_reference: answers that hold the reference as a run of words, in percent.
    n: number of answers.
Example:
    >>> squad = evaluate.load("eval/squad_score")
    >>> squad.compute(predictions=["the red car"], references=["Red car."])["squad_exact_match"]
    100.0
"""

_CITATION = """
@inproceedings{rajpurkar2016squad,
    title = {{SQ}u{AD}: 100,000+ Questions for Machine Comprehension of Text},
    author = {Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy},
    booktitle = {EMNLP},
    year = {2016}
}
"""


class SquadScore(evaluate.Metric):
    """Exact match and token F1 as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://rajpurkar.github.io/SQuAD-explorer/"],
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict:
        return squad_figures(predictions, references)


def squad_figures(predictions: list[str], references: list[str]) -> dict:
    """Exact match and token F1 over answers, as described for the module."""
    pairs = [(normalize_squad(p), normalize_squad(r)) for p, r in zip(predictions, references)]
    return {
        "squad_exact_match": _mean([prediction == reference for prediction, reference in pairs]),
        "squad_f1": _mean([token_f1(prediction, reference) for prediction, reference in pairs]),
        "contains_reference": _mean([f" {reference} " in f" {prediction} " for prediction, reference in pairs]),
        "n": len(pairs),
    }


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of token precision and recall in [0, 1] of two normalised texts; two empty texts are equal."""
    predicted, right = prediction.split(), reference.split()
    if not predicted or not right:
        return float(predicted == right)
    common = sum((Counter(predicted) & Counter(right)).values())
    return 2 * common / (len(predicted) + len(right))


def _mean(values: list) -> float | None:
    return 100 * sum(values) / len(values) if values else None
