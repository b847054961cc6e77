# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
from __future__ import annotations

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .configuration_emotion2vec import Emotion2VecConfig


# So that `emotion_config` of that type is understood where only this folder's code is loaded, from the Hub.
AutoConfig.register(Emotion2VecConfig.model_type, Emotion2VecConfig, exist_ok=True)

FUSIONS = ("none", "feature", "sequence")
ADAPTER_NORMS = ("layer", "batch")
# Settings of an `AudioLLMStatisticsAdapter` beside what its encoder and language model say, and their defaults.
STATISTICS = {"context": 4, "width": 64, "dropout": 0.8}
AUDIO_TOKENS = ("window", "clip")
WORDS_FIRST = (None, "adapter", "decoder")
SAMPLING_RATE = 16_000
EMOTION_LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
SENTIMENT_LABELS = ("positive", "negative", "neutral")
PARTS = {"speech_config": "whisper", "emotion_config": "whisper", "text_config": "gemma2"}  # types where none is named
LOGIT_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def encoder_width(config: PreTrainedConfig) -> int:
    """Channels of the frames that an encoder of `config` gives."""
    return config.d_model if config.model_type == "whisper" else config.hidden_size


def encoder_layers(config: PreTrainedConfig) -> int:
    """Hidden states that an encoder of `config` gives: one before its first layer and one after each."""
    return 1 + (config.encoder_layers if config.model_type == "whisper" else config.num_hidden_layers)


def encodes_by_length(config: PreTrainedConfig) -> bool:
    """Whether a length-aware encoder of `config` runs once for each length in a batch, not once for all.

    Whisper has no mask, and a group norm over time counts what the mask of wav2vec2, HuBERT or WavLM hides.
    """
    return config.model_type == "whisper" or getattr(config, "feat_extract_norm", None) == "group"


def _conv_frames(length: int, kernels: list[int], strides: list[int], padding: int = 0) -> int:
    for kernel, stride in zip(kernels, strides):
        length = (length + 2 * padding - kernel) // stride + 1
    return length


def feature_length(config: PreTrainedConfig, seconds: float) -> int:
    """Time steps of the features that an encoder of `config` takes for `seconds` of audio: samples, or mel frames."""
    samples = round(seconds * SAMPLING_RATE)
    if config.model_type in ("whisper", "parakeet_encoder"):
        return samples // 160
    if config.model_type == "wav2vec2-bert":
        return math.ceil(_conv_frames(samples, [400], [160]) / 2)
    return samples


