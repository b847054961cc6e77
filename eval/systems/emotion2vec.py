"""Emotion2Vec+ classifiers: a label, and no reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor

from ...corpora.schema import EMOTION_TASKS
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
        self.fingerprint = fingerprint_of("emotion2vec", folder, "by task")  # it was by the question's words
        config: Any = self.model.config
        labels = [config.id2label[index] for index in range(config.num_labels)]
        self.kept = [index for index, label in enumerate(labels) if label not in NO_EMOTION]
        self.labels = [labels[index] for index in self.kept]

    def answer(self, audio: np.ndarray, question: str) -> str:
        return self.answer_batch([audio], [question])[0]

    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        sentiment = ["sentiment" in question.lower() for question in questions]
        return [self._say(label, asked) for label, asked in zip(self._likeliest(audios), sentiment)]

    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
        other = ValueError(f"a classifier of emotions answers no rows but those of {' and '.join(EMOTION_TASKS)}.")
        answers: list[str | ValueError] = [other] * len(rows)
        places = [place for place, row in enumerate(rows) if row["task"] in EMOTION_TASKS]
        for place, label in zip(places, self._likeliest([audios[place] for place in places]) if places else ()):
            answers[place] = self._say(label, rows[place]["task"] == "sr")
        return answers

    @torch.inference_mode()
    def _likeliest(self, audios: Sequence[np.ndarray]) -> list[str]:
        inputs = self.extractor(list(audios), sampling_rate=SAMPLING_RATE, padding=True, return_tensors="pt")
        best = self.model(**inputs).logits[:, self.kept].argmax(-1).tolist()
        return [self.labels[index] for index in best]

    @staticmethod
    def _say(label: str, sentiment: bool) -> str:
        return f"The sentiment is {sentiment_of(label)}." if sentiment else f"The speaker sounds {label}."

    def describe(self) -> dict:
        return {"classes": self.labels, "left_out": list(NO_EMOTION)}
