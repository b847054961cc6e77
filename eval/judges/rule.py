"""The rule judge: finds the emotions that a free text states, offline and deterministically.

It reads a prediction as a person skims it: an explicit answer if there is one, else the first sentence that names an
emotion and what later sentences say of the speaker. Quoted words, questions, reasons ("because her friend was angry")
and negated emotions ("neither excited nor disappointed") state nothing.

A prediction that states exactly one class of the label set is plain, and right or wrong. Every other one is a special
case (section 7 of the paper leaves such cases to a larger judge), with one of these kinds, and unscored:

    several_emotions      more than one class: "happy and surprised"
    neutral_but_emotion   neutral, and an emotion: "a neutral tone, but the words suggest sadness"
    out_of_set            an emotion that is no class of the set: "nostalgic", or "excited" where it has happy only
    between_classes       a word for two classes of the set: "annoyed" where it has both angry and frustrated
    only_negated          emotions are named only to be denied: "not happy"
    refusal               "I cannot determine the emotion"
    no_emotion            nothing the lexicon knows

Whether a case is special depends on the prediction and the label set, never on the label: leaving out the special
cases does not choose among right and wrong ones. An empty prediction is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...modeling_audiollm.evidence import find_quotes
from .base import Case, Verdict
from .lexicon import Reading, load_lexicon, read_concepts, spell_label, split_words


SPECIAL_KINDS = (
    "several_emotions",
    "neutral_but_emotion",
    "out_of_set",
    "between_classes",
    "only_negated",
    "refusal",
    "no_emotion",
)
# A negation reaches this many words to its emotion: "does not seem to be expressing any strong sense of anger".
NEGATION_REACH = 9
# In a sentence this short an emotion is stated even without a word of stating ("sounds", "voice"): "Very sad indeed".
SHORT_SENTENCE = 6
FIRST_PERSON_REACH = 4

_THOUGHT = re.compile(r"<(think|thinking|planning|caption|reasoning|summary)>.*?</\1>", re.I | re.S)
_TAGGED_ANSWER = re.compile(r"<(answer|response)>(.*?)(?:</\1>|\Z)", re.I | re.S)
_JSON_ANSWER = re.compile(r'"(emotion|label|answer|sentiment)"\s*:\s*"([^"]*)"', re.I)
_LABELLED_ANSWER = re.compile(
    r"(?:^|[\n.;!?])[\W_]{0,8}(?:(?:the|my|final|predicted|correct|primary|overall|speaker's)\s+)*"
    r"(answer|emotion|label|sentiment|prediction|category|class)[\s*_]*(?:is[\s*_]*)?[:=]([^\n]+)",
    re.I,
)
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[.!?;:,\n()/\u2014\u2013\"]|--")
_OPEN_QUOTE = re.compile(r"(?:(?<=[\s:,(])\"|\u201c)(?=\w)[^\"\u201d]*\Z")
_SENTENCE_END = frozenset(".!?\n")
_PUNCTUATION = frozenset(',;:()/\u2014\u2013"') | {"--"}
_SEVERAL = "several"  # stands among concepts for "mixed emotions"


@dataclass
class _Mention:
    concept: str
    start: int
    end: int
    negated: bool = False
    weak: bool = False
    anchored: bool = False
    denies_all: bool = False  # "no emotion", which is neutral unless an exception follows ("other than sadness")


@dataclass
class _Sentence:
    mentions: list[_Mention]
    refusal: bool = False
    question: bool = False


class _Scope:
    """What the words read so far of a sentence do to the emotions that follow."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self.negated_at: int | None = None
        self.first_person_at: int | None = None
        self.refused = self.refusing = self.anchored = False
        self.reason = self.leading_reason = False

    def enter(self, start: int, end: int, roles: frozenset[str], stated: bool) -> None:
        """Take in a lexicon entry; `stated` says whether the sentence has stated an emotion before it."""
        if self.leading_reason and "," in self.tokens[:start]:
            self.leading_reason = self.reason = False
        if "resets" in roles or "negation_ends" in roles:
            self.negated_at = None
        if "resets" in roles:
            self.refusing = self.reason = False
        if "refusals" in roles:
            self.refused = self.refusing = True
        if "negators" in roles:
            self.negated_at = end
        if "first_person" in roles:
            self.first_person_at = end
        if "subjects" in roles:
            self.first_person_at = None
        if "statements" in roles:
            self.anchored = True
        if "reasons" in roles and (start == 0 or stated):
            self.reason, self.leading_reason = True, start == 0

    def weakens(self, start: int) -> bool:
        """Whether an emotion here is a reason, part of a refusal, or the speaker's own words repeated."""
        echo = self.first_person_at is not None and start - self.first_person_at <= FIRST_PERSON_REACH
        return self.reason or self.refusing or echo

    def denies(self, start: int) -> bool:
        """Whether a negation reaches an emotion here."""
        if self.negated_at is None or start - self.negated_at > NEGATION_REACH:
            return False
        return not _PUNCTUATION.intersection(self.tokens[self.negated_at : start]) - set('()/"')


