"""Claims about the voice in a run's explanations, checked against its recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..corpora.schema import EMOTION_TASKS
from ..language_models.journal import Journal
from ..processing.audio import AudioError, load_audio
from ..voice_claims.claims import find_claims
from ..voice_claims.measures import measure_clip
from ..voice_claims.norms import Norms, norms_by_speaker
from .rows import clip_of
from .systems import SAMPLING_RATE


def check_claims(rows: Sequence[dict], measures: Path, progress: bool = True) -> dict[str, list[dict[str, Any]]]:
    """What emotion and sentiment answers claim of the voice, each claim with whether it is true.

    Nothing is measured where nothing is claimed. Else every clip of these tasks is, once, since what is usual for a
    speaker is a median over clips.

    Args:
        rows: answered rows with `audio`.
        measures: file that keeps what was measured.
        progress: show a bar.

    Returns:
        By row id the claims: `words`, `cue`, `direction`, `denied`, `true` (None if it can't be checked) and `norms`
        (`speaker` or `corpus`).
    """
    rows = [row for row in rows if row["task"] in EMOTION_TASKS]
    found = {row["id"]: find_claims(row["prediction"]) for row in rows}
    if not any(found.values()):
        return {id_: [] for id_ in found}
    clips: dict[str, dict] = {}
    for row in rows:
        clips.setdefault(clip_of(row), row)
    measured = _measure(clips, measures, progress)
    heard = [name for name in clips if measured[name]["error"] is None]
    norms = norms_by_speaker([measured[name]["cues"] for name in heard], [clips[n].get("speaker") for n in heard])
    by_clip = dict(zip(heard, norms))
    checked = {}
    for row in rows:
        clip = clip_of(row)
        cues = measured[clip].get("cues") or {}
        checked[row["id"]] = [_line(claim, cues, by_clip.get(clip)) for claim in found[row["id"]]]
    return checked


def _line(claim: Any, cues: dict, norms: Norms | None) -> dict[str, Any]:
    return {**asdict(claim), "true": claim.holds(cues, norms), "norms": norms.of if norms else None}


def _measure(clips: dict[str, dict], path: Path, progress: bool) -> dict[str, dict]:
    """Measures of every clip by its name; a file knows them by the first row that asks about the clip."""
    measured = {}
    with Journal(path) as journal:
        for name, row in tqdm(clips.items(), unit="clip", desc="voice", disable=not progress):
            kept = journal.entries.get(row["id"])
            if kept is None or kept["error"] is not None or kept["transcript"] != row.get("transcript"):
                line = {"id": row["id"], "transcript": row.get("transcript"), "cues": None, "error": None}
                try:
                    samples = load_audio(row["audio"], SAMPLING_RATE)
                    line["cues"] = measure_clip(samples, SAMPLING_RATE, row.get("transcript"))
                except AudioError as error:
                    line["error"] = str(error)
                journal.append(line)
            measured[name] = journal.entries[row["id"]]
    return measured
