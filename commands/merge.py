"""A training checkpoint (what learnt) to a whole, merged model, as `from_pretrained` and `pipeline` take it."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a checkpoint-* folder of a training")
    parser.add_argument("out", help="folder to write")


def run(options: argparse.Namespace) -> None:
    from ..training.checkpoints import merge_checkpoint

    merge_checkpoint(options.checkpoint, options.out)
    print(options.out)
