"""TRL's SFTTrainer for AudioLLM: audio batches, a schedule of rounds, checkpoints of what learns."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from datasets import Dataset
from peft import LoraConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel
from transformers.integrations.liger import apply_liger_kernel
from trl import SFTConfig, SFTTrainer

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..modeling_audiollm.configuration_audiollm import encodes_by_length
from ..processing.collator import IGNORED, AudioLLMCollator
from .alternation import AlternationCallback
from .averaging import AveragingCallback
from .feature_cache import FeatureCache
from .frozen_branches import FrozenBranches
from .rates import round_rates
from .run_trainer import RunTrainer, asks_for_fsdp, lay_out, shrink_tiles
from .samples import SampleCallback
from .schedule import Plan, Round
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


def _refuse_distribution(args: SFTConfig, config: Any, cache: FeatureCache | None, rounds: Sequence[Round]):
    """Refuse what would train the wrong parts, or nothing, before anything is loaded on several GPUs."""
    if not asks_for_fsdp(args):
        return
    settings: Any = args.fsdp_config or {}
    version = settings.get("version", 2) if args.fsdp else os.environ.get("FSDP_VERSION", "1")
    if str(version) != "2":
        raise ValueError(
            "FSDP 1 is not supported: it shards parts that learn and parts that do not into one flat parameter. Use "
            "`fsdp_version: 2`, as in configs/accelerate/."
        )
    if cache is not None:
        raise ValueError("feature_cache does not work with FSDP, which has no whole encoder to ask; leave it out.")
    if any(round_.average for round_ in rounds):
        raise ValueError("Rounds with `average` do not work with FSDP, which has no whole weights; leave it out.")
    if config.words_first == "decoder":
        raise ValueError(
            "words_first: decoder does not work with FSDP: the speech decoder takes as many steps as there are words, "
            "which are not as many in every process. Leave it out."
        )
    for part in ("speech", "emotion"):
        encoder = getattr(config, f"{part}_config")
        if getattr(config, f"{part}_length_aware") and encodes_by_length(encoder):
            raise ValueError(
                f"{part}_length_aware does not work with FSDP and an encoder of type {encoder.model_type!r} as this "
                "one, which runs once for each length in a batch: these are not as many in every process. Leave it "
                "out."
            )


def _use_liger(language_model: PreTrainedModel, settings: dict[str, Any] | None):
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


class AudioLLMTrainer(RunTrainer, SFTTrainer):
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
    args: SFTConfig
    data_collator: AudioLLMCollator

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
        _refuse_distribution(args, model.config, cache, rounds)
        rows_per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.tasks = train_dataset["task"]
        plan = Plan.of(rounds, self.tasks, rows_per_step)
        args.max_steps = min(max_steps or plan.total_steps, plan.total_steps)
        if args.device.type == "cpu":
            shrink_tiles()
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
        self.begin_run(plan, lay_out(plan, train_dataset, args, data_collator.processor), lora, origin)
        self.sums = TokenSums(args.device)
        self.alignment_losses: list[torch.Tensor] = []  # since the last log
        if args.world_size > 1 and any(round_.align and round_.lm for round_ in rounds):
            raise ValueError("Several processes align in rounds of their own: give rounds with `align` `lm: 0`.")
        self._logged = (0, self._started)
        self._parameters: int | None = None
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
        if asks_for_fsdp(self.args) and state.distributed_type == DistributedType.MULTI_CPU:
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

    def training_step(self, model, inputs, num_items_in_batch=None):
        """As TRL's, of rows that the plan has here: whatever lays out other batches must not train on other tasks."""
        round_ = self.plan.round_at(self.state.global_step)
        if strange := sorted(set(inputs["tasks"]) - set(round_.tasks)):
            raise RuntimeError(
                f"step {self.state.global_step + 1}: rows of {', '.join(strange)} in a round of "
                f"{', '.join(round_.tasks)}. Some setting lays out other batches than the plan."
            )
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss, by task, and without its three waits for the GPU in every batch.

        What arguments add to it (another `loss_type`, label smoothing, losses of experts) goes TRL's way.
        """
        tasks = inputs.pop("tasks")
        self.fill_frozen(inputs)
        words = {name: inputs.pop(name) for name in ALIGNMENT_INPUTS if name in inputs}
        round_ = self.plan.round_at(self.state.global_step)
        if round_.align and self.model.training:
            aligned = self._alignment_loss(model, inputs, words)
            if round_.lm == 0:
                return round_.align * aligned
            inputs["tasks"] = tasks
            told = self._told_loss(model, inputs, return_outputs, num_items_in_batch)
            return round_.align * aligned + round_.lm * told
        return self._told_loss(model, inputs | {"tasks": tasks}, return_outputs, num_items_in_batch)

    def fill_frozen(self, inputs: dict[str, Any]):
        """Put what frozen branches gave before into a batch, where there is a cache of it."""
        keys = inputs.pop("clip_keys", None)
        if keys is not None and self.branches and self.model.training:
            with self.accelerator.autocast():
                self.branches.fill(self.model, inputs, keys)

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
            step, now = self.state.global_step, time.monotonic()
            logs["round"] = self.plan.index_at(step - 1) + 1
            logs["samples_per_second"] = (step - self._logged[0]) * self.plan.rows_per_step / (now - self._logged[1])
            self._logged = (step, now)
            logs |= self.sums.take(self.accelerator)
            if self.alignment_losses:
                logs["alignment_loss"] = float(torch.stack(self.alignment_losses).mean())
                self.alignment_losses.clear()
            self._total_train_tokens += logs["num_tokens"]
            logs["num_tokens"] = self._total_train_tokens
        super().log(logs, start_time)
