"""What a training changed, without the public weights it began with; `merge` makes a whole model of both again."""

from __future__ import annotations

import argparse

from .arguments import add_pairs, pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a checkpoint-* folder of a training")
    parser.add_argument("out", help="new folder to write")
    parser.add_argument(
        "--licence", required=True, help="of what was trained, as the Hub names it (apache-2.0, cc-by-nc-4.0, ...)"
    )
    add_pairs(
        parser,
        "--base",
        metavar="PART=OWNER/NAME",
        help="what the run's folders are on the Hub: speech, emotion, text (or model); @REVISION may follow",
    )
    parser.add_argument("--hears", metavar="SENTENCE", help="what the model can hear, for card and web page")
    parser.add_argument("--name", help="of the model (the folder's)")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32", "int8"), default="bfloat16", help="(bfloat16)"
    )


def run(options: argparse.Namespace) -> None:
    from ..hub.delta import publish_delta

    written = publish_delta(
        options.checkpoint,
        options.out,
        options.licence,
        pairs(options.base, "--base"),
        options.hears,
        options.name,
        options.dtype,
    )
    print(written.listing())
    print(f"written to {options.out}")
