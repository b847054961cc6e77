"""Train an AudioLLM by a configuration, or go on where a run of it was stopped."""

from __future__ import annotations

import argparse

from .arguments import add_list, refuse_unread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="a YAML file; see docs/training.md")
    add_list(
        parser,
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="change single fields, as `schedule=alt-1 training.output_dir=build/mine`",
    )
    parser.add_argument("--plan", action="store_true", help="show what each GPU must hold, and train nothing")
    add_list(parser, "--gpus", type=int, metavar="N", help="how many, for --plan (1 8)")


def run(options: argparse.Namespace) -> None:
    import logging

    from ..training.config import read_config
    from ..training.sft import report_memory, train

    refuse_unread(options, ["--gpus"], "--plan", options.plan)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    config = read_config(options.config, options.set)
    if options.plan:
        print(report_memory(config, options.gpus or [1, 8]))
    else:
        train(config)
