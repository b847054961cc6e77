"""Train and evaluate every run of a study, skip what is done, go on with what was stopped; print its tables."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from ..files import write_whole
from .arguments import DONE, LEFT, STOPPED, add_list, count, refuse_unread


if TYPE_CHECKING:
    from ..studies.description import Base, Kind, Study
    from ..studies.folders import RunFolder


REPORT, LOG = "report.md", "log.txt"
Result = TypeVar("Result")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="with study.yaml and a file for each run, as configs/study; see docs/study.md")
    add_list(parser, "--runs", metavar="NAME", help="only these; all when left out")
    add_list(parser, "--seeds", type=int, metavar="N", help="instead of those of the study")
    parser.add_argument(
        "--steps", type=count, help="of each run that has none of its own, instead of those of the study"
    )
    add_list(
        parser,
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="change single fields of every run's training (not of the base's), as `training.bf16=true`",
    )
    parser.add_argument("--out", help="instead of the study's folder")
    parser.add_argument(
        "--jobs",
        type=count,
        default=1,
        help="runs at a time, each with its share of the cores and a log in its folder (1)",
    )
    parser.add_argument("--tables", action="store_true", help="print the tables of what is done, and run nothing")
    parser.add_argument(
        "--share",
        metavar="FOLDER",
        help="also write the results of what is done there, without a word of the data or a model: for "
        "`--tables --out FOLDER`",
    )


def run(options: argparse.Namespace) -> int:
    from ..studies.description import read_study
    from ..studies.folders import check_folders, control_folder, share_study
    from ..studies.report import study_report

    refuse_unread(options, ["--jobs"], "training and evaluating, which --tables does not do", not options.tables)
    changes = {"seeds": options.seeds, "steps": options.steps, "out": options.out}
    changes = {name: value for name, value in changes.items() if value}
    study, kinds = read_study(Path(options.folder), options.runs, options.set, changes)
    if options.share and Path(options.share).resolve() == Path(study.out).resolve():
        raise ValueError(f"--share: the study's own folder, {study.out}, holds the answers; name another one.")
    check_folders(study, kinds)
    failed = []
    if not options.tables:
        _check_evaluations(study, kinds)
        _train_base(study.base)
        failed += _train_and_evaluate_all(study, kinds, options.jobs)
        controls = [control_folder(study, system) for system in study.controls]
        done = _side_by_side([partial(_evaluate_control, control, options.jobs) for control in controls], options.jobs)
        failed += [system for system, well in zip(study.controls, done) if not well]
    report, plots = study_report(study, kinds)
    if report:
        write_whole(Path(study.out) / REPORT, f"{report}\n")
        for name, plot in plots.items():
            write_whole(Path(study.out) / name, plot)
    print(report or "No run is done on all seeds yet.")
    if options.share:
        shared = share_study(study, kinds, Path(options.share))
        print(f"{options.share}: {shared} results, without words; --tables --out {options.share} reads them")
    if failed:
        print(f"error: not done: {', '.join(failed)}; the same command goes on with them.", file=sys.stderr)
    return LEFT if failed else DONE


def _train_base(base: Base | None):
    """What all runs begin from, unless it is there."""
    if base and Path(base.model).is_dir():
        print(f"{base.model}: there already, and begun from as it is", file=sys.stderr)
    elif base and _call("train", "--config", base.config):
        raise ValueError(f"{base.config}: what all runs begin from is not trained; the reason is above.")


def _train_and_evaluate_all(study: Study, kinds: dict[str, Kind], jobs: int) -> list[str]:
    """Make the models and results of all runs, what others begin from first; gives those that did not end well."""
    from ..studies.description import configuration, generation
    from ..studies.folders import run_folder

    failed: list[str] = []
    untrained: set[tuple[str | None, int]] = set()
    for number in sorted({generation(kinds, name) for name in kinds}):
        some = [(name, seed) for name in kinds for seed in study.seeds if generation(kinds, name) == number]
        ready = [(name, seed) for name, seed in some if (kinds[name].after, seed) not in untrained]
        tasks = [
            partial(
                _train_and_evaluate,
                run_folder(study, kinds, name, seed),
                configuration(study, kinds[name], name, seed),
                kinds[name].system,
                jobs,
            )
            for name, seed in ready
        ]
        left = {**dict.fromkeys(some, "train"), **dict(zip(ready, _side_by_side(tasks, jobs)))}
        untrained |= {run for run, command in left.items() if command == "train"}
        failed += [f"{name}, seed {seed}" for (name, seed), command in left.items() if command]
    return failed


def _side_by_side(tasks: Sequence[Callable[[], Result]], jobs: int) -> list[Result]:
    """What tasks give, so many of them at a time; after a kill no other begins."""
    if jobs == 1:
        return [task() for task in tasks]
    stopped = Event()

    def unless_stopped(task: Callable[[], Result]) -> Result:
        if stopped.is_set():
            raise CancelledError
        try:
            return task()
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(jobs) as pool:
        try:
            ended = [pool.submit(unless_stopped, task) for task in tasks]
            wait(ended)
        finally:
            stopped.set()  # a Ctrl-C reaches this thread
    # What a task raised, not what was not begun because of it.
    for future in ended:
        if (raised := future.exception()) and not isinstance(raised, CancelledError):
            raise raised
    return [future.result() for future in ended]


def _train_and_evaluate(run: RunFolder, config: dict[str, Any], system: str, jobs: int) -> str | None:
    """Make a run's model and results; gives the command that did not end well, if one did not."""
    from ..studies.description import MODEL

    model, configured = run.path / "model", run.path / "config.yaml"
    left = run.left()
    if not left:
        return None
    if not model.is_dir():  # another training's answers are not those of the one before
        left = run.wanted["evaluate"]
    run.path.mkdir(parents=True, exist_ok=True)
    configured.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    # A finished run is not trained again, but refuses rows and weights that are not those that it began with.
    if _call("train", "--config", str(configured), folder=run.path, jobs=jobs):
        return "train"
    return None if _evaluate(left, system.replace(MODEL, str(model)), run, jobs) else "eval"


