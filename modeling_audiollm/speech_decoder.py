# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""Whisper's own decoder inside an AudioLLM: what it says goes to the language model first, as its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, WhisperForConditionalGeneration
from transformers.generation.logits_process import NoRepeatNGramLogitsProcessor
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.whisper.modeling_whisper import WhisperDecoder


# The name of the key-value cache, as input and output: transformers before 5.24, which vLLM 0.33 pins, has the longer.
CACHE = "cache" if "cache" in {field.name for field in fields(BaseModelOutputWithPast)} else "past_key_values"
START = "<|startoftranscript|>"
MULTILINGUAL_WORDS = (
    51_865  # a vocabulary of Whisper that is smaller is English only (openai/whisper, `is_multilingual`)
)


class AudioLLMSpeechDecoder(nn.Module):
    """Reads the frames of a Whisper encoder as words, greedily, in tokens of the language model.

    Whisper learnt to hear 30 s, of which the end is silent; without that end it does not find its own. Behind the
    frames of a clip, which may be all that a length-aware encoder gave, it therefore hears those of silence.

    Args:
        config: of the Whisper model.
        prompt: the tokens that it starts with: language and task.
        positions: frames of audio that it learnt to hear, before the encoder was cut to a window.
    """

    AT_ONCE = 8  # windows: of each the decoder keeps keys and values for all of its frames
    PIECES = 12  # of the language model, for one token of Whisper; longer ones are rows of signs
    REPEATED = 4  # tokens in a row that it says once in a window: repeating itself is how Whisper fails
    # Whisper's features of silence behind speech: its range ends 8 decades (2 here) below the loudest, near 1.2.
    SILENCE = -0.8

    silence: torch.Tensor  # frames, [positions, width]
    words: torch.Tensor  # of the language model, for each token of Whisper, -1 behind them
    never: torch.Tensor  # what it must not say first, and later, [2, tokens]

    def __init__(self, config: Any, prompt: Sequence[int], positions: int):
        super().__init__()
        self.prompt, self.end = list(prompt), config.eos_token_id
        self.decoder = WhisperDecoder._from_config(config)
        self.register_buffer("silence", torch.zeros(positions, config.d_model))
        self.register_buffer("words", torch.full((config.vocab_size, self.PIECES), -1))
        self.register_buffer("never", torch.zeros(2, config.vocab_size, dtype=torch.bool))
        self.requires_grad_(False)

    @classmethod
    def from_whisper(
        cls,
        whisper: WhisperForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        language_tokenizer: PreTrainedTokenizerBase,
        language: str | None = None,
    ) -> AudioLLMSpeechDecoder:
        """The decoder of a Whisper model at hand, whose encoder has all of its positions still.

        Args:
            whisper: the model, with its generation configuration, which has what it must not say.
            tokenizer: of Whisper.
            language_tokenizer: of the language model.
            language: spoken, as Whisper writes it (`en`); needed where Whisper knows several.

        Raises:
            ValueError: for a language that is missing, unknown, or given to an English Whisper.
        """
        prompt: Any = tokenizer.convert_tokens_to_ids(_prompt(whisper.config, tokenizer, language))
        positions = whisper.config.max_source_positions
        self = cls(whisper.config, prompt, positions)
        self.decoder = whisper.model.decoder
        silence = torch.full((1, whisper.config.num_mel_bins, 2 * positions), cls.SILENCE)
        with torch.no_grad():
            heard = whisper.model.encoder(silence.to(whisper.device, whisper.dtype)).last_hidden_state[0]
            self.silence = heard
            pieces = _pieces(tokenizer, language_tokenizer, self.end)
            for token, piece in enumerate(pieces):
                self.words[token, : len(piece)] = torch.tensor(piece[: cls.PIECES], dtype=torch.long)
            settings: Any = whisper.generation_config
            self.never[:, self.end + 1 :] = True  # special tokens, and those of time
            self.never[:, list(settings.suppress_tokens or [])] = True
            self.never[0, list(settings.begin_suppress_tokens or [])] = True
        self.requires_grad_(False)
        return self.to(whisper.device)

    def settings(self) -> dict[str, Any]:
        """What a configuration has of it."""
        return {"prompt": self.prompt, "positions": len(self.silence)}

    @torch.no_grad()
    def forward(
        self, states: torch.Tensor, counts: torch.Tensor | None, most: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is said in windows, as words of the language model.

        Args:
            states: the encoder's last frames, `[windows, frames, width]`.
            counts: frames of each window that were heard, `[windows]`, or none for all.
            most: words that there is room for in each window, `[windows]`.

        Returns:
            Token ids of the language model, `[windows, words]`, with -1 behind those of a window, and how likely each
            was, `[windows, words]`: what a token of Whisper stands for is as likely as that.
        """
        states = states.to(self.decoder.embed_tokens.weight.dtype)
        heard = [len(window) for window in states] if counts is None else counts.tolist()
        order = sorted(range(len(states)), key=lambda window: heard[window])  # of like lengths together
        said: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for start in range(0, len(order), self.AT_ONCE):
            some = order[start : start + self.AT_ONCE]
            frames = torch.stack([torch.cat([states[i, : heard[i]], self._silence(heard[i], states)]) for i in some])
            with torch.autocast(states.device.type, enabled=False):  # which would cast all weights at each step
                heard_tokens = self._greedy(frames, most[some])
            said |= {window: self._words(*row, most=int(most[window])) for window, *row in zip(some, *heard_tokens)}
        rows = [said[window] for window in range(len(states))]
        words = nn.utils.rnn.pad_sequence([of for of, _ in rows], batch_first=True, padding_value=-1)
        return words, nn.utils.rnn.pad_sequence([sure for _, sure in rows], batch_first=True)

    def _silence(self, heard: int, like: torch.Tensor) -> torch.Tensor:
        return self.silence[heard:].to(like.dtype)

    def _greedy(self, frames: torch.Tensor, most: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whisper's tokens for frames `[windows, frames, width]`, ended by its last one, and their probabilities, each
        `[windows, tokens]`."""
        once: Any = NoRepeatNGramLogitsProcessor(self.REPEATED)
        step = torch.tensor(self.prompt, device=frames.device).expand(len(frames), -1)
        said, sure = step[:, :0], frames.new_zeros(len(frames), 0, dtype=torch.float32)
        going, cache = torch.ones(len(frames), dtype=torch.bool, device=frames.device), None
        room = min(int(most.max()), self.decoder.max_target_positions - len(self.prompt))
        head = self._head()
        for place in range(room):
            output = self.decoder(input_ids=step, encoder_hidden_states=frames, use_cache=True, **{CACHE: cache})
            cache = output[CACHE]
            logits = nn.functional.linear(output.last_hidden_state[:, -1], head).float()
            logits = logits.masked_fill(self.never[min(place, 1)], -torch.inf)
            likely = logits.softmax(-1)  # also of what takes the place of something that was said before
            logits = once(said, logits)
            best = logits.argmax(-1).where(going, self.end)
            step, going = best[:, None], going & (best != self.end)
            said = torch.cat([said, step], dim=1)
            sure = torch.cat([sure, likely.gather(-1, step)], dim=1)
            if not going.any():
                break
        return said, sure

    def _head(self) -> torch.Tensor:
        """Whisper's words, `[words, width]`, which its decoder reads and says."""
        embeddings: Any = self.decoder.embed_tokens
        if only_looked_up(embeddings):
            return look_up(embeddings, torch.arange(len(self.words)))
        return embeddings.weight[: len(self.words)]  # vLLM pads them

    def _words(self, said: torch.Tensor, sure: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        words = self.words[said]
        there = words >= 0
        return words[there][:most], sure[:, None].expand_as(words)[there][:most]


def only_looked_up(embeddings: Any) -> bool:
    """Whether the weight of an embedding is not here to be read, but whole when the embedding is called.

    Each worker of vLLM has a part of it (tensor parallel), and all look up together; accelerate, where it keeps
    weights elsewhere, brings them for the call.
    """
    return getattr(embeddings, "tp_size", 1) > 1 or embeddings.weight.is_meta


def look_up(embeddings: Any, ids: torch.Tensor) -> torch.Tensor:
    """Embeddings of some tokens, by a call."""
    weight = embeddings.weight
    return embeddings(ids if weight.is_meta else ids.to(weight.device))


def _prompt(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, language: str | None) -> list[str]:
    """The tokens with which Whisper is told to write down what is said in a language."""
    multilingual = config.vocab_size >= MULTILINGUAL_WORDS
    if multilingual and language is None:
        raise ValueError('This Whisper knows several languages; say which is spoken: `speech_language: "en"`, say.')
    if not multilingual and language not in (None, "en"):
        raise ValueError(f"This Whisper knows English only; speech_language is {language!r}.")
    tongue = [f"<|{language}|>", "<|transcribe|>"] if multilingual else []
    if multilingual and tongue[0] not in tokenizer.get_vocab():
        raise ValueError(f'Whisper has no language {language!r}; write it as Whisper does: "en", "pl", "zh".')
    return [START, *tongue, "<|notimestamps|>"]


def _pieces(
    tokenizer: PreTrainedTokenizerBase, language_tokenizer: PreTrainedTokenizerBase, ordinary: int
) -> list[list[int]]:
    """For each of the first `ordinary` tokens of Whisper, those of the language model that say the same."""
    # Each is read behind a line's end, as some tokenizers begin a text with a space of their own.
    before = language_tokenizer("\n", add_special_tokens=False)["input_ids"]
    spelt = [_bytes_of(token) for token in tokenizer.convert_ids_to_tokens(list(range(ordinary)))]
    whole = [_text_of(piece) for piece in spelt]
    read: Any = language_tokenizer(["\n" + (text or "") for text in whole], add_special_tokens=False)["input_ids"]
    vocabulary = language_tokenizer.get_vocab()
    pieces = []
    for piece, text, ids in zip(spelt, whole, read):
        if text is None:  # a part of a letter, which only single bytes can say
            names = [(f"<0x{byte:02X}>", BYTE_LETTERS[byte]) for byte in piece]
            pieces.append([vocabulary[name] for pair in names for name in pair if name in vocabulary])
        elif ids[: len(before)] == before:
            pieces.append(ids[len(before) :])
        else:  # the line's end became one with what follows
            pieces.append(language_tokenizer(text, add_special_tokens=False)["input_ids"])
    return pieces


def _byte_letters() -> list[str]:
    """The letter that byte-level vocabularies (GPT-2's, and so Whisper's) write for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


BYTE_LETTERS = _byte_letters()
BYTE_OF = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}


def _bytes_of(token: str) -> bytes:
    return bytes(BYTE_OF[letter] for letter in token)


def _text_of(piece: bytes) -> str | None:
    """A token's text, or none where its bytes end or begin within a letter."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None
