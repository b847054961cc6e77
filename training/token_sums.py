"""What was learnt from since the last log, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator

from ..corpora.schema import TASKS


class TokenSums:
    """Sums over scored tokens by task, which stay on the device: no step waits for the GPU to read them.

    Args:
        device: of the training.
    """

    COLUMNS = ("tokens", "loss", "entropy", "top1", "read")

    def __init__(self, device: torch.device):
        self.table = torch.zeros(len(TASKS), len(self.COLUMNS), device=device)

    @torch.no_grad()
    def add(self, outputs: Any, tasks: Sequence[str], kept: torch.Tensor, attention_mask: torch.Tensor):
        """Count one batch.

        Args:
            outputs: TRL's `FusedCausalLMOutput` of the scored tokens, `[1, scored]`.
            tasks: of each row.
            kept: which positions are scored, `[rows, length]`.
            attention_mask: which positions are no padding, `[rows, length]`.
        """
        rows = torch.tensor([TASKS.index(task) for task in tasks]).to(self.table.device, non_blocking=True)
        values = torch.stack(
            [outputs.label_mask.float(), -outputs.log_probs.float(), outputs.entropy.float(), outputs.is_top1.float()],
            dim=-1,
        )
        self.table[:, :4].index_add_(0, rows[:, None].expand_as(kept)[kept], values[0])
        self.table[:, 4].index_add_(0, rows, attention_mask.sum(-1).float())

    def take(self, accelerator: Accelerator) -> dict[str, float]:
        """The means of all processes since the last call, which all of them must make: by task and over all."""
        summed: Any = accelerator.reduce(self.table, "sum")
        table = summed.double().cpu()
        self.table.zero_()
        tokens, loss, entropy, top1, read = table.unbind(-1)
        means = {f"loss_{task}": float(loss[n] / tokens[n]) for n, task in enumerate(TASKS) if tokens[n]}
        if means:
            means |= {"entropy": float(entropy.sum() / tokens.sum())}
            means |= {"mean_token_accuracy": float(top1.sum() / tokens.sum())}
        return means | {"num_tokens": float(read.sum())}
