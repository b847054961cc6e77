"""Train an AudioLLM: `accelerate launch train_sft.py --config configs/tiny.yaml`, the same as `audiollm train`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig

from audiollm.commands import main
from audiollm.corpora.readers import read_corpus
from audiollm.corpora.schema import COLUMNS
from audiollm.processing.collator import AudioLLMCollator
from audiollm.training import estimate
from audiollm.training.assemble import assemble, new_parts
from audiollm.training.clips import refuse_bad_rows
from audiollm.training.encoder_losses import EncoderLossTrainer, label_classes
from audiollm.training.feature_cache import FeatureCache
from audiollm.training.lora import lora_settings
from audiollm.training.run import run
from audiollm.training.schedule import leave_out_missing, part_parameters, read_schedule, refuse_unlearned
from audiollm.training.trainer import AUDIO_SFT, AudioLLMTrainer, refuse_deepspeed


logger = logging.getLogger("audiollm.train")
SECTIONS = (
    "model",
    "data",
    "schedule",
    "lora",
    "training",
    "max_steps",
    "feature_cache",
    "samples_per_round",
)


def read_config(path: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A configuration from YAML, with `section.field=value` overrides.

    Raises:
        ValueError: for an unknown section or a malformed override.
    """
    config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"--set {override!r}: expected section.field=value.")
        *sections, field = name.split(".")
        target = config
        for section in sections:
            target = target.setdefault(section, {})
        target[field] = yaml.safe_load(value)
    unknown = set(config) - set(SECTIONS)
    if unknown:
        raise ValueError(f"{path}: unknown sections {sorted(unknown)}; known ones are {', '.join(SECTIONS)}.")
    return config


def read_training_rows(section: dict[str, Any]) -> Dataset:
    """Rows of all training corpora, as one dataset.

    Args:
        section: `train`, a list of paths (folders with `train.jsonl`, or files) or `{reader, path}`, and optionally
            `tasks` and `targets` to keep.
    """
    rows = [row for source in section["train"] for row in read_corpus(source, "train")]
    tasks, targets = section.get("tasks"), section.get("targets")
    kept = [
        {column: row[column] for column in COLUMNS}
        for row in rows
        if (not tasks or row["task"] in tasks) and (not targets or row["target"] in (None, *targets))
    ]
    if not kept:
        raise ValueError(f"No rows are left of {len(rows)}: data.tasks is {tasks}, data.targets is {targets}.")
    return Dataset.from_list(kept)


def build_trainer(
    config: dict[str, Any],
    model: Any = None,
    processor: Any = None,
    trainer_type: type[AudioLLMTrainer] | None = None,
    collator_type: Callable[..., AudioLLMCollator] = AudioLLMCollator,
) -> AudioLLMTrainer:
    """The trainer that a configuration describes.

    Args:
        config: as [`read_config`] gives it.
        model, processor: to train these instead of what the `model` section describes.
        trainer_type: another trainer than the schedule needs.
        collator_type: another collator, with the same arguments.
    """
    refuse_deepspeed(config["training"])
    arguments = SFTConfig(**AUDIO_SFT, **config["training"])
    set_seed(arguments.seed)
    dataset = read_training_rows(config["data"])
    if arguments.process_index == 0:
        refuse_bad_rows(dataset)
    if model is None:
        model, processor = assemble(config["model"])
    lora = config.get("lora") and lora_settings(config["lora"], model)
    parts = [*part_parameters(model), *(["lora"] if lora else [])]
    rounds = read_schedule(config["schedule"], parts, (trainer_type or AudioLLMTrainer).round_type)
    if isinstance(config["schedule"], str):
        rounds, lacking = leave_out_missing(rounds, dataset["task"])
        if lacking:
            logger.warning("no rows of %s: schedule %s goes without", ", ".join(lacking), config["schedule"])
    refuse_unlearned(rounds, new_parts(config["model"], model) | ({"lora"} if lora else set()))
    if trainer_type is None:
        trainer_type = EncoderLossTrainer if any(round_.weighed for round_ in rounds) else AudioLLMTrainer
    cache = config.get("feature_cache")
    classes = label_classes(dataset["task"], dataset["label"], rounds)
    return trainer_type(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collator_type(processor, classes, keys=bool(cache)),
        rounds=rounds,
        lora=LoraConfig(**lora) if lora else None,
        max_steps=config.get("max_steps", 0),
        cache=FeatureCache(**cache, writers=arguments.world_size) if cache else None,
        origin={"model": config["model"], "lora": lora} if "model" in config else None,
        samples=config.get("samples_per_round", 1),
    )


def report_memory(config: dict[str, Any], gpus: Sequence[int]) -> str:
    """What a configuration needs on each GPU, without data, weights or GPUs; see `training/estimate.py`."""
    parts = [*estimate.parts_of(config["model"]), *(["lora"] if config.get("lora") else [])]
    return estimate.report(config, read_schedule(config["schedule"], parts), gpus)


def train(config: dict[str, Any]) -> str:
    """Train by a configuration, or go on where a killed run of it stopped; gives the folder of the merged model."""
    return run(config, build_trainer(config))


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
