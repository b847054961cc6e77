"""Pools of questions, drawn by seed and row, so that a corpus is the same whoever reads it (anchors, P25)."""

from __future__ import annotations

import hashlib


ASR = (
    "Write down what is said.",
    "What does the speaker say?",
    "Transcribe the speech.",
    "Which words are spoken?",
)
EMOTION = (
    "Which emotion does the speaker show? Answer with the label.",
    "How does the speaker sound? Name the emotion.",
    "Name the speaker's emotion.",
)
SENTIMENT = (
    "Is the sentiment positive, negative or neutral? Answer with the label.",
    "Name the sentiment of the speech.",
    "Which sentiment does the speaker express? Name it.",
)
POOLS = {"asr": ASR, "er": EMOTION, "sr": SENTIMENT}


def draw_question(task: str, row_id: str, seed: int = 0) -> str:
    """A question of the task's pool; the same for the same row and seed, on every machine."""
    pool = POOLS[task]
    digest = hashlib.sha256(f"{seed}|{task}|{row_id}".encode()).digest()
    return pool[int.from_bytes(digest[:8], "big") % len(pool)]
