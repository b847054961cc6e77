"""From rows to predictions to figures: batched, resumable, and with all that is needed to reproduce them."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import random
import shlex
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from audiollm.eval import EvalError
from audiollm.eval.emotion_judge.emotion_judge import emotion_figures
from audiollm.eval.evidence_score.evidence_score import evidence_figures
from audiollm.eval.judges import Case, Judge, Verdict, load_judge
from audiollm.eval.judges.lexicon import find_label_set, named_label_set, spell_label
from audiollm.eval.squad_score.squad_score import squad_figures
from audiollm.eval.systems import SAMPLING_RATE, System, load_system
from audiollm.eval.wer.wer import word_errors
from audiollm.processing.audio import AudioError, load_audio
from audiollm.processing.corpora.schema import EMOTION_TASKS, TASKS, read_rows


PREDICTIONS, VERDICTS, RESULTS, RUN = "predictions.jsonl", "verdicts.jsonl", "results.json", "run.json"
# Clips of so many batches are loaded together and sorted by length, so that little of a batch is padding.
BATCHES_PER_CHUNK = 8
PACKAGES = ("audiollm", "torch", "transformers", "datasets", "evaluate", "jiwer", "numpy", "soundfile")
REFERENCES = {"er": "label", "sr": "label", "asr": "transcript", "sqa": "answer"}


@dataclass(frozen=True)
class Settings:
    """What a run was asked for.

    Args:
        system: checkpoint folder or name of a system.
        data: corpus folder or JSON-lines file.
        split: which split of it.
        judge: who decides emotion and sentiment answers.
        normalizer: text normaliser of WER.
        label_set: name or list of the emotion classes; None takes the smallest named set with all labels of the data.
        tasks: tasks to evaluate; empty takes all.
        group_by: row columns by whose values, and by whose pairs of values, figures are given too.
        batch_size: clips answered together.
        max_new_tokens: longest answer, in tokens.
        limit: evaluate a random sample of so many rows.
        seed: of that sample.
    """

    system: str
    data: str
    split: str = "test"
    judge: str = "rule"
    normalizer: str = "whisper_english"
    label_set: str | None = None
    tasks: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    batch_size: int = 8
    max_new_tokens: int = 128
    limit: int | None = None
    seed: int = 0


def evaluate_system(
    settings: Settings,
    out: str | Path,
    system: System | None = None,
    overwrite: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> dict:
    """Answer, judge and count; write `predictions.jsonl`, `verdicts.jsonl` and `results.json` into a folder.

    Answers are kept as they arrive. Started again, the run asks only for rows without an answer, and for rows whose
    audio could not be read.

    Args:
        settings: what to evaluate, and how.
        out: folder to write to.
        system: evaluate this object instead of building `settings.system`.
        overwrite: forget the answers that the folder holds.
        progress: show a bar.
        command: the command line, to keep with the results.

    Returns:
        The results, as written.

    Raises:
        EvalError: for rows without what their task needs, repeated ids, no rows, labels outside the label set, or a
            folder with another system's answers.
    """
    out = Path(out)
    rows = select_rows(read_rows(settings.data, settings.split), settings.tasks, settings.limit, settings.seed)
    label_sets = find_label_sets(rows, settings.label_set)
    judge = load_judge(settings.judge)
    system = system or load_system(settings.system, settings.data, settings.max_new_tokens)
    out.mkdir(parents=True, exist_ok=True)
    if overwrite:
        (out / PREDICTIONS).unlink(missing_ok=True)
        (out / RUN).unlink(missing_ok=True)
    _claim_folder(out, system)
    started = time.time()
    fresh = answer_rows(system, rows, out / PREDICTIONS, settings.batch_size, progress)
    seconds = time.time() - started
    answered, failed = join_predictions(rows, read_predictions(out / PREDICTIONS))
    verdicts = judge_rows(answered, judge, label_sets)
    _write_lines(out / VERDICTS, ({"id": id_, "judge": judge.name, **v.to_dict()} for id_, v in verdicts.items()))
    results = {
        "format": 1,
        "system": {
            "name": system.name,
            "spec": settings.system,
            "fingerprint": system.fingerprint,
            **system.describe(),
        },
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()},
        "label_sets": {task: {"name": name, "labels": list(labels)} for task, (name, labels) in label_sets.items()},
        "counts": {
            "rows": len(rows),
            "answered": len(answered),
            "errors": len(failed),
            "unscored": sum(verdict.score is None for verdict in verdicts.values()),
            "rows_by_task": dict(Counter(row["task"] for row in rows)),
        },
        "figures": figures_of(answered, verdicts, label_sets, settings.normalizer),
        "groups": group_figures(answered, verdicts, label_sets, settings),
        "errors": [{"id": row["id"], "error": row["error"]} for row in failed],
        "time": {
            "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            "answering_seconds": round(seconds, 2),
            "rows_answered_now": fresh,
            "rows_per_second": round(fresh / seconds, 3) if fresh and seconds > 0 else None,
        },
        "versions": _versions(),
        "command": command,
    }
    _write_json(out / RESULTS, results)
    return results


def select_rows(rows: list[dict], tasks: Sequence[str] = (), limit: int | None = None, seed: int = 0) -> list[dict]:
    """Rows of these tasks, or a seeded random sample of them in the same order.

    Raises:
        EvalError: if a task is unknown, an id is repeated, a row lacks what its task is scored by, or nothing is left.
    """
    unknown = set(tasks) - set(TASKS)
    if unknown:
        raise EvalError(f"unknown tasks {', '.join(sorted(unknown))}; choose among {', '.join(TASKS)}.")
    repeated = [id_ for id_, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise EvalError(f"{len(repeated)} ids occur more than once (first: {repeated[0]}); every row needs its own.")
    rows = [row for row in rows if not tasks or row["task"] in tasks]
    if not rows:
        raise EvalError(f"no rows of the tasks {', '.join(tasks)}.")
    for row in rows:
        field = REFERENCES[row["task"]]
        # An empty transcript is a reference (nothing was said); an absent one is a hole in the data.
        if row.get(field) is None or (field != "transcript" and not str(row[field]).strip()):
            raise EvalError(f"row {row['id']}: a row of task {row['task']} needs the field {field!r}.")
    if limit is not None and limit < len(rows):
        kept = sorted(random.Random(seed).sample(range(len(rows)), limit))
        rows = [rows[index] for index in kept]
    return rows


def find_label_sets(rows: Iterable[dict], emotion_set: str | None = None) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The label set of each emotion task in the rows: `{task: (name, labels)}`.

    Raises:
        EvalError: if a row's label is not in the set.
    """
    labels = defaultdict(set)
    for row in rows:
        if row["task"] in EMOTION_TASKS:
            labels[row["task"]].add(row["label"])
    sets = {task: find_label_set(found) for task, found in labels.items()}
    if emotion_set and "er" in sets:
        sets["er"] = named_label_set(emotion_set)
    for task, found in labels.items():
        for label in sorted(found):
            spell_label(label, sets[task][1])
    return sets


