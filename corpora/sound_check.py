"""Listening to every sample of a clip, once: what its header cannot tell."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from .clips import EXTRACT, VIDEO


BLOCK = 1 << 16  # frames read at a time


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
    try:
        with soundfile.SoundFile(path) as file:
            return _hear(file)
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        if not Path(path).exists():
            return _bad("missing", "no such file.")
        if path.lower().endswith(VIDEO):
            return _bad("unreadable", f"is video or AAC; {EXTRACT}")
        return _bad("unreadable", f"cannot be decoded ({' '.join(str(error).split())[-120:]}).")


def _hear(file: soundfile.SoundFile) -> Heard:
    digest = hashlib.blake2b(str(file.samplerate).encode(), digest_size=16)
    frames, peak = 0, 0.0
    for block in file.blocks(blocksize=BLOCK, dtype="float32", always_2d=True):
        if not np.isfinite(block).all():
            return _bad("not-finite", "holds samples that are NaN or infinite.")
        digest.update(block.tobytes())
        frames += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
    if frames == 0:
        return _bad("zero-length", "has no samples.")
    if 0 < file.frames != frames:
        return _bad("unreadable", f"is cut off: {frames:,} of {file.frames:,} samples are there.")
    return Heard(digest.digest(), frames / file.samplerate, peak)


def _bad(kind: str, reason: str) -> Heard:
    return Heard(b"", 0.0, 0.0, (kind, reason))
