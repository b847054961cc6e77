"""Does a judge decide special cases as people do? Draw a rating sheet from runs, and compare rated sheets with it."""

from __future__ import annotations

import argparse

from ..eval.sheets import FORMATS
from .arguments import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="draw|score")
    draw = actions.add_parser("draw", help="draw special cases and write a rating sheet")
    draw.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs with a judge that decides special cases")
    draw.add_argument("--out", required=True, help="folder for sheet and key")
    draw.add_argument("--count", type=count, default=50, help="so many of each corpus and task (50, the paper's)")
    draw.add_argument("--seed", type=int, default=0, help="(0)")
    score = actions.add_parser("score", help="compare rated sheets with the judge")
    score.add_argument("sheets", nargs="+", metavar="SHEET", help="rated sheets, one for each rater")
    score.add_argument("--key", required=True, help="the study's key.json")
    score.add_argument("--format", default="markdown", choices=(*FORMATS, "json"), help="(markdown)")
    score.add_argument("--seed", type=int, default=0, help="of the bootstrap (0)")


def run(options: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from ..eval.judge_study import read_key, read_ratings, score_study, study_tables, write_study
    from ..eval.results import read_run

    if options.action == "draw":
        sheet, key = write_study([read_run(run) for run in options.runs], options.out, options.count, options.seed)
        print(f"sheet: {sheet}\nkey (not for raters): {key}")
        return
    cases = read_key(options.key)
    study = score_study(cases, {str(path): read_ratings(path, cases) for path in options.sheets}, options.seed)
    if options.format == "json":
        print(json.dumps(study, default=asdict, ensure_ascii=False, indent=1))
    else:
        print("\n\n".join(table.write(options.format) for table in study_tables(study)))
