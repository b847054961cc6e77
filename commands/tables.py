"""Print results as tables, one system a row: main figures, by class and by group; or the paper's, with ours beside."""

from __future__ import annotations

import argparse

from ..eval.sheets import FORMATS
from .arguments import add_list, add_pairs, refuse_unread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folders of runs, or their results.json")
    parser.add_argument("--format", default="markdown", choices=FORMATS, help="(markdown)")
    parser.add_argument("--intervals", action="store_true", help="by class with intervals, and paired tests")
    parser.add_argument("--folds", action="store_true", help="of a cross-validation: each run, their mean, all rows")
    parser.add_argument("--cluster", metavar="COLUMN", help="draw rows of the same COLUMN (speaker, audio) together")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples (0)")
    add_list(parser, "--paper", type=int, metavar="N", help="the paper's tables 1 to 9")
    add_pairs(parser, "--row", "NAME=RUN[@COLUMN]", help="whose figures stand in the paper's row NAME")


def run(options: argparse.Namespace) -> None:
    from ..eval.paper import paper_table
    from ..eval.results import name_by_folder, read_results, read_runs
    from ..eval.tables import all_tables, folds_table, interval_tables

    if not options.runs and not options.paper:
        raise ValueError("give runs, or --paper with a table's number.")
    if options.runs and options.paper:
        raise ValueError("runs of the paper's tables are given by --row.")
    if options.row and not options.paper:
        raise ValueError("--row belongs to --paper.")
    if sum(map(bool, (options.paper, options.intervals, options.folds))) > 1:
        raise ValueError("give one of --paper, --intervals and --folds.")
    resampled = options.intervals or options.folds
    refuse_unread(options, ["--cluster", "--seed"], "the resamples of --intervals or --folds", resampled)
    if options.paper:
        rows = [f"{name}={run}" for name, run in options.row]
        tables = [paper_table(number, rows) for number in options.paper]
    elif options.intervals:
        tables = interval_tables(read_runs(options.runs, answers=False), options.cluster, options.seed)
    elif options.folds:
        tables = [folds_table(read_runs(options.runs, answers=False), options.cluster, options.seed)]
    else:
        tables = all_tables(name_by_folder([read_results(path) for path in options.runs], options.runs))
    print("\n\n".join(table.write(options.format) for table in tables))
