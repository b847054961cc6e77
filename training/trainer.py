"""TRL's SFTTrainer for AudioLLM: audio batches, a schedule of rounds, checkpoints of what learns."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, save_fsdp_optimizer
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, SequentialSampler
from transformers.trainer import SCHEDULER_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTConfig, SFTTrainer

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.modeling_audiollm.configuration_audiollm import encoder_frames, encoder_width, feature_length
from audiollm.modeling_audiollm.modeling_audiollm import encode
from audiollm.processing.collator import CTC_CHARACTERS, IGNORED, AudioLLMCollator

from .alternation import AlternationCallback, AlternationSampler, ScheduledRows, last_proof, set_learning
from .checkpoints import (
    STAGING_NAME,
    discard_checkpoint,
    gather_tensors,
    load_trainable,
    publish_checkpoint,
    save_origin,
    save_trainable,
    whole_checkpoints,
)
from .feature_cache import FeatureCache, fingerprint
from .samples import SampleCallback
from .schedule import Plan, Round


# TRL prepares and truncates text; our collator does the first, and audio prompts must not be cut (anchors: P14, P15).
AUDIO_SFT = {
    "remove_unused_columns": False,
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "max_length": None,
    "packing": False,
    "padding_free": False,
}
LORA_TARGETS = r"(model\.)*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
CTC_NAME = "ctc_head.safetensors"


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


def _refuse_distribution(args: SFTConfig, cache: FeatureCache | None):
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


class CTCHead(nn.Module):
    """Character CTC on a speech encoder's frames: teaches a new encoder to hear. It is not part of the saved model.

    Args:
        width: channels of the encoder's frames.
        steps: time steps of its features for one frame.
    """

    def __init__(self, width: int, steps: int):
        super().__init__()
        self.steps = steps
        self.projection = nn.Linear(width, len(CTC_CHARACTERS) + 1)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean CTC loss per character.

        Args:
            frames: `[windows, time, width]`, clip after clip.
            mask: which features are real audio, `[clips, windows, feature time]`. Frames of padding are left out: with
                them, the loss stays where all is blank.
            labels: character ids `[clips, longest]`, padded with -100.
        """
        counts = -(-mask.sum(-1) // self.steps)
        heard = [window[:count] for window, count in zip(frames, counts[counts > 0].tolist(), strict=True)]
        clips, lengths = [], []
        for windows in counts.gt(0).sum(-1).tolist():
            clips.append(torch.cat(heard[:windows]))
            lengths.append(len(clips[-1]))
            heard = heard[windows:]
        log_probs = self.projection(nn.utils.rnn.pad_sequence(clips)).float().log_softmax(-1)
        real = labels != IGNORED
        return nn.functional.ctc_loss(
            log_probs, labels.clamp(min=0), torch.tensor(lengths), real.sum(-1), zero_infinity=True
        )


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
        _refuse_distribution(args, cache)
        if cache is not None and data_collator.augment is not None:
            raise ValueError("feature_cache needs clips to be the same each time; leave it or `augment` out.")
        window = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.tasks = train_dataset["task"]
        self.plan = Plan.of(rounds, self.tasks, window)
        args.max_steps = min(max_steps or self.plan.total_steps, self.plan.total_steps)
        self._staging: str | None = None
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            data_collator=data_collator,
            processing_class=data_collator.processor,
            peft_config=lora,
            **kwargs,
        )
        # All that ever learns must be trainable when the optimizer is built; the callback freezes from then on.
        set_learning(self.model, tuple(self.plan.parts))
        self.learnable = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        self.order = self._lay_out()
        self.ctc_head = self._build_ctc_head(model) if data_collator.ctc else None
        self.cache, self.origin = cache, origin
        self._cached: dict[str, str] = {}
        self._cached_round: int | None = None
        self._logged = (0, time.monotonic())
        self.add_callback(AlternationCallback(self.plan))
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
        if self.is_fsdp_enabled and not state.fsdp_plugin.transformer_cls_names_to_wrap:
            # accelerate asks for every layer class the architecture may have; a Whisper encoder has no decoder's.
            present = {type(module).__name__ for module in self.model.modules()}
            state.fsdp_plugin.transformer_cls_names_to_wrap = sorted(set(self.model._no_split_modules) & present)

    def report_plan(self) -> str:
        """The plan as a table, with the rows, clips and parameters at hand."""
        clips: dict[str, set[str]] = {}
        for task, audio in zip(self.tasks, self.train_dataset["audio"]):
            clips.setdefault(task, set()).add(audio["path"])
        counts = {task: len(paths) for task, paths in clips.items()}
        return self.plan.report(self.model, counts, self.args.learning_rate)

    def _build_ctc_head(self, model: AudioLLMForConditionalGeneration) -> CTCHead:
        if self.args.world_size > 1:
            raise ValueError("CTC training of a new encoder runs in one process; its head is not synchronised.")
        encoder, seconds = model.config.speech_config, model.config.window_seconds
        steps = round(feature_length(encoder, seconds) / encoder_frames(encoder, seconds))
        return CTCHead(encoder_width(encoder), steps).to(self.args.device)

    def _base_model(self) -> AudioLLMForConditionalGeneration:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

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

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        if self.ctc_head is not None:
            optimizer.add_param_group({"params": list(self.ctc_head.parameters())})
            # Trainer zeroes the gradients of the model only; those of the head would add up over all steps.
            optimizer.register_step_post_hook(lambda *_: self.ctc_head.zero_grad())
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        """The scheduler of the arguments, times each round's own learning rate over the arguments' one."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if all(round_.learning_rate is None for round_ in self.plan.rounds):
            return scheduler
        base = scheduler.lr_lambdas[0]
        for group in scheduler.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.lr_scheduler = LambdaLR(scheduler.optimizer, lambda step: base(step) * self._rate_ratio(step))
        return self.lr_scheduler

    def _rate_ratio(self, step: int) -> float:
        rate = self.plan.round_at(step).learning_rate
        return 1.0 if rate is None else rate / self.args.learning_rate

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        keys = inputs.pop("clip_keys", None)
        if keys is not None:
            self._add_cached(inputs, keys)
        # Only the positions that are scored go through the head: the prompt and its audio are most of a row.
        scored = nn.functional.pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)
        kept = scored != IGNORED
        inputs |= {"kept": kept, "shift_labels": scored[kept].unsqueeze(0)}
        loss = self._round_loss(model, inputs, return_outputs, num_items_in_batch)
        task = self.tasks[self.order[self.state.global_step * self.plan.window]]
        share = (loss[0] if return_outputs else loss).item()
        self._metrics["train"][f"loss_{task}"].append(share * self.current_gradient_accumulation_steps)
        return loss

    def _add_cached(self, inputs: dict[str, Any], keys: list[str]):
        """Replace frozen branches of the model by what they gave for these clips before."""
        index = self.plan.index_at(self.state.global_step)
        if index != self._cached_round:
            self._cached_round = index
            self._cached = self._frozen_branches(self.plan.rounds[index])
            self.cache.open(tuple(self._cached.values()))
        base = self._base_model().model
        shared = "input_values" not in inputs
        for branch, name in self._cached.items():
            prefix = "input_features" if branch == "speech" or shared else "input_values"
            features, mask = inputs[prefix], inputs[f"{prefix}_mask"].bool()
            known = [self.cache.get(name, key) for key in keys]
            missing = [place for place, tokens in enumerate(known) if tokens is None]
            if missing:
                with torch.no_grad(), self.accelerator.autocast():
                    tokens = base.embed_branch(branch, features[missing], mask[missing])
                windows = mask[missing].any(-1).sum(-1).tolist()
                for place, of_clip in zip(missing, tokens.split(windows)):
                    known[place] = of_clip
                    self.cache.put(name, keys[place], of_clip)
            inputs[f"{branch}_embeds"] = torch.cat([tokens.to(features.device) for tokens in known])

    def _frozen_branches(self, round_: Round) -> dict[str, str]:
        """The branches that give the same all through a round, with the fingerprint of their outputs."""
        base = self._base_model()
        checksums = last_proof(self.state)["checksums"]
        processor = self.processing_class
        extractors = {"speech": processor.feature_extractor, "emotion": processor.emotion_feature_extractor}
        branches = {}
        for branch, extractor in extractors.items():
            parts = (f"{branch}_encoder", f"{branch}_adapter")
            # A CTC loss listens to the frames of the speech encoder, which the cache does not have.
            if not all(part in checksums for part in parts) or set(parts) & set(round_.train) or round_.ctc:
                continue
            weights = [checksums[part] for part in parts]
            branches[branch] = fingerprint(weights, base.config.to_dict(), extractor.to_dict(), str(self.args.bf16))
        return branches

    def _round_loss(self, model, inputs, return_outputs, num_items_in_batch):
        labels = inputs.pop("ctc_labels", None)
        round_ = self.plan.round_at(self.state.global_step)
        if labels is None or round_.ctc == 0:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        encoder = self._base_model().model.speech_encoder
        mask = inputs["input_features_mask"]
        if round_.lm == 0:
            real = mask[mask.any(-1)] if self._base_model().config.speech_length_aware else None
            ctc = self.ctc_head(encode(encoder, inputs["input_features"][mask.any(-1)], real).states[-1], mask, labels)
            self._metrics["train"]["ctc_loss"].append(ctc.item())
            return round_.ctc * ctc / self.current_gradient_accumulation_steps
        frames = []
        hook = encoder.register_forward_hook(lambda module, args, output: frames.append(output.last_hidden_state))
        try:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        finally:
            hook.remove()
        ctc = self.ctc_head(frames[0], mask, labels)
        self._metrics["train"]["ctc_loss"].append(ctc.item())
        return round_.lm * loss + round_.ctc * ctc / self.current_gradient_accumulation_steps

    def log(self, logs: dict[str, float], start_time: float | None = None):
        """Log what TRL does, with the round, so that losses can be read by it, and the rows trained in a second."""
        if "loss" in logs:
            step, now = self.state.global_step, time.monotonic()
            logs["round"] = self.plan.index_at(step - 1) + 1
            logs["samples_per_second"] = (step - self._logged[0]) * self.plan.window / (now - self._logged[1])
            self._logged = (step, now)
        super().log(logs, start_time)

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

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        """Save what ever learns, not the whole model: a checkpoint of a 10 B model stays below 1 GB."""
        folder = output_dir or self.args.output_dir
        tensors = gather_tensors(self.model, self.learnable)
        if not self.args.should_save:
            return
        os.makedirs(folder, exist_ok=True)
        save_trainable(tensors, folder)
        if self.ctc_head is not None:
            save_file(self.ctc_head.state_dict(), os.path.join(folder, CTC_NAME))
        if self.origin is not None:
            save_origin(self.origin, self._base_model().config, self.processing_class, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None):
        load_trainable(model or self.model, resume_from_checkpoint)
        if self.ctc_head is not None:
            self.ctc_head.load_state_dict(load_file(os.path.join(resume_from_checkpoint, CTC_NAME)))

    def _get_output_dir(self, trial: Any) -> str:
        return self._staging or super()._get_output_dir(trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any):
        """Save so that a kill at any moment leaves either this checkpoint, whole, or the one before it."""
        run = Path(self.args.output_dir)
        staging = run / STAGING_NAME
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self._staging = str(staging)
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            publish_checkpoint(staging / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}", run)
            for old in whole_checkpoints(run)[: -(self.args.save_total_limit or len(self.order))]:
                discard_checkpoint(old, staging)
            shutil.rmtree(staging)
        self.accelerator.wait_for_everyone()
