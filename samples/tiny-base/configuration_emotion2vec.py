# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""Configuration of emotion2vec, a self-supervised speech emotion encoder (Ma et al., 2024, arXiv:2312.15185)."""

from __future__ import annotations

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


# The order of the published checkpoints' tokens.txt, English half of "生气/angry" and so on.
EMOTION2VEC_LABELS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "<unk>")

_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
# plus_large is wider, not deeper: 12 blocks like the others.
EMOTION2VEC_SIZES = {
    "base": _BASE,
    "plus_seed": _BASE,
    "plus_base": _BASE,
    "plus_large": {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096},
}


@strict
class Emotion2VecConfig(PreTrainedConfig):
    """Architecture of an emotion2vec model; the defaults are those of `base`, `plus_seed` and `plus_base`.

    Facts from FunASR's `funasr/models/emotion2vec/template.yaml`.

    Args:
        hidden_size: width of the blocks.
        num_hidden_layers: blocks; upstream's 4 of the "prenet" and 8 of the trunk are the same kind in one row.
        num_attention_heads: attention heads.
        intermediate_size: width of the feed-forward layers.
        hidden_act: activation of the feed-forward layers.
        hidden_dropout: dropout after the first norm, after attention and after the feed-forward layers.
        attention_dropout: dropout of attention probabilities.
        activation_dropout: dropout inside the feed-forward layers.
        layerdrop: probability to skip a block in training.
        layer_norm_eps: epsilon of every layer norm, that of the waveform included.
        initializer_range: standard deviation of fresh linear weights.
        conv_dim, conv_kernel, conv_stride: channels, widths and steps of the convolutions over the waveform. A kernel
            is at least as wide as its step.
        num_position_layers, position_kernel, position_groups: the convolutions that tell blocks about position.
        num_extra_tokens: learned tokens put before the frames.
        normalize_input: whether the model brings each clip to zero mean and unit variance (upstream's `normalize`).
            It does so itself, over the samples that `attention_mask` calls real: `Wav2Vec2FeatureExtractor` adds 1e-7
            to the variance where upstream adds 1e-5, and quiet clips come out differently. Clips that were normalised
            before stay what they are.
    """

    model_type = "emotion2vec"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    activation_dropout: float | int = 0.0
    layerdrop: float | int = 0.05
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    conv_dim: list[int] | tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_kernel: list[int] | tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: list[int] | tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    num_position_layers: int = 5
    position_kernel: int = 19
    position_groups: int = 16
    num_extra_tokens: int = 10
    normalize_input: bool = True

    def __post_init__(self, **kwargs):
        if self.id2label is None and kwargs.get("num_labels") is None:
            self.id2label = dict(enumerate(EMOTION2VEC_LABELS))
            self.label2id = {label: index for index, label in self.id2label.items()}
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Part of `@strict` validation: refuse shapes that no model can be built from."""
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError(
                f"conv_dim, conv_kernel and conv_stride need one entry per layer; they have {len(self.conv_dim)}, "
                f"{len(self.conv_kernel)} and {len(self.conv_stride)}."
            )
        if any(kernel < stride for kernel, stride in zip(self.conv_kernel, self.conv_stride)):
            raise ValueError(f"conv_kernel {self.conv_kernel} must be at least conv_stride {self.conv_stride}.")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % self.position_groups:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads} "
                f"and of position_groups {self.position_groups}."
            )
        if self.position_kernel % 2 == 0:
            raise ValueError(f"position_kernel must be odd, not {self.position_kernel}.")

    def to_diff_dict(self) -> dict:
        """What is saved. Labels always are: transformers leaves out two, its default number, where ours is nine."""
        return {**super().to_diff_dict(), "id2label": self.id2label, "label2id": self.label2id}

    @classmethod
    def from_size(cls, size: str, **kwargs) -> Emotion2VecConfig:
        """The configuration of a published size: `base`, `plus_seed`, `plus_base` or `plus_large`."""
        if size not in EMOTION2VEC_SIZES:
            raise ValueError(f"Unknown emotion2vec size {size!r}; the sizes are {', '.join(EMOTION2VEC_SIZES)}.")
        return cls(**{**EMOTION2VEC_SIZES[size], **kwargs})

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples between two frames: 320, that is 20 ms at 16 kHz."""
        return math.prod(self.conv_stride)

    def num_frames(self, num_samples):
        """Frames for a clip of `num_samples` samples, an int or an integer tensor; 0 for what is too short."""
        frames = num_samples
        for kernel, stride in zip(self.conv_kernel, self.conv_stride):
            frames = (frames - kernel) // stride + 1
        return max(frames, 0) if isinstance(frames, int) else frames.clamp(min=0)

    def num_samples(self, num_frames: int) -> int:
        """The least samples that give `num_frames` frames: 400 for one frame, 320 more for each other."""
        samples = num_frames
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride)):
            samples = (samples - 1) * stride + kernel
        return samples


__all__ = ["EMOTION2VEC_LABELS", "EMOTION2VEC_SIZES", "Emotion2VecConfig"]
