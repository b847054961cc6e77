"""Interchange with AudioBench: its prediction logs and score logs read, ours written for its scorer.

    audiollm audiobench write RUN --dataset meld_emotion_test --log log [--model NAME]
    audiollm audiobench read LOG.json --data CORPUS --split test --out RUN
    audiollm audiobench scores LOG_score.json [...]

Formats as in the repository AudioLLMs/AudioBench (src/main_evaluate.py; src/dataset_src/iemocap_emotion_test.py,
spoken_squad_test.py and librispeech_test_clean.py): `log/MODEL/DATASET.json` is a list of answers in the data set's
order, `log/MODEL/DATASET_METRIC_score.json` what its scorer made of them. Its data sets themselves are read as any
corpus (corpora/).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..corpora.labels import EMOTIONS, SENTIMENTS, SYNONYMS, itself, label_in_answer
from ..corpora.schema import TASKS
from ..language_models.journal import Journal
from . import EvalError
from .results import PREDICTIONS, RUN, Run
from .rows import read_data
from .run import Settings, evaluate_system
from .systems import System
from .tables import Table


# Sentiment is a task of its own here and "ER" there: its data sets are told apart by name.
_TASK_TYPES = {"asr": "ASR", "sqa": "SQA", "er": "ER", "sr": "ER"}
# Part of a data set's name -> task here; the first that fits. Those of accents, gender, music, ... have no task here.
_TASKS = (
    ("sentiment", "sr"),
    ("emotion", "er"),
    ("sqa", "sqa"),
    ("squad", "sqa"),
    ("speech_qa", "sqa"),
    ("dream_tts", "sqa"),
    ("cn_college", "sqa"),
    ("asr", "asr"),
    ("librispeech", "asr"),
    ("common_voice", "asr"),
    ("peoples_speech", "asr"),
    ("gigaspeech", "asr"),
    ("earnings", "asr"),
    ("tedlium", "asr"),
)
_LABEL_WORDS = {"er": {**itself(EMOTIONS), **SYNONYMS}, "sr": itself(SENTIMENTS)}
_METRIC = re.compile(
    r"(?P<dataset>.+?)_(?P<metric>wer|(?:llama3_(?:70b|8b)|gpt4o?|prometheus2)_judge(?:_binary)?)_score"
)


@dataclass(frozen=True)
class Answer:
    """One line of a prediction log.

    Args:
        question: as asked.
        reference: the right answer, often a whole sentence ("The speaker's emotion seems joy.").
        task_type: AudioBench's name of the task (ASR, SQA, ER, ...).
        prediction: the model's answer.
        id: of the row it came from; None in logs of AudioBench itself.
    """

    question: str
    reference: str
    task_type: str
    prediction: str
    id: str | None = None


@dataclass(frozen=True)
class ScoreLog:
    """What a score log says.

    Args:
        model: name of the folder it stands in.
        dataset: the data set.
        metric: `wer`, or a judge's name.
        score: in percent, as AudioBench counts it: a judge's failures are zeros.
        success_rate: share of the answers whose judgement did not fail; None if the log does not tell.
        stored: answers that the log holds; often only the first ones of all that were scored.
        whole: whether they are all that the score is of, as far as they come to it.
    """

    model: str
    dataset: str
    metric: str
    score: float
    success_rate: float | None = None
    stored: int = 0
    whole: bool = False

    @property
    def n(self) -> int | None:
        """Answers that the score is of; None if the log holds but some of them."""
        return self.stored if self.whole else None

    @property
    def n_failed(self) -> int | None:
        """Of them those whose judgement failed."""
        if self.success_rate == 1:
            return 0
        return None if self.n is None or self.success_rate is None else round(self.n * (1 - self.success_rate))

    @property
    def percent_failed(self) -> float | None:
        """Judgements that failed, in percent."""
        return None if self.success_rate is None else 100 * (1 - self.success_rate)

    @property
    def score_without_failures(self) -> float | None:
        """Score of the answers that were judged: AudioBench divides by all of them."""
        return self.score / self.success_rate if self.success_rate else None

    @property
    def task(self) -> str | None:
        """Our name of the task, by the metric or else by the data set's name."""
        return "asr" if self.metric == "wer" else next((task for part, task in _TASKS if part in self.dataset), None)


def read_answers(path: str | Path) -> list[Answer]:
    """Read a prediction log, with either of AudioBench's pairs of names (`text`/`answer`, `instruction`/`reference`).

    Raises:
        EvalError: if it is none.
    """
    content = _read_json(path)
    if not isinstance(content, list):
        raise EvalError(f"{path}: a prediction log is a list; is this a score log?")
    answers = []
    for number, entry in enumerate(content, start=1):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict):
            raise EvalError(f"{where}: is no object.")
        found = {
            "question": _first(entry, "instruction", "text"),
            "reference": _first(entry, "reference", "answer"),
            "model_prediction": _first(entry, "model_prediction"),
        }
        texts = [value for value in found.values() if value is not None]
        if len(texts) < len(found):
            lacking = next(name for name, value in found.items() if value is None)
            raise EvalError(f"{where}: has no {lacking}; a prediction log holds question, reference and prediction.")
        question, reference, prediction = texts
        answers.append(Answer(question, reference, str(entry.get("task_type") or ""), prediction, entry.get("id")))
    return answers