def output_frames(config: PreTrainedConfig, length: int) -> int:
    """Frames that an encoder of `config` gives for features of `length` time steps.

    Raises:
        ValueError: for an encoder whose frame rate is not known.
    """
    kind = config.model_type
    if kind == "whisper":
        return min((length + 1) // 2, config.max_source_positions)
    if kind == "parakeet_encoder":
        halvings = int(math.log2(config.subsampling_factor))
        kernel = config.subsampling_conv_kernel_size
        return _conv_frames(
            length, [kernel] * halvings, [config.subsampling_conv_stride] * halvings, (kernel - 1) // 2
        )
    if kind == "wav2vec2-bert":
        layers = config.num_adapter_layers if config.add_adapter else 0
        kernel, stride = config.adapter_kernel_size, config.adapter_stride
        return _conv_frames(length, [kernel] * layers, [stride] * layers, stride // 2)
    if hasattr(config, "conv_kernel") and hasattr(config, "conv_stride"):
        return _conv_frames(length, config.conv_kernel, config.conv_stride)
    raise ValueError(
        f"No frame count is known for an encoder of type {kind!r}; use Whisper, Parakeet, wav2vec2-BERT, wav2vec2, "
        "HuBERT, WavLM, Emotion2Vec or another encoder with `conv_kernel` and `conv_stride` in its config."
    )


def kept_tokens(tokens: int, length: Any, time: int) -> Any:
    """Tokens that a window keeps with `audio_tokens: clip`, of `tokens` for a whole one.

    Args:
        tokens: of a branch, for one window.
        length: features of real audio in the window, at least 1; a number, or a tensor of those of several windows.
        time: features of a whole window.
    """
    return (tokens * length + time - 1) // time


def encoder_frames(config: PreTrainedConfig, seconds: float) -> int:
    """Frames that an encoder of `config` gives for `seconds` of 16 kHz audio; raises as [`output_frames`]."""
    return output_frames(config, feature_length(config, seconds))


@strict
class AudioLLMConfig(PreTrainedConfig):
    r"""
    Configuration of [`AudioLLMModel`] and [`AudioLLMForConditionalGeneration`]: a speech encoder, optionally an
    emotion encoder, and a decoder-only language model, each with the configuration class of its own architecture.

    Args:
        speech_config (`dict` or `PreTrainedConfig`): the speech encoder (Whisper, Parakeet, wav2vec2-BERT, ...).
        emotion_config (`dict` or `PreTrainedConfig`, *optional*): the emotion encoder; none in a single-encoder model.
        text_config (`dict` or `PreTrainedConfig`): any decoder-only language model.
        fusion (`str`, *optional*): `"sequence"` (speech tokens, then emotion tokens; the default with two encoders),
            `"feature"` (one adapter over both, concatenated channel-wise) or `"none"` (single encoder).
        speech_tokens (`int`, *optional*, defaults to 100): tokens of the speech branch for one window.
        emotion_tokens (`int`, *optional*, defaults to 10): tokens of the emotion branch for one window.
        window_seconds (`float`, *optional*, defaults to 30.0): audio is cut into windows of this length, the last one
            padded; each window has its own tokens.
        audio_tokens (`str`, *optional*, defaults to `"window"`): `"window"` gives every window all its tokens, also
            those of its padding (the paper's); `"clip"` leaves out the tokens of padding, so that a clip of 3 s takes
            a tenth of the tokens of a window of 30 s.
        emotion_layer_mix (`bool`, *optional*, defaults to `False`): give the adapter a learnable weighted sum of the
            emotion encoder's layers instead of the last one, since emotion does not live in the last layer.
        speech_length_aware, emotion_length_aware (`bool`, *optional*, defaults to `False`): let that encoder hear the
            audio only, not the padding of its window, which saves most of its time on short clips. The frames of
            padding are then zero, and the tokens are as many. The paper pads (section 3). Whisper, which learnt to
            hear silence behind speech, hears to the next whole 5 s.
        adapter_hidden_sizes (`list[int]`, *optional*): widths of the adapters' two hidden layers; by default 1 and 4
            times the encoder's width, as in MERaLiON-AudioLLM.
        adapter_norm (`str`, *optional*, defaults to `"layer"`): how the adapters normalise frames: `"layer"` over the
            channels of a frame (the paper's), or `"batch"`, each channel over all frames. The latter takes away what
            all frames share, which hides the rest from a language model that is trained from nothing.
        emotion_adapter_norm (`str`, *optional*): that of the emotion encoder's frames, where it is another one. Of few
            speakers, `"batch"` learns what holds for others (docs/small_model.md).
        emotion_statistics (`dict`, *optional*): settings of [`AudioLLMStatisticsAdapter`], which then makes the
            emotion tokens of every layer's mean and deviation around them, and not of stacked frames, as the paper
            does. Of few speakers it learns more that holds for others (docs/small_model.md). For fusion `"sequence"`.
            The settings of adapters of stacked frames (`adapter_...`) are then those of the speech adapter alone.
        adapter_context (`int`, *optional*, defaults to 0): tokens on either side that an adapter hears beside each
            token's own frames, which alone are the paper's: words are longer than a token.
        adapter_dropout (`float`, *optional*, defaults to 0.0): share of the adapters' hidden values that is left out
            in training; of half as many tokens all frames are.
        speech_alignment (`bool`, *optional*, defaults to `False`): whether the adapter that hears speech has what
            [`AudioLLMAlignment`] needs to read its tokens as words of the language model.
        words_first (`str`, *optional*): who says what is said in a clip, as words in front of its other tokens; this
            reads as text does, so that a language model need not learn to read first. `"adapter"`: an aligned one; in
            front is one token for every word that it hears, the embeddings of the likeliest ones mixed by their
            probabilities. `"decoder"`: that of the speech encoder's Whisper, as [`AudioLLMSpeechDecoder`] reads the
            same frames; in front are the language model's embeddings of its words, and of the adapter's tokens so many
            fewer are kept, evenly. None (the paper's): the language model learns to read the adapter's tokens.
        speech_decoder (`dict`, *optional*): settings of [`AudioLLMSpeechDecoder`], where it says the words.
        label_first (`bool`, *optional*, defaults to `False`): put the words for the emotion labels, mixed by how near
            a clip's emotion tokens come to each (`model.feel`), in place of the first of these tokens. What
            `words_first` is for speech, this is for an emotion adapter that a round with `label` taught: a language
            model reads a word at once, and has to learn to read tokens. For fusion `"sequence"`.
        emotion_label_ids (`list[list[int]]`, *optional*): token ids of the `emotion_labels` that a round of er with
            `label` taught an adapter; a training writes them, and `label_first` mixes their words.
        audio_token_id (`int`, *optional*, defaults to 0): the placeholder that audio embeddings replace.
        emotion_labels, sentiment_labels (`list[str]`, *optional*): label sets that the model was trained on; the
            pipeline scores them unless it is given others.
        context_turns (`int`, *optional*, defaults to 0): most turns before a recording that the model was trained
            with.
        quote_confidence (`float`, *optional*, defaults to 0.0): least probability of a word that stays in a quote when
            pipeline or evaluation decode an answer: a model that hears badly then quotes less, not wrongly. A word
            is as likely as it is to be written or, where `words_first` is `"decoder"`, to have been heard. 0 leaves
            quotes as they are generated.
        tie_word_embeddings (`bool`, *optional*, defaults to `True`): whether the model's head is its embedding.
        initializer_range (`float`, *optional*, defaults to 0.02): standard deviation of new adapter weights.

    Raises:
        StrictDataclassClassValidationError: if `fusion` and `emotion_config` contradict each other, or the language
            model scales its logits.
    """

    model_type = "audiollm"
    # Not `sub_configs_defaults`, which transformers before 5.21 lacks: vLLM 0.33 pins transformers < 5.21.
    sub_configs = dict.fromkeys(PARTS, AutoConfig)
    # Of what a forward pass gives, Trainer's evaluation gathers neither the cache nor the audio embeddings.
    keys_to_ignore_at_inference = ["cache", "past_key_values", "audio_hidden_states"]

    speech_config: dict | PreTrainedConfig | None = None
    emotion_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    fusion: str | None = None
    speech_tokens: int = 100
    emotion_tokens: int = 10
    window_seconds: float | int = 30.0
    audio_tokens: str = "window"
    emotion_layer_mix: bool = False
    speech_length_aware: bool = False
    emotion_length_aware: bool = False
    adapter_hidden_sizes: list[int] | None = None
    adapter_norm: str = "layer"
    emotion_adapter_norm: str | None = None
    emotion_statistics: dict | None = None
    adapter_context: int = 0
    adapter_dropout: float = 0.0
    speech_alignment: bool = False
    words_first: str | None = None
    label_first: bool = False
    emotion_label_ids: list[list[int]] | None = None
    speech_decoder: dict | None = None
    audio_token_id: int = 0
    emotion_labels: list[str] | tuple[str, ...] = EMOTION_LABELS
    sentiment_labels: list[str] | tuple[str, ...] = SENTIMENT_LABELS
    context_turns: int = 0
    quote_confidence: float = 0.0
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        if self.fusion is None:
            self.fusion = "none" if self.emotion_config is None else "sequence"
        for name, default_type in PARTS.items():
            part = getattr(self, name)
            if isinstance(part, dict) or (part is None and name != "emotion_config"):
                fields = {"model_type": default_type, **(part or {})}
                setattr(self, name, AutoConfig.for_model(**fields))
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Called by `@strict` once all fields are set."""
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}; got {self.fusion!r}.")
        for branch, name in (("speech", "adapter_norm"), ("emotion", "emotion_adapter_norm")):
            if (norm := self.norm_of(branch)) not in ADAPTER_NORMS:
                raise ValueError(f"{name} must be one of {', '.join(ADAPTER_NORMS)}; got {norm!r}.")
        if self.emotion_adapter_norm is not None and self.emotion_config is None:
            raise ValueError("emotion_adapter_norm is set, but the model has no emotion encoder.")
        if self.emotion_layer_mix and self.emotion_config is None:
            raise ValueError("emotion_layer_mix is set, but the model has no emotion encoder.")
        if self.emotion_statistics is not None:
            self._validate_statistics(self.emotion_statistics)
        if self.audio_tokens not in AUDIO_TOKENS:
            raise ValueError(f"audio_tokens must be one of {', '.join(AUDIO_TOKENS)}; got {self.audio_tokens!r}.")
        if self.words_first not in WORDS_FIRST:
            raise ValueError(f"words_first must be adapter, decoder or left out; got {self.words_first!r}.")
        kind = getattr(self.speech_config, "model_type", None)
        if self.words_first == "decoder" and kind != "whisper":
            raise ValueError(
                f"words_first 'decoder' needs a Whisper, whose decoder says the words; the speech encoder is of type "
                f"{kind!r}."
            )
        if (self.words_first == "decoder") != (self.speech_decoder is not None):
            raise ValueError(
                "words_first 'decoder' and settings of a speech_decoder belong together; give both or none."
            )
        if self.label_first and self.fusion != "sequence":
            raise ValueError(f"label_first is for tokens of an emotion adapter, which fusion {self.fusion!r} has not.")
        if self.adapter_context < 0:
            raise ValueError(f"adapter_context must be at least 0; got {self.adapter_context}.")
        if not 0 <= self.adapter_dropout < 1:
            raise ValueError(f"adapter_dropout must be in [0, 1); got {self.adapter_dropout}.")
        if not 0 <= self.quote_confidence <= 1:
            raise ValueError(f"quote_confidence must be in [0, 1]; got {self.quote_confidence}.")
        if (self.fusion == "none") != (self.emotion_config is None):
            raise ValueError(
                f"fusion {self.fusion!r} contradicts "
                f"{'a missing' if self.emotion_config is None else 'the given'} emotion_config: "
                "a single-encoder model has fusion 'none' and no emotion_config."
            )
        for part in ("speech", "emotion"):
            kind = getattr(getattr(self, f"{part}_config"), "model_type", None)
            if getattr(self, f"{part}_length_aware") and kind is None:
                raise ValueError(f"{part}_length_aware is set, but the model has no {part} encoder.")
        scaled = [name for name in LOGIT_SCALES if getattr(self.get_text_config(), name, None) not in (None, 1)]
        if scaled:
            raise ValueError(
                f"The language model {self.get_text_config().model_type!r} scales its logits ({', '.join(scaled)}), "
                "which AudioLLM's head does not; choose another one."
            )

    def _validate_statistics(self, settings: dict):
        if self.fusion != "sequence":
            raise ValueError(f"emotion_statistics makes tokens of their own, which fusion {self.fusion!r} has not.")
        if self.emotion_layer_mix or self.emotion_adapter_norm is not None:
            raise ValueError(
                "emotion_statistics hears each layer by itself and has a norm of its own; leave emotion_layer_mix and "
                "emotion_adapter_norm out."
            )
        if unknown := sorted(set(settings) - set(STATISTICS)):
            raise ValueError(f"emotion_statistics has {', '.join(STATISTICS)}; {', '.join(unknown)} is unknown.")
        context, width, dropout = (settings.get(name, default) for name, default in STATISTICS.items())
        counts = all(isinstance(count, int) and not isinstance(count, bool) for count in (context, width))
        if not (counts and context >= 0 and width > 0):
            raise ValueError(
                f"emotion_statistics counts tokens in context, from 0, and channels in width, from 1; got {context!r} "
                f"and {width!r}."
            )
        if not (isinstance(dropout, (int, float)) and 0 <= dropout < 1):
            raise ValueError(f"dropout of emotion_statistics must be in [0, 1); got {dropout!r}.")

    @property
    def all_emotion_layers(self) -> bool:
        """Whether the emotion adapter hears all layers of its encoder, and not the last alone."""
        return self.emotion_layer_mix or self.emotion_statistics is not None

    def norm_of(self, branch: str) -> str:
        """How an adapter normalises the frames of a branch, `speech` or `emotion`."""
        return (branch == "emotion" and self.emotion_adapter_norm) or self.adapter_norm

    @property
    def tokens_per_window(self) -> int:
        """Placeholders that one window of audio takes in the prompt."""
        return self.speech_tokens + (self.emotion_tokens if self.fusion == "sequence" else 0)

    @property
    def max_source_positions(self) -> int:
        """Tokens of the clip with which vLLM measures memory; its Transformers backend looks for this name."""
        return self.tokens_per_window


__all__ = ["AudioLLMConfig"]
