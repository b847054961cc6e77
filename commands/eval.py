"""Evaluate systems on a corpus: their answers, verdicts, and figures with all that is needed to repeat them."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..corpora.schema import TASKS
from ..eval.judges import JUDGE_FORMS
from ..eval.judges.rubrics import PROMPTS
from ..eval.systems import SYSTEM_FORMS
from .arguments import DONE, LEFT, REFUSED, add_list, count, count_or_none, given, refuse_unread, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_list(
        parser,
        "--system",
        required=True,
        metavar="SYSTEM",
        help=f"{SYSTEM_FORMS}. Several are evaluated one after another, each in a folder of its own in --out",
    )
    parser.add_argument(
        "--data",
        required=True,
        help="folder or file of rows, or '{reader: NAME, path: FOLDER}' as in a training",
    )
    parser.add_argument("--split", default="test", help="of the data (test)")
    parser.add_argument("--out", required=True, help="folder for predictions, verdicts and results")
    parser.add_argument("--judge", default="rule", help=f"{JUDGE_FORMS} (rule)")
    parser.add_argument("--judge-prompts", default="audiollm", choices=sorted(PROMPTS), help="rubrics of an LLM judge")
    parser.add_argument(
        "--max-unscored", type=float, default=0.05, help="exit with 1 above this share of failed LLM verdicts (0.05)"
    )
    parser.add_argument("--judge-concurrency", type=count, default=16, help="requests to its server at once (16)")
    parser.add_argument("--judge-timeout", type=float, default=120, help="seconds for one request (120)")
    parser.add_argument("--normalizer", default="whisper_english", help="of WER (whisper_english); docs/evaluation.md")
    add_list(
        parser, "--label-set", metavar="LABEL", help="emotion classes: emotion7, ravdess8, iemocap10, or the labels"
    )
    add_list(parser, "--tasks", choices=TASKS, help="all in the data when left out")
    add_list(parser, "--group-by", metavar="COLUMN", help="give figures by these row columns")
    parser.add_argument("--batch-size", type=count, default=8, help="clips answered together (8)")
    parser.add_argument("--max-new-tokens", type=count, default=128, help="longest answer (128)")
    parser.add_argument("--question-format", default="{question}", help="how questions are put to other systems")
    parser.add_argument("--system-prompt", help="said before to a chat model or endpoint")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the code that a chat model brings")
    parser.add_argument(
        "--quote-confidence", type=float, help="least probability of a quoted word, 0 to 1; default: the checkpoint's"
    )
    parser.add_argument(
        "--context",
        type=count_or_none,
        metavar="TURNS",
        help="earlier turns told with a row, at most (all that it has); 0: none",
    )
    parser.add_argument(
        "--ask",
        metavar="TARGET[:DATA]",
        help="ask emotion and sentiment for label, interpretive or evidence answers, as training rows of the data ask",
    )
    parser.add_argument("--limit", type=count, help="evaluate a random sample of so many rows")
    parser.add_argument("--seed", type=int, default=0, help="of that sample, and of a judge (0)")
    parser.add_argument(
        "--overwrite", action="store_true", help="forget the answers and results that the folder holds"
    )
    parser.add_argument(
        "--replace-results",
        action="store_true",
        help="keep the answers, and replace results of another judge, label set, normaliser or fewer rows",
    )
    parser.add_argument(
        "--report", action="store_true", help="write report.html too: of the first system, beside the others"
    )
    parser.add_argument("--train-log", help="trainer_state.json, whose losses the report shows")


def run(options: argparse.Namespace) -> int:
    from ..eval.run import Settings, command_line, evaluate_system

    check_options(options)
    _say_unread(options)
    labels = ",".join(options.label_set) or None
    settings = settings_of(Settings, options, system="", prompts=options.judge_prompts, label_set=labels)
    folders = system_folders(options.system, Path(options.out))
    done, complete = {}, True
    for system, folder in folders.items():
        try:
            results = evaluate_system(
                replace(settings, system=system),
                folder,
                overwrite=options.overwrite,
                replace_results=options.replace_results,
                command=command_line(options.words),
                judge_options=_server_options(options),
            )
        except (ValueError, OSError, ImportError) as error:
            if len(folders) == 1 or options.traceback:
                raise
            print(f"error: {system}: {error}", file=sys.stderr)
            continue
        done[folder] = results
        complete &= _complete(results)
    if not done:
        return REFUSED
    _show(done, options)
    return DONE if complete and len(done) == len(folders) else LEFT


def check_options(options: argparse.Namespace) -> None:
    """Refuse options that nothing would read.

    Raises:
        ValueError: naming the option, and what it belongs to.
    """
    server = "a judge at a server (`llm:server:NAME@URL`)"
    refuse_unread(options, ["--judge-concurrency", "--judge-timeout"], server, ":server:" in options.judge)
    refuse_unread(options, ["--judge-prompts", "--max-unscored"], "a language model as judge", options.judge != "rule")
    drawn = options.limit is not None or options.judge != "rule"
    refuse_unread(options, ["--seed"], "--limit, and a language model as judge", drawn)
    refuse_unread(options, ["--train-log"], "--report", options.report)


def _say_unread(options: argparse.Namespace) -> None:
    """Say which options a system does not read: among several systems, or in a study, they are another's."""
    from ..eval.systems import OPTIONS, options_read

    for name in OPTIONS:
        deaf = [system for system in options.system if name not in options_read(system)]
        if deaf and given(options, [f"--{name.replace('_', '-')}"]):
            print(f"--{name.replace('_', '-')} is not read by {', '.join(deaf)}", file=sys.stderr)


