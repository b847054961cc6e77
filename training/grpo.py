"""TRL's GRPOTrainer for AudioLLM: a policy that hears what it is rewarded for, and checkpoints of what learns.

TRL 1.16 has no audio path: a policy's answers are sampled with audio, but scored without. Each override says when it
can go.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.trainer_utils import SaveStrategy
from trl import GRPOConfig, GRPOTrainer

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..processing.collator import AudioLLMCollator
from ..processing.conversation import asked
from ..processing.processing_audiollm import AudioLLMProcessor
from .alternation import AlternationCallback, ScheduledRows
from .clips import clip_key
from .heard import HeardClips
from .reward_checks import CheckedReward, Reward
from .run_trainer import RunTrainer, asks_for_fsdp, lay_out, shrink_tiles
from .schedule import Plan, Round


# The run is laid out by us. What is scored has to be what was sampled: no dropout, which is drawn anew each time.
AUDIO_RL: dict[str, Any] = {"shuffle_dataset": False, "disable_dropout": True, "logging_nan_inf_filter": False}
CHECKED_TOKENS = 8
# How far log-probabilities of one model may differ by rounding, in nats; of a policy that hears nothing, by several.
EXACT, ROUNDED = 1e-3, 0.25


class DeafPolicyError(RuntimeError):
    """The policy in training is not the model that hears; says by how much they differ."""


class AudioLLMGRPOTrainer(RunTrainer, GRPOTrainer):
    """Trains an AudioLLM by rewards for its answers.

    Args:
        model: the model, not yet wrapped by PEFT.
        args: TRL's arguments, with [`AUDIO_RL`] among them; steps come from `epochs`.
        train_dataset: rows of the schema; rewards are given their columns.
        processor: of the model.
        rewards: by name, as TRL takes them: `f(prompts, completions, completion_ids, **columns) -> list`, with None
            for a row that it does not judge.
        train: parts that learn, by the names of the schedule.
        lora: adapters on the language model, or none.
        epochs: passes over the rows.
        max_steps: stop after so many steps (0: run to the end).
        origin: what checkpoints have to say about the model they belong to, see [`load_trained`].
        kwargs: as for `GRPOTrainer`.

    Raises:
        ValueError: for arguments under which the policy would not hear, or would have nothing to be compared with.
    """

    # What transformers' trainer may have of many kinds is of one here; TRL fills in what its arguments leave open.
    args: Any
    processing_class: Any

    def __init__(
        self,
        model: AudioLLMForConditionalGeneration,
        args: GRPOConfig,
        train_dataset: Dataset,
        processor: AudioLLMProcessor,
        rewards: Mapping[str, Reward],
        train: Sequence[str] = ("lora",),
        lora: LoraConfig | None = None,
        epochs: float = 1.0,
        max_steps: int = 0,
        origin: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        _refuse(args, train, lora)
        tasks = train_dataset["task"]
        given: Any = args
        prompts = given.generation_batch_size // given.num_generations
        generations = Plan.of([Round(tuple(dict.fromkeys(tasks)), tuple(train), epochs)], tasks, prompts)
        batches = generations.total_steps * given.steps_per_generation * given.num_iterations
        plan = replace(generations, stops=(max(1, batches // given.gradient_accumulation_steps),))
        args.max_steps = min(max_steps or plan.total_steps, plan.total_steps)
        _refuse_saving_between(args)
        if args.device.type == "cpu":
            shrink_tiles()
        with _image_token_is_audio(model.config):
            super().__init__(
                model=model,
                args=args,
                train_dataset=train_dataset,
                processing_class=processor,
                reward_funcs=[CheckedReward(name, reward) for name, reward in rewards.items()],
                peft_config=lora,
                **kwargs,
            )
        self.begin_run(plan, lay_out(generations, train_dataset, args, processor), lora, origin)
        self.collator = AudioLLMCollator(processor)
        self.data_collator = partial(with_prompts, processor)
        self._rows: list[dict[str, Any]] = []  # of the generation
        self._heard: list[tuple[HeardClips, int]] = []  # of each answer that is scored next, and its clip among them
        self.add_callback(AlternationCallback(plan))
        self.add_callback(HearingCheck(self))

    def report_plan(self) -> str:
        """The plan as a table: what learns from which rows, what is sampled, and which rows each reward judges."""
        args, rows = self.args, self.train_dataset
        prompts, every = args.generation_batch_size // args.num_generations, args.steps_per_generation
        steps = max(1, every * args.num_iterations // args.gradient_accumulation_steps)
        lines = [
            self.plan.report(self.model, learning_rate=args.learning_rate),
            f"each {steps} steps: {prompts} prompts, answered {args.num_generations} times, of up to "
            f"{args.max_completion_length} tokens",
        ]
        return "\n".join([*lines, *report_rewards(self.reward_funcs, self.reward_weights.tolist(), rows)])

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the whole run, in an order that a resumed run goes on with.

        TRL's sampler begins each process with the order of the first pass; this can go when it has `set_epoch`.
        """
        rows, size = ScheduledRows(self.train_dataset, self.order), self._train_batch_size
        return self._get_dataloader(
            rows, "Training", size * self.args.steps_per_generation, self._get_train_sampler, is_training=True
        )

    # TRL has no public hook for any of what follows; these five can go together when it takes audio in prompts.

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """As TRL does, with encoders and adapters as they are in evaluation, also those that learn.

        Sampling would move the statistics of their batch norms, and scoring draw another dropout: log-probabilities
        were off by up to 6 nats.
        """
        self._hold_still()
        return super()._prepare_inputs(generation_batch)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """As TRL does; what each row's prompt heard goes with it, through shuffling and splitting."""
        self._rows = inputs
        output = super()._generate_and_score_completions(inputs)
        return {**output, "heard": self._heard}

    def _tokenize_prompts(self, prompts: list[str]):
        """Prompts with their placeholders; each clip is read and encoded once, whatever is asked about it."""
        questions = {(clip_key(row["audio"]), prompt): row for row, prompt in zip(self._rows, prompts, strict=True)}
        clips = [self.collator.clip(row) for row in questions.values()]
        batch = self.processing_class(
            text=[prompt for _, prompt in questions], audio=clips, padding=False, return_tensors=None
        )
        ids = dict(zip(questions, batch["input_ids"]))
        first: dict[Any, int] = {}  # for each clip, the first question about it
        for place, (key, _) in enumerate(questions):
            first.setdefault(key, place)
        names = [name for name in self.processing_class.model_input_names if name.startswith("input_")]
        inputs = {
            name: torch.from_numpy(batch[name][list(first.values())]).to(self.accelerator.device)
            for name in names
            if name != "input_ids"
        }
        audio = self.processing_class.audio_token_id
        tokens = [batch["input_ids"][place].count(audio) for place in first.values()]
        with self.accelerator.autocast():
            heard = HeardClips(self.audio_model.model, inputs, tokens)
        places = {key: place for place, key in enumerate(first)}
        self._heard = [(heard, places[clip_key(row["audio"])]) for row in self._rows]
        return [ids[clip_key(row["audio"]), prompt] for row, prompt in zip(self._rows, prompts)], None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        """As TRL does, with what was heard in place of audio, which TRL would have encoded for each answer."""
        model: Any = self.audio_model
        asked = []

        def generate(**inputs: Any) -> Any:
            asked.append(True)
            return type(model).generate(model, **inputs, mm_encoder_outputs=self._audio(self._heard))

        model.generate = generate
        try:
            answers = super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations)
        finally:
            del model.generate
        if not asked:
            raise DeafPolicyError(f"{_trl()} samples answers in a way that this trainer does not know: without audio.")
        return answers

    def _compute_loss(self, model, inputs: dict[str, Any]) -> torch.Tensor:
        """As TRL does, of answers to what was heard."""
        self._heard = inputs["heard"]
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **settings
    ):
        """As TRL does, in whose forward passes audio is left out."""
        size = batch_size or len(input_ids)
        parts = []
        for start in range(0, len(input_ids), size):
            rows = slice(start, start + size)
            with self.accelerator.autocast():
                hearing = partial(model, mm_encoder_outputs=self._audio(self._heard[rows]))
            scored = super()._get_per_token_logps_and_entropies(
                hearing, input_ids[rows], attention_mask[rows], logits_to_keep, **settings
            )
            parts.append(scored)
        log_probs, entropies, losses = zip(*parts)
        return (
            torch.cat(log_probs),
            None if entropies[0] is None else torch.cat(entropies),
            None if losses[0] is None else torch.stack(losses).mean(),
        )

    def _audio(self, heard: Sequence[tuple[HeardClips, int]]) -> dict[str, BaseModelOutputWithPooling]:
        """What answers' prompts heard, as the model takes it; all are of one generation."""
        clips, _ = heard[0]
        embeds = clips.embeddings(self.audio_model.model, [clip for _, clip in heard])
        return {"audio": BaseModelOutputWithPooling(pooler_output=embeds)}

    def _hold_still(self):
        for name, part in self.audio_model.model.named_children():
            if name != "language_model":
                part.eval()

    @torch.no_grad()
    def hearing_error(self) -> float:
        """How far the log-probabilities in training are from those of the model's own logits, in nats, on a batch.

        The model is given what its processor makes of the first rows of the run, as everywhere else.
        """
        self._hold_still()
        processor, device = self.processing_class, self.accelerator.device
        self._rows = self.data_collator([self.train_dataset[int(index)] for index in self.order[:2]])
        prompts = [row["prompt"] for row in self._rows]
        self._tokenize_prompts(prompts)
        inputs = processor(text=prompts, audio=[self.collator.clip(row) for row in self._rows]).to(device)
        said = processor.tokenizer([row["question"] for row in self._rows], add_special_tokens=False)["input_ids"]
        length = min(CHECKED_TOKENS, *map(len, said))
        answers = torch.tensor([ids[:length] for ids in said], device=device)
        ids = torch.cat([inputs.pop("input_ids"), answers], dim=1)
        mask = torch.cat([inputs.pop("attention_mask"), torch.ones_like(answers)], dim=1)
        model = self.accelerator.unwrap_model(self.model)
        with self.accelerator.autocast():
            logits = model(**inputs, input_ids=ids, attention_mask=mask).logits[:, -length - 1 : -1]
        own = (logits.float() / self.temperature).log_softmax(-1).gather(-1, answers.unsqueeze(-1)).squeeze(-1)
        trained, _, _ = self._get_per_token_logps_and_entropies(self.model, ids, mask, length)
        return float((own - trained.float()).abs().max())

    def refuse_deaf(self):
        """Compare the policy in training with the model that hears.

        Raises:
            DeafPolicyError: if they are not the same.
        """
        error = self.hearing_error()
        exact = self.accelerator.mixed_precision == "no" and self.audio_model.dtype == torch.float32
        if error > (EXACT if exact else ROUNDED):
            raise DeafPolicyError(
                f"the policy in training is not the model that hears: their log-probabilities differ by {error:.3g} "
                f"nats on the first rows. It would be rewarded for what it did not listen to, so nothing is trained; "
                f"{_trl()} is another one than training/grpo.py knows, or the model was changed from outside."
            )


