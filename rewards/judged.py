"""A judge's rating as a reward: asked once for each answer, and None where it has none."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..eval import EvalError
from ..eval.figures import HIGHEST
from ..eval.judges import Item, Judge, check_judge, load_judge
from .functions import Values, text_of


class JudgeReward:
    """Rates answers by a judge of `eval`, from 0 to 1.

    What the judge gave an answer is kept in memory, and in the journal if there is one. What it did not rate is None,
    and asked again when the answer comes again.

    Args:
        judge: a judge that rates answers, or its name: `llm:MODEL`, see [`load_judge`].
        what: that is rated: `relevance` or `groundedness`.
        journal: file that keeps the ratings; of several processes each has one of its own.

    Raises:
        EvalError: for another `what`, or a judge that rates nothing.
    """

    needs = ("transcript",)

    def __init__(self, judge: str | Judge, what: str = "relevance", journal: str | None = None):
        if what not in HIGHEST or what == "sqa":
            raise EvalError(f"a judge rates relevance or groundedness, not {what!r}.")
        self.what, self.known = what, {}
        self.judge = load_judge(judge, journal=_of_process(journal)) if isinstance(judge, str) else judge
        check_judge(self.judge)
        if self.judge.rate(what, []) is None:
            raise EvalError(f"judge {self.judge.name} rates no {what}; name a language model (llm:MODEL).")

    def __call__(
        self,
        completions: Sequence[Any],
        transcript: Sequence[str | None],
        question: Sequence[str] | None = None,
        id: Sequence[str] | None = None,
        **columns: Any,
    ) -> Values:
        """The ratings of completions; None of rows without a transcript."""
        many = len(completions)
        columns_shown = zip(completions, transcript, question or [""] * many, id or [""] * many, strict=True)
        items = [
            Item(row, {"answer": text_of(completion), "transcript": said or "", "question": asked, "reference": ""})
            for completion, said, asked, row in columns_shown
        ]
        keys = [json.dumps(item.fields) for item in items]  # ids are those of one corpus, and there may be several
        wanted = {key: item for key, item in zip(keys, items) if item.fields["transcript"] and key not in self.known}
        ratings = dict(zip(wanted, self.judge.rate(self.what, list(wanted.values())) or [], strict=True))
        self.known |= {key: rating for key, rating in ratings.items() if rating.score is not None}
        return [self.known[key].score / HIGHEST[self.what] if key in self.known else None for key in keys]


def _of_process(journal: str | None) -> str | None:
    """A journal's name for this process: two that write to one file would cut each other's lines."""
    if journal is None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return journal
    path = Path(journal)
    return str(path.with_name(f"{path.stem}-{os.environ['RANK']}{path.suffix}"))
