"""One HTML file to listen to, read and mark what was extracted; its marks are taken up by the next extraction."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import soundfile

from ..modeling_audiollm.evidence import find_quotes, ground_quote, normalised_words
from ..processing.audio import AudioError, load_audio
from .audit_plots import (
    distinct_plot,
    fault_plot,
    label_plot,
    length_plot,
    outcome_plot,
)
from .extract import SETTINGS, describe_fault
from .figures import (
    OVERLAP_WORDS,
    Figures,
    TargetFigures,
    collect_figures,
    distinct,
    overlap,
)
from .rows import Input, Job


AUDIT = "audit.html"
AUDIO_MODES = ("embed", "link", "none")
RATE = 16_000
OPENINGS = 5
TASKS = {"er": "emotion", "sr": "sentiment"}
_FOLDER = Path(__file__).parent
_WORD = re.compile("[\u3040-\u30ff\u3400-\u9fff]|[^\\W_]+(?:['\u2019\u2018\u02bc`][^\\W_]+)*")


class AuditError(ValueError):
    """A folder that no page can be made of; says why."""


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Args:
        per_label: accepted answers for each target, task and label.
        refused: answers that were set aside or refused last.
        audio: `embed`, `link` (relative paths) or `none`.
        audio_seconds: embed at most so much of a clip, from its beginning.
        audio_megabytes: embed at most so much in all; later clips are left out, and the page says so.
        attempts: answers after which a job counts as set aside.
        seed: of the sample.
    """

    per_label: int = 4
    refused: int = 12
    audio: str = "embed"
    audio_seconds: float = 20.0
    audio_megabytes: float = 30.0
    attempts: int = 3
    seed: int = 0


def write_audit(source: Input, folder: str | Path, out: str | Path | None = None, page: Page | None = None) -> Path:
    """Write an extraction's page.

    Args:
        source: the rows that were extracted from.
        folder: of the extraction; it may still be running.
        out: file to write; `audit.html` in the folder when left out.
        page: what to show.

    Returns:
        The file written.

    Raises:
        AuditError: if the folder holds no extraction.
    """
    folder, page = Path(folder), page or Page()
    if not (folder / SETTINGS).is_file():
        raise AuditError(f"{folder}: holds no extraction ({SETTINGS} is missing).")
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    figures = collect_figures(source, folder, page.per_label, page.refused, page.attempts, page.seed)
    out = Path(out) if out else folder / AUDIT
    out.write_text(render_audit(figures, settings, page, out.parent), encoding="utf-8", errors="replace")
    return out


def render_audit(figures: Figures, settings: dict[str, Any], page: Page, place: Path) -> str:
    """The page as HTML. Every text from data is escaped, and the page's policy allows no other script than its own.

    Args:
        figures: of the extraction.
        settings: of the extraction.
        page: what to show.
        place: folder of the page, from which links go.
    """
    audio = _Audio(page, place)
    sections = [_figures_section(figures), _plots_section(figures), _openings_section(figures)]
    sections += [_review_section(figures, audio), _making_section(settings, page, audio)]
    script = (_FOLDER / "audit.js").read_text(encoding="utf-8")
    style = (_FOLDER / "audit.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    media = {"embed": "media-src data:", "link": "media-src 'self' file:", "none": "media-src 'none'"}[page.audio]
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; {media}; script-src 'sha256-{digest}'"
    jobs = sum(target.jobs for target in figures.targets.values())
    made = f"teacher {settings.get('teacher')}, prompts {settings.get('prompts')}"
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Audit of reasons</title><style>{style}</style></head>"
        f'<body data-run="{escape(_run_name(settings))}"><header><p>AudioLLM audit</p>'
        f"<h1>Reasons for {jobs} targets</h1><p>{escape(made)}</p></header>"
        f"<main>{''.join(sections)}</main><script>{script}</script></body></html>\n"
    )


