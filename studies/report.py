"""The tables and pictures of a study, of what is done of it."""

from __future__ import annotations

import sys
from collections import defaultdict

from ..eval.contrasts import claims_plot, claims_table, decide
from ..eval.paper import paper_table
from ..eval.results import Run, read_runs
from ..eval.tables import Table, controls_table, overall_table, seeds_class_table, seeds_table
from .description import ON, Kind, Study
from .folders import control_folder, run_folder


def study_report(study: Study, kinds: dict[str, Kind]) -> tuple[str, dict[str, str]]:
    """What is done: every run on every set, the paper's directions, controls, and the paper's tables with ours.

    Returns:
        The report in Markdown, empty if nothing is done; and its pictures, by the name of their file.
    """
    parts, plots = [], {}
    rows, everywhere, claims = defaultdict(list), {}, [(one, other) for one, other in study.claims]
    for data in study.evaluate:
        found_of = {
            name: [run_folder(study, kinds, name, seed).results(data) for seed in study.seeds] for name in kinds
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
        controls = {system: control_folder(study, system).results(data) for system in study.controls}
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


def _time_table(study: Study, kinds: dict[str, Kind], runs: dict[str, list[Run]]) -> Table:
    """Minutes of each run, all seeds together; `runs` by `RUN on SET`."""
    lines = []
    for name in kinds:
        done = [run for data in study.evaluate for run in runs.get(f"{name}{ON}{data}", ())]
        trained = [run_folder(study, kinds, name, seed).trained_seconds for seed in study.seeds] if done else []
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
