"""Write rows, with their clips, in a form that other tools read."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..corpora.export import FORMATS
from .arguments import add_list
from .verify import ROWS_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, help=ROWS_HELP)
    parser.add_argument("out", type=Path, help="new folder to write")
    parser.add_argument("--format", choices=FORMATS, default="datasets", help="(datasets)")
    add_drop(parser)
    add_audio_roots(parser)


def add_audio_roots(parser: argparse.ArgumentParser) -> None:
    """Folders whose clips may leave the machine with their rows."""
    add_list(
        parser, "--audio-root", metavar="FOLDER", help="clips of these folders may go along, not only the rows' own"
    )


def add_drop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--drop-problems", action="store_true", help="leave out rows whose clip `verify` found unusable"
    )


def run(options: argparse.Namespace) -> None:
    from ..corpora.export import export

    counts = export(options.rows, options.out, options.format, options.drop_problems, audio_roots=options.audio_root)
    print("\n".join(f"{split}: {rows:,} rows" for split, rows in counts.items()))
    print(f"written to {options.out}")
