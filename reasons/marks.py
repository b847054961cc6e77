"""A reviewer's accept and reject marks, as the audit page saves them, taken up by the next extraction."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checks import clean_answer, one_line
from .extract import ACCEPTED, ASIDE, REOPENED, Attempts
from .rows import TEACHER_TARGETS, Input


ACCEPT, REJECT = "accept", "reject"


class MarksError(ValueError):
    """A file of marks that can't be used; names the file, the mark and what to do."""


@dataclass(frozen=True)
class Mark:
    """What a reviewer says of one answer.

    Args:
        id: key of the job.
        mark: `accept` or `reject`.
        answer: the text that was judged; a newer answer is not touched by the mark.
        note: why, in the reviewer's words.
        provenance: of the answer.
    """

    id: str
    mark: str
    answer: str
    note: str = ""
    provenance: dict[str, Any] | None = None


def read_marks(path: str | Path) -> list[Mark]:
    """Read a file of marks.

    Raises:
        MarksError: if it is no such file.
    """
    path = Path(path)
    try:
        listed = json.loads(path.read_text(encoding="utf-8-sig"))["marks"]
    except FileNotFoundError as error:
        raise MarksError(f"{path}: no such file of marks.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MarksError(f"{path}: is no file of marks ({error}); save it from the audit page.") from error
    if not isinstance(listed, list):
        raise MarksError(f"{path}: `marks` must be a list; save the file from the audit page.")
    return [_mark(entry, f"{path}, mark {number}") for number, entry in enumerate(listed, 1)]


def _mark(entry: Any, where: str) -> Mark:
    if not isinstance(entry, dict):
        raise MarksError(f"{where}: is not an object.")
    for field in ("id", "mark", "answer"):
        if not isinstance(entry.get(field), str):
            raise MarksError(f"{where}: field {field!r} is missing.")
    if entry["mark"] not in (ACCEPT, REJECT):
        raise MarksError(f"{where}: mark {entry['mark']!r} is neither {ACCEPT} nor {REJECT}.")
    provenance = entry.get("provenance")
    if provenance is not None and not isinstance(provenance, dict):
        raise MarksError(f"{where}: field 'provenance' is not an object.")
    answer, note = (one_line(clean_answer(str(entry.get(field) or ""))) for field in ("answer", "note"))
    return Mark(entry["id"], entry["mark"], answer, note, provenance)


def apply_marks(marks: list[Mark], attempts: Attempts, source: Input, set_aside: bool = False) -> Counter:
    """Write marks into the journal, where they stay.

    Args:
        marks: of a reviewer. Those of rows that have changed since, or are not in the source, are left out.
        attempts: the journal.
        source: the rows.
        set_aside: set rejected answers aside, where they are otherwise asked again.

    Returns:
        How many answers were `kept`, `reopened`, set `aside`, `known` already, and how many marks are `stale`.
    """
    by_key = {mark.id: mark for mark in marks}
    done: Counter = Counter()
    for job in source.jobs(TEACHER_TARGETS):
        mark = by_key.pop(job.key, None)
        if mark is None:
            continue
        entry = attempts.entry(job.key) or {}
        same = entry.get("text") == mark.answer
        about = {"id": job.key, "row": job.row["id"], "target": job.target}
        about |= {"task": job.row["task"], "label": job.row["label"]}
        asked = entry.get("asked", 0)
        if mark.mark == ACCEPT:
            if same and entry.get("reviewed") == ACCEPT:
                done["known"] += 1
                continue
            provenance = entry.get("provenance") if same else mark.provenance
            kept = about | {"state": ACCEPTED, "asked": max(asked, 1), "text": mark.answer, "reviewed": ACCEPT}
            kept |= {"faults": entry.get("faults", []), "provenance": (provenance or {}) | {"reviewed": True}}
            attempts.journal.append(kept)
            done["kept"] += 1
        elif same and entry["state"] == ACCEPTED:
            faults = [*entry.get("faults", []), [{"code": "reviewer", "detail": mark.note}]]
            state = ASIDE if set_aside else REOPENED
            turned_down = [*entry.get("turned_down", []), mark.answer]
            about |= {"state": state, "asked": asked, "since": asked, "faults": faults, "turned_down": turned_down}
            attempts.journal.append(about)
            done["aside" if set_aside else "reopened"] += 1
        else:
            done["known" if mark.answer in entry.get("turned_down", []) else "stale"] += 1
    done["stale"] += len(by_key)
    return done
