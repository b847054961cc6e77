"""The rule judge's vocabulary (lexicon.json), and how its concepts fall into the classes of a label set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .. import EvalError


LEXICON_FILE = Path(__file__).with_name("lexicon.json")
_WORD_LISTS = (
    "several_emotions",
    "emotion_nouns",
    "not_emotions",
    "negators",
    "negation_ends",
    "reasons",
    "resets",
    "statements",
    "first_person",
    "subjects",
    "refusals",
)


@dataclass(frozen=True)
class Reading:
    """What a concept is in a label set.

    `kind` is `"class"` (it is the one label in `labels`), `"between"` (it may be any of `labels`) or `"near"` (it is
    none of them, though it comes near `labels`). `manner`: a way of speaking more than an emotion.
    """

    concept: str
    labels: tuple[str, ...]
    kind: str
    manner: bool = False

    @property
    def plain(self) -> bool:
        return self.kind == "class"


@dataclass(frozen=True)
class Lexicon:
    """Word lists by role, and the phrase index over all of them."""

    emotions: dict[str, dict]
    label_sets: dict[str, tuple[str, ...]]
    bare_answers: dict[str, str]
    negation_lists: frozenset[str]
    exceptions: frozenset[str]
    questions: frozenset[str]
    phrases: dict[str, list[tuple[tuple[str, ...], frozenset[str], str | None]]] = field(repr=False)

    def concept(self, word: str) -> str | None:
        """The concept of a label or an emotion word, None if the lexicon does not know it."""
        words = split_words(word)
        if " ".join(words) in self.emotions:
            return " ".join(words)
        if " ".join(words) in self.bare_answers:
            return self.bare_answers[" ".join(words)]
        found = (entry for entry in self.phrases.get(words[0] if words else "", ()) if entry[0] == words)
        return next((concept for _, _, concept in found if concept), None)


def split_words(text: str) -> tuple[str, ...]:
    """Lower-case words; a hyphen parts words, an apostrophe inside a word does not."""
    return tuple(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'")))


@cache
def load_lexicon() -> Lexicon:
    """Read the vocabulary and index its phrases by their first word, longest phrases first."""
    data = json.loads(LEXICON_FILE.read_text(encoding="utf-8"))
    roles: dict[tuple[str, ...], set[str]] = {}
    concepts: dict[tuple[str, ...], str] = {}
    for concept, entry in data["emotions"].items():
        for words in map(split_words, entry["words"]):
            concepts[words] = concept
            roles.setdefault(words, set()).add("emotion")
    for role in _WORD_LISTS:
        for words in map(split_words, data[role]):
            roles.setdefault(words, set()).add(role)
    phrases: dict[str, list] = {}
    for words in sorted(roles, key=lambda words: (-len(words), words)):
        phrases.setdefault(words[0], []).append((words, frozenset(roles[words]), concepts.get(words)))
    return Lexicon(
        emotions=data["emotions"],
        label_sets={name: tuple(labels) for name, labels in data["label_sets"].items()},
        bare_answers=data["bare_answers"],
        negation_lists=frozenset(word for phrase in data["negation_lists"] for word in split_words(phrase)),
        exceptions=frozenset(data["exceptions"]),
        questions=frozenset(data["questions"]),
        phrases=phrases,
    )


@cache
def read_concepts(labels: tuple[str, ...]) -> dict[str, Reading]:
    """How each concept of the lexicon reads in a label set.

    A concept that is itself a class is that class. Else it is the one class of its `is` list (for a set with positive
    and negative: of its valence), else it is near the classes of its `is` and `near` lists.

    Raises:
        EvalError: if two labels are the same class, or the set is empty.
    """
    lexicon = load_lexicon()
    classes: dict[str, str] = {}
    for label in labels:
        concept = lexicon.concept(label) or label.lower()
        if concept in classes:
            raise EvalError(f"labels {classes[concept]!r} and {label!r} mean the same class ({concept}).")
        classes[concept] = label
    if not classes:
        raise EvalError("the label set is empty.")
    readings = {concept: Reading(concept, (label,), "class") for concept, label in classes.items()}
    by_valence = {"positive", "negative"} <= classes.keys()
    for concept, entry in lexicon.emotions.items():
        if concept not in readings:
            readings[concept] = _reading(concept, entry, classes, by_valence)
    return readings


def _reading(concept: str, entry: dict, classes: dict[str, str], by_valence: bool) -> Reading:
    manner = entry.get("manner", False)
    if by_valence:
        same = [entry["valence"]] if entry["valence"] else []
        near = [] if manner else ["positive", "negative"]
    else:
        same, near = entry.get("is", ()), entry.get("near", ())
    same = tuple(classes[c] for c in same if c in classes)
    if same:
        return Reading(concept, same, "class" if len(same) == 1 else "between", manner)
    return Reading(concept, tuple(classes[c] for c in near if c in classes), "near", manner)


@cache
def spell_label(label: str, labels: tuple[str, ...]) -> str:
    """The label as its label set spells it: `joy` is `happy` in a set that has `happy`.

    Raises:
        EvalError: if the label set does not hold it.
    """
    reading = read_concepts(labels).get(load_lexicon().concept(label) or label.lower())
    if reading is None or not reading.plain:
        raise EvalError(f"label {label!r} is not in the label set {', '.join(labels)}.")
    return reading.labels[0]


def find_label_set(labels: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """The smallest named label set that holds all these labels, in the data's own spelling where it has one.

    Returns:
        `(name, labels)`; `("data", sorted labels)` if no named set holds them.
    """
    lexicon = load_lexicon()
    spelling: dict[str, str] = {}
    for label in sorted(set(labels)):
        spelling.setdefault(lexicon.concept(label) or label.lower(), label)
    for name, named in sorted(lexicon.label_sets.items(), key=lambda item: len(item[1])):
        concepts = [lexicon.concept(label) for label in named]
        if spelling.keys() <= set(concepts):
            return name, tuple(spelling.get(concept, label) for concept, label in zip(concepts, named))
    return "data", tuple(sorted(spelling.values()))


def named_label_set(spec: str) -> tuple[str, tuple[str, ...]]:
    """A label set from its name (`emotion7`) or as a list (`happy,sad,angry`).

    Raises:
        EvalError: for an unknown name.
    """
    lexicon = load_lexicon()
    if "," in spec:
        return "custom", tuple(label.strip() for label in spec.split(",") if label.strip())
    if spec not in lexicon.label_sets:
        known = ", ".join(lexicon.label_sets)
        raise EvalError(f"unknown label set {spec!r}; choose one of {known}, or list labels with commas.")
    return spec, lexicon.label_sets[spec]
