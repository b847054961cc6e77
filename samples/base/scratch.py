"""Models of random weights, with a small tokenizer of their own: what the tiny base begins with.

python -m audiollm.samples.base.scratch --sizes samples/base/sizes.yaml --texts build/base --out build/new-base
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor, set_seed

from audiollm.corpora.readers import read_corpus
from audiollm.modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from audiollm.processing.processing_audiollm import AUDIO_TOKENS, AudioLLMProcessor


PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer: frequent words are one token, and any text can be written.

    Args:
        texts: what it should be good at.
        vocab_size: at most so many tokens, the 256 bytes and 7 special tokens among them.
    """
    special = [PAD, USER, ASSISTANT, END, *AUDIO_TOKENS]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=PAD, eos_token=END)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def from_scratch(
    sizes: Mapping[str, Any], texts: Iterable[str]
) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    """A model of random weights that ends its answers as its tokenizer does, and its processor.

    Args:
        sizes: `vocab_size`, `speech_config`, `text_config` and other fields of [`AudioLLMConfig`].
        texts: what the tokenizer is trained on.
    """
    sizes = dict(sizes)
    tokenizer = train_tokenizer(texts, sizes.pop("vocab_size"))
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**sizes.pop("text_config"), **special, "vocab_size": len(tokenizer), "bos_token_id": None}
    audio_token = AUDIO_TOKENS[1]
    config = AudioLLMConfig(
        **sizes,
        text_config=text,
        audio_token_id=tokenizer.convert_tokens_to_ids(audio_token),
        tie_word_embeddings=True,
    )
    extractor = WhisperFeatureExtractor(
        feature_size=config.speech_config.num_mel_bins, chunk_length=int(config.window_seconds)
    )
    processor = AudioLLMProcessor(
        extractor,
        extractor,
        tokenizer,
        tokens_per_window=config.tokens_per_window,
        window_seconds=config.window_seconds,
        emotion_tokens=config.emotion_tokens if config.fusion == "sequence" else 0,
        audio_tokens=config.audio_tokens,
        audio_token=audio_token,
    )
    model = AudioLLMForConditionalGeneration(config)
    model.generation_config.update(**special)
    return model, processor


def main() -> None:
    """Read the command line and save the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", required=True, help="a YAML file, see sizes.yaml")
    parser.add_argument("--texts", nargs="+", required=True, help="corpora whose texts the tokenizer is trained on")
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = [row for path in options.texts for row in read_corpus(path, "train")]
    texts = [row[column] for row in rows for column in ("question", "answer", "transcript") if row[column]]
    set_seed(options.seed)
    with open(options.sizes, encoding="utf-8") as file:
        sizes = yaml.safe_load(file)
    for part in from_scratch(sizes, texts):
        part.save_pretrained(options.out)


if __name__ == "__main__":
    main()
