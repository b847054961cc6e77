"""Pairs to prefer by: of the answers that a model gives to a row, the one that is rewarded most, and the one least."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from ..files import write_whole
from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..processing.collator import IGNORED, AudioLLMCollator
from ..processing.conversation import asked
from ..processing.processing_audiollm import AudioLLMProcessor
from .reward_checks import CheckedReward
from .strict import ConfigError


PAIRS_NAME = "pairs.jsonl"
logger = logging.getLogger("audiollm.train")


@dataclass(frozen=True)
class Sampling:
    """How the answers are sampled that pairs are made of.

    Args:
        answers: to each row.
        temperature: of the sampling.
        max_new_tokens: of an answer.
        batch_size: rows that are answered together.
    """

    answers: int = 8
    temperature: float = 1.0
    max_new_tokens: int = 64
    batch_size: int = 8

    def __post_init__(self):
        if self.answers < 2 or self.temperature <= 0 or self.max_new_tokens < 1 or self.batch_size < 1:
            raise ConfigError("sampling: at least two answers, of at least one token, at a temperature above 0.")


def make_pairs(
    model: AudioLLMForConditionalGeneration,
    processor: AudioLLMProcessor,
    rows: Dataset,
    rewards: Sequence[CheckedReward],
    weights: Sequence[float],
    sampling: Sampling,
    path: Path,
) -> Dataset:
    """Rows with the answers `chosen` and `rejected`; those whose answers are all worth the same are left out.

    Args:
        model: that answers.
        processor: of the model.
        rows: of the schema.
        rewards: their weighted sum is what an answer is worth; what none of them judges is left out.
        weights: of the rewards.
        sampling: how answers are sampled.
        path: file that keeps the pairs, so that a run that goes on learns from the same.

    Raises:
        ValueError: if no row is left.
    """
    if not path.exists():
        lines = [json.dumps(pair) + "\n" for pair in _pairs(model, processor, rows, rewards, weights, sampling)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(lines))
        logger.info("%d of %d rows have a better and a worse answer: %s", len(lines), len(rows), path)
    pairs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not pairs:
        raise ValueError(
            f"All {sampling.answers} answers to each row are worth the same ({path}); sample more of them."
        )
    return Dataset.from_list(
        [{**rows[pair["row"]], "chosen": pair["chosen"], "rejected": pair["rejected"]} for pair in pairs]
    )


@torch.no_grad()
def _pairs(model, processor, rows, rewards, weights, sampling) -> Iterator[dict[str, Any]]:
    model.eval()
    collator = AudioLLMCollator(processor)
    for start in range(0, len(rows), sampling.batch_size):
        some = [rows[index] for index in range(start, min(start + sampling.batch_size, len(rows)))]
        inputs = processor(
            text=[processor.prompt(asked(row)) for row in some], audio=[collator.clip(row) for row in some]
        ).to(model.device)
        tokens = model.generate(
            **inputs,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=0,
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=sampling.answers,
            suppress_tokens=[processor.audio_token_id],
        )
        said = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        columns = {name: [row[name] for row in some for _ in range(sampling.answers)] for name in some[0]}
        worth = _worth(said, columns, rewards, weights)
        for place in range(len(some)):
            own = slice(place * sampling.answers, (place + 1) * sampling.answers)
            judged = [(value, text) for value, text in zip(worth[own], said[own]) if value is not None]
            if judged and min(judged)[0] < max(judged)[0]:
                (least, rejected), (most, chosen) = min(judged), max(judged)
                pair = {"chosen": chosen, "rejected": rejected, "worth": [most, least]}
                yield {"row": start + place, "id": some[place]["id"], **pair}


def _worth(
    said: list[str], columns: dict[str, Any], rewards: Sequence[CheckedReward], weights: Sequence[float]
) -> list[float | None]:
    """What each answer is worth, or None if no reward judges it."""
    values = [reward(completions=said, **columns) for reward in rewards]
    return [
        None if all(value is None for value in of_answer) else sum(w * (v or 0) for w, v in zip(weights, of_answer))
        for of_answer in zip(*values)
    ]


class PairCollator:
    """Turns rows with `chosen` and `rejected` into model inputs: all chosen answers, then all rejected ones.

    Args:
        processor: of the model in training.
    """

    def __init__(self, processor: AudioLLMProcessor):
        self.processor, self.collator = processor, AudioLLMCollator(processor)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sides = [{**row, "answer": row[side]} for side in ("chosen", "rejected") for row in rows]
        batch = self.collator(sides)
        del batch["tasks"]
        scored = (batch.pop("labels") != IGNORED).long()
        return {**batch, "completion_mask": scored}
