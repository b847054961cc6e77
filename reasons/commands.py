"""The commands `extract` and `audit` of `python -m audiollm`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from ..language_models.journal import JournalError
from .audit import AUDIO_MODES, AuditError, Page, write_audit
from .estimate import describe, estimate, probe, probe_jobs
from .extract import ATTEMPTS, Answers, Extraction, ExtractionError
from .marks import MarksError, apply_marks, read_marks
from .prompts import PromptError, read_prompts
from .rows import TEACHER_TARGETS, Input, InputError


TARGETS = ("label", *TEACHER_TARGETS)
ERRORS = (ExtractionError, InputError, PromptError, MarksError, JournalError, AuditError, ImportError, OSError)
DONE, UNFINISHED, FAILED = 0, 1, 2


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `extract` and `audit`; each sets `run`, a function of the arguments that returns the exit code."""
    _add_extract(subparsers)
    _add_audit(subparsers)


def _add_extract(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "extract",
        help="ask a teacher for the reasons behind the labels",
        description="Ask a teacher language model why each speaker sounds as labelled, check every answer, ask again "
        "what was refused, and write new training rows. Stop it whenever you like; the same command goes on.",
        epilog="example: extract data/meld --split train --teacher server:gemma-2-9b-it@http://localhost:8000/v1 "
        "--out build/reasons",
    )
    parser.add_argument("data", nargs="+", help="rows of the schema: JSON-lines files, or folders of them")
    parser.add_argument("--out", required=True, type=Path, help="folder for journal, rows and rejects")
    parser.add_argument("--teacher", help="server:MODEL@URL, server:MODEL (at OPENAI_BASE_URL), or a local checkpoint")
    parser.add_argument("--split", help="only rows of this split")
    parser.add_argument("--targets", default=",".join(TARGETS), type=_targets, help="default: %(default)s")
    parser.add_argument("--attempts", type=_count, default=3, help="answers per target before it is set aside (3)")
    parser.add_argument("--alike", type=int, default=3, help="one explanation at most so often; 0: no limit (3)")
    parser.add_argument("--prompts", help="prompt file of your own; see docs/reasons.md")
    parser.add_argument("--seed", type=int, default=0, help="of questions and sampling (0)")
    parser.add_argument("--limit", type=_count, help="only so many rows")
    parser.add_argument("--marks", action="append", default=[], help="a reviewer's marks, saved from the audit page")
    parser.add_argument(
        "--rejected", choices=("again", "aside"), default="again", help="what becomes of answers marked as rejected"
    )
    parser.add_argument("--temperature", type=float, default=0.0, help="of the teacher's sampling (0: greedy)")
    parser.add_argument("--max-new-tokens", type=_count, default=128, help="longest answer (128)")
    parser.add_argument("--concurrency", type=_count, default=16, help="requests in flight, for a server (16)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds per request, for a server (120)")
    parser.add_argument("--retries", type=int, default=4, help="further tries of a failed request (4)")
    parser.add_argument("--batch-size", type=_count, default=16, help="prompts together, for a local teacher (16)")
    parser.add_argument("--dry-run", action="store_true", help="show prompts, counts and cost; ask nothing")
    parser.add_argument("--probe", type=int, default=0, help="with --dry-run: ask so many, to measure the time")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run_extract)


