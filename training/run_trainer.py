"""What every trainer of an AudioLLM has: a run's folder, checkpoints of what learns, and a stop where nothing does."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import save_fsdp_optimizer
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer import utils as trl_utils

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..modeling_audiollm.saving import open_to_readers
from ..processing.conversation import asked
from ..processing.processing_audiollm import AudioLLMProcessor
from .alternation import AlternationSampler, ScheduledRows, draw_speeds, set_learning
from .checkpoints import (
    STAGING_NAME,
    TRAINABLE_NAME,
    copy_ctc_head,
    discard_checkpoint,
    gather_tensors,
    load_trainable,
    load_trained,
    naming_a_full_disk,
    publish_checkpoint,
    save_merged,
    save_origin,
    save_trainable,
    whole_checkpoints,
)
from .facts import write_facts
from .lora import refuse_outside
from .schedule import Plan, without_lora


logger = logging.getLogger("audiollm.train")


class NotFiniteError(ValueError):
    """A loss or a weight that is not a number any more; says at which step, and what to do."""


def asks_for_fsdp(args: TrainingArguments) -> bool:
    """Whether the arguments, or `accelerate launch`, ask for FSDP."""
    return bool(args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


@torch.no_grad()
def begin_states(optimizer: torch.optim.Optimizer):
    """Give what an optimizer has not moved yet the state that its first step would find.

    FSDP2 loads no checkpoint that lacks one of a parameter that may learn: here, of a part whose round comes later. A
    step with gradients of zero and without a rate makes them: exactly, of Adam and its kin and of SGD with momentum.
    """
    new = [p for group in optimizer.param_groups for p in group["params"] if p not in optimizer.state]
    if not new:
        return
    before = [
        {name: group[name] for name in ("lr", "weight_decay") if name in group} for group in optimizer.param_groups
    ]
    gradients = {p: p.grad for group in optimizer.param_groups for p in group["params"]}
    for parameter in gradients:
        parameter.grad = None
    for parameter in new:
        parameter.grad = torch.zeros_like(parameter)
    for group, settings in zip(optimizer.param_groups, before):
        group.update({name: value * 0 for name, value in settings.items()})  # a tensor stays one, as torchao asks
    type(optimizer).step(optimizer)  # not the schedule's, which counts
    for group, settings in zip(optimizer.param_groups, before):
        group.update(settings)
    for parameter, gradient in gradients.items():
        parameter.grad = gradient
    for parameter in new:
        if "step" in optimizer.state.get(parameter, {}):
            optimizer.state[parameter]["step"] *= 0


def refuse_deepspeed(training: dict[str, Any]):
    """Refuse DeepSpeed before `SFTConfig` sees it, which asks for a package that need not be there.

    Args:
        training: the `training` section of a configuration.

    Raises:
        ValueError: if the section or `accelerate launch` asks for DeepSpeed.
    """
    if training.get("deepspeed") or os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise ValueError(
            "DeepSpeed ZeRO is not supported: it decides by `requires_grad` at the start what it optimizes and saves "
            "(DeepSpeed#4055, #2615), and does not see that other parts learn in another round. Use DDP, or FSDP2 for "
            "models that do not fit: configs/accelerate/."
        )


def warn_of_slow_bfloat16(arguments: TrainingArguments):
    """Say that bf16 costs time on a CPU whose instructions do not know it.

    Args:
        arguments: of the training.
    """
    if arguments.bf16 and arguments.device.type == "cpu" and not _knows_bfloat16():
        logger.warning(
            "training.bf16 is set, but this CPU has no instructions for bfloat16, so that products take several times "
            "as long as in float32: set it to false."
        )


def _knows_bfloat16() -> bool:
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def shrink_tiles():
    """Let TRL compute an eighth of its tile of logits at a time where it has no Triton.

    There it holds some seven copies of a tile, which were a tenth of the peak memory of a model of 135 M. This can go
    when `trl.kernels.chunked_logprob._backward_tile` works in place (TRL 1.16 does not).
    """
    trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = 4096


def lay_out(plan: Plan, rows: Dataset, args: TrainingArguments, processor: AudioLLMProcessor) -> np.ndarray:
    """For each place of a run, the index of its row.

    Raises:
        ValueError: if rows of equal lengths are wanted together, but a row does not say how long it is.
    """
    lengths = None
    if args.train_sampling_strategy == "group_by_length":
        read = args.length_column_name == TrainingArguments.length_column_name
        column = "seconds" if read else args.length_column_name
        if column not in rows.column_names or None in rows[column]:
            raise ValueError(f"group_by_length needs {column!r} in every training row.")
        lengths = _tokens_read(rows, processor) if read else rows[column]
    sampler = AlternationSampler(plan, rows["task"], args.seed, lengths)
    return np.fromiter(sampler, dtype=np.int64, count=len(sampler))


def _tokens_read(rows: Dataset, processor: AudioLLMProcessor) -> list[int]:
    """Tokens that the language model reads of each row, but for what is the same in all: audio, question, answer."""
    told: Any = rows.remove_columns("audio")
    texts = [f"{asked(row)}{row['answer'] or ''}" for row in told]
    rate = processor.feature_extractor.sampling_rate
    audio = [processor.num_audio_tokens(round(seconds * rate)) for seconds in rows["seconds"]]
    return [len(ids) + heard for ids, heard in zip(processor.tokenizer(texts)["input_ids"], audio)]


class RunTrainer(Trainer):
    """A trainer whose run is a plan, in a folder: to be put before a trainer of TRL among the bases of a class."""

    # What transformers' trainer may have of many kinds is of one here; it takes all kinds of models.
    model: Any
    optimizer: Any
    train_dataset: Dataset
    processing_class: AudioLLMProcessor
    lr_scheduler: Any
    plan: Plan
    order: np.ndarray

    def begin_run(self, plan: Plan, order: np.ndarray, lora: LoraConfig | None, origin: dict[str, Any] | None):
        """To be called when the trainer of TRL is built: what learns, and what is known of the run.

        Args:
            plan: the laid-out schedule.
            order: for each place of the run, the index of its row.
            lora: adapters on the language model that the model was given, or none.
            origin: what checkpoints have to say about the model they belong to, see [`load_trained`].
        """
        self.plan, self.order, self.origin = plan, order, origin
        if lora is not None:
            refuse_outside(self.model)
        # All that ever learns must be trainable when the optimizer is built; the callback freezes from then on.
        set_learning(self.model, tuple(plan.parts))
        self.learnable = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        self.folder = Path(str(self.args.output_dir))  # while a checkpoint is saved, the argument is another
        self.seconds_before = 0.0  # of processes that trained this run before
        self._started = time.monotonic()
        # What a checkpoint holds beside the model: each has `state_dict` and `load_state_dict`.
        self.companions: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}  # of the run, for its checkpoints and its model; see `facts.training_facts`

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the whole run, in its order."""
        rows = ScheduledRows(self.train_dataset, self.order, draw_speeds(self.plan, self.args.seed))
        return self._get_dataloader(rows, "Training", self._train_batch_size, SequentialSampler, is_training=True)

    def log(self, logs: dict[str, float], start_time: float | None = None):
        """Log what TRL does, and how long the run has trained; stop one that learns nothing any more."""
        if "loss" in logs:
            self.refuse_broken(logs)
            logs["seconds"] = round(self.seconds, 1)
        super().log(logs, start_time)

    def report_plan(self) -> str:
        """The plan as a table."""
        return self.plan.report(self.model, learning_rate=self.args.learning_rate)

    @property
    def audio_model(self) -> AudioLLMForConditionalGeneration:
        """The model in training, without what PEFT wraps around it."""
        return without_lora(self.model)

    @property
    def seconds(self) -> float:
        """How long this run has trained, over all processes that went on with it."""
        return self.seconds_before + time.monotonic() - self._started

    def checkpoint_files(self) -> list[str]:
        """Patterns of the files that a checkpoint must have to go on from it just as if nothing had happened."""
        processes = self.args.world_size
        random = [f"rng_state_{index}.pth" for index in range(processes)] if processes > 1 else ["rng_state.pth"]
        optimizer = "optimizer*" if self.is_fsdp_enabled else OPTIMIZER_NAME
        files = [TRAINER_STATE_NAME, TRAINABLE_NAME, optimizer, SCHEDULER_NAME, *random]
        files += [SCALER_NAME] if self.args.fp16 else []
        return files + [f"{name}.safetensors" for name in self.companions]

    def refuse_not_finite(self, values: Mapping[str, torch.Tensor | float]):
        """Stop a run that learns nothing any more, before its state is saved.

        Args:
            values: by what they are.

        Raises:
            NotFiniteError: naming the first of them that is not finite, and the last checkpoint.
        """
        wrong = next((name for name, value in values.items() if not torch.as_tensor(value).isfinite().all()), None)
        if wrong is not None:
            saved = whole_checkpoints(self.folder)
            raise NotFiniteError(
                f"step {self.state.global_step}: {wrong} is not finite, so nothing is learnt any more; this state is "
                f"not saved ({f'the last checkpoint is {saved[-1]}' if saved else 'there is no checkpoint'}). Lower "
                "the learning rate, or look for clips of absurd levels; then train in another training.output_dir."
            )

    def refuse_broken(self, logs: Mapping[str, float]):
        """As [`refuse_not_finite`], by what is logged of a step."""
        # The gradients' scale of fp16 is found by trying; those that are not finite are left out there.
        norm = 0.0 if self.args.fp16 else logs.get("grad_norm", 0.0)
        self.refuse_not_finite({"the loss": logs["loss"], "the norm of the gradients": norm})

    def learnt_tensors(self) -> dict[str, torch.Tensor]:
        """What ever learns, on this process."""
        named = self.model.named_parameters()
        found = {name: parameter.detach() for name, parameter in named if name in self.learnable}
        return {name: value.to_local() if isinstance(value, DTensor) else value for name, value in found.items()}

    def create_model_card(self, *args: Any, **kwargs: Any):
        """Write no card: TRL's tells of text generation, and ours is made of the run's facts when it is published."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        """Save what ever learns, not the whole model: a checkpoint of a 10 B model stays below 1 GB."""
        folder = output_dir or str(self.args.output_dir)
        tensors = gather_tensors(self.model, self.learnable)
        self.refuse_not_finite(tensors)
        if not self.args.should_save:
            return
        os.makedirs(folder, exist_ok=True)
        save_trainable(tensors, folder)
        for name, companion in self.companions.items():
            file = os.path.join(folder, f"{name}.safetensors")
            save_file(companion.state_dict(), file)
            open_to_readers(file)
        if self.facts:
            write_facts(self.facts_so_far(), folder)
        if self.origin is not None:
            save_origin(self.origin, self.audio_model.config, self.processing_class, folder)

    def facts_so_far(self) -> dict[str, Any]:
        """The run's facts, with the steps and seconds that it has taken."""
        return {**self.facts, "steps": self.state.global_step, "seconds": round(self.seconds, 1)}

    def save_merged(self, folder: str | Path):
        """Save the whole model for `from_pretrained` and `pipeline`, with LoRA merged."""
        # Under FSDP no process has the whole model; the last checkpoint does.
        last = whole_checkpoints(self.folder)[-1] if self.is_fsdp_enabled else None
        save_merged(load_trained(last)[0] if last else self.model, self.processing_class, folder)
        if "speech_encoder" not in self.plan.parts:
            copy_ctc_head(str(self.audio_model.name_or_path), folder)

    # transformers has no public hook for any of what follows; each can go when it has one.

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None):
        """Load what [`save_model`] wrote; transformers looks for a whole model or for adapters alone."""
        load_trainable(model or self.model, resume_from_checkpoint)
        for name, companion in self.companions.items():
            file = Path(resume_from_checkpoint, f"{name}.safetensors")
            companion.load_state_dict(load_file(file, device=str(self.args.device)))

    def _save_optimizer_and_scheduler(self, output_dir: str):
        """As transformers does, but without FSDP's second copy of the model, which of a LoRA model is a part."""
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        begin_states(self.optimizer.optimizer)
        save_fsdp_optimizer(
            self.accelerator.state.fsdp_plugin, self.accelerator, self.optimizer, self.model, output_dir
        )
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), os.path.join(output_dir, SCHEDULER_NAME))

    def _save_checkpoint(self, model: nn.Module, trial: Any):
        """Save so that a kill at any moment leaves either this checkpoint, whole, or the one before it."""
        run, staging = self.folder, self.folder / STAGING_NAME
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(staging)
        try:
            with naming_a_full_disk(run):
                super()._save_checkpoint(model, trial)
        except OSError:
            shutil.rmtree(staging, ignore_errors=True)  # gives back the room that it took
            raise
        finally:
            self.args.output_dir = str(run)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            publish_checkpoint(staging / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}", run)
            for old in whole_checkpoints(run)[: -(self.args.save_total_limit or len(self.order))]:
                discard_checkpoint(old, staging)
            shutil.rmtree(staging)
        self.accelerator.wait_for_everyone()
