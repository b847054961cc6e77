"""Systems to evaluate: everything that answers questions about recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...corpora.schema import RowError
from ...language_models.base import split_server
from .. import EvalError
from ..rows import read_data
from .base import SAMPLING_RATE, System


# The paper's baselines, and cascades as AudioBench pairs them.
PRESETS = {
    "whisper+llama3": "cascade:openai/whisper-large-v3+meta-llama/Meta-Llama-3-8B-Instruct",
    "whisper+sea-lion": "cascade:openai/whisper-large-v2+aisingapore/gemma2-9b-cpt-sea-lionv3-instruct",
    "qwen2-audio": "chat:Qwen/Qwen2-Audio-7B-Instruct",
    "audio-reasoner": "chat:zhifeixie/Audio-Reasoner",
    "r1-aqa": "chat:mispeech/r1-aqa",
    "phi-4-multimodal": "chat:microsoft/Phi-4-multimodal-instruct@refs/pr/70",  # its revision for transformers' class
    "meralion": "chat:MERaLiON/MERaLiON-2-10B",
}
SYSTEM_FORMS = (
    "AudioLLM folder; cascade:ASR+LLM (LLM a folder or server:NAME@URL); chat:MODEL; endpoint:NAME@URL; "
    "emotion2vec:FOLDER; parts:FOLDER; majority or majority:DATA; transcript:LLM; swapped:SYSTEM; or a preset: "
    f"{', '.join(PRESETS)}"
)
# What kinds of systems read of the options that not all do; a folder is an AudioLLM or a chat model.
_READ = {
    **dict.fromkeys(("majority", "emotion2vec", "parts"), ()),
    **dict.fromkeys(("transcript", "cascade"), ("max_new_tokens", "question_format")),
    "endpoint": ("max_new_tokens", "question_format", "system_prompt"),
    "chat": ("max_new_tokens", "question_format", "system_prompt", "trust_remote_code"),
    "audiollm": ("max_new_tokens", "quote_confidence"),
}
OPTIONS = tuple(dict.fromkeys(name for names in _READ.values() for name in names))


def options_read(spec: str) -> tuple[str, ...]:
    """Which of [`OPTIONS`] a system reads, by its name as of [`load_system`]; all, where there is no such system."""
    kind, _, rest = PRESETS.get(spec, spec).partition(":")
    if kind == "swapped" and rest:
        return options_read(rest)
    if kind not in _READ and Path(spec).is_dir():
        kind = "audiollm" if _model_type(spec) in (None, "audiollm") else "chat"
    return _READ.get(kind, OPTIONS)


def load_system(
    spec: str,
    data: str | Path | dict[str, Any] | None = None,
    max_new_tokens: int = 128,
    question_format: str = "{question}",
    system_prompt: str | None = None,
    trust_remote_code: bool = False,
    quote_confidence: float | None = None,
) -> System:
    """Build a system from its name.

    Args:
        spec: one of

            - an AudioLLM checkpoint folder
            - `cascade:ASR+LLM`: a recogniser and a language model, each a folder or Hub id; the language model may be
              `server:NAME@URL`
            - `chat:MODEL`: an audio model that transformers has, folder or Hub id, perhaps with `@REVISION`; a folder
              of such a model can be given as it is
            - `endpoint:NAME@URL`: a model behind an OpenAI-compatible server that takes audio
            - `emotion2vec:FOLDER`: a converted classifier
            - `parts:FOLDER`: an AudioLLM's adapters alone, before its language model reads them
            - `majority`: the floor, the most frequent answers of the training rows of the data; `majority:DATA`, of
              those of another corpus
            - `transcript:LLM`: a control: a language model with the transcripts of the data, and no sound
            - `swapped:SYSTEM`: a control: any of these systems, asked about another row's recording
            - a name of [`PRESETS`]
        data: corpus whose training rows the majority needs.
        max_new_tokens: longest answer of a generating system, in tokens.
        question_format: how a question is put to a cascade, a chat model or an endpoint.
        system_prompt: said before to a chat model or an endpoint.
        trust_remote_code: run the code that a chat model brings.
        quote_confidence: least probability of a word that an AudioLLM checkpoint quotes; by default its own.

    Raises:
        EvalError: if there is no such system, or it lacks what it needs.
    """
    if "{question}" not in question_format:
        raise EvalError(f"a question format needs {{question}} where the question goes; got {question_format!r}.")
    kind, _, rest = PRESETS.get(spec, spec).partition(":")
    asked = {"max_new_tokens": max_new_tokens, "question_format": question_format}
    if kind == "majority":
        return _majority(rest or data)
    if kind == "emotion2vec" and rest:
        from .emotion2vec import Emotion2VecClassifier

        return Emotion2VecClassifier(rest)
    if kind == "parts" and rest:
        from .parts import Parts

        return Parts(rest)
    if kind == "transcript" and rest:
        from ...language_models import load_language_model
        from .transcript import Transcript

        return Transcript(load_language_model(rest, max_new_tokens=max_new_tokens), **asked)
    if kind == "swapped" and rest:
        from .swapped import Swapped

        return Swapped(
            load_system(
                rest, data, max_new_tokens, question_format, system_prompt, trust_remote_code, quote_confidence
            )
        )
    if kind == "cascade" and rest:
        return _cascade(rest, asked)
    if kind == "endpoint" and rest:
        return _endpoint(rest, asked | {"system_prompt": system_prompt})
    if kind == "chat" and rest:
        from .chat import ChatModel

        return ChatModel(rest, **asked, system_prompt=system_prompt, trust_remote_code=trust_remote_code)
    if Path(spec).is_dir():
        if _model_type(spec) not in (None, "audiollm"):
            return load_system(f"chat:{spec}", data, max_new_tokens, question_format, system_prompt, trust_remote_code)
        from .audiollm import AudioLLM  # loads torch, which other systems do without

        return AudioLLM(spec, max_new_tokens=max_new_tokens, quote_confidence=quote_confidence)
    raise EvalError(f"no system {spec!r}: give one of: {SYSTEM_FORMS}.")


def _majority(data: str | Path | dict[str, Any] | None) -> System:
    from .majority import Majority

    if data is None:
        raise EvalError("the majority is that of training rows: say of which data, majority:FOLDER.")
    try:
        return Majority(read_data(data, "train"))
    except (FileNotFoundError, RowError) as error:
        raise EvalError(
            f"the majority is that of training rows: {error} Read those too (audiollm read ... --split train test), "
            "or name where they are: majority:FOLDER."
        ) from error


def _cascade(parts: str, asked: dict) -> System:
    from ...language_models import load_language_model
    from .cascade import Cascade

    recogniser, _, model = parts.partition("+")
    if not model:
        raise EvalError(f"a cascade has two parts, ASR+LLM; got {parts!r}.")
    return Cascade(recogniser, load_language_model(model, max_new_tokens=asked["max_new_tokens"]), **asked)


def _endpoint(server: str, asked: dict) -> System:
    from .endpoint import Endpoint

    model, url = split_server(server)
    if url and urlsplit(url).username:
        raise EvalError("an endpoint's URL would be kept with the results: leave its user and password out of it.")
    return Endpoint(model, url, **asked)


def _model_type(folder: str) -> str | None:
    config = Path(folder) / "config.json"
    return json.loads(config.read_text(encoding="utf-8")).get("model_type") if config.is_file() else None


__all__ = ["OPTIONS", "PRESETS", "SAMPLING_RATE", "SYSTEM_FORMS", "System", "load_system", "options_read"]
