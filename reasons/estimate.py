"""What an extraction would ask, and what that would take, before anything is asked."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..language_models import LanguageModel, Messages
from .prompts import Prompts
from .rows import TEACHER_TARGETS, Input, Job, Survey


CHARACTERS_PER_TOKEN = 4  # of English; a teacher's own tokenizer may differ by a third
TOKENS_PER_ANSWER = 45  # a sentence or two
SPEEDS = (20, 200, 2000)  # new tokens per second: a small model on a CPU, a server, a server at full load


@dataclass
class Estimate:
    """Jobs to be asked by kind, their prompts' characters, and a prompt of each kind."""

    jobs: Counter
    characters: int
    samples: dict[tuple[str, str], Job]

    @property
    def total(self) -> int:
        return sum(self.jobs.values())


@dataclass(frozen=True)
class Probe:
    """What asking a few jobs took."""

    answers: int
    seconds: float
    new_tokens: int | None
    errors: int


def estimate(
    source: Input, prompts: Prompts, targets: Sequence[str], is_open: Callable[[str], bool] = lambda key: True
) -> Estimate:
    """Count what is still to be asked.

    Args:
        source: rows to explain.
        prompts: what would be asked.
        targets: of the extraction; those that need no teacher cost nothing.
        is_open: whether a job, known by its key, is still to be asked.
    """
    found = Estimate(Counter(), 0, {})
    for job in source.jobs([target for target in TEACHER_TARGETS if target in targets]):
        if is_open(job.key):
            found.jobs[job.kind] += 1
            found.characters += sum(len(message["content"]) for message in job_messages(job, prompts))
            found.samples.setdefault(job.kind, job)
    return found


def probe(teacher: LanguageModel, jobs: Iterable[Job], prompts: Prompts) -> Probe:
    """Ask a few jobs, for the time it takes; the answers are thrown away."""
    start = time.perf_counter()
    replies = [reply for _, reply in teacher.ask(job_messages(job, prompts) for job in jobs)]
    tokens: list[Any] = [reply.new_tokens for reply in replies if reply.text is not None]
    errors = sum(reply.text is None for reply in replies)
    new_tokens = None if None in tokens else sum(tokens)
    return Probe(len(replies) - errors, time.perf_counter() - start, new_tokens, errors)


def probe_jobs(source: Input, targets: Sequence[str], number: int) -> list[Job]:
    """The first jobs of an input."""
    wanted = [target for target in TEACHER_TARGETS if target in targets]
    return list(itertools.islice(source.jobs(wanted), number))


def job_messages(job: Job, prompts: Prompts) -> Messages:
    """A job's first prompt."""
    row = job.row
    told = prompts.told(row)
    return prompts.messages(job.target, row["task"], row["label"], row["transcript"], context=told)


def describe(survey: Survey, found: Estimate, prompts: Prompts, probed: Probe | None = None) -> str:
    """The dry run as text: rows, sample prompts, tokens and time."""
    lines = ["Rows to explain:"]
    lines += [f"  {task} {label:<14}{count:>9}" for (task, label), count in sorted(survey.rows.items())]
    lines += [f"  left out: {count} {reason}" for reason, count in sorted(survey.left_out.items())]
    if survey.unfit:
        lines.append(f"  unfit: {survey.unfit} lines, each with its reason in the reject file of a real run")
    for (target, task), job in found.samples.items():
        lines.append(f"\nPrompt, {target} {task} (version {prompts.version}), for row {job.row['id']}:")
        for message in job_messages(job, prompts):
            lines += [f"  {message['role']:<9} | {line}" for line in message["content"].splitlines()]
    lines.append("\nTo ask:")
    lines += [f"  {target:<13}{task} {count:>9}" for (target, task), count in found.jobs.items()]
    read = found.characters // CHARACTERS_PER_TOKEN
    written = found.total * TOKENS_PER_ANSWER
    lines.append(f"About {read:,} tokens to read and {written:,} to write, if nothing is asked again.")
    if probed is None:
        lines += [f"  at {speed:>5} new tokens a second: {_duration(written / speed)}" for speed in SPEEDS]
        lines.append("--probe 32 measures this teacher.")
    elif not probed.answers:
        lines.append(f"The teacher answered none of {probed.errors} probes.")
    else:
        tokens = "" if probed.new_tokens is None else f", {probed.new_tokens / probed.answers:.0f} tokens each"
        errors = f", {probed.errors} failed" if probed.errors else ""
        lines.append(
            f"Probe: {probed.answers} answers in {probed.seconds:.1f} s{tokens}{errors}; "
            f"all would take {_duration(probed.seconds / probed.answers * found.total)}."
        )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
