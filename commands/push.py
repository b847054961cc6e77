"""Push rows to the Hub as Parquet with a card. Log in first: hf auth login."""

from __future__ import annotations

import argparse
from pathlib import Path

from .export import add_audio_roots, add_drop
from .verify import ROWS_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, help=ROWS_HELP)
    parser.add_argument("name", help="owner/dataset")
    parser.add_argument("--public", action="store_true", help="for everybody; mind the corpus' licence")
    parser.add_argument("--dry-run", type=Path, metavar="FOLDER", help="write what would be uploaded to a new folder")
    add_drop(parser)
    add_audio_roots(parser)


def run(options: argparse.Namespace) -> None:
    from ..corpora.push import push

    private, roots = not options.public, options.audio_root
    print(push(options.rows, options.name, private, options.dry_run, options.drop_problems, audio_roots=roots))
