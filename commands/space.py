"""The web page of a published model, to a folder or the Hub."""

from __future__ import annotations

import argparse

from .arguments import pairs
from .demo import choose_model
from .merge import add_base
from .publish import add_delivery, deliver


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="MODEL", help="OWNER/NAME on the Hub; or a folder or delta, which then goes along"
    )
    add_base(parser)
    add_delivery(parser)


def run(options: argparse.Namespace) -> None:
    from ..hub.space import space_publication

    source, name, _ = choose_model(options.source, pairs(options.base, "--base"))
    deliver(space_publication(source, name), options, repo_type="space", space_sdk="gradio")
