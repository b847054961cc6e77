"""One HTML file that shows a run: figures, plots, and recordings to listen to beside what was answered about them.

`audiollm report RUN_FOLDER [--compare OTHER_RUN ...] [--train-log trainer_state.json]`

With other runs, their answers to the same questions stand side by side (the paper's tables 10 to 12).
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..corpora.places import ClipPlaces
from ..corpora.schema import EMOTION_TASKS, TASKS
from ..processing.audio import AudioError, load_audio
from ..reporting.pages import render_page
from ..reporting.players import Embedder
from ..reporting.plots import class_plot, confusion_plot, loss_plot
from ..reporting.quotes import mark_quotes
from .figures import HIGHEST
from .metrics import METRICS, TASK_NAMES, Metric, evidence_part
from .results import REPORT, Run, read_runs
from .rows import data_name, read_data
from .systems import SAMPLING_RATE
from .tables import (
    Table,
    class_intervals,
    comparison_tables,
    controls_table,
    format_cell,
    group_table,
    interval_table,
    overall_table,
    summary_table,
)


CLIPS = 60
# Of a longer recording the page holds the beginning, and says so.
AUDIO_SECONDS = 30
# Recordings inside the page, as FLAC and before base64 makes them a third longer; the rest are shown without sound.
AUDIO_MEGABYTES = 16.0
# Columns of a corpus that say more about a recording than its label, where they are there.
_TAGS = ("speaker", "carrier", "wording")
_OUTCOMES = ("right", "wrong", "unscored", "unjudged")
# Of so many systems the main figures stand side by side; more stand below each other.
_COLUMNS = 4
_WIDTHS = ("", "", "two")


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    train_log: str | Path | None = None,
    compare: Sequence[str | Path] = (),
    clips: int = CLIPS,
    seed: int = 0,
    audio_megabytes: float = AUDIO_MEGABYTES,
    cluster: str | None = None,
    audio_roots: Sequence[str | Path] = (),
) -> Path:
    """Write a run's report, a file that needs no other.

    Args:
        run: folder of the run; its data must still be where it was.
        out: file to write; `report.html` in the folder when left out.
        train_log: `trainer_state.json` of the training, for the loss curve.
        compare: folders of other runs, whose figures and answers stand beside this one's.
        clips: at most so many recordings, drawn evenly from right, wrong and unscored answers and from the labels.
        seed: of that draw, and of the resamples.
        audio_megabytes: at most so much audio in the page; recordings beyond it are shown without sound.
        cluster: column whose values are resampled together (see [`bootstrap`](statistics.py)).
        audio_roots: folders whose clips may be in the page, beside that of the data.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: if a run or its data is not there.
        EvalError: if runs differ in the data they share.
    """
    runs = read_runs((run, *compare))
    settings = runs[0].results["settings"]
    audio = {row["id"]: row["audio"] for row in read_data(settings["data"], settings["split"])}
    rows = [row | {"audio": audio[row["id"]]} for row in runs[0].rows if row["id"] in audio]
    places = ClipPlaces(settings["data"], audio_roots)
    history = json.loads(Path(train_log).read_text(encoding="utf-8"))["log_history"] if train_log else []
    chosen = choose_clips(rows, runs[0].verdicts, clips, seed)
    page = render_report(runs, chosen, places, history, audio_megabytes, cluster, seed)
    out = Path(out) if out else Path(runs[0].folder) / REPORT
    out.write_text(page, encoding="utf-8")
    return out


def render_report(
    runs: Sequence[Run],
    clips: Sequence[Sequence[dict]],
    places: ClipPlaces,
    history: Sequence[dict] = (),
    audio_megabytes: float = AUDIO_MEGABYTES,
    cluster: str | None = None,
    seed: int = 0,
) -> str:
    """The page as HTML.

    Args:
        runs: the reported one, then those to compare with.
        clips: for each recording the reported run's rows, with `audio` to load and `prediction`.
        places: whose clips may be in the page.
        history: `log_history` of the training.
        audio_megabytes: audio in the page.
        cluster, seed: of intervals and tests.
    """
    first = runs[0].results
    settings = first["settings"]
    main_figures = summary_table if len(runs) <= _COLUMNS else overall_table
    embedder = Embedder(SAMPLING_RATE, audio_megabytes, AUDIO_SECONDS, (AudioError,))
    answers = [{row["id"]: row for row in run.rows} for run in runs]
    tasks = [_task(runs, task, cluster, seed) for task in EMOTION_TASKS if task in first["figures"]]
    values = {
        "name": first["system"]["name"],
        "subtitle": f"{first['counts']['rows']} questions of the split {settings['split']} of "
        f"{data_name(settings['data'])}",
        "cards": _cards(first["figures"]),
        "overall": _shown(main_figures([run.results for run in runs])),
        "recordings": [_recording(clip, runs, answers, embedder, places) for clip in clips],
        **_filters(clips, runs),
        "compared": len(runs) > 1,
        "width": _WIDTHS[len(runs)] if len(runs) < len(_WIDTHS) else "more",
        "tasks": tasks,
        "groups": [_shown(group_table(first, column)) for column in first["groups"]],
        "controls": [_shown(table) for table in [controls_table(runs[0], runs[1:], cluster, seed)] if table],
        "comparisons": [_shown(table) for table in comparison_tables(runs[0], runs[1:], cluster, seed)],
        "loss": loss_plot(history),
        "rounds": _rounds(history),
        "errors": first["errors"],
        "making": _making(first),
        "silent": embedder.silent,
    }
    return render_page("report.html", "report.js", contents=_contents(values), **values)


def _contents(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Ids and titles of the sections that the page has."""
    sections = [
        ("figures", "Figures", True),
        ("recordings", "Recordings", values["recordings"]),
        *((task["id"], task["title"], True) for task in values["tasks"]),
        ("groups", "Groups", values["groups"]),
        ("controls", "Controls", values["controls"]),
        ("tests", "Significance tests", values["comparisons"]),
        ("training", "Training", values["loss"]),
        ("errors", "Rows without an answer", values["errors"]),
        ("making", "How these figures were made", True),
    ]
    return [(id_, title) for id_, title, there in sections if there]


