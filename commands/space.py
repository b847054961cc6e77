"""The web page of a published model, to a folder or the Hub."""

from __future__ import annotations

import argparse

from .publish import add_delivery, deliver


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="MODEL", help="OWNER/NAME on the Hub, or a folder, which then goes along")
    add_delivery(parser)


def run(options: argparse.Namespace) -> None:
    from ..hub.space import space_publication

    deliver(space_publication(options.source), options, repo_type="space", space_sdk="gradio")
