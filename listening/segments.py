"""A recording of any length in segments of speech, read block by block in constant memory."""

from __future__ import annotations

import heapq
import math
import warnings
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..processing.audio import AudioError, open_audio, resampled
from ..processing.timeline import within_scale
from .rttm import SpeakerTurn


RATE = 16_000
PEAKS_PER_SECOND = 10
# Of silero-vad: its chunk at 16 kHz, and the values that its authors recommend but for the silence, which joins words
# of one breath.
CHUNK, THRESHOLD, SILENCE_MS, PAD_MS = 512, 0.5, 300, 30
SHORTEST_SECONDS = 0.25
QUIET_SECONDS = 0.1


@dataclass(frozen=True)
class Segment:
    """A stretch of speech.

    Args:
        start, end: in seconds.
        speaker: channel, or name in an RTTM; None where nobody is told apart.
        samples: mono, 16 kHz.
    """

    start: float
    end: float
    speaker: str | None
    samples: np.ndarray = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        return f"{round(1000 * self.start):09d}-{round(1000 * self.end):09d}-{self.speaker or ''}"


class Recording:
    """A recording that is read once by each of its tracks; what ends the reading early is kept, not raised.

    Args:
        audio: a path, or what else [`open_audio`] takes and can be opened again.
        longest: seconds of a segment, at most; longer ones are cut where they are quiet.

    Attributes:
        seconds: that were read.
        fault: what is wrong with the file after those, if anything is.
        problems: of an RTTM, line by line.
        peaks: for each track, ten times a second the highest level, 0 to 1.
    """

    def __init__(self, audio: Any, longest: float):
        self.audio, self.longest = audio, longest
        self.seconds, self.fault = 0.0, None
        self.problems: list[str] = []
        self.peaks: dict[str | None, array] = {}
        with open_audio(audio, RATE, whole=False) as clip:
            self.channels, self.promised = clip.by_channel().channels, clip.seconds

    def by_voice(self, by_channel: bool = False) -> Iterator[Segment]:
        """Segments by voice activity, by their end.

        Args:
            by_channel: each channel is a speaker (a call, one side on each); else all are mixed.
        """
        if not by_channel:
            return _spoken(self._samples(None, None), None, self.longest)
        tracks = [(number, f"channel {number + 1}") for number in range(self.channels)]
        spoken = (_spoken(self._samples(number, name), name, self.longest) for number, name in tracks)
        return heapq.merge(*spoken, key=lambda segment: segment.end)

    def by_turns(self, turns: Sequence[SpeakerTurn]) -> Iterator[Segment]:
        """Segments as an RTTM tells them, by their end; what lies after the recording becomes a problem."""
        waiting = sorted((part for turn in turns for part in _parts(turn, self.longest)), key=lambda turn: turn.end)
        held, first = np.zeros(0, np.float32), 0
        for block in self._samples(None, None):
            held = np.concatenate([held, block])
            heard = first + len(held)
            while waiting and waiting[0].end * RATE <= heard:
                yield _cut(waiting.pop(0), held, first)
            # The next one to end is not the next one to begin; no part is longer than `longest`.
            begin = min((round(turn.start * RATE) for turn in waiting), default=heard)
            unused = max(0, min(begin, heard) - first)
            held, first = held[unused:], first + unused
        for turn in waiting:
            missing = turn.end - self.seconds
            if turn.start + SHORTEST_SECONDS <= self.seconds:
                yield _cut(turn, held, first)
            if missing > QUIET_SECONDS:
                self.problems.append(
                    f"{turn.where}: ends at {turn.end:.2f} s, {missing:.2f} s after what was read of the recording."
                )

    def _samples(self, channel: int | None, name: str | None) -> Iterator[np.ndarray]:
        peaks = self.peaks[name] = array("f")
        rest = np.zeros(0, np.float32)
        step, heard = RATE // PEAKS_PER_SECOND, 0
        try:
            with open_audio(self.audio, RATE, whole=False) as opened:
                clip = opened if channel is None else opened.by_channel()
                checked = (within_scale(block, clip.source) for block in clip.blocks())
                one = (block.mean(axis=1) if channel is None else block[:, channel] for block in checked)
                for block in resampled(one, clip.rate, RATE):
                    rest = np.concatenate([rest, np.abs(block)])
                    whole = len(rest) // step * step
                    peaks.extend(rest[:whole].reshape(-1, step).max(axis=1).tolist() if whole else ())
                    rest, heard = rest[whole:], heard + len(block)
                    self.seconds = max(self.seconds, heard / RATE)
                    yield block
        except AudioError as error:
            self.fault = error


