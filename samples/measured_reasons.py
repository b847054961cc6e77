"""Explanations without a teacher: a clip's label, words that it says, and what was measured of its voice.

    python -m audiollm.samples.measured_reasons --reader ravdess --data data/ravdess --out build/ravdess-reasons

Each emotion row with a transcript gives a row with the target `evidence`: 'The speaker sounds sad. They say "...", and
the voice is low and slow.' The voice is told relative to the same speaker's other clips, so what the answer says of it
is true of the clip, and the quote is said in it. Such rows teach the form of an explanation and honest claims; why a
person feels so, they don't tell.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from audiollm.corpora.questions import draw_number
from audiollm.corpora.readers import read_corpus
from audiollm.files import write_whole
from audiollm.modeling_audiollm.voice_cues import voice_cues
from audiollm.processing.audio import load_audio
from audiollm.processing.word_targets import spoken_words


# What is said of a voice that lies above and below its speaker's middle.
WORDS = {
    "pitch": ("high", "low"),
    "range": ("lively", "flat"),
    "loudness": ("loud", "quiet"),
    "rate": ("fast", "slow"),
}
TOLD_FROM = 0.7  # standard deviations of the speaker's clips
LONGEST_QUOTE = 7
QUESTIONS = (
    "What emotion does the speaker show, and which words show it?",
    "Which emotion is heard? Quote the words that show it.",
    "Name the emotion and give the evidence with a quote.",
    "How does the speaker sound? Quote the words as evidence.",
    "How does the speaker feel, and how can you tell?",
)


def measures(audio: str, words: int) -> dict[str, float]:
    """What [`WORDS`] tell of a clip, in units in which speakers differ by about the same; NaN if not measurable."""
    cues = voice_cues(load_audio(audio), words=words)
    pitch = np.nan if cues.pitch_hz is None else 12 * np.log2(cues.pitch_hz)
    values = (pitch, cues.pitch_range_semitones, cues.loudness_db, cues.words_per_second)
    return dict(zip(WORDS, (np.nan if value is None else float(value) for value in values)))


def standard_scores(clips: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Each measure of each clip as standard deviations from the middle of these clips; 0 where it can't be told."""
    scores: dict[str, dict[str, float]] = {clip: {} for clip in clips}
    for name in WORDS:
        values = np.array([clip[name] for clip in clips.values()])
        spread = np.nanstd(values) if np.isfinite(values).sum() > 3 else 0.0
        told = (values - np.nanmedian(values)) / spread if spread else np.zeros(len(values))
        for clip, value in zip(clips, np.nan_to_num(told)):
            scores[clip][name] = float(value)
    return scores


def voice_in_words(scores: Mapping[str, float]) -> str:
    """The two things by which a voice stands out most: "low and slow", "loud", or "even"."""
    strongest = sorted(scores, key=lambda name: -abs(scores[name]))[:2]
    told = [WORDS[name][scores[name] < 0] for name in strongest if abs(scores[name]) >= TOLD_FROM]
    return " and ".join(told) or "even"


def quote_of(transcript: str, row_id: str) -> str:
    """Up to seven words in a row of what is said, of one clause where there are several."""
    clauses = [spoken_words(clause) for clause in transcript.replace("?", ".").replace("!", ".").split(".")]
    clauses = [clause for clause in clauses if clause] or [spoken_words(transcript)]
    longest = max(clauses, key=lambda clause: min(len(clause.split()), LONGEST_QUOTE))
    words = longest.split()
    start = draw_number(f"quote|{row_id}") % (max(len(words) - LONGEST_QUOTE, 0) + 1)
    return " ".join(words[start : start + LONGEST_QUOTE])


def explained(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """An evidence row for every emotion row that has a label and words."""
    rows = [row for row in rows if row["task"] == "er" and row["label"] and row["transcript"]]
    speakers: dict[str | None, dict[str, dict[str, float]]] = defaultdict(dict)
    for row in tqdm(rows, desc="measuring voices"):
        speakers[row["speaker"]][row["id"]] = measures(row["audio"]["path"], len(row["transcript"].split()))
    scores = {name: told for clips in speakers.values() for name, told in standard_scores(clips).items()}
    for row in rows:
        quote = quote_of(row["transcript"], row["id"])
        answer = f'The speaker sounds {row["label"]}. They say "{quote}", and the voice is '
        question = QUESTIONS[draw_number(f"why|{row['id']}") % len(QUESTIONS)]
        changed = {"question": question, "answer": f"{answer}{voice_in_words(scores[row['id']])}."}
        yield {**row, **changed, "audio": row["audio"]["path"], "id": f"{row['id']}-evidence", "target": "evidence"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", help="of the corpus; none for rows in the schema")
    parser.add_argument("--data", required=True, help="the corpus")
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", required=True, help="folder for SPLIT.jsonl")
    options = parser.parse_args()
    source: str | dict[str, str] = {"reader": options.reader, "path": options.data} if options.reader else options.data
    lines = [json.dumps(row, ensure_ascii=False) for row in explained(read_corpus(source, options.split))]
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / f"{options.split}.jsonl", "\n".join(lines) + "\n")
    print(f"{out}: {len(lines)} explained rows")


if __name__ == "__main__":
    main()
