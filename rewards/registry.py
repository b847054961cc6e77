"""Rewards by name, with their options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..training.strict import ConfigError, nearest, refuse_unknown
from . import functions
from .judged import JudgeReward
from .voice import CuesTrue


REWARDS: dict[str, Callable[..., Any]] = {
    "label": functions.label,
    "quotes_said": functions.quotes_said,
    "quotes_enough": functions.quotes_enough,
    "cues_true": CuesTrue,
    "form": functions.form,
    "judge": JudgeReward,
}


def load_rewards(chosen: Mapping[str, Mapping[str, Any]], rows: Any) -> dict[str, Callable[..., Any]]:
    """Rewards by name, ready for a trainer.

    Args:
        chosen: names with their options.
        rows: to train on, by column: their labels say which label sets answers are read by, their clips what is usual
            for a voice.

    Raises:
        ConfigError: for a reward or an option that is not known, or whose value the reward refuses.
    """
    sets = functions.label_sets_of(rows["label"], rows["task"])
    return {name: _load(name, options, {"label_sets": sets, "rows": rows}) for name, options in chosen.items()}


def _load(name: str, options: Mapping[str, Any], given: Mapping[str, Any]) -> Callable[..., Any]:
    if name not in REWARDS:
        raise ConfigError(f"rewards: {name} is unknown; {nearest(name, list(REWARDS))}")
    reward: Any = REWARDS[name]
    where = f"rewards: options of {name}"
    refuse_unknown(options, options_of(reward), where)
    bound = {known: given[known] for known in given if known in inspect.signature(reward).parameters}
    settings = bound | dict(options)
    if inspect.isclass(reward):
        try:
            return reward(**settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"rewards: {name}: {error}") from error
    loaded: Any = partial(reward, **settings)
    loaded.needs = needs_of(reward)
    loaded.evidence_only = "target" in inspect.signature(reward).parameters
    return loaded


def options_of(reward: Callable[..., Any]) -> list[str]:
    """The options of a reward: the parameters of a class, or those of a function behind its star."""
    kinds = (inspect.Parameter.KEYWORD_ONLY,)
    if inspect.isclass(reward):
        kinds += (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    found = inspect.signature(reward).parameters.items()
    return [name for name, given in found if given.kind in kinds and name != "rows"]


def needs_of(reward: Callable[..., Any]) -> tuple[str, ...]:
    """The columns without which a reward function judges no row."""
    given = inspect.signature(reward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD,)
    return tuple(p.name for p in given if p.kind in kinds and p.default is p.empty and p.name != "completions")
