"""From rows to predictions to figures: batched, resumable, and with all that is needed to reproduce them."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..corpora.schema import read_rows
from . import EvalError
from .answering import answer_rows, join_predictions
from .figures import describe_judging, figures_of, group_figures, judge_rows
from .judges import Judge, check_judge, load_judge
from .results import (
    PREDICTIONS,
    RATED,
    RATINGS,
    RESULTS,
    RUN,
    VERDICTS,
    read_predictions,
    write_json,
    write_lines,
)
from .rows import find_label_sets, select_rows
from .systems import System, load_system


PACKAGES = ("audiollm", "torch", "transformers", "datasets", "evaluate", "jiwer", "numpy", "soundfile", "openai")


@dataclass(frozen=True)
class Settings:
    """What a run was asked for.

    Args:
        system: checkpoint folder or name of a system.
        data: corpus folder or JSON-lines file.
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
        limit: evaluate a random sample of so many rows.
        seed: of that sample, and of a judge that samples.
    """

    system: str
    data: str
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


def evaluate_system(
    settings: Settings,
    out: str | Path,
    system: System | None = None,
    overwrite: bool = False,
    progress: bool = True,
    command: str | None = None,
    judge: Judge | None = None,
    judge_options: dict | None = None,
) -> dict:
    """Answer, judge and count; write `predictions.jsonl`, `verdicts.jsonl`, `rated.jsonl` and `results.json`.

    Answers, and a language model's verdicts, are kept as they arrive. Started again, the run asks only for rows
    without an answer, for rows whose audio could not be read, and for verdicts that are not there.

    Args:
        settings: what to evaluate, and how.
        out: folder to write to.
        system: evaluate this object instead of building `settings.system`.
        overwrite: forget the answers that the folder holds; verdicts stay, for they belong to what was answered.
        progress: show a bar.
        command: the command line, to keep with the results.
        judge: ask this object instead of building `settings.judge`.
        judge_options: of the judge's language model, on which no verdict depends (concurrency, timeout, retries).

    Returns:
        The results, as written. `judging.failed` says whether more of the judge's verdicts failed than allowed.

    Raises:
        EvalError: for rows without what their task needs, repeated ids, no rows, labels outside the label set, or a
            folder with another system's answers.
        JournalError: if a line of the folder's files is broken.
    """
    out = Path(out)
    rows = select_rows(read_rows(settings.data, settings.split), settings.tasks, settings.limit, settings.seed)
    label_sets = find_label_sets(rows, settings.label_set)
    judge = judge or load_judge(
        settings.judge, settings.prompts, out / RATINGS, settings.seed, progress, **(judge_options or {})
    )
    check_judge(judge)
    system = system or load_system(
        settings.system,
        settings.data,
        settings.max_new_tokens,
        settings.question_format,
        settings.system_prompt,
        settings.trust_remote_code,
        settings.quote_confidence,
    )
    out.mkdir(parents=True, exist_ok=True)
    if overwrite:
        (out / PREDICTIONS).unlink(missing_ok=True)
        (out / RUN).unlink(missing_ok=True)
    _claim_folder(out, system)
    started = time.time()
    fresh = answer_rows(system, rows, out / PREDICTIONS, settings.batch_size, progress)
    seconds = time.time() - started
    answered, failed = join_predictions(rows, read_predictions(out / PREDICTIONS))
    judgements = judge_rows(answered, judge, label_sets)
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
        "figures": figures_of(answered, judgements, label_sets, settings.normalizer),
        "judging": describe_judging(judge, judgements, settings.max_unscored),
        "groups": group_figures(answered, judgements, label_sets, settings.group_by, settings.normalizer),
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
    write_json(out / RESULTS, results)
    return results


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
    write_json(path, mine)


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
