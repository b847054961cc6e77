# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
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

from .emotion_lexicon import load_lexicon, read_concepts, split_words
from .evidence import find_quotes


# A negation reaches this many words to its emotion: "does not seem to be expressing any strong sense of anger".
NEGATION_REACH = 9
# In a sentence this short an emotion is stated even without a word of stating ("sounds", "voice"): "Very sad indeed".
SHORT_SENTENCE = 6
FIRST_PERSON_REACH = 4
TIME_REACH = 10  # words around an emotion that say whether it is over

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[.!?;:,\n()/\u2014\u2013\"]|--")
_OPEN_QUOTE = re.compile(r"(?:(?<=[\s:,(])\"|\u201c)(?=\w)[^\"\u201d]*\Z")
# What is found out, not heard: "cannot be determined" declines, where "no emotion can be heard" says neutral.
_FIND_OUT = (
    "(?:tell|determin|judg|say|identif|assess|infer|know|conclu|deduc|ascertain|classif|categori|pinpoint|gauge|decid|"
    "establish|confirm|nam|assign|specif|evaluat|interpret|draw|understand|discern|work out|figure out)\\w*"
)
_FOUND_OUT = (
    "(?:told|determined|judged|said|identified|assessed|inferred|known|concluded|deduced|ascertained|classified|"
    "categori[sz]ed|pinpointed|gauged|decided|established|confirmed|named|assigned|specified|evaluated|drawn)"
)
_FEELING = "(?:the|their|his|her) (?:(?:speaker|person)(?:'s)? )?(?:\\w+ )?(?:emotions?|feelings?|mood|state)"
_KNOWN_OF = f"(?:how|what|which|whether|{_FEELING})"
# Sentences that decline to name an emotion, by their words joined with single spaces.
_DECLINES = re.compile(
    "|".join(
        (
            # "one cannot judge", "too short to tell", "impossible for me to know", "no way of telling"
            r"(?<!speaker )(?<!he )(?<!they )(?<!person )\b(?:can ?not|can't|could not|couldn't|unable to|"
            r"(?:not|hard|difficult|tough|tricky|challenging|impossible) (?:for \w+ )?"
            r"(?:able |possible |in a position )?to|"
            r"too \w+ (?:\w+ ){0,3}?(?:to|for)|no way (?:to|of)|(?:nobody|no one) (?:can|could)) (?:\w+ ){0,3}?"
            rf"{_FIND_OUT}",
            rf"\b{_FIND_OUT} (?:\S+ ){{1,9}}?(?:not|n't|im)(?: be)? ?possible",
            # "cannot be determined", "I don't think it can be told", "no emotion can be assigned"
            r"\b(?:can ?not|can't|could not|couldn't|(?:no|not|don't|doubt) (?:\S+ ){0,5}?(?:can|could)) be (?:\w+ )?"
            rf"{_FOUND_OUT}",
            # "not enough context to tell", "lacks the cues to identify it", "no cues that would let me decide"
            r"\b(?:not|isn't|aren't|doesn't|don't|no|without|lacks?|lacking|insufficient|inadequate|limited|more|further)"
            r" (?:\w+ ){0,5}?(?:enough|sufficient|insufficient|information|context|evidence|cues?|clues?|details?|"
            rf"data|basis|grounds|to go on) (?:\w+ ){{0,5}}?(?:to|for|on which|let|allow) (?:\w+ ){{0,3}}?{_FIND_OUT}",
            r"\b(?:insufficient|not sufficient|not enough|inadequate|need to \w+ more|(?:more|further) \w+ \w+ needed)"
            rf" (?:to|for) (?:\w+ ){{0,3}}?{_FIND_OUT}",
            # "does not reveal how", "the emotion is not specified", "no hint as to what", "we are not told which"
            r"\b(?:not|doesn't|don't|didn't|never) (?:\w+ ){0,2}?(?:reveal|specify|say|state|tell|indicate|disclose|"
            rf"clarify|provide|give away|told) (?:us |me )?{_KNOWN_OF}\b(?! of)",
            r"\b(?:not|isn't|aren't) (?:specified|stated|indicated|given|mentioned|clear)\b",
            rf"\b(?:no|any) (?:hint|indication|clue|idea|information) (?:as to |of |about |on )?{_KNOWN_OF}",
            r"\bnot (?:identifiable|discernible|determinable|recognizable)\b",
            r"\b(?:uncertain|unsure|unclear|(?:not|can't|cannot)(?: be)? (?:certain|sure)) (?:as to )?(?:which|what|"
            r"how|whether)\b",
            r"\bno (?:\w+ ){0,2}conclusions?\b",
            r"\b(?:nothing|not) (?:\w+ ){0,6}?(?:allows?|lets?|helps?|enables?|permits?) (?:\w+ ){0,2}?(?:to )?"
            rf"{_FIND_OUT}",
            r"\b(?:speculation|speculative|guesswork|anyone's guess)\b",
        )
    )
)
# A verb of showing, whose clause states the emotion that what stands before it is evidence of.
_SHOWS = re.compile(
    r"(?<!which )(?<!and )\b(?:suggest|show|indicate|impl(?:y|ie)|reveal|tell|mean|betray|convey|demonstrate|signal|"
    r"confirm|prove|let)(?:s|ed|d|es|ing)? (?:us |me |one |you )?(?:know |understand |see |hear )?"
    r"(?:that\b|(?=(?:the (?:speaker|person|man|woman)|she|he|they) (?:is|are|feels?|sounds?)\b))"
    r"|\b(?:clear|plain|obvious|evident|apparent) (?:from (?:\w+ ){1,4})?that\b"
)
# Words of change: two emotions of one sentence are then two, however calm one of them is.
_CHANGES = re.compile(
    r"\b(?:initially|at first|at the (?:start|beginning|outset)|in the (?:beginning|end)|(?:by|towards?) the end|"
    r"(?:changes?|shifts?|moves?|goes|turns?) from|(?:starts?|begins?) (?:out |off )?|ends? up|becom(?:es?|ing)|"
    r"turn(?:s|ing)? (?:in)?to)\b"
)
# What stands before an emotion that is over: "once happy", "had been angry", "the earlier joy". That of a clip's own
# beginning ("at first happy, then sad") is heard like its end: such answers name several emotions.
_FORMER = re.compile(r"\b(?:formerly|previously|once|earlier|(?:had|having) (?:\w+ )?been)(?: \w+){0,2}\Z")
# What stands before an emotion that has taken the place of those before it: "was happy before growing sad".
_TAKES_OVER = re.compile(
    r"\b(?:(?:before|until|till) (?:(?:it|she|he|they|the \w+|then|\w+ly) )*"
    r"(?:grow(?:s|ing)|grew|becom(?:es?|ing)|became|turn(?:s|ed|ing)?|gets?|got|getting|end(?:s|ed|ing)? up)"
    r"|replaced by|\w+ (?:in its|in their) place)(?: \w+){0,2}\Z"
)
_WAS = re.compile(r"\b(?:was|were|felt|sounded|seemed|appeared)(?: \w+){0,3}\Z")
_NOW_BEFORE = re.compile(r"\bnow(?: \w+){0,3}\Z")
_LONG_AGO_AFTER = re.compile(
    r"(?:before|earlier|previously|once|yesterday|(?:\w+ ){1,3}ago|last \w+)(?= [,;]|\Z| but| and)"
)
_SENTENCE_END = frozenset(".!?\n")
_PUNCTUATION = frozenset(',;:()/\u2014\u2013"') | {"--"}
SEVERAL = "several"  # stands among concepts for "mixed emotions"


