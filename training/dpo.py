"""TRL's DPOTrainer for AudioLLM: of two answers to a recording the better one becomes likelier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..processing.processing_audiollm import AudioLLMProcessor
from .alternation import AlternationCallback
from .pairs import PairCollator
from .run_trainer import RunTrainer, asks_for_fsdp, lay_out, shrink_tiles
from .schedule import Plan, Round


# Audio prompts are prepared by our collator and must not be cut.
AUDIO_DPO: dict[str, Any] = {"remove_unused_columns": False, "max_length": None, "logging_nan_inf_filter": False}


class AudioLLMDPOTrainer(RunTrainer, DPOTrainer):
    """Trains an AudioLLM by pairs of answers; TRL gives its model all that the collator makes, so audio as well.

    Args:
        model: the model, not yet wrapped by PEFT.
        args: TRL's arguments, with [`AUDIO_DPO`] among them; steps come from `epochs`.
        train_dataset: rows of the schema with `chosen` and `rejected`, see [`make_pairs`].
        processor: of the model.
        lora: adapters on the language model, which learn; without them the model is its own reference.
        epochs: passes over the pairs.
        max_steps: stop after so many steps (0: run to the end).
        origin: what checkpoints have to say about the model they belong to, see [`load_trained`].
        kwargs: as for `DPOTrainer`.
    """

    args: DPOConfig

    def __init__(
        self,
        model: AudioLLMForConditionalGeneration,
        args: DPOConfig,
        train_dataset: Dataset,
        processor: AudioLLMProcessor,
        lora: LoraConfig,
        epochs: float = 1.0,
        max_steps: int = 0,
        origin: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        if asks_for_fsdp(args):
            raise ValueError("Learning from pairs works on one process or with DDP, not with FSDP.")
        tasks: Sequence[str] = train_dataset["task"]
        pairs = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        plan = Plan.of([Round(tuple(dict.fromkeys(tasks)), ("lora",), epochs)], tasks, pairs)
        args.max_steps = min(max_steps or plan.total_steps, plan.total_steps)
        if args.device.type == "cpu":
            shrink_tiles()
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            processing_class=processor,
            data_collator=PairCollator(processor),
            peft_config=lora,
            **kwargs,
        )
        self.begin_run(plan, lay_out(plan, train_dataset, args, processor), lora, origin)
        self.add_callback(AlternationCallback(plan))

    def report_plan(self) -> str:
        """The plan as a table."""
        return self.plan.report(self.model, learning_rate=self.args.learning_rate)

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        """Leave rows as they are. This can go when DPO has SFT's `skip_prepare_dataset` (TRL 1.16 has not)."""
        return dataset