def choose_clips(rows: Sequence[dict], verdicts: dict[str, dict], limit: int, seed: int = 0) -> list[list[dict]]:
    """Recordings with all their rows, drawn in turn from every pair of outcome and label so that each is seen."""
    by_audio = defaultdict(list)
    for row in sorted(rows, key=lambda row: TASKS.index(row["task"])):
        by_audio[row["audio"]["path"]].append(row)
    strata = defaultdict(list)
    for clip in by_audio.values():
        strata[_outcome(clip, verdicts), _label(clip)].append(clip)
    draw = random.Random(seed)
    queues = [draw.sample(strata[key], len(strata[key])) for key in sorted(strata)]
    turns = [
        clip for turn in range(max(map(len, queues), default=0)) for clip in (q[turn] for q in queues if turn < len(q))
    ]
    return turns[:limit]


def _cards(figures: dict) -> list[dict[str, Any]]:
    """The figures at the top: name, value in percent, and what it is of."""
    cards = []
    for metric in METRICS:
        value = metric.value(figures)
        # What stands for another figure of its task is shown where that is missing.
        better = [other for other in METRICS if other.headline and other.tasks == metric.tasks]
        if not metric.title or value is None:
            continue
        if not metric.headline and any(other.value(figures) is not None for other in better):
            continue
        cards.append({"name": metric.title, "value": value, "note": _card_note(metric, figures)})
    return cards


def _card_note(metric: Metric, figures: dict) -> str:
    """What a figure is of."""
    of = figures[metric.path[0]]
    if metric.path[0] == "evidence":
        part = evidence_part(figures)
        if metric.name == "cues_true":
            return f"of {of[part]['n_claims_checkable']} that can be checked, of {of[part]['n_claims']} claims"
        if metric.name == "quotes_grounded":
            return f"of {of[part]['n_quotes']} quotes occur in the transcript"
        return f"of {of[part]['n']} asked for evidence" if part == "evidence" else f"of {of[part]['n']} explanations"
    if metric.tasks == ("asr",):
        return f"of {of['reference_words']} words, normaliser {of['normalizer']}"
    if metric.tasks == ("sqa",):
        return f"of {of['n']} spoken questions"
    worst = format_cell(of["if_unscored_wrong"]["weighted_average"])
    unscored = f"{of['n_unscored']} unscored, {worst}% if those are wrong" if of["n_unscored"] else "none unscored"
    return f"of {of['n_scored']} scored answers; {unscored}"


