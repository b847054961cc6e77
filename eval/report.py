"""One HTML file that shows a run: figures, plots, and recordings to listen to beside what was answered about them.

`python -m audiollm.eval.report RUN_FOLDER [--compare OTHER_RUN ...] [--train-log trainer_state.json]`

With other runs, their answers to the same questions stand side by side (the paper's tables 10 to 12).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import soundfile

from ..corpora.schema import EMOTION_TASKS, TASKS, RowError, read_rows
from ..modeling_audiollm.evidence import find_quotes, ground_quote
from ..processing.audio import AudioError, load_audio
from . import EvalError
from .plots import class_plot, confusion_plot, loss_plot
from .run import RESULTS
from .runs import HIGHEST, Run, read_run
from .systems import SAMPLING_RATE
from .tables import (
    TASK_NAMES,
    Table,
    class_intervals,
    comparison_tables,
    format_cell,
    group_table,
    interval_table,
    overall_table,
)


REPORT = "report.html"
CLIPS = 60
# Of a longer recording the page holds the beginning, and says so.
AUDIO_SECONDS = 30
# Recordings inside the page, as FLAC and before base64 makes them a third longer; the rest are shown without sound.
AUDIO_MEGABYTES = 16.0
# Columns of a corpus that say more about a recording than its label, where they are there.
_TAGS = ("speaker", "carrier", "wording")
_OUTCOMES = ("right", "wrong", "unscored", "unjudged")
_FOLDER = Path(__file__).parent


@dataclass
class _Budget:
    """Bytes of audio that the page may still hold."""

    left: int
    silent: int = field(default=0)


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    train_log: str | Path | None = None,
    compare: Sequence[str | Path] = (),
    clips: int = CLIPS,
    seed: int = 0,
    audio_megabytes: float = AUDIO_MEGABYTES,
    cluster: str | None = None,
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

    Returns:
        The file written.

    Raises:
        FileNotFoundError: if a run or its data is not there.
        EvalError: if runs differ in the data they share.
    """
    runs = [read_run(folder) for folder in (run, *compare)]
    settings = runs[0].results["settings"]
    audio = {row["id"]: row["audio"] for row in read_rows(settings["data"], settings["split"])}
    rows = [row | {"audio": audio[row["id"]]} for row in runs[0].rows if row["id"] in audio]
    history = json.loads(Path(train_log).read_text(encoding="utf-8"))["log_history"] if train_log else []
    chosen = choose_clips(rows, runs[0].verdicts, clips, seed)
    page = render_report(runs, chosen, history, audio_megabytes, cluster, seed)
    out = Path(out) if out else Path(runs[0].folder) / REPORT
    out.write_text(page, encoding="utf-8")
    return out


def render_report(
    runs: Sequence[Run],
    clips: Sequence[Sequence[dict]],
    history: Sequence[dict] = (),
    audio_megabytes: float = AUDIO_MEGABYTES,
    cluster: str | None = None,
    seed: int = 0,
) -> str:
    """The page as HTML. Every text from data is escaped, and the page's policy allows no other script than its own.

    Args:
        runs: the reported one, then those to compare with.
        clips: for each recording the reported run's rows, with `audio` to load and `prediction`.
        history: `log_history` of the training.
        audio_megabytes: audio in the page.
        cluster, seed: of intervals and tests.
    """
    first = runs[0].results
    sections = [
        _figures_section(runs, cluster, seed),
        _loss_section(history),
        *(_task_section(runs, task, cluster, seed) for task in EMOTION_TASKS if task in first["figures"]),
        _groups_section(first),
        _clips_section(clips, runs, _Budget(round(audio_megabytes * 1e6))),
        _errors_section(first),
        _making_section(first),
    ]
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; script-src 'sha256-{digest}'"
        "; base-uri 'none'; form-action 'none'"
    )
    name, settings = first["system"]["name"], first["settings"]
    subtitle = f"{first['counts']['rows']} questions of the split {settings['split']} of {Path(settings['data']).name}"
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: evaluation</title><style>{style}</style></head><body>"
        f"<header><p>AudioLLM evaluation</p><h1>{escape(name)}</h1><p>{escape(subtitle)}</p></header>"
        f"<main>{''.join(sections)}</main><script>{script}</script></body></html>\n"
    )


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


def highlight_quotes(text: str, transcript: str | None) -> str:
    """A text as HTML, its quotes marked as found in the transcript or not; unmarked if there is no transcript."""
    pieces, end = [], 0
    for quote in find_quotes(text) if transcript else ():
        grounding = ground_quote(quote.text, transcript)
        mark, title = (
            ("said", f"said ({grounding.kind})") if grounding.grounded else ("unsaid", "not in the transcript")
        )
        pieces += [
            escape(text[end : quote.start]),
            f'<mark class="{mark}" title="{title}">{escape(quote.text)}</mark>',
        ]
        end = quote.end
    return "".join([*pieces, escape(text[end:])])


