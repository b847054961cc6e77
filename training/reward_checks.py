"""What a reward gives is looked at before anything is learnt from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


Reward = Callable[..., Sequence[float | None]]


class RewardError(ValueError):
    """A reward that raises or gives what is no reward; names it and the row."""


class CheckedReward:
    """A reward under its name, whose values are checked, and how often it gave none is logged.

    TRL takes a value that is not a number for one that was not given.

    Args:
        name: of the reward.
        reward: as TRL takes it, see `GRPOTrainer`.
    """

    def __init__(self, name: str, reward: Reward):
        self.__name__, self.reward = name, reward
        self.needs: tuple[str, ...] = getattr(reward, "needs", ())
        self.evidence_only: bool = getattr(reward, "evidence_only", False)

    def __call__(self, completions: Sequence[Any], log_metric: Callable[[str, float], None] | None = None, **given):
        """The values of completions.

        Raises:
            RewardError: naming the reward and the first row that is wrong.
        """
        rows = given.get("id") or [f"number {number}" for number in range(len(completions))]
        values = self._values({"completions": completions, **given}, rows)
        if len(values) != len(completions):
            raise RewardError(
                f"reward {self.__name__} gave {len(values)} values for {len(completions)} answers, the first of them "
                f"to row {rows[0]!r}."
            )
        for row, value in zip(rows, values):
            number = isinstance(value, int | float)
            if value is not None and not (number and math.isfinite(value)):
                raise RewardError(f"reward {self.__name__} gave {value!r} to row {row!r}: a number or None is wanted.")
        if log_metric is not None:
            log_metric(f"rewards/{self.__name__}/unscored", sum(value is None for value in values) / len(values))
        return values

    def _values(self, given: dict[str, Any], rows: Sequence[Any]) -> list[float | None]:
        try:
            return list(self.reward(**given))
        except Exception as error:
            wrong = next((row for place, row in enumerate(rows) if self._fails(given, place, len(rows))), None)
            where = "all rows together" if wrong is None else f"row {wrong!r}"
            raise RewardError(f"reward {self.__name__} failed on {where}: {type(error).__name__}: {error}") from error

    def _fails(self, given: dict[str, Any], place: int, many: int) -> bool:
        columns = {name for name, values in given.items() if isinstance(values, list | tuple) and len(values) == many}
        try:
            self.reward(
                **{name: values[place : place + 1] if name in columns else values for name, values in given.items()}
            )
        except Exception:
            return True
        return False
