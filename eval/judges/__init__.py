"""Judges: from a free-text prediction to right, wrong or unscored."""

from audiollm.eval import EvalError
from audiollm.eval.judges.base import Case, Judge, Verdict
from audiollm.eval.judges.rule import RuleJudge


JUDGES = {"rule": RuleJudge}


def load_judge(name: str) -> Judge:
    """Build the judge of this name.

    Raises:
        EvalError: if there is no such judge.
    """
    if name not in JUDGES:
        raise EvalError(f"unknown judge {name!r}; choose one of: {', '.join(JUDGES)}.")
    return JUDGES[name]()


__all__ = ["JUDGES", "Case", "Judge", "RuleJudge", "Verdict", "load_judge"]
