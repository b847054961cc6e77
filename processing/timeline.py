"""Emotion over time in long recordings, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from .audio import OVER_FULL_SCALE, AudioError, open_audio, resampled


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


def _windows(audio: Any, sampling_rate: int, length: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Windows of `length` samples at 16 kHz with their starts; the last ends with the recording, heard in full."""
    held, first, start = np.zeros(0, np.float32), 0, 0  # `held` begins at sample `first`
    with open_audio(audio, sampling_rate) as clip:
        for block in resampled(
            (within_scale(block, clip.source).mean(axis=1) for block in clip.blocks()), clip.rate, SAMPLING_RATE
        ):
            held = np.concatenate([held, block])
            while start + length < first + len(held):
                yield start, held[start - first :][:length]
                start += hop
            unused = min(start, first + len(held) - length) - first
            if unused > 0:
                held, first = held[unused:], first + unused
    start = max(first + len(held) - length, 0)
    yield start, held[start - first :]


def within_scale(block: np.ndarray, source: str) -> np.ndarray:
    """A block of a recording that is read in blocks, whose samples must be from -1 to 1.

    Raises:
        AudioError: if they go far beyond.
    """
    if np.abs(block).max(initial=0.0) > OVER_FULL_SCALE:  # of what scale they are is known at the end only
        raise AudioError(source, "its samples go far beyond full scale; save it with samples from -1 to 1.")
    return block


@torch.inference_mode()
def emotion_windows(
    model: PreTrainedModel,
    audio: Any,
    window: float = 3.0,
    hop: float = 1.0,
    batch_size: int = 8,
    sampling_rate: int = SAMPLING_RATE,
) -> Iterator[EmotionSegment]:
    """Classify overlapping windows of a recording, one after the other.

    Args:
        model: an `Emotion2VecForAudioClassification`, or another classifier of raw 16 kHz audio that needs no
            normalised input.
        audio: anything that [`load_audio`] takes, of any rate, length and number of channels.
        window: seconds that the model hears at once; at least 0.025.
        hop: seconds from one window to the next, at most `window`, so that nothing goes unheard.
        batch_size: windows per forward pass.
        sampling_rate: rate of a bare array, in Hz; a file knows its own.

    Yields:
        a segment per window, from its first to its last second. Only `batch_size` windows are in memory.

    Raises:
        ValueError: if hop or window are out of range.
        AudioError: if the audio can't be used; where it is cut off or damaged, when that is reached.
    """
    if not 0 < hop <= window or window < 0.025:
        raise ValueError(f"Need 0 < hop <= window and window >= 0.025 s; got hop {hop} and window {window}.")
    labels = {index: name for index, name in (model.config.id2label or {}).items() if not name.startswith("unuse")}
    windows = _windows(audio, sampling_rate, round(window * SAMPLING_RATE), max(round(hop * SAMPLING_RATE), 1))
    while batch := list(islice(windows, batch_size)):
        clips = torch.from_numpy(np.stack([samples for _, samples in batch]))
        logits = model(clips.to(model.device, model.dtype)).logits
        for (first, samples), scores in zip(batch, logits.float().softmax(-1).tolist()):
            named = {name: scores[index] for index, name in labels.items()}
            best = max(named, key=lambda name: named[name])
            end = first + len(samples)
            yield EmotionSegment(first / SAMPLING_RATE, end / SAMPLING_RATE, best, named[best], named)


def emotion_timeline(
    model: PreTrainedModel,
    audio: Any,
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
    if label is not None:
        yield _mean_segment(start, end, label, total, count)


def _mean_segment(start: float, end: float, label: str, total: dict[str, float], count: int) -> EmotionSegment:
    scores = {name: score / count for name, score in total.items()}
    return EmotionSegment(start, end, label, scores[label], scores)
