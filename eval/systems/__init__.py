"""Systems to evaluate: everything that answers questions about recordings."""

from __future__ import annotations

from pathlib import Path

from audiollm.eval import EvalError
from audiollm.eval.systems.base import SAMPLING_RATE, System
from audiollm.processing.corpora.schema import read_rows


def load_system(spec: str, data: str | Path | None = None, max_new_tokens: int = 128) -> System:
    """Build a system from its name.

    Args:
        spec: `majority` (the floor: most frequent answers of the training rows), `emotion2vec:FOLDER` (a converted
            classifier), or an AudioLLM checkpoint folder.
        data: corpus folder, whose `train.jsonl` the majority needs.
        max_new_tokens: longest answer of a generating system, in tokens.

    Raises:
        EvalError: if there is no such system, or it lacks what it needs.
    """
    if spec == "majority":
        return _majority(data)
    kind, _, folder = spec.partition(":")
    if kind == "emotion2vec" and folder:
        from audiollm.eval.systems.emotion2vec import Emotion2VecClassifier

        return Emotion2VecClassifier(folder)
    if Path(spec).is_dir():
        from audiollm.eval.systems.audiollm import AudioLLM  # loads torch, which other systems do without

        return AudioLLM(spec, max_new_tokens=max_new_tokens)
    raise EvalError(f"no system {spec!r}: give a checkpoint folder, emotion2vec:FOLDER, or majority.")


def _majority(data: str | Path | None) -> System:
    from audiollm.eval.systems.majority import Majority

    if data is None or not (Path(data) / "train.jsonl").is_file():
        raise EvalError(f"the majority is that of training rows: {data} must be a folder with train.jsonl.")
    return Majority(read_rows(data, "train"))


__all__ = ["SAMPLING_RATE", "System", "load_system"]
