"""Spoken question answering, rated from 0 to 5 by a language model."""

import datasets
import evaluate

from audiollm.eval import EvalError
from audiollm.eval.judges import JUDGE_FORMS, Item, load_judge
from audiollm.eval.judges.ratings import Rating, rating_figures


_DESCRIPTION = """
Answers to questions about recordings, rated by a language model from 0 (wrong) to 5 (all that the reference says);
the figure is the mean rating times 20, as in the paper and in AudioBench. Answers whose rating could not be had or
read are unscored: counted, and left out of the mean. Every rating is kept in a journal if one is given.
"""

_INPUTS = """
Args:
    predictions (list of str): answers.
    references (list of str): right answers.
    questions (list of str): what was asked.
    judge (str): "llm:MODEL", where MODEL is a folder or "server:NAME@URL".
    prompts (str): "audiollm" (our rubric) or "audiobench" (its levels and form of reply, in our words).
    journal (str): file that keeps the ratings, so that none is asked for twice.
Returns:
    judge_score: mean rating of the scored answers times 20, 0 to 100; None if none was scored.
    judge: score, n, n_scored, n_unscored, ratings (answers by rating), failures (unscored answers by kind).
Example:
    >>> sqa = evaluate.load("eval/sqa_judge")
    >>> said = {"predictions": ["red"], "references": ["It is red."], "questions": ["Which colour?"]}
    >>> sqa.compute(**said, judge="llm:server:llama-3-70b@http://127.0.0.1:8000/v1")["judge_score"]
    100.0
"""

_CITATION = """
@article{wang2024audiobench,
    title = {{AudioBench}: A Universal Benchmark for Audio Large Language Models},
    author = {Wang, Bin and Zou, Xunlong and Lin, Geyu and Sun, Shuo and Liu, Zhuohan and Zhang, Wenyu and
        Liu, Zhengyuan and Aw, AiTi and Chen, Nancy F.},
    journal = {arXiv preprint arXiv:2406.16020},
    year = {2024}
}
"""
HIGHEST_RATING = 5


class SQAJudge(evaluate.Metric):
    """Judged answers as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {name: datasets.Value("string") for name in ("predictions", "references", "questions")}
            ),
            reference_urls=["https://arxiv.org/abs/2406.16020"],
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        questions: list[str],
        judge: str,
        prompts: str = "audiollm",
        journal: str | None = None,
    ) -> dict:
        if judge == "rule":
            raise EvalError(f"answers are rated by a language model only; give one of: {JUDGE_FORMS}.")
        items = [
            Item("", {"answer": prediction, "reference": reference, "question": question})
            for prediction, reference, question in zip(predictions, references, questions)
        ]
        return judged_answers(load_judge(judge, prompts, journal).rate("sqa", items))


def judged_answers(ratings: list[Rating]) -> dict:
    """Figures of a language model's ratings of answers, as described for the module."""
    figures = rating_figures(ratings, HIGHEST_RATING)
    return {"judge_score": figures["score"], "judge": figures}