def write_answers(run: Run, dataset: str, folder: str | Path, model: str | None = None) -> list[Path]:
    """Write a run's answers as prediction logs, `FOLDER/MODEL/DATASET.json`, for AudioBench's scorer to find.

    AudioBench's scorers look for the question and the right answer under one of two pairs of names, by data set and
    version: every entry holds both. For a run of several tasks each task gets a log, `DATASET_TASK.json`.

    Args:
        run: the run; a row's reference is its `answer`, or its transcript (ASR) or label where it has none.
        dataset: AudioBench's name of the data set.
        folder: AudioBench's `log` folder.
        model: name of the model's folder; the run's name when left out.

    Raises:
        EvalError: if a row has no answer: AudioBench would take the next row's for it.
    """
    if run.results["counts"]["errors"]:
        raise EvalError(
            f"{run.folder}: {run.results['counts']['errors']} rows have no answer, and AudioBench knows rows by their "
            "order alone; run the evaluation again to answer them."
        )
    tasks = [task for task in TASKS if run.of_task(task)]
    out = Path(folder) / _file_name(model or run.name)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for task in tasks:
        entries = [_entry(row, task) for row in _in_order(run, task)]
        path = out / f"{_file_name(dataset)}{f'_{task}' if len(tasks) > 1 else ''}.json"
        path.write_text(json.dumps(entries, indent=4, ensure_ascii=False), encoding="utf-8")
        written.append(path)
    return written


def import_answers(log: str | Path, rows: Sequence[dict], out: str | Path) -> Path:
    """Turn a prediction log into a run's predictions, so that our judges and figures can be had for it.

    AudioBench keeps no ids: its answers are matched with the rows by id where the log has them (ours do), else by
    order, and then every reference must be the row's.

    Args:
        log: prediction log.
        rows: of the corpus, in its order.
        out: folder of the run to make.

    Returns:
        The predictions file.

    Raises:
        EvalError: if numbers or references do not fit.
    """
    answers = read_answers(log)
    if all(answer.id is not None for answer in answers):
        by_id = {row["id"]: row for row in rows}
        unknown = [answer.id for answer in answers if answer.id not in by_id]
        if unknown:
            raise EvalError(f"{log}: {len(unknown)} ids are not in the corpus (first: {unknown[0]}).")
        rows = [by_id[answer.id] for answer in answers]
    elif len(answers) != len(rows):
        raise EvalError(
            f"{log} holds {len(answers)} answers, the corpus {len(rows)} rows; without ids they are matched by order, "
            "so give the whole data set (AudioBench shuffles samples of it)."
        )
    path = Path(out) / PREDICTIONS
    with Journal(path) as journal:
        for number, (row, answer) in enumerate(zip(rows, answers), start=1):
            if not _fits(row, answer):
                raise EvalError(
                    f"{log}, entry {number}: its reference {answer.reference!r} is not that of row {row['id']} "
                    f"({_reference(row)!r}); the log is of another data set, or in another order."
                )
            audio = row["audio"]["path"] if isinstance(row["audio"], dict) else row["audio"]
            # The row keeps its own question, by which the runner knows it; AudioBench drew another wording.
            line = {**row, "audio": Path(audio or "").name, "asked": answer.question}
            journal.append({**line, "prediction": answer.prediction, "error": None})
    return path


class LoggedAnswers(System):
    """A system whose answers are in a prediction log already.

    Args:
        log: the log; its folder's name is the system's.
    """

    def __init__(self, log: str | Path):
        self.log = Path(log)
        self.name = self.log.resolve().parent.name
        self.fingerprint = hashlib.sha256(self.log.read_bytes()).hexdigest()[:16]

    def answer(self, audio: Any, question: str) -> str:
        raise EvalError(f"{self.log} has no answer to this row.")


def evaluate_log(log: str | Path, data: str, split: str, out: str | Path, judge: str = "rule") -> dict:
    """Judge the answers of a prediction log as those of any system.

    Args:
        log: prediction log of AudioBench.
        data, split: the corpus that its answers are about.
        out: folder of the run to make.
        judge: who decides (see [`load_judge`]).

    Returns:
        The results, as written into the folder.

    Raises:
        EvalError: if log and corpus do not fit, or the folder holds another system's answers.
    """
    system = LoggedAnswers(log)
    if not (Path(out) / RUN).exists():  # also after a kill halfway
        import_answers(log, read_data(data, split), out)
    return evaluate_system(Settings(str(log), data, split, judge), out, system=system, progress=False)


