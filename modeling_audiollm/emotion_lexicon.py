# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""The vocabulary (emotion_vocabulary.py), and how its concepts fall into the classes of a label set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cache

from .emotion_vocabulary import VOCABULARY


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


class LabelError(ValueError):
    """A label or a label set that can't be judged by, and why."""


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
    """Word lists by role, and the phrase index over them. `label_words`: what corpora write, as our adjectives."""

    emotions: dict[str, dict]
    label_words: dict[str, str]
    label_sets: dict[str, tuple[str, ...]]
    bare_answers: dict[str, str]
    negation_lists: frozenset[str]
    exceptions: frozenset[str]
    questions: frozenset[str]
    model_refusals: frozenset[tuple[str, ...]]
    overlapping: frozenset[frozenset[str]]
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


def phrases(listed: str) -> frozenset[tuple[str, ...]]:
    """Phrases that are listed with commas, each as its words."""
    return frozenset(map(split_words, listed.split(",")))


def find_phrase(text: str, wanted: Collection[tuple[str, ...]]) -> str | None:
    """The first of some phrases that a text holds."""
    words, longest = split_words(text), max(map(len, wanted))
    for start in range(len(words)):
        for length in range(1, longest + 1):
            if words[start : start + length] in wanted:
                return " ".join(words[start : start + length])
    return None


@cache
def load_lexicon() -> Lexicon:
    """The vocabulary, with an index of its phrases by their first word, longest phrases first."""
    roles: dict[tuple[str, ...], set[str]] = {}
    concepts: dict[tuple[str, ...], str] = {}
    for concept, entry in VOCABULARY["emotions"].items():
        for words in map(split_words, entry["words"]):
            concepts[words] = concept
            roles.setdefault(words, set()).add("emotion")
    for role in _WORD_LISTS:
        for words in map(split_words, VOCABULARY[role]):
            roles.setdefault(words, set()).add(role)
    index: dict[str, list] = {}
    for words in sorted(roles, key=lambda words: (-len(words), words)):
        index.setdefault(words[0], []).append((words, frozenset(roles[words]), concepts.get(words)))
    return Lexicon(
        emotions=VOCABULARY["emotions"],
        label_words={word: words[0] for words in VOCABULARY["labels"].values() for word in words},
        label_sets={name: tuple(labels) for name, labels in VOCABULARY["label_sets"].items()},
        bare_answers=VOCABULARY["bare_answers"],
        negation_lists=frozenset(word for phrase in VOCABULARY["negation_lists"] for word in split_words(phrase)),
        exceptions=frozenset(VOCABULARY["exceptions"]),
        questions=frozenset(VOCABULARY["questions"]),
        model_refusals=frozenset(map(split_words, VOCABULARY["model_refusals"])),
        overlapping=frozenset(map(frozenset, VOCABULARY["overlapping"])),
        phrases=index,
    )


@cache
def read_concepts(labels: tuple[str, ...]) -> dict[str, Reading]:
    """How each concept of the lexicon reads in a label set.

    A concept that is itself a class is that class. Else it is the one class of its `is` list (for a set with positive
    and negative: of its valence), else it is near the classes of its `is` and `near` lists.

    Raises:
        LabelError: if two labels are the same class, or the set is empty.
    """
    lexicon = load_lexicon()
    classes: dict[str, str] = {}
    for label in labels:
        concept = lexicon.concept(label) or label.lower()
        if concept in classes:
            raise LabelError(f"labels {classes[concept]!r} and {label!r} mean the same class ({concept}).")
        classes[concept] = label
    if not classes:
        raise LabelError("the label set is empty.")
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
        LabelError: if the label set does not hold it.
    """
    reading = read_concepts(labels).get(load_lexicon().concept(label) or label.lower())
    if reading is None or not reading.plain:
        raise LabelError(f"label {label!r} is not in the label set {', '.join(labels)}.")
    return reading.labels[0]


def labels_overlap(one: str, other: str) -> bool:
    """Whether two labels name classes that people do not tell apart well (`overlapping` in the vocabulary)."""
    lexicon = load_lexicon()
    return frozenset((lexicon.concept(one), lexicon.concept(other))) in lexicon.overlapping


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
            return name, tuple(spelling.get(concept or "", label) for concept, label in zip(concepts, named))
    return "data", tuple(sorted(spelling.values()))


def named_label_set(spec: str) -> tuple[str, tuple[str, ...]]:
    """A label set from its name (`emotion7`) or as a list (`happy,sad,angry`).

    Raises:
        LabelError: for an unknown name.
    """
    lexicon = load_lexicon()
    if "," in spec:
        return "custom", tuple(label.strip() for label in spec.split(",") if label.strip())
    if spec not in lexicon.label_sets:
        known = ", ".join(lexicon.label_sets)
        raise LabelError(f"unknown label set {spec!r}; choose one of {known}, or list labels with commas.")
    return spec, lexicon.label_sets[spec]
