"""From rows to predictions to figures: batched, resumable, and with all that is needed to reproduce them."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..files import naming_a_full_disk
from ..locks import folder_lock
from ..processing.conversation import asked
from ..redact import redact
from . import EvalError
from .answering import answer_rows, join_predictions
from .figures import check_columns, describe_judging, figures_of, group_figures, judge_rows
from .judges import Judge, check_judge, load_judge
from .metrics import TASK_NAMES
from .normalizers import load_normalizer
from .results import (
    CLAIMS,
    MEASURES,
    PREDICTIONS,
    RATED,
    RATINGS,
    REPORT,
    RESULTS,
    RUN,
    VERDICTS,
    read_predictions,
    read_results,
    write_json,
    write_lines,
)
from .rows import asked_for, find_label_sets, name_clips, read_data, select_rows, with_context
from .systems import System, load_system
from .systems.swapped import counted_by, meet_rows
from .voice import check_claims


PACKAGES = ("audiollm", "torch", "transformers", "datasets", "evaluate", "jiwer", "numpy", "soundfile", "openai")

# Settings that choose rows.
CHOICE = ("data", "split", "tasks", "limit", "seed")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a run was asked for.

    Args:
        system: checkpoint folder or name of a system.
        data: corpus, as a configuration of a training names it (see [`read_data`](rows.py)).
        split: which split of it.
        judge: who decides emotion and sentiment answers; one with a language model rates answers and evidence too.
        prompts: that language model's rubrics.
        max_unscored: share of its verdicts that may fail before the run counts as failed.
        normalizer: text normaliser of WER.
        label_set: name or list of the emotion classes; None takes the smallest named set with all labels of the data.
        tasks: tasks to evaluate; empty takes all.
        group_by: row columns by whose values, and by whose pairs of values, figures are given too.
        batch_size: clips answered together.
        max_new_tokens: longest answer, in tokens.
        question_format, system_prompt, trust_remote_code, quote_confidence: of the system (see [`load_system`]).
        context: earlier turns told with each row, at most; all that a row has when left out.
        ask: kind of answer that emotion and sentiment rows are asked for, instead of their own (see [`asked_for`]).
        limit: evaluate a random sample of so many rows.
        seed: of that sample, and of a judge that samples.
    """

    system: str
    data: str | dict[str, Any]
    split: str = "test"
    judge: str = "rule"
    prompts: str = "audiollm"
    max_unscored: float = 0.05
    normalizer: str = "whisper_english"
    label_set: str | None = None
    tasks: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    batch_size: int = 8
    max_new_tokens: int = 128
    question_format: str = "{question}"
    system_prompt: str | None = None
    trust_remote_code: bool = False
    quote_confidence: float | None = None
    limit: int | None = None
    seed: int = 0
    context: int | None = None
    ask: str | None = None


def evaluate_system(
    settings: Settings,
    out: str | Path,
    system: System | None = None,
    overwrite: bool = False,
    replace_results: bool = False,
    progress: bool = True,
    command: str | None = None,
    judge: Judge | None = None,
    judge_options: dict | None = None,
) -> dict:
    """Answer, judge and count; write `predictions.jsonl`, what was decided on each answer, and `results.json`.

    Answers, and a language model's verdicts, are kept as they arrive. Started again, the run asks only for rows
    without an answer, for rows whose audio could not be read, and for verdicts that are not there.

    Args:
        settings: what to evaluate, and how.
        out: folder to write to.
        system: evaluate this object instead of building `settings.system`.
        overwrite: forget the answers and results that the folder holds; a language model's verdicts stay, for they
            belong to what was answered.
        replace_results: keep the answers, and replace results that were counted otherwise.
        progress: show a bar.
        command: the command line, to keep with the results.
        judge: ask this object instead of building `settings.judge`.
        judge_options: of the judge's language model, on which no verdict depends (concurrency, timeout, retries).

    Returns:
        The results, as written. `judging.failed` says whether more of the judge's verdicts failed than allowed.

    Raises:
        EvalError: for rows without what their task needs, repeated ids, no rows, labels outside the label set, or a
            folder with answers of another system or of other rows, or results that were counted otherwise.
        FolderInUseError: if another process evaluates into the folder.
        JournalError: if a line of the folder's files is broken.
    """
    out = Path(out)
    rows = select_rows(read_data(settings.data, settings.split), settings.tasks, settings.limit, settings.seed)
    rows = asked_for(with_context(rows, settings.context), settings.ask, settings.data)
    label_sets = find_label_sets(rows, settings.label_set)
    check_columns(rows, settings.group_by)
    load_normalizer(settings.normalizer)
    given = judge is not None
    judge = judge or load_judge(
        settings.judge, settings.prompts, out / RATINGS, settings.seed, progress, **(judge_options or {})
    )
    check_judge(judge)
    if given:
        settings = replace(settings, judge=judge.name)
    with folder_lock(out, "run of `audiollm eval`"), naming_a_full_disk(out):
        return _evaluate(settings, out, rows, label_sets, system, judge, overwrite, replace_results, progress, command)


