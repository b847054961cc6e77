# This file travels to the Hub with the weights, so it stands alone: numpy only, no import of ours.
"""How something was said, measured on the clip: pitch, loudness, speaking rate and pauses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


HOP_SECONDS = 0.01
WINDOW_SECONDS = 0.025
LOWEST_PITCH, HIGHEST_PITCH = 60.0, 500.0
APERIODICITY = 0.35  # above it a frame counts as unvoiced
CLEAR_DIP = 0.15  # the first lag under it is the period (de Cheveigne & Kawahara, 2002, step 4)
ACTIVE_BELOW_PEAK_DB = 30.0  # frames quieter than the clip's loud ones by more are silence
ACTIVE_DB = -60.0  # and so is everything below this level
PAUSE_SECONDS = 0.2  # shorter gaps are stops within words
SYLLABLE_DIP_DB = 1.5  # how far the level falls between two syllables (de Jong & Wempe, 2009)
SMOOTHING_SECONDS = 0.02
OCTAVE_LEAP = 0.8  # of an octave, from the median of the frames around: more is an error of YIN
_NEIGHBOURS = 15
_FRAMES_AT_ONCE = 2_000
_FAINT = 1e-10


@dataclass(frozen=True)
class VoiceCues:
    """Measures of a voice. What can't be measured, such as the pitch of a whisper, is None.

    Attributes:
        seconds: length of the clip.
        pitch_hz: median fundamental frequency of the voiced frames.
        pitch_range_semitones: from the 5th to the 95th percentile of the pitch.
        loudness_db: level of the frames with speech, dB below full scale (a sine of full scale has -3). It depends on
            the microphone and its distance.
        loudness_range_db: from the 10th to the 90th percentile of those frames.
        syllables_per_second: voiced level peaks per second of speech without pauses; fewer than the syllables of the
            text, since unstressed ones melt into their neighbours.
        words_per_second: of the transcript, if one was given, per second from the first sound to the last.
        pause_share: part of the time from the first sound to the last, 0 to 1, that is silent for `PAUSE_SECONDS` or
            more at a stretch.
        pauses: their number.
    """

    seconds: float
    pitch_hz: float | None
    pitch_range_semitones: float | None
    loudness_db: float | None
    loudness_range_db: float | None
    syllables_per_second: float | None
    words_per_second: float | None
    pause_share: float | None
    pauses: int


def voice_cues(samples: np.ndarray, sampling_rate: int = 16_000, words: int | None = None) -> VoiceCues:
    """Measure how a clip was said.

    Args:
        samples: mono, in [-1, 1], `[samples]`.
        sampling_rate: in Hz, at least 2,000.
        words: how many words were said, if that is known.

    Returns:
        The measures; all but `seconds` and `pauses` are None for a clip without sound.

    Raises:
        ValueError: if the samples are not mono, or the rate is too low to hear a pitch.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 1 or sampling_rate < 2_000:
        raise ValueError(f"Need mono samples at 2,000 Hz or more; got shape {samples.shape} at {sampling_rate} Hz.")
    seconds = len(samples) / sampling_rate
    levels = frame_levels(samples, sampling_rate)
    active = _active(levels)
    if not active.any():
        return VoiceCues(seconds, None, None, None, None, None, None, None, 0)
    first, last = np.flatnonzero(active)[[0, -1]]
    pauses = [length for length in _silences(active[first : last + 1]) if length * HOP_SECONDS >= PAUSE_SECONDS]
    spoken = (last + 1 - first) * HOP_SECONDS
    pitch = pitch_track(samples, sampling_rate)[: len(levels)]
    voiced = np.zeros(len(levels), dtype=bool)
    voiced[: len(pitch)] = np.isfinite(pitch)
    heard = pitch[voiced[: len(pitch)] & active[: len(pitch)]]
    loud = levels[active]
    syllables = _count_syllables(levels, active, voiced)
    speaking = spoken - sum(pauses) * HOP_SECONDS
    return VoiceCues(
        seconds=seconds,
        pitch_hz=float(np.median(heard)) if len(heard) else None,
        pitch_range_semitones=float(np.ptp(12 * np.log2(np.percentile(heard, (5, 95))))) if len(heard) else None,
        loudness_db=float(10 * np.log10(np.mean(10 ** (loud / 10)))),
        loudness_range_db=float(np.subtract(*np.percentile(loud, (90, 10)))),
        syllables_per_second=syllables / speaking if syllables else None,
        words_per_second=words / spoken if words is not None else None,
        pause_share=sum(pauses) * HOP_SECONDS / spoken,
        pauses=len(pauses),
    )


