"""From a configuration and rewards to a trainer, and to a trained model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import DPOConfig, GRPOConfig

from . import estimate
from .assemble import assemble, new_parts, note_context, note_labels
from .clips import refuse_bad_rows
from .dpo import AUDIO_DPO, AudioLLMDPOTrainer
from .grpo import AUDIO_RL, AudioLLMGRPOTrainer, report_rewards
from .identity import rows_identity
from .lora import lora_settings
from .pairs import PAIRS_NAME, Sampling, make_pairs
from .reward_checks import CheckedReward, Reward
from .rl_config import check_rl_config
from .run import run
from .run_trainer import refuse_deepspeed, warn_of_slow_bfloat16
from .schedule import Round, ScheduleError, part_parameters, refuse_unlabelled, refuse_unlearned
from .sft import by_task, read_rows_of


Rewards = Callable[[Dataset], Mapping[str, Reward]]


def build_rl_trainer(
    config: dict[str, Any], rewards: Rewards, model: Any = None, processor: Any = None
) -> AudioLLMGRPOTrainer | AudioLLMDPOTrainer:
    """The trainer that a configuration describes.

    Args:
        config: as [`read_rl_config`] gives it.
        rewards: gives for the rows what the section `rewards` names, by name.
        model, processor: to train these instead of what the `model` section describes.
    """
    checked = check_rl_config(config)
    refuse_deepspeed(checked.training)
    weights = [reward.weight for reward in checked.rewards]
    if checked.method == "grpo":
        settings: dict[str, Any] = {**checked.training_arguments(), **AUDIO_RL, "reward_weights": weights}
        arguments: GRPOConfig | DPOConfig = GRPOConfig(**settings)
    else:
        settings = {**checked.training, **AUDIO_DPO}
        arguments = DPOConfig(**settings)
    warn_of_slow_bfloat16(arguments)
    set_seed(arguments.seed)
    rows = read_rows_of(checked.data, checked.data.train, "train")
    given = rewards(rows)
    named = checked.data.validation
    validation = None if named is None else by_task(read_rows_of(checked.data, named, "validation"))
    if arguments.process_index == 0:
        for some in (rows, *(validation or {}).values()):
            refuse_bad_rows(some, answers=False)
    if model is None:
        model, processor = assemble(config["model"])
    note_labels(model, config.get("model"), rows)
    note_context(model, rows)
    lora: Any = config.get("lora") and lora_settings(config["lora"], model)
    parts = [*part_parameters(model), *(["lora"] if lora else [])]
    lacking = [part for part in checked.train if part not in parts]
    if lacking:
        raise ScheduleError(f"train: this model has no {' and no '.join(lacking)}; it has {', '.join(parts)}.")
    learning = Round(tuple(dict.fromkeys(rows["task"])), tuple(checked.train), checked.epochs)
    new = new_parts(config["model"], model)
    refuse_unlearned([learning], new)
    if model.config.label_first:
        refuse_unlabelled([learning], new)
    origin = {"model": config["model"], "lora": lora}
    if isinstance(arguments, DPOConfig):
        checks = [CheckedReward(reward.name, given[reward.name]) for reward in checked.rewards]
        path = Path(str(arguments.output_dir)) / PAIRS_NAME
        with arguments.main_process_first(desc="answering"):
            pairs = make_pairs(
                model.to(arguments.device),
                processor,
                rows,
                checks,
                weights,
                checked.sampling or Sampling(),
                path,
                made_of={
                    **{name: config.get(name) for name in ("model", "data", "rewards", "sampling")},
                    "rows": rows_identity(rows),
                    "seed": arguments.seed,
                },
                seed=arguments.seed,
            )
        return AudioLLMDPOTrainer(
            model, arguments, pairs, processor, LoraConfig(**lora), checked.epochs, checked.steps, origin
        )
    return AudioLLMGRPOTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        processor=processor,
        rewards={reward.name: given[reward.name] for reward in checked.rewards},
        train=checked.train,
        lora=LoraConfig(**lora) if lora else None,
        epochs=checked.epochs,
        max_steps=checked.steps,
        origin=origin,
        eval_dataset=validation,
    )


def report_rl_plan(config: dict[str, Any], rewards: Rewards, gpus: Sequence[int]) -> str:
    """What each GPU must hold while it learns, and which rows each reward judges; nothing is loaded but the rows."""
    checked = check_rl_config(config)
    rows: Dataset = read_rows_of(checked.data, checked.data.train, "train")
    learning = Round(tuple(dict.fromkeys(rows["task"])), tuple(checked.train), checked.epochs)
    given = rewards(rows)
    judged = [CheckedReward(reward.name, given[reward.name]) for reward in checked.rewards]
    lines = report_rewards(judged, [reward.weight for reward in checked.rewards], rows)
    return "\n".join([estimate.report(config, [learning], gpus), *lines])


def train_by_rewards(config: dict[str, Any], rewards: Rewards) -> str:
    """Train, or go on where a killed run of it stopped; gives the folder of the merged model."""
    return run(config, build_rl_trainer(config, rewards))