def highlight_transcript(transcript: str, answer: str) -> str:
    """A transcript as HTML with the words marked that an answer quotes."""
    spans = sorted(span for quoted in find_quotes(answer) for span in _places(quoted.text, transcript))
    pieces, end = [], 0
    for start, stop in spans:
        if start >= end:
            pieces += [escape(transcript[end:start]), f'<mark class="said">{escape(transcript[start:stop])}</mark>']
            end = stop
    return "".join([*pieces, escape(transcript[end:])])


def highlight_answer(answer: str, transcript: str) -> str:
    """An answer as HTML with its quotes marked as said or not."""
    pieces, end = [], 0
    for quoted in find_quotes(answer):
        kind = ground_quote(quoted.text, transcript).kind
        said = kind in ("exact", "normalised")
        mark, title = ("said", f"said ({kind})") if said else ("unsaid", "not in the transcript")
        pieces.append(escape(answer[end : quoted.start]))
        pieces.append(f'<mark class="{mark}" title="{title}">{escape(quoted.text)}</mark>')
        end = quoted.end
    return "".join([*pieces, escape(answer[end:])])


def _places(quoted: str, transcript: str) -> Iterator[tuple[int, int]]:
    """Where a transcript first says a quote, piece by piece, but for case and punctuation."""
    said = [
        (word, match.start(), match.end())
        for match in _WORD.finditer(transcript)
        for word in normalised_words(match.group())
    ]
    first = 0
    for piece in re.split(r"\.{2,}|\u2026", quoted):
        words = normalised_words(piece)
        starts = range(first, len(said) - len(words) + 1) if words else ()
        start = next((i for i in starts if [word for word, *_ in said[i : i + len(words)]] == words), None)
        if start is not None:
            first = start + len(words)
            yield said[start][1], said[first - 1][2]


class _Audio:
    """Clips as HTML, as far as the page may grow."""

    def __init__(self, page: Page, place: Path):
        self.page, self.place = page, place
        self.left, self.left_out = page.audio_megabytes * 1e6, 0
        self._made: dict[str, str] = {}

    def html(self, row: dict[str, Any]) -> str:
        path = row["audio"]["path"]
        if self.page.audio == "none":
            return ""
        if self.page.audio == "link":
            link = quote(Path(os.path.relpath(path, self.place.resolve())).as_posix())
            return f'<audio controls preload="none" src="{escape(link)}"></audio>'
        if path not in self._made:
            self._made[path] = self._embedded(row)
        return self._made[path]

    def _embedded(self, row: dict[str, Any]) -> str:
        if self.left <= 0:
            self.left_out += 1
            return '<p class="note">Audio left out: the page has reached its size.</p>'
        try:
            samples = load_audio(row["audio"], RATE)
        except (AudioError, OSError) as error:
            return f'<p class="note">{escape(str(error))}</p>'
        most, encoded = round(self.page.audio_seconds * RATE), io.BytesIO()
        soundfile.write(encoded, samples[:most], RATE, format="FLAC")
        data = base64.b64encode(encoded.getvalue()).decode()
        self.left -= len(data)
        seconds = len(samples) / RATE
        cut = f'<p class="note">The first {self.page.audio_seconds:g} of {seconds:.0f} s.</p>'
        player = f'<audio controls preload="metadata" src="data:audio/flac;base64,{data}"></audio>'
        return player + (cut if len(samples) > most else "")


def _figures_section(figures: Figures) -> str:
    cards = []
    for name, target in figures.targets.items():
        of = f"of {target.answered} answered targets"
        cards.append(_card(f"{name}: accepted", _share(target.accepted, target.answered), of))
        cards.append(_card(f"{name}: asked again", _share(target.reasked, target.answered), of))
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in figures.targets)
    figures_of = [_target_figures(target) for target in figures.targets.values()]
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(str(of[name]))}</td>" for of in figures_of)
        + "</tr>"
        for name in (figures_of[0] if figures_of else ())
    )
    unfit = f'<p class="note">{figures.unfit} lines of the input are unfit.</p>' if figures.unfit else ""
    return (
        f'<section><div class="cards">{"".join(cards)}</div><div class="scroll" tabindex="0">'
        f'<table class="figures"><thead><tr><th scope="col">targets</th>{columns}</tr></thead><tbody>{lines}</tbody>'
        f"</table></div>{unfit}</section>"
    )


