"""The learning rate of every step, where rounds have rates or anneal on their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments, get_scheduler

from .schedule import Plan


logger = logging.getLogger(__name__)


def shape(args: TrainingArguments, steps: int) -> Callable[[int], float]:
    """The shape of the arguments' scheduler (warmup, decay) over a number of steps, as a factor for each step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)  # a scheduler needs one, its shape does not
    scheduler: Any = get_scheduler(
        args.lr_scheduler_type,
        optimizer,
        num_warmup_steps=args.get_warmup_steps(steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )
    return scheduler.lr_lambdas[0]


def round_rates(plan: Plan, args: TrainingArguments) -> Callable[[int], float] | None:
    """For each step the factor of `args.learning_rate`; none if the arguments' own scheduler does.

    A round's rate scales the shape, which goes over the whole run, or over the round alone if it anneals.
    """
    rounds = plan.rounds
    if all(round_.learning_rate is None and not round_.anneal for round_ in rounds):
        return None
    whole, starts = shape(args, args.max_steps), [plan.start_of(index) for index in range(len(rounds))]
    lengths = [stop - start for start, stop in zip(starts, plan.stops)]
    alone = [shape(args, length) if round_.anneal else None for round_, length in zip(rounds, lengths)]
    for number, (own, length) in enumerate(zip(alone, lengths), 1):
        if own is not None and args.get_warmup_steps(length) >= length:
            logger.warning(
                "round %d anneals over %d steps, all of them warmup: its rate only rises, to %.0f%%, and nothing "
                "settles. Give training.warmup_steps as a share (0.05), which is of each such round's own steps.",
                *(number, length, 100 * own(length - 1)),
            )

    def rate(step: int) -> float:
        index = plan.index_at(step)
        own = alone[index]
        factor = whole(step) if own is None else own(step - starts[index])
        return factor * (rounds[index].learning_rate or args.learning_rate) / args.learning_rate

    return rate
