"""Judges: from a free-text prediction to right, wrong or unscored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import EvalError
from .base import OVERLAPPING, Case, Item, Judge, Verdict, check_judge
from .ratings import Rating
from .rule import RuleJudge


JUDGE_FORMS = "rule, llm:MODEL or hybrid:MODEL, where MODEL is a folder, server:NAME or server:NAME@URL"
MAX_NEW_TOKENS = 512  # of a verdict: reasoning of some sentences, and room for a model that thinks aloud


def load_judge(
    name: str,
    prompts: str = "audiollm",
    journal: str | Path | None = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> Judge:
    """Build a judge of emotion and sentiment answers from its name.

    Args:
        name: `rule`; `llm:MODEL` (a language model judges all); `hybrid:MODEL` (only the rule's special cases), with
            MODEL as [`load_language_model`] takes it.
        prompts, journal, seed, progress: of [`Rater`].
        options: of the language model (`concurrency`, `timeout`, `batch_size`, ...).

    Raises:
        EvalError: if there is no such judge.
    """
    if name == "rule":
        return RuleJudge()
    from ...language_models import load_language_model
    from .llm import HybridJudge, LLMJudge, Rater  # loads torch, which the rule does without

    kind, _, model = name.partition(":")
    if kind not in ("llm", "hybrid") or not model:
        raise EvalError(f"unknown judge {name!r}; choose one of: {JUDGE_FORMS}.")
    if not model.startswith("server:") and "/" not in model and not Path(model).is_dir():
        raise EvalError(f"judge {name!r}: {model} is no folder; for a server write {kind}:server:{model}@URL.")
    asked = load_language_model(model, **{"max_new_tokens": MAX_NEW_TOKENS, **options})
    rater = Rater(asked, prompts, journal, seed, progress)
    return HybridJudge(rater) if kind == "hybrid" else LLMJudge(rater)


__all__ = [
    "JUDGE_FORMS",
    "OVERLAPPING",
    "Case",
    "Item",
    "Judge",
    "Rating",
    "RuleJudge",
    "Verdict",
    "check_judge",
    "load_judge",
]
