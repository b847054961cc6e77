"""From the `model` section of a configuration to a model and its processor."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, PreTrainedModel

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..modeling_audiollm.modeling_audiollm import build_part
from ..processing.processing_audiollm import AudioLLMProcessor
from .schedule import ADAPTERS, part_parameters


EXTRAS = ("add_emotion", "quote_confidence")


class ModelSectionError(ValueError):
    """A `model` section that can't be built; names the field."""


def assemble(section: dict[str, Any]) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    """Build what a `model` section describes.

    Args:
        section: exactly one of `checkpoint` (a trained AudioLLM) and `parts` (pretrained encoders and language model);
            and, optionally, `add_emotion` (an emotion encoder for a single-encoder model) and `quote_confidence` (how
            sure the trained model has to be of a word that it quotes).

    Raises:
        ModelSectionError: if the section names none or both of them.
    """
    ways = {"checkpoint": _from_checkpoint, "parts": _from_parts}
    chosen = [way for way in ways if way in section]
    unknown = set(section) - {*ways, *EXTRAS}
    if len(chosen) != 1 or unknown:
        raise ModelSectionError(
            f"`model` needs exactly one of {', '.join(ways)}, and may have {' and '.join(EXTRAS)}; it has "
            f"{', '.join(section)}."
        )
    model, processor = ways[chosen[0]](section[chosen[0]])
    if "add_emotion" in section:
        model, processor = _add_emotion(model, processor, section["add_emotion"])
    model.config.quote_confidence = section.get("quote_confidence", model.config.quote_confidence)
    return model, processor


def new_parts(section: dict[str, Any], model: AudioLLMForConditionalGeneration) -> set[str]:
    """Parts of a model built from `section` whose weights nobody has trained yet."""
    parts = set(part_parameters(model))
    new = set(ADAPTERS) if "parts" in section else set()
    if "add_emotion" in section:
        new |= {"emotion_adapter", "adapter"} | ({"emotion_encoder"} if "config" in section["add_emotion"] else set())
    return new & parts


def _from_checkpoint(folder: str) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    return AudioLLMForConditionalGeneration.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def _from_parts(spec: dict[str, Any]) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    names = ("fusion", "speech_tokens", "emotion_tokens", "window_seconds", "audio_tokens")
    shared = {key: spec[key] for key in names if key in spec}
    sources = {key: spec[key] for key in ("speech", "text", "emotion") if spec.get(key)}
    processor = AudioLLMProcessor.from_parts(**sources, **shared)
    model = AudioLLMForConditionalGeneration.from_parts(
        **sources | {"text": _language_model(spec["text"], len(processor.tokenizer))},
        **shared,
        audio_token_id=processor.audio_token_id,
        adapter_hidden_sizes=spec.get("adapter_hidden_sizes"),
    )
    return model, processor


def _language_model(source: str, words: int) -> PreTrainedModel:
    """A causal language model that knows `words` tokens; those that are new to it have the same weights each time.

    Nothing trains these rows, so no checkpoint holds them: a model assembled again must have them as they were.
    """
    model = AutoModelForCausalLM.from_pretrained(source)
    if words > model.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.resize_token_embeddings(words)
    return model


def _add_emotion(
    model: AudioLLMForConditionalGeneration, processor: AudioLLMProcessor, spec: dict[str, Any]
) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    """Add a pretrained (`encoder`) or random (`config`) emotion encoder, and count its tokens in the processor.

    `encoder: speech_encoder` begins with a copy of its own, as the paper does with Whisper twice (its Table 3).
    """
    if ("encoder" in spec) == ("config" in spec):
        raise ModelSectionError("`add_emotion` needs exactly one of `encoder` (a checkpoint) and `config`.")
    for name in ("emotion_length_aware", "emotion_layer_mix"):
        setattr(model.config, name, spec.get(name, False))
    extractor = processor.feature_extractor
    if spec.get("encoder") == "speech_encoder":
        encoder = copy.deepcopy(model.model.speech_encoder)
    elif "encoder" in spec:
        encoder = spec["encoder"]
        extractor = AudioLLMProcessor._load_extractor(encoder, processor.window_seconds)
    else:
        settings = dict(spec["config"])
        encoder = build_part(AutoConfig.for_model(settings.pop("model_type"), **settings))
    fusion = spec.get("fusion", "sequence")
    model.add_emotion_encoder(encoder, fusion, spec.get("emotion_tokens"))
    processor = AudioLLMProcessor(
        processor.feature_extractor,
        extractor,
        processor.tokenizer,
        chat_template=processor.chat_template,
        tokens_per_window=model.config.tokens_per_window,
        window_seconds=processor.window_seconds,
        emotion_tokens=model.config.emotion_tokens if model.config.fusion == "sequence" else 0,
        audio_tokens=model.config.audio_tokens,
        audio_token=processor.audio_token,
        audio_start_token=processor.audio_start_token,
        audio_end_token=processor.audio_end_token,
    )
    return model, processor
