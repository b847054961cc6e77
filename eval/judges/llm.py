"""Judges that ask a language model: every verdict is kept as it arrives, and never asked for twice."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...language_models import LanguageModel
from ...language_models.journal import Journal
from ..systems.base import describe_language_model
from .base import Case, Item, Judge, Verdict
from .ratings import FAILURES, Rating, read_rating
from .rubrics import Rubric, find_prompts, new_nonce
from .rule import RuleJudge


@dataclass
class Tally:
    """What became of the answers given to one rubric.

    Args:
        asked: requests made now.
        known: verdicts found in the journal.
        failures: unscored answers by kind, new and known.
    """

    asked: int = 0
    known: int = 0
    failures: Counter = field(default_factory=Counter)

    @property
    def rated(self) -> int:
        return self.asked + self.known


class Rater:
    """Puts rubrics to a language model.

    Args:
        model: whom to ask.
        prompts: name of the rubrics (see judges/rubrics.py).
        journal: file that keeps the verdicts; None keeps none. A reply that can't be read is kept as such; a request
            that got no reply is made again at the next start.
        seed: of a model that samples.
        progress: show a bar.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: str = "audiollm",
        journal: str | Path | None = None,
        seed: int = 0,
        progress: bool = False,
    ):
        self.model, self.prompts, self.journal, self.seed, self.progress = model, prompts, journal, seed, progress
        self.rubrics = find_prompts(prompts)
        self.nonce = new_nonce()
        self.tallies: dict[str, Tally] = {}

    def rate(self, what: str, items: Sequence[Item]) -> list[Rating]:
        """Rate answers by the rubric for `what` (emotion, sqa, groundedness, relevance); one rating each, in order."""
        rubric = self.rubrics[what]
        tally = self.tallies.setdefault(what, Tally())
        keys = [self._key(rubric, item) for item in items]
        with nullcontext() if self.journal is None else Journal(self.journal, key="key") as journal:
            found = {} if journal is None else _known_ratings(journal, keys)
            wanted = {key: item for key, item in zip(keys, items) if key not in found}
            tally.known += len(found)
            tally.asked += len(wanted)
            for key, rating in self._ask(rubric, wanted):
                found[key] = rating
                if journal is not None:
                    note = {"key": key, "id": wanted[key].id, "judge": self.model.name, "rubric": rubric.name}
                    journal.append({**note, **asdict(rating)})
        tally.failures.update(rating.failure for rating in found.values() if rating.failure)
        return [found[key] for key in keys]

    def describe(self) -> dict[str, Any]:
        """Who is asked, by which rubrics, how often, and how many of its verdicts failed."""
        rubrics = {what: self.rubrics[what] for what in self.tallies}
        unscored = {what: tally.failures.total() for what, tally in self.tallies.items()}
        rated = sum(tally.rated for tally in self.tallies.values())
        return {
            "model": describe_language_model(self.model),
            "prompts": self.prompts,
            "rubrics": {what: {"digest": r.digest, "wording": r.wording} for what, r in rubrics.items()},
            "nonce": self.nonce,
            "asked": {what: tally.asked for what, tally in self.tallies.items()},
            "answered_before": {what: tally.known for what, tally in self.tallies.items()},
            "unscored": unscored,
            "failures": dict(sum((tally.failures for tally in self.tallies.values()), Counter())),
            "share_unscored": sum(unscored.values()) / rated if rated else None,
        }

    def rate_answers(self, what: str, items: Sequence[Item]) -> list[Rating]:
        """As [`Rater.rate`], but an empty answer gets 0 without asking: there is nothing to rate in it."""
        said = [bool(item.fields["answer"].strip()) for item in items]
        ratings = iter(self.rate(what, [item for item, words in zip(items, said) if words]))
        return [next(ratings) if words else Rating(0, "the answer is empty.") for words in said]

    def _ask(self, rubric: Rubric, wanted: dict[str, Item]) -> Iterator[tuple[str, Rating]]:
        keys = list(wanted)
        requests = (rubric.messages(wanted[key].fields, self.nonce) for key in keys)
        replies = self.model.ask(requests, seed=self.seed, schema=rubric.schema)
        bar = tqdm(replies, total=len(keys), desc=f"judge: {rubric.name}", disable=not self.progress or not keys)
        for number, reply in bar:
            key = keys[number]
            if reply.text is None:
                yield key, Rating(None, f"{FAILURES['no_reply']}: {reply.error}", "no_reply")
            else:
                yield key, read_rating(reply.text, rubric.highest, wanted[key].fields["answer"])

    def _key(self, rubric: Rubric, item: Item) -> str:
        """Of all that a verdict depends on: row, judge, wording of the rubric, and the texts shown."""
        shown = {name: item.fields[name] for name in rubric.fields}
        content = json.dumps([item.id, self.model.name, rubric.name, rubric.digest, shown], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def _known_ratings(journal: Journal, keys: Sequence[str]) -> dict[str, Rating]:
    known = {key: journal.entries[key] for key in keys if key in journal}
    return {
        key: Rating(*(entry[name] for name in ("score", "reason", "failure", "raw")))
        for key, entry in known.items()
        if entry["failure"] != "no_reply"
    }


class LLMJudge(Judge):
    """Judges emotion and sentiment answers by a language model; only an empty answer is wrong without asking.

    Args:
        rater: asks the model.
    """

    def __init__(self, rater: Rater):
        self.rater = rater
        self.name = f"llm:{rater.model.name}"

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Judge cases in order."""
        ratings = self.rater.rate_answers("emotion", [_item(case) for case in cases])
        return [Verdict(r.score, r.reason, judge=self.name, failure=r.failure, raw=r.raw) for r in ratings]

    def rate(self, what: str, items: Sequence[Item]) -> list[Rating]:
        """Rate answers by the rubric for `what`."""
        return self.rater.rate_answers(what, items)

    def describe(self) -> dict[str, Any]:
        return self.rater.describe()


class HybridJudge(Judge):
    """The rule decides plain cases, a language model the special ones (section 7 of the paper).

    Args:
        rater: asks the model.
    """

    def __init__(self, rater: Rater):
        self.rule, self.llm = RuleJudge(), LLMJudge(rater)
        self.name = f"hybrid:{rater.model.name}"

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Judge cases in order."""
        verdicts = self.rule.judge(cases)
        special = [number for number, verdict in enumerate(verdicts) if verdict.special]
        for number, verdict in zip(special, self.llm.judge([cases[number] for number in special])):
            rule = verdicts[number]
            verdicts[number] = replace(verdict, stated=rule.stated, special=rule.special)
        return verdicts

    def rate(self, what: str, items: Sequence[Item]) -> list[Rating]:
        """Rate answers by the language model."""
        return self.llm.rate(what, items)

    def describe(self) -> dict[str, Any]:
        return self.llm.describe()


def _item(case: Case) -> Item:
    fields = {"question": case.question, "labels": ", ".join(case.labels), "reference": case.label}
    return Item(case.id, {**fields, "answer": case.prediction})