def _target_figures(target: TargetFigures) -> dict[str, Any]:
    """The lines of the table for one target."""
    texts, outcomes = target.texts.items, target.outcomes
    shares = (distinct(texts, 1), distinct(texts, 2), overlap(texts))
    names = ("distinct-1", "distinct-2", f"overlap, {OVERLAP_WORDS} words")
    return {
        "jobs": target.jobs,
        "accepted at once": outcomes["at once"],
        "accepted after asking again": outcomes["again"],
        "set aside": outcomes["aside"],
        "failed requests": outcomes["failed"],
        "open": outcomes["open"],
        "answers in all": target.answers,
        "median words": _median(target.words),
        "with a quote": _percent(_share(target.quoting, target.accepted)),
        "quotes letter by letter": _percent(_share(target.quotes["exact"], sum(target.quotes.values()))),
    } | {name: _percent(_hundred(share)) for name, share in zip(names, shares)}


def _plots_section(figures: Figures) -> str:
    targets = figures.targets
    if not targets:
        return ""
    plots = {
        "Outcome by target": outcome_plot(targets),
        "Faults of answers": fault_plot(targets),
        "Length of accepted answers": length_plot(targets),
        "Labels: emotion": label_plot(targets, "er"),
        "Labels: sentiment": label_plot(targets, "sr"),
        "Distinctness and repetition": distinct_plot(targets),
    }
    shown = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{_image(svg, name)}</figure>"
        for name, svg in plots.items()
        if svg
    )
    return f'<section><h2>Distributions</h2><div class="plots">{shown}</div></section>'


def _openings_section(figures: Figures) -> str:
    lists = ""
    for name, target in figures.targets.items():
        common = [(opening, count) for opening, count in target.openings.most_common(OPENINGS + 1) if opening]
        items = "".join(
            f"<li>{escape(opening)} ... <span>{_percent(_share(count, target.accepted))}</span></li>"
            for opening, count in common[:OPENINGS]
        )
        lists += f"<div><h3>{escape(name)}</h3><ol>{items}</ol></div>" if items else ""
    note = '<p class="note">How accepted answers go on after their first sentence.</p>'
    return f'<section><h2>Openings</h2>{note}<div class="plots">{lists}</div></section>' if lists else ""


def _review_section(figures: Figures, audio: _Audio) -> str:
    """Samples to be listened to and marked: accepted answers, then those that were refused."""
    if not figures.samples and not figures.aside.items:
        return ""
    accepted = [pair for kind in sorted(figures.samples) for pair in figures.samples[kind].items]
    names = ["all", *sorted({_kind(job) for job, _ in (*accepted, *figures.aside.items)})]
    buttons = "".join(
        f'<button type="button" data-show="{escape(name)}" aria-pressed="{str(name == "all").lower()}">'
        f"{escape(name)}</button>"
        for name in names
    )
    marking = (
        '<div class="marking"><p><strong data-count="accept">0</strong> accepted, <strong data-count="reject">0'
        '</strong> rejected</p><button type="button" data-save>Save marks</button><p class="note">Give marks.json to '
        "<code>extract --marks marks.json</code>: what you accept is kept for good, what you reject is asked again."
        "</p></div>"
    )
    shown = "".join(_sample(job, entry, audio) for job, entry in accepted)
    refused = "".join(_refused(job, entry, audio) for job, entry in figures.aside.items)
    count = f"{len(figures.aside.items)} of {figures.aside.seen}, with the faults of each attempt."
    parts = f'<h2>Accepted targets</h2><div class="clips">{shown}</div>' if shown else ""
    if refused:
        parts += f'<h2>Not accepted</h2><p class="note">{count} Accept what the checks were wrong about.</p>'
        parts += f'<div class="clips">{refused}</div>'
    which = f'<div class="filter" role="group" aria-label="Which targets">{buttons}</div>'
    return f"<section>{which}{marking}{parts}</section>"


