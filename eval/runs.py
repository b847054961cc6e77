"""A finished run, read back: its results, and for each answer what it adds to every figure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..corpora.schema import EMOTION_TASKS, read_rows
from ..emotion_words.lexicon import spell_label
from ..modeling_audiollm.evidence import find_quotes, ground_quote
from . import EvalError
from .evidence_score import evidence_score
from .normalizers import normalize_squad
from .run import PREDICTIONS, RATED, RESULTS, VERDICTS, read_predictions, select_rows
from .sqa_judge import sqa_judge
from .squad_score.squad_score import token_f1
from .statistics import Statistic, ratio, unweighted_average, weighted_average
from .wer.wer import word_errors


# What a language model rates, from 0 to the number here.
HIGHEST = {"sqa": sqa_judge.HIGHEST_RATING, **dict.fromkeys(evidence_score.JUDGED, evidence_score.HIGHEST_RATING)}


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Args:
        folder: where it was read from.
        results: content of `results.json`.
        rows: the answered rows, each with its `prediction`.
        verdicts: lines of `verdicts.jsonl` by row id.
        ratings: lines of `rated.jsonl` by what was rated and row id; none without a language model as judge.
    """

    folder: Path
    results: dict
    rows: list[dict]
    verdicts: dict[str, dict] = field(default_factory=dict)
    ratings: dict[str, dict[str, dict]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.results["system"]["name"]

    @property
    def corpora(self) -> list[str]:
        return sorted({str(row.get("corpus") or "unnamed") for row in self.rows})

    def of_task(self, task: str) -> list[dict]:
        return [row for row in self.rows if row["task"] == task]

    def labels(self, task: str) -> tuple[str, ...]:
        return tuple(self.results["label_sets"][task]["labels"])


@dataclass(frozen=True)
class Measure:
    """A figure that is a function of sums over rows.

    Args:
        name: for tables.
        task: of its rows.
        counts: for a run and rows, `[rows, k]`; NaN rows do not count (unscored answers).
        statistic: of the sums.
        binary: whether each row is just right or wrong.
    """

    name: str
    tasks: tuple[str, ...]
    counts: Callable[[Run, Sequence[dict]], np.ndarray]
    statistic: Statistic
    binary: bool = False


def read_run(folder: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        FileNotFoundError: if a file is missing.
        EvalError: if the folder's predictions are more than its results, and the data that tells which is gone.
    """
    folder = Path(folder)
    folder = folder.parent if folder.name == RESULTS else folder
    results = read_results(folder)
    for name in (PREDICTIONS, VERDICTS):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder} has no {name}; run the evaluation into it.")
    rows = [row for row in read_predictions(folder / PREDICTIONS).values() if row["error"] is None]
    if len(rows) != results["counts"]["answered"]:
        rows = _rows_of_results(folder, rows, results["settings"])
    verdicts = {verdict["id"]: verdict for verdict in _read_lines(folder / VERDICTS)}
    ratings = defaultdict(dict)
    # Runs of the first version have none.
    for rating in _read_lines(folder / RATED) if (folder / RATED).exists() else ():
        ratings[rating["what"]][rating["id"]] = rating
    return Run(folder, results, rows, verdicts, dict(ratings))


def read_results(path: str | Path) -> dict:
    """Results from a file or from the folder of a run.

    Raises:
        FileNotFoundError: if there are none.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    return json.loads(path.read_text(encoding="utf-8"))


def _read_lines(path: Path) -> list[dict]:
    # Not splitlines: JSON text may hold other line separators.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _rows_of_results(folder: Path, rows: list[dict], settings: dict) -> list[dict]:
    """Of the answers that a folder has gathered, those of its last run."""
    try:
        data = read_rows(settings["data"], settings["split"])
    except FileNotFoundError as error:
        raise EvalError(
            f"{folder} holds {len(rows)} answers, but its results count others, and {settings['data']} is gone, which "
            "would tell which: run the evaluation again with --overwrite."
        ) from error
    chosen = select_rows(data, settings["tasks"], settings["limit"], settings["seed"])
    wanted = {row["id"] for row in chosen}
    return [row for row in rows if row["id"] in wanted]


def cluster_names(rows: Sequence[dict], column: str | None) -> list[Hashable] | None:
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


def class_counts(run: Run, rows: Sequence[dict]) -> np.ndarray:
    """Right and all answers of each class, `[rows, 2 * classes]`, in the label set's order; NaN for unscored ones."""
    task = rows[0]["task"] if rows else EMOTION_TASKS[0]
    labels = run.labels(task) if rows else ()
    counts = np.zeros((len(rows), 2 * len(labels)))
    for number, row in enumerate(rows):
        score = run.verdicts[row["id"]]["score"]
        place = labels.index(spell_label(row["label"], labels))
        counts[number, place], counts[number, len(labels) + place] = (np.nan, np.nan) if score is None else (score, 1)
    return counts


def word_counts(run: Run, rows: Sequence[dict]) -> np.ndarray:
    """Word errors and reference words, `[rows, 2]`, with the run's normaliser."""
    normalizer = run.results["settings"]["normalizer"]
    counts = []
    for row in rows:
        figures = word_errors([row["prediction"]], [row["transcript"] or ""], normalizer)
        errors = figures["substitutions"] + figures["deletions"] + figures["insertions"]
        counts.append((errors, figures["reference_words"]))
    return np.array(counts, float).reshape(-1, 2)


def answer_counts(run: Run, rows: Sequence[dict]) -> np.ndarray:
    """Token F1 of spoken answers in [0, 1], and one: `[rows, 2]`."""
    scores = [token_f1(normalize_squad(row["prediction"]), normalize_squad(row["answer"])) for row in rows]
    return np.array([(score, 1) for score in scores], float).reshape(-1, 2)


def quotation_counts(run: Run, rows: Sequence[dict]) -> np.ndarray:
    """Whether an explanation quotes, and one: `[rows, 2]`."""
    return np.array([(bool(find_quotes(row["prediction"])), 1) for row in rows], float).reshape(-1, 2)


def quote_counts(run: Run, rows: Sequence[dict]) -> np.ndarray:
    """Quotes that occur in the transcript, and quotes with a transcript: `[rows, 2]`."""
    counts = []
    for row in rows:
        quotes = find_quotes(row["prediction"]) if row.get("transcript") else []
        counts.append((sum(ground_quote(quote.text, row["transcript"]).grounded for quote in quotes), len(quotes)))
    return np.array(counts, float).reshape(-1, 2)


def rating_counts(what: str) -> Callable[[Run, Sequence[dict]], np.ndarray]:
    """A language model's rating as a share of the highest, and one: `[rows, 2]`; NaN where it gave none."""

    def counts(run: Run, rows: Sequence[dict]) -> np.ndarray:
        given = run.ratings.get(what, {})
        scores = [given[row["id"]]["score"] if row["id"] in given else None for row in rows]
        shares = [(np.nan, np.nan) if score is None else (score / HIGHEST[what], 1) for score in scores]
        return np.array(shares, float).reshape(-1, 2)

    return counts


MEASURES = (
    Measure("ER", ("er",), class_counts, weighted_average, binary=True),
    Measure("ER unweighted", ("er",), class_counts, unweighted_average),
    Measure("SR", ("sr",), class_counts, weighted_average, binary=True),
    Measure("SR unweighted", ("sr",), class_counts, unweighted_average),
    Measure("WER", ("asr",), word_counts, ratio),
    Measure("SQuAD F1", ("sqa",), answer_counts, ratio),
    Measure("SQA judged", ("sqa",), rating_counts("sqa"), ratio),
    Measure("quotation", EMOTION_TASKS, quotation_counts, ratio, binary=True),
    Measure("quotes grounded", EMOTION_TASKS, quote_counts, ratio),
    Measure("groundedness", EMOTION_TASKS, rating_counts("groundedness"), ratio),
    Measure("relevance", EMOTION_TASKS, rating_counts("relevance"), ratio),
)
