"""What every judge takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True)
class Case:
    """One prediction to judge.

    Args:
        prediction: what the system answered, any text.
        label: the reference, one of `labels`.
        labels: the label set, in its own spelling.
        question: what was asked.
        transcript: what was said in the recording.
        id: of the row, by which a stored verdict is found again.
    """

    prediction: str
    label: str
    labels: tuple[str, ...]
    question: str = ""
    transcript: str = ""
    id: str = ""


@dataclass(frozen=True)
class Verdict:
    """A judge's decision.

    Args:
        score: 1 right, 0 wrong, None unscored. Unscored is never a zero: it is counted apart.
        reason: why, in a sentence.
        stated: labels of the label set that the prediction states or comes near, in order of mention.
        special: the kind of special case, or None for a plain one.
        judge: who decided.
        failure: why a language model's verdict could not be had or read (see judges/ratings.py).
        raw: what that model replied.
    """

    score: int | None
    reason: str
    stated: tuple[str, ...] = ()
    special: str | None = None
    judge: str = "rule"
    failure: str | None = None
    raw: str | None = None

    @property
    def predicted(self) -> str | None:
        """The one class that a plain prediction states."""
        return self.stated[0] if self.special is None and len(self.stated) == 1 else None

    def to_dict(self) -> dict:
        return {**asdict(self), "stated": list(self.stated)}


class Judge(Protocol):
    """Decides cases, many at a time, so that a judge which asks a server can ask concurrently."""

    name: str

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Give one verdict per case, in order."""
        ...