def describe_cues(cues: VoiceCues) -> str:
    """The measures in plain words: "pitch 212 Hz, range 7 semitones; -23 dB; 3.9 syllables/s; 18% pauses"."""
    if cues.loudness_db is None or cues.pause_share is None:
        return "no voice: the clip is silent"
    parts = []
    if cues.pitch_hz is not None:
        parts.append(f"pitch {cues.pitch_hz:.0f} Hz, range {cues.pitch_range_semitones:.0f} semitones")
    else:
        parts.append("no pitch (whispered, or not a voice)")
    parts.append(f"loudness {cues.loudness_db:.0f} dB")
    if cues.words_per_second is not None:
        parts.append(f"{cues.words_per_second:.1f} words/s")
    elif cues.syllables_per_second is not None:
        parts.append(f"{cues.syllables_per_second:.1f} syllables/s")
    parts.append(f"{100 * cues.pause_share:.0f}% pauses")
    return "; ".join(parts)


def pitch_track(samples: np.ndarray, sampling_rate: int = 16_000) -> np.ndarray:
    """Fundamental frequency every 10 ms by YIN (de Cheveigne & Kawahara, 2002), NaN where there is none.

    Args:
        samples: mono, `[samples]`.
        sampling_rate: in Hz.

    Returns:
        Hz, `[frames]`; leaps of an octave that last a moment only are put right.
    """
    samples = np.asarray(samples, dtype=np.float64)
    longest = int(sampling_rate / LOWEST_PITCH) + 1
    shortest = max(2, int(sampling_rate / HIGHEST_PITCH))
    window = 3 * longest // 2
    pitch = [
        _yin(frames, window, shortest, longest, sampling_rate)
        for frames in frames_of(samples, window + longest, round(HOP_SECONDS * sampling_rate))
    ]
    return _mend_octaves(np.concatenate(pitch)) if pitch else np.empty(0)


def _yin(frames: np.ndarray, window: int, shortest: int, longest: int, rate: int) -> np.ndarray:
    """Pitch of each frame `[frames, window + longest]`, from its least aperiodic lag."""
    frames = frames - frames.mean(axis=1, keepdims=True)
    size = 1 << int(np.ceil(np.log2(frames.shape[1] + window)))
    spectrum = np.fft.rfft(frames, size)
    head = np.fft.rfft(frames[:, :window], size)
    correlation = np.fft.irfft(spectrum * head.conj(), size)[:, : longest + 1]
    energy = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    energy = energy[:, window : window + longest + 1] - energy[:, : longest + 1]
    difference = np.maximum(energy[:, :1] + energy - 2 * correlation, 0)
    lags = np.arange(1, longest + 1)
    means = np.cumsum(difference[:, 1:], axis=1) / lags
    aperiodic = np.ones_like(difference)
    aperiodic[:, 1:] = difference[:, 1:] / np.maximum(means, _FAINT)
    best = np.array([_first_dip(row, shortest, longest) for row in aperiodic])
    rows = np.arange(len(frames))
    inner = np.clip(best, 1, longest - 1)
    before, here, after = aperiodic[rows, inner - 1], aperiodic[rows, inner], aperiodic[rows, inner + 1]
    curve = before - 2 * here + after
    shift = np.where(np.abs(curve) > _FAINT, (before - after) / (2 * np.where(curve == 0, 1, curve)), 0)
    pitch = rate / (inner + np.clip(shift, -0.5, 0.5))
    silent = energy[:, 0] / window < 10 ** (ACTIVE_DB / 10)
    return np.where((aperiodic[rows, inner] < APERIODICITY) & ~silent, pitch, np.nan)


