"""TRL's SFTTrainer for AudioLLM: audio batches, a schedule of rounds, checkpoints of what learns."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, save_fsdp_optimizer
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, SequentialSampler
from transformers.integrations.liger import apply_liger_kernel
from transformers.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTConfig, SFTTrainer
from trl.trainer import utils as trl_utils

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..processing.collator import IGNORED, AudioLLMCollator
from ..processing.processing_audiollm import AudioLLMProcessor
from .alternation import AlternationCallback, AlternationSampler, ScheduledRows, set_learning
from .averaging import AveragingCallback
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
from .feature_cache import FeatureCache
from .frozen_branches import FrozenBranches
from .lora import refuse_outside
from .rates import round_rates
from .samples import SampleCallback
from .schedule import Plan, Round, without_lora
from .token_sums import TokenSums


# TRL prepares and truncates text; our collator does the first, and audio prompts must not be cut: placeholders without
# audio break the model. Losses that are not finite are not to be hidden, nor looked for with a wait in each step.
AUDIO_SFT = {
    "remove_unused_columns": False,
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "max_length": None,
    "packing": False,
    "padding_free": False,
    "logging_nan_inf_filter": False,
}
ALIGNMENT_INPUTS = ("alignment_words", "alignment_labels")


class NotFiniteError(ValueError):
    """A loss or a weight that is not a number any more; says at which step, and what to do."""


def _shrink_tiles():
    """Let TRL compute an eighth of its tile of logits at a time where it has no Triton.

    There it holds some seven copies of a tile, which were a tenth of the peak memory of a model of 135 M. This can go
    when `trl.kernels.chunked_logprob._backward_tile` works in place (TRL 1.16 does not).
    """
    trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = 4096


def _asks_for_fsdp(args: SFTConfig) -> bool:
    return bool(args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


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


def _refuse_distribution(args: SFTConfig, cache: FeatureCache | None, rounds: Sequence[Round]):
    """Refuse what would train the wrong parts, or nothing, before anything is loaded on several GPUs."""
    if not _asks_for_fsdp(args):
        return
    version = (args.fsdp_config or {}).get("version", 2) if args.fsdp else os.environ.get("FSDP_VERSION", "1")
    if str(version) != "2":
        raise ValueError(
            "FSDP 1 is not supported: it shards parts that learn and parts that do not into one flat parameter. Use "
            "`fsdp_version: 2`, as in configs/accelerate/."
        )
    if cache is not None:
        raise ValueError("feature_cache does not work with FSDP, which has no whole encoder to ask; leave it out.")
    if any(round_.average for round_ in rounds):
        raise ValueError("Rounds with `average` do not work with FSDP, which has no whole weights; leave it out.")


def _use_liger(language_model: nn.Module, settings: dict[str, Any] | None):
    """Give the language model Liger's kernels; of an AudioLLM as a whole, Liger knows nothing and says so to nobody.

    Args:
        language_model: not yet wrapped by PEFT.
        settings: `liger_kernel_config` of the training arguments.

    Raises:
        ValueError: if Liger has no kernels for this language model.
    """
    # The loss is TRL's fused head already, which Liger's would replace.
    apply_liger_kernel(language_model, {**(settings or {}), "fused_linear_cross_entropy": False})
    if not any("forward" in vars(module) for module in language_model.modules()):
        raise ValueError(f"Liger has no kernels for {language_model.config.model_type}; leave use_liger_kernel out.")


class AudioLLMTrainer(SFTTrainer):
    """Trains an AudioLLM by a schedule.

    Args:
        model: the model, not yet wrapped by PEFT.
        args: TRL's arguments; epochs and steps come from the schedule.
        train_dataset: rows of the schema.
        data_collator: [`AudioLLMCollator`].
        rounds: the schedule, see [`read_schedule`].
        lora: adapters on the language model, or none.
        max_steps: stop after so many steps, wherever the schedule is then (0: run it to its end).
        cache: for the outputs of frozen branches, or none.
        origin: what checkpoints have to say about the model they belong to, see [`load_trained`].
        samples: rows of each task that the model answers at the end of a round; none under FSDP.
        kwargs: as for `SFTTrainer`.

    Raises:
        ScheduleError: if the schedule does not fit the rows.
        ValueError: for a way to distribute the training that would train the wrong parts.
    """

    round_type: ClassVar[type[Round]] = Round
    # What transformers' trainer may have of many kinds is of one here.
    model: Any
    args: SFTConfig
    train_dataset: Dataset
    data_collator: AudioLLMCollator
    processing_class: AudioLLMProcessor
    # Trainer takes all kinds of models.
    model: Any
    optimizer: Any

    def __init__(
        self,
        model: AudioLLMForConditionalGeneration,
        args: SFTConfig,
        train_dataset: Dataset,
        data_collator: AudioLLMCollator,
        rounds: list[Round],
        lora: LoraConfig | None = None,
        max_steps: int = 0,
        cache: FeatureCache | None = None,
        origin: dict[str, Any] | None = None,
        samples: int = 0,
        **kwargs: Any,
    ):
        _refuse_distribution(args, cache, rounds)
        rows_per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.tasks = train_dataset["task"]
        self.plan = Plan.of(rounds, self.tasks, rows_per_step)
        args.max_steps = min(max_steps or self.plan.total_steps, self.plan.total_steps)
        if args.device.type == "cpu":
            _shrink_tiles()
        if args.use_liger_kernel:
            _use_liger(model.model.language_model, args.liger_kernel_config)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            data_collator=data_collator,
            processing_class=data_collator.processor,
            peft_config=lora,
            **kwargs,
        )
        if lora is not None:
            refuse_outside(self.model)
        # All that ever learns must be trainable when the optimizer is built; the callback freezes from then on.
        set_learning(self.model, tuple(self.plan.parts))
        self.learnable = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        self.order = self._lay_out()
        self.origin = origin
        self.sums = TokenSums(args.device)
        self.alignment_losses: list[torch.Tensor] = []  # since the last log
        if args.world_size > 1 and any(round_.align and round_.lm for round_ in rounds):
            raise ValueError("Several processes align in rounds of their own: give rounds with `align` `lm: 0`.")
        self.folder = Path(str(args.output_dir))  # of the run; while a checkpoint is saved, the argument is another
        self.seconds_before = 0.0  # of processes that trained this run before
        self._started = time.monotonic()
        self._logged = (0, self._started)
        self._parameters: int | None = None
        # What a checkpoint holds beside the model: each has `state_dict` and `load_state_dict`.
        self.companions: dict[str, Any] = {}
        if any(round_.average for round_ in rounds):
            self.averaging = AveragingCallback(self.plan, self.companions)
            self.companions["average"] = self.averaging
            self.add_callback(self.averaging)  # before the callback that proves what a round left behind
        self.add_callback(AlternationCallback(self.plan))
        self.branches = FrozenBranches(self.plan, cache, data_collator.processor) if cache else None
        if self.branches:
            self.add_callback(self.branches)
        # Generating leaves FSDP2's modules gathered, and `requires_grad` of the next round would be set on copies:
        # frozen parts would go on learning. The proof at the borders found it.
        if samples and not self.is_fsdp_enabled:
            self.add_callback(SampleCallback(self.plan, train_dataset, data_collator.processor, samples))

    def create_accelerator_and_postprocess(self):
        """As transformers does, but with FSDP2 on CPUs too, where accelerate 1.15 would silently use DDP instead."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        if _asks_for_fsdp(self.args) and state.distributed_type == DistributedType.MULTI_CPU:
            state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin()
            self.is_fsdp_enabled = True
        plugin: Any = state.fsdp_plugin if self.is_fsdp_enabled else None
        if plugin and not plugin.transformer_cls_names_to_wrap:
            # accelerate asks for every layer class the architecture may have; a Whisper encoder has no decoder's.
            present = {type(module).__name__ for module in self.model.modules()}
            plugin.transformer_cls_names_to_wrap = sorted(set(self.model._no_split_modules) & present)

    def report_plan(self) -> str:
        """The plan as a table, with the rows, clips and parameters at hand."""
        clips: dict[str, set[str]] = {}
        for task, audio in zip(self.tasks, self.train_dataset["audio"]):
            clips.setdefault(task, set()).add(audio["path"])
        counts = {task: len(paths) for task, paths in clips.items()}
        return self.plan.report(self.model, counts, self.args.learning_rate)

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

    def learnt_tensors(self) -> dict[str, torch.Tensor]:
        """What ever learns, on this process."""
        named = self.model.named_parameters()
        found = {name: parameter.detach() for name, parameter in named if name in self.learnable}
        return {name: value.to_local() if isinstance(value, DTensor) else value for name, value in found.items()}

    def create_model_card(self, *args: Any, **kwargs: Any):
        """Write no card: TRL's tells of text generation, and ours is made of the run's facts when it is published."""

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the whole run, in the order of the schedule."""
        rows = ScheduledRows(self.train_dataset, self.order)
        return self._get_dataloader(rows, "Training", self._train_batch_size, SequentialSampler, is_training=True)

    def _lay_out(self) -> np.ndarray:
        """For each place of the run, the index of its row."""
        lengths = None
        if self.args.train_sampling_strategy == "group_by_length":
            lengths = self.train_dataset[self.args.length_column_name]
            if None in lengths:
                raise ValueError(f"group_by_length needs {self.args.length_column_name!r} in every training row.")
        sampler = AlternationSampler(self.plan, self.tasks, self.args.seed, lengths)
        return np.fromiter(sampler, dtype=np.int64, count=len(sampler))

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        """The scheduler of the arguments, over the whole run or over one round, at each round's own learning rate."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        rate = round_rates(self.plan, self.args)
        if rate is not None:
            for group in scheduler.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
            self.lr_scheduler = LambdaLR(scheduler.optimizer, rate)
        return self.lr_scheduler

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As transformers estimates them, but counting parameters once: each step, it takes longer than clipping."""
        if self._parameters is None:
            self._parameters = self.audio_model.num_parameters(exclude_embeddings=True)
        return 6 * inputs["input_ids"].numel() * self._parameters

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss, by task, and without its three waits for the GPU in every batch.

        What arguments add to it (another `loss_type`, label smoothing, losses of experts) goes TRL's way.
        """
        tasks, keys = inputs.pop("tasks"), inputs.pop("clip_keys", None)
        words = {name: inputs.pop(name) for name in ALIGNMENT_INPUTS if name in inputs}
        round_ = self.plan.round_at(self.state.global_step)
        if keys is not None and self.branches and self.model.training:
            with self.accelerator.autocast():
                self.branches.fill(self.model, inputs, keys)
        if round_.align and self.model.training:
            aligned = self._alignment_loss(model, inputs, words)
            if round_.lm == 0:
                return round_.align * aligned
            inputs["tasks"] = tasks
            told = self._told_loss(model, inputs, return_outputs, num_items_in_batch)
            return round_.align * aligned + round_.lm * told
        return self._told_loss(model, inputs | {"tasks": tasks}, return_outputs, num_items_in_batch)

    def _alignment_loss(self, model, inputs: dict[str, Any], words: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch's words, in a forward pass without the language model."""
        audio = {
            name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask", "labels")
        }
        loss = model(**audio, **words).loss
        self.alignment_losses.append(loss.detach())
        return loss / self.current_gradient_accumulation_steps

    def _told_loss(self, model, inputs: dict[str, Any], return_outputs: bool, num_items_in_batch):
        """The language model's loss."""
        tasks = inputs.pop("tasks")
        if self.label_smoother is not None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # Only the positions that are scored go through the head: the prompt and its audio are most of a row.
        scored = nn.functional.pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)
        kept = scored != IGNORED
        inputs |= {"kept": kept, "shift_labels": scored[kept].unsqueeze(0)}
        plain = self.args.loss_type == "nll" and not self.aux_loss_enabled and self.compute_loss_func is None
        if not (plain and self.model.training) or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        self.sums.add(outputs, tasks, kept, inputs["attention_mask"])
        tokens = outputs.label_mask.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        loss = -outputs.log_probs.sum() / tokens.clamp(min=1)
        # Of all processes' tokens; DDP takes the mean of the gradients.
        shared = self.args.average_tokens_across_devices and num_items_in_batch is not None
        return loss * self.accelerator.num_processes if shared else loss

    def log(self, logs: dict[str, float], start_time: float | None = None):
        """Log what TRL does, with the round, so that losses can be read by it, and the rows trained in a second."""
        if "loss" in logs:
            # The gradients' scale of fp16 is found by trying; those that are not finite are left out there.
            norm = 0.0 if self.args.fp16 else logs.get("grad_norm", 0.0)
            self.refuse_not_finite({"the loss": logs["loss"], "the norm of the gradients": norm})
            step, now = self.state.global_step, time.monotonic()
            logs["round"] = self.plan.index_at(step - 1) + 1
            logs["samples_per_second"] = (step - self._logged[0]) * self.plan.rows_per_step / (now - self._logged[1])
            self._logged = (step, now)
            logs |= self.sums.take(self.accelerator)
            if self.alignment_losses:
                logs["alignment_loss"] = float(torch.stack(self.alignment_losses).mean())
                self.alignment_losses.clear()
            logs["seconds"] = round(self.seconds, 1)
            self._total_train_tokens += logs["num_tokens"]
            logs["num_tokens"] = self._total_train_tokens
        super().log(logs, start_time)

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
            save_file(companion.state_dict(), os.path.join(folder, f"{name}.safetensors"))
        if self.origin is not None:
            save_origin(self.origin, self.audio_model.config, self.processing_class, folder)

    def save_merged(self, folder: str | Path):
        """Save the whole model for `from_pretrained` and `pipeline`, with LoRA merged."""
        # Under FSDP no process has the whole model; the last checkpoint does.
        last = whole_checkpoints(self.folder)[-1] if self.is_fsdp_enabled else None
        save_merged(load_trained(last)[0] if last else self.model, self.processing_class, folder)
        if "speech_encoder" not in self.plan.parts:
            copy_ctc_head(self.audio_model.name_or_path, folder)

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
