"""What a text states of its speaker: concepts of the lexicon, sentence by sentence.

It is read as a person skims it: the first sentence that names an emotion, and what later sentences say of the speaker.
Quoted words, questions, reasons ("because her friend was angry") and negated emotions ("neither excited nor
disappointed") state nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ..modeling_audiollm.evidence import find_quotes
from .lexicon import load_lexicon, read_concepts, split_words


# A negation reaches this many words to its emotion: "does not seem to be expressing any strong sense of anger".
NEGATION_REACH = 9
# In a sentence this short an emotion is stated even without a word of stating ("sounds", "voice"): "Very sad indeed".
SHORT_SENTENCE = 6
FIRST_PERSON_REACH = 4

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[.!?;:,\n()/\u2014\u2013\"]|--")
_OPEN_QUOTE = re.compile(r"(?:(?<=[\s:,(])\"|\u201c)(?=\w)[^\"\u201d]*\Z")
_SENTENCE_END = frozenset(".!?\n")
_PUNCTUATION = frozenset(',;:()/\u2014\u2013"') | {"--"}
SEVERAL = "several"  # stands among concepts for "mixed emotions"


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


@dataclass(frozen=True)
class Statement:
    """What a text states.

    Args:
        first: concepts of the first sentence that states any.
        later: concepts that later sentences say of the speaker.
        names: whether it names any emotion, be it denied or in a reason.
        denies: whether it denies one.
        refuses: whether it declines to name one.
    """

    first: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    names: bool = False
    denies: bool = False
    refuses: bool = False

    @property
    def concepts(self) -> list[str]:
        return list(dict.fromkeys(self.first + self.later))


class Reader:
    """Reads texts for the emotions of a label set, and all others of the lexicon.

    Args:
        labels: the label set; labels that the lexicon does not know are found by their own words.

    Raises:
        LabelError: if two labels are the same class, or the set is empty.
    """

    def __init__(self, labels: tuple[str, ...]):
        self.lexicon, self.readings = load_lexicon(), read_concepts(labels)
        self.phrases = dict(self.lexicon.phrases)
        for concept in self.readings.keys() - self.lexicon.emotions.keys():
            if words := split_words(concept):
                known = self.phrases.get(words[0], [])
                own = (words, frozenset(("emotion",)), concept)
                self.phrases[words[0]] = sorted([own, *known], key=lambda entry: -len(entry[0]))

    def read(self, text: str, quoted: bool = True) -> Statement:
        """What a text states.

        Args:
            text: any text, without thoughts.
            quoted: where nothing else names an emotion, a quoted one may be the answer: 'The emotion is "sad"'.
        """
        text = text.replace("\u2019", "'").replace("\u2018", "'")
        bare = self.lexicon.bare_answers.get(" ".join(split_words(text)))
        if bare:
            return Statement((bare,), names=True)
        masked = _mask_quotes(text)
        statement = _state(self._read_tokens(_TOKEN.findall(masked.lower())))
        if statement.names or statement.refuses or not quoted:
            return statement
        opened = " ".join(quote.text for quote in find_quotes(text) if self._is_label(quote.text))
        if not opened and not split_words(masked):
            opened = " ".join(quote.text for quote in find_quotes(text))
        return _state(self._read_tokens(_TOKEN.findall(opened.lower()))) if opened else statement

    def _is_label(self, text: str) -> bool:
        return (self.lexicon.concept(text) or text.strip(" .!,").lower()) in self.readings

    def _read_tokens(self, tokens: list[str]) -> list[_Sentence]:
        sentences, start = [], 0
        for position in range(len(tokens) + 1):
            if position == len(tokens) or tokens[position] in _SENTENCE_END:
                if position > start:
                    sentence = self._read_sentence(tokens[start:position])
                    ends_in_doubt = position < len(tokens) and tokens[position] == "?"
                    # "Possibly happy?" is a guess: nothing was asked.
                    sentence.question = ends_in_doubt and (bool(sentences) or self._asks(tokens[start:position]))
                    sentences.append(sentence)
                start = position + 1
        return sentences

    def _asks(self, tokens: list[str]) -> bool:
        words = [token for token in tokens if token not in _PUNCTUATION]
        return len(words) > SHORT_SENTENCE or bool(words) and words[0] in self.lexicon.questions

    def _phrases(self, tokens: list[str]) -> Iterable[tuple]:
        """Lexicon entries in a sentence, longest first: `(start, end, roles, concept)`."""
        at = 0
        while at < len(tokens):
            for words, roles, concept in self.phrases.get(tokens[at], ()):
                if len(words) == 1 or tuple(tokens[at : at + len(words)]) == words:
                    yield at, at + len(words), roles, concept
                    at += len(words)
                    break
            else:
                at += 1

    def _read_sentence(self, tokens: list[str]) -> _Sentence:
        scope, mentions = _Scope(tokens), []
        for start, end, roles, concept in self._phrases(tokens):
            scope.enter(start, end, roles, stated=any(not mention.negated for mention in mentions))
            if "negation_ends" in roles and " ".join(tokens[start:end]) in self.lexicon.exceptions:
                mentions = [mention for mention in mentions if not mention.denies_all]
            if "emotion_nouns" in roles:
                if scope.denies(start) and tokens[end : end + 1] != ["of"]:
                    mentions.append(_Mention("neutral", start, end, weak=scope.weakens(start), denies_all=True))
                    scope.negated_at = None
            elif concept or "several_emotions" in roles:
                mention = _Mention(concept or SEVERAL, start, end, weak=scope.weakens(start))
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


@cache
def reader_of(labels: tuple[str, ...]) -> Reader:
    """The reader for a label set, made once."""
    return Reader(labels)


def _state(sentences: list[_Sentence]) -> Statement:
    first: list[str] = []
    later: list[str] = []
    for sentence in sentences:
        firm = [mention for mention in sentence.mentions if not mention.negated and not mention.weak]
        if sentence.question:
            continue
        if first:
            later += [mention.concept for mention in firm if mention.anchored]
        else:
            first = [mention.concept for mention in firm]
    mentions = [mention for sentence in sentences for mention in sentence.mentions]
    return Statement(
        tuple(dict.fromkeys(first)),
        tuple(dict.fromkeys(later)),
        names=bool(mentions),
        denies=any(mention.negated for mention in mentions),
        refuses=any(sentence.refusal for sentence in sentences),
    )
