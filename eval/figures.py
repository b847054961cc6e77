"""From answers and verdicts to figures."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..corpora.schema import EMOTION_TASKS, TASKS
from ..modeling_audiollm.emotion_lexicon import spell_label
from . import EvalError
from .cue_score.cue_score import counts_of, cue_figures
from .emotion_judge.emotion_judge import emotion_figures, mismatch_figures
from .evidence_score import evidence_score
from .evidence_score.evidence_score import JUDGED, evidence_figures, judged_evidence
from .judges import Case, Item, Judge, Rating, Verdict
from .sqa_judge import sqa_judge
from .sqa_judge.sqa_judge import judged_answers
from .squad_score.squad_score import squad_figures
from .wer.wer import word_errors
from .wheel_score.wheel_score import wheel_figures


# What a language model rates, from 0 to the number here.
HIGHEST = {"sqa": sqa_judge.HIGHEST_RATING, **dict.fromkeys(JUDGED, evidence_score.HIGHEST_RATING)}


@dataclass(frozen=True)
class Judgements:
    """What judges said of answers, by row id.

    Args:
        verdicts: of emotion and sentiment answers.
        ratings: by a language model, if it was asked: by what it rated (sqa, groundedness, relevance).
        claims: about the voice, each with whether the clip bears it out (see [`check_claims`](voice.py)).
    """

    verdicts: dict[str, Verdict]
    ratings: dict[str, dict[str, Rating]] = field(default_factory=dict)
    claims: dict[str, list[dict]] = field(default_factory=dict)


def judge_rows(rows: Sequence[dict], judge: Judge, label_sets: dict) -> Judgements:
    """Judge every answer: emotions and sentiments, and spoken answers and evidence if the judge rates them.

    Raises:
        EvalError: if the judge gives other than one verdict, or rating in its range, for each answer.
    """
    judged = [row for row in rows if row["task"] in EMOTION_TASKS]
    cases = [
        Case(
            prediction=row["prediction"],
            label=row["label"],
            labels=label_sets[row["task"]][1],
            question=row["question"],
            transcript=row.get("transcript") or "",
            id=row["id"],
        )
        for row in judged
    ]
    verdicts = _by_id(judge, judged, judge.judge(cases), 1)
    heard = [row for row in judged if row.get("transcript")]
    wanted = {"sqa": [row for row in rows if row["task"] == "sqa"], **dict.fromkeys(JUDGED, heard)}
    ratings = {}
    for what, some in wanted.items():
        given = judge.rate(what, [_item(row) for row in some]) if some else None
        if given is not None:
            ratings[what] = _by_id(judge, some, given, HIGHEST[what])
    return Judgements(verdicts, ratings)


def _item(row: dict) -> Item:
    texts = {"answer": row["prediction"], "reference": row.get("answer"), "transcript": row.get("transcript")}
    return Item(row["id"], {"question": row["question"], **{name: text or "" for name, text in texts.items()}})


def _by_id(judge: Judge, rows: Sequence[dict], given: Sequence, highest: int) -> dict:
    if len(given) != len(rows):
        raise EvalError(f"judge {judge.name} gave {len(given)} verdicts on {len(rows)} answers.")
    for row, verdict in zip(rows, given):
        score = getattr(verdict, "score", verdict)
        if score is not None and (not isinstance(score, int | float) or not 0 <= score <= highest):
            raise EvalError(
                f"judge {judge.name}, row {row['id']}: {score!r} is no score; it is 0 to {highest}, None if unscored."
            )
    return {row["id"]: verdict for row, verdict in zip(rows, given)}


def describe_judging(judge: Judge, judgements: Judgements, max_unscored: float) -> dict:
    """Who judged, what a judge with a language model tells of it, and whether too many of its verdicts failed."""
    given = [*judgements.verdicts.values(), *(r for some in judgements.ratings.values() for r in some.values())]
    failures = Counter(verdict.failure for verdict in given if verdict.failure)
    told = {"failures": dict(failures), "share_unscored": failures.total() / len(given) if given else None}
    told |= judge.describe()
    share = told["share_unscored"]
    return {
        "judge": judge.name,
        **told,
        "max_unscored": max_unscored,
        "failed": share is not None and share > max_unscored,
    }


def figures_of(
    rows: Sequence[dict], judgements: Judgements, label_sets: dict, normalizer: str = "whisper_english"
) -> dict:
    """Figures by task, and under `evidence` those of rows that ask for evidence, and of `all` ER and SR rows."""
    figures = {}
    by_task = {task: [row for row in rows if row["task"] == task] for task in TASKS}
    for task in EMOTION_TASKS:
        if by_task[task]:
            labels = label_sets[task][1]
            references = [spell_label(row["label"], labels) for row in by_task[task]]
            verdicts = [judgements.verdicts[row["id"]] for row in by_task[task]]
            figures[task] = emotion_figures(references, verdicts, labels)
            if task == "er":
                found = mismatch_figures(by_task[task], verdicts, labels)
                figures[task] |= {"mismatch": found} if found else {}
                figures[task]["wheel"] = wheel_figures(*_columns(by_task[task], "label"))
    if by_task["asr"]:
        figures["asr"] = word_errors(*_columns(by_task["asr"], "transcript"), normalizer)
    if by_task["sqa"]:
        figures["sqa"] = squad_figures(*_columns(by_task["sqa"], "answer"))
        if "sqa" in judgements.ratings:
            figures["sqa"] |= judged_answers(_ratings(by_task["sqa"], judgements.ratings["sqa"]))
    reasons = [row for task in EMOTION_TASKS for row in by_task[task]]
    asked = [row for row in reasons if row.get("target") == "evidence"]
    figures["evidence"] = {
        name: _evidence(some, judgements) for name, some in (("evidence", asked), ("all", reasons)) if some
    }
    return figures


def _evidence(rows: list[dict], judgements: Judgements) -> dict:
    contexts = [[turn["text"] for turn in row.get("context") or ()] for row in rows]
    figures = evidence_figures(*_columns(rows, "transcript"), contexts=contexts)
    judged = {what: _ratings(rows, judgements.ratings[what]) for what in JUDGED if what in judgements.ratings}
    checked = cue_figures([counts_of(judgements.claims.get(row["id"], ())) for row in rows])
    return figures | checked | judged_evidence(judged)


def _ratings(rows: list[dict], ratings: dict[str, Rating]) -> list[Rating]:
    return [ratings[row["id"]] for row in rows if row["id"] in ratings]


def check_columns(rows: Sequence[dict], columns: Sequence[str]) -> None:
    """Refuse grouping columns in which no row has a value.

    Raises:
        EvalError: naming the column.
    """
    for column in columns:
        if all(row.get(column) is None for row in rows):
            raise EvalError(f"no row has a value in the column {column!r} to group by.")


def group_figures(
    rows: Sequence[dict], judgements: Judgements, label_sets: dict, columns: Sequence[str], normalizer: str
) -> dict:
    """Figures for each value of each grouping column and each pair of values: `{column: {value: figures}}`."""
    groups = {}
    for names in [*itertools.combinations(columns, 1), *itertools.combinations(columns, 2)]:
        members = defaultdict(list)
        for row in rows:
            members[" / ".join(str(row.get(name)) for name in names)].append(row)
        groups[" x ".join(names)] = {
            value: _headline(figures_of(some, judgements, label_sets, normalizer))
            for value, some in sorted(members.items())
        }
    return groups


def _headline(figures: dict) -> dict:
    """A group's figures without its matrices, which are small and many."""
    for task in EMOTION_TASKS:
        if task in figures:
            figures[task] = {k: v for k, v in figures[task].items() if k not in ("confusion", "per_class", "labels")}
    return figures


def _columns(rows: list[dict], reference: str) -> tuple[list[str], list[str]]:
    return [row["prediction"] for row in rows], [row.get(reference) or "" for row in rows]