def _rounds(history: Sequence[dict]) -> list[str]:
    """What learnt in each round, where the log says so: "round 1: speech_encoder, lora on asr, sqa"."""
    rounds = {entry["round"]: entry for entry in history if "round" in entry and "train" in entry}
    notes = []
    for name, entry in rounds.items():
        parts = [", ".join(map(str, entry[key])) for key in ("train", "tasks") if isinstance(entry.get(key), list)]
        notes.append(f"round {name}: {' on '.join(parts)}")
    return notes


def _task(runs: Sequence[Run], task: str, cluster: str | None, seed: int) -> dict[str, Any]:
    """Plots and tables of emotion or sentiment."""
    runs = [run for run in runs if task in run.results["figures"]]
    figures = [run.results["figures"][task] for run in runs]
    systems = [
        (run.name, found["per_class"], class_intervals(run, task, cluster, seed)) for run, found in zip(runs, figures)
    ]
    return {
        "id": task,
        "name": TASK_NAMES[task],
        "title": TASK_NAMES[task].capitalize(),
        "matrix": confusion_plot(figures[0]["confusion"]),
        "bars": class_plot(systems),
        "special": ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in figures[0]["special"].items()),
        "others": [(run.name, confusion_plot(found["confusion"])) for run, found in zip(runs[1:], figures[1:])],
        "table": _shown(interval_table(runs, task, cluster, seed)),
    }


def _filters(clips: Sequence[Sequence[dict]], runs: Sequence[Run]) -> dict[str, Any]:
    """What the recordings can be filtered by: value, title and count of each."""
    rows = [row for clip in clips for row in clip]
    found = Counter(_row_outcome(row, runs[0].verdicts) for row in rows)
    found["differ"] = sum(_differ(row["id"], runs) for row in rows)
    titles = {"differ": "systems differ"}
    outcomes = [(name, titles.get(name, name), found[name]) for name in (*_OUTCOMES, "differ") if found[name]]
    menus = [
        _menu("task", Counter(row["task"] for row in rows), TASK_NAMES),
        _menu("label", Counter(filter(None, map(_row_label, rows))), {}),
    ]
    return {
        "outcomes": [("all", "all", len(rows)), *outcomes],
        "menus": [menu for menu in menus if len(menu["options"]) > 1],
    }


def _menu(name: str, counts: Counter, names: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "options": [(key, names.get(key, key), counts[key]) for key in sorted(counts, key=str)]}


def _recording(
    rows: Sequence[dict], runs: Sequence[Run], answers: Sequence[dict], embedder: Embedder, places: ClipPlaces
) -> dict:
    """A recording with every question about it; `answers` are the rows of each run by id."""
    first = rows[0]
    path = first["audio"]["path"]
    transcript = next((row["transcript"] for row in rows if row.get("transcript")), None)
    return {
        "outcome": _outcome(rows, runs[0].verdicts),
        "label": _label(rows),
        "tags": [first.get(column) for column in _TAGS],
        "player": embedder.player(path, lambda: load_audio(Path(places.clip(path)), SAMPLING_RATE)),
        "transcript": transcript,
        "questions": [_question(row, transcript, runs, answers) for row in rows],
    }


def _question(row: dict, transcript: str | None, runs: Sequence[Run], answers: Sequence[dict]) -> dict[str, Any]:
    """A question with every system's answer, and what the filters look at."""
    return {
        "task": row["task"],
        "label": _row_label(row),
        "outcome": _row_outcome(row, runs[0].verdicts),
        "differ": _differ(row["id"], runs),
        "text": row["question"],
        "wanted": (row.get("label") or row.get("answer")) if row["task"] != "asr" else None,
        "answers": [
            _answer(of.get(row["id"]), transcript, run, titled=len(runs) > 1) for run, of in zip(runs, answers)
        ],
    }


