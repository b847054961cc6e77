"""What is usual for a speaker or a corpus, beside which a clip counts as high, low, loud or slow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


# A speaker with fewer clips is compared with the corpus.
LEAST_CLIPS = 5
_ONE_SEMITONE = 1.0


@dataclass(frozen=True)
class Cue:
    """How a cue is measured.

    Args:
        measure: field of [`VoiceCues`](../modeling_audiollm/voice_cues.py).
        logarithmic: steps of an octave, in semitones, of what is measured; else its own unit.
        margin: least difference from the norm that counts, in that unit.
    """

    measure: str
    logarithmic: bool
    margin: float

    def place(self, cues: Mapping[str, float | None]) -> float | None:
        """Where a clip stands on the scale of the cue; None if it could not be measured."""
        value = cues.get(self.measure)
        if value is None or not math.isfinite(value) or (self.logarithmic and value <= 0):
            return None
        return 12 * math.log2(value) if self.logarithmic else float(value)


# Margins are above what listeners just notice: 1 dB of level, 5% of rate (Quene, 2007; 0.84 semitones of a ratio), and
# below the 3 semitones that change what a pitch movement means ('t Hart, 1981).
CUES = {
    "pitch": Cue("pitch_hz", True, _ONE_SEMITONE),
    "pitch_range": Cue("pitch_range_semitones", False, 1.0),
    "loudness": Cue("loudness_db", False, 1.5),
    "rate": Cue("syllables_per_second", True, _ONE_SEMITONE),
    "pauses": Cue("pause_share", False, 0.04),
}


@dataclass(frozen=True)
class Norms:
    """The usual voice of a speaker or a corpus.

    Args:
        usual: median of each cue over the clips, on the cue's scale; a cue that no clip has is left out.
        of: `speaker` or `corpus`.
        clips: how many it is the median of.
    """

    usual: Mapping[str, float]
    of: str = "corpus"
    clips: int = 0


def norms_of(clips: Sequence[Mapping[str, float | None]], of: str = "corpus") -> Norms:
    """The norms of some clips.

    Args:
        clips: measures of each clip once, by name as in `VoiceCues` (`dataclasses.asdict` gives them).
        of: whose they are.
    """
    usual = {}
    for name, cue in CUES.items():
        places = [place for clip in clips if (place := cue.place(clip)) is not None]
        if places:
            usual[name] = float(np.median(places))
    return Norms(usual, of, len(clips))


def norms_by_speaker(
    clips: Sequence[Mapping[str, float | None]], speakers: Sequence[Hashable | None], least: int = LEAST_CLIPS
) -> list[Norms]:
    """For each clip the norms of its speaker, or of all clips where the speaker is unknown or has too few.

    Args:
        clips: measures of each clip once.
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
