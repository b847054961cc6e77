"""Losses on the frames of an encoder beside the language model's. Their heads are not part of the saved model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..processing.collator import CTC_CHARACTERS, IGNORED
from .schedule import Round, ScheduleError


def head_file(name: str) -> str:
    """Name of a head's file in a checkpoint."""
    return f"{name}_head.safetensors"


def _real_frames(frames: torch.Tensor, mask: torch.Tensor, steps: int) -> list[torch.Tensor]:
    """The frames of each clip that are real audio: losses over padding stay where padding is all they hear.

    Args:
        frames: `[windows, time, width]`, clip after clip.
        mask: which features are real audio, `[clips, windows, feature time]`.
        steps: time steps of the features for one frame.
    """
    counts = -(-mask.sum(-1) // steps)
    heard = [window[:count] for window, count in zip(frames, counts[counts > 0].tolist(), strict=True)]
    clips = []
    for windows in counts.gt(0).sum(-1).tolist():
        clips.append(torch.cat(heard[:windows]))
        heard = heard[windows:]
    return clips


class CTCHead(nn.Module):
    """Character CTC on a speech encoder's frames: teaches a new encoder to hear.

    Args:
        width: channels of the encoder's frames.
        steps: time steps of its features for one frame.
    """

    def __init__(self, width: int, steps: int):
        super().__init__()
        self.steps = steps
        self.projection = nn.Linear(width, len(CTC_CHARACTERS) + 1)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean CTC loss per character.

        Args:
            frames: `[windows, time, width]`, clip after clip.
            mask: which features are real audio, `[clips, windows, feature time]`.
            labels: character ids `[clips, longest]`, padded with -100.
        """
        clips = _real_frames(frames, mask, self.steps)
        log_probs = self.projection(nn.utils.rnn.pad_sequence(clips)).float().log_softmax(-1)
        real = labels != IGNORED
        lengths = torch.tensor([len(clip) for clip in clips])
        return nn.functional.ctc_loss(log_probs, labels.clamp(min=0), lengths, real.sum(-1), zero_infinity=True)


class LabelHead(nn.Module):
    """Classes from every frame of an emotion encoder.

    Each frame has to tell the label, not their mean: an adapter stacks frames and does not average them, so what only
    the mean tells is hard for it to find.

    Args:
        width: channels of the encoder's frames.
        steps: time steps of its features for one frame.
        classes: how many classes all tasks have together.
    """

    def __init__(self, width: int, steps: int, classes: int):
        super().__init__()
        self.steps = steps
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, classes)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, the mean over clips of the mean over each clip's frames.

        Args:
            frames: `[windows, time, width]`, clip after clip.
            mask: which features are real audio, `[clips, windows, feature time]`.
            labels: `[clips, classes]`: 1 for the clip's class, 0 for the others of its task, -100 for other tasks.
        """
        losses = []
        for clip, label in zip(_real_frames(frames, mask, self.steps), labels):
            logits = self.projection(self.norm(clip)).float().masked_fill(label == IGNORED, -torch.inf)
            losses.append(nn.functional.cross_entropy(logits, label.argmax().expand(len(clip))))
        return torch.stack(losses).mean()


def label_classes(
    tasks: Sequence[str], labels: Sequence[str | None], rounds: Sequence[Round]
) -> list[tuple[str, str]]:
    """The classes that a schedule's label losses tell apart, in a fixed order: a task and one of its labels.

    Raises:
        ScheduleError: if a round of nothing but a label loss has rows without a label.
    """
    if not any(round_.label for round_ in rounds):
        return []
    bare = {task for task, label in zip(tasks, labels) if not label}
    for number, round_ in enumerate(rounds, 1):
        if round_.label and not round_.lm and bare & set(round_.tasks):
            lacking = ", ".join(sorted(bare & set(round_.tasks)))
            raise ScheduleError(f"Round {number} learns from labels alone, which rows of {lacking} lack.")
    return sorted({(task, label) for task, label in zip(tasks, labels) if label})
