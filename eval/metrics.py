"""The metrics: what each counts in a row, how the counts come to a figure, and where the figure stands in results.

Tables, intervals, tests, the report, model cards and the comparison with the paper read this list. A new metric is one
entry here; its figure is written into `results.json` by [`figures_of`](figures.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..corpora.schema import EMOTION_TASKS
from ..modeling_audiollm.emotion_lexicon import spell_label
from ..modeling_audiollm.evidence import find_quotes, ground_quote
from . import EvalError
from .cue_score.cue_score import counts_of
from .emotion_judge.emotion_judge import mismatch
from .evidence_score.evidence_score import JUDGED
from .figures import HIGHEST
from .judges import Verdict
from .normalizers import normalize_squad
from .results import Run
from .squad_score.squad_score import token_f1
from .statistics import Statistic, ratio, unweighted_average, weighted_average
from .wer.wer import word_errors
from .wheel import wheel_score


TASK_NAMES = {"er": "emotion", "sr": "sentiment", "asr": "transcription", "sqa": "question answering"}


@dataclass(frozen=True)
class Metric:
    """A figure that is a function of sums over rows.

    Args:
        name: its own.
        tasks: of its rows; of several, only those that ask for evidence count, where any do.
        path: of the figure in `figures` of the results.
        heading: in tables.
        counts: for a run and rows, `[rows, k]`: what each row adds to the sums; NaN where it is unscored.
        statistic: of the sums.
        higher_is_better: which way is up.
        highest: of its range, which begins at 0; None if it has no end.
        binary: whether each row is just right or wrong.
        grouped, tested: whether it stands in the tables by groups, and is tested for significance.
        headline: whether it is the figure that the paper gives for the task.
        title: in words, at the top of reports and after an evaluation; empty for a figure that is not there.
        note: what a reader of tables must know.
        hub: its name among the Hub's metrics, and in words.
        conditions: what must be known beside the figure: `judge`, `labels`, `normalizer`.
    """

    name: str
    tasks: tuple[str, ...]
    path: tuple[str, ...]
    heading: str
    counts: Callable[[Run, Sequence[dict[str, Any]]], np.ndarray]
    statistic: Statistic = ratio
    higher_is_better: bool = True
    highest: float | None = 100
    binary: bool = False
    grouped: bool = False
    tested: bool = True
    headline: bool = False
    title: str = ""
    note: str = ""
    hub: tuple[str, str] | None = None
    conditions: tuple[str, ...] = ()

    def value(self, figures: dict[str, Any], part: str | None = None) -> float | None:
        """The figure in a run's (or group's) `figures`, None if it is not there.

        Args:
            figures: `figures` of results, or of a group in them.
            part: of evidence figures: `evidence` (rows that ask for it) or `all`; when left out, the first that is
                there.
        """
        found: Any = figures
        for key in self.path:
            found = found.get(key) if isinstance(found, dict) else None
            if key == "evidence" and found:
                found = found.get(part or evidence_part(figures))
        return found

    def added(self, run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        """What each row adds to the sums, as `counts`; in a run that was shared without words, as it was then."""
        if run.counts is None:
            return self.counts(run, rows)
        kept = run.counts.get(shared_as(self))
        if kept is None:  # none of its rows, or a metric of later
            return np.full((len(rows), 2), np.nan)
        lacking = [row["id"] for row in rows if row["id"] not in kept]
        if lacking:
            raise EvalError(
                f"{run.folder} was shared without words, and without what {len(lacking)} rows add to {self.name} "
                f"(first: {lacking[0]}): share the run again."
            )
        return np.array([kept[row["id"]] for row in rows], float).reshape(len(rows), -1)

    def rows(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows that the figure is of."""
        rows = [row for row in rows if row["task"] in self.tasks]
        asked = [row for row in rows if row.get("target") == "evidence"]
        return asked if asked and self.path[0] == "evidence" else rows


