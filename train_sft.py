"""Train an AudioLLM: `python train_sft.py --config configs/tiny.yaml [--set training.max_steps=100]`."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig

from audiollm.corpora.readers import READERS, read_corpus
from audiollm.corpora.schema import COLUMNS
from audiollm.processing.augmentation import Augmentation
from audiollm.processing.collator import AudioLLMCollator
from audiollm.training import estimate
from audiollm.training.assemble import assemble, new_parts
from audiollm.training.checkpoints import load_trained, save_merged, whole_checkpoints
from audiollm.training.facts import training_facts, write_facts
from audiollm.training.feature_cache import FeatureCache
from audiollm.training.heads import label_classes
from audiollm.training.schedule import part_parameters, read_schedule, refuse_unlearned
from audiollm.training.trainer import AUDIO_SFT, LORA_TARGETS, AudioLLMTrainer, refuse_deepspeed


logger = logging.getLogger("audiollm.train")
SECTIONS = (
    "model",
    "data",
    "schedule",
    "lora",
    "augment",
    "training",
    "max_steps",
    "feature_cache",
    "samples_per_round",
    "position_gap",
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


def build_trainer(config: dict[str, Any], model: Any = None, processor: Any = None) -> AudioLLMTrainer:
    """The trainer that a configuration describes.

    Args:
        config: as [`read_config`] gives it.
        model, processor: to train these instead of what the `model` section describes.
    """
    refuse_deepspeed(config["training"])
    arguments = SFTConfig(**AUDIO_SFT, **config["training"])
    set_seed(arguments.seed)
    dataset = read_training_rows(config["data"])
    if model is None:
        texts = [text for row in dataset for text in (row["question"], row["answer"], row["transcript"]) if text]
        texts += [row["answer"] for path in config["data"].get("texts", ()) for row in read_corpus(path, "train")]
        model, processor = assemble(config["model"], texts)
    lora = config.get("lora") and {"target_modules": LORA_TARGETS, "task_type": "CAUSAL_LM", **config["lora"]}
    parts = [*part_parameters(model), *(["lora"] if lora else [])]
    rounds = read_schedule(config["schedule"], parts)
    refuse_unlearned(rounds, new_parts(config["model"], model) | ({"lora"} if lora else set()))
    cache = config.get("feature_cache")
    collator = AudioLLMCollator(
        processor,
        augment=Augmentation(**config["augment"]) if config.get("augment") else None,
        ctc=any(round_.ctc for round_ in rounds),
        classes=label_classes(dataset["task"], dataset["label"], rounds),
        seed=arguments.seed,
        keys=bool(cache),
        position_gap=config.get("position_gap", 0),
    )
    trainer = AudioLLMTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collator,
        rounds=rounds,
        lora=LoraConfig(**lora) if lora else None,
        max_steps=config.get("max_steps", 0),
        cache=FeatureCache(**cache, writers=arguments.world_size) if cache else None,
        origin={"model": config["model"], "lora": lora} if "model" in config else None,
        samples=config.get("samples_per_round", 1),
    )
    return trainer


def report_memory(config: dict[str, Any], gpus: Sequence[int]) -> str:
    """What a configuration needs on each GPU, without data, weights or GPUs; see `training/estimate.py`."""
    parts = [*estimate.parts_of(config["model"]), *(["lora"] if config.get("lora") else [])]
    return estimate.report(config, read_schedule(config["schedule"], parts), gpus)


def train(config: dict[str, Any]) -> str:
    """Train by a configuration, or go on where a killed run of it stopped; gives the folder of the merged model."""
    trainer = build_trainer(config)
    if trainer.is_world_process_zero():
        logger.info("plan\n%s", trainer.report_plan())
    output = Path(trainer.args.output_dir)
    done = whole_checkpoints(output)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(done[-1]) if done else None)
    seconds = time.monotonic() - started
    final = output / "model"
    if trainer.is_world_process_zero():
        trainer.state.save_to_json(str(output / "trainer_state.json"))
        # Under FSDP no process has the whole model; the last checkpoint does.
        model = load_trained(whole_checkpoints(output)[-1])[0] if trainer.is_fsdp_enabled else trainer.model
        save_merged(model, trainer.processing_class, final)
        trainer.save_ctc_head(final)
        plan, steps = asdict(trainer.plan), trainer.state.global_step
        write_facts(training_facts(config, trainer.train_dataset, plan, steps, seconds, READERS), output)
        logger.info("trained %d steps; the model is in %s", trainer.state.global_step, final)
    trainer.accelerator.wait_for_everyone()
    return str(final)


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="a YAML file; see configs/")
    parser.add_argument("--set", nargs="*", default=[], metavar="section.field=value", help="change single fields")
    parser.add_argument("--plan", action="store_true", help="show what each GPU must hold, and train nothing")
    parser.add_argument("--gpus", nargs="*", type=int, default=[1, 8], help="how many, for --plan")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    config = read_config(options.config, options.set)
    if options.plan:
        print(report_memory(config, options.gpus))
    else:
        train(config)


if __name__ == "__main__":
    main()
