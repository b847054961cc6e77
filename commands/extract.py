"""Ask a teacher language model why each speaker sounds as labelled, check every answer, ask again what was refused,
and write new training rows. Stop it whenever you like; the same command goes on.

example: audiollm extract build/meld --split train --teacher server:gemma-2-9b-it@http://localhost:8000/v1
  --out build/reasons"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..reasons.rows import TEACHER_TARGETS
from .arguments import DONE, LEFT, add_list, count, count_or_none, refuse_unread


if TYPE_CHECKING:
    from ..reasons.rows import Input


TARGETS = ("label", *TEACHER_TARGETS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="+", help="rows of the schema: JSON-lines files, or folders of them")
    parser.add_argument("--out", required=True, type=Path, help="folder for journal, rows and rejects")
    parser.add_argument(
        "--teacher",
        help="server:MODEL@URL, server:MODEL (at OPENAI_BASE_URL), or a local checkpoint; not needed for label",
    )
    parser.add_argument("--split", help="only rows of this split")
    add_list(parser, "--targets", choices=TARGETS, help=f"default: {' '.join(TARGETS)}")
    parser.add_argument("--attempts", type=count, default=3, help="answers per target before it is set aside (3)")
    parser.add_argument("--alike", type=int, default=3, help="one explanation at most so often; 0: no limit (3)")
    parser.add_argument("--prompts", help="prompt file of your own; see docs/reasons.md")
    parser.add_argument(
        "--context",
        type=count_or_none,
        default=0,
        metavar="TURNS",
        help="tell the teacher so many earlier turns of a row (0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of questions and sampling (0)")
    parser.add_argument("--limit", type=count, help="only so many rows")
    add_list(parser, "--marks", metavar="FILE", help="a reviewer's marks, saved from the audit page")
    parser.add_argument(
        "--rejected", choices=("again", "aside"), default="again", help="what becomes of answers marked as rejected"
    )
    parser.add_argument("--temperature", type=float, default=0.0, help="of the teacher's sampling (0: greedy)")
    parser.add_argument("--max-new-tokens", type=count, default=128, help="longest answer (128)")
    parser.add_argument("--concurrency", type=count, default=16, help="requests in flight, for a server (16)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds per request, for a server (120)")
    parser.add_argument("--retries", type=int, default=4, help="further tries of a failed request (4)")
    parser.add_argument("--batch-size", type=count, default=16, help="prompts together, for a local teacher (16)")
    parser.add_argument("--dry-run", action="store_true", help="show prompts, counts and cost; ask nothing")
    parser.add_argument("--probe", type=int, default=0, help="with --dry-run: ask so many, to measure the time")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    from ..reasons.rows import Input

    options.targets = list(dict.fromkeys(options.targets)) or list(TARGETS)
    asks, server = bool(set(options.targets) & set(TEACHER_TARGETS)), (options.teacher or "").startswith("server:")
    refuse_unread(options, ["--teacher"], f"targets that a teacher writes ({', '.join(TEACHER_TARGETS)})", asks)
    refuse_unread(options, ["--probe"], "--dry-run", options.dry_run)
    refuse_unread(options, ["--marks", "--rejected"], "an extraction, which --dry-run is not", not options.dry_run)
    refuse_unread(options, ["--rejected"], "--marks", bool(options.marks))
    refuse_unread(options, ["--concurrency", "--timeout", "--retries"], "a teacher at a server", server)
    refuse_unread(options, ["--batch-size"], "a local teacher", not server)
    source = Input(options.data, options.split, options.limit)
    return _dry_run(options, source) if options.dry_run else _extract(options, source)


def _extract(options: argparse.Namespace, source: Input) -> int:
    from tqdm import tqdm

    from ..reasons.extract import Extraction
    from ..reasons.marks import apply_marks, read_marks
    from ..reasons.prompts import read_prompts

    marks = [mark for path in options.marks for mark in read_marks(path)]
    extraction = Extraction(
        source,
        options.out,
        _teacher(options) if set(options.targets) & set(TEACHER_TARGETS) else None,
        read_prompts(options.prompts, options.context),
        options.targets,
        options.attempts,
        options.seed,
        options.temperature,
        options.max_new_tokens,
        options.alike,
    )
    with extraction:
        if marks:
            done = apply_marks(marks, extraction.attempts, source, options.rejected == "aside")
            print("marks: " + ", ".join(f"{number} {name}" for name, number in done.items() if number))
        with tqdm(unit=" answers", disable=options.quiet or None) as bar:
            counts: dict[str, int] = {}

            def progress(_, state: str):
                counts[state] = counts.get(state, 0) + 1
                bar.set_postfix(counts, refresh=False)
                bar.update()

            report = extraction.run(progress)
    print(report.text())
    return LEFT if report.unfinished else DONE


def _dry_run(options: argparse.Namespace, source: Input) -> int:
    from ..reasons.estimate import describe, estimate, probe, probe_jobs
    from ..reasons.extract import ATTEMPTS, Answers
    from ..reasons.prompts import read_prompts

    prompts = read_prompts(options.prompts, options.context)
    survey = source.survey()
    answers = Answers(options.out) if (options.out / ATTEMPTS).exists() else None

    def is_open(key: str) -> bool:
        return answers is None or answers.is_open(key, options.attempts)

    found = estimate(source, prompts, options.targets, is_open)
    measured = None
    if options.probe:
        measured = probe(_teacher(options), probe_jobs(source, options.targets, options.probe), prompts)
    print(describe(survey, found, prompts, measured))
    return DONE


def _teacher(options: argparse.Namespace):
    from ..language_models import load_language_model
    from ..reasons.extract import ExtractionError

    if not options.teacher:
        raise ExtractionError("say who is to be asked: --teacher server:MODEL@URL, or a checkpoint folder.")
    settings = {"max_new_tokens": options.max_new_tokens, "temperature": options.temperature}
    if options.teacher.startswith("server:"):
        settings |= {name: getattr(options, name) for name in ("concurrency", "timeout", "retries")}
    else:
        settings["batch_size"] = options.batch_size
    try:
        return load_language_model(options.teacher, **settings)
    except Exception as error:  # whatever a checkpoint or a client can fail with
        raise ExtractionError(f"teacher {options.teacher}: {error}") from error
