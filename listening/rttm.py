"""Who speaks when, as diarisation tools write it: RTTM (NIST, Rich Transcription 2009, appendix A)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


KINDS = (
    *("SPEAKER", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "IP", "CB", "A/P", "SU", "NOSCORE"),
    *("NO_RT_METADATA", "NOTSCORED", "SEGMENT", "SPKR-INFO"),
)
FORM = "SPEAKER FILE CHANNEL START SECONDS <NA> <NA> NAME <NA> <NA>"


class RttmError(ValueError):
    """A line that is none of RTTM, or a file that speaks of other recordings; names file and line."""


@dataclass(frozen=True)
class SpeakerTurn:
    """A stretch of a recording in which somebody speaks; in seconds, with the line that says so."""

    start: float
    end: float
    speaker: str
    where: str


def read_rttm(path: str | Path, recording: str) -> list[SpeakerTurn]:
    """The turns of a recording, by start.

    Args:
        path: RTTM in UTF-8.
        recording: its name in the file: that of its audio without suffix. A file of one recording is taken whatever
            its name there.

    Raises:
        RttmError: for a line of another form, or if of several recordings none has that name.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    turns: dict[str, list[SpeakerTurn]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        if not words or line.startswith(";;"):
            continue
        where = f"{path}, line {number}"
        if words[0] not in KINDS:
            raise RttmError(f"{where}: is no line of RTTM, as {FORM}; it begins with {words[0][:40]!r}.")
        if words[0] == "SPEAKER":
            turns.setdefault(words[1] if len(words) > 1 else "", []).append(_turn(words, where))
    if not turns:
        raise RttmError(f"{path}: holds no line {FORM}.")
    if recording not in turns and len(turns) > 1:
        raise RttmError(
            f"{path}: none of its {len(turns)} recordings is called {recording!r} (first: {next(iter(turns))!r})."
        )
    found = turns[recording] if recording in turns else next(iter(turns.values()))
    return sorted(found, key=lambda turn: (turn.start, turn.end))


def _turn(words: list[str], where: str) -> SpeakerTurn:
    if len(words) < 8:
        raise RttmError(f"{where}: has {len(words)} fields, not at least 8 of {FORM}.")
    try:
        start, seconds = float(words[3]), float(words[4])
    except ValueError:
        start = seconds = math.nan
    if not (math.isfinite(start) and math.isfinite(seconds) and start >= 0 and seconds > 0):
        raise RttmError(
            f"{where}: START and SECONDS must be numbers, SECONDS above 0; got {words[3][:20]!r}, {words[4][:20]!r}."
        )
    return SpeakerTurn(start, start + seconds, words[7], where)
