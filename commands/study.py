"""Train and evaluate every run of a study, skip what is done, go on with what was stopped; print its tables."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import yaml

from ..files import write_whole
from ..redact import redact
from .arguments import DONE, LEFT, add_list, count, refuse_unread


STUDY = "study.yaml"
STAMP, REPORT, LOG = "done.json", "report.md", "log.txt"
ON = " on "
RUN = "run"  # the part of a stamp that is not of a set; those of sets are RUN on SET
MODEL, OUT = "{model}", "{out}"
ANYWHERE = "study"  # the study's folder in stamps, wherever it lies
Result = TypeVar("Result")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help=f"with {STUDY} and a file for each run, as configs/study; see docs/study.md")
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


@dataclass(frozen=True)
class Base:
    """What all runs begin from: the folder of a model, and the configuration that trains it."""

    config: str
    model: str


@dataclass(frozen=True)
class Study:
    """What the runs of a study share.

    Args:
        out: folder of all runs.
        common: a training configuration; each run says what differs.
        evaluate: by name, options of `audiollm eval` (`data`, `tasks`, `judge`, ...).
        seeds: of each run.
        steps: optimizer steps of each run.
        base: trained first, unless its model is there.
        controls: systems that are evaluated once on each set.
        cluster: column whose rows are drawn together in tests; or by name of a set, others drawing row by row.
        claims: pairs of runs, of which the second is claimed to be the better on each set; `RUN on SET` (or a control
            for the run) compares what one of them makes of two sets of the same rows.
    """

    out: str
    common: dict[str, Any]
    evaluate: dict[str, dict[str, Any]]
    seeds: list[int]
    steps: int
    base: Base | None = None
    controls: list[str] = field(default_factory=list)
    cluster: str | dict[str, str] | None = None
    claims: list[list[str]] = field(default_factory=list)

    def __post_init__(self):
        _check_steps(self.steps)
        for data, column in self.cluster.items() if isinstance(self.cluster, dict) else ():
            if data not in self.evaluate or not isinstance(column, str):
                raise ValueError(
                    f"cluster: {data}: {column!r} is no column of a set; sets are {', '.join(self.evaluate)}."
                )

    def cluster_of(self, data: str) -> str | None:
        """The column whose rows are drawn together in tests of a set."""
        return self.cluster.get(data) if isinstance(self.cluster, dict) else self.cluster


@dataclass(frozen=True)
class Kind:
    """One run of a study.

    Args:
        set: fields of the training configuration that differ, by dotted name; `{out}` and `{seed}` are filled in.
        tables: `N:ROW` of the paper's tables that it is shown in.
        after: run whose model it begins from (its `model.checkpoint`).
        steps: optimizer steps, where they are not those of the study: of what others begin from, say.
        system: that is evaluated; `{model}` is the run's model, and what it is by default.
        evaluate: by name of a set, options of `audiollm eval` that differ for this run (`null`: left out).
    """

    set: dict[str, Any] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    after: str | None = None
    steps: int | None = None
    system: str = MODEL
    evaluate: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self):
        _check_steps(self.steps)


def _check_steps(steps: int | None) -> None:
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}; a run takes at least one.")


def run(options: argparse.Namespace) -> int:
    refuse_unread(options, ["--jobs"], "training and evaluating, which --tables does not do", not options.tables)
    study, kinds = _read(Path(options.folder), options)
    if options.share and Path(options.share).resolve() == Path(study.out).resolve():
        raise ValueError(f"--share: the study's own folder, {study.out}, holds the answers; name another one.")
    for name in kinds:
        _wanted(study, kinds, name, study.seeds[0])
    failed: list[str] = []
    untrained: set[tuple[str | None, int]] = set()
    if not options.tables:
        if study.base and Path(study.base.model).is_dir():
            print(f"{study.base.model}: there already, and begun from as it is", file=sys.stderr)
        elif study.base and _call("train", "--config", study.base.config):
            raise ValueError(f"{study.base.config}: what all runs begin from is not trained; the reason is above.")
        jobs = options.jobs
        runs = [(name, seed) for name in kinds for seed in study.seeds]
        for generation in sorted({_generation(kinds, name) for name in kinds}):  # what others begin from comes first
            some = [(name, seed) for name, seed in runs if _generation(kinds, name) == generation]
            ready = [(name, seed) for name, seed in some if (kinds[name].after, seed) not in untrained]
            ended = _side_by_side([partial(_train_and_evaluate, study, kinds, *run, jobs) for run in ready], jobs)
            left = {**dict.fromkeys(some, "train"), **dict(zip(ready, ended))}
            untrained |= {run for run, command in left.items() if command == "train"}
            failed += [f"{name}, seed {seed}" for (name, seed), command in left.items() if command]
        done = _side_by_side([partial(_evaluate_control, study, one, jobs) for one in study.controls], jobs)
        failed += [system for system, well in zip(study.controls, done) if not well]
    report, plots = _report(study, kinds)
    if report:
        write_whole(Path(study.out) / REPORT, f"{report}\n")
        for name, plot in plots.items():
            write_whole(Path(study.out) / name, plot)
    print(report or "No run is done on all seeds yet.")
    if options.share:
        shared = _share(study, kinds, Path(options.share))
        print(f"{options.share}: {shared} results, without words; --tables --out {options.share} reads them")
    if failed:
        print(f"error: not done: {', '.join(failed)}; the same command goes on with them.", file=sys.stderr)
    return LEFT if failed else DONE


def _read(folder: Path, options: argparse.Namespace) -> tuple[Study, dict[str, Kind]]:
    from ..training.config import read_overrides
    from ..training.strict import read_section

    own = Path(__file__).parents[1] / folder
    folder = own if folder.parts[:1] == ("configs",) and not folder.exists() and own.is_dir() else folder
    given = yaml.safe_load((folder / STUDY).read_text(encoding="utf-8"))
    changes = {"seeds": options.seeds, "steps": options.steps, "out": options.out}
    study = read_section(Study, {**given, **{name: value for name, value in changes.items() if value}}, STUDY)
    base = Path(study.base.config).name if study.base else None
    files = [path for path in sorted(folder.glob("*.yaml")) if path.name not in (STUDY, base)]
    kinds = {
        path.stem: read_section(Kind, yaml.safe_load(path.read_text(encoding="utf-8")) or {}, path.name)
        for path in files
    }
    for name in [*options.runs, *(kind.after for kind in kinds.values() if kind.after)]:
        if name not in kinds:
            raise ValueError(f"{folder} has no run {name!r}; its runs are {', '.join(kinds)}.")
    _check_claims(study, kinds)
    places = [_wanted_of_control(study, system)[0] for system in study.controls]
    if len(set(places)) < len(places):
        raise ValueError(f"{STUDY}: controls: of paths only the last part names a folder, and two are alike.")
    for name, kind in kinds.items():
        if MODEL not in kind.system:
            raise ValueError(f"{name}.yaml: system is {kind.system!r}, without {MODEL}: it is no system of this run.")
        for data in kind.evaluate.keys() - study.evaluate.keys():
            raise ValueError(f"{name}.yaml: evaluate: {data} is no set; sets are {', '.join(study.evaluate)}.")
    changed = read_overrides(options.set)
    kinds = {name: replace(kind, set={**kind.set, **changed}) for name, kind in kinds.items()}
    wanted = {one for name in options.runs or kinds for one in _line(kinds, name)}
    # What others begin from comes first.
    return study, {name: kinds[name] for name in sorted(wanted, key=lambda name: (_generation(kinds, name), name))}


def _line(kinds: dict[str, Kind], name: str) -> list[str]:
    """A run, the one that it begins from, and so on, to the first."""
    line: list[str] = []
    one: str | None = name
    while one:
        if one in line:
            raise ValueError(f"{name}.yaml: after: {' after '.join([*line, one])} has no beginning.")
        line.append(one)
        one = kinds[one].after
    return line


def _generation(kinds: dict[str, Kind], name: str) -> int:
    return len(_line(kinds, name))


def _check_claims(study: Study, kinds: dict[str, Kind]) -> None:
    """Every claim compares runs with runs, or a control with controls, as they take part in the study."""
    for claim in study.claims:
        sides = [side.partition(ON) for side in claim]
        for name, on, data in sides:
            known = [*kinds, *(study.controls if on else ())]
            if name not in known or (on and data not in study.evaluate):
                raise ValueError(
                    f"{STUDY}: claims: {name + on + data!r} is neither a run nor RUN{ON}SET; runs (or controls, with "
                    f"a set) are {', '.join(known)}, sets are {', '.join(study.evaluate)}."
                )
        if len(sides) != 2 or len({(bool(on), name in kinds or len(study.seeds) == 1) for name, on, _ in sides}) > 1:
            raise ValueError(
                f"{STUDY}: claims: {claim} compares no pair: two runs, two RUN{ON}SET, or two controls on sets, which "
                "have one run where there are several seeds."
            )


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
        ended = [pool.submit(unless_stopped, task) for task in tasks]
        try:
            wait(ended)
        finally:
            stopped.set()  # a Ctrl-C reaches this thread
    # What a task raised, not what was not begun because of it.
    for future in ended:
        if (raised := future.exception()) and not isinstance(raised, CancelledError):
            raise raised
    return [future.result() for future in ended]


def _train_and_evaluate(study: Study, kinds: dict[str, Kind], name: str, seed: int, jobs: int) -> str | None:
    """Make a run's model and results; gives the command that did not end well, if one did not."""
    folder, wanted = _wanted(study, kinds, name, seed)
    config, model = _configuration(study, kinds[name], name, seed), folder / "model"
    left = _left(folder, wanted)
    if not left:
        return None
    if not model.is_dir():  # another training's answers are not those of the one before
        left = wanted["evaluate"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    # A finished run is not trained again, but refuses rows and weights that are not those that it began with.
    if _call("train", "--config", str(folder / "config.yaml"), folder=folder, jobs=jobs):
        return "train"
    well = _evaluate(left, kinds[name].system.replace(MODEL, str(model)), folder, wanted, jobs)
    return None if well else "eval"


def _share(study: Study, kinds: dict[str, Kind], out: Path) -> int:
    """Write the results of what is done into another folder, without words; gives how many there are."""
    from ..eval.results import read_run
    from ..eval.sharing import share_run

    done = [_wanted(study, kinds, name, seed) for name in kinds for seed in study.seeds]
    done += [_wanted_of_control(study, system) for system in study.controls]
    shared = 0
    for folder, wanted in done:
        found = {data: path for data in wanted["evaluate"] if (path := _results(folder, wanted, data))}
        for data, path in found.items():
            cluster = study.cluster_of(data)
            share_run(read_run(path), out / folder.name / path.name, [cluster] if cluster else ())
        if found:
            made = _made(folder)
            told = {"digests": _digests(made), "seconds": _trained(folder), **redact(made)}
            write_whole(out / folder.name / STAMP, json.dumps(told, indent=1) + "\n")
        shared += len(found)
    return shared


def _digests(wanted: dict[str, Any]) -> dict[str, Any]:
    """What stands for settings where folders of the machine that they name do not go."""
    from ..eval.results import digest

    parts: dict[str, Any] = {RUN: {name: value for name, value in wanted.items() if name != "evaluate"}}
    parts |= {f"{RUN}{ON}{data}": options for data, options in wanted["evaluate"].items()}
    return {name: digest(json.dumps(part, sort_keys=True)) for name, part in parts.items()}


def _evaluate_control(study: Study, system: str, jobs: int) -> bool:
    """Whether the results of a system that is not trained here are there in the end."""
    folder, wanted = _wanted_of_control(study, system)
    if not (left := _left(folder, wanted)):
        return True
    folder.mkdir(parents=True, exist_ok=True)
    return _evaluate(left, system, folder, wanted, jobs)


def _wanted(study: Study, kinds: dict[str, Kind], name: str, seed: int) -> tuple[Path, dict[str, Any]]:
    """A run's folder, and what has to be done in it, wherever that lies.

    `after` are the configurations of what it begins from.
    """
    folder, kind = Path(study.out) / f"{name}-{seed}", kinds[name]
    before, anywhere = _line(kinds, name)[1:], replace(study, out=ANYWHERE)
    evaluate = {data: {**options, **kind.evaluate.get(data, {})} for data, options in study.evaluate.items()}
    evaluate = {
        data: {option: value for option, value in options.items() if value is not None}
        for data, options in evaluate.items()
    }
    return folder, {
        "config": _configuration(anywhere, kind, name, seed),
        "evaluate": evaluate,
        **({"after": [_configuration(anywhere, kinds[one], one, seed) for one in before]} if before else {}),
        **({} if kind.system == MODEL else {"system": kind.system}),
    }


def _wanted_of_control(study: Study, system: str) -> tuple[Path, dict[str, Any]]:
    return Path(study.out) / _plain(redact(system)), {"system": system, "evaluate": study.evaluate}


def _results(folder: Path, wanted: dict[str, Any], data: str) -> Path | None:
    """Where a run's results on a set lie, if they are there and were made as they are wanted; says if otherwise."""
    found, made = _there(folder, data), _made(folder)
    if found and not {RUN, f"{RUN}{ON}{data}"} <= _as_wanted(folder, wanted):
        others = RUN not in _as_wanted(folder, wanted) or data in made["evaluate"]
        why = "it was made with other settings" if made and others else "it is not finished"
        print(f"{found}: not in the tables: {why}", file=sys.stderr)
        return None
    return found


def _left(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The sets, with their options, that a run has to be evaluated on still; says if there are none."""
    made = _as_wanted(folder, wanted)
    left = {
        data: options
        for data, options in wanted["evaluate"].items()
        if not ({RUN, f"{RUN}{ON}{data}"} <= made and _there(folder, data))
    }
    if not left:
        print(f"{folder}: done before", file=sys.stderr)
    elif "digests" in _made(folder):
        raise ValueError(f"{folder} holds shared results, and no model to go on with; print them with --tables.")
    return left


def _there(folder: Path, data: str) -> Path | None:
    from ..eval.results import RESULTS

    found = folder / f"eval-{data}"
    return found if (found / RESULTS).exists() else None


def _made(folder: Path) -> dict[str, Any]:
    """What a folder was stamped with; nothing if it was not."""
    stamp = folder / STAMP
    return json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else {}


def _as_wanted(folder: Path, wanted: dict[str, Any]) -> set[str]:
    """Which parts of what is wanted a folder was stamped with: the run, and the run on each set."""
    made = _made(folder)
    theirs = made and (made.get("digests") or _digests(made))
    return {part for part, digest in _digests(wanted).items() if theirs.get(part) == digest}


def _stamp(folder: Path, wanted: dict[str, Any], data: str) -> None:
    """Note that a set is done as wanted, beside the sets that were done of the same run."""
    kept = _made(folder)["evaluate"] if RUN in _as_wanted(folder, wanted) else {}
    done = {**wanted, "evaluate": {**kept, data: wanted["evaluate"][data]}}
    write_whole(folder / STAMP, json.dumps(done, indent=1) + "\n")


def _configuration(study: Study, kind: Kind, name: str, seed: int) -> dict[str, Any]:
    from ..training.config import ConfigError, check_config, set_field

    config = deepcopy(study.common)
    begins = {"model.checkpoint": f"{OUT}/{kind.after}-{{seed}}/model"} if kind.after else {}
    if kind.set.get("model.checkpoint") not in (None, *begins.values()) and begins:
        raise ValueError(f"{name}.yaml: model.checkpoint is given by `after: {kind.after}`; leave it out.")
    for field_name, value in {**begins, **kind.set}.items():
        set_field(config, field_name, _filled(value, study.out, seed))
    if not isinstance(config.setdefault("training", {}), dict):
        raise ConfigError(f"{name}.yaml, or common: training is {config['training']!r}; it is a mapping.")
    given = {"stretch_to": config.get("stretch_to"), **config["training"]}
    for own, instead in (("stretch_to", "steps"), ("seed", "seeds"), ("output_dir", "out")):
        if given.get(own) is not None:
            raise ValueError(f"{name}.yaml, or common: {own} is given by the study's `{instead}`; leave it out.")
    config["stretch_to"] = kind.steps or study.steps
    config["training"].update(output_dir=str(Path(study.out) / f"{name}-{seed}"), seed=seed)
    check_config(config)
    try:
        return json.loads(json.dumps(config))
    except TypeError as error:  # a date, say
        raise ConfigError(f"{name}.yaml, or common: {error}.") from error


def _filled(value: Any, out: str, seed: int) -> Any:
    """A value of a run's `set` with the study's folder and the run's seed in the texts of it."""
    if isinstance(value, dict):
        return {key: _filled(item, out, seed) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, out, seed) for item in value]
    return value.replace(OUT, out).replace("{seed}", str(seed)) if isinstance(value, str) else value


def _evaluate(left: dict[str, dict[str, Any]], system: str, folder: Path, wanted: dict[str, Any], jobs: int) -> bool:
    """Evaluate a system on sets, and stamp its folder with each that has results; whether all have."""
    done = []
    for data, settings in left.items():
        words = ["eval", "--system", system, "--out", str(folder / f"eval-{data}")]
        for option, value in settings.items():
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            words += [f"--{option.replace('_', '-')}", *map(str, values)]
        before = _written(folder, data)
        code = _call(*words, folder=folder, jobs=jobs)
        # With rows left there are results; after an error that nobody expected, with the same exit code, none.
        done.append(code == DONE or (code == LEFT and _written(folder, data) != before))
        if done[-1]:
            _stamp(folder, wanted, data)
        elif before:
            print(f"{folder / f'eval-{data}'}: is of before; delete it to answer anew.", file=sys.stderr)
    return all(done)


def _written(folder: Path, data: str) -> int | None:
    """When a set's results were written, in nanoseconds."""
    from ..eval.results import RESULTS

    found = _there(folder, data)
    return (found / RESULTS).stat().st_mtime_ns if found else None


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
    if code < 0:  # killed: so is the study
        raise KeyboardInterrupt
    return code


def _plain(system: str) -> str:
    return "".join(character if character.isalnum() or character in "-." else "-" for character in system)


def _report(study: Study, kinds: dict[str, Kind]) -> tuple[str, dict[str, str]]:
    """What is done: every run on every set, the paper's directions, controls, and the paper's tables with ours.

    Returns:
        The report in Markdown, empty if nothing is done; and its pictures, by the name of their file.
    """
    from ..eval.contrasts import claims_plot, claims_table, decide
    from ..eval.paper import paper_table
    from ..eval.results import read_runs
    from ..eval.tables import controls_table, overall_table, seeds_class_table, seeds_table

    parts, plots = [], {}
    rows, everywhere, claims = defaultdict(list), {}, [(one, other) for one, other in study.claims]
    for data in study.evaluate:
        found_of = {
            name: [_results(*_wanted(study, kinds, name, seed), data) for seed in study.seeds] for name in kinds
        }
        folders = {name: [folder for folder in some if folder] for name, some in found_of.items()}
        there = {name: len(some) for name, some in folders.items()}
        left = [
            f"{name} ({seeds} of {len(study.seeds)})" for name, seeds in there.items() if 0 < seeds < len(study.seeds)
        ]
        if left:
            print(f"{data}: not in the tables until all seeds are done: {', '.join(left)}", file=sys.stderr)
        folders = {name: some for name, some in folders.items() if there[name] == len(study.seeds)}
        if not folders:
            continue
        runs = {name: read_runs(some, answers=False) for name, some in folders.items()}
        named = [
            run.results | {"system": run.results["system"] | {"name": f"{name}, seed {seed}"}}
            for name, some in runs.items()
            for run, seed in zip(some, study.seeds)
        ]
        controls = {system: _results(*_wanted_of_control(study, system), data) for system in study.controls}
        controls = {system: folder for system, folder in controls.items() if folder}
        found = read_runs(list(controls.values()), answers=False)
        alone = {system: [run] for system, run in zip(controls, found)}
        everywhere |= {f"{name}{ON}{data}": some for name, some in {**runs, **alone}.items()}
        parts.append(f"# On {data}\n\n{overall_table([*named, *(run.results for run in found)]).markdown()}")
        by_name = {name: [run.results for run in some] for name, some in runs.items()}
        parts += [seeds_table(by_name).markdown()] if len(study.seeds) > 1 else []
        by_class = [seeds_class_table(by_name, task) for task in ("er", "sr")]
        parts += [table.markdown() for table in by_class if table.rows]
        cluster = study.cluster_of(data)
        decisions = decide(claims, runs, cluster)
        if plot := claims_plot(decisions):
            plots[f"claims-{data}.svg"] = plot
            parts += [claims_table(decisions, cluster).markdown(), f"![claims](claims-{data}.svg)"]
        for some in runs.values():
            table = controls_table(some[0], found, cluster)
            parts += [table.markdown()] if table else []
        for name, some in folders.items():
            for place in kinds[name].tables:
                number, _, row = place.partition(":")
                rows[int(number)] += [f"{row}, {data}, seed {seed}={path}" for seed, path in zip(study.seeds, some)]
    across = defaultdict(list)
    for one, other in claims:
        across[study.cluster_of(other.partition(ON)[2])].append((one, other))
    told = [
        claims_table(found, by).markdown() for by, some in across.items() if (found := decide(some, everywhere, by))
    ]
    parts += ["# Across sets", *told] if told else []
    if everywhere:
        parts.append(_time_table(study, kinds, everywhere).markdown())
    parts += ["# Beside the paper"] if rows else []
    parts += [paper_table(number, rows[number]).markdown() for number in sorted(rows)]
    return "\n\n".join(parts), plots


def _time_table(study: Study, kinds: dict[str, Kind], runs: dict[str, list[Any]]) -> Any:
    """Minutes of each run, all seeds together; `runs` by `RUN on SET`."""
    from ..eval.tables import Table

    lines = []
    for name in kinds:
        done = [run for data in study.evaluate for run in runs.get(f"{name}{ON}{data}", ())]
        trained = [_trained(_wanted(study, kinds, name, seed)[0]) for seed in study.seeds] if done else []
        if any(seconds is not None for seconds in trained):
            answered = sum(run.results["time"]["answering_seconds"] for run in done)
            lines.append((name, sum(seconds or 0 for seconds in trained) / 60, answered / 60))
    both = [sum(line[column] for line in lines) for column in (1, 2)]
    lines.append(("all", *both))
    note = (
        f"Minutes by the clock, of {'all seeds' if len(study.seeds) > 1 else 'one seed'}. "
        f"All: {sum(both) / 60:.1f} hours."
    )
    return Table("Time", ("run", "training", "answering"), tuple(lines), note)


def _trained(folder: Path) -> float | None:
    """Seconds that a run's training took, over all processes that went on with it, where that is known."""
    from ..training.facts import FACTS_NAME

    facts, stamp = folder / FACTS_NAME, folder / STAMP
    found = facts if facts.exists() else stamp
    return json.loads(found.read_text(encoding="utf-8")).get("seconds") if found.exists() else None
