"""The sentences of the embedded corpus: how the templates of sentences.yaml are filled, and the splits they fall into.

Every text was written for this project. A template is a line of words with slots: `{animal}` takes a word of that
class, `(a|b)` one of the alternatives; `<...>` marks the words that carry the emotion. Which combination of slot words
belongs to which split depends on nothing but the sentence (`split_of`), so corpora made at different times agree:
no sentence is ever heard in training and asked in a test.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import yaml


EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")

TEXTS = yaml.safe_load(Path(__file__).with_name("sentences.yaml").read_text(encoding="utf-8"))
CLASSES: dict[str, list[str]] = TEXTS["classes"]
# {emotion: {topic: templates}}; "everyday" holds the sentences whose words carry no emotion.
TEMPLATES: dict[str, dict[str, str]] = TEXTS["templates"]
EVERYDAY: str = TEXTS["everyday"]
FREE: dict[str, dict[str, str]] = TEXTS["free"]
FREE_EVERYDAY: str = TEXTS["free_everyday"]
SPLITS = ("train", "validation", "test")
_SLOT = re.compile(r"\{(\w+)\}|\(([^()]*)\)")


@dataclass(frozen=True)
class Sentence:
    """A text to be said.

    Attributes:
        text: lower-case words.
        emotion: the emotion the words carry ("neutral" for everyday and ordinary ones).
        topic: what it is about; "everyday" where the words carry nothing.
        quote: the 3 to 6 words that show the emotion (for everyday sentences: all or the first five).
        wording: "template" or "free" ("string" for random words, base corpus only).
        template: number of the template, -1 without one.
    """

    text: str
    emotion: str
    topic: str
    quote: str
    wording: str
    template: int = -1


def lines_of(block: str) -> list[str]:
    """The non-empty lines of a block."""
    return [line.strip() for line in block.splitlines() if line.strip()]


def all_templates() -> list[tuple[str, str, str]]:
    """Every template as (emotion, topic, line)."""
    marked = [
        (e, t, line) for e, topics in TEMPLATES.items() for t, block in topics.items() for line in lines_of(block)
    ]
    return marked + [("neutral", "everyday", line) for line in lines_of(EVERYDAY)]


def slots(line: str) -> list[list[str]]:
    """The alternatives of each slot of a template, in order."""
    return [CLASSES[name] if name else inline.split("|") for name, inline in _SLOT.findall(line)]


def fill(line: str, choice: tuple[str, ...]) -> str:
    """A template with one word (or phrase) put into each slot."""
    words = iter(choice)
    return _SLOT.sub(lambda _: next(words), line)


def pattern(line: str) -> re.Pattern:
    """A regular expression that matches every sentence of a template and no other."""
    plain = re.sub(r"[<>]", "", line)
    parts = (
        "(?:" + "|".join(CLASSES[m[1]] if m[1] else m[2].split("|")) + ")" if m else re.escape(text)
        for text, m in _split_slots(plain)
    )
    return re.compile("".join(parts))


def _split_slots(line: str):
    end = 0
    for match in _SLOT.finditer(line):
        yield line[end : match.start()], None
        yield "", match
        end = match.end()
    yield line[end:], None


def parse(marked: str, emotion: str, topic: str, wording: str, template: int = -1) -> Sentence:
    """Read one marked line without slots."""
    text = re.sub(r"[<>]", "", marked)
    found = re.search(r"<(.*)>", marked)
    words = text.split()
    quote = found[1] if found else text if len(words) <= 6 else " ".join(words[:5])
    return Sentence(text, emotion, topic, quote, wording, template)


def split_of(text: str) -> str:
    """The split of a filled template: 6 in 8 train, 1 in 8 validation and test each, by a hash of the text."""
    place = hashlib.sha256(text.encode()).digest()[0] % 8
    return {0: "validation", 1: "test"}.get(place, "train")


def template_sentences() -> dict[str, list[list[Sentence]]]:
    """For each split, the sentences of each template (one inner list per template, possibly empty).

    Templates with fewer than four sentences are used in train only, so that the words around the slots of any
    validation or test sentence have been heard in training.
    """
    out = {split: [] for split in SPLITS}
    for number, (emotion, topic, line) in enumerate(all_templates()):
        sentences = [
            parse(fill(line, choice), emotion, topic, "template", number) for choice in itertools.product(*slots(line))
        ]
        for split in SPLITS:
            if len(sentences) < 4:
                mine = sentences if split == "train" else []
            else:
                mine = [s for s in sentences if split_of(s.text) == split]
            out[split].append(mine)
    return out


def free_sentences(split: str) -> list[Sentence]:
    """The free sentences of one split: every third of each emotion's."""
    out = []
    for emotion, topics in FREE.items():
        found = [parse(line, emotion, topic, "free") for topic, block in topics.items() for line in lines_of(block)]
        out += found[SPLITS.index(split) :: 3]
    everyday = [parse(line, "neutral", "everyday", "free") for line in lines_of(FREE_EVERYDAY)]
    return out + everyday[SPLITS.index(split) :: 3]


def vocabulary() -> list[str]:
    """All words of the corpora, sorted."""
    lines = [re.sub(r"[<>]", "", line) for _, _, line in all_templates()]
    words = {w for line in lines for part in _SLOT.sub(" ", line).split() for w in part.split()}
    words |= {w for line in lines for options in slots(line) for option in options for w in option.split()}
    words |= {w for split in SPLITS for s in free_sentences(split) for w in s.text.split()}
    return sorted(words)
