"""What a reward gives is looked at before anything is learnt from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


Reward = Callable[..., Sequence[float | None]]
# What TRL gives a reward beside the columns of the rows.
_NO_COLUMNS = ("trainer_state", "log_extra", "log_metric", "environments")


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

    def __call__(self, completions: Sequence[Any], log_metric: Callable[[str, float], None] | None = None, **given):
        """The values of completions.

        Raises:
            RewardError: naming the reward and the first row that is wrong.
        """
        columns = {name: values for name, values in given.items() if name not in _NO_COLUMNS}
        rows = columns.get("id") or [f"number {number}" for number in range(len(completions))]
        values = self._values(completions, columns, rows)
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

    def _values(self, completions: Sequence[Any], columns: dict[str, Any], rows: Sequence[Any]) -> list[float | None]:
        try:
            return list(self.reward(completions=completions, **columns))
        except Exception as error:
            wrong = next((row for place, row in enumerate(rows) if self._fails(completions, columns, place)), None)
            where = "all rows together" if wrong is None else f"row {wrong!r}"
            raise RewardError(f"reward {self.__name__} failed on {where}: {type(error).__name__}: {error}") from error

    def _fails(self, completions: Sequence[Any], columns: dict[str, Any], place: int) -> bool:
        try:
            self.reward(
                completions=completions[place : place + 1],
                **{name: values[place : place + 1] for name, values in columns.items()},
            )
        except Exception:
            return True
        return False
