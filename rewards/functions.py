"""Rewards that need no model: each compares answers with what is known of their rows.

All take what TRL gives a reward function: `completions`, texts or conversations, and the columns of the rows. All give
a number from 0 to 1 for each, or None where a row does not ask for what is judged, or lacks what it is judged by.
Parameters before the star are columns (those without a default are needed), those behind it options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..corpora.schema import EMOTION_TASKS
from ..eval.judges import OVERLAPPING, RuleJudge
from ..modeling_audiollm.emotion_lexicon import find_label_set, load_lexicon
from ..modeling_audiollm.evidence import find_quotes, ground_quote, normalised_words


Values = list[float | None]
LabelSets = Mapping[str, Sequence[str]]
# How near a wrong emotion is to the right one, with `partial`.
OVERLAP, SAME_VALENCE = 0.5, 0.25
_SENTENCE = re.compile(r"[^.!?]+[.!?]?")
# Words that stand in any speech, so that a quote of these alone shows nothing.
COMMON_WORDS = frozenset(
    (
        "a about all am an and are as at be been but by can did do does for from had has have he her here him his how "
        "i if in into is it its just me my no not now of oh on or our out she so some that the their them then there "
        "they this to too up us was we well were what when where which who will with would yes you your i'm it's "
        "that's don't"
    ).split()
)


def text_of(completion: Any) -> str:
    """The text of a completion: itself, or what the assistant says in a conversation."""
    return completion if isinstance(completion, str) else "".join(turn["content"] or "" for turn in completion)


def label(
    completions: Sequence[Any],
    label: Sequence[str | None],
    task: Sequence[str],
    *,
    label_sets: LabelSets | None = None,
    partial: bool = False,
    **columns: Any,
) -> Values:
    """1 where an answer states its row's emotion or sentiment, by the rule judge's reading.

    Several emotions, none, or a refusal are 0: an answer that commits itself to nothing is not right.

    Args:
        label_sets: by task, from which labels are; by default the smallest named set that holds all labels given.
        partial: give a wrong emotion 0.5 if people hardly tell it from the right one (excited, happy: `overlapping` in
            the lexicon), and 0.25 if it is of the same valence, positive or negative.
    """
    sets = label_sets or label_sets_of(label, task)
    judge = RuleJudge()
    values: Values = []
    for completion, wanted, kind in zip(completions, label, task, strict=True):
        if kind not in EMOTION_TASKS or not wanted:
            values.append(None)
            continue
        verdict = judge.judge_one(text_of(completion), wanted, tuple(sets[kind]))
        value = float(verdict.score or 0)
        if partial and not value and verdict.predicted:
            value = OVERLAP if verdict.special == OVERLAPPING else _same_valence(verdict.predicted, wanted)
        values.append(value)
    return values


def quotes_said(
    completions: Sequence[Any],
    transcript: Sequence[str | None],
    target: Sequence[str | None] | None = None,
    **columns: Any,
) -> Values:
    """How much of what an answer quotes was said: the mean over its quotes, each 1 if the transcript holds it.

    A quote with few wrong words counts with its share of right words, any other 0, and an answer without a quote 0.
    Rows that do not ask for evidence (by their `target`, if there is one) are not judged.
    """
    values: Values = []
    for completion, said, asked in zip(completions, transcript, _targets(target, transcript), strict=True):
        quotes = find_quotes(text_of(completion))
        grounds = [ground_quote(quote.text, said or "") for quote in quotes]
        true = sum(ground.similarity for ground in grounds if ground.grounded)
        values.append(true / max(len(quotes), 1) if said and asked else None)
    return values


def quotes_enough(
    completions: Sequence[Any],
    transcript: Sequence[str | None],
    target: Sequence[str | None] | None = None,
    *,
    least: int = 3,
    whole: int = 8,
    most: float = 0.8,
    **columns: Any,
) -> Values:
    """1 where what an answer quotes is neither a word or two that any speech holds, nor all that was said.

    Args:
        least: words that have to be quoted (or all, of shorter speech), of which one is no [`COMMON_WORDS`].
        whole: speech of up to so many words may be quoted as a whole.
        most: share of longer speech that may be quoted.
    """
    values: Values = []
    for completion, said, asked in zip(completions, transcript, _targets(target, transcript), strict=True):
        if not said or not asked:
            values.append(None)
            continue
        spoken = normalised_words(said)
        quotes = [quote.text for quote in find_quotes(text_of(completion))]
        quoted = [word for quote in quotes if ground_quote(quote, said).grounded for word in normalised_words(quote)]
        tells = len(quoted) >= min(least, len(spoken)) and not COMMON_WORDS.issuperset(quoted)
        chosen = len(spoken) <= whole or len(quoted) <= most * len(spoken)
        values.append(float(tells and chosen))
    return values


def form(
    completions: Sequence[Any],
    label: Sequence[str | None],
    task: Sequence[str],
    *,
    label_sets: LabelSets | None = None,
    words: Sequence[int] = (3, 40),
    **columns: Any,
) -> Values:
    """How well an answer is built: half for a first sentence that states one label, half for its length.

    Args:
        label_sets: as for [`label`].
        words: least and most of an answer, quotes left out.
    """
    sets = label_sets or label_sets_of(label, task)
    judge = RuleJudge()
    values: Values = []
    for completion, wanted, kind in zip(completions, label, task, strict=True):
        if kind not in EMOTION_TASKS or not wanted:
            values.append(None)
            continue
        text = text_of(completion)
        first = _SENTENCE.match(text.strip())
        stated, special = judge.stated_labels(first[0] if first else "", tuple(sets[kind]))
        quoted = sum(len(normalised_words(quote.text)) for quote in find_quotes(text))
        length = len(normalised_words(text)) - quoted
        values.append(0.5 * (len(stated) == 1 and not special) + 0.5 * (words[0] <= length <= words[1]))
    return values


def label_sets_of(labels: Sequence[str | None], tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each task with labels, the smallest named label set that holds them all."""
    given: dict[str, set[str]] = {}
    for name, task in zip(labels, tasks, strict=True):
        if task in EMOTION_TASKS and name:
            given.setdefault(task, set()).add(name)
    return {task: find_label_set(names)[1] for task, names in given.items()}


def _targets(target: Sequence[str | None] | None, rows: Sequence[Any]) -> list[bool]:
    return [True] * len(rows) if target is None else [kind in (None, "evidence") for kind in target]


def _same_valence(one: str, other: str) -> float:
    lexicon = load_lexicon()
    valences = {lexicon.emotions.get(lexicon.concept(name) or "", {}).get("valence") for name in (one, other)}
    return SAME_VALENCE if valences in ({"positive"}, {"negative"}) else 0.0


__all__ = ["form", "label", "label_sets_of", "quotes_enough", "quotes_said"]
