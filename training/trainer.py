"""TRL's SFTTrainer for AudioLLM: audio batches, a schedule of rounds, checkpoints of what learns."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from transformers import get_scheduler
from transformers.integrations.liger import apply_liger_kernel
from transformers.trainer import SCHEDULER_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTConfig, SFTTrainer
from trl.trainer import utils as trl_utils

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..modeling_audiollm.configuration_audiollm import encoder_frames, encoder_width, feature_length
from ..modeling_audiollm.modeling_audiollm import encode
from ..processing.collator import IGNORED, AudioLLMCollator
from .alternation import AlternationCallback, AlternationSampler, ScheduledRows, last_proof, set_learning
from .averaging import AVERAGE_NAME, AveragingCallback
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
from .heads import CTCHead, LabelHead, head_file
from .samples import SampleCallback
from .schedule import HEAD_PARTS, Plan, Round


# TRL prepares and truncates text; our collator does the first, and audio prompts must not be cut (anchors: P14, P15).
AUDIO_SFT = {
    "remove_unused_columns": False,
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "max_length": None,
    "packing": False,
    "padding_free": False,
}
LORA_TARGETS = r"(model\.)*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


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


@contextmanager
def _listening(encoders: dict[str, nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """Collects the last frames that each encoder gives while the model runs."""
    frames: dict[str, torch.Tensor] = {}

    def keep(name: str):
        return lambda module, args, output: frames.__setitem__(name, output.last_hidden_state)

    hooks = [encoder.register_forward_hook(keep(name)) for name, encoder in encoders.items()]
    try:
        yield frames
    finally:
        for hook in hooks:
            hook.remove()


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
        _refuse_distribution(args, cache, rounds)
        if cache is not None and data_collator.augment is not None:
            raise ValueError("feature_cache needs clips to be the same each time; leave it or `augment` out.")
        window = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.tasks = train_dataset["task"]
        self.plan = Plan.of(rounds, self.tasks, window)
        args.max_steps = min(max_steps or self.plan.total_steps, self.plan.total_steps)
        self._staging: str | None = None
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
        # All that ever learns must be trainable when the optimizer is built; the callback freezes from then on.
        set_learning(self.model, tuple(self.plan.parts))
        self.learnable = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        self.order = self._lay_out()
        self.heads = self._build_heads(model, len(data_collator.classes))
        self.cache, self.origin = cache, origin
        self._cached: dict[str, str] = {}
        self._cached_round: int | None = None
        self._logged = (0, time.monotonic())
        self._parameters: int | None = None
        self.averaging = AveragingCallback(self.plan, self.heads)
        self.add_callback(self.averaging)  # before the callback that proves what a round left behind
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

    def _build_heads(self, model: AudioLLMForConditionalGeneration, classes: int) -> nn.ModuleDict:
        """The heads of the losses beside the language model's that some round weighs."""
        heads = nn.ModuleDict()
        for name, part in HEAD_PARTS.items():
            if not any(getattr(round_, name) for round_ in self.plan.rounds):
                continue
            if self.args.world_size > 1:
                raise ValueError(
                    f"Rounds with `{name}` run in one process; the head of that loss is not synchronised."
                )
            encoder = getattr(model.config, part.replace("encoder", "config"))
            seconds = model.config.window_seconds
            steps = round(feature_length(encoder, seconds) / encoder_frames(encoder, seconds))
            width = encoder_width(encoder)
            heads[name] = CTCHead(width, steps) if name == "ctc" else LabelHead(width, steps, classes)
        # The characters are always the same, so a CTC head goes on where the checkpoint's training left it.
        if "ctc" in heads and self._first_ctc_head.is_file():
            heads["ctc"].load_state_dict(load_file(self._first_ctc_head))
        return heads.to(self.args.device)

    @property
    def _first_ctc_head(self) -> Path:
        """Where the checkpoint that training started from has its CTC head, if it has one."""
        return Path(self._base_model().name_or_path) / head_file("ctc")

    def save_ctc_head(self, folder: str | Path):
        """Save the CTC head that fits the speech encoder, if any, beside the model: it finds words in time."""
        if "ctc" in self.heads:
            save_file(self.heads["ctc"].state_dict(), Path(folder) / head_file("ctc"))
        elif self._first_ctc_head.is_file() and "speech_encoder" not in self.plan.parts:
            shutil.copy(self._first_ctc_head, folder)

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
        if self.heads:
            optimizer.add_param_group({"params": list(self.heads.parameters())})
            # Trainer zeroes the gradients of the model only; those of the heads would add up over all steps.
            optimizer.register_step_post_hook(lambda *_: self.heads.zero_grad())
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        """The scheduler of the arguments, over the whole run or over one round, at each round's own learning rate."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        rounds = self.plan.rounds
        if all(round_.learning_rate is None and not round_.anneal for round_ in rounds):
            return scheduler
        whole, starts = scheduler.lr_lambdas[0], [self.plan.start_of(index) for index in range(len(rounds))]
        lengths = [stop - start for start, stop in zip(starts, self.plan.stops)]
        alone = [self._shape(length) if round_.anneal else None for round_, length in zip(rounds, lengths)]

        def rate(step: int) -> float:
            index = self.plan.index_at(step)
            shape = whole(step) if alone[index] is None else alone[index](step - starts[index])
            return shape * (rounds[index].learning_rate or self.args.learning_rate) / self.args.learning_rate

        for group in scheduler.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.lr_scheduler = LambdaLR(scheduler.optimizer, rate)
        return self.lr_scheduler

    def _shape(self, steps: int) -> Callable[[int], float]:
        """The shape of the arguments' scheduler (warmup, decay) over a number of steps."""
        args = self.args
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)  # the shape is asked for, nothing else
        scheduler = get_scheduler(
            args.lr_scheduler_type,
            optimizer,
            num_warmup_steps=args.get_warmup_steps(steps),
            num_training_steps=steps,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,
        )
        return scheduler.lr_lambdas[0]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As transformers estimates them, but counting parameters once: each step, it takes longer than clipping."""
        if self._parameters is None:
            self._parameters = self._base_model().num_parameters(exclude_embeddings=True)
        return 6 * inputs["input_ids"].numel() * self._parameters

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
            if not all(part in checksums for part in parts) or set(parts) & set(round_.train):
                continue
            # A head listens to the frames of the encoder, which the cache does not have.
            if any(part in parts and getattr(round_, name) for name, part in HEAD_PARTS.items()):
                continue
            weights = [checksums[part] for part in parts]
            branches[branch] = fingerprint(weights, base.config.to_dict(), extractor.to_dict(), str(self.args.bf16))
        return branches

    def _round_loss(self, model, inputs, return_outputs, num_items_in_batch):
        round_ = self.plan.round_at(self.state.global_step)
        targets = {name: inputs.pop(f"{name}_labels", None) for name in HEAD_PARTS}
        active = [name for name in self.heads if getattr(round_, name) and targets[name] is not None]
        if not active:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if round_.lm == 0:
            loss, frames = 0.0, {name: self._encode(HEAD_PARTS[name], inputs) for name in active}
        else:
            with _listening({name: self._encoder(HEAD_PARTS[name]) for name in active}) as frames:
                loss = round_.lm * super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        for name in active:
            mask = inputs[f"{self._features(HEAD_PARTS[name], inputs)}_mask"]
            beside = self.heads[name](frames[name], mask, targets[name])
            self._metrics["train"][f"{name}_loss"].append(beside.item())
            loss = loss + getattr(round_, name) * beside / self.current_gradient_accumulation_steps
        return loss

    def _encoder(self, part: str) -> nn.Module:
        return getattr(self._base_model().model, part)

    def _features(self, part: str, inputs: dict[str, Any]) -> str:
        """Which input an encoder hears; both hear the same when their extractors are the same."""
        return "input_features" if part == "speech_encoder" or "input_values" not in inputs else "input_values"

    def _encode(self, part: str, inputs: dict[str, Any]) -> torch.Tensor:
        """Frames of the windows that hold audio, without the rest of the model."""
        name = self._features(part, inputs)
        mask = inputs[f"{name}_mask"]
        aware = getattr(self._base_model().config, part.replace("encoder", "length_aware"))
        real = mask.any(-1)
        return encode(self._encoder(part), inputs[name][real], mask[real] if aware else None).states[-1]

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
        for name, head in self.heads.items():
            save_file(head.state_dict(), os.path.join(folder, head_file(name)))
        if self.averaging.average:
            save_file(self.averaging.average, os.path.join(folder, AVERAGE_NAME))
        if self.origin is not None:
            save_origin(self.origin, self._base_model().config, self.processing_class, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None):
        load_trainable(model or self.model, resume_from_checkpoint)
        for name, head in self.heads.items():
            head.load_state_dict(load_file(os.path.join(resume_from_checkpoint, head_file(name))))
        average = Path(resume_from_checkpoint, AVERAGE_NAME)
        self.averaging.average = load_file(average, device=str(self.args.device)) if average.is_file() else {}

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
