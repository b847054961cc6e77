"""Listening to every sample of a clip, once: what its header cannot tell."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..processing.audio import AudioClip, AudioError, open_audio


@dataclass(frozen=True)
class Heard:
    """A clip as it was heard.

    Args:
        content: digest of its samples and rate; the same for the same sound in another file or container.
        seconds: length.
        peak: largest absolute sample, 0 to 1.
        problem: `missing`, `unreadable`, `zero-length` or `not-finite`, with the reason; `None` if it is sound.
    """

    content: bytes
    seconds: float
    peak: float
    problem: tuple[str, str] | None = None

    @property
    def decibels(self) -> float:
        """Peak in dB of full scale."""
        return 20 * math.log10(self.peak) if self.peak else -math.inf


def hear(path: str) -> Heard:
    """Decode a clip in blocks; memory does not grow with its length."""
    if not os.path.lexists(path):
        return _bad("missing", "no such file.")
    try:
        with open_audio(Path(path)) as clip:
            return _hear(clip)
    except AudioError as error:
        kinds = {"holds no samples": "zero-length", "NaN or infinite": "not-finite", "no such file": "missing"}
        return _bad(next((kind for words, kind in kinds.items() if words in error.reason), "unreadable"), error.reason)


def _hear(clip: AudioClip) -> Heard:
    digest = hashlib.blake2b(str(clip.rate).encode(), digest_size=16)
    frames, peak = 0, 0.0
    for block in clip.blocks():
        digest.update(np.ascontiguousarray(block).tobytes())
        frames += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    return Heard(digest.digest(), frames / clip.rate, peak / clip.full_scale)


def _bad(kind: str, reason: str) -> Heard:
    return Heard(b"", 0.0, 0.0, (kind, reason))
