"""From the `model` section of a configuration to a model and its processor."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    WhisperForConditionalGeneration,
)

from ..modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from ..modeling_audiollm.modeling_audiollm import build_part, load_encoder
from ..modeling_audiollm.speech_decoder import START, AudioLLMSpeechDecoder
from ..processing.processing_audiollm import AudioLLMProcessor
from .config import ConfigError, Model, Parts, Source, as_source, read_model
from .schedule import ADAPTERS, part_parameters


logger = logging.getLogger(__name__)
LABEL_FIELDS = {"er": "emotion_labels", "sr": "sentiment_labels"}  # of a model's configuration, by task


def assemble(section: Mapping[str, Any]) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    """Build what a `model` section describes, see [`Model`].

    Raises:
        ConfigError: if the section describes none.
    """
    asked = read_model(section)
    model, processor = _from_checkpoint(asked) if asked.parts is None else _from_parts(asked, asked.parts)
    if asked.add_emotion is not None:
        model, processor = _add_emotion(model, processor, asked)
    _say_unheard(asked, model)
    if asked.quote_confidence is not None:
        model.config.quote_confidence = asked.quote_confidence
    return model, processor


def _say_unheard(asked: Model, model: AudioLLMForConditionalGeneration):
    """Say which settings of an emotion branch are read by none that the model has."""
    unread = {"none": ("emotion_tokens", "emotion_length_aware"), "feature": ("emotion_tokens",)}
    for name, section in (("parts", asked.parts), ("add_emotion", asked.add_emotion)):
        for field in unread.get(model.config.fusion, ()) if section is not None else ():
            if getattr(section, field) not in (None, getattr(AudioLLMConfig, field)):
                logger.warning("model.%s.%s is not read: fusion is %s.", name, field, model.config.fusion)


def note_labels(model: AudioLLMForConditionalGeneration, section: Mapping[str, Any] | None, rows: Dataset) -> None:
    """Write into a model's configuration which labels it learns, so that answers can tell them from others.

    A checkpoint keeps those that it knows; of a model of new parts, the defaults count only as far as rows have them.
    Labels that the `model` section names stay as they are.

    Args:
        model: to be trained.
        section: that describes it, if one does.
        rows: to train on.
    """
    parts = read_model(section).parts if section else None
    for task, field in LABEL_FIELDS.items():
        learnt = {label for label, of in zip(rows["label"], rows["task"]) if of == task and label}
        if not learnt or (parts is not None and getattr(parts, field) is not None):
            continue
        kept = [label for label in getattr(model.config, field) if parts is None or label in learnt]
        known = {label.casefold() for label in kept}
        setattr(model.config, field, [*kept, *sorted(label for label in learnt if label.casefold() not in known)])


def note_label_words(model: AudioLLMForConditionalGeneration, processor: AudioLLMProcessor, taught: Iterable[str]):
    """Write into a model's configuration which words for labels its adapter was taught, beside those that it knows.

    Args:
        model: to be trained.
        processor: of the model.
        taught: emotion labels that a round of the training teaches the adapter.
    """
    known = model.config.emotion_label_ids or []
    new = [ids for ids in processor.label_ids(sorted(set(taught))) if ids not in known]
    model.config.emotion_label_ids = [*known, *new]


def note_context(model: AudioLLMForConditionalGeneration, rows: Dataset) -> None:
    """Write into a model's configuration how many turns before a recording it learns from, unless it knows more."""
    most = max((len(turns or ()) for turns in rows["context"]), default=0)
    model.config.context_turns = max(model.config.context_turns, most)


def new_parts(section: Mapping[str, Any], model: AudioLLMForConditionalGeneration) -> set[str]:
    """Parts of a model built from `section` whose weights nobody has trained yet."""
    described = read_model(section)
    new: set[str] = set(ADAPTERS) if described.parts is not None else set()
    if described.add_emotion is not None:
        new |= {"emotion_adapter", "adapter"}
        new |= {"emotion_encoder"} if described.add_emotion.config is not None else set()
    return new & set(part_parameters(model))


