# Flat like its neighbours, which travel to the Hub: imports of its own folder only, relative and one level deep.
"""Emotion over time in long recordings, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from transformers import PreTrainedModel


SAMPLING_RATE = 16_000


@dataclass
class EmotionSegment:
    """A stretch of a recording with one label.

    Attributes:
        start, end: seconds.
        label: the likeliest label.
        score: its probability, 0 to 1.
        scores: probability of every label.
    """

    start: float
    end: float
    label: str
    score: float
    scores: dict[str, float]


@contextmanager
def _open(audio: str | os.PathLike | np.ndarray, sampling_rate: int) -> Iterator[tuple[Callable, int, int]]:
    """A function `(start, stop) -> samples` over a file or an array, its number of samples, and their rate."""
    if not isinstance(audio, (str, os.PathLike)):
        samples = np.asarray(audio, dtype=np.float32)
        if samples.ndim != 1:
            raise ValueError(f"An array of audio must be mono, [samples], not {list(samples.shape)}.")
        yield lambda start, stop: samples[start:stop], len(samples), sampling_rate
        return

    import soundfile

    with soundfile.SoundFile(os.fspath(audio)) as file:

        def read(start: int, stop: int) -> np.ndarray:
            file.seek(start)
            return file.read(stop - start, dtype="float32", always_2d=True).mean(axis=1)

        yield read, file.frames, file.samplerate


def _resample(samples: np.ndarray, rate: int) -> torch.Tensor:
    clip = torch.from_numpy(np.ascontiguousarray(samples))
    if rate == SAMPLING_RATE:
        return clip
    import torchaudio

    return torchaudio.functional.resample(clip, rate, SAMPLING_RATE)


def _starts(total: int, window: int, hop: int) -> Iterator[int]:
    """First samples of the windows; the last one ends with the recording, so that each is heard in full."""
    start = 0
    while start + window < total:
        yield start
        start += hop
    yield max(total - window, 0)


@torch.inference_mode()
def emotion_windows(
    model: PreTrainedModel,
    audio: str | os.PathLike | np.ndarray,
    window: float = 3.0,
    hop: float = 1.0,
    batch_size: int = 8,
    sampling_rate: int = SAMPLING_RATE,
) -> Iterator[EmotionSegment]:
    """Classify overlapping windows of a recording, one after the other.

    Args:
        model: an `Emotion2VecForAudioClassification`, or another classifier of raw 16 kHz audio that needs no
            normalised input.
        audio: path of a file that soundfile reads, of any rate and number of channels, or an array `[samples]`.
        window: seconds that the model hears at once; at least 0.025.
        hop: seconds from one window to the next, at most `window`, so that nothing goes unheard.
        batch_size: windows per forward pass.
        sampling_rate: rate of an array, in Hz; a file knows its own.

    Yields:
        a segment per window, from its first to its last second. Only `batch_size` windows are in memory.

    Raises:
        ValueError: if hop or window are out of range, or an array is not mono.
    """
    if not 0 < hop <= window or window < 0.025:
        raise ValueError(f"Need 0 < hop <= window and window >= 0.025 s; got hop {hop} and window {window}.")
    labels = {index: name for index, name in model.config.id2label.items() if not name.startswith("unuse")}
    with _open(audio, sampling_rate) as (read, total, rate):
        length = round(window * rate)
        starts = _starts(total, length, max(round(hop * rate), 1))
        while batch := list(islice(starts, batch_size)):
            clips = [_resample(read(start, min(start + length, total)), rate) for start in batch]
            logits = model(torch.stack(clips).to(model.device, model.dtype)).logits
            for start, scores in zip(batch, logits.float().softmax(-1).tolist()):
                named = {name: scores[index] for index, name in labels.items()}
                best = max(named, key=named.get)
                yield EmotionSegment(start / rate, min(start + length, total) / rate, best, named[best], named)


def emotion_timeline(
    model: PreTrainedModel,
    audio: str | os.PathLike | np.ndarray,
    window: float = 3.0,
    hop: float = 1.0,
    batch_size: int = 8,
    sampling_rate: int = SAMPLING_RATE,
) -> Iterator[EmotionSegment]:
    """When which emotion is heard: segments without gaps or overlaps, from the start of a recording to its end.

    Each window speaks for its middle, up to half way to its neighbours'; neighbours of one label become one segment,
    with the mean of their scores. Arguments and errors are those of `emotion_windows`.

    Yields:
        the segments in order. Memory does not grow with the recording.
    """
    label, start, end, total, count = None, 0.0, 0.0, {}, 0
    middle = 0.0
    for heard in emotion_windows(model, audio, window, hop, batch_size, sampling_rate):
        border = (middle + (heard.start + heard.end) / 2) / 2
        middle, end = (heard.start + heard.end) / 2, heard.end
        if label is not None and heard.label != label:
            yield _mean_segment(start, border, label, total, count)
            start, total, count = border, {}, 0
        label = heard.label
        total = {name: total.get(name, 0.0) + score for name, score in heard.scores.items()}
        count += 1
    yield _mean_segment(start, end, label, total, count)


def _mean_segment(start: float, end: float, label: str, total: dict[str, float], count: int) -> EmotionSegment:
    scores = {name: score / count for name, score in total.items()}
    return EmotionSegment(start, end, label, scores[label], scores)