def _cut(turn: SpeakerTurn, held: np.ndarray, first: int) -> Segment:
    start = round(turn.start * RATE)
    samples = held[max(start - first, 0) : round(turn.end * RATE) - first]
    return Segment(turn.start, turn.start + len(samples) / RATE, turn.speaker, samples)


def _parts(turn: SpeakerTurn, longest: float) -> list[SpeakerTurn]:
    """A turn in equal parts that are no longer than the longest segment."""
    count = math.ceil((turn.end - turn.start) / longest)
    edges = np.linspace(turn.start, turn.end, count + 1).tolist()
    return [SpeakerTurn(start, end, turn.speaker, turn.where) for start, end in zip(edges, edges[1:])]


def _spoken(blocks: Iterator[np.ndarray], speaker: str | None, longest: float) -> Iterator[Segment]:
    voice = _voice_iterator()
    # `held` begins at sample `first`; up to `fed` the voice was looked for.
    held, first, fed = np.zeros(0, np.float32), 0, 0
    start: int | None = None

    def segment(begin: int, end: int) -> Iterator[Segment]:
        if end - begin >= SHORTEST_SECONDS * RATE:
            yield Segment(begin / RATE, end / RATE, speaker, held[begin - first : end - first].copy())

    for block in blocks:
        held = np.concatenate([held, block])
        while fed + CHUNK <= first + len(held):
            event = voice(torch.from_numpy(held[fed - first :][:CHUNK])) or {}
            fed += CHUNK
            if "start" in event:
                start = max(event["start"], first)
            elif "end" in event and start is not None:
                yield from segment(start, min(event["end"], fed))
                start = None
            elif start is not None and fed - start >= longest * RATE:
                end = _quiet_place(held[start - first : fed - first]) + start
                yield from segment(start, end)
                start = end
        kept = (fed if start is None else start) - 2 * CHUNK  # a start is told a chunk and a pad late
        unused = max(0, kept - first)
        held, first = held[unused:], first + unused
    if start is not None:
        yield from segment(start, first + len(held))


def _quiet_place(samples: np.ndarray) -> int:
    """The middle of the quietest tenth of a second in the last third."""
    size = round(QUIET_SECONDS * RATE)
    begin = len(samples) * 2 // 3
    count = (len(samples) - begin) // size
    power = (samples[begin : begin + count * size].reshape(count, size) ** 2).mean(axis=1)
    return begin + int(power.argmin()) * size + size // 2


def _voice_iterator() -> Any:
    """A detector of its own for each track, for it keeps a state."""
    threads = torch.get_num_threads()
    try:
        from silero_vad import VADIterator, load_silero_vad
    finally:
        torch.set_num_threads(threads)  # importing it sets one thread for the whole process
    with warnings.catch_warnings():
        # Torch would rather load another format than the package brings.
        warnings.simplefilter("ignore", FutureWarning)
        model = load_silero_vad()
    return VADIterator(model, THRESHOLD, RATE, SILENCE_MS, PAD_MS)


def recording_name(audio: Any) -> str:
    """What a recording is called: its file without suffix."""
    return Path(audio).stem if isinstance(audio, (str, Path)) else "recording"
