"""The web page to speak to a model, on this machine only unless told otherwise.

Without a model it is the delta in samples/small, if one is there and its public weights are on this machine (in the
Hub's cache, or in folders: --base); else the tiny one, with a banner that says so."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from .arguments import pairs
from .merge import add_base, whole_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", nargs="?", help="checkpoint folder, a delta, or a name on the Hub (whose code then runs here)"
    )
    add_base(parser)
    parser.add_argument("--aligner", help="ctc_head.safetensors of the speech encoder, if it is not in the checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="(7860)")
    parser.add_argument("--max-seconds", type=float, default=300, help="longest recording taken whole (300)")
    parser.add_argument(
        "--max-call-seconds", type=float, default=7200, help="longest recording followed turn by turn (7200)"
    )


def run(options: argparse.Namespace) -> None:
    from ..demo.app import launch

    checkpoint, name, banner = choose_model(options.checkpoint, pairs(options.base, "--base"))
    address = {"server_name": options.host, "server_port": options.port}
    launch(checkpoint, options.aligner, options.max_seconds, name, banner, options.max_call_seconds, **address)


def choose_model(asked: str | None, given: Mapping[str, str]) -> tuple[str, str | None, str]:
    """The model that the page is started with: where it is, what to call it (or none), and the page's banner.

    Args:
        asked: checkpoint, delta or Hub name, if one was named.
        given: folders of a delta's public weights.

    Raises:
        ValueError: if nothing was named and the repository's models are not here, or `given` belongs to no delta.
    """
    from ..demo.about import SMALL, TINY, own_model, tiny_banner
    from ..training.bases import MissingBaseError
    from ..training.delta import is_delta

    if asked is not None:
        return whole_model(asked, given), Path(asked).resolve().name if is_delta(asked) else None, ""
    small, tiny = own_model(SMALL), own_model(TINY)
    if is_delta(small):
        try:
            return whole_model(str(small), given, offline=True), small.name, ""
        except MissingBaseError as error:
            if given:
                raise
            print(f"note: the tiny model answers, not {SMALL}: {error}", file=sys.stderr)
    if not tiny.is_dir():
        raise ValueError("say which model: a checkpoint folder, a delta, or OWNER/NAME on the Hub.")
    return str(tiny), None, tiny_banner()
