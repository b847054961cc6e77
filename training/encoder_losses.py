"""Losses on an encoder's frames or an adapter's tokens, beside the language model's or in its place, with heads that
stay behind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..modeling_audiollm.configuration_audiollm import encoder_frames, encoder_width, feature_length, kept_tokens
from ..modeling_audiollm.modeling_audiollm import AudioLLMAlignment, AudioLLMModel
from ..processing.collator import IGNORED
from .schedule import Round, ScheduleError
from .trainer import AudioLLMTrainer


def real_frames(frames: torch.Tensor, mask: torch.Tensor, steps: int) -> list[torch.Tensor]:
    """The frames of each clip that are real audio: losses over padding stay where padding is all they hear.

    Args:
        frames: `[windows, time, width]`, clip after clip.
        mask: which features are real audio, `[clips, windows, feature time]`.
        steps: time steps of the features for one frame.
    """
    return _of_clips(frames, -(-mask.sum(-1) // steps))


def _of_clips(frames: torch.Tensor, counts: torch.Tensor) -> list[torch.Tensor]:
    """The first `counts` `[clips, windows]` of the frames `[windows, time, width]` of each window that has any."""
    heard = [window[:count] for window, count in zip(frames, counts[counts > 0].tolist(), strict=True)]
    clips = []
    for windows in counts.gt(0).sum(-1).tolist():
        clips.append(torch.cat(heard[:windows]))
        heard = heard[windows:]
    return clips


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
        """Cross-entropy, the mean over labelled clips of the mean over each clip's frames.

        Args:
            frames: `[windows, time, width]`, clip after clip.
            mask: which features are real audio, `[clips, windows, feature time]`.
            labels: `[clips, classes]`: 1 for the clip's class, 0 for the others of its task, -100 for other tasks.
        """
        losses = [frames.sum() * 0]
        labelled = (labels == 1).any(-1).tolist()
        for clip, label, known in zip(real_frames(frames, mask, self.steps), labels, labelled):
            if known:
                logits = self.projection(self.norm(clip)).float().masked_fill(label == IGNORED, -torch.inf)
                losses.append(nn.functional.cross_entropy(logits, label.argmax().expand(len(clip))))
        return torch.stack(losses).sum() / max(sum(labelled), 1)


class WordHead(nn.Module):
    """Classes from all tokens of a clip: how near they are to the language model's own words for the labels.

    What `align` is for transcripts, this is for labels: the adapter finds the language model's space, which does not
    run. In training, a random half of the tokens is left out, so that each has to tell, and not the sum of a clip's.

    Args:
        words: for each class the embedding of its label, `[classes, width]`, the mean over the label's tokens.
    """

    START_TEMPERATURE = AudioLLMModel.LABEL_TEMPERATURE
    LEFT_OUT = 0.5
    words: torch.Tensor

    def __init__(self, words: torch.Tensor):
        super().__init__()
        self.register_buffer("words", words.detach().float(), persistent=False)
        self.log_temperature = nn.Parameter(torch.tensor([math.log(self.START_TEMPERATURE)]))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the mean over each clip's tokens, the mean over labelled clips.

        Tokens are pulled to the length of the words' embeddings too, which the cosine leaves free: the language model
        has to read them as if they were words.

        Args:
            tokens: `[windows, tokens, width]`, clip after clip.
            mask: which features are real audio, `[clips, windows, feature time]`.
            labels: as of [`LabelHead`].
        """
        labelled = (labels == 1).any(-1)
        clips = _of_clips(tokens.float(), kept_tokens(tokens.shape[1], mask.sum(-1), mask.shape[-1]))
        known = [clip for clip, wanted in zip(clips, labelled.tolist()) if wanted]
        if not known:
            return tokens.sum() * 0
        means = torch.stack([self._mean_direction(clip) for clip in known])
        with torch.autocast(means.device.type, enabled=False):  # bfloat16's cosines are too coarse for a temperature
            logits = means @ nn.functional.normalize(self.words, dim=-1).t() * self.log_temperature.exp()
        labels = labels[labelled]
        named = nn.functional.cross_entropy(logits.masked_fill(labels == IGNORED, -torch.inf), labels.argmax(-1))
        scale = self.words.norm(dim=-1).mean()
        stretch = torch.cat(known).norm(dim=-1).clamp(min=1e-6).div(scale).log()
        return named + AudioLLMAlignment.SCALE_WEIGHT * stretch.square().mean()

    def _mean_direction(self, tokens: torch.Tensor) -> torch.Tensor:
        directions = nn.functional.normalize(tokens, dim=-1)
        if self.training:
            kept = torch.rand(len(tokens), device=tokens.device) >= self.LEFT_OUT
            directions = directions[kept] if kept.any() else directions
        return directions.mean(0)


def label_classes(
    tasks: Sequence[str], labels: Sequence[str | None], rounds: Sequence[Round]
) -> list[tuple[str, str]]:
    """The classes that a schedule's label losses tell apart, in a fixed order: a task and one of its labels.

    Raises:
        ScheduleError: if a round with a label loss has no row with a label, or one of nothing else rows without.
    """
    if not any(round_.label for round_ in rounds):
        return []
    bare = {task for task, label in zip(tasks, labels) if not label}
    told = {task for task, label in zip(tasks, labels) if label}
    for number, round_ in enumerate(rounds, 1):
        if round_.label and not told & set(round_.tasks):
            raise ScheduleError(f"Round {number} has label, but no row of {', '.join(round_.tasks)} has one.")
        if round_.label and not round_.lm and bare & set(round_.tasks):
            lacking = ", ".join(sorted(bare & set(round_.tasks)))
            raise ScheduleError(f"Round {number} learns from labels alone, which rows of {lacking} lack.")
    return sorted({(task, label) for task, label in zip(tasks, labels) if label})