def _evaluate(
    settings: Settings,
    out: Path,
    rows: list[dict],
    label_sets: dict,
    system: System | None,
    judge: Judge,
    overwrite: bool,
    replace_results: bool,
    progress: bool,
    command: str | None,
) -> dict:
    if not overwrite:
        check_results(out, rows, settings, label_sets, judge, replace_results)
    system = system or load_system(
        settings.system,
        settings.data,
        settings.max_new_tokens,
        settings.question_format,
        settings.system_prompt,
        settings.trust_remote_code,
        settings.quote_confidence,
    )
    if overwrite:
        for name in (PREDICTIONS, RUN, VERDICTS, RATED, CLAIMS, MEASURES, RESULTS, REPORT):
            (out / name).unlink(missing_ok=True)
    before, counted_before = _claim_folder(out, system)
    meet_rows(system, rows)
    started, clock, at_first = time.time(), time.monotonic(), counted_by(system)

    def counted_so_far() -> dict[str, int] | None:
        if counted_before is None:
            return None
        now = {name: count - at_first.get(name, 0) for name, count in counted_by(system).items()}
        return {name: counted_before.get(name, 0) + count for name, count in now.items()}

    def seconds_so_far() -> float:
        seconds = time.monotonic() - clock
        _note_claim(out, system, before + seconds, counted_so_far())
        return seconds

    clips = name_clips(rows, settings.data)
    fresh = answer_rows(system, rows, out / PREDICTIONS, clips, settings.batch_size, progress, seconds_so_far)
    seconds = seconds_so_far()
    answered, failed = join_predictions(rows, read_predictions(out / PREDICTIONS))
    claims = check_claims(answered, out / MEASURES, progress)
    judgements = replace(judge_rows(answered, judge, label_sets), claims=claims)
    verdicts = judgements.verdicts
    write_lines(out / VERDICTS, ({"id": id_, **verdict.to_dict()} for id_, verdict in verdicts.items()))
    write_lines(
        out / RATED,
        (
            {"id": id_, "what": what, **asdict(rating)}
            for what, given in judgements.ratings.items()
            for id_, rating in given.items()
        ),
    )
    write_lines(out / CLAIMS, ({"id": id_, "claims": found} for id_, found in claims.items()))
    results = {
        "format": 1,
        "system": {
            "name": system.name,
            "spec": settings.system,
            "fingerprint": system.fingerprint,
            **system.describe(),
            **(counted_so_far() or {}),
        },
        "settings": _plain(settings),
        "label_sets": {task: {"name": name, "labels": list(labels)} for task, (name, labels) in label_sets.items()},
        "counts": {
            "rows": len(rows),
            "answered": len(answered),
            "errors": len(failed),
            "refused": sum(row["refused"] for row in failed),
            "unscored": sum(verdict.score is None for verdict in verdicts.values()),
            "rows_by_task": dict(Counter(row["task"] for row in rows)),
        },
        "figures": figures_of(answered, judgements, label_sets, settings.normalizer),
        "judging": describe_judging(judge, judgements, settings.max_unscored),
        "groups": group_figures(answered, judgements, label_sets, settings.group_by, settings.normalizer),
        "errors": [{"id": row["id"], "error": row["error"]} for row in failed],
        "time": {
            "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
            "answering_seconds": round(before + seconds, 2),
            "rows_answered_now": fresh,
            "rows_per_second": round(fresh / seconds, 3) if fresh and seconds > 0 else None,
        },
        "versions": _versions(),
        "command": command,
    }
    results = redact(results, paths=False)
    _drop_old_report(out, results)
    write_json(out / RESULTS, results)
    return results


