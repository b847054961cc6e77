"""The encoders of the paper's Table 3, by name: what to write into a configuration, and how large each is.

    audiollm encoders

Sizes are counted on the meta device, from the published configurations: nothing is downloaded, no weight is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig

from .configuration_emotion2vec import EMOTION2VEC_SIZES
from .modeling_audiollm import build_part


def _whisper(width: int, layers: int, heads: int, mel_bins: int = 80) -> dict[str, Any]:
    return {
        "model_type": "whisper",
        "d_model": width,
        "encoder_layers": layers,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "num_mel_bins": mel_bins,
    }


@dataclass(frozen=True)
class PublishedEncoder:
    """An encoder of the paper.

    Args:
        source: the one value for `parts.speech` or `parts.emotion`: a Hub id, or a folder to convert into.
        config: its architecture.
        paper_millions: parameters by the paper's Table 3, in millions.
        note: why the paper's count and ours differ, if they do.
    """

    source: str
    config: dict[str, Any]
    paper_millions: int
    note: str = ""

    def millions(self) -> float:
        """Parameters of the encoder, in millions."""
        settings = dict(self.config)
        with torch.device("meta"):
            encoder = build_part(AutoConfig.for_model(settings.pop("model_type"), **settings))
        return sum(parameter.numel() for parameter in encoder.parameters()) / 1e6


HUBERT_XLARGE = {
    "model_type": "hubert",
    "hidden_size": 1280,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "intermediate_size": 5120,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
PUBLISHED_ENCODERS = {
    "whisper-large-v3": PublishedEncoder("openai/whisper-large-v3", _whisper(1280, 32, 20, 128), 637),
    "whisper-small": PublishedEncoder("openai/whisper-small", _whisper(768, 12, 12), 88),
    "whisper-tiny": PublishedEncoder("openai/whisper-tiny", _whisper(384, 4, 6), 8),
    "hubert-xlarge": PublishedEncoder("facebook/hubert-xlarge-ll60k", HUBERT_XLARGE, 962),
    "emotion2vec-plus-large": PublishedEncoder(
        "models/emotion2vec_plus_large",
        {"model_type": "emotion2vec", **EMOTION2VEC_SIZES["plus_large"]},
        164,
    ),
    "emotion2vec-plus-base": PublishedEncoder(
        "models/emotion2vec_plus_base", {"model_type": "emotion2vec", **EMOTION2VEC_SIZES["plus_base"]}, 93
    ),
}


def table() -> str:
    """Every encoder with its size beside the paper's."""
    lines = [f"{'encoder':<24}{'ours, M':>9}{'paper, M':>10}  configuration value"]
    for name, encoder in PUBLISHED_ENCODERS.items():
        note = f"  ({encoder.note})" if encoder.note else ""
        lines.append(f"{name:<24}{encoder.millions():>9.2f}{encoder.paper_millions:>10}  {encoder.source}{note}")
    return "\n".join(lines)
