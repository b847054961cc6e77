"""Whether a teacher's answer may become a training target.

An answer is refused for every fault that is found, so that the teacher can be told all of them at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..corpora.labels import SENTIMENTS
from ..modeling_audiollm.emotion_lexicon import Reading, find_phrase, load_lexicon, phrases, split_words
from ..modeling_audiollm.emotion_reading import reader_of
from ..modeling_audiollm.evidence import find_quotes, ground_quote, normalised_words
from ..modeling_audiollm.replies import without_thoughts


# A run of so many words makes a loop when it comes so often.
LOOPS = ((4, 3), (6, 2))
# So many words in a row that an example has and the transcript has not are copied.
COPIED_WORDS = 6
# So much of an explanation, in runs of so many words of the transcript, is the speech again.
PARROTED_WORDS, PARROTED_SHARE = 3, 0.8
LEAST_LATIN, LEAST_ENGLISH = 0.9, 0.2
LANGUAGES = ("en", "any")

# Every fault has a hint in the prompt file; `generic` and `reviewer` are found by the extraction.
FAULTS = (
    "empty",
    "refusal",
    "no_label",
    "other_label",
    "no_quote",
    "quote_not_said",
    "too_short",
    "too_long",
    "unfinished",
    "language",
    "repetitive",
    "copied",
    "parroted",
    "generic",
    "meta",
    "markup",
    "reviewer",
)

# Of answers to a teacher who is told earlier turns.
CONTEXT_FAULTS = ("quote_from_context",)

_PREFIX = re.compile(r"^(?:answer|response|explanation)\s*:\s*", re.I)
_MARKUP = re.compile(r"(?:^|\n)\s*(?:[-*#>\u2022]\s|#{1,6}\s|\d+[.)]\s)|</?\w+>|<\||\|>|```|\*\*|\[/?INST\]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffd]")
_FINISHED = re.compile("[.!?\u2026\u3002\uff01\uff1f]|[\"\u201d'\u2019\u00bb\u300d]\\Z")
# By which an explanation speaks of its own making.
_META = phrases(
    "transcript, transcription, transcribed, the label, labelled, labeled, the text, the passage, the prompt, "
    "instructions, as requested, as instructed, ground truth, here is, here's a, here are, certainly, the given, "
    "the provided, the quote is, word count"
)
_ENGLISH = frozenset(
    (
        "the a an of to and in is are was that this they their them it its with for as about has have be which by not "
        "on at because speaker sounds she he her his who what from or but words sentiment"
    ).split()
)


@dataclass(frozen=True)
class Fault:
    """Why an answer is refused: one of [`FAULTS`], and what in it was found."""

    code: str
    detail: str = ""


@dataclass(frozen=True)
class Demand:
    """What an answer must do.

    Args:
        target: `interpretive` or `evidence`.
        task: `er` or `sr`.
        label: to be stated.
        transcript: what was said.
        words: least and most words outside quotes.
        labels: the label set, as far as it is known.
        examples: answers that it was shown and must not copy.
        language: one of [`LANGUAGES`], of the explanation outside its quotes.
        context: what was said before, turn by turn, which is not to be quoted.
    """

    target: str
    task: str
    label: str
    transcript: str
    words: tuple[int, int]
    labels: Collection[str] = ()
    examples: tuple[str, ...] = ()
    language: str = "en"
    context: tuple[str, ...] = ()


def clean_answer(raw: str) -> str:
    """What a teacher says without thoughts, a leading "Answer:" and characters that no text has."""
    return _PREFIX.sub("", without_thoughts(_CONTROL.sub("", raw))).strip()


def one_line(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


def find_faults(text: str, demand: Demand) -> list[Fault]:
    """All that speaks against a cleaned answer; nothing if it is accepted.

    Args:
        text: as [`clean_answer`] gives it.
        demand: what it was asked to do.
    """
    if not normalised_words(text):
        return [Fault("empty")]
    own = without_quotes(text)
    words = normalised_words(own)
    refusal = find_phrase(own, load_lexicon().model_refusals)
    faults = [Fault("refusal", refusal)] if refusal else []
    faults += _label_faults(own, demand)
    faults += _quote_faults(text, demand)
    least, most = demand.words
    if len(words) < least:
        faults.append(Fault("too_short", f"{len(words)} of at least {least} words"))
    if len(words) > most:
        faults.append(Fault("too_long", f"{len(words)} of at most {most} words"))
    if not _FINISHED.search(text[-1]):
        faults.append(Fault("unfinished", text[-30:]))
    if demand.language == "en" and not _is_english(own):
        faults.append(Fault("language"))
    if loop := _loop(text):
        faults.append(Fault("repetitive", loop))
    if copied := _copied(own, demand):
        faults.append(Fault("copied", copied))
    if parroted := _parroted(own, demand):
        faults.append(Fault("parroted", parroted))
    if meta := find_phrase(own, _META):
        faults.append(Fault("meta", meta))
    if markup := _MARKUP.search(text):
        faults.append(Fault("markup", markup.group().strip()))
    return faults


def _label_faults(own: str, demand: Demand) -> list[Fault]:
    """Whether the first sentence that states anything states the label, and nothing states anything else.

    Stricter than a judge: a target teaches, so an emotion beside the label must be near it and no class of its own.
    """
    lexicon = load_lexicon()
    labels = SENTIMENTS if demand.task == "sr" else demand.labels
    spelled = {lexicon.concept(label) or label.lower(): label for label in (*labels, demand.label)}
    reader = reader_of(tuple(spelled.values()))
    statement = reader.read(own, quoted=False)
    wanted = lexicon.concept(demand.label) or demand.label.lower()
    faults = [] if wanted in statement.first else [Fault("no_label", demand.label)]
    strange = [concept for concept in statement.concepts if not _beside(reader.readings.get(concept), spelled[wanted])]
    return faults + ([Fault("other_label", ", ".join(sorted(strange)))] if strange else [])


def _beside(reading: Reading | None, label: str) -> bool:
    """Whether what a concept reads as may stand beside a label; "mixed feelings" reads as none."""
    return reading is not None and (reading.manner or (label in reading.labels and reading.kind != "between"))


def _quote_faults(text: str, demand: Demand) -> list[Fault]:
    quotes = find_quotes(text)
    kinds = [
        (quote.text, ground_quote(quote.text, demand.transcript, context=demand.context).kind) for quote in quotes
    ]
    before = [text for text, kind in kinds if kind == "context"]
    unsaid = [text for text, kind in kinds if kind not in ("exact", "normalised", "context")]
    faults = [Fault("quote_not_said", "; ".join(unsaid))] if unsaid else []
    faults += [Fault("quote_from_context", "; ".join(before))] if before else []
    if demand.target == "evidence" and not quotes and normalised_words(demand.transcript):
        faults.append(Fault("no_quote"))
    return faults


def without_quotes(text: str) -> str:
    """A text's own words: its quotes cut out."""
    pieces, end = [], 0
    for quote in find_quotes(text):
        pieces.append(text[end : quote.start])
        end = quote.end
    return " ".join([*pieces, text[end:]])


