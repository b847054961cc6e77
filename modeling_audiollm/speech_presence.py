# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""Whether a clip holds speech, so that nobody is told the emotion of silence, noise, a hum, tones or clicks.

A clip counts as speech as soon as one stretch of it may be: to turn a speaker away is worse than to answer noise.
Music that is sung or bowed, and babble, count as speech too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .voice_cues import HOP_SECONDS, frame_levels, frames_of, pitch_track


STRETCH_SECONDS = 2.0
SILENT_DB = -75.0  # the loudest 25 ms of a silent stretch, in dB of full scale
SHORTEST_SECONDS = 0.3  # of a stretch that is told apart; shorter ones are only silent or not
SMOOTHING_FRAMES = 7
# Of noise, hum and tones with noise the spectrum's shape varies by at most 2.8 dB, of speech as loud as the noise
# around it by at least 4.2 dB.
STEADY_SPECTRUM_DB = 3.5
STEADY_PITCH = 0.03  # semitones within 10 ms: what an instrument holds, no voice does
LARGEST_GLIDE = 2.0
# Steady shares of the frames with pitch: tones 0.87 and more, speech at most 0.47.
TONAL_SHARE = 0.7
VOICE_SECONDS = 0.1
BURST_BELOW_PEAK_DB, BURST_SECONDS = 25.0, 0.1
NO_SPEECH = {
    "silence": "No speech can be heard: the recording is silent.",
    "noise": "No speech can be heard: the recording holds a steady noise or hum.",
    "tones": "No speech can be heard: the recording holds tones.",
    "clicks": "No speech can be heard: the recording holds clicks.",
}
_SPECTRUM_SECONDS = 0.032
_FAINT = 1e-9
# Critical bands of hearing (Zwicker, 1961), in Hz.
_BANDS = np.array(
    [100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400]
)


def why_no_speech(samples: np.ndarray, sampling_rate: int = 16_000) -> str | None:
    """What a clip holds instead of speech; None if it may hold speech.

    Args:
        samples: mono, in [-1, 1], `[samples]`.
        sampling_rate: in Hz, at least 2,000.

    Returns:
        A key of [`NO_SPEECH`]: what most of its stretches hold, those that are not silent.
    """
    samples = np.asarray(samples, dtype=np.float64)
    found: list[str] = []
    for stretch in _stretches(samples, sampling_rate):
        reason = _reason(stretch, sampling_rate)
        if reason is None:
            return None
        found.append(reason)
    sounds = [reason for reason in found if reason != "silence"]
    return max(sounds, key=sounds.count) if sounds else "silence"


def _stretches(samples: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """Stretches that overlap by half, the last one up to the clip's end."""
    size = round(STRETCH_SECONDS * rate)
    last = max(0, len(samples) - size)
    for start in [*range(0, last, size // 2), last]:
        yield samples[start : start + size]


def _reason(samples: np.ndarray, rate: int) -> str | None:
    levels = frame_levels(samples, rate)
    if not len(levels) or levels.max() <= SILENT_DB:
        return "silence"
    if len(samples) < SHORTEST_SECONDS * rate:
        return None
    pitch = pitch_track(samples, rate)
    glides = np.abs(np.diff(12 * np.log2(pitch)))
    glides = glides[glides < LARGEST_GLIDE]  # drops frames without pitch too
    steady = np.mean(glides < STEADY_PITCH) if len(glides) else 0.0
    voiced = np.sum(glides >= STEADY_PITCH) * HOP_SECONDS
    if len(glides) * HOP_SECONDS >= VOICE_SECONDS and steady >= TONAL_SHARE:
        return "tones"
    bursts = _longest_run(levels > levels.max() - BURST_BELOW_PEAK_DB) * HOP_SECONDS
    if bursts <= BURST_SECONDS and voiced < VOICE_SECONDS / 2 and len(samples) >= STRETCH_SECONDS / 2 * rate:
        return "clicks"
    is_voice = voiced >= VOICE_SECONDS and steady <= 1 - TONAL_SHARE
    return None if is_voice or _spectrum_varies_db(samples, rate) >= STEADY_SPECTRUM_DB else "noise"


def _spectrum_varies_db(samples: np.ndarray, rate: int) -> float:
    """How far the shape of the spectrum varies over time, whatever the level does: mean 10-90 % range of its bands."""
    size = round(_SPECTRUM_SECONDS * rate)
    window = np.hanning(size)
    power = [np.abs(np.fft.rfft(f * window)) ** 2 for f in frames_of(samples, size, round(HOP_SECONDS * rate))]
    edges = np.searchsorted(np.fft.rfftfreq(size, 1 / rate), _BANDS[_BANDS <= rate / 2])
    bands = np.add.reduceat(np.concatenate(power) / size**2, edges, axis=1)[:, :-1]
    kernel = np.ones(SMOOTHING_FRAMES) / SMOOTHING_FRAMES
    smooth = np.stack([np.convolve(band, kernel, mode="same") for band in bands.T], axis=1)
    levels = 10 * np.log10(smooth + _FAINT)
    shape = levels - levels.mean(axis=1, keepdims=True)
    return float(np.mean(np.subtract(*np.percentile(shape, (90, 10), axis=0))))


def _longest_run(true: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], true.astype(int), [0]])))
    return int(np.max(edges[1::2] - edges[::2], initial=0))


__all__ = ["NO_SPEECH", "why_no_speech"]
