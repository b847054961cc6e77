"""Cascades: speech recognition, then a text language model that reads the transcript."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from ...language_models import LanguageModel
from .base import (
    SAMPLING_RATE,
    System,
    checkpoint_of,
    describe_language_model,
    fingerprint_of,
)
from .transcript import PROMPT, WAY, read_and_answer, read_and_answer_rows


class Cascade(System):
    """Any recogniser of transformers, and any language model.

    A row of transcription, and without rows a question for the transcript, is answered by the recogniser alone. A clip
    that several questions are about is recognised once.

    Args:
        recogniser: folder or Hub id of a speech recogniser (Whisper, a CTC model, ...).
        model: reads the transcripts.
        max_new_tokens: longest answer of the language model, part of the fingerprint.
        question_format: how a question is put to it; holds `{question}`.
        batch_size: clips recognised together, at most.
    """

    def __init__(
        self,
        recogniser: str,
        model: LanguageModel,
        max_new_tokens: int = 128,
        question_format: str = "{question}",
        batch_size: int = 16,
    ):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        # bfloat16 products are tens of times slower than float32 ones on CPUs without native support.
        dtype = torch.float16 if device == "cuda" else torch.float32
        self.recogniser: Any = pipeline("automatic-speech-recognition", model=recogniser, dtype=dtype, device=device)
        if self.recogniser.tokenizer.pad_token is None:  # the pipeline asks for one before it batches sound
            self.recogniser.tokenizer.pad_token = self.recogniser.tokenizer.eos_token
        self.model, self.question_format, self.batch_size = model, question_format, batch_size
        self.max_new_tokens, self.recogniser_name = max_new_tokens, recogniser.rstrip("/").rsplit("/", 1)[-1]
        self.name = f"{self.recogniser_name}+{model.name}"
        decoding = self._decoding()
        parts = (recogniser, checkpoint_of(model), max_new_tokens, question_format, PROMPT, WAY, decoding)
        self.fingerprint = fingerprint_of("cascade", *parts)
        self._heard: dict[bytes, str] = {}

    def answer(self, audio: np.ndarray, question: str) -> str:
        answer = self.answer_batch([audio], [question])[0]
        if isinstance(answer, ValueError):
            raise answer
        return answer

    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str | ValueError]:
        return read_and_answer(self.model, self.transcribe(audios), questions, self.question_format)

    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
        return read_and_answer_rows(self.model, self.transcribe(audios), rows, self.question_format)

    def transcribe(self, audios: Sequence[np.ndarray]) -> list[str]:
        """What was said in each clip, as the recogniser hears it."""
        keys = [hashlib.sha256(np.ascontiguousarray(audio).data).digest() for audio in audios]
        new = {key: audio for key, audio in zip(keys, audios) if key not in self._heard}
        if new:
            clips = [{"raw": audio, "sampling_rate": SAMPLING_RATE} for audio in new.values()]
            settings = self._decoding() | self._long_form(clips)
            heard = self.recogniser(clips, batch_size=min(len(clips), self.batch_size), **settings)
            self._heard.update(zip(new, (result["text"].strip() for result in heard)))
        return [self._heard[key] for key in keys]

    def _decoding(self) -> dict:
        """Greedy, as every system answers: the pipeline's own five beams are many times slower, most so in batches."""
        if not self.recogniser.type.startswith("seq2seq"):
            return {}
        task = {"task": "transcribe"} if _lacks_task(self.recogniser.model) else {}
        return {"generate_kwargs": {"num_beams": 1, **task}}

    def _long_form(self, clips: Sequence[dict]) -> dict:
        """Whisper hears 30 s at a time, and goes on by its time stamps if asked to."""
        window = getattr(self.recogniser.feature_extractor, "n_samples", None)
        return {"return_timestamps": True} if window and max(len(clip["raw"]) for clip in clips) > window else {}

    def describe(self) -> dict:
        return {
            "hears": "the words that the recogniser hears",
            "recogniser": self.recogniser_name,
            "recogniser_revision": getattr(self.recogniser.model.config, "_commit_hash", None),
            "language_model": describe_language_model(self.model),
            "recogniser_decoding": self._decoding(),
            "prompt": PROMPT,
            "question_format": self.question_format,
            "max_new_tokens": self.max_new_tokens,
        }


def _lacks_task(model: Any) -> bool:
    """Whether this is a Whisper of several tasks whose checkpoint names none, as many have that were trained further.

    transformers detects the language then, says no task to the decoder, and what comes is a word many times over.
    """
    settings = model.generation_config
    tasks = getattr(settings, "task_to_id", None)
    if not tasks or not getattr(settings, "is_multilingual", True):
        return False
    named = getattr(settings, "task", None) or getattr(settings, "language", None)
    forced = getattr(settings, "forced_decoder_ids", None) or getattr(model.config, "forced_decoder_ids", None) or []
    return not named and not {token for _, token in forced} & set(tasks.values())
