"""Train an AudioLLM by rewards for its answers, or go on where a run of it was stopped."""

from __future__ import annotations

import argparse

from .arguments import add_list, refuse_unread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="a YAML file; see docs/rl.md")
    add_list(
        parser,
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="change single fields, as `epochs=0.5`",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="show what each GPU must hold and which rows each reward judges, and train nothing",
    )
    add_list(parser, "--gpus", type=int, metavar="N", help="how many, for --plan (1 8)")


def run(options: argparse.Namespace) -> None:
    import logging

    from ..rewards import load_rewards
    from ..training.rl import report_rl_plan, train_by_rewards
    from ..training.rl_config import check_rl_config, read_rl_config

    refuse_unread(options, ["--gpus"], "--plan", options.plan)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    config = read_rl_config(options.config, options.set)
    chosen = {reward.name: reward.options for reward in check_rl_config(config).rewards}

    def rewards(rows):
        return load_rewards(chosen, rows)

    if options.plan:
        print(report_rl_plan(config, rewards, options.gpus or [1, 8]))
    else:
        train_by_rewards(config, rewards)
