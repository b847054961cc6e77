"""Write a run's report: figures, plots, and recordings to listen to beside what was answered about them."""

from __future__ import annotations

import argparse

from .arguments import add_list, count
from .export import add_audio_roots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="folder of the run")
    parser.add_argument("--out", help="file to write (default: report.html in the folder)")
    parser.add_argument("--train-log", help="trainer_state.json, for the loss curve")
    add_list(parser, "--compare", metavar="RUN", help="folders of runs to compare with")
    parser.add_argument("--clips", type=count, help="how many recordings at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of recordings, and of the resamples (0)")
    parser.add_argument("--audio-megabytes", type=float, help="audio in the page at most")
    parser.add_argument(
        "--cluster", metavar="COLUMN", help="resample rows of the same COLUMN (speaker, audio) together"
    )
    add_audio_roots(parser)


def run(options: argparse.Namespace) -> None:
    from ..eval.report import write_report

    limits = {name: getattr(options, name) for name in ("clips", "audio_megabytes")}
    print(
        write_report(
            options.run_folder,
            options.out,
            options.train_log,
            options.compare,
            seed=options.seed,
            cluster=options.cluster,
            audio_roots=options.audio_root,
            **{name: value for name, value in limits.items() if value is not None},
        )
    )
