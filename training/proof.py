"""Proof, at each border of rounds, of what changed: a checksum of every part of a model."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from .schedule import part_of


# Elements that are summed at once: a sum of a large embedding needs no copy of it.
CHUNK = 1 << 22
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class FrozenPartMovedError(RuntimeError):
    """A part changed in a round in which it was to stay as it was."""


def tensor_checksum(tensor: torch.Tensor) -> int:
    """64 bits of the exact content of a tensor, the same on every device and for every sharding.

    Sums of the bit patterns as integers, each weighted by its place, so that neither a changed nor a moved element
    goes unseen. It is no protection against an attacker.
    """
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    words = tensor.detach().contiguous().view(-1).view(_WORDS[tensor.element_size()])
    total = words.numel()
    for number, chunk in enumerate(words.split(CHUNK)):
        weights = torch.arange(1, 2 * len(chunk), 2, device=chunk.device)
        weighted = int((chunk.long() * weights).sum())
        total = total * 1_000_003 + weighted + (2 * number + 1) * int(chunk.sum(dtype=torch.int64))
    return total % 2**64


def part_checksums(model: nn.Module) -> dict[str, str]:
    """Checksum of the parameters and saved buffers of each part, as hexadecimal digits.

    Under FSDP this gathers one tensor after the other, so all processes must call it.
    """
    sums: dict[str, int] = {}
    seen = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen or not isinstance(tensor, torch.Tensor):
            continue
        seen.add(id(tensor))
        part = part_of(name)
        sums[part] = (sums.get(part, 0) * 1_000_003 + tensor_checksum(tensor)) % 2**64
    return {part: f"{value:016x}" for part, value in sums.items()}


@torch.no_grad()
def agree_on_buffers(model: nn.Module):
    """Give every process the saved buffers of the first one.

    Each process's batch norms count what they saw themselves. DDP makes all agree at the next step, when these parts
    may be frozen already: they would seem to have moved.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    saved = model.state_dict(keep_vars=True)
    for name, buffer in model.named_buffers():
        if name in saved:
            agreed = buffer.contiguous()
            dist.broadcast(agreed, 0)
            buffer.copy_(agreed)


def moved_parts(before: dict[str, str], after: dict[str, str], learning: Iterable[str], where: str) -> list[str]:
    """Parts whose checksums differ.

    Args:
        before, after: what [`part_checksums`] gave at both ends.
        learning: parts that were to learn.
        where: which stretch of training it was, for the message.

    Raises:
        FrozenPartMovedError: if others moved too.
    """
    moved = [part for part in after if before.get(part) != after[part]]
    wrong = [part for part in moved if part not in set(learning)]
    if wrong:
        raise FrozenPartMovedError(
            f"{where}: {', '.join(wrong)} changed, but only {', '.join(learning)} were to learn. The run is stopped, "
            "and this state is not saved. Something else writes into the model: another callback, a hook, or an "
            "optimizer that moves parameters without gradients."
        )
    return moved
