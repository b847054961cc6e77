"""Tiny random models of the real classes, with windows of one second."""

import numpy as np
from transformers import (
    AutoConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from audiollm.modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from audiollm.processing import AudioLLMProcessor
from audiollm.samples.base.scratch import train_tokenizer


TEXTS = ["the speaker sounds happy sad angry neutral", "what emotion does the speaker show", "i lost my old dog"]
CONV = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (5, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
ENCODERS = {
    "whisper": {
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "num_mel_bins": 8,
        "max_source_positions": 50,
        "vocab_size": 32,
        "pad_token_id": 0,
    },
    "parakeet_encoder": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_mel_bins": 8,
        "subsampling_factor": 4,
        "subsampling_conv_channels": 4,
    },
    "wav2vec2-bert": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "feature_projection_input_dim": 160,
        "conv_depthwise_kernel_size": 3,
    },
    "hubert": CONV,
    "wav2vec2": CONV,
    "wavlm": CONV,
    "emotion2vec": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": (8, 8, 8),
        "conv_kernel": (10, 8, 8),
        "conv_stride": (5, 8, 8),
        "position_kernel": 5,
        "position_groups": 2,
        "num_position_layers": 2,
        "num_extra_tokens": 2,
    },
}
TEXT_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "bos_token_id": None,
}
TEXT_MODELS = {
    "llama": {},
    "gemma2": {"query_pre_attn_scalar": 16, "sliding_window": 32},
    "gemma3_text": {"query_pre_attn_scalar": 16, "sliding_window": 32},
    "qwen2": {},
    "qwen3": {},
}


def quiet_tone(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """A quiet sine with noise, mono float32; its pitch and noise are of the seed."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(time))
    return (0.2 * np.sin(2 * np.pi * (200 + 30 * seed) * time) + noise).astype(np.float32)


def tiny_extractor(encoder: str):
    if encoder in ("whisper", "parakeet_encoder"):
        return WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    if encoder == "wav2vec2-bert":
        return SeamlessM4TFeatureExtractor()
    return Wav2Vec2FeatureExtractor(return_attention_mask=True)


def tiny_tokenizer():
    return train_tokenizer(TEXTS * 20, 320)


def tiny_model_and_processor(
    text: str = "llama",
    speech: str = "whisper",
    emotion: str | None = "whisper",
    fusion: str | None = None,
    speech_tokens: int = 10,
    emotion_tokens: int = 2,
    **config_kwargs,
):
    """A model of random weights with the given architectures, and its processor."""
    tokenizer = tiny_tokenizer()
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AudioLLMConfig(
        speech_config=AutoConfig.for_model(speech, **ENCODERS[speech]),
        emotion_config=None if emotion is None else AutoConfig.for_model(emotion, **ENCODERS[emotion]),
        text_config=AutoConfig.for_model(
            text, vocab_size=len(tokenizer), **TEXT_SIZES, **TEXT_MODELS[text], **special
        ),
        fusion=fusion,
        speech_tokens=speech_tokens,
        emotion_tokens=emotion_tokens,
        window_seconds=1,
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
        **config_kwargs,
    )
    model = AudioLLMForConditionalGeneration(config)
    model.generation_config.update(**special)
    processor = AudioLLMProcessor(
        tiny_extractor(speech),
        tiny_extractor(emotion or speech),
        tokenizer,
        tokens_per_window=config.tokens_per_window,
        window_seconds=1,
        emotion_tokens=emotion_tokens if config.fusion == "sequence" else 0,
        audio_tokens=config.audio_tokens,
    )
    return model, processor


def like_a_voice(seconds, rate=16_000):
    """Two vowels in turn, 4 syllables a second, with a pitch that glides around 220 Hz: it counts as speech."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (0.1 * np.sin(2 * np.pi * 2 * time))) / rate
    vowel = np.sin(2 * np.pi * 2 * time) > 0
    low, high = (sum(np.sin(n * phase) / n**power for n in range(1, 12)) for power in (2.5, 0.5))
    return (0.1 * np.abs(np.sin(2 * np.pi * 2 * time)) * np.where(vowel, low, high)).astype(np.float32)