def answer_rows(system: System, rows: Sequence[dict], path: Path, batch_size: int = 8, progress: bool = True) -> int:
    """Ask a system for the rows that a predictions file does not answer yet, adding answers as they arrive.

    A row whose audio can't be read, or that the system refuses with a ValueError, is recorded with its error, and the
    run goes on.

    Returns:
        Number of rows asked now.
    """
    _drop_half_written_line(path)
    done = read_predictions(path)
    waiting = [row for row in rows if _unanswered(row, done.get(row["id"]))]
    with (
        open(path, "a", encoding="utf-8") as file,
        tqdm(
            total=len(rows), initial=len(rows) - len(waiting), unit="row", desc=system.name, disable=not progress
        ) as bar,
    ):
        for chunk in _chunks(waiting, batch_size * BATCHES_PER_CHUNK):
            for batch in _batches(chunk, batch_size, lambda row, error: _record(file, bar, [(row, None, error)])):
                _record(file, bar, _answer_batch(system, batch))
    return len(waiting)


def read_predictions(path: Path) -> dict[str, dict]:
    """Predictions by id; of several lines for an id the last counts. A half-written last line is left out.

    Raises:
        EvalError: if another line is broken.
    """
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    predictions = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prediction = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise EvalError(f"{path}, line {number}: not JSON ({error.msg}); mend or delete the line.") from error
        predictions[prediction["id"]] = prediction
    return predictions


def join_predictions(rows: Iterable[dict], predictions: dict[str, dict]) -> tuple[list[dict], list[dict]]:
    """Rows with their `prediction`, and rows with their `error`."""
    answered, failed = [], []
    for row in rows:
        found = predictions.get(row["id"], {"prediction": None, "error": "no answer was recorded."})
        joined = {**row, "prediction": found["prediction"], "error": found["error"]}
        (answered if joined["error"] is None else failed).append(joined)
    return answered, failed


def judge_rows(rows: Sequence[dict], judge: Judge, label_sets: dict) -> dict[str, Verdict]:
    """Verdicts by id, of the emotion and sentiment rows."""
    judged = [row for row in rows if row["task"] in EMOTION_TASKS]
    cases = [
        Case(row["prediction"], row["label"], label_sets[row["task"]][1], row["question"], row.get("transcript") or "")
        for row in judged
    ]
    return {row["id"]: verdict for row, verdict in zip(judged, judge.judge(cases))}


