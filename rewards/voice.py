"""What an answer claims of a voice as a reward: true where the clip's own measures bear it out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ..processing.audio import load_audio
from ..training.clips import clip_key
from ..voice_claims.claims import check_cues
from ..voice_claims.measures import measure_clip
from ..voice_claims.norms import Norms, norms_by_speaker, norms_of
from .functions import Values, text_of


RATE = 16_000


class CuesTrue:
    """The share of an answer's claims about the voice ("low and slow") that hold beside what is usual for its speaker.

    An answer that claims nothing that can be measured is not judged: it is neither better nor worse than the others.

    Args:
        rows: to train on, by column; what is usual for a speaker is measured on them when a clip is first judged.
        norm_clips: of each speaker that are measured for that.
    """

    needs = ("audio",)

    def __init__(self, rows: Any, norm_clips: int = 20):
        if norm_clips < 1:
            raise ValueError(f"norm_clips is {norm_clips}; what is usual needs a clip to be measured on.")
        self.rows, self.norm_clips = rows, norm_clips
        self.measured: dict[Any, dict[str, Any]] = {}

    def __call__(
        self,
        completions: Sequence[Any],
        audio: Sequence[Any],
        speaker: Sequence[str | None],
        transcript: Sequence[str | None],
        **columns: Any,
    ) -> Values:
        """The shares for completions; None of those without a claim that can be checked."""
        values: Values = []
        for completion, clip, who, said in zip(completions, audio, speaker, transcript, strict=True):
            norms = self._usual.get(who, self._usual[None])
            claims = check_cues(text_of(completion), self._measures(clip, said), norms) if clip else None
            values.append(claims.true / claims.checkable if claims and claims.checkable else None)
        return values

    def _measures(self, clip: Any, transcript: str | None) -> dict[str, Any]:
        key = clip_key(clip)
        if key not in self.measured:
            self.measured[key] = measure_clip(load_audio(clip, RATE), RATE, transcript)
        return self.measured[key]

    @cached_property
    def _usual(self) -> dict[str | None, Norms]:
        """What is usual for each speaker, and under None for all."""
        chosen: dict[str | None, dict[Any, Any]] = {}
        columns = (self.rows[column] for column in ("audio", "speaker", "transcript"))
        for clip, who, said in zip(*columns, strict=True):
            known = chosen.setdefault(who, {})
            if len(known) < self.norm_clips:
                known.setdefault(str(clip), (clip, said))
        clips = [(who, self._measures(*clip)) for who, known in chosen.items() for clip in known.values()]
        speakers, measures = [who for who, _ in clips], [found for _, found in clips]
        return {**dict(zip(speakers, norms_by_speaker(measures, speakers))), None: norms_of(measures)}
