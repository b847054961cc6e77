"""One HTML file to listen to, read and mark what was extracted; its marks are taken up by the next extraction."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..corpora.places import ClipPlaces
from ..processing.audio import AudioError, load_audio
from ..reporting.pages import percent, render_page
from ..reporting.players import Embedder, Player
from ..reporting.plots import GRID, bar_plot, count_plot, parts_plot, stacked_plot
from ..reporting.quotes import cut, mark_quoted, mark_quotes
from .extract import OUTCOMES, SETTINGS, describe_fault
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
RATE = 16_000
OPENINGS = 5
TASKS = {"er": "emotion", "sr": "sentiment"}
# Where recordings may come from, by how the page has them.
_MEDIA = {"embed": "data:", "link": "'self' file:", "none": "'none'"}
_OUTCOME_COLOURS: dict[str, str] = dict(zip(OUTCOMES, ("#0b7a75", "#7cc4bd", "#cf4037", "#d99a1b", GRID)))
_MOST_LABELS, _MOST_FAULTS = 24, 10


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


def write_audit(
    source: Input,
    folder: str | Path,
    out: str | Path | None = None,
    page: Page | None = None,
    audio_roots: Sequence[str | Path] = (),
) -> Path:
    """Write an extraction's page.

    Args:
        source: the rows that were extracted from.
        folder: of the extraction; it may still be running.
        out: file to write; `audit.html` in the folder when left out.
        page: what to show.
        audio_roots: folders whose clips may be in the page, beside those of the rows.

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
    places = ClipPlaces(source.files, audio_roots)
    out.write_text(render_audit(figures, settings, page, out.parent, places), encoding="utf-8", errors="replace")
    return out


def render_audit(figures: Figures, settings: dict[str, Any], page: Page, place: Path, places: ClipPlaces) -> str:
    """The page as HTML.

    Args:
        figures: of the extraction.
        settings: of the extraction.
        page: what to show.
        place: folder of the page, from which links go.
        places: whose clips may be in the page.
    """
    embedder = Embedder(RATE, page.audio_megabytes, page.audio_seconds, (AudioError, OSError))
    play = _players(page, place, embedder, places)
    accepted = [pair for kind in sorted(figures.samples) for pair in figures.samples[kind].items]
    refused = figures.aside.items
    kinds = sorted({_kind(job) for job, _ in (*accepted, *refused)})
    making = {**settings, "samples per label": page.per_label, "seed of the sample": page.seed}
    return render_page(
        "audit.html",
        "audit.js",
        media=_MEDIA[page.audio],
        run=_run_name(settings),
        jobs=sum(target.jobs for target in figures.targets.values()),
        made=f"teacher {settings.get('teacher')}, prompts {settings.get('prompts')}",
        cards=_cards(figures),
        figures=_table(figures),
        plots=_plots(figures.targets),
        openings=_openings(figures.targets),
        kinds=["all", *kinds],
        accepted=[_sample(job, entry, page, play) for job, entry in accepted],
        refused=[_refused(job, entry, page, play) for job, entry in refused],
        aside=figures.aside.seen,
        # Once all are encoded.
        making=making | ({"clips left out for size": embedder.silent} if embedder.silent else {}),
    )


def _players(page: Page, place: Path, embedder: Embedder, places: ClipPlaces) -> Callable[[dict[str, Any]], Player]:
    """What gives a row's player, as the page wants it."""

    def embed(row: dict[str, Any]) -> Player:
        path = row["audio"]["path"]
        return embedder.player(path, lambda: load_audio(Path(places.clip(path)), RATE))

    def link(row: dict[str, Any]) -> Player:
        return Player(quote(Path(os.path.relpath(row["audio"]["path"], place.resolve())).as_posix()))

    return {"embed": embed, "link": link, "none": lambda row: Player(None)}[page.audio]


def _cards(figures: Figures) -> list[dict[str, Any]]:
    cards = []
    for name, target in figures.targets.items():
        of = f"of {target.answered} answered targets"
        for what, count in (("accepted", target.accepted), ("asked again", target.reasked)):
            cards.append({"name": f"{name}: {what}", "value": _share(count, target.answered), "note": of})
    return cards


def _table(figures: Figures) -> dict[str, Any]:
    """Figures by target, a column each."""
    columns = [_target_figures(target) for target in figures.targets.values()]
    rows = [[name, *(str(column[name]) for column in columns)] for name in (columns[0] if columns else ())]
    note = f"{figures.unfit} lines of the input are unfit." if figures.unfit else ""
    return {"title": "", "columns": ["targets", *figures.targets], "rows": rows, "note": note}


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
        "with a quote": percent(_share(target.quoting, target.accepted)),
        "quotes letter by letter": percent(_share(target.quotes["exact"], sum(target.quotes.values()))),
    } | {name: percent(_hundred(share)) for name, share in zip(names, shares)}