@dataclass(eq=False)
class _Mention:
    concept: str
    start: int
    end: int
    negated: bool = False
    weak: bool = False
    anchored: bool = False
    denies_all: bool = False  # "no emotion", which is neutral unless an exception follows ("other than sadness")
    over: bool = False  # told as over, which yields to what is said of now
    was: bool = False  # told in the past, which yields to what is said to be so now
    now: bool = False

    @property
    def firm(self) -> bool:
        return not self.negated and not self.weak


@dataclass
class _Sentence:
    mentions: list[_Mention]
    refusal: bool = False
    question: bool = False


class _Scope:
    """What the words read so far of a sentence do to the emotions that follow."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self.first_comma = tokens.index(",") if "," in tokens else len(tokens)
        self.negated_at: int | None = None
        self.first_person_at: int | None = None
        self.refused = self.refusing = self.anchored = False
        self.reason = self.leading_reason = False
        self.made_way = 0  # how many mentions are known to be over

    def enter(self, start: int, end: int, roles: frozenset[str], stated: bool) -> None:
        """Take in a lexicon entry; `stated` says whether the sentence has stated an emotion before it."""
        if self.leading_reason and self.first_comma < start:
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
        declined, shown = _first_token(_DECLINES, tokens, "start"), _first_token(_SHOWS, tokens, "end")
        for start, end, roles, concept in self._phrases(tokens):
            if declined is not None and start >= declined:
                scope.refused = scope.refusing = True
                declined = None
            if shown is not None and start >= shown:
                for mention in mentions:
                    mention.weak = True
                scope.reason = scope.leading_reason = False
                shown = None
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
                _place_in_time(mention, tokens, mentions, scope)
                scope.negated_at = None if mention.negated else scope.negated_at
                mentions.append(mention)
        scope.refused = scope.refused or declined is not None
        _spread_denial(tokens, mentions)
        if scope.refused:
            # "no emotion is named, so I can't tell" says that nothing is known, not that nothing is felt.
            mentions = [mention for mention in mentions if not mention.denies_all]
        changes = len(mentions) > 1 and _first_token(_CHANGES, tokens, "start") is not None
        short = sum(token not in _PUNCTUATION for token in tokens) <= SHORT_SENTENCE
        for mention in mentions:
            mention.anchored = scope.anchored or changes
            alone = mention.start == 0 and tokens[mention.end : mention.end + 1] in ([","], [":"], [";"], ["\u2014"])
            mention.weak = mention.weak or not (mention.anchored or alone or short)
        firm = {mention.concept for mention in _present(mentions)}
        if changes and len(firm) > 1:
            mentions.append(_Mention(SEVERAL, len(tokens), len(tokens), anchored=True))
        return _Sentence(mentions, refusal=scope.refused)

    def _in_denied_list(self, tokens: list[str], mentions: list[_Mention], start: int) -> bool:
        """Whether a mention goes on a negated list by a conjunction: "not happy or sad"."""
        if not mentions or not mentions[-1].negated:
            return False
        gap = tokens[mentions[-1].end : start]
        joined = any(token in ("or", "nor", "and", "/") for token in gap)
        return joined and all(token in self.lexicon.negation_lists or token in ",/" for token in gap)


def _first_token(pattern: re.Pattern[str], tokens: list[str], edge: str) -> int | None:
    """The token at which the first match of a pattern starts, or the one behind its end; None without a match."""
    text = " ".join(tokens)
    match = pattern.search(text)
    if match is None:
        return None
    return text[: match.start()].count(" ") if edge == "start" else text[: match.end()].rstrip().count(" ") + 1


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


def _place_in_time(mention: _Mention, tokens: list[str], earlier: list[_Mention], scope: _Scope) -> None:
    """Whether an emotion is over, or is the one that those before it have made way for."""
    before = " ".join(tokens[max(0, mention.start - TIME_REACH) : mention.start])
    after = " ".join(tokens[mention.end : mention.end + TIME_REACH])
    if _TAKES_OVER.search(before):
        mention.weak = scope.refusing
        for other in earlier[scope.made_way :]:
            other.over = True
        scope.made_way = len(earlier)
    mention.was = _WAS.search(before) is not None
    mention.over = _FORMER.search(before) is not None or (mention.was and _LONG_AGO_AFTER.match(after) is not None)
    mention.now = not mention.over and (
        _NOW_BEFORE.search(before) is not None or after.startswith(("now", "right now"))
    )


def _present(mentions: Iterable[_Mention]) -> set[_Mention]:
    """The firm mentions, without those of what is over where others say what is."""
    firm = [mention for mention in mentions if mention.firm]
    now = any(mention.now for mention in firm)
    present = {mention for mention in firm if not (mention.over or (now and mention.was and not mention.now))}
    return present or set(firm)


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
    present = _present(mention for sentence in sentences if not sentence.question for mention in sentence.mentions)
    for sentence in sentences:
        firm = [mention for mention in sentence.mentions if mention in present]
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
