"""The rule judge: finds the emotions that a free text states, offline and deterministically.

It goes by an explicit answer if there is one, else by what the text states (see `emotion_reading.py`).

A prediction that states exactly one class of the label set is plain, and right or wrong. Every other one is a special
case (section 7 of the paper leaves such cases to a larger judge), with one of these kinds, and unscored:

    several_emotions      more than one class: "happy and surprised"
    neutral_but_emotion   neutral, and an emotion: "a neutral tone, but the words suggest sadness"
    out_of_set            an emotion that is no class of the set: "nostalgic", or "excited" where it has happy only
    between_classes       a word for two classes of the set: "annoyed" where it has both angry and frustrated
    only_negated          emotions are named only to be denied: "not happy"
    refusal               "I cannot determine the emotion"
    no_emotion            nothing the lexicon knows

Whether a case is unscored depends on the prediction and the label set, never on the label: leaving out the special
cases does not choose among right and wrong ones. An empty prediction is wrong, as is one that ends in its thoughts. A
plain prediction of a class that overlaps with the right one (excited for happy) is wrong too, and marked
`overlapping_classes`, so that figures count it and a language model can be asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...modeling_audiollm.emotion_lexicon import Reading, labels_overlap, spell_label
from ...modeling_audiollm.emotion_reading import SEVERAL, Reader, Statement, reader_of
from ...modeling_audiollm.replies import final_answer
from .base import OVERLAPPING, Case, Judge, Verdict


SPECIAL_KINDS = {
    "several_emotions": "names several emotions",
    "neutral_but_emotion": "names neutral and an emotion",
    "out_of_set": "names an emotion that is no class of the set",
    "between_classes": "names an emotion that may be either of several classes",
    "only_negated": "only says what the emotion is not",
    "refusal": "declines to name an emotion",
    "no_emotion": "names no emotion that the lexicon knows",
}

LONGEST = 50_000  # characters of an answer that is read: more is no answer but a model that did not stop
_JSON_ANSWER = re.compile(r'"(emotion|label|answer|sentiment)"\s*:\s*"([^"]*)"', re.I)
_LABELLED_ANSWER = re.compile(
    r"(?:^|[\n.;!?])[\W_]{0,8}(?:(?:the|my|final|predicted|correct|primary|overall|speaker's)[ \t]+){0,4}"
    r"(answer|emotion|label|sentiment|prediction|category|class)[\s*_]*(?:is[\s*_]*)?[:=]([^\n]+)",
    re.I,
)


class RuleJudge(Judge):
    """Judges emotion and sentiment answers by a lexicon. See the module's text for its rules."""

    name = "rule"

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Judge cases in order.

        Raises:
            LabelError: if a case's label is not in its label set.
        """
        return [self.judge_one(case.prediction, case.label, case.labels) for case in cases]

    def judge_one(self, prediction: str, label: str, labels: Sequence[str]) -> Verdict:
        """Judge one prediction against a label of a label set.

        Raises:
            LabelError: if the label is not in its label set.
        """
        reference = spell_label(label, tuple(labels))
        if len(prediction) > LONGEST:
            return Verdict(None, f"the answer is longer than {LONGEST:,} characters.", (), "no_emotion")
        if not final_answer(prediction):
            return Verdict(0, "the answer is empty.")
        stated, kind = self.stated_labels(prediction, labels)
        if kind:
            named = f": {', '.join(stated)}" if stated else ""
            return Verdict(None, f"{SPECIAL_KINDS[kind]}{named}.", stated, kind)
        reason = f"states {stated[0]}; the label is {reference}."
        if labels_overlap(stated[0], reference):
            return Verdict(0, reason, stated, OVERLAPPING)
        return Verdict(int(stated[0] == reference), reason, stated)

    def stated_labels(self, prediction: str, labels: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
        """The labels that a prediction states or comes near, and the kind of special case or None."""
        reader = reader_of(tuple(labels))
        return _decide(_read_answer(final_answer(prediction), reader), reader.readings)


def _read_answer(text: str, reader: Reader) -> Statement:
    """What the marked answer of a text states, if it names anything; else what all of the text states."""
    other_question = "emotion" if reader.readings["positive"].plain else "sentiment"
    for pattern in (_JSON_ANSWER, _LABELLED_ANSWER):
        # The last answer counts, but one that is labelled as the answer to the other question comes last.
        latest_first = pattern.findall(text)[::-1]
        for _, answer in sorted(latest_first, key=lambda found: found[0].lower() == other_question):
            statement = reader.read(answer)
            if statement.refuses or statement.names:
                return statement
    return reader.read(text)


def _decide(statement: Statement, readings: dict[str, Reading]) -> tuple[tuple[str, ...], str | None]:
    """What a statement comes to in a label set: labels, and the kind of special case or None."""
    stated = statement.concepts
    if not stated:
        return (), "refusal" if statement.refuses else "only_negated" if statement.denies else "no_emotion"
    found = [readings[concept] for concept in stated if concept != SEVERAL]
    found = [reading for reading in found if not reading.manner] or found
    classes = list(dict.fromkeys(reading.labels[0] for reading in found if reading.plain))
    others = [reading for reading in found if not reading.plain]
    every = tuple(dict.fromkeys([*classes, *(label for reading in others for label in reading.labels)]))
    against = any(reading.labels and not set(reading.labels) & set(classes) for reading in others)
    if SEVERAL in stated:
        return every, "several_emotions"
    if len(classes) > 1 or (classes and against):
        with_neutral = readings["neutral"].plain and readings["neutral"].labels[0] in classes
        return every, "neutral_but_emotion" if with_neutral else "several_emotions"
    if classes:
        return every[:1], None
    return every, "between_classes" if any(r.kind == "between" for r in others) else "out_of_set"