@contextmanager
def _listening(parts: dict[str, nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """Collects the last frames that each encoder gives, and the tokens of each adapter, while the model runs."""
    frames: dict[str, torch.Tensor] = {}

    def keep(name: str):
        return lambda module, args, output: frames.__setitem__(name, getattr(output, "last_hidden_state", output))

    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    try:
        yield frames
    finally:
        for hook in hooks:
            hook.remove()


class EncoderLossTrainer(AudioLLMTrainer):
    """A trainer of schedules in which some round weighs a loss on an encoder's frames or an adapter's tokens.

    The collator gives the targets of the loss `label` as `label_labels`, and so on.

    Raises:
        ValueError: in several processes, where nothing would synchronise the heads.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.args.world_size > 1:
            raise ValueError("Losses on an encoder's frames work in one process; their heads are not synchronised.")
        weighed = {pair for round_ in self.plan.rounds for pair in round_.weighed.items()}
        self.heads = nn.ModuleDict({_head(*pair): self._build_head(*pair) for pair in sorted(weighed)})
        self.heads.to(self.args.device)
        self.companions |= {f"{name}_head": head for name, head in self.heads.items()}
        self._beside: dict[str, list[torch.Tensor]] = {}
        self._told_rows: dict[str, int] = {}  # rows of the optimizer step that have targets, by loss

    def build_head(self, name: str, width: int, steps: int) -> nn.Module:
        """The head of a loss on frames: `(frames, mask, targets)` to a number, see [`LabelHead`].

        Args:
            name: of the loss, the field of a round that weighs it.
            width: channels of the encoder's frames.
            steps: time steps of its features for one frame.
        """
        return LabelHead(width, steps, len(self.data_collator.classes))

    def _build_head(self, name: str, part: str) -> nn.Module:
        if part.endswith("adapter"):
            return WordHead(self._label_words())
        return self.build_head(name, *self._frames(part))

    def _label_words(self) -> torch.Tensor:
        """The language model's embedding of each class's label."""
        ids = self.processing_class.label_ids([label for _, label in self.data_collator.classes])
        return self.audio_model.model.label_words(ids)

    def _frames(self, part: str) -> tuple[int, int]:
        config = self.audio_model.config
        encoder = getattr(config, part.replace("encoder", "config"))
        steps = round(feature_length(encoder, config.window_seconds) / encoder_frames(encoder, config.window_seconds))
        return encoder_width(encoder), steps

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        optimizer.add_param_group({"params": list(self.heads.parameters())})
        return optimizer

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As transformers does, at the beginning of each optimizer step, whose rows with targets are counted."""
        # Trainer zeroes the gradients of the model only; those of the heads would add up over all steps, and with
        # fp16 an overflow in them, whose step is left out, would stay.
        self.heads.zero_grad()
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        names = self.plan.rounds[0].encoder_losses
        self._told_rows = {name: sum(_told(batch.get(f"{name}_labels")) for batch in batches) for name in names}
        return batches, items

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        targets = {name: inputs.pop(f"{name}_labels", None) for name in self.plan.rounds[0].encoder_losses}
        round_ = self.plan.round_at(self.state.global_step)
        active = {name: part for name, part in round_.weighed.items() if targets[name] is not None}
        if not (active and model.training):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        masks = {name: inputs[f"{self._features(part, inputs)}_mask"] for name, part in active.items()}
        if round_.lm == 0:
            self.fill_frozen(inputs)
            with self.accelerator.autocast():
                loss, frames = 0.0, {name: self._hear(part, inputs) for name, part in active.items()}
        else:
            parts = {name: getattr(self.audio_model.model, part) for name, part in active.items()}
            with _listening(parts) as frames:
                loss = round_.lm * super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        for name, part in active.items():
            beside = self.heads[_head(name, part)](frames[name], masks[name], targets[name])
            told = _told(targets[name])
            if told:
                self._beside.setdefault(f"{name}_loss", []).append(beside.detach())
            # A mean over the rows of the step that have targets, however they fall into its batches.
            loss = loss + getattr(round_, name) * beside * told / max(self._told_rows[name], 1)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None):
        if "loss" in logs:
            logs |= {name: float(torch.stack(losses).mean()) for name, losses in self._beside.items()}
            self._beside.clear()
        super().log(logs, start_time)

    def _features(self, part: str, inputs: dict[str, Any]) -> str:
        """Which input a branch hears; both hear the same when their extractors are the same."""
        return "input_values" if part.startswith("emotion") and "input_values" in inputs else "input_features"

    def _hear(self, part: str, inputs: dict[str, Any]) -> torch.Tensor:
        """Frames or tokens of the windows that hold audio, without the rest of the model."""
        name, model = self._features(part, inputs), self.audio_model.model
        if part.endswith("adapter"):
            return model.adapter_tokens(part, **inputs)
        return model.branch_frames(part.removesuffix("_encoder"), inputs[name], inputs[f"{name}_mask"]).states[-1]


def _told(targets: torch.Tensor | None) -> int:
    """How many rows of a batch have targets."""
    return 0 if targets is None else int((targets != IGNORED).flatten(1).any(-1).sum())


def _head(loss: str, part: str) -> str:
    """The name of a loss's head."""
    return loss if part.endswith("encoder") else f"{loss}_{part}"