class HearingCheck(TrainerCallback):
    """Compares the policy in training with the model that hears before the first step, in a resumed run too."""

    def __init__(self, trainer: AudioLLMGRPOTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer.refuse_deaf()


def with_prompts(processor: AudioLLMProcessor, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with their prompts, which are written as everywhere."""
    return [{**row, "prompt": processor.prompt(asked(row))} for row in rows]


def report_rewards(rewards: Sequence[Any], weights: Sequence[float], rows: Dataset) -> list[str]:
    """For each reward its weight, and how many rows it can judge; of the others, what they lack or do not ask for."""
    lines = []
    targets = rows["target"] if "target" in rows.column_names else [None] * len(rows)
    for reward, weight in zip(rewards, weights, strict=True):
        needs = getattr(reward, "needs", ())
        lacking = Counter(
            f"have no {' and '.join(lacks)}" if lacks else "ask for no evidence"
            for target, *values in zip(targets, *(rows[column] for column in needs))
            if (lacks := [column for column, value in zip(needs, values) if value in (None, "")])
            or (getattr(reward, "evidence_only", False) and target not in (None, "evidence"))
        )
        judged = len(rows) - sum(lacking.values())
        without = "".join(f"; {count} {why}" for why, count in lacking.items())
        lines.append(f"reward {reward.__name__} x {weight:g}: {judged} of {len(rows)} rows{without}")
    return lines


def _trl() -> str:
    return f"TRL {importlib.metadata.version('trl')}"


@contextmanager
def _image_token_is_audio(config: Any):
    """While TRL's trainer is built, which lets no sampled placeholder through by the name that it has for images."""
    config.image_token_id = config.audio_token_id
    try:
        yield
    finally:
        del config.image_token_id


def _refuse(args: GRPOConfig, train: Sequence[str], lora: LoraConfig | None):
    """Refuse arguments under which the policy would be deaf, two policies, or compared with nothing."""
    if args.use_vllm or args.use_transformers_continuous_batching:
        raise ValueError("training.use_vllm and continuous batching sample without audio; leave them out.")
    if asks_for_fsdp(args):
        raise ValueError("Reinforcement learning works on one process or with DDP, not with FSDP.")
    if args.beta and set(train) != {"lora"}:
        raise ValueError(
            f"training.beta is {args.beta:g}, but {', '.join(train)} learn: only a model that learns by LoRA alone is "
            "its own reference (without it). Train [lora], or set beta to 0."
        )
    if lora is not None and lora.lora_dropout:
        raise ValueError(
            f"lora.lora_dropout is {lora.lora_dropout:g}: dropout would make the policy that is scored another one "
            "than that which answered; leave it 0."
        )


def _refuse_saving_between(args: GRPOConfig):
    """Refuse checkpoints in the midst of a generation, whose answers a run that goes on would have to sample anew.

    Call it when `args.max_steps` is known. This can go when TRL saves what it has sampled.
    """
    batches = int(args.steps_per_generation or 1) * args.num_iterations
    every = math.lcm(batches, args.gradient_accumulation_steps) // args.gradient_accumulation_steps
    steps = args.save_steps if args.save_steps >= 1 else math.ceil(args.max_steps * args.save_steps)
    if every > 1 and args.save_strategy == SaveStrategy.STEPS and steps < args.max_steps and steps % every:
        raise ValueError(
            f"training.save_steps is {args.save_steps:g}, but sampled answers are learnt from for {every} steps, and "
            f"a run that goes on in their midst would sample others: make it a multiple of {every}."
        )
