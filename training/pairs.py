"""Pairs to prefer by: of the answers that a model gives to a row, the one that is rewarded most, and the one least."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from ..language_models.journal import Journal
from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..processing.collator import IGNORED, AudioLLMCollator
from ..processing.conversation import asked
from ..processing.processing_audiollm import AudioLLMProcessor
from .reward_checks import CheckedReward
from .strict import ConfigError


PAIRS_NAME = "pairs.jsonl"
MADE_OF = "made of"  # the key of the file's first line
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
    made_of: Mapping[str, Any],
    seed: int = 0,
) -> Dataset:
    """Rows with the answers `chosen` and `rejected`; those whose answers are all worth the same are left out.

    Args:
        model: that answers.
        processor: of the model.
        rows: of the schema.
        rewards: their weighted sum is what an answer is worth; what none of them judges is left out.
        weights: of the rewards.
        sampling: how answers are sampled.
        path: file that keeps the pairs as they come, so that a killed job goes on, and a run learns from the same.
        made_of: what the pairs depend on, by name.
        seed: of the sampling.

    Raises:
        ConfigError: if the file has pairs that were made of something else.
        ValueError: if no row is left.
    """
    with Journal(path) as journal:
        _claim(journal, json.loads(json.dumps(made_of)))
        for entry in _missing(model, processor, rows, rewards, weights, sampling, journal.entries, seed):
            journal.append(entry)
        pairs = [entry for entry in journal.entries.values() if entry.get("chosen") is not None]
    logger.info("%d of %d rows have a better and a worse answer: %s", len(pairs), len(rows), path)
    if not pairs:
        raise ValueError(
            f"All {sampling.answers} answers to each row are worth the same ({path}); sample more of them."
        )
    return Dataset.from_list(
        [{**rows[pair["row"]], "chosen": pair["chosen"], "rejected": pair["rejected"]} for pair in pairs]
    )


def _claim(journal: Journal, made_of: dict[str, Any]):
    before = journal.entries.get(MADE_OF)
    if before is None:
        journal.append({"id": MADE_OF, **made_of})
        return
    others = [name for name in made_of if made_of[name] != before.get(name)]
    if others:
        raise ConfigError(
            f"{journal.path} has pairs that were made with another {', '.join(others)}; give another "
            "training.output_dir, or delete the file."
        )


@torch.no_grad()
def _missing(model, processor, rows, rewards, weights, sampling, known, seed) -> Iterator[dict[str, Any]]:
    """What the file does not have yet: for each row its pair, or that its answers make none."""
    model.eval()
    collator = AudioLLMCollator(processor)
    for start in range(0, len(rows), sampling.batch_size):
        places = range(start, min(start + sampling.batch_size, len(rows)))
        if all(str(place) in known for place in places):
            continue
        some = [rows[place] for place in places]
        inputs = processor(
            text=[processor.prompt(asked(row)) for row in some], audio=[collator.clip(row) for row in some]
        ).to(model.device)
        with torch.random.fork_rng():
            torch.manual_seed(seed + start)  # a job that goes on samples what it would have sampled
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
        for number, place in enumerate(places):
            own = slice(number * sampling.answers, (number + 1) * sampling.answers)
            judged = [(value, text) for value, text in zip(worth[own], said[own]) if value is not None]
            entry: dict[str, Any] = {"id": str(place), "row": place, "of": some[number]["id"]}
            if judged and min(judged)[0] < max(judged)[0]:
                (least, rejected), (most, chosen) = min(judged), max(judged)
                entry |= {"chosen": chosen, "rejected": rejected, "worth": [most, least]}
            if entry["id"] not in known:
                yield entry


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
