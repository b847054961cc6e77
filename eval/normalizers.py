"""Named text normalisers: a figure on text is worth as much as the name of what was done to the text before."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Callable
from functools import cache
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


def plain_characters(text: str) -> str:
    """The same words in one encoding: what tells texts apart only by how their characters were typed or decoded.

    One kind of apostrophe and of quotation mark, ASCII for full-width forms, composed letters (NFC), Windows-1252
    where a wrong decoding left its bytes as controls or as "\u00e2\u20ac\u2122", and no invisible characters.
    """
    text = _TWICE_DECODED.sub(lambda found: _decode_again(found.group()), text)
    text = "".join(_CP1252.get(character, character) for character in text)
    return unicodedata.normalize("NFC", text.translate(_PLAIN))


def _decode_again(text: str) -> str:
    codes = (ord(character) for character in text)
    found = bytes(code if code < 256 else text[place].encode("cp1252")[0] for place, code in enumerate(codes))
    return found.decode("utf-8", errors="ignore") or text


# Three characters of General Punctuation in UTF-8, read as Windows-1252 or Latin-1.
_TWICE_DECODED = re.compile(
    "\u00e2[\u20ac\x80][\u02dc\u2122\u0153\u009c-\u009d\x98\x99\u201c\u201d\u0161\u203a\u017e\u009e]"
)
_CP1252 = {chr(code): bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}
_PLAIN = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},  # full-width ASCII
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u02bc\u02bb\u2032\u00b4`\uff40\u2039\u203a"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"), '"'),
    **dict.fromkeys((0x3000, 0xA0, 0x202F, 0x2007), " "),
    **dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0xAD)),
}


@cache
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
              both. WER is then the mixed error rate. These are the steps of AudioBench's
              `preprocess_text_asr_code_switch_chinese`; part 4 of the National Speech Corpus of Singapore has another
              one there (`preprocess_text_asr_code_imda_part4`), so its figures are not quite those. Traditional
              characters are not turned into simplified ones.

            All of them take characters as [`plain_characters`] gives them.

            Whisper's table of British spellings comes with its weights and not with the library; every name but `none`
            takes `:FOLDER` to use the table in FOLDER's `normalizer.json`.

    Raises:
        EvalError: for another name, or a folder without the table.
    """
    kind, _, folder = name.partition(":")
    if kind == "none" and not folder:
        return lambda text: plain_characters(text).strip()
    if kind not in NORMALIZERS[1:]:
        raise EvalError(f"unknown normaliser {name!r}; choose one of: {', '.join(NORMALIZERS)}.")
    whisper = EnglishTextNormalizer(_spellings(folder) if folder else {})
    if kind == "whisper_english":
        return lambda text: whisper(plain_characters(text))
    if kind == "audiobench":
        return lambda text: _audiobench(plain_characters(text), whisper)
    return lambda text: _separate_characters(_audiobench(plain_characters(text), whisper))


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
    return " ".join(_FILLERS.sub("", str(_JIWER_STEPS(_BRACKETS.sub("", text)))).split())


def _separate_characters(text: str) -> str:
    return " ".join(_HAN.sub(lambda character: f" {character.group()} ", text).split())


def normalize_squad(text: str) -> str:
    """Normalise an answer as SQuAD does: lower case, without punctuation, articles (a, an, the) and extra spaces."""
    text = "".join(character for character in plain_characters(text).lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())
