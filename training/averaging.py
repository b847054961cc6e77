"""Running averages of weights: less noise from the last steps of a round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from .schedule import Plan, Round, part_of


class AveragingCallback(TrainerCallback):
    """Averages what learns in a round over its steps, and puts the average in place when the round ends.

    The weight of the past grows from 1/10 to the round's `average`, so that a round's beginning soon fades.
    Batch norms' running statistics are averaged with the weights that they belong to.

    Args:
        plan: the laid-out schedule.
        companions: what learns beside the model, by name; modules among them are averaged, too.
    """

    def __init__(self, plan: Plan, companions: Mapping[str, Any]):
        self.plan, self.companions = plan, companions
        self.average: dict[str, torch.Tensor] = {}
        self._learning: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The average so far, for a checkpoint in the midst of a round."""
        return self.average

    def load_state_dict(self, average: dict[str, torch.Tensor]):
        self.average = average

    @torch.no_grad()
    def on_step_end(self, args, state, control, model: Any = None, **kwargs):
        index = self.plan.index_at(state.global_step - 1)
        round_, seen = self.plan.rounds[index], state.global_step - self.plan.start_of(index)
        if not round_.average:
            return
        # Steps change these tensors in place, so one search of the model serves a round.
        self._learning = self._learning or self._tensors(model, round_)
        if seen == 1:
            self.average = {name: tensor.clone() for name, tensor in self._learning.items()}
        past = min(round_.average, seen / (9 + seen))
        averages = [self.average[name] for name in self._learning]
        torch._foreach_lerp_(averages, list(self._learning.values()), 1 - past)
        if state.global_step in self.plan.stops or state.global_step == state.max_steps:
            self._put_in_place()  # before the checkpoint, which is then the model that the run ends with

    @torch.no_grad()
    def on_train_end(self, args, state, control, model: Any = None, **kwargs):
        """Training that was told to stop within a round ends with the average, too."""
        if self.average:
            self._learning = self._learning or self._tensors(model, self.plan.round_at(state.global_step - 1))
            self._put_in_place()

    def _put_in_place(self):
        for name, tensor in self._learning.items():
            tensor.copy_(self.average[name])
        self.average, self._learning = {}, {}

    def _tensors(self, model: nn.Module, round_: Round) -> dict[str, torch.Tensor]:
        """Parameters and running statistics of the parts that learn, and of modules beside the model."""
        tensors = {name: value for name, value in model.state_dict().items() if part_of(name) in round_.train}
        for name, companion in self.companions.items():
            if isinstance(companion, nn.Module):
                tensors |= {f"{name}.{key}": value for key, value in companion.state_dict().items()}
        return {name: value for name, value in tensors.items() if value.is_floating_point()}