def _is_english(own: str) -> bool:
    letters = [character for character in own if character.isalpha()]
    latin = sum(character < "\u0250" for character in letters)
    if letters and latin < LEAST_LATIN * len(letters):
        return False
    words = split_words(own)
    common = sum(word in _ENGLISH for word in words)
    return len(words) < 8 or common >= LEAST_ENGLISH * len(words)


def _loop(text: str) -> str | None:
    """A run of words that is said again and again."""
    words = normalised_words(text)
    for length, times in LOOPS:
        counts = Counter(_runs(words, length))
        if looped := next((run for run, count in counts.items() if count >= times), None):
            return " ".join(looped)
    return None


def _copied(own: str, demand: Demand) -> str | None:
    words = _runs(normalised_words(own), COPIED_WORDS)
    shown = {run for example in demand.examples for run in _runs(_explanation(example), COPIED_WORDS)}
    said = set(_runs(normalised_words(demand.transcript), COPIED_WORDS))
    return next((" ".join(run) for run in words if run in shown and run not in said), None)


def _parroted(own: str, demand: Demand) -> str | None:
    words, said = (
        normalised_words(own.partition(". ")[2]),
        set(_runs(normalised_words(demand.transcript), PARROTED_WORDS)),
    )
    places = [start for start, run in enumerate(_runs(words, PARROTED_WORDS)) if run in said]
    covered = {start + offset for start in places for offset in range(PARROTED_WORDS)}
    return " ".join(words) if covered and len(covered) >= PARROTED_SHARE * len(words) else None


def _explanation(example: str) -> list[str]:
    """An example's words after its first sentence, which every answer has to share."""
    return normalised_words(without_quotes(example.partition(". ")[2]))


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
