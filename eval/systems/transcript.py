"""A control that reads instead of hearing: a language model with the words of each recording, as the data has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ...corpora.questions import STYLES
from ...language_models import LanguageModel
from ...modeling_audiollm.replies import final_answer
from ...processing.conversation import asked as asked_of
from ...processing.conversation import bare_question
from .base import NoReply, System, checkpoint_of, describe_language_model, fingerprint_of, put_question


PROMPT = """Here is what a recogniser wrote down of a voice recording:
\"\"\"
{transcript}
\"\"\"

Answer this question about the recording in one or two sentences.
{question}"""
WAY = "transcripts to rows of asr"  # in fingerprints: it was by the question's words
_QUESTIONS = {question for pools in STYLES.values() for question in pools["asr"]}
_TRANSCRIBE = re.compile(
    r"\btranscri(?:be|pt|ption)\b|\bwrite down (?:what|the words)\b|\bwhich words are\b"
    r"|\bwhat (?:is|was) (?:being )?said\b|\bwhat (?:does|did) the speaker say\b",
    re.I,
)


class Transcript(System):
    """A language model that is given the row's transcript, by the prompt of a cascade, and no sound.

    A row of transcription gets it as it is, so a word error rate says nothing here.

    Args:
        model: reads the transcripts.
        max_new_tokens: its longest answer, part of the fingerprint.
        question_format: how a question is put to it; holds `{question}`.
    """

    def __init__(self, model: LanguageModel, max_new_tokens: int = 128, question_format: str = "{question}"):
        self.model, self.max_new_tokens, self.question_format = model, max_new_tokens, question_format
        self.name = f"transcript+{model.name}"
        parts = (checkpoint_of(model), max_new_tokens, question_format, PROMPT, WAY)
        self.fingerprint = fingerprint_of("transcript", *parts)

    def answer(self, audio: np.ndarray, question: str) -> str:
        raise ValueError("this system reads the transcripts of rows; a recording alone has none.")

    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str | ValueError]:
        lacking = ValueError("the row has no transcript to read.")
        answers: list[str | ValueError] = [row.get("transcript") or lacking for row in rows]
        return read_and_answer_rows(self.model, answers, rows, self.question_format)

    def describe(self) -> dict:
        return {
            "hears": "the words of the data",
            "language_model": describe_language_model(self.model),
            "prompt": PROMPT,
            "question_format": self.question_format,
            "max_new_tokens": self.max_new_tokens,
        }


def read_and_answer_rows(
    model: LanguageModel, transcripts: Sequence[str | ValueError], rows: Sequence[dict], question_format: str
) -> list[str | ValueError]:
    """As [`read_and_answer`], about rows, whose task says which are of transcription."""
    wanted = [row["task"] == "asr" for row in rows]
    return read_and_answer(model, transcripts, [asked_of(row) for row in rows], question_format, wanted)


def read_and_answer(
    model: LanguageModel,
    transcripts: Sequence[str | ValueError],
    questions: Sequence[str],
    question_format: str,
    verbatim: Sequence[bool] | None = None,
) -> list[str | ValueError]:
    """A language model's answers by transcripts; the transcript itself where that is asked for.

    Args:
        model: asked.
        transcripts: of each recording, or why there is none.
        questions: of each recording.
        question_format: how a question is put; holds `{question}`.
        verbatim: which ask for the transcript; read from the questions when left out.
    """
    if verbatim is None:
        verbatim = [asks_for_transcript(bare_question(question)) for question in questions]
    answers = list(transcripts)
    asked = [
        number
        for number, (transcript, as_it_is) in enumerate(zip(transcripts, verbatim))
        if isinstance(transcript, str) and not as_it_is
    ]
    requests = [_messages(str(answers[number]), put_question(question_format, questions[number])) for number in asked]
    for number, reply in model.ask(requests):
        failed = NoReply(f"the language model gave no answer: {reply.error}")
        answers[asked[number]] = failed if reply.text is None else final_answer(reply.text)
    return answers


def asks_for_transcript(question: str) -> bool:
    """Whether a question wants the words as they were said."""
    return question in _QUESTIONS or bool(_TRANSCRIBE.search(question))


def _messages(transcript: str, question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPT.format(transcript=transcript, question=question)}]