def _figures_section(runs: Sequence[Run], cluster: str | None, seed: int) -> str:
    figures = runs[0].results["figures"]
    cards = []
    for task in EMOTION_TASKS:
        if task in figures:
            unscored = figures[task]["n_unscored"]
            worst = format_cell(figures[task]["if_unscored_wrong"]["weighted_average"])
            note = f"of {figures[task]['n_scored']} scored answers"
            note += f"; {unscored} unscored, {worst}% if those are wrong" if unscored else "; none unscored"
            cards.append(_card(f"{TASK_NAMES[task]} right", figures[task]["weighted_average"], note))
    if "asr" in figures:
        note = f"of {figures['asr']['reference_words']} words, normaliser {figures['asr']['normalizer']}"
        cards.append(_card("word error rate", figures["asr"]["wer"], note))
    if figures.get("sqa", {}).get("judge_score") is not None:
        cards.append(_card("spoken questions, judged", figures["sqa"]["judge_score"], f"of {figures['sqa']['n']}"))
    elif "sqa" in figures:
        cards.append(_card("SQuAD token F1", figures["sqa"]["squad_f1"], f"of {figures['sqa']['n']} spoken questions"))
    evidence = figures["evidence"].get("evidence")
    if evidence:
        cards.append(_card("answers that quote", evidence["quotation"], f"of {evidence['n']} asked for evidence"))
        note = f"of {evidence['n_quotes']} quotes occur in the transcript"
        cards.append(_card("quotes said", evidence["quotes_grounded"], note))
    tables = [overall_table([run.results for run in runs])]
    tables += comparison_tables(runs[0], runs[1:], cluster, seed)
    return f'<section><div class="cards">{"".join(cards)}</div>{"".join(map(_table, tables))}</section>'


def _card(name: str, value: float | None, note: str) -> str:
    shown = f"{value:.1f}<small>%</small>" if value is not None else "none"
    return f'<div class="card"><h3>{escape(name)}</h3><p class="value">{shown}</p><p>{escape(note)}</p></div>'


def _loss_section(history: Sequence[dict]) -> str:
    plot = loss_plot(history)
    if plot is None:
        return ""
    rounds = {entry["round"]: entry for entry in history if "round" in entry and "train" in entry}
    notes = "".join(f"<li>{escape(_round_note(name, entry))}</li>" for name, entry in rounds.items())
    image = _image(plot, "Training loss by optimizer step and round")
    return f"<section><h2>Training</h2><div class='plots'>{image}<ul class='note'>{notes}</ul></div></section>"


def _round_note(name: object, entry: dict) -> str:
    """What learnt in a round, where the log says so: "round 1: speech_encoder, lora on asr, sqa"."""
    parts = [", ".join(map(str, entry[key])) for key in ("train", "tasks") if isinstance(entry.get(key), list)]
    return f"round {name}: {' on '.join(parts)}"


def _task_section(runs: Sequence[Run], task: str, cluster: str | None, seed: int) -> str:
    name = TASK_NAMES[task]
    runs = [run for run in runs if task in run.results["figures"]]
    systems = [
        (run.name, run.results["figures"][task]["per_class"], class_intervals(run, task, cluster, seed))
        for run in runs
    ]
    figures = runs[0].results["figures"][task]
    special = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in figures["special"].items())
    note = f'<p class="note">Unscored: {escape(special)}.</p>' if special else ""
    matrix = _image(confusion_plot(figures["confusion"]), f"Confusion matrix of {name}, {runs[0].name}")
    bars = _image(class_plot(systems), f"Accuracy by class: {name}")
    others = "".join(
        f"<figure>{_image(confusion_plot(run.results['figures'][task]['confusion']), f'Confusion matrix of {name}')}"
        f"<figcaption>{escape(run.name)}</figcaption></figure>"
        for run in runs[1:]
    )
    others = f"<details><summary>Confusion of the others</summary><div class='plots'>{others}</div></details>"
    return (
        f'<section><h2>{escape(name.capitalize())}</h2><div class="plots">'
        f"<figure>{matrix}<figcaption>{escape(runs[0].name)}: label and answer, counts</figcaption></figure>"
        f"<figure>{bars}<figcaption>with 95% bootstrap intervals</figcaption></figure></div>{note}"
        f"{others if runs[1:] else ''}{_table(interval_table(runs, task, cluster, seed))}</section>"
    )


def _groups_section(result: dict) -> str:
    tables = "".join(_table(group_table(result, column)) for column in result["groups"])
    return f"<section><h2>Groups</h2>{tables}</section>" if tables else ""