def figures_of(
    rows: Sequence[dict], verdicts: dict[str, Verdict], label_sets: dict, normalizer: str = "whisper_english"
) -> dict:
    """Figures by task, and under `evidence` those of rows that ask for evidence, and of `all` ER and SR rows."""
    figures = {}
    by_task = {task: [row for row in rows if row["task"] == task] for task in TASKS}
    for task in EMOTION_TASKS:
        if by_task[task]:
            labels = label_sets[task][1]
            references = [spell_label(row["label"], labels) for row in by_task[task]]
            figures[task] = emotion_figures(references, [verdicts[row["id"]] for row in by_task[task]], labels)
    if by_task["asr"]:
        figures["asr"] = word_errors(*_columns(by_task["asr"], "transcript"), normalizer)
    if by_task["sqa"]:
        figures["sqa"] = squad_figures(*_columns(by_task["sqa"], "answer"))
    reasons = [row for task in EMOTION_TASKS for row in by_task[task]]
    asked = [row for row in reasons if row.get("target") == "evidence"]
    figures["evidence"] = {
        name: evidence_figures(*_columns(some, "transcript"))
        for name, some in (("evidence", asked), ("all", reasons))
        if some
    }
    return figures


def group_figures(rows: Sequence[dict], verdicts: dict[str, Verdict], label_sets: dict, settings: Settings) -> dict:
    """Figures for each value of each grouping column and each pair of values: `{column: {value: figures}}`.

    Raises:
        EvalError: if no row has a column.
    """
    for column in settings.group_by:
        if all(row.get(column) is None for row in rows):
            raise EvalError(f"no row has a value in the column {column!r} to group by.")
    groups = {}
    for columns in [*itertools.combinations(settings.group_by, 1), *itertools.combinations(settings.group_by, 2)]:
        members = defaultdict(list)
        for row in rows:
            members[" / ".join(str(row.get(column)) for column in columns)].append(row)
        groups[" x ".join(columns)] = {
            value: _headline(figures_of(some, verdicts, label_sets, settings.normalizer))
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


def _unanswered(row: dict, prediction: dict | None) -> bool:
    return prediction is None or prediction["error"] is not None or prediction["question"] != row["question"]


def _chunks(rows: list[dict], size: int) -> Iterator[list[dict]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _batches(rows: list[dict], size: int, reject: Callable[[dict, str], None]) -> Iterator[list[tuple]]:
    """Batches of `(row, audio)`, by task and length; rows without usable audio go to `reject`."""
    loaded = []
    for row in rows:
        try:
            loaded.append((row, load_audio(row["audio"], SAMPLING_RATE)))
        except AudioError as error:
            reject(row, str(error))
    # By task first: transcripts and explanations end at different lengths, and a batch takes as long as its longest.
    loaded.sort(key=lambda item: (item[0]["task"], len(item[1])))
    yield from _chunks(loaded, size)


def _answer_batch(system: System, batch: list[tuple]) -> list[tuple]:
    """`(row, prediction, error)` of a batch; if the batch is refused, row by row."""
    rows = [row for row, _ in batch]
    try:
        answers = system.answer_batch([audio for _, audio in batch], [row["question"] for row in rows])
    except ValueError as error:
        if len(batch) == 1:
            return [(rows[0], None, f"{type(error).__name__}: {error}")]
        return [answer for item in batch for answer in _answer_batch(system, [item])]
    if len(answers) != len(rows):
        raise EvalError(f"system {system.name} gave {len(answers)} answers to {len(rows)} questions.")
    return [(row, answer, None) for row, answer in zip(rows, answers)]


def _record(file, bar, answers: list[tuple]) -> None:
    for row, prediction, error in answers:
        audio = row["audio"]["path"] if isinstance(row["audio"], dict) else row["audio"]
        line = {**row, "audio": os.path.basename(audio or ""), "prediction": prediction, "error": error}
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    file.flush()
    bar.update(len(answers))


def _drop_half_written_line(path: Path) -> None:
    """Cut a file after its last whole line, so that the next line does not run into the rest of a killed run's."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with open(path, "r+b") as file:
            file.truncate(whole)


def _claim_folder(out: Path, system: System) -> None:
    """Note whose answers a folder holds; refuse to mix them with another's."""
    path, mine = out / RUN, {"name": system.name, "fingerprint": system.fingerprint}
    if path.exists() and (out / PREDICTIONS).exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if theirs != mine:
            raise EvalError(
                f"{out} holds answers of {theirs['name']} ({theirs['fingerprint']}), not of {mine['name']} "
                f"({mine['fingerprint']}): give another folder, or --overwrite to answer anew."
            )
    _write_json(path, mine)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _write_json(path: Path, content: dict) -> None:
    _replace(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _write_lines(path: Path, lines: Iterable[dict]) -> None:
    _replace(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _replace(path: Path, text: str) -> None:
    """Write a file at once, so that a killed run leaves the old one or the new one."""
    written = path.with_name(path.name + ".part")
    written.write_text(text, encoding="utf-8")
    written.replace(path)


def command_line(arguments: Sequence[str]) -> str:
    """The command that repeats a run, quoted for a shell."""
    return shlex.join(["python", "-m", "audiollm.eval", *arguments])
