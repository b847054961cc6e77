"""What every system under evaluation offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


SAMPLING_RATE = 16_000


class System(Protocol):
    """Answers questions about recordings. Subclass it, or offer the same methods.

    Attributes:
        name: how tables call it.
        fingerprint: changes whenever its answers may change, so that a run is never resumed with another system's.
    """

    name: str
    fingerprint: str

    def answer(self, audio: np.ndarray, question: str) -> str:
        """Answer one question.

        Args:
            audio: mono float32 samples in [-1, 1] at 16 kHz, shape `[samples]`.
            question: what is asked.

        Raises:
            ValueError: if this clip or question can't be answered; the row is then recorded with the error.
        """
        ...

    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        """Answer several questions, one per recording."""
        return [self.answer(audio, question) for audio, question in zip(audios, questions)]

    def describe(self) -> dict:
        """What else a reader needs to reproduce the answers: settings, device, size."""
        return {}