def _evaluate_control(control: RunFolder, jobs: int) -> bool:
    """Whether the results of a system that is not trained here are there in the end."""
    if not (left := control.left()):
        return True
    control.path.mkdir(parents=True, exist_ok=True)
    return _evaluate(left, control.wanted["system"], control, jobs)


def _evaluate(left: dict[str, dict[str, Any]], system: str, run: RunFolder, jobs: int) -> bool:
    """Evaluate a system on sets, and stamp its folder with each on which nothing is left; whether all are so."""
    done = []
    for data, settings in left.items():
        out, before = run.results_folder(data), run.written(data)
        code = _call(*_eval_words(system, out, settings), folder=run.path, jobs=jobs)
        # With rows left there are results; after an error that nobody expected, with the same exit code, none.
        written = code == LEFT and run.written(data) != before
        undone = _left_in(out) if written else None
        done.append(code == DONE or (written and not undone))
        if done[-1]:
            run.stamp(data)
        elif undone:
            run.withdraw(data)
            print(f"{out}: not done: {undone}; the same command asks for them again.", file=sys.stderr)
        elif before:
            print(f"{out}: is of before; delete it to answer anew.", file=sys.stderr)
    return all(done)


def _eval_words(system: str, out: Path, settings: dict[str, Any]) -> list[str]:
    """The command that evaluates a system on a set: true gives an option as a flag, false leaves it out."""
    words = ["eval", "--system", system, "--out", str(out)]
    for option, value in settings.items():
        if value is None or value is False:
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        values = [json.dumps(value) if isinstance(value, dict) else str(value) for value in values]
        words += [f"--{option.replace('_', '-')}", *values]
    return words


def _check_evaluations(study: Study, kinds: dict[str, Kind]):
    """Refuse options of `audiollm eval` that are not right before anything is trained.

    Raises:
        ValueError: with the run, the set, and what is wrong.
    """
    from ..studies.description import STUDY
    from ..studies.folders import control_folder, run_folder
    from . import parse
    from .eval import check_options

    folders = {STUDY: control_folder(study, study.controls[0])} if study.controls else {}  # controls share options
    folders |= {f"{name}.yaml, or {STUDY}": run_folder(study, kinds, name, study.seeds[0]) for name in kinds}
    for where, folder in folders.items():
        for data, settings in folder.wanted["evaluate"].items():
            try:
                options = parse(_eval_words("SYSTEM", Path("OUT"), settings))
                check_options(options)
            except ValueError as error:
                raise ValueError(f"{where}: evaluate: {data}: {error}") from error
            if (options.system, options.out) != (["SYSTEM"], "OUT"):
                raise ValueError(f"{where}: evaluate: {data}: system and out are given by the study; leave them out.")


def _left_in(results: Path) -> str | None:
    """What of an evaluation may come out otherwise if it is asked for again; nothing of rows that are refused."""
    from ..eval.results import read_results

    found = read_results(results)
    counts = found["counts"]
    rows = counts["rows"] - counts["answered"] - counts["refused"]
    told = [f"{rows} of {counts['rows']} rows have no answer"] if rows else []
    told += ["too many of the judge's verdicts failed"] if found["judging"]["failed"] else []
    return " and ".join(told) or None


def _call(*words: str, folder: Path | None = None, jobs: int = 1) -> int:
    """A command of ours in a process of its own, which gives back its memory and may be killed by itself.

    Args:
        words: of the command.
        folder: of the run, which gets a log of what the command prints if it is one of several.
        jobs: that run at a time.
    """
    log = folder / LOG if folder and jobs > 1 else None
    share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))} if jobs > 1 else {}
    told = f"audiollm {' '.join(words)}"
    print(told if log is None else f"{told} (log: {log})", file=sys.stderr, flush=True)
    with nullcontext(sys.stderr) if log is None else log.open("a", encoding="utf-8") as out:
        command = [sys.executable, "-m", "audiollm", *words]
        code = subprocess.run(command, stdout=out, stderr=out, env={**share, **os.environ}).returncode
    if log and code not in (DONE, LEFT):
        print(f"{log}: the command {words[0]} ended with exit code {code}.", file=sys.stderr, flush=True)
    if code < 0 or code == STOPPED:  # killed, or stopped by the keyboard: so is the study
        raise KeyboardInterrupt
    return code
