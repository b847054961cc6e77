"""Named text normalisers: a figure on text is worth as much as the name of what was done to the text before."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from pathlib import Path

import jiwer
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from . import EvalError


NORMALIZERS = ("none", "whisper_english", "audiobench", "mandarin_english")
Normalizer = Callable[[str], str]

_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
seventeen eighteen nineteen twenty".split()
_TENS = "thirty forty fifty sixty seventy eighty ninety".split()
_NUMBERS = {str(number): word for number, word in enumerate(_ONES)} | {
    str(10 * number): word for number, word in enumerate(_TENS, start=3)
}
_NUMBER = re.compile(rf"\b(?:{'|'.join(_NUMBERS)})\b")
_BRACKETS = re.compile(r"[\[({<][^\[\]()\n]*[\])}>]")
_FILLERS = re.compile(r"\b(?:uh|umm?|er|ah)\b")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")


def load_normalizer(name: str) -> Normalizer:
    """Build a normaliser from its name.

    Args:
        name: one of

            - `none`: the text as it is, without outer spaces.
            - `whisper_english`: transformers' English normaliser for Whisper.
            - `audiobench`: AudioBench's steps for English: the same normaliser, then numbers up to twenty and whole
              tens as words, no bracketed text, jiwer's expansion of contractions and removal of punctuation, no
              fillers. (AudioBench then takes an empty text for the word "empty"; here empty texts follow the metric's
              own rule.)
            - `mandarin_english`: `audiobench` with every Chinese character a word of its own, for speech that mixes
              both, as in part 4 of the National Speech Corpus of Singapore. WER is then the mixed error rate.
              Traditional characters are not turned into simplified ones.

            Whisper's table of British spellings comes with its weights and not with the library; every name but `none`
            takes `:FOLDER` to use the table in FOLDER's `normalizer.json`.

    Raises:
        EvalError: for another name, or a folder without the table.
    """
    kind, _, folder = name.partition(":")
    if kind == "none" and not folder:
        return str.strip
    if kind not in NORMALIZERS[1:]:
        raise EvalError(f"unknown normaliser {name!r}; choose one of: {', '.join(NORMALIZERS)}.")
    whisper = EnglishTextNormalizer(_spellings(folder) if folder else {})
    if kind == "whisper_english":
        return whisper
    if kind == "audiobench":
        return lambda text: _audiobench(text, whisper)
    return lambda text: _separate_characters(_audiobench(text, whisper))


def _spellings(folder: str) -> dict[str, str]:
    table = Path(folder) / "normalizer.json"
    if not table.is_file():
        raise EvalError(f"{folder} has no normalizer.json; give a folder with Whisper's tokenizer files.")
    return json.loads(table.read_text(encoding="utf-8"))


# The steps and their order are those of AudioBench's preprocess_text_asr; the code is jiwer's and ours.
_JIWER_STEPS = jiwer.Compose(
    [
        jiwer.RemoveMultipleSpaces(),
        jiwer.ExpandCommonEnglishContractions(),
        jiwer.RemoveKaldiNonWords(),
        jiwer.RemovePunctuation(),
    ]
)


def _audiobench(text: str, whisper: EnglishTextNormalizer) -> str:
    text = _NUMBER.sub(lambda number: _NUMBERS[number.group()], whisper(text.lower()))
    return " ".join(_FILLERS.sub("", _JIWER_STEPS(_BRACKETS.sub("", text))).split())


def _separate_characters(text: str) -> str:
    return " ".join(_HAN.sub(lambda character: f" {character.group()} ", text).split())


def normalize_squad(text: str) -> str:
    """Normalise an answer as SQuAD does: lower case, without punctuation, articles (a, an, the) and extra spaces."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())
