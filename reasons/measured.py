"""Explanations without a teacher: a clip's label, words that it says, and what was measured of its voice.

    python -m audiollm.reasons.measured --reader ravdess --data data/ravdess --out build/ravdess-reasons

Each emotion or sentiment row with a transcript gives a row with the target `evidence`: 'The speaker sounds sad. They
say "...", and the voice is low and slow.' (`--targets interpretive`: 'The speaker sounds sad. The voice is low and
slow for them.') The voice is told beside what is usual for its speaker, as `cue_score` checks it, so what the answer
says of it is true of the clip, and the quote is said in it. Such rows teach the form of an explanation and honest
claims; why a person feels so, they don't tell.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..corpora.labels import label_answer
from ..corpora.questions import draw_number
from ..corpora.readers import read_corpus
from ..corpora.schema import EMOTION_TASKS
from ..files import write_whole
from ..processing.audio import load_audio
from ..processing.word_targets import spoken_words
from ..voice_claims.measures import measure_clip
from ..voice_claims.norms import CUES, Norms, norms_by_speaker
from .rows import NOT_EXPLAINED, TEACHER_TARGETS


# What is said of a voice that lies above and below what is usual; `check_cues` reads these words so.
WORDS = {
    "pitch": ("high", "low"),
    "pitch_range": ("lively", "flat"),
    "loudness": ("loud", "quiet"),
    "rate": ("fast", "slow"),
}
TOLD_FROM = 1.5  # margins off the usual: what just passes for a difference is not worth telling
LONGEST_QUOTE = 7
QUESTIONS = {
    ("er", "evidence"): (
        "What emotion does the speaker show, and which words show it?",
        "Which emotion is heard? Quote the words that show it.",
        "Name the emotion and give the evidence with a quote.",
        "How does the speaker sound? Quote the words as evidence.",
        "How does the speaker feel, and how can you tell?",
    ),
    ("sr", "evidence"): (
        "Which sentiment is heard? Quote the words that show it.",
        "Name the sentiment and give the evidence with a quote.",
        "Is the sentiment positive, negative or neutral, and which words show it?",
    ),
    ("er", "interpretive"): (
        "What emotion does the speaker show, and how does the voice show it?",
        "Name the emotion and say what in the voice tells it.",
        "How does the speaker sound, and what tells you so?",
    ),
    ("sr", "interpretive"): (
        "Which sentiment is heard, and how does the voice show it?",
        "Name the sentiment and say what in the voice tells it.",
        "Is the sentiment positive, negative or neutral, and what tells you so?",
    ),
}


def voice_in_words(cues: Mapping[str, float | None], norms: Norms) -> str:
    """The two things by which a voice stands out most: "low and slow", "loud", or "even".

    Args:
        cues: what [`measure_clip`](../voice_claims/measures.py) gives of a clip.
        norms: of its speaker.
    """
    off = {name: CUES[name].margins_off(cues, norms.usual) or 0.0 for name in WORDS}
    strongest = sorted(off, key=lambda name: -abs(off[name]))[:2]
    told = [WORDS[name][off[name] < 0] for name in strongest if abs(off[name]) >= TOLD_FROM]
    return " and ".join(told) or "even"


def quote_of(transcript: str, row_id: str) -> str:
    """Up to seven words in a row of what is said, of one clause where there are several."""
    clauses = [spoken_words(clause) for clause in transcript.replace("?", ".").replace("!", ".").split(".")]
    clauses = [clause for clause in clauses if clause] or [spoken_words(transcript)]
    longest = max(clauses, key=lambda clause: min(len(clause.split()), LONGEST_QUOTE))
    words = longest.split()
    start = draw_number(f"quote|{row_id}") % (max(len(words) - LONGEST_QUOTE, 0) + 1)
    return " ".join(words[start : start + LONGEST_QUOTE])


def explained(rows: Iterable[Mapping[str, Any]], targets: Sequence[str] = ("evidence",)) -> Iterator[dict[str, Any]]:
    """A row of each target for every emotion or sentiment row that has a label and words.

    Args:
        rows: of the schema; a clip is measured once, however many rows it has.
        targets: `evidence` (a quote, and the voice) or `interpretive` (the voice alone).
    """
    rows = [row for row in rows if _explainable(row)]
    clips = {_clip(row): row for row in rows}
    cues = [
        measure_clip(load_audio(row["audio"]), transcript=row["transcript"])
        for row in tqdm(clips.values(), desc="measuring voices")
    ]
    norms = norms_by_speaker(cues, [row["speaker"] for row in clips.values()])
    voices = {clip: voice_in_words(of_clip, usual) for clip, of_clip, usual in zip(clips, cues, norms)}
    for row in rows:
        for target in targets:
            pool = QUESTIONS[row["task"], target]
            question = pool[draw_number(f"why|{row['id']}") % len(pool)]
            answer = f"{label_answer(row['label'], row['task'])} {_reason(row, target, voices[_clip(row)])}"
            written = {"question": question, "answer": answer, "target": target}
            yield {**row, **written, "audio": row["audio"]["path"], "id": f"{row['id']}-{target}"}


def _explainable(row: Mapping[str, Any]) -> bool:
    names = row["label"] and row["label"].casefold() not in NOT_EXPLAINED
    return bool(row["task"] in EMOTION_TASKS and names and row["transcript"] and row["target"] not in TEACHER_TARGETS)


def _clip(row: Mapping[str, Any]) -> tuple[str, str | None, str]:
    return row["audio"]["path"], row["speaker"], row["transcript"]


def _reason(row: Mapping[str, Any], target: str, voice: str) -> str:
    if target == "interpretive":
        return f"The voice is {voice} for them."
    return f'They say "{quote_of(row["transcript"], row["id"])}", and the voice is {voice}.'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", help="of the corpus; none for rows in the schema")
    parser.add_argument("--data", required=True, help="the corpus")
    parser.add_argument("--split", default="train")
    parser.add_argument("--targets", nargs="+", choices=TEACHER_TARGETS, default=["evidence"])
    parser.add_argument("--out", required=True, help="folder for SPLIT.jsonl")
    options = parser.parse_args()
    source: str | dict[str, str] = {"reader": options.reader, "path": options.data} if options.reader else options.data
    rows = list(read_corpus(source, options.split))
    lines = [json.dumps(row, ensure_ascii=False) for row in explained(rows, options.targets)]
    left_out = sum(not _explainable(row) for row in rows)
    told = f"{left_out} of {len(rows)} rows are of other tasks, lack words or a label to explain, or have a reason"
    if not lines:
        parser.error(f"{options.data}: nothing to explain in the split {options.split}: {told}.")
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / f"{options.split}.jsonl", "\n".join(lines) + "\n")
    print(f"{out}: {len(lines)} explained rows{f'; {told}' if left_out else ''}")


if __name__ == "__main__":
    main()
