"""A whole, merged model, as `from_pretrained` and `pipeline` take it, of a training checkpoint or of a delta.

Of a delta (see `audiollm delta`) the public weights come from the Hub, or from folders; they are compared with those
that it was trained on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
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


def whole_model(source: str, given: Mapping[str, str] | None = None, offline: bool = False) -> str:
    """A model that `from_pretrained` takes: a delta is merged into the user's cache folder, anything else is as it is.

    Args:
        source: checkpoint folder, Hub name, or delta.
        given: folders of a delta's public weights.
        offline: whether to fetch none.

    Raises:
        ValueError: if weights are given for what is no delta, and as `merged_in_cache` does.
    """
    from ..training.delta import is_delta, merged_in_cache

    if not is_delta(source):
        if given:
            raise ValueError(f"--base is for a delta, and {source} is none (it has no delta.json).")
        return source
    merged = merged_in_cache(source, given, offline)
    _print_notes(merged)
    return str(merged)


def _print_notes(merged: str | Path) -> None:
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
        _print_notes(out)
    elif given:
        raise ValueError(f"--base is for a delta, and {options.source} is none (it has no delta.json).")
    else:
        merge_checkpoint(options.source, out)
    print(out)