class RuleJudge:
    """Judges emotion and sentiment answers by a lexicon. See the module's text for its rules."""

    name = "rule"

    def __init__(self):
        self.lexicon = load_lexicon()

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Judge cases in order.

        Raises:
            EvalError: if a case's label is not in its label set.
        """
        return [self.judge_one(case.prediction, case.label, case.labels) for case in cases]

    def judge_one(self, prediction: str, label: str, labels: Sequence[str]) -> Verdict:
        """Judge one prediction against a label of a label set.

        Raises:
            EvalError: if the label is not in its label set.
        """
        reference = spell_label(label, tuple(labels))
        if not prediction.strip():
            return Verdict(0, "the answer is empty.")
        stated, kind = self.stated_labels(prediction, labels)
        if kind:
            return Verdict(None, _describe(kind, stated), stated, kind)
        return Verdict(int(stated[0] == reference), f"states {stated[0]}; the label is {reference}.", stated)

    def stated_labels(self, prediction: str, labels: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
        """The labels that a prediction states or comes near, and the kind of special case or None."""
        readings = read_concepts(tuple(labels))
        answer = self._explicit_answer(prediction, readings)
        sentences = self._read(answer, readings)
        stated = _stated(sentences)
        if stated:
            return _decide(stated, readings)
        if any(sentence.refusal for sentence in sentences):
            return (), "refusal"
        if any(mention.negated for sentence in sentences for mention in sentence.mentions):
            return (), "only_negated"
        return (), "no_emotion"

    def _explicit_answer(self, prediction: str, readings: dict[str, Reading]) -> str:
        """The part of a prediction that is marked as its answer, if it names anything; else all of it."""
        text = _THOUGHT.sub(" ", prediction)
        tagged = [match.group(2) for match in _TAGGED_ANSWER.finditer(text)]
        text = tagged[-1] if tagged and tagged[-1].strip() else text
        other_question = "emotion" if readings["positive"].plain else "sentiment"
        for pattern in (_JSON_ANSWER, _LABELLED_ANSWER):
            # The last answer counts, but one that is labelled as the answer to the other question comes last.
            latest_first = reversed(pattern.findall(text))
            answers = sorted([*latest_first], key=lambda found: found[0].lower() == other_question)
            for _, answer in answers:
                sentences = self._read(answer, readings)
                if any(sentence.refusal or sentence.mentions for sentence in sentences):
                    return answer
        return text if text.strip() else prediction

    def _read(self, text: str, readings: dict[str, Reading]) -> list[_Sentence]:
        text = text.replace("\u2019", "'").replace("\u2018", "'")
        bare = self.lexicon.bare_answers.get(" ".join(split_words(text)))
        if bare:
            return [_Sentence([_Mention(bare, 0, 1, anchored=True)])]
        sentences = self._read_tokens(_TOKEN.findall(_mask_quotes(text).lower()), readings)
        if any(sentence.mentions or sentence.refusal for sentence in sentences):
            return sentences
        # Nothing outside the quotes: perhaps the answer itself is quoted ('The emotion is "sad"').
        opened = " ".join(q.text for q in find_quotes(text) if self._is_label(q.text, readings))
        if not opened and not split_words(_mask_quotes(text)):
            opened = " ".join(q.text for q in find_quotes(text))
        return self._read_tokens(_TOKEN.findall(opened.lower()), readings) if opened else sentences

    def _is_label(self, text: str, readings: dict[str, Reading]) -> bool:
        return (self.lexicon.concept(text) or text.strip(" .!,").lower()) in readings

    def _read_tokens(self, tokens: list[str], readings: dict[str, Reading]) -> list[_Sentence]:
        sentences, start = [], 0
        for position in range(len(tokens) + 1):
            if position == len(tokens) or tokens[position] in _SENTENCE_END:
                if position > start:
                    sentence = self._read_sentence(tokens[start:position], readings)
                    ends_in_doubt = position < len(tokens) and tokens[position] == "?"
                    # "Possibly happy?" is a guess: nothing was asked.
                    sentence.question = ends_in_doubt and (bool(sentences) or self._asks(tokens[start:position]))
                    sentences.append(sentence)
                start = position + 1
        return sentences

    def _asks(self, tokens: list[str]) -> bool:
        words = [token for token in tokens if token not in _PUNCTUATION]
        return len(words) > SHORT_SENTENCE or bool(words) and words[0] in self.lexicon.questions

    def _phrases(self, tokens: list[str], readings: dict[str, Reading]) -> Iterable[tuple]:
        """Lexicon entries in a sentence, longest first: `(start, end, roles, concept)`."""
        index, at = self.lexicon.phrases, 0
        while at < len(tokens):
            for words, roles, concept in index.get(tokens[at], ()):
                if len(words) == 1 or tuple(tokens[at : at + len(words)]) == words:
                    yield at, at + len(words), roles, concept
                    at += len(words)
                    break
            else:
                if tokens[at] in readings and tokens[at] not in self.lexicon.emotions:  # a label of the user's own
                    yield at, at + 1, frozenset(("emotion",)), tokens[at]
                at += 1

    def _read_sentence(self, tokens: list[str], readings: dict[str, Reading]) -> _Sentence:
        scope, mentions = _Scope(tokens), []
        for start, end, roles, concept in self._phrases(tokens, readings):
            scope.enter(start, end, roles, stated=any(not mention.negated for mention in mentions))
            if "negation_ends" in roles and " ".join(tokens[start:end]) in self.lexicon.exceptions:
                mentions = [mention for mention in mentions if not mention.denies_all]
            if "emotion_nouns" in roles:
                if scope.denies(start) and tokens[end : end + 1] != ["of"]:
                    mentions.append(_Mention("neutral", start, end, weak=scope.weakens(start), denies_all=True))
                    scope.negated_at = None
            elif concept or "several_emotions" in roles:
                mention = _Mention(concept or _SEVERAL, start, end, weak=scope.weakens(start))
                mention.negated = scope.denies(start) or self._in_denied_list(tokens, mentions, start)
                scope.negated_at = None if mention.negated else scope.negated_at
                mentions.append(mention)
        _spread_denial(tokens, mentions)
        short = sum(token not in _PUNCTUATION for token in tokens) <= SHORT_SENTENCE
        for mention in mentions:
            mention.anchored = scope.anchored
            alone = mention.start == 0 and tokens[mention.end : mention.end + 1] in ([","], [":"], [";"], ["\u2014"])
            mention.weak = mention.weak or not (scope.anchored or alone or short)
        return _Sentence(mentions, refusal=scope.refused)

    def _in_denied_list(self, tokens: list[str], mentions: list[_Mention], start: int) -> bool:
        """Whether a mention goes on a negated list by a conjunction: "not happy or sad"."""
        if not mentions or not mentions[-1].negated:
            return False
        gap = tokens[mentions[-1].end : start]
        joined = any(token in ("or", "nor", "and", "/") for token in gap)
        return joined and all(token in self.lexicon.negation_lists or token in ",/" for token in gap)


def _spread_denial(tokens: list[str], mentions: list[_Mention]) -> None:
    """Negate the rest of a list that a negated emotion begins and "or" ends: "not happy, sad, angry or afraid"."""
    for number, first in enumerate(mentions):
        if not first.negated:
            continue
        gaps = [tokens[one.end : other.start] for one, other in zip(mentions[number:], mentions[number + 1 :])]
        last = next((place for place, gap in enumerate(gaps) if gap != [","]), None)
        if last and {"or", "nor"}.intersection(gaps[last]):
            for mention in mentions[number + 1 : number + last + 2]:
                mention.negated = True


def _mask_quotes(text: str) -> str:
    """The text without what it quotes, and without the quote that an answer cut short leaves open at its end."""
    pieces, end = [], 0
    for quote in find_quotes(text):
        pieces += [text[end : quote.start], " "]
        end = quote.end
    return "".join([*pieces, _OPEN_QUOTE.sub(" ", text[end:])])


def _stated(sentences: list[_Sentence]) -> list[str]:
    """Concepts of the first sentence that states any, and of later sentences that speak of the speaker."""
    stated: list[str] = []
    for sentence in sentences:
        if sentence.question:
            continue
        firm = [mention for mention in sentence.mentions if not mention.negated and not mention.weak]
        stated += [mention.concept for mention in firm if not stated or mention.anchored]
    return list(dict.fromkeys(stated))


def _decide(stated: list[str], readings: dict[str, Reading]) -> tuple[tuple[str, ...], str | None]:
    """What the stated concepts come to in a label set: labels, and the kind of special case or None."""
    found = [readings[concept] for concept in stated if concept != _SEVERAL]
    found = [reading for reading in found if not reading.manner] or found
    classes = list(dict.fromkeys(reading.labels[0] for reading in found if reading.plain))
    others = [reading for reading in found if not reading.plain]
    every = tuple(dict.fromkeys([*classes, *(label for reading in others for label in reading.labels)]))
    against = any(reading.labels and not set(reading.labels) & set(classes) for reading in others)
    if _SEVERAL in stated:
        return every, "several_emotions"
    if len(classes) > 1 or (classes and against):
        with_neutral = readings["neutral"].plain and readings["neutral"].labels[0] in classes
        return every, "neutral_but_emotion" if with_neutral else "several_emotions"
    if classes:
        return every[:1], None
    return every, "between_classes" if any(r.kind == "between" for r in others) else "out_of_set"


def _describe(kind: str, stated: tuple[str, ...]) -> str:
    text = {
        "several_emotions": "names several emotions",
        "neutral_but_emotion": "names neutral and an emotion",
        "out_of_set": "names an emotion that is no class of the set",
        "between_classes": "names an emotion that may be either of several classes",
        "only_negated": "only says what the emotion is not",
        "refusal": "declines to name an emotion",
        "no_emotion": "names no emotion that the lexicon knows",
    }[kind]
    return f"{text}: {', '.join(stated)}." if stated else f"{text}."
