"""What every system under evaluation offers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...modeling_audiollm.emotion_lexicon import load_lexicon


if TYPE_CHECKING:  # loads torch, which some systems do without
    from ...language_models import LanguageModel


SAMPLING_RATE = 16_000


class NoReply(ValueError):
    """A model or server gave no answer to a row; asked again, it may."""


class System(Protocol):
    """Answers questions about recordings. Subclass it, or offer the same methods.

    Attributes:
        name: how tables call it.
        fingerprint: changes whenever its answers may change, so that a run is never resumed with another system's.
    """

    name: str
    fingerprint: str

    def answer(self, audio: np.ndarray, question: str) -> str:
        """Answer one question.

        Args:
            audio: mono float32 samples in [-1, 1] at 16 kHz, shape `[samples]`.
            question: what is asked; for a row with context after what was said before (see [`in_context`]).

        Raises:
            ValueError: if this clip or question can't be answered; the row is then recorded with the error.
            NoReply: if it was not answered this time.
        """
        ...

    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str | ValueError]:
        """Answer several questions, one per recording; what can't be answered may have its error in the place."""
        return [self.answer(audio, question) for audio, question in zip(audios, questions)]

    def describe(self) -> dict:
        """What else a reader needs to reproduce the answers: settings, device, size."""
        return {}

    def counted(self) -> dict[str, int]:
        """What is counted of its answers since it was loaded, as how many were cut; a run adds up its processes."""
        return {}


def put_question(form: str, question: str) -> str:
    """A question as `--question-format` says; braces elsewhere in it, as of JSON, stay as they are."""
    return form.replace("{question}", question)


def sentiment_of(emotion: str) -> str:
    """The sentiment that goes with an emotion by the lexicon, where nothing but the emotion is known."""
    lexicon = load_lexicon()
    return lexicon.emotions.get(lexicon.concept(emotion) or "", {}).get("valence") or "neutral"


def run_name(folder: str | Path) -> str:
    """What a checkpoint is called: by its folder, or by its training's where that is `model` or `checkpoint-N`."""
    path = Path(folder).resolve()
    if path.name == "model" and path.parent.name:
        return path.parent.name
    return f"{path.parent.name}-{path.name}" if re.fullmatch(r"checkpoint-\d+", path.name) else path.name


def fingerprint_of(kind: str, *parts: Any) -> str:
    """A system's fingerprint from all that its answers depend on; of a folder, every file's name, size and change."""
    return f"{kind}-" + hashlib.sha256(repr([_state(part) for part in parts]).encode()).hexdigest()[:16]


def checkpoint_of(model: LanguageModel) -> str:
    """Folder or Hub id of a language model on this machine; a server's model is known by its name alone."""
    return getattr(_config_of(model), "name_or_path", None) or model.name


def describe_language_model(model: LanguageModel) -> dict:
    """What a reader needs to ask a language model again, as far as it tells."""
    settings = {name: getattr(model, name, None) for name in ("max_new_tokens", "temperature")}
    return {"name": model.name, "revision": getattr(_config_of(model), "_commit_hash", None), **settings}


def _config_of(model: LanguageModel) -> Any:
    return getattr(getattr(model, "model", None), "config", None)


def _state(part: Any) -> Any:
    if not isinstance(part, str) or not Path(part).is_dir():
        return part
    # Reading gigabytes of weights at each start would be slow.
    files = sorted(file for file in Path(part).glob("*") if file.is_file())
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