def evidence_part(figures: dict[str, Any]) -> str:
    """Which explanations evidence figures are of: those of rows that ask for evidence, or all if none does."""
    return "evidence" if "evidence" in figures["evidence"] else "all"


def class_counts(run: Run, rows: Sequence[dict[str, Any]], unscored: float = np.nan) -> np.ndarray:
    """Right and all answers of each class, `[rows, 2 * classes]`, in the label set's order.

    Args:
        run, rows: see [`Metric`].
        unscored: what an unscored answer counts as; NaN leaves it out.
    """
    task = rows[0]["task"] if rows else EMOTION_TASKS[0]
    labels = run.labels(task) if rows else ()
    counts = np.zeros((len(rows), 2 * len(labels)))
    for number, row in enumerate(rows):
        score = run.verdicts[row["id"]]["score"]
        score = unscored if score is None else score
        place = labels.index(spell_label(row["label"], labels))
        counts[number, place], counts[number, len(labels) + place] = score, score * 0 + 1
    return counts


def worst_class_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """As [`class_counts`], with unscored answers as wrong ones."""
    return class_counts(run, rows, unscored=0)


def near_miss_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Whether an answer is wrong by a class that overlaps with the right one, and one: `[rows, 2]`."""
    told = [_verdict(run, row).overlaps for row in rows]
    return _pairs([(np.nan, np.nan) if overlaps is None else (overlaps, 1) for overlaps in told])


def word_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Word errors and reference words, `[rows, 2]`, with the run's normaliser."""
    normalizer = run.results["settings"]["normalizer"]
    found = [word_errors([row["prediction"]], [row["transcript"] or ""], normalizer) for row in rows]
    errors = ("substitutions", "deletions", "insertions")
    return _pairs([(sum(figures[kind] for kind in errors), figures["reference_words"]) for figures in found])


def overlap_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Token F1 of spoken answers in [0, 1], and one: `[rows, 2]`."""
    return _pairs([(token_f1(*_squad_texts(row)), 1) for row in rows])


def match_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Whether a spoken answer is the reference, and one: `[rows, 2]`."""
    return _pairs([(len(set(_squad_texts(row))) == 1, 1) for row in rows])


def quotation_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Whether an explanation quotes, and one: `[rows, 2]`."""
    return _pairs([(bool(find_quotes(row["prediction"])), 1) for row in rows])


def context_quote_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Quotes that occur in an earlier turn alone, and quotes with a transcript and a context: `[rows, 2]`."""
    counts = []
    for row in rows:
        before = [turn["text"] for turn in row.get("context") or ()]
        quotes = find_quotes(row["prediction"]) if row.get("transcript") and before else []
        found = [ground_quote(quote.text, row["transcript"], context=before).kind for quote in quotes]
        counts.append((found.count("context"), len(found)))
    return _pairs(counts)


def quote_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Quotes that occur in the transcript, and quotes with a transcript: `[rows, 2]`."""
    counts = []
    for row in rows:
        quotes = find_quotes(row["prediction"]) if row.get("transcript") else []
        counts.append((sum(ground_quote(quote.text, row["transcript"]).grounded for quote in quotes), len(quotes)))
    return _pairs(counts)


def claim_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Claims about the voice that the clip bears out, and those that can be checked: `[rows, 2]`."""
    if run.claims is None:
        return np.full((len(rows), 2), np.nan)
    found = [counts_of(run.claims.get(row["id"], ())) for row in rows]
    return _pairs([(one.true, one.checkable) for one in found])


def follow_counts(what: str) -> Callable[[Run, Sequence[dict[str, Any]]], np.ndarray]:
    """Whether an answer follows the `voice` or the `words` where they differ, and one: `[rows, 2]`; NaN elsewhere."""

    def counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        followed = [mismatch(row, _verdict(run, row), run.labels(row["task"])) for row in rows]
        return _pairs([(np.nan, np.nan) if found is None else (found == what, 1) for found in followed])

    return counts


