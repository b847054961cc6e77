"""Emotion and sentiment recognition from free-text answers, decided by a judge."""

from collections.abc import Sequence

import datasets
import evaluate

from audiollm.eval.judges import Case, RuleJudge, Verdict, load_judge
from audiollm.modeling_audiollm.emotion_lexicon import find_label_set, named_label_set, spell_label


UNSCORED, UNNAMED = "unscored", "no class named"

_DESCRIPTION = """
Accuracy of emotion (or sentiment) answers given as free text. A judge decides each answer: right, wrong or unscored.
Unscored answers (the judge's special cases and failures) are no zeros: they are counted and left out of the averages,
and the averages are given twice more, with the unscored taken as wrong and as right wherever they could be.
"""

_INPUTS = """
Args:
    predictions (list of str): answers, any text.
    references (list of str): labels.
    labels (str or list of str): the label set: "emotion7", "ravdess8", "iemocap10", "sentiment", or a list. Left out:
        the smallest named set that holds all references.
    judge (str): "rule" (offline, deterministic); "llm:MODEL" or "hybrid:MODEL" (a language model judges all answers,
        or the rule's special cases only), where MODEL is a folder or "server:NAME@URL".
    questions (list of str): what was asked; a language model is shown it.
    prompts (str): the language model's rubric: "audiollm" or "audiobench".
    journal (str): file that keeps its verdicts, so that none is asked for twice.
Returns:
    weighted_average: right answers among the scored ones, in percent (accuracy; a class weighs as often as it occurs).
    unweighted_average: mean over classes of the share of right answers among the scored ones, in percent.
    if_unscored_wrong, if_unscored_right: the two averages over all answers, at worst and at best; at best an unscored
        answer is right only if the judge saw the label among what it states or comes near, or failed.
    overlapping: answers counted as wrong whose class overlaps with the right one (excited for happy), in percent of
        the scored ones; None if the judge does not tell.
    n, n_scored, n_unscored, n_right, n_overlapping; special: number of unscored answers by kind of special case,
        "judge_failed" for plain failures of the judge.
    per_class: for each label n, n_scored, n_right, accuracy, if_unscored_wrong, if_unscored_right.
    confusion: `rows` (labels), `columns` (labels, "no class named", "unscored") and `counts`.
    labels, label_set, judge.
Example:
    >>> judge = evaluate.load("eval/emotion_judge")
    >>> answers = ["The speaker sounds joyful.", "She is not sad but furious."]
    >>> judge.compute(predictions=answers, references=["happy", "sad"], labels="emotion7")["weighted_average"]
    50.0
"""

_CITATION = """
@inproceedings{zhang2025beyond,
    title = {Beyond Classification: Towards Speech Emotion Reasoning with Multitask {AudioLLM}s},
    author = {Zhang, Wenyu and He, Yingxu and Lin, Geyu and Liu, Zhuohan and Sun, Shuo and Wang, Bin and
        Zou, Xunlong and Wong, Jeremy H. M. and Wang, Qiongqiong and Sailor, Hardik B. and Chen, Nancy F. and
        Aw, Ai Ti},
    booktitle = {IJCNLP-AACL},
    year = {2025}
}
"""