def _first_dip(row: np.ndarray, shortest: int, longest: int) -> int:
    """The first lag whose aperiodicity falls under the threshold, followed down to its minimum; else the least."""
    below = np.flatnonzero(row[shortest:longest] < CLEAR_DIP)
    if not len(below):
        return shortest + int(np.argmin(row[shortest:longest]))
    lag = shortest + int(below[0])
    while lag + 1 < longest and row[lag + 1] < row[lag]:
        lag += 1
    return lag


def _mend_octaves(pitch: np.ndarray) -> np.ndarray:
    """Pitch with frames that stand an octave from their neighbours put right: no voice leaps so for a moment."""
    voiced = np.flatnonzero(np.isfinite(pitch))
    if len(voiced) < _NEIGHBOURS:
        return pitch
    values = np.log2(pitch[voiced])
    padded = np.pad(values, _NEIGHBOURS // 2, mode="reflect")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, _NEIGHBOURS), axis=1)
    leaps = np.where(np.abs(values - around) > OCTAVE_LEAP, np.round(values - around), 0)
    mended = pitch.copy()
    mended[voiced] = 2 ** (values - leaps)
    return mended


def frames_of(samples: np.ndarray, size: int, hop: int) -> Iterator[np.ndarray]:
    """Overlapping frames `[some, size]`, centred every `hop` samples, a few thousand at once."""
    if not len(samples):
        return
    padded = np.pad(samples, (size // 2, size))
    count = -(-len(samples) // hop)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:count]
    for start in range(0, count, _FRAMES_AT_ONCE):
        yield windows[start : start + _FRAMES_AT_ONCE]


def frame_levels(samples: np.ndarray, rate: int) -> np.ndarray:
    """Level in dB of full scale every 10 ms."""
    size, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    power = [np.mean(frames**2, axis=1) for frames in frames_of(samples, size, hop)]
    return 10 * np.log10(np.concatenate(power) + _FAINT) if power else np.empty(0)


def _active(levels: np.ndarray) -> np.ndarray:
    if not len(levels):
        return np.zeros(0, dtype=bool)
    return levels > max(np.percentile(levels, 95) - ACTIVE_BELOW_PEAK_DB, ACTIVE_DB)


def _silences(active: np.ndarray) -> np.ndarray:
    """Lengths of the runs of silence, in frames."""
    edges = np.diff(np.concatenate([[1], active.astype(int), [1]]))
    return np.flatnonzero(edges == 1) - np.flatnonzero(edges == -1)


def _count_syllables(levels: np.ndarray, active: np.ndarray, voiced: np.ndarray) -> int:
    """Peaks of the smoothed level that are voiced, and set off from the last one by a dip."""
    radius = max(1, round(3 * SMOOTHING_SECONDS / HOP_SECONDS))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) * HOP_SECONDS / SMOOTHING_SECONDS) ** 2)
    padded = np.pad(np.maximum(levels, levels.max() - 2 * ACTIVE_BELOW_PEAK_DB), radius, mode="edge")
    smooth = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    count, valley, peak, peak_at = 0, smooth[0], smooth[0], 0
    rising = True
    for index, level in enumerate(np.append(smooth, -np.inf)):
        if rising:
            if level > peak:
                peak, peak_at = level, index
            elif peak - level >= SYLLABLE_DIP_DB:
                enough = peak - valley >= SYLLABLE_DIP_DB or count == 0
                count += bool(enough and active[peak_at] and voiced[max(0, peak_at - 4) : peak_at + 5].any())
                rising, valley = False, level
        elif level < valley:
            valley = level
        elif level - valley >= SYLLABLE_DIP_DB:
            rising, peak, peak_at = True, level, index
    return count


__all__ = ["VoiceCues", "describe_cues", "pitch_track", "voice_cues"]