def _plots(targets: dict[str, TargetFigures]) -> dict[str, str | None]:
    """Plots by what they show; None where there is nothing to draw."""
    if not targets:
        return {}
    outcomes = {
        name: {outcome: 100 * target.outcomes[outcome] / max(1, target.jobs) for outcome in OUTCOMES}
        for name, target in targets.items()
    }
    total = sum((target.faults for target in targets.values()), start=Counter())
    codes = [code for code, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))][:_MOST_FAULTS]
    faults = {
        name: [100 * target.faults[code] / max(1, target.answers) for code in codes]
        for name, target in targets.items()
    }
    texts = {name: target.texts.items for name, target in targets.items() if target.texts.items}
    measured = ["distinct-1", "distinct-2", "distinct-3", f"overlap, {OVERLAP_WORDS} words"]
    variety = {
        name: [100 * (share or 0) for share in (*(distinct(of, n) for n in (1, 2, 3)), overlap(of))]
        for name, of in texts.items()
    }
    words = {name: target.words for name, target in targets.items()}
    return {
        "Outcome by target": stacked_plot(outcomes, _OUTCOME_COLOURS, "% of jobs"),
        "Faults of answers": bar_plot(
            faults, [code.replace("_", " ") for code in codes], "% of answers with this fault"
        ),
        "Length of accepted answers": count_plot(words, "words of accepted answers", "answers"),
        "Labels: emotion": _label_plot(targets, "er"),
        "Labels: sentiment": _label_plot(targets, "sr"),
        "Distinctness and repetition": bar_plot(variety, measured, "%; overlap: shared with another answer"),
    }


def _label_plot(targets: dict[str, TargetFigures], task: str) -> str | None:
    labels = sorted({label for target in targets.values() for of, label, _ in target.labels if of == task})
    labels = labels[:_MOST_LABELS]
    series = {
        name: [(target.labels[task, label, True], target.labels[task, label, False]) for label in labels]
        for name, target in targets.items()
    }
    return parts_plot(series, labels, "jobs; pale: not accepted")


def _openings(targets: dict[str, TargetFigures]) -> dict[str, list[tuple[str, float | None]]]:
    """The commonest openings of each target, with their share of the accepted answers."""
    lists = {}
    for name, target in targets.items():
        common = [(opening, count) for opening, count in target.openings.most_common(OPENINGS + 1) if opening]
        lists[name] = [(opening, _share(count, target.accepted)) for opening, count in common[:OPENINGS]]
    return {name: items for name, items in lists.items() if items}


def _sample(job: Job, entry: dict[str, Any], page: Page, play: Callable[[dict[str, Any]], Player]) -> dict[str, Any]:
    """An accepted answer beside its recording."""
    row, provenance = job.row, entry.get("provenance") or {}
    answer = entry.get("text") or ""
    return {
        "kind": _kind(job),
        "key": job.key,
        "id": row["id"],
        "answer": answer,
        "provenance": json.dumps(provenance),
        "label": row["label"],
        "tags": (job.target, TASKS[row["task"]], row.get("speaker")),
        "player": play(row),
        "preload": "none" if page.audio == "link" else "metadata",
        "transcript": mark_quoted(row["transcript"], answer),
        # A target quotes word for word.
        "segments": mark_quotes(answer, row["transcript"], fuzzy=False),
        "made": f"attempt {provenance.get('attempts', '?')}, seed {provenance.get('seed', '?')}",
        "reviewed": bool(entry.get("reviewed")),
        "faults": None,
    }


def _refused(job: Job, entry: dict[str, Any], page: Page, play: Callable[[dict[str, Any]], Player]) -> dict[str, Any]:
    """An answer that was not accepted, with the faults of each attempt."""
    faults = [", ".join(describe_fault(fault) for fault in attempt) for attempt in entry["faults"]]
    return _sample(job, entry, page, play) | {"faults": faults, "transcript": cut(job.row["transcript"], ())}


def _kind(job: Job) -> str:
    return f"{job.target}, {TASKS[job.row['task']]}"


def _run_name(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _share(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _median(counts: dict[int, int]) -> str:
    lengths = sorted(length for length, count in counts.items() for _ in range(count))
    return str(lengths[len(lengths) // 2]) if lengths else "none"
