"""Rows to padded training batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .audio import AudioError, load_audio
from .processing_audiollm import AudioLLMProcessor


IGNORED = -100
KEPT_BYTES = 100_000_000  # of decoded audio, for each process that loads data: 26 minutes
CTC_CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"


def ctc_labels(transcript: str) -> list[int]:
    """Character ids of a transcript for CTC, blank 0; characters outside `CTC_CHARACTERS` are dropped."""
    return [CTC_CHARACTERS.index(character) + 1 for character in transcript.lower() if character in CTC_CHARACTERS]


class AudioLLMCollator:
    """Turns rows of the schema into model inputs, with labels on the answer only.

    The loss covers the answer and the end-of-turn token, so that generation learns to stop; prompt, audio placeholders
    and padding are masked. Prompts are never cut: a cut placeholder would break the model (anchors: P14).

    Args:
        processor: of the model in training.
        augment: applied to each clip's samples (16 kHz), or none. Its random choices depend on `seed` and on the row's
            `place` in the run alone, so that neither workers nor a resumed run change them.
        ctc: whether to add `ctc_labels` from the transcripts.
        classes: (task, label) pairs; if any, batches of labelled rows get `label_labels`: for each class 1 (that of
            the row), 0 (another one of its task) or -100.
        seed: of the augmentation.
        keys: whether to add `clip_keys`, a hash of each clip's samples.
        position_gap: most positions by which what follows a row's audio is moved away from it, drawn as `augment`
            draws. A small language model that learns from nothing else remembers where in the prompt its words stand,
            and hears badly once more audio tokens come between.
    """

    def __init__(
        self,
        processor: AudioLLMProcessor,
        augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        ctc: bool = False,
        classes: Sequence[tuple[str, str]] = (),
        seed: int = 0,
        keys: bool = False,
        position_gap: int = 0,
    ):
        self.position_gap = position_gap
        self.processor, self.augment, self.ctc, self.seed, self.keys = processor, augment, ctc, seed, keys
        self.classes = list(classes)
        self._kept: dict[str, np.ndarray] = {}
        self._room = KEPT_BYTES

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        clips = [self._clip(row) for row in rows]
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
        tensors = {
            "input_ids": _pad([p + a for p, a in zip(prompts, answers)], tokenizer.pad_token_id),
            "attention_mask": _pad([[1] * (len(p) + len(a)) for p, a in zip(prompts, answers)], 0),
            "labels": _pad([[IGNORED] * len(p) + a for p, a in zip(prompts, answers)], IGNORED),
            **features,
        }
        if self.position_gap:
            lengths = tensors["attention_mask"].sum(-1).tolist()
            positions = [self._positions(*facts) for facts in zip(rows, prompts, lengths)]
            tensors["position_ids"] = _pad(positions, 0)
        if self.ctc:
            tensors["ctc_labels"] = _pad([ctc_labels(row["transcript"]) for row in rows], IGNORED)
        if self.classes and all(row["label"] for row in rows):
            tensors["label_labels"] = torch.tensor([self._label(row) for row in rows])
        if self.keys:
            tensors["clip_keys"] = [hashlib.sha256(clip.tobytes()).hexdigest() for clip in clips]
        return tensors

    def _positions(self, row: dict[str, Any], prompt: Sequence[int], length: int) -> list[int]:
        """Positions of a row of `length` tokens, with a gap behind the last placeholder of its prompt."""
        after = len(prompt) - prompt[::-1].index(self.processor.audio_token_id)
        random = np.random.default_rng([self.seed, row["place"], self.position_gap])
        gap = int(random.integers(self.position_gap + 1))
        return [*range(after), *range(after + gap, length + gap)]

    def _label(self, row: dict[str, Any]) -> list[int]:
        return [int(label == row["label"]) if task == row["task"] else IGNORED for task, label in self.classes]

    def _clip(self, row: dict[str, Any]) -> np.ndarray:
        samples = self._samples(row)
        if self.augment is None:
            return samples
        return self.augment(samples, np.random.default_rng([self.seed, row["place"]]))

    def _samples(self, row: dict[str, Any]) -> np.ndarray:
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
        content = [{"type": "audio"}, {"type": "text", "text": row["question"]}]
        prompt = self.processor.prompt(row["question"])
        whole = self.processor.apply_chat_template(
            [{"role": "user", "content": content}, {"role": "assistant", "content": row["answer"]}]
        )
        if not whole.startswith(prompt):
            raise ValueError("The chat template's generation prompt is not the beginning of its assistant turn.")
        answer = whole[len(prompt) :].rstrip()
        return prompt, answer if eos in answer or _ends_turn(answer, row["answer"]) else answer + eos


def _ends_turn(rendered: str, answer: str) -> bool:
    """Whether the template wrote something after the answer: its own end of turn."""
    return not rendered.endswith(answer.rstrip())


def _pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
