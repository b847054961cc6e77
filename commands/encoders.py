"""The paper's encoders by name: what to write into a configuration, and how large each is."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(options: argparse.Namespace) -> None:
    from ..modeling_audiollm.encoder_sizes import table

    print(table())
