"""Evaluate systems on a corpus: `python -m audiollm.eval --system FOLDER --data FOLDER_OR_JSONL --out DIR`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..corpora.schema import TASKS, RowError
from ..language_models.journal import JournalError
from . import EvalError
from .judges import JUDGE_FORMS
from .judges.rubrics import PROMPTS
from .normalizers import NORMALIZERS
from .run import RESULTS, Settings, command_line, evaluate_system
from .systems import SYSTEM_FORMS
from .tables import all_tables


FAILED = 3  # exit code of a run whose results are written, but fail a stated bound


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audiollm.eval", description="Evaluate systems on a corpus.")
    parser.add_argument(
        "--system",
        required=True,
        nargs="+",
        help=f"{SYSTEM_FORMS}. Several are evaluated one after another, each in a folder of its own in --out",
    )
    parser.add_argument("--data", required=True, help="corpus folder with SPLIT.jsonl, or a JSON-lines file")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", required=True, help="folder for predictions, verdicts and results")
    parser.add_argument("--judge", default="rule", help=JUDGE_FORMS)
    parser.add_argument("--judge-prompts", default="audiollm", choices=sorted(PROMPTS), help="rubrics of an LLM judge")
    parser.add_argument(
        "--max-unscored", type=float, default=0.05, help="fail above this share of an LLM judge's verdicts that fail"
    )
    parser.add_argument("--judge-concurrency", type=int, default=16, help="requests to a judge's server at once")
    parser.add_argument("--judge-timeout", type=float, default=120, help="seconds for one request to it")
    parser.add_argument(
        "--normalizer", default="whisper_english", help=f"of WER: {', '.join(NORMALIZERS)}, or whisper_english:FOLDER"
    )
    parser.add_argument("--label-set", help="emotion classes: emotion7, ravdess8, iemocap10, or a list with commas")
    parser.add_argument("--tasks", nargs="+", default=[], choices=TASKS, help="default: all in the data")
    parser.add_argument(
        "--group-by", nargs="+", default=[], metavar="COLUMN", help="give figures by these row columns"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--question-format", default="{question}", help="how questions are put to other systems")
    parser.add_argument("--system-prompt", help="said before to a chat model or endpoint")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the code that a chat model brings")
    parser.add_argument(
        "--quote-confidence", type=float, help="least probability of a quoted word, 0 to 1; default: the checkpoint's"
    )
    parser.add_argument("--limit", type=int, help="evaluate a random sample of so many rows")
    parser.add_argument("--seed", type=int, default=0, help="of that sample")
    parser.add_argument("--overwrite", action="store_true", help="forget the answers that the folder holds")
    parser.add_argument(
        "--report", action="store_true", help="write report.html too: of the first system, beside the others"
    )
    parser.add_argument("--train-log", help="trainer_state.json, whose losses the report shows")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = build_parser().parse_args(arguments)
    settings = Settings(
        system="",
        data=options.data,
        split=options.split,
        judge=options.judge,
        prompts=options.judge_prompts,
        max_unscored=options.max_unscored,
        normalizer=options.normalizer,
        label_set=options.label_set,
        tasks=tuple(options.tasks),
        group_by=tuple(options.group_by),
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
        question_format=options.question_format,
        system_prompt=options.system_prompt,
        trust_remote_code=options.trust_remote_code,
        quote_confidence=options.quote_confidence,
        limit=options.limit,
        seed=options.seed,
    )
    try:
        folders = _folders(options.system, Path(options.out))
    except EvalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    done, codes = {}, []
    for system, folder in folders.items():
        try:
            results = evaluate_system(
                replace(settings, system=system),
                folder,
                overwrite=options.overwrite,
                command=command_line(arguments),
                judge_options=_server_options(options),
            )
        except (EvalError, RowError, JournalError, FileNotFoundError) as error:
            print(f"error: {system}: {error}" if len(folders) > 1 else f"error: {error}", file=sys.stderr)
            codes.append(2)
            continue
        done[folder] = results
        codes.append(FAILED if _failed(results) else 0)
    if done:
        _show(done, options)
    return max(codes)


def _folders(systems: Sequence[str], out: Path) -> dict[str, Path]:
    """Where each system's files go: a single one's to `out`, of several each in a folder named after it.

    Raises:
        EvalError: if two would share a folder.
    """
    if len(systems) == 1:
        return {systems[0]: out}
    named: dict[str, str] = {}
    for system in systems:
        spec = system.partition("@")[0]  # without revision or address
        name = re.sub(r"[^\w.+-]+", "-", "+".join(Path(part).name for part in spec.split("+")))
        if name in named:
            raise EvalError(
                f"systems {named[name]} and {system} would share the folder {out / name}; run one of them by itself."
            )
        named[name] = system
    return {system: out / name for name, system in named.items()}


def _show(done: dict[Path, dict], options: argparse.Namespace):
    """Print the systems' tables, and write the report if it is asked for."""
    print("\n\n".join(table.markdown() for table in all_tables(list(done.values()))))
    for results in done.values():
        if "asked" in results["judging"]:
            print(f"\n{_describe_judging(results['judging'])}")
    print("\nResults: " + ", ".join(str(folder / RESULTS) for folder in done))
    if options.report:
        from .report import write_report  # draws with matplotlib, which the figures do without

        first, *others = done
        print(f"Report: {write_report(first, train_log=options.train_log, compare=others)}")


def _server_options(options: argparse.Namespace) -> dict:
    if ":server:" not in options.judge:
        return {}
    return {"concurrency": options.judge_concurrency, "timeout": options.judge_timeout}


def _describe_judging(judging: dict) -> str:
    counts = ", ".join(
        f"{what} {asked} (and {judging['answered_before'][what]} before)" for what, asked in judging["asked"].items()
    )
    return f"Judge {judging['judge']} asked: {counts}; unscored: {sum(judging['unscored'].values())}."


def _failed(results: dict) -> bool:
    """Whether the results are there, but can't be trusted; says why."""
    counts, judging = results["counts"], results["judging"]
    if not counts["answered"]:
        print(f"error: the system answered none of {counts['rows']} rows; see `errors`.", file=sys.stderr)
    if judging["failed"]:
        print(
            f"error: {judging['share_unscored']:.1%} of the judge's verdicts failed ({judging['failures']}), above "
            f"--max-unscored {judging['max_unscored']:.1%}. The same command again asks for those without reply.",
            file=sys.stderr,
        )
    return judging["failed"] or not counts["answered"]


if __name__ == "__main__":
    sys.exit(main())
