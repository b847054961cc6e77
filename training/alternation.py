"""Alternation: a sampler that gives every optimizer step rows of one round, and a callback that sets what learns."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from datasets import Dataset as Rows
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset, Sampler
from transformers import IntervalStrategy, TrainerCallback
from transformers.trainer_utils import SaveStrategy

from .proof import agree_on_buffers, moved_parts, part_checksums
from .schedule import Plan, part_parameters


logger = logging.getLogger(__name__)
POOL = 50  # steps whose rows are sorted by length together, as in transformers' LengthGroupedSampler


class AlternationSampler(Sampler[int]):
    """Row indices of a whole run, `plan.rows_per_step` of one round for every optimizer step.

    A callback never sees the batch, so the round of a step must come from here. In each pass, the rows of all tasks of
    the round are shuffled together, and the last step is filled up from the beginning of the pass. The order depends
    on the seed only, so a resumed run goes on with it.

    Args:
        plan: the laid-out schedule.
        tasks: task of each row of the dataset.
        seed: of the order.
        lengths: of each row, to make steps of similar lengths, which saves padding; none for any lengths.
    """

    def __init__(self, plan: Plan, tasks: Sequence[str], seed: int, lengths: Sequence[float] | None = None):
        self.plan, self.seed, self.tasks = plan, seed, np.asarray(tasks)
        self.lengths = None if lengths is None else np.asarray(lengths, dtype=float)

    def __len__(self) -> int:
        return self.plan.total_steps * self.plan.rows_per_step

    def __iter__(self) -> Iterator[int]:
        for number, round_ in enumerate(self.plan.rounds):
            left = self.plan.stops[number] - self.plan.start_of(number)
            rows = np.flatnonzero(np.isin(self.tasks, round_.tasks))
            epoch = 0
            while left:
                steps = self._epoch(rows, np.random.default_rng([self.seed, number, epoch]))[:left]
                yield from steps.ravel().tolist()
                left -= len(steps)
                epoch += 1

    def _epoch(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """One pass over `rows`, `[steps, rows per step]`."""
        size = self.plan.rows_per_step
        order = random.permutation(rows)
        order = np.resize(order, -(-len(order) // size) * size)
        if self.lengths is None:
            return order.reshape(-1, size)
        pools = np.split(order, range(POOL * size, len(order), POOL * size))
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        return random.permutation(order.reshape(-1, size))


class ScheduledRows(Dataset):
    """The rows in the order of a run; each knows its place in it, as `place`.

    All that is random about a row (augmentation) comes from the seed and the place, not from a generator's state: it
    is the same with any number of workers, and in a run that was killed and resumed.

    Args:
        rows: of the schema.
        order: for each place of the run, the index of its row.
        speeds: for each place, how fast its clip is heard, as `speed` of the row; none for clips as they are.
    """

    def __init__(self, rows: Rows, order: Sequence[int] | np.ndarray, speeds: np.ndarray | None = None):
        self.rows, self.order, self.speeds = rows, np.asarray(order), speeds

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> dict[str, Any]:
        heard = {} if self.speeds is None else {"speed": float(self.speeds[place])}
        return {**self.rows[int(self.order[place])], "place": place, **heard}


def draw_speeds(plan: Plan, seed: int) -> np.ndarray | None:
    """For each place of a run, the speed that its round draws for it; none if no round has any."""
    if not any(round_.speeds for round_ in plan.rounds):
        return None
    drawn = []
    for number, (round_, stop) in enumerate(zip(plan.rounds, plan.stops)):
        places = (stop - plan.start_of(number)) * plan.rows_per_step
        # Spawned, since numpy takes [seed, number] for [seed, number, 0], by which the first pass is shuffled.
        random = np.random.default_rng([seed, number]).spawn(1)[0]
        drawn.append(random.choice(round_.speeds or [1.0], places))
    return np.concatenate(drawn)


def set_learning(model: nn.Module, parts: Sequence[str]):
    """Let the parameters of `parts` learn and freeze all others."""
    for part, named in part_parameters(model).items():
        for _, parameter in named:
            parameter.requires_grad_(part in parts)


class AlternationCallback(TrainerCallback):
    """Sets `requires_grad` at the border of each round from the step alone, so a resumed run lands in the right one.

    At each border it also proves by checksums which parts moved, logs it, and stops the run if a frozen one did.

    Args:
        plan: the laid-out schedule; the same that the sampler has.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self._applied: int | None = None

    def on_train_begin(self, args, state, control, model: Any = None, optimizer: Any = None, **kwargs):
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
        if not proofs(state):
            self._record(state, model, ())

    def on_step_begin(self, args, state, control, model: Any = None, **kwargs):
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

    def on_step_end(self, args, state, control, model: Any = None, **kwargs):
        """At the border of a round: which parts moved; then a logged mean ends there, and what is learnt is saved."""
        if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
            agree_on_buffers(model)  # at every step, as DDP does: a norm may use what each process counted
        if state.global_step in self.plan.stops:
            control.should_log |= args.logging_strategy != IntervalStrategy.NO
            control.should_save |= args.save_strategy != SaveStrategy.NO
            self._verify(state, model)

    def on_train_end(self, args, state, control, model: Any = None, **kwargs):
        if proofs(state)[-1]["step"] < state.global_step:
            self._verify(state, model)

    def _verify(self, state, model: nn.Module):
        """Compare with the checksums at the round's beginning, which a resumed run has from its checkpoint."""
        index = self.plan.index_at(state.global_step - 1)
        learning = self.plan.rounds[index].train
        before = proofs(state)[-1]
        agree_on_buffers(model)
        after = part_checksums(model)
        where = f"steps {before['step']}-{state.global_step - 1}, round {index + 1}"
        moved = moved_parts(before["checksums"], after, learning, where)
        still = [part for part in after if part not in moved]
        logger.info("%s: %s changed; %s did not", where, ", ".join(moved) or "nothing", ", ".join(still) or "nothing")
        idle = [part for part in learning if part in still]
        if idle:
            logger.warning("%s: %s should have learnt, but did not change at all.", where, ", ".join(idle))
        self._record(state, model, moved, after)

    def _record(self, state, model: nn.Module, moved: Sequence[str], checksums: dict[str, str] | None = None):
        entry = {"step": state.global_step, "moved": list(moved), "checksums": checksums or part_checksums(model)}
        state.log_history.append(entry)


def proofs(state) -> list[dict[str, Any]]:
    """The entries of checksums in the log, oldest first; the log is saved with the checkpoints."""
    return [entry for entry in state.log_history if "checksums" in entry]
