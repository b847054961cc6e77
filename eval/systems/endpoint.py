"""Any model behind an OpenAI-compatible server that takes audio in chat completions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import soundfile

from ...language_models import ServerModel
from ...modeling_audiollm.replies import final_answer
from .base import SAMPLING_RATE, NoReply, System, fingerprint_of, put_question


class Endpoint(System):
    """Sends each clip as WAV in `input_audio`, a batch at a time and concurrently.

    Args:
        model: its name on the server.
        base_url: of the server, usually ending in `/v1`; that of `OPENAI_BASE_URL` when left out.
        max_new_tokens: longest answer.
        question_format: how a question is put; holds `{question}`.
        system_prompt: said before, if given.
        options: of [`ServerModel`] (concurrency, retries, timeout).
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        max_new_tokens: int = 128,
        question_format: str = "{question}",
        system_prompt: str | None = None,
        **options,
    ):
        self.server = ServerModel(model, base_url, max_new_tokens=max_new_tokens, **options)
        self.settings = {
            "max_new_tokens": max_new_tokens,
            "question_format": question_format,
            "system_prompt": system_prompt,
        }
        self.name = model
        self.fingerprint = fingerprint_of("endpoint", model, sorted(self.settings.items(), key=str))

    def answer(self, audio: np.ndarray, question: str) -> str:
        answer = self.answer_batch([audio], [question])[0]
        if isinstance(answer, ValueError):
            raise answer
        return answer

    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str | ValueError]:
        requests = (self._messages(audio, question) for audio, question in zip(audios, questions))
        answers: list[str | ValueError] = [""] * len(audios)
        for number, reply in self.server.ask(requests):
            failed = NoReply(f"the endpoint gave no answer: {reply.error}")
            answers[number] = failed if reply.text is None else final_answer(reply.text)
        return answers

    def _messages(self, audio: np.ndarray, question: str) -> list[dict]:
        sound = {"type": "input_audio", "input_audio": {"data": _wav(audio), "format": "wav"}}
        text = {"type": "text", "text": put_question(self.settings["question_format"], question)}
        prompt = self.settings["system_prompt"]
        before = [{"role": "system", "content": prompt}] if prompt else []
        return [*before, {"role": "user", "content": [sound, text]}]

    def describe(self) -> dict:
        return {"server": self.server.client.base_url.host, **self.settings}


def _wav(audio: np.ndarray) -> str:
    file = io.BytesIO()
    soundfile.write(file, audio, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode("ascii")