def check_results(
    out: Path, rows: Sequence[dict], settings: Settings, label_sets: dict, judge: Judge, replace: bool = False
) -> None:
    """Refuse to go on in a folder with what another evaluation left there.

    Answers of rows that are not asked about now are never dropped; results that were counted otherwise only if
    `replace` says so.

    Raises:
        EvalError: naming every difference.
    """
    if not (out / PREDICTIONS).exists():
        return
    held = read_predictions(out / PREDICTIONS)
    results = read_results(out) if (out / RESULTS).exists() else None
    ids = {row["id"] for row in rows}
    gone = held.keys() - ids
    new = ids - held.keys() if results and results["counts"]["rows"] != len(rows) else set()
    changed = [row["id"] for row in rows if row["id"] in held and _content(row) != _content(held[row["id"]])]
    mine = _conditions(_plain(settings), {task: labels for task, (_, labels) in label_sets.items()}, judge.name)
    theirs = {}
    if results:
        labels = {task: of["labels"] for task, of in results["label_sets"].items()}
        by = results.get("judging", {}).get("judge", results["settings"]["judge"])
        theirs = _conditions(results["settings"], labels, by)
    same_data = all(theirs.get(name, mine[name]) == mine[name] for name in ("data", "split"))
    changed = [] if same_data else changed
    found = [f"{len(gone)} of its rows are not among the {len(rows)} here"] if gone else []
    found += [f"{len(new)} rows are new"] if new else []
    found += [f"{len(changed)} rows are others (first: {changed[0]})"] if changed else []
    found += [
        f"{name} {_told(name, theirs[name])} there, {_told(name, mine.get(name))} here"
        for name in theirs
        if (found or name not in CHOICE) and name in mine and not _fits(name, mine[name], theirs[name])
    ]
    if not found or (replace and not gone):
        return
    way = "" if gone else ", --replace-results to keep its answers and count them anew"
    raise EvalError(
        f"{out} holds an evaluation of other things: {'; '.join(found)}. Give another folder{way}, or --overwrite to "
        "answer anew."
    )


def _plain(settings: Settings) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def _content(row: dict) -> list:
    return [asked(row), *(row.get(name) for name in ("task", "label", "transcript", "answer"))]


def _conditions(settings: dict, labels: dict[str, Sequence[str]], judge: str) -> dict:
    """What figures depend on beside the answers."""
    told = {name: settings.get(name) for name in (*CHOICE, "context", "ask", "normalizer", "group_by")}
    told |= {f"{TASK_NAMES[task]} classes": list(classes) for task, classes in labels.items()}
    return told | {"judge": judge, "prompts": settings.get("prompts") if judge != "rule" else None}


def _fits(name: str, mine: Any, theirs: Any) -> bool:
    # Further groups take nothing away.
    return set(theirs or ()) <= set(mine or ()) if name == "group_by" else mine == theirs


def _told(name: str, value: Any) -> str:
    if value in (None, []):
        return "nothing" if name in ("group_by", "ask") else "all"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _drop_old_report(out: Path, results: dict) -> None:
    """Take away a report of other figures than those that are written now."""
    if not (out / REPORT).exists() or not (out / RESULTS).exists():
        return
    before = read_results(out)
    if any(before[name] != results[name] for name in ("figures", "groups", "label_sets")):
        (out / REPORT).unlink()
        logger.warning("%s showed other figures and is gone; write it again with `audiollm report`.", out / REPORT)


def _claim_folder(out: Path, system: System) -> tuple[float, dict[str, int] | None]:
    """Note whose answers a folder holds, and refuse to mix them with others.

    Returns:
        The seconds that they took, and what was counted of them; None if it was not kept, as it once was not.
    """
    before: float = 0.0
    counted: dict[str, int] | None = {}
    if (out / RUN).exists() and (out / PREDICTIONS).exists():
        theirs = json.loads((out / RUN).read_text(encoding="utf-8"))
        if theirs["fingerprint"] != system.fingerprint:
            raise EvalError(
                f"{out} holds answers of {theirs['name']} ({theirs['fingerprint']}), not of {system.name} "
                f"({system.fingerprint}): give another folder, or --overwrite to answer anew."
            )
        before, counted = theirs.get("seconds", 0.0), theirs.get("counted")
    _note_claim(out, system, before, counted)
    return before, counted


def _note_claim(out: Path, system: System, seconds: float, counted: dict[str, int] | None) -> None:
    claim = {"name": system.name, "fingerprint": system.fingerprint, "seconds": seconds, "counted": counted}
    write_json(out / RUN, claim)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def command_line(arguments: Sequence[str]) -> str:
    """The command that repeats a run, quoted for a shell."""
    return shlex.join(["audiollm", *arguments])


__all__ = ["Settings", "command_line", "evaluate_system"]
