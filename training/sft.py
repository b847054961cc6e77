"""From a configuration to a trainer, and to a trained model."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig

from ..corpora.readers import read_corpus
from ..corpora.schema import COLUMNS, EMOTION_TASKS
from ..processing.collator import AudioLLMCollator
from ..processing.conversation import last_turns
from . import estimate
from .alignment import prepare_alignment
from .assemble import assemble, new_parts, note_context, note_label_words, note_labels
from .clips import refuse_bad_rows
from .config import Corpus, Data, check_config
from .encoder_losses import EncoderLossTrainer, label_classes
from .feature_cache import FeatureCache
from .lora import lora_settings
from .run import run
from .run_trainer import refuse_deepspeed, warn_of_slow_bfloat16
from .schedule import (
    leave_out_missing,
    part_parameters,
    read_rounds,
    read_schedule,
    refuse_unlabelled,
    refuse_unlearned,
    stretch,
)
from .trainer import AUDIO_SFT, AudioLLMTrainer


logger = logging.getLogger("audiollm.train")


def read_rows_of(data: Data, sources: Sequence[str | Corpus], split: str) -> Dataset:
    """Rows of all corpora in a list of sources, as one dataset, without the tasks and targets that are not kept."""
    rows = [
        row for source in sources for row in read_corpus(source if isinstance(source, str) else asdict(source), split)
    ]
    kept = [
        {column: row[column] for column in COLUMNS}
        for row in rows
        if (not data.tasks or row["task"] in data.tasks)
        and (not data.targets or row["target"] in (None, *data.targets))
    ]
    if not kept:
        kinds = f"data.tasks is {data.tasks}, data.targets is {data.targets}"
        raise ValueError(f"No rows of split {split} are left of {len(rows)}: {kinds}.")
    if data.turns:
        if not any(row["context"] for row in kept):
            raise ValueError(
                f"data.context is {data.context}, but no row of split {split} has a context; read the corpus with "
                "--option context=N."
            )
        kept = [last_turns(row, random.Random(row["id"]).choice(data.turns)) for row in kept]
    if data.balance and split == "train":
        kept = balanced(kept)
    return Dataset.from_list(kept)


def balanced(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with as many of each label of an emotion task as of any other, within one; other tasks' as they are.

    Which of a label's rows come once more, or stay away, is drawn, the same for the same rows.

    Raises:
        ValueError: if there is no row with an emotion or a sentiment.
    """
    labels: dict[str, dict[str, list[int]]] = {}
    chosen = []
    for index, row in enumerate(rows):
        if row["task"] in EMOTION_TASKS and row["label"]:
            labels.setdefault(row["task"], {}).setdefault(row["label"], []).append(index)
        else:
            chosen.append(index)
    if not labels:
        raise ValueError("data.balance is set, but no row that is trained on has an emotion or a sentiment.")
    for groups in labels.values():
        total = sum(len(group) for group in groups.values())
        for place, group in enumerate(groups.values()):
            share = total // len(groups) + (place < total % len(groups))
            drawn = random.Random(0).sample(group, len(group))
            chosen += [drawn[turn % len(drawn)] for turn in range(share)]
    return [rows[index] for index in sorted(chosen)]


def by_task(rows: Dataset) -> dict[str, Dataset]:
    """Rows to validate with, so that each task has its own loss (`eval_er_loss`)."""
    tasks = np.asarray(rows["task"])
    return {task: rows.select(np.flatnonzero(tasks == task)) for task in dict.fromkeys(rows["task"])}


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
    checked = check_config(config)
    round_type = (trainer_type or AudioLLMTrainer).round_type
    if not isinstance(checked.schedule, str):
        read_rounds(checked.schedule, round_type)
    refuse_deepspeed(checked.training)
    arguments = SFTConfig(**AUDIO_SFT, **checked.training_arguments())
    warn_of_slow_bfloat16(arguments)
    set_seed(arguments.seed)
    dataset = read_rows_of(checked.data, checked.data.train, "train")
    named = checked.data.validation
    validation = None if named is None else by_task(read_rows_of(checked.data, named, "validation"))
    if arguments.process_index == 0:
        for rows in (dataset, *(validation or {}).values()):
            refuse_bad_rows(rows)
    if model is None:
        model, processor = assemble(config["model"])
    note_labels(model, config.get("model"), dataset)
    note_context(model, dataset)
    lora = config.get("lora") and lora_settings(config["lora"], model)
    parts = [*part_parameters(model), *(["lora"] if lora else [])]
    rounds = read_schedule(config["schedule"], parts, round_type)
    if isinstance(config["schedule"], str):
        rounds, lacking = leave_out_missing(rounds, dataset["task"])
        if lacking:
            logger.warning("no rows of %s: schedule %s goes without", ", ".join(lacking), config["schedule"])
    new = new_parts(config["model"], model)
    refuse_unlearned(rounds, new | ({"lora"} if lora else set()))
    if checked.stretch_to:
        at_once = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        rounds = stretch(rounds, dataset["task"], at_once * arguments.world_size, checked.stretch_to)
    if trainer_type is None:
        trainer_type = EncoderLossTrainer if any(round_.weighed for round_ in rounds) else AudioLLMTrainer
    cache = checked.feature_cache
    classes = label_classes(dataset["task"], dataset["label"], rounds)
    if model.config.label_first:
        refuse_unlabelled(rounds, new)
    if any(round_.teaches_labels(model.model.feeling_adapter) for round_ in rounds):
        note_label_words(model, processor, (label for task, label in classes if task == "er"))
    words = prepare_alignment(model, processor, rounds, dataset, arguments.seed)
    return trainer_type(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collator_type(processor, classes, keys=bool(cache), **({"words": words} if words else {})),
        rounds=rounds,
        lora=LoraConfig(**lora) if lora else None,
        max_steps=checked.steps,
        cache=FeatureCache(cache.folder, cache.max_gb, arguments.world_size) if cache else None,
        origin={"model": config["model"], "lora": lora} if "model" in config else None,
        samples=checked.samples_per_round,
        eval_dataset=validation,
    )


def report_memory(config: dict[str, Any], gpus: Sequence[int]) -> str:
    """What a configuration needs on each GPU, without data, weights or GPUs; see `training/estimate.py`."""
    parts = [*estimate.parts_of(config["model"]), *(["lora"] if config.get("lora") else [])]
    return estimate.report(config, read_schedule(config["schedule"], parts), gpus)


def train(config: dict[str, Any]) -> str:
    """Train by a configuration, or go on where a killed run of it stopped; gives the folder of the merged model."""
    return run(config, build_trainer(config))