def _sample(job: Job, entry: dict[str, Any], audio: _Audio) -> str:
    row, provenance = job.row, entry.get("provenance") or {}
    reviewed = '<p class="note">Kept by a reviewer.</p>' if entry.get("reviewed") else ""
    made = f"attempt {provenance.get('attempts', '?')}, seed {provenance.get('seed', '?')}"
    return (
        f"<article {_marked(job, entry)}>{_heading(job)}{audio.html(row)}"
        f"<blockquote>{highlight_transcript(row['transcript'], entry['text']) or '<em>no words</em>'}</blockquote>"
        f"<p>{highlight_answer(entry['text'], row['transcript'])}</p><p class='note'>{escape(made)}</p>{reviewed}"
        f"{_buttons('accept', 'reject')}</article>"
    )


def _marked(job: Job, entry: dict[str, Any]) -> str:
    """Attributes of a card whose answer can be marked."""
    provenance = json.dumps(entry.get("provenance") or {})
    return (
        f'data-kind="{escape(_kind(job))}" data-id="{escape(job.key)}" data-answer="{escape(entry["text"])}" '
        f'data-provenance="{escape(provenance)}"'
    )


def _kind(job: Job) -> str:
    return f"{job.target}, {TASKS[job.row['task']]}"


def _buttons(*marks: str) -> str:
    buttons = "".join(
        f'<button type="button" data-mark="{mark}" aria-pressed="false">{mark.title()}</button>' for mark in marks
    )
    note = '<input type="text" maxlength="200" placeholder="why" aria-label="Note">'
    return f'<div class="marks" role="group" aria-label="Your mark">{buttons}{note}</div>'


def _refused(job: Job, entry: dict[str, Any], audio: _Audio) -> str:
    answer, transcript = entry.get("text") or "", job.row["transcript"]
    rounds = "".join(
        f"<li>{escape(', '.join(describe_fault(fault) for fault in faults))}</li>" for faults in entry["faults"]
    )
    marked, buttons = (_marked(job, entry), _buttons("accept")) if answer else ("", "")
    return (
        f'<article class="refused" {marked}>{_heading(job)}{audio.html(job.row)}'
        f"<blockquote>{escape(transcript)}</blockquote><p>{highlight_answer(answer, transcript)}</p>"
        f"<ol class='note'>{rounds}</ol>{buttons}</article>"
    )


def _heading(job: Job) -> str:
    tags = (job.row["label"], job.target, TASKS[job.row["task"]], job.row.get("speaker"))
    shown = "".join(f"<span>{escape(str(tag))}</span>" for tag in tags if tag)
    return f'<p class="tags">{shown}</p><p class="note">{escape(job.row["id"])}</p>'


def _making_section(settings: dict[str, Any], page: Page, audio: _Audio) -> str:
    facts = {**settings, "samples per label": page.per_label, "seed of the sample": page.seed}
    if audio.left_out:
        facts["clips left out for size"] = audio.left_out
    lines = "".join(
        f"<tr><th scope='row'>{escape(str(key).replace('_', ' '))}</th><td>{escape(str(value))}</td></tr>"
        for key, value in facts.items()
    )
    return f"<section><details><summary>How this was made</summary><table>{lines}</table></details></section>"


def _run_name(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _card(name: str, value: float | None, note: str) -> str:
    shown = f"{value:.1f}<small>%</small>" if value is not None else "none"
    return f'<div class="card"><h3>{escape(name)}</h3><p class="value">{shown}</p><p>{escape(note)}</p></div>'


def _share(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}%"


def _median(counts: dict[int, int]) -> str:
    lengths = sorted(length for length, count in counts.items() for _ in range(count))
    return str(lengths[len(lengths) // 2]) if lengths else "none"


def _image(svg: str, text: str) -> str:
    """A plot as an image of its own, so that its ids meet no others and nothing in it can run."""
    data = base64.b64encode(svg.encode("utf-8")).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(text)}">'
