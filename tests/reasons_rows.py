"""Rows to explain, a teacher that answers them, and the command in a process of its own, for tests of reasons."""

import json
import re

from audiollm.commands import main
from audiollm.language_models import Reply


LABELS = {"er": ("happy", "sad", "angry", "neutral"), "sr": ("positive", "negative", "neutral")}
_ROW = re.compile(r"(Emotion|Sentiment): (.*)\n<speech>\n(.*)\n</speech>")


def make_row(number, **more):
    task = "er" if number % 2 else "sr"
    label = LABELS[task][number // 2 % len(LABELS[task])]
    row = {"id": f"r{number}", "corpus": "toy", "split": "train", "task": task, "audio": f"{number}.wav"}
    row |= {"transcript": f"it is number {number}, I tell you", "label": label, "question": "How?", "speaker": "s"}
    return row | more


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_lines(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def read_request(messages):
    """What a prompt asks: `(target, task, label, transcript, whether again)`."""
    target = "evidence" if "letter by letter" in messages[0]["content"] else "interpretive"
    kind, label, transcript = _ROW.findall(messages[-1]["content"])[-1]
    again = "could not be used" in messages[-1]["content"]
    return target, {"Emotion": "er", "Sentiment": "sr"}[kind], label, transcript, again


def good_answer(messages):
    target, task, label, transcript, _ = read_request(messages)
    start = f"The speaker sounds {label}." if task == "er" else f"The sentiment is {label}."
    number = "".join(filter(str.isdigit, transcript))
    if target == "evidence":
        return f'{start} They say "{transcript[:12]}", and number {number} is what they care for.'
    return f"{start} Something about {number} seems to be on their mind today."


class Teacher:
    """A teacher in this process: `answer(messages) -> text`, or `None` for a failure."""

    name = "toy"

    def __init__(self, answer=good_answer):
        self.answer, self.asked, self.seeds = answer, [], []

    def ask(self, requests, seed=0, schema=None):
        for number, messages in enumerate(requests):
            self.asked.append(messages)
            self.seeds.append(seed)
            text = self.answer(messages)
            yield number, Reply(text, "toy is down" if text is None else None)


def run_command(*words):
    """Run `extract` or `audit`; gives the exit code."""
    return main([str(word) for word in words])


def run_quickly(*words):
    """As [`run_command`], for a child process: retries of the client without their pauses."""
    from openai._base_client import BaseClient

    BaseClient._calculate_retry_timeout = lambda *args, **kwargs: 0.01
    raise SystemExit(run_command(*words))