def _verdict(run: Run, row: dict[str, Any]) -> Verdict:
    kept = Verdict.__dataclass_fields__
    return Verdict(**{name: value for name, value in run.verdicts[row["id"]].items() if name in kept})


def wheel_counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """F1 of the sectors of the wheel that an answer names, and one: `[rows, 2]`; NaN for labels on no wheel."""
    scores = [wheel_score(row["prediction"], row["label"]) for row in rows]
    return _pairs([(np.nan, np.nan) if score is None else (score[2], 1) for score in scores])


def rating_counts(what: str) -> Callable[[Run, Sequence[dict[str, Any]]], np.ndarray]:
    """A language model's rating as a share of the highest, and one: `[rows, 2]`; NaN where it gave none."""

    def counts(run: Run, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        given = run.ratings.get(what, {})
        scores = [given[row["id"]]["score"] if row["id"] in given else None for row in rows]
        return _pairs([(np.nan, np.nan) if score is None else (score / HIGHEST[what], 1) for score in scores])

    return counts


def _pairs(counts: Sequence[tuple[float, float]]) -> np.ndarray:
    return np.array(counts, float).reshape(-1, 2)


def _squad_texts(row: dict[str, Any]) -> tuple[str, str]:
    return normalize_squad(row["prediction"]), normalize_squad(row["answer"])


def _class_metrics(task: str) -> tuple[Metric, ...]:
    """Accuracy of emotion or sentiment."""
    name, conditions = TASK_NAMES[task], ("judge", "labels")
    return (
        Metric(
            name=f"{name}_accuracy",
            tasks=(task,),
            path=(task, "weighted_average"),
            heading=name,
            counts=class_counts,
            statistic=weighted_average,
            binary=True,
            grouped=True,
            headline=True,
            title=f"{name} right",
            note="Emotion and sentiment: of the scored answers",
            hub=("accuracy", "accuracy of the scored answers (%)"),
            conditions=conditions,
        ),
        Metric(
            name=f"{name}_unweighted_accuracy",
            tasks=(task,),
            path=(task, "unweighted_average"),
            heading=f"{name} unweighted",
            counts=class_counts,
            statistic=unweighted_average,
            hub=("balanced_accuracy", "mean accuracy over classes (%)"),
            conditions=conditions,
        ),
        Metric(
            name=f"{name}_accuracy_at_worst",
            tasks=(task,),
            path=(task, "if_unscored_wrong", "weighted_average"),
            heading=f"{name} at worst",
            counts=worst_class_counts,
            statistic=weighted_average,
            binary=True,
            grouped=True,
            tested=False,
            note="At worst: if the unscored are wrong",
            conditions=conditions,
        ),
        Metric(
            name=f"{name}_unweighted_accuracy_at_worst",
            tasks=(task,),
            path=(task, "if_unscored_wrong", "unweighted_average"),
            heading=f"{name} unweighted at worst",
            counts=worst_class_counts,
            statistic=unweighted_average,
            tested=False,
            note="At worst: if the unscored are wrong",
            conditions=conditions,
        ),
        Metric(
            name=f"{name}_overlapping",
            tasks=(task,),
            path=(task, "overlapping"),
            heading=f"{name} overlapping",
            counts=near_miss_counts,
            higher_is_better=False,
            binary=True,
            tested=False,
            note="Overlapping: wrong by a class that overlaps with the right one, as excited for happy",
            conditions=conditions,
        ),
    )


METRICS = (
    *_class_metrics("er"),
    *_class_metrics("sr"),
    *(
        Metric(
            name=f"follows_{what}",
            tasks=("er",),
            path=("er", "mismatch", f"follows_{what}"),
            heading=f"follows the {what}",
            counts=follow_counts(what),
            binary=True,
            note="Follows: where words_label and voice_label of a row differ, which of them the answer names",
        )
        for what in ("voice", "words")
    ),
    Metric(
        name="wheel_f1",
        tasks=("er",),
        path=("er", "wheel", "wheel_f1"),
        heading="wheel F1",
        counts=wheel_counts,
        grouped=True,
        note="Wheel F1: emotion words of any label set, in sectors of a wheel, answer by answer; nothing is unscored",
        hub=("f1", "open-vocabulary emotions: F1 by answer on a wheel (%)"),
    ),
    Metric(
        name="wer",
        tasks=("asr",),
        path=("asr", "wer"),
        heading="WER",
        counts=word_counts,
        higher_is_better=False,
        highest=None,
        grouped=True,
        headline=True,
        title="word error rate",
        hub=("wer", "word error rate (%)"),
        conditions=("normalizer",),
    ),
    Metric(
        name="sqa_judged",
        tasks=("sqa",),
        path=("sqa", "judge_score"),
        heading="SQA judged",
        counts=rating_counts("sqa"),
        grouped=True,
        headline=True,
        title="spoken questions, judged",
    ),
    Metric(
        name="squad_exact_match",
        tasks=("sqa",),
        path=("sqa", "squad_exact_match"),
        heading="SQuAD EM",
        counts=match_counts,
        binary=True,
        tested=False,
        hub=("exact_match", "SQuAD exact match (%)"),
    ),
    Metric(
        name="squad_f1",
        tasks=("sqa",),
        path=("sqa", "squad_f1"),
        heading="SQuAD F1",
        counts=overlap_counts,
        grouped=True,
        title="SQuAD token F1",
        hub=("f1", "SQuAD token F1 (%)"),
    ),
    Metric(
        name="quotation",
        tasks=EMOTION_TASKS,
        path=("evidence", "quotation"),
        heading="quotation",
        counts=quotation_counts,
        binary=True,
        grouped=True,
        title="answers that quote",
    ),
    Metric(
        name="quotes_grounded",
        tasks=EMOTION_TASKS,
        path=("evidence", "quotes_grounded"),
        heading="quotes grounded",
        counts=quote_counts,
        grouped=True,
        title="quotes said",
        hub=("quotes_grounded", "quotes that were said (%)"),
    ),
    Metric(
        name="quotes_from_context",
        tasks=EMOTION_TASKS,
        path=("evidence", "quotes_from_context"),
        heading="quotes from context",
        counts=context_quote_counts,
        higher_is_better=False,
        tested=False,
        title="quotes of earlier turns",
    ),
    Metric(
        name="cues_true",
        tasks=EMOTION_TASKS,
        path=("evidence", "cues_true"),
        heading="voice claims true",
        counts=claim_counts,
        grouped=True,
        title="claims about the voice that are true",
        note="Voice claims: those that can be measured, beside the usual voice of the speaker or the corpus",
        hub=("cues_true", "claims about the voice that the recording bears out (%)"),
    ),
    *(
        Metric(
            name=what,
            tasks=EMOTION_TASKS,
            path=("evidence", what),
            heading=what,
            counts=rating_counts(what),
        )
        for what in JUDGED
    ),
)


def shared_as(metric: Metric) -> str:
    """The first metric of the same counts, under whose name they are kept once."""
    return next(one.name for one in METRICS if (one.counts, one.tasks) == (metric.counts, metric.tasks))


def find_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        KeyError: if there is none.
    """
    return {metric.name: metric for metric in METRICS}[name]


def cluster_names(rows: Sequence[dict[str, Any]], column: str | None) -> list[Hashable] | None:
    """The column's value of each row, to draw rows with the same value together; None without a column.

    Raises:
        EvalError: if a row has no value there.
    """
    if column is None:
        return None
    for row in rows:
        if row.get(column) in (None, ""):
            raise EvalError(f"row {row['id']} has no value in the column {column!r} to cluster by.")
    return [json.dumps(row[column], sort_keys=True) for row in rows]