def system_folders(systems: Sequence[str], out: Path) -> dict[str, Path]:
    """Where each system's files go: a single one's to `out`, of several each in a folder named after it.

    Raises:
        EvalError: if two would share a folder.
    """
    from ..eval import EvalError

    if len(systems) == 1:
        return {systems[0]: out}
    named: dict[str, str] = {}
    for system in systems:
        name = _folder_name(system)
        if name in named and Path(system).is_dir():  # trainings of one name in different folders
            name = f"{Path(system).resolve().parents[1].name}-{name}"
        if name in named:
            raise EvalError(
                f"systems {named[name]} and {system} would share the folder {out / name}; run one of them by itself."
            )
        named[name] = system
    return {system: out / name for name, system in named.items()}


def _folder_name(system: str) -> str:
    from ..eval.systems.base import run_name

    if Path(system).is_dir():
        return run_name(system)
    kind, _, rest = system.partition(":")
    if kind in ("transcript", "swapped"):
        return f"{kind}-{_folder_name(rest)}"
    spec = system.partition("@")[0]  # without revision or address
    return re.sub(r"[^\w.+-]+", "-", "+".join(Path(part).name for part in spec.split("+")))


def _show(done: dict[Path, dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the main figures, and write the report if it is asked for."""
    from ..eval.results import RESULTS, name_by_folder
    from ..eval.tables import summary_table

    print(summary_table(name_by_folder(list(done.values()), list(done))).markdown())
    for results in done.values():
        if "asked" in results["judging"]:
            print(f"\n{_describe_judging(results['judging'])}")
    print("\nResults: " + ", ".join(str(folder / RESULTS) for folder in done))
    print(f"By class and by group: audiollm tables {shlex.join(map(str, done))}")
    if options.report:
        from ..eval.report import write_report  # draws with matplotlib, which the figures do without

        first, *others = done
        print(f"Report: {write_report(first, train_log=options.train_log, compare=others)}")


def _server_options(options: argparse.Namespace) -> dict[str, Any]:
    if ":server:" not in options.judge:
        return {}
    return {"concurrency": options.judge_concurrency, "timeout": options.judge_timeout}


def _describe_judging(judging: dict[str, Any]) -> str:
    counts = ", ".join(
        f"{what} {asked} (and {judging['answered_before'][what]} before)" for what, asked in judging["asked"].items()
    )
    return f"Judge {judging['judge']} asked: {counts}; unscored: {sum(judging['unscored'].values())}."


def _complete(results: dict[str, Any]) -> bool:
    """Whether the results that are written can be trusted; says why not."""
    counts, judging = results["counts"], results["judging"]
    if not counts["answered"]:
        print(f"error: the system answered none of {counts['rows']} rows; see `errors`.", file=sys.stderr)
    if judging["failed"]:
        print(
            f"error: {judging['share_unscored']:.1%} of the judge's verdicts failed ({judging['failures']}), above "
            f"--max-unscored {judging['max_unscored']:.1%}. The same command again asks for those without reply.",
            file=sys.stderr,
        )
    return counts["answered"] == counts["rows"] and not judging["failed"]