def _from_checkpoint(section: Model) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    assert section.checkpoint is not None
    source = Source(section.checkpoint, section.revision)
    model = AudioLLMForConditionalGeneration.from_pretrained(source.path, **section.loading(source))
    return model, AutoProcessor.from_pretrained(source.path, revision=source.revision)


def _from_parts(section: Model, parts: Parts) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    sources = parts.sources()
    processor = AudioLLMProcessor.from_parts(
        **{kind: source.path for kind, source in sources.items()},
        revisions={kind: source.revision for kind, source in sources.items()},
        fusion=parts.fusion,
        speech_tokens=parts.speech_tokens,
        emotion_tokens=parts.emotion_tokens,
        window_seconds=parts.window_seconds,
        audio_tokens=parts.audio_tokens,
    )
    loaded: dict[str, Any] = {}
    for kind, source in sources.items():
        if kind == "speech" and parts.words_first == "decoder":
            loaded |= _whole_whisper(parts, source, processor.tokenizer, **section.loading(source))
        elif kind == "text":
            loaded[kind] = _language_model(source.path, len(processor.tokenizer), **section.loading(source))
        else:
            loaded[kind] = load_encoder(source.path, parts.window_seconds, **section.loading(source))
    model = AudioLLMForConditionalGeneration.from_parts(
        **loaded, **parts.settings(), audio_token_id=processor.audio_token_id
    )
    return model, processor


def _whole_whisper(parts: Parts, source: Source, tokenizer: PreTrainedTokenizerBase, **loading: Any) -> dict[str, Any]:
    """Encoder and decoder of a Whisper, of which the latter says the words."""
    if (kind := AutoConfig.from_pretrained(source.path, revision=source.revision).model_type) != "whisper":
        raise ConfigError(f"model.parts.words_first is decoder, but {source.path} is of type {kind!r}, not a Whisper.")
    whisper = WhisperForConditionalGeneration.from_pretrained(source.path, **loading)
    own = AutoTokenizer.from_pretrained(source.path, revision=source.revision)
    if START not in own.get_vocab():  # of a folder without one, transformers makes one that knows nothing
        raise ConfigError(
            f"model.parts.words_first is decoder, but {source.path} has no tokenizer, in which it speaks."
        )
    decoder = AudioLLMSpeechDecoder.from_whisper(whisper, own, tokenizer, parts.speech_language)
    return {"speech": load_encoder(whisper, parts.window_seconds), "speech_decoder": decoder}


def _language_model(source: str, words: int, **loading: Any) -> PreTrainedModel:
    """A causal language model that knows `words` tokens; those that are new to it have the same weights each time.

    Nothing trains these rows, so no checkpoint holds them: a model assembled again must have them as they were.
    """
    model = AutoModelForCausalLM.from_pretrained(source, **loading)
    if words > model.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.resize_token_embeddings(words)
    return model


def _add_emotion(
    model: AudioLLMForConditionalGeneration, processor: AudioLLMProcessor, section: Model
) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    """Add a pretrained or random emotion encoder, and count its tokens in the processor.

    `encoder: speech_encoder` begins with a copy of its own, as the paper does with Whisper twice (its Table 3).
    """
    added = section.add_emotion
    assert added is not None
    added.apply_to(model.config)
    extractor = processor.feature_extractor
    if added.config is not None:
        settings = dict(added.config)
        encoder = build_part(AutoConfig.for_model(settings.pop("model_type"), **settings))
    elif added.encoder == "speech_encoder":
        encoder = copy.deepcopy(model.model.speech_encoder)
    else:
        assert added.encoder is not None
        source = as_source(added.encoder)
        encoder = load_encoder(source.path, processor.window_seconds, **section.loading(source))
        extractor = AudioLLMProcessor._load_extractor(source.path, processor.window_seconds, source.revision)
    model.add_emotion_encoder(encoder, added.fusion, added.emotion_tokens)
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
