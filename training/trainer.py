"""TRL's SFTTrainer for AudioLLM: audio batches, a schedule of rounds, checkpoints of what learns."""

from __future__ import annotations

import os
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from trl import SFTConfig, SFTTrainer

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.modeling_audiollm.configuration_audiollm import encoder_frames, encoder_width, feature_length
from audiollm.modeling_audiollm.modeling_audiollm import encode
from audiollm.processing.collator import CTC_CHARACTERS, IGNORED, AudioLLMCollator

from .alternation import AlternationCallback, AlternationSampler, set_learning
from .checkpoints import load_trainable, save_trainable
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
        kwargs: as for `SFTTrainer`.

    Raises:
        ScheduleError: if the schedule does not fit the rows.
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
        **kwargs: Any,
    ):
        window = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.tasks = train_dataset["task"]
        self.plan = Plan.of(rounds, self.tasks, window)
        args.max_steps = min(max_steps or self.plan.total_steps, self.plan.total_steps)
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
        self.ctc_head = self._build_ctc_head(model) if data_collator.ctc else None
        self.add_callback(AlternationCallback(self.plan))

    def _build_ctc_head(self, model: AudioLLMForConditionalGeneration) -> CTCHead:
        if self.args.world_size > 1:
            raise ValueError("CTC training of a new encoder runs in one process; its head is not synchronised.")
        encoder, seconds = model.config.speech_config, model.config.window_seconds
        steps = round(feature_length(encoder, seconds) / encoder_frames(encoder, seconds))
        return CTCHead(encoder_width(encoder), steps).to(self.args.device)

    def _base_model(self) -> AudioLLMForConditionalGeneration:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> AlternationSampler:
        lengths = None
        if self.args.train_sampling_strategy == "group_by_length":
            lengths = train_dataset[self.args.length_column_name]
            if None in lengths:
                raise ValueError(f"group_by_length needs {self.args.length_column_name!r} in every training row.")
        return AlternationSampler(self.plan, self.tasks, self.args.seed, lengths)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        if self.ctc_head is not None:
            optimizer.add_param_group({"params": list(self.ctc_head.parameters())})
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

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None):
        """Save what ever learns, not the whole model: a checkpoint of a 10 B model stays below 1 GB."""
        folder = output_dir or self.args.output_dir
        os.makedirs(folder, exist_ok=True)
        save_trainable(self.model, self.learnable, folder, state_dict)
        if self.ctc_head is not None:
            save_file(self.ctc_head.state_dict(), os.path.join(folder, CTC_NAME))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None):
        load_trainable(model or self.model, resume_from_checkpoint)
        if self.ctc_head is not None:
            self.ctc_head.load_state_dict(load_file(os.path.join(resume_from_checkpoint, CTC_NAME)))
