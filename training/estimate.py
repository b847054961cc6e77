"""What a configuration needs on each GPU, counted on the meta device: no weight is made, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from ..modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from ..modeling_audiollm.configuration_audiollm import feature_length
from ..modeling_audiollm.encoder_sizes import PUBLISHED_ENCODERS
from ..modeling_audiollm.modeling_audiollm import WHISPER_FRAMES_PER_SECOND
from .config import Source, as_source, read_model
from .schedule import Round, part_parameters


GIGABYTE = 1e9
FLOAT = 4  # bytes: weights, gradients and both moments of AdamW are fp32; bf16 is used in the products only
# Tokens of instruction, chat template and answer beside the audio, rounded up from the embedded corpus.
TEXT_TOKENS, SCORED_TOKENS = 128, 48
# Language models that the presets name, so that a plan needs no network.
PUBLISHED_TEXTS = {
    "google/gemma-2-9b-it": {
        "model_type": "gemma2",
        "vocab_size": 256_000,
        "hidden_size": 3584,
        "intermediate_size": 14336,
        "num_hidden_layers": 42,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "sliding_window": 4096,
    },
}


def _published(source: Source) -> PreTrainedConfig:
    known = {encoder.source: encoder.config for encoder in PUBLISHED_ENCODERS.values()} | PUBLISHED_TEXTS
    if source.path in known:
        settings = dict(known[source.path])
        return AutoConfig.for_model(settings.pop("model_type"), **settings)
    return AutoConfig.from_pretrained(source.path, revision=source.revision or "main")


def config_of(section: dict[str, Any]) -> AudioLLMConfig:
    """The architecture that a `model` section describes, from configurations alone."""
    model = read_model(section)
    if model.parts is None:
        assert model.checkpoint is not None
        config = AudioLLMConfig.from_pretrained(model.checkpoint, revision=model.revision or "main")
    else:
        parts = {f"{kind}_config": _published(source) for kind, source in model.parts.sources().items()}
        decoder: dict[str, Any] = {}
        if model.parts.words_first == "decoder":
            decoder = {"speech_decoder": {"prompt": [0], "positions": parts["speech_config"].max_source_positions}}
        config = AudioLLMConfig(**parts, **model.parts.settings(), **decoder)
        for part in parts.values():
            if part.model_type == "whisper":
                part.max_source_positions = round(config.window_seconds * WHISPER_FRAMES_PER_SECOND)
    if added := model.add_emotion:
        added.apply_to(config)
        if added.config is not None:
            config.emotion_config = AutoConfig.for_model(**added.config)
        elif added.encoder == "speech_encoder":
            config.emotion_config = config.speech_config
        elif added.encoder is not None:
            config.emotion_config = _published(as_source(added.encoder))
        config.fusion = added.fusion
        config.emotion_tokens = added.emotion_tokens or config.emotion_tokens
    return config


def parts_of(section: dict[str, Any]) -> list[str]:
    """Names of the parts of the model that a `model` section describes."""
    with torch.device("meta"):
        return list(part_parameters(AudioLLMForConditionalGeneration(config_of(section))))


def _saved_bytes(module: nn.Module, **inputs: Any) -> int:
    """Bytes that autograd keeps of a forward pass on the meta device, parameters left out."""
    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that its identity is not given to another one
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(**inputs)
    return sum(storage.nbytes() for storage in kept.values())


def _language_activations(config: AudioLLMConfig, lora: dict[str, Any] | None, batch: int, dtype: torch.dtype) -> int:
    text = config.get_text_config()
    with torch.device("meta"):
        model = AutoModel.from_config(text).to(dtype)
        model.train()
        if lora:
            targets = r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
            model = get_peft_model(
                model, LoraConfig(**{"target_modules": targets, **lora}), autocast_adapter_dtype=False
            )
        length = config.tokens_per_window + TEXT_TOKENS
        inputs = torch.empty(batch, length, text.hidden_size, dtype=dtype, requires_grad=True)
        # A mask of four dimensions is taken as it is; making one asks for values, which meta tensors do not have.
        mask = torch.zeros(batch, 1, length, length, dtype=dtype)
        return _saved_bytes(model, inputs_embeds=inputs, attention_mask=mask, use_cache=False)


def _encoder_activations(encoder: Any, config: AudioLLMConfig, batch: int) -> tuple[int, int]:
    """What an encoder keeps, and what of it checkpointing does not spare: convolutions over samples, say."""
    length = feature_length(encoder.config, config.window_seconds)
    bins: Any = getattr(encoder.config, "num_mel_bins", None)
    if encoder.config.model_type == "whisper":
        shape = (batch, bins, length)
    else:
        shape = (batch, length, bins) if bins else (batch, length)
    features = torch.empty(*shape, device="meta", dtype=encoder.dtype)
    inputs = {encoder.main_input_name: features}
    kept = _saved_bytes(encoder.train(), **inputs)
    encoder.gradient_checkpointing_enable()
    outside = _saved_bytes(encoder, **inputs)
    encoder.gradient_checkpointing_disable()
    return kept, outside


def estimate(config: dict[str, Any], rounds: list[Round], gpus: int, shard: bool = False) -> dict[str, float]:
    """Gigabytes (10^9 bytes) that one of `gpus` GPUs holds at the peak of the hungriest round.

    Args:
        config: of a run, as `train_sft.py` reads it.
        rounds: its schedule.
        gpus: processes that share the work.
        shard: whether they share weights, gradients and moments too (FSDP2), or each have all (DDP).

    Returns:
        `weights`, `gradients`, `optimizer`, `activations`, `head` and `total`. Activations of adapters, fragments of
        memory and what CUDA itself takes (about 1 GB) come on top.
    """
    audio = config_of(config["model"])
    settings, lora = config["training"], config.get("lora")
    dtype = torch.bfloat16 if settings.get("bf16", True) else torch.float32
    batch, checkpointing = settings.get("per_device_train_batch_size", 8), settings.get("gradient_checkpointing", True)
    with torch.device("meta"):
        model: Any = AudioLLMForConditionalGeneration(audio)
    sizes = {part: sum(p.numel() for _, p in named) for part, named in part_parameters(model).items()}
    everything = sum(sizes.values())
    if lora:
        sizes["lora"] = _lora_size(audio, lora)
    learning = [sum(sizes.get(part, 0) for part in round_.train) for round_ in rounds]
    ever = sum(sizes.get(part, 0) for part in {part for round_ in rounds for part in round_.train})
    text = audio.get_text_config()
    saved = _language_activations(audio, lora, batch, dtype)
    parts = {"language": (saved, 0, text.num_hidden_layers, text.hidden_size)}
    tokens = {"language": batch * (audio.tokens_per_window + TEXT_TOKENS)}
    model.to(dtype)
    for branch in ("speech", "emotion"):
        encoder = getattr(model.model, f"{branch}_encoder", None)
        if encoder is not None and any(f"{branch}_encoder" in round_.train for round_ in rounds):
            layers = getattr(encoder.config, "encoder_layers", None) or encoder.config.num_hidden_layers
            width = getattr(encoder.config, "d_model", None) or encoder.config.hidden_size
            parts[branch] = (*_encoder_activations(encoder, audio, batch), layers, width)
            tokens[branch] = batch * round(WHISPER_FRAMES_PER_SECOND * audio.window_seconds)
    kept = {}
    for name, (saved, outside, layers, width) in parts.items():
        # Checkpointing keeps the input of each layer, and all of the one layer that is computed again.
        inputs = layers * tokens[name] * width * dtype.itemsize
        kept[name] = inputs + outside + (saved - outside) / layers if checkpointing else saved
    activations = max(
        kept["language"] + sum(kept[b] for b in kept if b != "language" and f"{b}_encoder" in round_.train)
        for round_ in rounds
    )
    share = gpus if shard else 1
    figures = {
        "weights": FLOAT * (everything + sizes.get("lora", 0)) / share,
        "gradients": FLOAT * max(learning) / share,
        "optimizer": 2 * FLOAT * ever / share,
        "activations": activations,
        # The head scores the answers' tokens only, in chunks; logits and their gradient are fp32.
        "head": 2 * FLOAT * batch * SCORED_TOKENS * min(text.vocab_size, 32_768),
    }
    figures = {name: float(value / GIGABYTE) for name, value in figures.items()}
    return figures | {"total": sum(figures.values())}


def _lora_size(audio: AudioLLMConfig, lora: dict[str, Any]) -> int:
    with torch.device("meta"):
        model = get_peft_model(
            AutoModel.from_config(audio.get_text_config()),
            LoraConfig(**{"target_modules": r".*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)", **lora}),
        )
    return sum(parameter.numel() for name, parameter in model.named_parameters() if "lora_" in name)


def report(config: dict[str, Any], rounds: list[Round], gpu_counts: Sequence[int] = (1, 8)) -> str:
    """A table of [`estimate`] for each number of GPUs, with and without sharding, and the parameters of each part."""
    with torch.device("meta"):
        model = AudioLLMForConditionalGeneration(config_of(config["model"]))
    sizes = {part: sum(p.numel() for _, p in named) / 1e6 for part, named in part_parameters(model).items()}
    lines = ["parameters, M: " + ", ".join(f"{part} {size:.1f}" for part, size in sizes.items())]
    lines.append(f"{'GPUs':<10}" + "".join(f"{name:>13}" for name in (*_FIGURES, "total")) + "  GB on each")
    for gpus in gpu_counts:
        for shard in (False, True) if gpus > 1 else (False,):
            figures = estimate(config, rounds, gpus, shard)
            name = f"{gpus} {'FSDP2' if shard else 'DDP' if gpus > 1 else ''}"
            lines.append(f"{name:<10}" + "".join(f"{figures[key]:>13.2f}" for key in (*_FIGURES, "total")))
    return "\n".join(lines)


_FIGURES = ("weights", "gradients", "optimizer", "activations", "head")