def _answer(row: dict | None, transcript: str | None, run: Run, titled: bool) -> dict[str, Any]:
    """What a system said, its quotes marked, with what the judges made of it."""
    shown = {"system": run.name if titled else None, "missing": "no answer", "segments": [], "badges": []}
    if row is None:
        return shown | {"missing": "was not asked"}
    if verdict := run.verdicts.get(row["id"]):
        outcome = _score_name(verdict["score"])
        by = f" ({verdict['judge']})" if verdict.get("judge") else ""
        shown["badges"].append({"kind": outcome, "title": verdict["reason"] + by, "text": outcome})
    for what in HIGHEST:
        if rating := run.ratings.get(what, {}).get(row["id"]):
            score = "unscored" if rating["score"] is None else f"{rating['score']} of {HIGHEST[what]}"
            name = "answer" if what == "sqa" else what
            shown["badges"].append({"kind": "", "title": rating["reason"], "text": f"{name} {score}"})
    before = [turn["text"] for turn in row.get("context") or ()]
    for claim in (run.claims or {}).get(row["id"], ()):
        shown["badges"].append(_claim_badge(claim))
    # Only explanations quote: the marks of a transcription or an answer are no claim that something was said.
    shown["segments"] = mark_quotes(
        row["prediction"], transcript if row["task"] in EMOTION_TASKS else None, context=before
    )
    return shown


def _claim_badge(claim: dict[str, Any]) -> dict[str, str]:
    """A claim about the voice, with what the measures say of it."""
    found = {None: "not checkable", True: "borne out", False: "not borne out"}[claim["true"]]
    of = f", beside what is usual for the {claim['norms']}" if claim["true"] is not None else ""
    said = f"{'not ' if claim['denied'] else ''}{claim['words']}"
    title = f"{(claim['cue'] or 'no measure').replace('_', ' ')}: {found}{of}"
    kind = {None: "", True: "right", False: "wrong"}[claim["true"]]
    return {"kind": kind, "title": title, "text": f"voice {said}: {found}"}


def _making(result: dict) -> dict[str, Any]:
    """The conditions of the figures, by name."""
    sections = (("system", "system"), ("setting", "settings"), ("judging", "judging"), ("time", "time"))
    facts = {
        f"{word} {key}": value for word, section in sections for key, value in result.get(section, {}).items()
    } | {f"version of {key}": value for key, value in result["versions"].items()}
    return {"command": result["command"], **facts}


def _shown(table: Table) -> dict[str, Any]:
    """A table for the page, each interval apart from its figure."""
    rows = [[str(row[0]), *map(_cell, row[1:])] for row in table.rows]
    return {"title": table.title, "columns": table.columns, "rows": rows, "note": table.note}


def _cell(cell: object) -> str | tuple[str, str]:
    value, _, interval = format_cell(cell).partition(" [")
    return (value, interval.rstrip("]")) if interval else value


def _outcome(rows: Sequence[dict], verdicts: dict[str, dict]) -> str:
    """What became of a recording: its worst verdict, so that a look at the wrong ones misses none."""
    outcomes = [_row_outcome(row, verdicts) for row in rows]
    return next((name for name in ("wrong", "unscored", "right") if name in outcomes), "unjudged")


def _row_outcome(row: dict, verdicts: dict[str, dict]) -> str:
    return _score_name(verdicts[row["id"]]["score"]) if row["id"] in verdicts else "unjudged"


def _score_name(score: int | None) -> str:
    return "unscored" if score is None else "right" if score == 1 else "wrong"


def _differ(id_: str, runs: Sequence[Run]) -> bool:
    """Whether the systems' verdicts on a question are not all the same."""
    return len({run.verdicts[id_]["score"] for run in runs if id_ in run.verdicts}) > 1


def _row_label(row: dict) -> str:
    return str(row["label"]) if row["task"] in EMOTION_TASKS else ""


def _label(rows: Sequence[dict]) -> str:
    return next((_row_label(row) for task in EMOTION_TASKS for row in rows if row["task"] == task), "")
