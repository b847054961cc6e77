"""The floor: answers without listening."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ...processing.conversation import bare_question
from .base import System


class Majority(System):
    """Gives every question of a task the most frequent answer of the training rows.

    Emotion and sentiment questions get "The speaker sounds <label>.", other ones the commonest answer; transcription
    gets nothing, for no sentence is a majority. Rows say their task. Without rows, which task a question belongs to is
    read from the training rows that ask it; a question they never ask counts as one of sentiment if it says so, else
    of emotion.

    Args:
        rows: training rows.
    """

    name = "majority"

    def __init__(self, rows: Sequence[dict]):
        tasks: dict[str, Counter] = defaultdict(Counter)
        answers: dict[str, Counter] = defaultdict(Counter)
        for row in rows:
            tasks[row["question"]][row["task"]] += 1
            answers[row["task"]][row["label"] if row["task"] in ("er", "sr") else row.get("answer") or ""] += 1
        self._task_of = {question: _most_common(counts) for question, counts in tasks.items()}
        self._answers = {task: _most_common(counts) for task, counts in answers.items()}
        for task in ("er", "sr"):
            if task in self._answers:
                self._answers[task] = f"The speaker sounds {self._answers[task]}."
        self._answers["asr"] = ""
        # By the rows' tasks, which once were guessed from their questions.
        told = repr(["by task", *sorted(self._answers.items())])
        self.fingerprint = "majority-" + hashlib.sha256(told.encode()).hexdigest()[:16]

    def answer(self, audio: np.ndarray, question: str) -> str:
        question = bare_question(question)
        guess = "sr" if "sentiment" in question.lower() else "er"
        return self._answers.get(self._task_of.get(question, guess), "")

    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str]:
        return [self._answers.get(row["task"], "") for row in rows]

    def describe(self) -> dict:
        return {"hears": "nothing", "answers": dict(sorted(self._answers.items()))}


def _most_common(counts: Counter) -> str:
    """The most frequent key; of equally frequent ones the first by name, so that the order of rows does not matter."""
    return min(counts, key=lambda key: (-counts[key], key))
