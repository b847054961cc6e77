"""Interchange with AudioBench: write a run's answers for its scorer, judge its prediction logs, show its scores."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..eval.sheets import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="write|read|scores")
    write = actions.add_parser("write", help="write a run's answers as AudioBench's prediction log")
    write.add_argument("run_folder", metavar="RUN", help="folder of the run")
    write.add_argument("--dataset", required=True, help="AudioBench's name of the data set, as meld_emotion_test")
    write.add_argument("--log", default="log", help="AudioBench's log folder (log)")
    write.add_argument("--model", help="name of the model's folder there (default: the run's name)")
    read = actions.add_parser("read", help="judge a prediction log's answers as those of any system")
    read.add_argument("answers", help="log/MODEL/DATASET.json")
    read.add_argument("--data", required=True, help="the corpus that the answers are about")
    read.add_argument("--split", default="test", help="of the data (test)")
    read.add_argument("--out", required=True, help="folder of the run to make")
    read.add_argument("--judge", default="rule", help="who decides, as for `audiollm eval` (rule)")
    scores = actions.add_parser("scores", help="print score logs as a table")
    scores.add_argument("logs", nargs="+", help="log/MODEL/DATASET_METRIC_score.json")
    scores.add_argument("--format", default="markdown", choices=FORMATS, help="(markdown)")


def run(options: argparse.Namespace) -> None:
    from ..eval.audiobench import evaluate_log, read_scores, score_table, write_answers
    from ..eval.results import RESULTS, read_run

    if options.action == "write":
        written = write_answers(read_run(options.run_folder), options.dataset, options.log, options.model)
        print("\n".join(map(str, written)))
    elif options.action == "read":
        evaluate_log(options.answers, options.data, options.split, options.out, options.judge)
        print(Path(options.out) / RESULTS)
    else:
        print(score_table([read_scores(path) for path in options.logs]).write(options.format))
