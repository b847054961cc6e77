"""What is measured of a clip to check claims about its voice."""

from __future__ import annotations

import re
from dataclasses import asdict

import numpy as np

from ..modeling_audiollm.voice_cues import voice_cues


_WORD = re.compile(r"[a-z\u00df-\u00ff]+(?:'[a-z]+)*")
_NUCLEUS = re.compile(r"[aeiouy\u00e0-\u00e6\u00e8-\u00ef\u00f2-\u00f6\u00f8-\u00fd]+")


def measure_clip(
    samples: np.ndarray, sampling_rate: int = 16_000, transcript: str | None = None
) -> dict[str, float | None]:
    """The measures of [`voice_cues`](../modeling_audiollm/voice_cues.py), and the rate of the text's syllables.

    Args:
        samples: mono, in [-1, 1], `[samples]`.
        sampling_rate: in Hz.
        transcript: what was said. With it the rate is that of the text's syllables, which is surer than counting
            them in the sound.
    """
    syllables = count_syllables(transcript or "")
    cues = asdict(voice_cues(samples, sampling_rate, words=syllables or None))
    rate = cues.pop("words_per_second")  # of the syllables, from the first sound to the last
    cues["text_syllables_per_second"] = None if rate is None else rate / (1 - cues["pause_share"])
    return cues


def count_syllables(text: str) -> int:
    """Syllables of a text in Latin letters, by its groups of vowels; 0 where it has other letters."""
    if any(character.isalpha() and character > "\u024f" for character in text):
        return 0
    count = 0
    for word in _WORD.findall(text.lower()):
        nuclei = len(_NUCLEUS.findall(word))
        silent = nuclei > 1 and word.endswith("e") and not word.endswith(("le", "ee"))
        count += max(1, nuclei - silent)
    return count
