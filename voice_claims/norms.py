"""What is usual for a speaker or a corpus, beside which a clip counts as high, low, loud or slow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


# A speaker with fewer clips is compared with the corpus.
LEAST_CLIPS = 5


@dataclass(frozen=True)
class Cue:
    """How a cue is measured.

    Args:
        measures: names in what [`measure_clip`](measures.py) gives; the first that clip and norms both have counts.
        logarithmic: whether ratios count, in semitones (12 to a doubling); else differences in the measure's own unit.
        margin: least difference from the norm that counts, in that unit.
    """

    measures: tuple[str, ...]
    logarithmic: bool
    margin: float

    def place(self, clip: Mapping[str, float | None], measure: str) -> float | None:
        """Where a clip stands on the scale of the cue; None if it could not be measured."""
        value = clip.get(measure)
        if value is None or not math.isfinite(value) or (self.logarithmic and value <= 0):
            return None
        return 12 * math.log2(value) if self.logarithmic else float(value)

    def margins_off(self, clip: Mapping[str, float | None], usual: Mapping[str, float]) -> float | None:
        """How many margins a clip lies above the usual (below: negative); None if that can't be said."""
        for measure in self.measures:
            place = self.place(clip, measure)
            if place is not None and measure in usual:
                return (place - usual[measure]) / self.margin
        return None

    def compare(self, clip: Mapping[str, float | None], usual: Mapping[str, float]) -> str | None:
        """Whether a clip is `high`, `low` or in the `middle` beside the usual; None if that can't be said."""
        off = self.margins_off(clip, usual)
        return None if off is None else "high" if off >= 1 else "low" if off <= -1 else "middle"


# Margins are what listeners about notice or more: 5% of rate (Quene, 2007), 1 dB of level, and less than the 3
# semitones that change what a movement of pitch means ('t Hart, 1981).
CUES = {
    "pitch": Cue(("pitch_hz",), True, 1.0),
    "pitch_range": Cue(("pitch_range_semitones",), True, 1.0),
    "loudness": Cue(("loudness_db",), False, 1.5),
    "rate": Cue(("text_syllables_per_second", "syllables_per_second"), True, 0.84),
    "pauses": Cue(("pause_share",), False, 0.04),
}


@dataclass(frozen=True)
class Norms:
    """The usual voice of a speaker or a corpus.

    Args:
        usual: median of each measure over the clips, on the scale of its cue; one that no clip has is left out.
        of: `speaker` or `corpus`.
        clips: how many it is the median of.
    """

    usual: Mapping[str, float]
    of: str = "corpus"
    clips: int = 0


def norms_of(clips: Sequence[Mapping[str, float | None]], of: str = "corpus") -> Norms:
    """The norms of some clips.

    Args:
        clips: what [`measure_clip`](measures.py) gives of each clip, once.
        of: whose they are.
    """
    usual = {}
    for cue in CUES.values():
        for measure in cue.measures:
            places = [place for clip in clips if (place := cue.place(clip, measure)) is not None]
            if places:
                usual[measure] = float(np.median(places))
    return Norms(usual, of, len(clips))


def norms_by_speaker(
    clips: Sequence[Mapping[str, float | None]], speakers: Sequence[Hashable | None], least: int = LEAST_CLIPS
) -> list[Norms]:
    """For each clip the norms of its speaker, or of all clips where the speaker is unknown or has too few.

    Args:
        clips: what [`measure_clip`](measures.py) gives of each clip, once.
        speakers: of each clip; None where unknown.
        least: clips that a speaker needs.
    """
    grouped = defaultdict(list)
    for clip, speaker in zip(clips, speakers, strict=True):
        grouped[speaker].append(clip)
    everyone = norms_of(clips)
    own = {
        speaker: norms_of(some, "speaker")
        for speaker, some in grouped.items()
        if speaker not in (None, "") and len(some) >= least
    }
    return [own.get(speaker, everyone) for speaker in speakers]