def _clips_section(clips: Sequence[Sequence[dict]], runs: Sequence[Run], budget: _Budget) -> str:
    if not clips:
        return ""
    answers = {run.folder: {row["id"]: row for row in run.rows} for run in runs[1:]}
    cards = "".join(_clip(clip, runs, answers, budget) for clip in clips)
    rows = [row for clip in clips for row in clip]
    outcomes = Counter(_row_outcome(row, runs[0].verdicts) for row in rows)
    differing = sum(_differ(row["id"], runs) for row in rows)
    shown = [("all", len(rows)), *((name, outcomes[name]) for name in _OUTCOMES if outcomes[name])]
    shown += [("differ", differing)] if differing else []
    buttons = "".join(
        f'<button type="button" data-filter="outcome" data-value="{name}" aria-pressed="{str(name == "all").lower()}">'
        f"{'systems differ' if name == 'differ' else name} <span>{count}</span></button>"
        for name, count in shown
    )
    selects = _select("task", "task", Counter(row["task"] for row in rows), TASK_NAMES)
    selects += _select("label", "label", Counter(_row_label(row) for row in rows if _row_label(row)), {})
    who = f"Outcomes are {escape(runs[0].name)}'s. " if len(runs) > 1 else ""
    legend = (
        f'<p class="legend">{who}Quotes in the answers: <mark class="said">said</mark> in the recording, '
        '<mark class="unsaid">not said</mark>.</p>'
    )
    silent = (
        f'<p class="note">{budget.silent} recordings are without sound: the page holds no more audio '
        "(--audio-megabytes).</p>"
        if budget.silent
        else ""
    )
    wide = "" if len(runs) == 1 else " two" if len(runs) == 2 else " more"
    return (
        f'<section><h2>Recordings</h2><div class="filters"><div class="filter" role="group" aria-label="Outcome">'
        f'{buttons}</div>{selects}<p class="note" id="shown" role="status"></p></div>{legend}{silent}'
        f'<div class="clips{wide}">{cards}</div></section>'
    )


def _select(name: str, title: str, counts: Counter, names: dict[str, str]) -> str:
    """A menu of values; empty if there is nothing to choose."""
    if len(counts) < 2:
        return ""
    options = "".join(
        f'<option value="{escape(str(value))}">{escape(names.get(value, str(value)))} ({counts[value]})</option>'
        for value in sorted(counts, key=str)
    )
    return f'<label>{title} <select data-filter="{name}"><option value="all">all</option>{options}</select></label>'


def _clip(rows: Sequence[dict], runs: Sequence[Run], answers: dict, budget: _Budget) -> str:
    first = rows[0]
    transcript = next((row["transcript"] for row in rows if row.get("transcript")), None)
    tags = [_label(rows), *(first.get(column) for column in _TAGS)]
    tags = "".join(f"<span>{escape(str(tag))}</span>" for tag in tags if tag)
    said = f"<blockquote>{escape(transcript)}</blockquote>" if transcript else ""
    questions = "".join(_question(row, transcript, runs, answers) for row in rows)
    outcome = _outcome(rows, runs[0].verdicts)
    sound = _audio(first, budget)
    return f'<article data-outcome="{outcome}"><p class="tags">{tags}</p>{sound}{said}{questions}</article>'


def _question(row: dict, transcript: str | None, runs: Sequence[Run], answers: dict) -> str:
    """A question with every system's answer, and what the filters look at."""
    id_ = row["id"]
    wanted = row.get("label") or row.get("answer")
    reference = f' <span class="wanted">{escape(str(wanted))}</span>' if wanted and row["task"] != "asr" else ""
    shown = [_answer(row, transcript, runs[0], titled=len(runs) > 1)]
    for run in runs[1:]:
        other = answers[run.folder].get(id_)
        if other is None:
            shown.append(f'<div class="answer"><h4>{escape(run.name)}</h4><p><em>was not asked</em></p></div>')
        else:
            shown.append(_answer(other, transcript, run))
    differ = " data-differ" if _differ(id_, runs) else ""
    return (
        f'<div class="question" data-task="{escape(row["task"])}" data-label="{escape(_row_label(row))}" '
        f'data-result="{_row_outcome(row, runs[0].verdicts)}"{differ}>'
        f'<p class="ask">{escape(row["question"])}{reference}</p><div class="answers">{"".join(shown)}</div></div>'
    )


