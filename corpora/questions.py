"""Pools of questions, drawn by seed and row, so that a corpus is the same whoever reads it.

Three styles: `plain` (short, the default), `paper` (open questions about what the speaker feels, as a reasoning model
is asked; paper, section 3.1) and `audiobench` (one question with the label list in brackets). Each can be asked with
the label list or without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


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

PAPER = {
    "asr": (
        "What is being said in this recording?",
        "Please turn this recording into text.",
        "Listen closely and give the exact words of the speaker.",
        "Could you write out what you hear?",
    ),
    "er": (
        "What is the emotional state of the speaker, as far as you can hear it?",
        "How do you think the person in this recording feels?",
        "Listen to the speaker: what emotion comes across?",
        "How would you describe the mood of this speaker?",
        "What feeling do the speaker's words and voice express?",
        "If you had to explain how this person feels, what would you say?",
    ),
    "sr": (
        "What attitude does the speaker convey overall?",
        "How would you judge the sentiment behind these words?",
        "Does the speaker come across as pleased, displeased or neither?",
        "Listen to the recording: what is the sentiment of the speaker?",
        "What sentiment do the speaker's words and voice express?",
    ),
}
AUDIOBENCH = {
    "asr": (
        "Please write the speech as text.",
        "Give a transcription of the spoken words.",
        "Convert what you hear into written words.",
        "Provide the transcript of this audio.",
    ),
    "er": (
        "Which emotion can be heard in the speaker's voice{labels}?",
        "Judging by the speech, what is the emotion of the speaker{labels}?",
        "What would you call the speaker's emotional tone{labels}?",
        "Can you tell which emotion the speaker expresses{labels}?",
        "What does the way of speaking tell about the speaker's emotion{labels}?",
    ),
    "sr": (
        "Which sentiment can be heard in the speaker's voice{labels}?",
        "Judging by the speech, what is the sentiment of the speaker{labels}?",
        "What would you call the sentiment of this speech{labels}?",
        "Can you tell which sentiment the speaker expresses{labels}?",
        "What does the way of speaking tell about the speaker's sentiment{labels}?",
    ),
}
STYLES = {"plain": POOLS, "paper": PAPER, "audiobench": AUDIOBENCH}
LABEL_LISTS = ("never", "always", "mixed")


def draw_question(
    task: str,
    row_id: str,
    seed: int = 0,
    style: str = "plain",
    labels: Sequence[str] = (),
    label_list: str = "always",
) -> str:
    """A question of the task's pool; the same for the same row and seed, on every machine.

    Args:
        task: `asr`, `er` or `sr`; spoken questions have their own.
        row_id: the row to ask about.
        seed: another seed, another draw.
        style: one of [`STYLES`].
        labels: the label set, to be listed in questions about labels; none is listed without it.
        label_list: `always`, `never`, or `mixed`: for a seeded half of the rows.
    """
    pool = STYLES[style][task]
    question = pool[draw_number(f"{seed}|{task}|{row_id}") % len(pool)]
    listed = {"always": True, "never": False, "mixed": draw_number(f"labels|{seed}|{task}|{row_id}") % 2 == 0}[
        label_list
    ]
    names = ", ".join(labels) if listed and task != "asr" else ""
    if "{labels}" in question:
        return question.replace("{labels}", f" ({names})" if names else "")
    return f"{question} Choose from: {names}." if names else question


def draw_number(text: str) -> int:
    """A large whole number drawn by a text: the same for the same text, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
