"""An AudioLLM's adapters alone: what they hear and feel before its language model reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from .audiollm import AudioLLM
from .base import System, fingerprint_of, sentiment_of


class Parts(System):
    """Answers with an aligned adapter's words and a taught emotion adapter's label; the language model never runs.

    Transcripts are what `model.hear` gives, by the adapter where it was aligned and else by the speech decoder.
    Emotions are the nearest of the model's own by `model.feel`, and sentiment is derived from them.

    Args:
        folder: an AudioLLM, as [`AudioLLM`] takes it.

    Raises:
        EvalError: if the folder holds no checkpoint.
    """

    def __init__(self, folder: str):
        self.whole = AudioLLM(folder)
        self.name = f"{self.whole.name}, parts"
        self.fingerprint = fingerprint_of("parts", folder)
        self.labels = list(self.whole.model.config.emotion_labels)

    def answer(self, audio: np.ndarray, question: str) -> str:
        raise ValueError("parts hear and feel; what they are asked is known from the rows of an evaluation.")

    @torch.inference_mode()
    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
        answers: list[str | ValueError] = [ValueError("parts answer no questions about what is said.")] * len(rows)
        ways = {"asr": self._hear, "er": self._feel, "sr": partial(self._feel, sentiment=True)}
        for task, way in ways.items():
            places = [place for place, row in enumerate(rows) if row["task"] == task]
            for place, said in zip(places, self._tried(way, [audios[place] for place in places])):
                answers[place] = said
        return answers

    def describe(self) -> dict:
        return {"labels": self.labels, "device": str(self.whole.device)}

    def _tried(self, way: Callable, audios: list[np.ndarray]) -> list[str | ValueError]:
        """A model that lacks a part, or in which it was not taught, says so for each row."""
        processor = self.whole.processor
        if not audios:
            return []
        inputs = processor(text=[processor.prompt("") for _ in audios], audio=audios).to(self.whole.device)
        try:
            return way(inputs)
        except ValueError as error:
            return [error] * len(audios)

    def _hear(self, inputs: Any) -> list[str]:
        model = self.whole.model
        heard = model.hear(by="adapter" if model.config.speech_alignment else "decoder", **inputs)
        return [text.strip() for text in self.whole.processor.batch_decode(heard)]

    def _feel(self, inputs: Any, sentiment: bool = False) -> list[str]:
        if not self.whole.model.config.emotion_label_ids:
            adapter = self.whole.model.model.feeling_adapter
            raise ValueError(
                f"This model does not say that its {adapter} was taught labels: a training notes them in its "
                "configuration, as emotion_label_ids, if a round of er has `label`."
            )
        words = self.whole.processor.label_ids(self.labels)
        nearest = [self.labels[place] for place in self.whole.model.feel(words, **inputs).argmax(-1).tolist()]
        if sentiment:
            return [f"The sentiment is {sentiment_of(label)}." for label in nearest]
        return [f"The speaker sounds {label}." for label in nearest]
