"""The clips of a generation, each encoded once, however many answers are sampled for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..modeling_audiollm.modeling_audiollm import AudioLLMModel, EncodedWindows


class HeardClips:
    """Clips that a model has heard.

    What frozen encoders gave for them, and a speech decoder said of it, is kept. What learns is computed again in each
    pass with gradients, from there: an adapter on frames that are kept, an encoder on the clips themselves.

    Args:
        model: in training.
        inputs: audio inputs of the model, `[clips, windows, ...]`, with their masks.
        tokens: placeholders of each clip in a prompt.
    """

    def __init__(self, model: AudioLLMModel, inputs: Mapping[str, torch.Tensor], tokens: Sequence[int]):
        self.inputs, self.tokens = dict(inputs), list(tokens)
        with torch.no_grad():
            frames: dict[str, Any] = {
                f"{branch}_frames": self._frames(model, branch) for branch in _frozen_encoders(model)
            }
            if model.config.words_first == "decoder" and "speech_frames" in frames:
                mask = self.inputs["input_features_mask"]
                frames["speech_words"] = model.decoded_words(frames["speech_frames"], mask)[0]
            self.embeds = self._embed(model, self.inputs, frames, self.tokens)
        self.learns = any(_learns(part) for name, part in model.named_children() if name != "language_model")
        windows = self.inputs["input_features_mask"].any(-1).sum(-1).tolist()
        self.frames = {name: _by_clip(kept, windows) for name, kept in frames.items()} if self.learns else {}

    def _frames(self, model: AudioLLMModel, branch: str) -> EncodedWindows:
        own = branch == "emotion" and "input_values" in self.inputs
        name = "input_values" if own else "input_features"
        return model.branch_frames(branch, self.inputs[name], self.inputs[f"{name}_mask"])

    def _embed(
        self, model: AudioLLMModel, inputs: dict[str, torch.Tensor], frames: dict[str, Any], tokens: Sequence[int]
    ) -> tuple[torch.Tensor, ...]:
        embeds: Any = model.get_audio_features(**inputs, **frames).pooler_output
        return embeds.split(list(tokens))

    def embeddings(self, model: AudioLLMModel, clips: Sequence[int]) -> torch.Tensor:
        """What stands for the placeholders of prompts, one after the other, `[tokens, hidden]`.

        Args:
            model: in training; with gradients, it is asked once for each clip.
            clips: the clip of each prompt.
        """
        given: Mapping[int, torch.Tensor] = dict(enumerate(self.embeds))
        if self.learns and torch.is_grad_enabled():
            distinct = sorted(set(clips))
            inputs = {name: rows[distinct] for name, rows in self.inputs.items()}
            frames = {name: _join([kept[clip] for clip in distinct]) for name, kept in self.frames.items()}
            computed = self._embed(model, inputs, frames, [self.tokens[clip] for clip in distinct])
            given = dict(zip(distinct, computed))
        return torch.cat([given[clip] for clip in clips])


def _learns(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())


def _frozen_encoders(model: AudioLLMModel) -> list[str]:
    found = {branch: getattr(model, f"{branch}_encoder", None) for branch in ("speech", "emotion")}
    return [branch for branch, encoder in found.items() if encoder is not None and not _learns(encoder)]


def _by_clip(kept: EncodedWindows | torch.Tensor, windows: list[int]) -> list[Any]:
    """Of each clip its frames, or its words."""
    if isinstance(kept, torch.Tensor):
        return list(kept.split(windows))
    counts = [None] * len(windows) if kept.counts is None else kept.counts.split(windows)
    return [EncodedWindows(states, some) for states, some in zip(kept.states.split(windows, dim=1), counts)]


def _join(clips: list[Any]) -> EncodedWindows | torch.Tensor:
    if isinstance(clips[0], torch.Tensor):
        return torch.cat(clips)
    counts = [clip.counts for clip in clips if clip.counts is not None]
    return EncodedWindows(torch.cat([clip.states for clip in clips], dim=1), torch.cat(counts) if counts else None)