class EmotionJudge(evaluate.Metric):
    """Judged emotion accuracy as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://aclanthology.org/2025.ijcnlp-long.62"],
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        labels=None,
        judge: str = "rule",
        questions: list[str] | None = None,
        prompts: str = "audiollm",
        journal: str | None = None,
    ) -> dict:
        if labels is None:
            name, labels = find_label_set(references)
        elif isinstance(labels, str):
            name, labels = named_label_set(labels)
        else:
            name = "custom"
        labels = tuple(labels)
        references = [spell_label(reference, labels) for reference in references]
        questions = questions or [""] * len(predictions)
        cases = [
            Case(prediction, reference, labels, question)
            for prediction, reference, question in zip(predictions, references, questions)
        ]
        figures = emotion_figures(references, load_judge(judge, prompts, journal).judge(cases), labels)
        return {**figures, "label_set": name, "judge": judge}


def emotion_figures(references: list[str], verdicts: list[Verdict], labels: tuple[str, ...]) -> dict:
    """Averages, counts and confusion matrix of judged answers, as described for the module.

    Args:
        references: labels, each spelled as in `labels`.
        verdicts: one per reference.
        labels: the label set, in the order of the confusion matrix.
    """
    of_class = {label: [] for label in labels}
    for reference, verdict in zip(references, verdicts):
        of_class[reference].append(verdict)
    per_class = {label: _class_figures(label, of_class[label]) for label in labels}
    special = [verdict.special or "judge_failed" for verdict in verdicts if verdict.score is None]
    told = [verdict.overlaps for verdict in verdicts if verdict.overlaps is not None]
    columns = [*labels, UNNAMED, UNSCORED]
    counts = {label: dict.fromkeys(columns, 0) for label in labels}
    for reference, verdict in zip(references, verdicts):
        counts[reference][_column(verdict, reference, labels)] += 1
    return {
        **_averages(per_class, "n_scored", "n_right"),
        "if_unscored_wrong": _averages(per_class, "n", "n_right"),
        "if_unscored_right": _averages(per_class, "n", "n_possible"),
        "n": len(verdicts),
        "n_scored": len(verdicts) - len(special),
        "n_unscored": len(special),
        "n_right": sum(verdict.score == 1 for verdict in verdicts),
        "n_overlapping": sum(told),
        "overlapping": _percent(sum(told), len(told)),
        "special": {kind: special.count(kind) for kind in sorted(set(special))},
        "per_class": per_class,
        "confusion": {"rows": list(labels), "columns": columns, "counts": [[*counts[row].values()] for row in labels]},
        "labels": list(labels),
    }


def mismatch_figures(rows: Sequence[dict], verdicts: Sequence[Verdict], labels: tuple[str, ...]) -> dict:
    """What answers follow where the words say one emotion and the voice another.

    Args:
        rows: with `label`, `prediction`, `words_label` and `voice_label`; those without the last two, or with the same
            in both, are left out.
        verdicts: one per row.
        labels: the label set.

    Returns:
        follows_voice, follows_words: in percent of all these answers; n. Empty if there are no such rows.
    """
    told = [mismatch(row, verdict, labels) for row, verdict in zip(rows, verdicts)]
    followed = [found for found in told if found is not None]
    if not followed:
        return {}
    shares = {f"follows_{what}": _percent(followed.count(what), len(followed)) for what in ("voice", "words")}
    return {**shares, "n": len(followed)}


def mismatch(row: dict, verdict: Verdict, labels: tuple[str, ...]) -> str | None:
    """`voice`, `words` or `neither`: what an answer follows; None for a row that has no two different emotions."""
    if not row.get("words_label") or not row.get("voice_label"):
        return None
    emotions = {what: spell_label(row[f"{what}_label"], labels) for what in ("words", "voice")}
    if emotions["words"] == emotions["voice"]:
        return None
    named = _named(row, verdict, labels)
    return next((what for what, label in emotions.items() if label == named), "neither")


def _named(row: dict, verdict: Verdict, labels: tuple[str, ...]) -> str | None:
    """The class that an answer names: the label where it was judged right, and never where it was judged wrong."""
    label = spell_label(row["label"], labels)
    if verdict.score == 1:
        return label
    if verdict.stated or verdict.special:
        return verdict.predicted
    # A language model's verdict names no class.
    read = RuleJudge().judge_one(row["prediction"], label, labels).predicted
    return None if verdict.score == 0 and read == label else read


def _class_figures(label: str, verdicts: list[Verdict]) -> dict:
    scored = [verdict.score for verdict in verdicts if verdict.score is not None]
    unscored = [verdict for verdict in verdicts if verdict.score is None]
    possible = sum(label in verdict.stated or verdict.failure is not None for verdict in unscored)
    right = scored.count(1)
    return {
        "n": len(verdicts),
        "n_scored": len(scored),
        "n_right": right,
        "n_possible": right + possible,
        "accuracy": _percent(right, len(scored)),
        "if_unscored_wrong": _percent(right, len(verdicts)),
        "if_unscored_right": _percent(right + possible, len(verdicts)),
    }


def _averages(per_class: dict, total: str, right: str) -> dict:
    shares = [100 * figures[right] / figures[total] for figures in per_class.values() if figures[total]]
    totals = sum(figures[total] for figures in per_class.values())
    return {
        "weighted_average": _percent(sum(figures[right] for figures in per_class.values() if figures[total]), totals),
        "unweighted_average": sum(shares) / len(shares) if shares else None,
    }


def _column(verdict: Verdict, reference: str, labels: tuple[str, ...]) -> str:
    if verdict.score is None:
        return UNSCORED
    if verdict.score == 1:  # a language model's verdict names no class
        return reference
    return verdict.predicted if verdict.predicted in labels else UNNAMED


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
