"""Rows to padded training batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .audio import AudioError, at_speed, load_audio
from .conversation import asked
from .processing_audiollm import AudioLLMProcessor
from .word_targets import IGNORED, WordTargets


KEPT_BYTES = 100_000_000  # of decoded audio, for each process that loads data: 26 minutes


class AudioLLMCollator:
    """Turns rows of the schema into model inputs, with labels on the answer only.

    The loss covers the answer and the end-of-turn token, so that generation learns to stop; prompt, audio placeholders
    and padding are masked. Prompts are never cut: a cut placeholder would break the model.

    Args:
        processor: of the model in training.
        classes: (task, label) pairs; if any, batches get `label_labels`: for each class 1 (that of the row), 0
            (another one of its task) or -100; rows without a label have -100 for all.
        keys: whether to add `clip_keys`, a hash of each clip's samples.
        words: the words to hear in each batch, or none.
    """

    def __init__(
        self,
        processor: AudioLLMProcessor,
        classes: Sequence[tuple[str, str]] = (),
        keys: bool = False,
        words: WordTargets | None = None,
    ):
        self.processor: Any = processor
        self.keys, self.classes, self.words = keys, list(classes), words
        self._kept: dict[str, np.ndarray] = {}
        self._room = KEPT_BYTES

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        clips = [at_speed(self.clip(row), row.get("speed", 1.0)) for row in rows]
        turns = [self._turns(row) for row in rows]
        batch = self.processor(text=[prompt for prompt, _ in turns], audio=clips, padding=False, return_tensors=None)
        tokenizer = self.processor.tokenizer
        answers = tokenizer([answer for _, answer in turns], add_special_tokens=False)["input_ids"]
        prompts = batch["input_ids"]
        features = {
            name: torch.from_numpy(batch[name])
            for name in self.processor.model_input_names
            if name.startswith("input_") and name != "input_ids"
        }
        tensors: dict[str, Any] = {
            "input_ids": pad([p + a for p, a in zip(prompts, answers)], tokenizer.pad_token_id),
            "attention_mask": pad([[1] * (len(p) + len(a)) for p, a in zip(prompts, answers)], 0),
            "labels": pad([[IGNORED] * len(p) + a for p, a in zip(prompts, answers)], IGNORED),
            "tasks": [row["task"] for row in rows],
            **features,
        }
        if self.classes:
            tensors["label_labels"] = torch.tensor([self._label(row) for row in rows])
        if self.words is not None:
            tensors |= self.words(rows)
        if self.keys:
            tensors["clip_keys"] = [hashlib.sha256(clip.tobytes()).hexdigest() for clip in clips]
        return tensors

    def _label(self, row: dict[str, Any]) -> list[int]:
        if not row["label"]:
            return [IGNORED] * len(self.classes)
        return [int(label == row["label"]) if task == row["task"] else IGNORED for task, label in self.classes]

    def clip(self, row: dict[str, Any]) -> np.ndarray:
        """The decoded clip: several tasks ask about it, in every epoch, and decoding takes longer than its features.

        The first clips that fit are kept, and never make room for others: of a corpus that is read in passes and does
        not fit, whatever was used longest ago would be dropped right before it is used again.
        """
        audio = row["audio"]
        file_only = isinstance(audio, dict) and all(audio[key] is None for key in audio if key != "path")
        path = audio.get("path") if file_only else None
        if path in self._kept:
            return self._kept[path]
        try:
            samples = load_audio(audio)
        except AudioError as error:
            raise AudioError(f"row {row['id']!r}", str(error)) from error
        if path is not None and samples.nbytes <= self._room:
            self._kept[path] = samples
            self._room -= samples.nbytes
        return samples

    def _turns(self, row: dict[str, Any]) -> tuple[str, str]:
        """The prompt, and the answer with its end of turn, as the chat template writes them."""
        if not row.get("answer"):
            raise ValueError(f"row {row['id']!r} has no answer to learn; extract its reasons first.")
        eos = self.processor.tokenizer.eos_token
        content = [{"type": "audio"}, {"type": "text", "text": asked(row)}]
        prompt = self.processor.prompt(asked(row))
        said = self.processor.plain_text(row["answer"])
        whole = self.processor.apply_chat_template(
            [{"role": "user", "content": content}, {"role": "assistant", "content": said}]
        )
        if not whole.startswith(prompt):
            raise ValueError("The chat template's generation prompt is not the beginning of its assistant turn.")
        answer = whole[len(prompt) :].rstrip()
        return prompt, answer if eos in answer or _ends_turn(answer, said) else answer + eos


def _ends_turn(rendered: str, answer: str) -> bool:
    """Whether the template wrote something after the answer: its own end of turn."""
    return not rendered.endswith(answer.rstrip())


def pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """One tensor of rows of numbers, filled up with `value` at their ends."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
