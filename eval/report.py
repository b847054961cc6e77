"""One HTML file that shows a run: figures, plots, and recordings to listen to beside what was answered about them.

`python -m audiollm.eval.report RUN_FOLDER [--train-log trainer_state.json] [--compare OTHER_RUN ...]`
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path

import soundfile

from audiollm.eval.plots import class_plot, confusion_plot, loss_plot
from audiollm.eval.run import PREDICTIONS, RESULTS, VERDICTS, join_predictions, read_predictions
from audiollm.eval.systems import SAMPLING_RATE
from audiollm.eval.tables import TASK_NAMES, Table, class_table, format_cell, group_table, overall_table, read_results
from audiollm.modeling_audiollm.evidence import find_quotes, ground_quote
from audiollm.processing.audio import AudioError, load_audio
from audiollm.processing.corpora.schema import read_rows


REPORT = "report.html"
# Of a longer recording the page holds the beginning, and says so.
AUDIO_SECONDS = 30
_FOLDER = Path(__file__).parent


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    train_log: str | Path | None = None,
    compare: Sequence[str | Path] = (),
    clips: int = 24,
    seed: int = 0,
) -> Path:
    """Write a run's report, a file that needs no other.

    Args:
        run: folder of the run; its data must still be where it was.
        out: file to write; `report.html` in the folder when left out.
        train_log: `trainer_state.json` of the training, for the loss curve.
        compare: folders of other runs, whose figures stand beside this one's.
        clips: at most so many recordings, drawn evenly from right, wrong and unscored answers and from the labels.
        seed: of that draw.

    Returns:
        The file written.
    """
    run = Path(run)
    results = read_results(run)
    others = [read_results(folder) for folder in compare]
    rows = read_rows(results["settings"]["data"], results["settings"]["split"])
    predictions = read_predictions(run / PREDICTIONS)
    answered, _ = join_predictions([row for row in rows if row["id"] in predictions], predictions)
    verdicts = {verdict["id"]: verdict for verdict in map(json.loads, _lines(run / VERDICTS))}
    history = json.loads(Path(train_log).read_text(encoding="utf-8"))["log_history"] if train_log else []
    page = render_report([results, *others], choose_clips(answered, verdicts, clips, seed), verdicts, history)
    out = Path(out) if out else run / REPORT
    out.write_text(page, encoding="utf-8")
    return out


def render_report(
    results: Sequence[dict], clips: Sequence[Sequence[dict]], verdicts: dict[str, dict], history: Sequence[dict] = ()
) -> str:
    """The page as HTML. Every text from data is escaped, and the page's policy allows no other script than its own.

    Args:
        results: of the run, then of those to compare with.
        clips: for each recording its rows, with `prediction`.
        verdicts: by row id, as in `verdicts.jsonl`.
        history: `log_history` of the training.
    """
    first = results[0]
    sections = [
        _figures_section(results),
        _loss_section(history),
        *(_task_section(results, task) for task in ("er", "sr") if task in first["figures"]),
        _groups_section(first),
        _clips_section(clips, verdicts),
        _errors_section(first),
        _making_section(first),
    ]
    script = (_FOLDER / "report.js").read_text(encoding="utf-8")
    style = (_FOLDER / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; script-src 'sha256-{digest}'"
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
    for row in rows:
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


def _figures_section(results: Sequence[dict]) -> str:
    figures = results[0]["figures"]
    cards = []
    for task in ("er", "sr"):
        if task in figures:
            unscored = figures[task]["n_unscored"]
            worst = format_cell(figures[task]["if_unscored_wrong"]["weighted_average"])
            note = f"of {figures[task]['n_scored']} scored answers"
            note += f"; {unscored} unscored, {worst}% if those are wrong" if unscored else "; none unscored"
            cards.append(_card(f"{TASK_NAMES[task]} right", figures[task]["weighted_average"], note))
    if "asr" in figures:
        note = f"of {figures['asr']['reference_words']} words, normaliser {figures['asr']['normalizer']}"
        cards.append(_card("word error rate", figures["asr"]["wer"], note))
    if "sqa" in figures:
        cards.append(_card("SQuAD token F1", figures["sqa"]["squad_f1"], f"of {figures['sqa']['n']} spoken questions"))
    evidence = figures["evidence"].get("evidence")
    if evidence:
        cards.append(_card("answers that quote", evidence["quotation"], f"of {evidence['n']} asked for evidence"))
        note = f"of {evidence['n_quotes']} quotes occur in the transcript"
        cards.append(_card("quotes said", evidence["quotes_grounded"], note))
    return f'<section><div class="cards">{"".join(cards)}</div>{_table(overall_table(results))}</section>'


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


def _task_section(results: Sequence[dict], task: str) -> str:
    name = TASK_NAMES[task]
    systems = [(r["system"]["name"], r["figures"][task]["per_class"]) for r in results if task in r["figures"]]
    figures = results[0]["figures"][task]
    special = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in figures["special"].items())
    note = f"<p>Unscored: {escape(special)}.</p>" if special else ""
    return (
        f'<section><h2>{escape(name.capitalize())}</h2><div class="plots">'
        f"{_image(confusion_plot(figures['confusion']), f'Confusion matrix: {name}')}"
        f"{_image(class_plot(systems), f'Accuracy by class: {name}')}</div>{note}"
        f"{_table(class_table(results, task))}</section>"
    )


def _groups_section(result: dict) -> str:
    tables = "".join(_table(group_table(result, column)) for column in result["groups"])
    return f"<section><h2>Groups</h2>{tables}</section>" if tables else ""


def _clips_section(clips: Sequence[Sequence[dict]], verdicts: dict[str, dict]) -> str:
    if not clips:
        return ""
    outcomes = [_outcome(clip, verdicts) for clip in clips]
    buttons = "".join(
        f'<button type="button" data-show="{name}" aria-pressed="{str(name == "all").lower()}">{name} '
        f"<span>{len(clips) if name == 'all' else outcomes.count(name)}</span></button>"
        for name in ("all", "right", "wrong", "unscored", "unjudged")
        if name == "all" or name in outcomes
    )
    cards = "".join(_clip(clip, outcome, verdicts) for clip, outcome in zip(clips, outcomes))
    legend = (
        '<p class="legend">Quotes in the answers: <mark class="said">said</mark> in the recording, '
        '<mark class="unsaid">not said</mark>.</p>'
    )
    return (
        f'<section><h2>Recordings</h2><div class="filter" role="group" aria-label="Which recordings">{buttons}</div>'
        f'{legend}<div class="clips">{cards}</div></section>'
    )


def _clip(rows: Sequence[dict], outcome: str, verdicts: dict[str, dict]) -> str:
    first = rows[0]
    transcript = next((row["transcript"] for row in rows if row.get("transcript")), None)
    tags = [_label(rows), *(first.get(column) for column in ("speaker", "carrier", "wording"))]
    tags = "".join(f"<span>{escape(str(tag))}</span>" for tag in tags if tag)
    said = f"<blockquote>{escape(transcript)}</blockquote>" if transcript else ""
    answers = "".join(_answer(row, transcript, verdicts.get(row["id"])) for row in rows)
    heading = f'<p class="tags">{tags}</p>'
    return f'<article data-outcome="{outcome}">{heading}{_audio(first)}{said}<dl>{answers}</dl></article>'


def _answer(row: dict, transcript: str | None, verdict: dict | None) -> str:
    badge = ""
    if verdict:
        outcome = _score_name(verdict["score"])
        badge = f'<span class="verdict {outcome}" title="{escape(verdict["reason"])}">{outcome}</span>'
    # Only explanations quote: the marks of a transcription or an answer are no claim that something was said.
    text = highlight_quotes(row["prediction"], transcript if row["task"] in ("er", "sr") else None)
    return f"<dt>{escape(row['question'])}</dt><dd>{text or '<em>no answer</em>'} {badge}</dd>"


def _audio(row: dict) -> str:
    try:
        samples = load_audio(row["audio"], SAMPLING_RATE)
    except AudioError as error:
        return f'<p class="note">{escape(str(error))}</p>'
    encoded = io.BytesIO()
    soundfile.write(encoded, samples[: AUDIO_SECONDS * SAMPLING_RATE], SAMPLING_RATE, format="FLAC")
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
        + "".join(f"<td>{escape(format_cell(cell))}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll" tabindex="0"><table class="figures">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _image(svg: str, text: str) -> str:
    """A plot as an image of its own, so that its ids meet no others and nothing in it can run."""
    data = base64.b64encode(svg.encode("utf-8")).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(text)}">'


def _outcome(rows: Sequence[dict], verdicts: dict[str, dict]) -> str:
    """What became of a recording: its worst verdict, so that a look at the wrong ones misses none."""
    outcomes = [_score_name(verdicts[row["id"]]["score"]) for row in rows if row["id"] in verdicts]
    return next((name for name in ("wrong", "unscored", "right") if name in outcomes), "unjudged")


def _score_name(score: int | None) -> str:
    return "unscored" if score is None else "right" if score == 1 else "wrong"


def _label(rows: Sequence[dict]) -> str:
    return next((str(row["label"]) for task in ("er", "sr") for row in rows if row["task"] == task), "")


def _lines(path: Path) -> list[str]:
    # Not splitlines: JSON text may hold other line separators.
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line] if path.exists() else []


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m audiollm.eval.report", description="Write a run's report.")
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("--out", help="file to write (default: report.html in the folder)")
    parser.add_argument("--train-log", help="trainer_state.json, for the loss curve")
    parser.add_argument("--compare", nargs="+", default=[], metavar="RUN", help="folders of runs to compare with")
    parser.add_argument("--clips", type=int, default=24, help="how many recordings at most")
    options = parser.parse_args(arguments)
    print(write_report(options.run, options.out, options.train_log, options.compare, options.clips))


if __name__ == "__main__":
    main()