def _answer(row: dict, transcript: str | None, run: Run, titled: bool = True) -> str:
    badge = ""
    if verdict := run.verdicts.get(row["id"]):
        outcome = _score_name(verdict["score"])
        by = f" ({verdict['judge']})" if verdict.get("judge") else ""
        badge = f'<span class="verdict {outcome}" title="{escape(verdict["reason"] + by)}">{outcome}</span>'
    for what in HIGHEST:
        if rating := run.ratings.get(what, {}).get(row["id"]):
            score = "unscored" if rating["score"] is None else f"{rating['score']} of {HIGHEST[what]}"
            name = "answer" if what == "sqa" else what
            badge += f' <span class="verdict" title="{escape(rating["reason"])}">{name} {score}</span>'
    # Only explanations quote: the marks of a transcription or an answer are no claim that something was said.
    text = highlight_quotes(row["prediction"], transcript if row["task"] in EMOTION_TASKS else None)
    heading = f"<h4>{escape(run.name)}</h4>" if titled else ""
    return f'<div class="answer">{heading}<p>{text or "<em>no answer</em>"} {badge}</p></div>'


def _audio(row: dict, budget: _Budget) -> str:
    if budget.left <= 0:
        budget.silent += 1
        return ""
    try:
        samples = load_audio(row["audio"], SAMPLING_RATE)
    except AudioError as error:
        return f'<p class="note">{escape(str(error))}</p>'
    encoded = io.BytesIO()
    soundfile.write(encoded, samples[: AUDIO_SECONDS * SAMPLING_RATE], SAMPLING_RATE, format="FLAC")
    budget.left -= len(encoded.getvalue())
    if budget.left < 0:
        budget.silent += 1
        return ""
    source = f"data:audio/flac;base64,{base64.b64encode(encoded.getvalue()).decode()}"
    seconds = len(samples) / SAMPLING_RATE
    cut = f'<p class="note">The first {AUDIO_SECONDS} of {seconds:.0f} s.</p>' if seconds > AUDIO_SECONDS else ""
    return f'<audio controls preload="metadata" src="{source}"></audio>{cut}'


def _errors_section(result: dict) -> str:
    errors = result["errors"]
    if not errors:
        return ""
    shown = "".join(f"<li>{escape(error['id'])}: {escape(error['error'])}</li>" for error in errors[:20])
    more = f"<p>and {len(errors) - 20} more, in {RESULTS}.</p>" if len(errors) > 20 else ""
    return f"<section><h2>Rows without an answer: {len(errors)}</h2><ul>{shown}</ul>{more}</section>"


def _making_section(result: dict) -> str:
    facts = {
        "command": result["command"],
        **{f"system {key}": value for key, value in result["system"].items()},
        **{f"setting {key}": value for key, value in result["settings"].items()},
        **{f"judging {key}": value for key, value in result.get("judging", {}).items()},
        **{f"time {key}": value for key, value in result["time"].items()},
        **{f"version of {key}": value for key, value in result["versions"].items()},
    }
    lines = "".join(
        f"<tr><th scope='row'>{escape(key.replace('_', ' '))}</th><td>{escape(_fact(value))}</td></tr>"
        for key, value in facts.items()
        if value not in (None, [], {})
    )
    return (
        f"<section><details><summary>How these figures were made</summary><table>{lines}</table></details></section>"
    )


def _fact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(str(column))}</th>' for column in table.columns)
    body = "".join(
        f'<tr><th scope="row">{escape(str(row[0]))}</th>'
        + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll" tabindex="0"><table class="figures">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _cell(cell: object) -> str:
    """A cell as HTML, an interval small and in a line of its own."""
    value, _, interval = format_cell(cell).partition(" [")
    return escape(value) + (f"<small>{escape(interval.rstrip(']'))}</small>" if interval else "")


def _image(svg: str, text: str) -> str:
    """A plot as an image of its own, so that its ids meet no others and nothing in it can run."""
    data = base64.b64encode(svg.encode("utf-8")).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(text)}">'


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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m audiollm.eval.report", description="Write a run's report.")
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("--out", help="file to write (default: report.html in the folder)")
    parser.add_argument("--train-log", help="trainer_state.json, for the loss curve")
    parser.add_argument("--compare", nargs="+", default=[], metavar="RUN", help="folders of runs to compare with")
    parser.add_argument("--clips", type=int, default=CLIPS, help="how many recordings at most")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of recordings, and of the resamples")
    parser.add_argument("--audio-megabytes", type=float, default=AUDIO_MEGABYTES, help="audio in the page at most")
    parser.add_argument(
        "--cluster", metavar="COLUMN", help="resample rows of the same COLUMN (speaker, audio) together"
    )
    options = parser.parse_args(arguments)
    try:
        print(
            write_report(
                options.run,
                options.out,
                options.train_log,
                options.compare,
                options.clips,
                options.seed,
                options.audio_megabytes,
                options.cluster,
            )
        )
    except (EvalError, RowError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
