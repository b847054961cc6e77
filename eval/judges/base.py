"""What every judge takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from .. import EvalError
from .ratings import Rating


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


# The kind of special case in which a prediction states a class that overlaps with the right one (excited and happy,
# the paper's third special case). A judge that decides it alone counts it as wrong, and figures say how many they are.
OVERLAPPING = "overlapping_classes"


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
        """The one class that a prediction states."""
        return self.stated[0] if self.special in (None, OVERLAPPING) and len(self.stated) == 1 else None

    @property
    def overlaps(self) -> bool | None:
        """Whether it is wrong by a class that overlaps with the right one; None if the judge does not tell, or has
        not decided."""
        if self.score is None or (self.judge != "rule" and self.special is None):
            return None
        return self.score == 0 and self.special == OVERLAPPING

    def to_dict(self) -> dict:
        return {**asdict(self), "stated": list(self.stated)}


@dataclass(frozen=True)
class Item:
    """One answer to rate: the row's id, and the texts that a rubric shows."""

    id: str
    fields: Mapping[str, str]


class Judge(Protocol):
    """Decides emotion and sentiment answers, and may rate spoken answers and evidence. Subclass it.

    Many at a time, so that a judge which asks a server can ask concurrently.

    Attributes:
        name: kept with the results.
    """

    name: str

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """Give one verdict per case, in order."""
        ...

    def rate(self, what: str, items: Sequence[Item]) -> list[Rating] | None:
        """Rate answers, or say by None that this judge does not.

        Args:
            what: `sqa` (0 to 5), `groundedness` or `relevance` (0 to 2).
            items: with the fields `answer`, `reference`, `question` and `transcript`.

        Returns:
            One rating per item, in order.
        """
        return None

    def describe(self) -> dict[str, Any]:
        """What a reader needs to judge again; with `share_unscored` a run fails above the share that is allowed."""
        return {}


def check_judge(judge: Any) -> None:
    """Refuse what can't judge, before anything is answered.

    Raises:
        EvalError: naming what the object lacks.
    """
    lacking = [name for name in ("judge", "rate", "describe") if not callable(getattr(judge, name, None))]
    if not isinstance(getattr(judge, "name", None), str):
        lacking.insert(0, "name")
    if lacking:
        raise EvalError(
            f"the judge {type(judge).__name__} has no {', '.join(lacking)}: subclass audiollm.eval.judges.Judge, "
            "whose own `rate` says that it rates no spoken answers and no evidence."
        )
