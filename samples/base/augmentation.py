"""Waveform augmentation for training a speech encoder from scratch on few voices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Augmentation:
    """Random changes to a clip that leave its words as they are.

    Speed changes pitch and formants too, so it is for hearing words, not for emotion.

    Args:
        speed: largest relative change of speed (0.1: between 0.9 and 1.1 times).
        tilt: largest coefficient of a first-order filter that brightens or dulls the voice.
        gain_db: largest change of level.
        snr_db: range of signal-to-noise ratios of added white noise, in dB.
    """

    speed: float = 0.1
    tilt: float = 0.3
    gain_db: float = 6.0
    snr_db: tuple[float, float] = (15.0, 45.0)

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Change a clip of float samples `[n]` by choices of `random`; the length changes with the speed."""
        positions = np.arange(0, len(samples) - 1, 1 + random.uniform(-self.speed, self.speed))
        samples = np.interp(positions, np.arange(len(samples)), samples) if len(positions) else samples
        tilted = samples.copy()
        tilted[1:] -= random.uniform(-self.tilt, self.tilt) * samples[:-1]
        tilted *= 10 ** (random.uniform(-self.gain_db, self.gain_db) / 20)
        level = np.sqrt(np.mean(tilted**2)) * 10 ** (-random.uniform(*self.snr_db) / 20)
        return (tilted + random.normal(0, level + 1e-8, len(tilted))).astype(np.float32)
