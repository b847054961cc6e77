"""Named text normalisers: a figure on text is worth as much as the name of what was done to the text before."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from pathlib import Path

from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from audiollm.eval import EvalError


NORMALIZERS = ("none", "whisper_english")


def load_normalizer(name: str) -> Callable[[str], str]:
    """Build a normaliser from its name.

    Args:
        name: `none` (the text as it is, without outer spaces), `whisper_english` (transformers' English normaliser for
            Whisper, without its table of British spellings, which comes with Whisper's weights and not with the
            library), or `whisper_english:FOLDER` (with the table in FOLDER's `normalizer.json`).

    Raises:
        EvalError: for another name, or a folder without the table.
    """
    kind, _, folder = name.partition(":")
    if kind == "none" and not folder:
        return str.strip
    if kind != "whisper_english":
        raise EvalError(f"unknown normaliser {name!r}; choose one of: {', '.join(NORMALIZERS)}.")
    if not folder:
        return EnglishTextNormalizer({})
    table = Path(folder) / "normalizer.json"
    if not table.is_file():
        raise EvalError(f"{folder} has no normalizer.json; give a folder with Whisper's tokenizer files.")
    return EnglishTextNormalizer(json.loads(table.read_text(encoding="utf-8")))


def normalize_squad(text: str) -> str:
    """Normalise an answer as SQuAD does: lower case, without punctuation, articles (a, an, the) and extra spaces."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())
