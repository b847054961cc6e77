"""A whole, merged model, as `from_pretrained` and `pipeline` take it, of a training checkpoint or of a delta.

Of a delta (see `audiollm delta`) the public weights come from the Hub, or from folders; they are compared with those
that it was trained on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .arguments import add_pairs, pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a checkpoint-* folder of a training, or a delta")
    parser.add_argument("folder", nargs="?", metavar="OUT", help="new folder to write")
    parser.add_argument("--out", metavar="OUT", help="the same")
    add_base(parser)


def add_base(parser: argparse.ArgumentParser) -> None:
    """Folders for the public weights of a delta."""
    add_pairs(
        parser,
        "--base",
        metavar="PART=FOLDER",
        help="take public weights of a delta from a folder, not from the Hub: speech, emotion, text (or model)",
    )


def print_notes(merged: str | Path) -> None:
    """Say which public weights of a merged model are not those that its delta was trained on."""
    from ..training.delta import notes

    for note in notes(merged):
        print(f"note: {note}", file=sys.stderr)


def run(options: argparse.Namespace) -> None:
    from ..training.checkpoints import merge_checkpoint
    from ..training.delta import is_delta, merge_delta

    if (options.folder is None) == (options.out is None):
        raise ValueError("say once which folder to write: OUT, or --out OUT.")
    out = options.folder or options.out
    given = pairs(options.base, "--base")
    if is_delta(options.source):
        merge_delta(options.source, out, given)
        print_notes(out)
    elif given:
        raise ValueError(f"--base is for a delta, and {options.source} is none (it has no delta.json).")
    else:
        merge_checkpoint(options.source, out)
    print(out)
