"""The configuration of a training by rewards: every section, its fields, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers import TrainingArguments
from trl import DPOConfig, GRPOConfig

from .config import NEVER_YOURS, Data, Model, Run, load_config
from .pairs import Sampling
from .schedule import PARTS
from .strict import ConfigError, nearest, read_section


# What the trainer sets itself, or what would leave audio out: setting it would do nothing, or harm.
NOT_YOURS = NEVER_YOURS | {
    "num_train_epochs": "`epochs` says how many passes there are",
    "reward_weights": "`rewards` gives each its weight",
    "disable_dropout": "what is scored has to be what was sampled, so there never is dropout",
    "chat_template_kwargs": "prompts are written as they are everywhere",
    **dict.fromkeys(("model_init_kwargs", "trust_remote_code"), "the section `model` describes the model"),
    **dict.fromkeys(("remove_unused_columns", "shuffle_dataset"), "the run is laid out by the trainer"),
    **dict.fromkeys(("use_vllm", "use_transformers_continuous_batching"), "it would sample without audio"),
    **dict.fromkeys(("sync_ref_model", "cast_lm_head_to_fp32"), "TRL's code for it does not know audio models"),
    **dict.fromkeys(("max_length", "truncation_mode", "padding_free"), "audio prompts are never cut or joined"),
    **dict.fromkeys(("precompute_ref_log_probs", "chat_template_path"), "rows are prepared by our own collator"),
}
ARGUMENTS: dict[str, type[TrainingArguments]] = {"grpo": GRPOConfig, "dpo": DPOConfig}


@dataclass(frozen=True)
class RewardChoice:
    """A reward.

    Args:
        name: as `audiollm.rewards` knows it.
        weight: in the sum of all.
        options: of this reward.
    """

    name: str
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not math.isfinite(self.weight) or self.weight == 0:
            raise ConfigError(f"rewards: {self.name} has the weight {self.weight:g}; leave it out, or give it one.")


@dataclass(frozen=True)
class RLConfiguration(Run):
    """A training by rewards.

    Args:
        model: what is trained: a checkpoint that answers already.
        data: rows with questions, and what rewards need (`transcript`, `label`). Their answers are not read.
        rewards: what answers are rewarded for.
        train: parts that learn; encoders, adapters and the language model have the names of a schedule's.
        epochs: passes over the rows.
        lora: fields of PEFT's `LoraConfig`, for the language model; none without it.
        training: fields of TRL's `GRPOConfig`, or of its `DPOConfig`.
        method: `grpo` samples answers all the time; `dpo` once, and prefers the best to the worst of each row.
        sampling: of the answers, for `dpo`.
        max_steps: stop after so many steps (0: run to the end).
    """

    model: Model
    data: Data
    rewards: list[RewardChoice]
    training: dict[str, Any]
    train: list[str] = field(default_factory=lambda: ["lora"])
    epochs: float = 1.0
    lora: dict[str, Any] | None = None
    max_steps: int = 0
    method: Literal["grpo", "dpo"] = "grpo"
    sampling: Sampling | None = None

    def __post_init__(self):
        self.check_run(ARGUMENTS[self.method], NOT_YOURS)
        names = [reward.name for reward in self.rewards]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"rewards are {', '.join(names) or 'none'}; give at least one, and each once.")
        for part in self.train:
            if part not in PARTS:
                raise ConfigError(f"train: {part} is no part; {nearest(part, PARTS)}")
        if not self.train or ("lora" in self.train) != (self.lora is not None):
            raise ConfigError("train names what learns: `lora` where there is a section `lora`, and only there.")
        if self.method == "dpo" and self.train != ["lora"]:
            raise ConfigError("method dpo trains [lora], so that the model without it is its own reference.")
        if self.method == "dpo" and self.data.validation is not None:
            raise ConfigError("method dpo makes pairs of data.train alone; leave data.validation out.")
        if self.method == "grpo" and self.sampling is not None:
            raise ConfigError(
                "sampling is of method dpo; for grpo, the section training says how answers are sampled."
            )
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise ConfigError(f"epochs is {self.epochs:g}; it must be above 0.")


def check_rl_config(config: Mapping[str, Any]) -> RLConfiguration:
    """The typed form of a configuration.

    Raises:
        ConfigError: naming the field that is unknown, of another type, or in contradiction to others.
    """
    return read_section(RLConfiguration, config, "")


def read_rl_config(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A configuration from YAML; arguments as for [`read_config`].

    Raises:
        ConfigError: for a malformed override, or a configuration that [`check_rl_config`] refuses.
    """
    return load_config(path, overrides, check_rl_config)
