"""The web page to speak to a model, on this machine only unless told otherwise."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="checkpoint folder, or a name on the Hub (whose code then runs here)")
    parser.add_argument("--aligner", help="ctc_head.safetensors of the speech encoder, if it is not in the checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="(7860)")
    parser.add_argument("--max-seconds", type=float, default=300, help="longest recording taken (300)")


def run(options: argparse.Namespace) -> None:
    from ..demo.app import launch

    address = {"server_name": options.host, "server_port": options.port}
    launch(options.checkpoint, options.aligner, options.max_seconds, **address)
