"""Task alternation: a sampler that gives every optimizer step one task, and a callback that sets what learns."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from torch import nn
from torch.utils.data import Sampler
from transformers import TrainerCallback

from .schedule import Plan, part_parameters, steps_per_epoch


logger = logging.getLogger(__name__)
POOL = 50  # windows that are sorted by length together, as in transformers' LengthGroupedSampler


class AlternationSampler(Sampler[int]):
    """Row indices of a whole run, `plan.window` of one task for every optimizer step.

    A callback never sees the batch, so the task of a step must come from here. In each pass, every task's rows are
    shuffled and cut into windows, the last one filled up from the beginning of the pass, and the windows of the
    round's tasks are shuffled together. The order depends on the seed only, so a resumed run goes on with it.

    Args:
        plan: the laid-out schedule.
        tasks: task of each row of the dataset.
        seed: of the order.
        lengths: of each row's audio, to make windows of similar lengths, which saves padding; none for any lengths.
    """

    def __init__(self, plan: Plan, tasks: Sequence[str], seed: int, lengths: Sequence[float] | None = None):
        self.plan, self.seed = plan, seed
        self.lengths = None if lengths is None else np.asarray(lengths, dtype=float)
        self.rows_of = {task: np.flatnonzero(np.asarray(tasks) == task) for task in set(tasks)}

    def __len__(self) -> int:
        return self.plan.total_steps * self.plan.window

    def __iter__(self) -> Iterator[int]:
        start = 0
        for number, (round_, stop) in enumerate(zip(self.plan.rounds, self.plan.stops)):
            per_epoch = steps_per_epoch(round_, self.plan.rows, self.plan.window)
            for step in range(stop - start):
                if step % per_epoch == 0:
                    windows = self._epoch(number, step // per_epoch)
                yield from windows[step % per_epoch].tolist()
            start = stop

    def _epoch(self, number: int, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self.seed, number, epoch])
        windows = []
        for task in self.plan.rounds[number].tasks:
            order = random.permutation(self.rows_of[task])
            order = np.resize(order, -(-len(order) // self.plan.window) * self.plan.window)
            if self.lengths is not None:
                order = np.concatenate(
                    [pool[np.argsort(self.lengths[pool], kind="stable")] for pool in self._pools(order)]
                )
            windows.append(order.reshape(-1, self.plan.window))
        return random.permutation(np.concatenate(windows))

    def _pools(self, order: np.ndarray) -> list[np.ndarray]:
        """`order` in stretches of `POOL` windows."""
        size = POOL * self.plan.window
        return [order[start : start + size] for start in range(0, len(order), size)]


def set_learning(model: nn.Module, parts: Sequence[str]):
    """Let the parameters of `parts` learn and freeze all others."""
    for part, named in part_parameters(model).items():
        for _, parameter in named:
            parameter.requires_grad_(part in parts)


class AlternationCallback(TrainerCallback):
    """Sets `requires_grad` at the border of each round from the step alone, so a resumed run lands in the right one.

    Args:
        plan: the laid-out schedule; the same that the sampler has.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self._applied: int | None = None

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        """Refuse to train if a part that is to learn is not in the optimizer: it would stay as it is, silently."""
        optimized = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for part, named in part_parameters(model).items():
            lost = [name for name, parameter in named if id(parameter) not in optimized]
            if part in self.plan.parts and lost:
                raise RuntimeError(
                    f"{len(lost)} parameters of {part} are not in the optimizer (first: {lost[0]}); make every part "
                    "that ever learns trainable before the optimizer is built."
                )
        self._applied = None

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        index = self.plan.index_at(state.global_step)
        if index == self._applied:
            return
        self._applied = index
        round_ = self.plan.rounds[index]
        set_learning(model, round_.train)
        model.train()
        logger.info(
            "step %d, round %d: %s on %s",
            state.global_step,
            index + 1,
            ", ".join(round_.train),
            ", ".join(round_.tasks),
        )

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Add the round to what is logged, so that losses can be read by round."""
        if state.log_history and "loss" in state.log_history[-1]:
            state.log_history[-1]["round"] = self.plan.index_at(state.global_step - 1) + 1
