"""Emotion2Vec+ classifiers: a label, and no reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor

from ...modeling_audiollm import Emotion2VecForAudioClassification
from .base import SAMPLING_RATE, System, fingerprint_of, sentiment_of


# The classes of emotion2vec+ that no label set here has.
NO_EMOTION = ("other", "<unk>")


class Emotion2VecClassifier(System):
    """Answers emotion and sentiment questions with the likeliest class; sentiment is derived from the emotion.

    Args:
        folder: a classifier that `convert_emotion2vec` wrote.
    """

    def __init__(self, folder: str):
        self.model = Emotion2VecForAudioClassification.from_pretrained(folder).eval()
        self.extractor = AutoFeatureExtractor.from_pretrained(folder)
        self.name = "emotion2vec"
        self.fingerprint = fingerprint_of("emotion2vec", folder)
        config: Any = self.model.config
        labels = [config.id2label[index] for index in range(config.num_labels)]
        self.kept = [index for index, label in enumerate(labels) if label not in NO_EMOTION]
        self.labels = [labels[index] for index in self.kept]

    def answer(self, audio: np.ndarray, question: str) -> str:
        return self.answer_batch([audio], [question])[0]

    @torch.inference_mode()
    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        inputs = self.extractor(list(audios), sampling_rate=SAMPLING_RATE, padding=True, return_tensors="pt")
        best = self.model(**inputs).logits[:, self.kept].argmax(-1).tolist()
        return [self._say(self.labels[index], question) for index, question in zip(best, questions)]

    @staticmethod
    def _say(label: str, question: str) -> str:
        if "sentiment" in question.lower():
            return f"The sentiment is {sentiment_of(label)}."
        return f"The speaker sounds {label}."

    def describe(self) -> dict:
        return {"classes": self.labels, "left_out": list(NO_EMOTION)}