def read_scores(path: str | Path) -> ScoreLog:
    """Read a score log.

    Raises:
        EvalError: if it is none, or its name does not say data set and metric.
    """
    path = Path(path)
    named = _METRIC.fullmatch(path.stem)
    if named is None:
        raise EvalError(f"{path}: the name of a score log is DATASET_METRIC_score.json.")
    content = _read_json(path)
    model, dataset, metric = path.resolve().parent.name, named["dataset"], named["metric"]
    if not isinstance(content, dict) or metric not in content:
        raise EvalError(f"{path}: has no {metric!r}, which its name promises.")
    if metric == "wer":
        score, stored = _number(content["wer"], path), content.get("sample_wer") or []
        words = [(len(str(entry.get("reference", "")).split()), entry.get("wer")) for entry in stored]
        total = sum(count for count, _ in words)
        whole = bool(total) and all(isinstance(rate, int | float) for _, rate in words)
        whole = whole and math.isclose(sum(count * rate for count, rate in words) / total, score, rel_tol=1e-6)
        return ScoreLog(model, dataset, metric, 100 * score, None, len(stored), whole)
    judged, stored = content[metric], content.get("details") or []
    # Older logs hold the score alone.
    told = judged if isinstance(judged, dict) else {"judge_score": judged}
    if "judge_score" not in told:
        raise EvalError(f"{path}: {metric} has no judge_score.")
    score = _number(told["judge_score"], path)
    ratings = [entry.get("rate_score") for entry in stored]
    share = sum(bool(entry.get("success")) for entry in stored) / len(stored) if stored else None
    rate = told.get("success_rate")
    rate = share if rate is None else _number(rate, path)
    whole = share is not None and rate is not None and math.isclose(share, rate, abs_tol=1e-9)
    # A judge's scale is not written down: a binary one rates 0 and 1, the other 0 to 5.
    whole = whole and all(isinstance(rating, int | float) for rating in ratings)
    whole = whole and any(
        math.isclose(scale * sum(ratings) / len(ratings), score, abs_tol=1e-6) for scale in (20, 100)
    )
    if not whole and "success_rate" not in told:
        rate = None  # that of some answers is not that of all
    if rate is not None and not 0 <= rate <= 1:
        raise EvalError(f"{path}: {metric} has a success_rate of {rate}; it is 0 to 1.")
    return ScoreLog(model, dataset, metric, score, rate, len(stored), whole)


def _number(value: object, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EvalError(f"{path}: {value!r} is no score.")
    return float(value)


def score_table(logs: Sequence[ScoreLog]) -> Table:
    """Score logs as a table."""
    rows = [
        (log.model, log.dataset, log.metric, log.score, log.n, log.percent_failed, log.score_without_failures)
        for log in logs
    ]
    columns = ("model", "data set", "metric", "score", "answers", "judge failed", "without failures")
    note = (
        "Percent. AudioBench counts answers whose judgement failed as zero; the last column leaves them out. Logs "
        "that hold only some of the answers do not tell how many there were."
    )
    return Table("AudioBench scores", columns, tuple(rows), note)


def _in_order(run: Run, task: str) -> list[dict]:
    """A task's rows in the data's order: predictions come by length."""
    settings, rows = run.results["settings"], {row["id"]: row for row in run.of_task(task)}
    try:
        ids = [row["id"] for row in read_data(settings["data"], settings["split"])]
    except FileNotFoundError as error:
        raise EvalError(f"{run.folder}: {settings['data']} is gone, and AudioBench needs the data's order.") from error
    return [rows[id_] for id_ in ids if id_ in rows]


def _entry(row: dict, task: str) -> dict:
    question, reference = row["question"], _reference(row)
    return {
        "instruction": question,
        "reference": reference,
        "text": question,
        "answer": reference,
        "task_type": _TASK_TYPES[task],
        "model_prediction": row["prediction"],
        "id": row["id"],
    }


def _reference(row: dict) -> str:
    if row["task"] == "asr":
        return row.get("transcript") or row.get("answer") or ""
    return row.get("answer") or row.get("label") or ""


def _fits(row: dict, answer: Answer) -> bool:
    texts = [row.get(name) for name in ("answer", "label", "transcript")]
    reference = " ".join(answer.reference.lower().split())
    if any(text is not None and " ".join(str(text).lower().split()) == reference for text in texts):
        return True
    # A corpus read from its own distribution has the label; AudioBench's reference is a sentence that names it.
    words = _LABEL_WORDS.get(row["task"], {})
    stated = label_in_answer(reference, words) if words else None
    return stated is not None and stated == words.get(str(row.get("label")).lower())


def _first(entry: dict, *names: str) -> str | None:
    """The first of the names that holds a text, or a text inside an object (`{"text": ...}`, the nested form)."""
    for name in names:
        value = entry.get(name)
        value = value.get("text") if isinstance(value, dict) else value
        if isinstance(value, str):
            return value
    return None


def _file_name(name: str) -> str:
    """A name as a file's or folder's: nothing in it leads elsewhere."""
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".") or "unnamed"


def _read_json(path: str | Path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise EvalError(f"{path}: not JSON ({error}).") from error
