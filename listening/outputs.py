"""What was heard in the forms of those who go on with it: JSON lines, CSV, Praat's TextGrid, WebVTT."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole
from ..modeling_audiollm.voice_cues import VoiceCues, describe_cues
from .listener import Heard


COLUMNS = ("start", "end", "speaker", "label", "score", "transcript", "reasoning", "quotes", "cues", "error")
SILENT = "somebody"  # a tier needs a name where speakers are not told apart


def write_outputs(heard: Heard, out: str | Path) -> list[Path]:
    """Write `segments.jsonl`, `.csv`, `.TextGrid` and `.vtt` into a folder; gives their paths."""
    paths = []
    for suffix, form in FORMS.items():
        paths.append(Path(out) / f"segments.{suffix}")
        write_whole(paths[-1], form(heard).encode("utf-8", "backslashreplace"))
    return paths


def as_json(heard: Heard) -> str:
    """A row a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in heard.rows)


def as_csv(heard: Heard) -> str:
    """A table with a line for each segment; quotes are parted by ` | `, cues are in words."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in heard.rows:
        shown = {
            **row,
            "quotes": " | ".join(quote["text"] for quote in row["quotes"] or ()),
            "cues": in_words(row["cues"]),
        }
        writer.writerow([shown[column] for column in COLUMNS])
    return file.getvalue()


def as_text_grid(heard: Heard) -> str:
    """Praat's text format: for each speaker a tier of words and one of labels, which cover the whole recording.

    Of segments of one speaker that overlap, the later one begins where the earlier one ends.
    """
    end = max([heard.seconds, 0.001, *(row["end"] for row in heard.rows)])
    speakers = list(dict.fromkeys(row["speaker"] for row in heard.rows)) or [None]
    tiers = []
    for speaker in speakers:
        rows = [row for row in heard.rows if row["speaker"] == speaker]
        for field, name in (("transcript", "words"), ("label", "label")):
            tiers.append((f"{speaker or SILENT}: {name}", _intervals(rows, field, end)))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers, 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_praat(name)}"]
        lines += ["        xmin = 0", f"        xmax = {end:.3f}", f"        intervals: size = {len(intervals)}"]
        for place, (start, stop, text) in enumerate(intervals, 1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start:.3f}",
                f"            xmax = {stop:.3f}",
            ]
            lines += [f"            text = {_praat(text)}"]
    return "\n".join(lines) + "\n"


def _intervals(rows: Sequence[dict[str, Any]], field: str, end: float) -> list[tuple[float, float, str]]:
    intervals, at = [], 0.0
    for row in rows:
        start, stop = max(row["start"], at), row["end"]
        if round(stop - start, 3) <= 0:
            continue
        if round(start - at, 3) > 0:
            intervals.append((at, start, ""))
        intervals.append((start, stop, row[field] or ""))
        at = stop
    return intervals + ([(at, end, "")] if round(end - at, 3) > 0 else [])


def _praat(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', '""') + '"'


def as_vtt(heard: Heard) -> str:
    """Subtitles: who, how they feel, and what they say."""
    cues = []
    for number, row in enumerate(heard.rows, 1):
        voice = f"<v {_plain(row['speaker'])}>" if row["speaker"] else ""
        label = f"[{_plain(row['label'])}] " if row["label"] else ""
        said = _plain(row["transcript"] or "") or "..."
        cues.append(f"{number}\n{_clock(row['start'])} --> {_clock(row['end'])}\n{voice}{label}{said}\n")
    return "\n".join(["WEBVTT\n", *cues])


def _plain(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False)


def _clock(seconds: float) -> str:
    thousandths = round(1000 * seconds)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def in_words(cues: dict[str, Any] | None) -> str:
    """Measures of a voice in words."""
    return describe_cues(VoiceCues(**cues)) if cues else ""


FORMS: dict[str, Callable[[Heard], str]] = {
    "jsonl": as_json,
    "csv": as_csv,
    "TextGrid": as_text_grid,
    "vtt": as_vtt,
}
