"""Is what an explanation says of the voice borne out by the clip? Measured, without a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import datasets
import evaluate

from audiollm.processing.audio import load_audio
from audiollm.voice_claims.claims import CueClaims, check_cues
from audiollm.voice_claims.measures import measure_clip
from audiollm.voice_claims.norms import norms_by_speaker


_DESCRIPTION = """
Claims about the voice in explanations ("low and slow", "a raised voice"), read by a lexicon and checked against the
pitch, pitch range, loudness, rate and pauses of the recording, beside what is usual for its speaker (for the corpus,
where the speaker is unknown or has fewer than five recordings). What no measure decides ("trembling", "warm") counts
as claimed, not as checkable. Loudness is that of the file: gain that was changed after recording changes it too.
"""

_INPUTS = """
Args:
    predictions (list of str): explanations.
    references (list of str): recordings, as paths. Give all of a corpus: the usual voice is their median.
    transcripts (list of str): what is said in each; the speaking rate is surer with them.
    speakers (list of str): of each recording; None where unknown.
Returns:
    cues_true: claims that the recording bears out, in percent of those that can be checked.
    cues_checkable: claims that can be checked, in percent of the claims.
    cues_claiming: explanations that claim anything of the voice, in percent.
    n_claims, n_claims_checkable, n_claims_true: counts; n: explanations.
Example:
    >>> cue = evaluate.load("eval/cue_score")
    >>> cue.compute(predictions=["Sad: the voice is low."], references=["clip.wav"])  # doctest: +SKIP
"""

_CITATION = """
@article{decheveigne2002yin,
    title = {{YIN}, a fundamental frequency estimator for speech and music},
    author = {de Cheveign\'e, Alain and Kawahara, Hideki},
    journal = {The Journal of the Acoustical Society of America},
    year = {2002}
}
"""


class CueScore(evaluate.Metric):
    """Claims about the voice, checked, as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        transcripts: list[str | None] | None = None,
        speakers: list[str | None] | None = None,
    ) -> dict:
        said = dict(zip(references, transcripts or [None] * len(references), strict=True))
        speaker = dict(zip(references, speakers or [None] * len(references), strict=True))
        clips = {path: measure_clip(load_audio(path, 16_000), transcript=text) for path, text in said.items()}
        norms = dict(zip(clips, norms_by_speaker(list(clips.values()), [speaker[path] for path in clips])))
        return cue_figures([check_cues(text, clips[path], norms[path]) for text, path in zip(predictions, references)])


def cue_figures(checked: Sequence[CueClaims]) -> dict:
    """Figures over explanations, as described for the module."""
    claimed, checkable, true = (sum(getattr(one, name) for one in checked) for name in CueClaims.__annotations__)
    return {
        "cues_true": _percent(true, checkable),
        "cues_checkable": _percent(checkable, claimed),
        "cues_claiming": _percent(sum(one.claimed > 0 for one in checked), len(checked)),
        "n_claims": claimed,
        "n_claims_checkable": checkable,
        "n_claims_true": true,
    }


def counts_of(lines: Sequence[Mapping]) -> CueClaims:
    """Counts of the claims of one explanation, from their lines in a run's `claims.jsonl`."""
    return CueClaims(len(lines), sum(line["true"] is not None for line in lines), sum(bool(x["true"]) for x in lines))


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
