"""What the model says at the end of each round, so that a person sees what it learnt."""

from __future__ import annotations

import logging
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

from ..processing.conversation import asked
from ..processing.processing_audiollm import AudioLLMProcessor
from .assemble import LABEL_FIELDS
from .schedule import Plan, without_lora


logger = logging.getLogger(__name__)
MAX_NEW_TOKENS = 48


class SampleCallback(TrainerCallback):
    """Answers the first rows of each task of a round when it ends; they are logged and kept in the trainer's state.

    Args:
        plan: the laid-out schedule.
        rows: of the schema.
        processor: of the model.
        count: rows of each task.
    """

    def __init__(self, plan: Plan, rows: Dataset, processor: AudioLLMProcessor, count: int):
        self.plan, self.rows, self.processor, self.count = plan, rows, processor, count
        self.first: dict[str, list[int]] = {}
        for index, task in enumerate(rows["task"]):
            chosen = self.first.setdefault(task, [])
            if len(chosen) < count:
                chosen.append(index)

    def on_step_end(self, args, state, control, model: Any = None, **kwargs):
        if state.global_step not in self.plan.stops:
            return
        round_ = self.plan.round_at(state.global_step - 1)
        felt = without_lora(model).model.feeling_adapter in round_.weighed.values()
        if not (round_.lm or round_.align or felt):
            return
        rows = [self.rows[index] for task in round_.tasks for index in self.first[task]]
        samples = [
            {"id": row["id"], "task": row["task"], "question": asked(row), "answer": row["answer"]} for row in rows
        ]
        kinds = [
            ("heard", self._hear, "transcript", round_.align),
            ("felt", self._feel, "label", felt),
            ("said", self._answer, "answer", round_.lm),
        ]
        for kind, ask, wanted in [kind[:3] for kind in kinds if kind[3]]:
            for sample, row, text in zip(samples, rows, ask(model, rows)):
                if text is None:
                    continue
                sample[kind] = text
                if state.is_world_process_zero:
                    logger.info("%s %s: %s %r; wanted: %r", row["task"], row["id"], kind, text, row[wanted])
        state.log_history.append({"step": state.global_step, "samples": samples})

    @torch.no_grad()
    def _hear(self, model: Any, rows: list[dict[str, Any]]) -> list[str]:
        """The words that an aligned adapter hears, before the language model reads them."""
        model.eval()
        inputs = self.processor(
            text=[self.processor.prompt("") for _ in rows], audio=[row["audio"] for row in rows]
        ).to(model.device)
        heard = without_lora(model).hear(**inputs)
        model.train()
        return [text.strip() for text in self.processor.batch_decode(heard)]

    @torch.no_grad()
    def _feel(self, model: Any, rows: list[dict[str, Any]]) -> list[str | None]:
        """For rows with a label, the one that the clip's tokens come nearest to, of those of its task."""
        model.eval()
        base = without_lora(model)
        labels = [(task, label) for task, field in LABEL_FIELDS.items() for label in getattr(base.config, field)]
        words = self.processor.label_ids([label for _, label in labels])
        inputs = self.processor(
            text=[self.processor.prompt("") for _ in rows], audio=[row["audio"] for row in rows]
        ).to(model.device)
        near = base.feel(words, **inputs).tolist()
        model.train()
        found = []
        for row, cosines in zip(rows, near):
            own = [(cosine, label) for cosine, (task, label) in zip(cosines, labels) if task == row["task"]]
            found.append(max(own)[1] if own and row["label"] else None)
        return found

    @torch.no_grad()
    def _answer(self, model: Any, rows: list[dict[str, Any]]) -> list[str]:
        """Greedy answers, which draw no random numbers: the run goes on as if nothing had been asked."""
        model.eval()
        inputs = self.processor(
            text=[self.processor.prompt(asked(row)) for row in rows], audio=[row["audio"] for row in rows]
        ).to(model.device)
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        model.train()
        said = tokens[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(said, skip_special_tokens=True)]
