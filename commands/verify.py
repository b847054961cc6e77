"""Verify rows: counts per split and class beside the published ones, every clip decoded once, the same speaker,
dialogue or sound in several splits. The exit code is 1 if anything is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..corpora.verify import MAX_SECONDS, SILENCE_DB
from .arguments import DONE, LEFT


ROWS_HELP = "folder written by `read` (or by `extract`), or a JSON-lines file of rows"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, help=ROWS_HELP)
    parser.add_argument("--out", type=Path, help="folder for the report; that of the rows when left out")
    parser.add_argument("--without-audio", action="store_true", help="check rows only, hear no clip")
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, help=f"longer clips are listed ({MAX_SECONDS:g})"
    )
    parser.add_argument(
        "--silence", type=float, default=SILENCE_DB, help=f"peak in dB that is silence ({SILENCE_DB:g})"
    )


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..corpora.verify import verify

    with tqdm(unit=" rows", mininterval=2, disable=None) as bar:
        report = verify(
            options.rows,
            options.out,
            not options.without_audio,
            options.max_seconds,
            options.silence,
            lambda _: bar.update(),
        )
    print(report.text())
    return DONE if report.clean else LEFT