def _add_audit(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "audit",
        help="make a page to listen to, read and mark what was extracted",
        description="Write one HTML file: a sample of targets per label with audio and highlighted quotes, rates and "
        "distributions, and buttons whose marks the next `extract --marks` takes up.",
    )
    parser.add_argument("data", nargs="+", help="the rows that were extracted from")
    parser.add_argument("--reasons", required=True, type=Path, help="the folder that extract wrote")
    parser.add_argument("--out", type=Path, help="file to write (default: audit.html in the folder)")
    parser.add_argument("--split", help="only rows of this split")
    parser.add_argument("--per-label", type=_count, default=4, help="samples per target and label (4)")
    parser.add_argument("--attempts", type=_count, default=3, help="as extract was told (3)")
    parser.add_argument("--refused", type=int, default=12, help="answers to show that were set aside (12)")
    parser.add_argument(
        "--audio", choices=AUDIO_MODES, default="embed", help="embed it, link to the files, or leave it out (embed)"
    )
    parser.add_argument("--audio-seconds", type=float, default=20.0, help="embed at most so much of a clip (20)")
    parser.add_argument("--audio-megabytes", type=float, default=30.0, help="embed at most so much in all (30)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    parser.set_defaults(run=run_audit)


def run_extract(arguments: argparse.Namespace) -> int:
    """Run `extract`: 0 when nothing is left to ask, 1 when requests failed, 2 when it could not go on."""
    try:
        source = Input(arguments.data, arguments.split, arguments.limit)
        if arguments.dry_run:
            return _dry_run(arguments, source)
        return _extract(arguments, source)
    except ERRORS as error:
        print(f"extract: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("extract: stopped; the same command goes on.", file=sys.stderr)
        return 130


def run_audit(arguments: argparse.Namespace) -> int:
    """Run `audit`: 0 when the page was written, 2 when not."""
    try:
        page = Page(
            per_label=arguments.per_label,
            refused=arguments.refused,
            audio=arguments.audio,
            audio_seconds=arguments.audio_seconds,
            audio_megabytes=arguments.audio_megabytes,
            attempts=arguments.attempts,
            seed=arguments.seed,
        )
        print(write_audit(Input(arguments.data, arguments.split), arguments.reasons, arguments.out, page))
        return DONE
    except ERRORS as error:
        print(f"audit: {error}", file=sys.stderr)
        return FAILED


def _extract(arguments: argparse.Namespace, source: Input) -> int:
    marks = [mark for path in arguments.marks for mark in read_marks(path)]
    prompts = read_prompts(arguments.prompts)
    extraction = Extraction(
        source,
        arguments.out,
        _teacher(arguments),
        prompts,
        arguments.targets,
        arguments.attempts,
        arguments.seed,
        arguments.temperature,
        arguments.max_new_tokens,
        arguments.alike,
    )
    with extraction:
        if marks:
            done = apply_marks(marks, extraction.attempts, source, arguments.rejected == "aside")
            print("marks: " + ", ".join(f"{count} {name}" for name, count in done.items() if count))
        with tqdm(unit=" answers", disable=arguments.quiet or None) as bar:
            counts: dict[str, int] = {}

            def progress(_, state: str):
                counts[state] = counts.get(state, 0) + 1
                bar.set_postfix(counts, refresh=False)
                bar.update()

            report = extraction.run(progress)
    print(report.text())
    return UNFINISHED if report.unfinished else DONE


def _dry_run(arguments: argparse.Namespace, source: Input) -> int:
    prompts = read_prompts(arguments.prompts)
    survey = source.survey()
    answers = Answers(arguments.out) if (arguments.out / ATTEMPTS).exists() else None

    def is_open(key: str) -> bool:
        return answers is None or answers.is_open(key, arguments.attempts)

    found = estimate(source, prompts, arguments.targets, is_open)
    measured = None
    if arguments.probe:
        measured = probe(_teacher(arguments), probe_jobs(source, arguments.targets, arguments.probe), prompts)
    print(describe(survey, found, prompts, measured))
    return DONE


def _teacher(arguments: argparse.Namespace):
    from ..language_models import load_language_model

    if not arguments.teacher:
        raise ExtractionError("say who is to be asked: --teacher server:MODEL@URL, or a checkpoint folder.")
    options = {"max_new_tokens": arguments.max_new_tokens, "temperature": arguments.temperature}
    if arguments.teacher.startswith("server:"):
        options |= {name: getattr(arguments, name) for name in ("concurrency", "timeout", "retries")}
    else:
        options["batch_size"] = arguments.batch_size
    try:
        return load_language_model(arguments.teacher, **options)
    except Exception as error:  # whatever a checkpoint or a client can fail with
        raise ExtractionError(f"teacher {arguments.teacher}: {error}") from error


def _targets(text: str) -> list[str]:
    targets = [target.strip() for target in text.split(",") if target.strip()]
    for target in targets:
        if target not in TARGETS:
            raise argparse.ArgumentTypeError(f"{target!r} is not one of {', '.join(TARGETS)}")
    return targets or list(TARGETS)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
