"""AudioLLM checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

from ... import register
from ...corpora.schema import EMOTION_TASKS
from ...modeling_audiollm.answering import generate_answers
from ...processing.conversation import asked
from .. import EvalError
from .base import System, fingerprint_of, run_name


class AudioLLM(System):
    """An AudioLLM folder as `save_pretrained` writes it, answering in batches by greedy search.

    Args:
        folder: model and processor.
        max_new_tokens: longest answer, in tokens; answers that are cut there are counted in `counted()`.
        quote_confidence: least probability of a word that stays in a quote; by default that of the checkpoint.

    Raises:
        EvalError: if the folder holds no checkpoint.
    """

    def __init__(self, folder: str, max_new_tokens: int = 128, quote_confidence: float | None = None):
        if not (Path(folder) / "config.json").is_file():
            raise EvalError(f"{folder} is not a checkpoint folder: it has no config.json.")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # bfloat16 products are tens of times slower than float32 ones on CPUs without native support.
        dtype = "auto" if self.device.type == "cuda" else torch.float32
        register()
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForMultimodalLM.from_pretrained(folder, dtype=dtype).to(self.device).eval()
        self.max_new_tokens = max_new_tokens
        self.name = run_name(folder)
        config = self.model.config
        self.quote_confidence = config.quote_confidence if quote_confidence is None else quote_confidence
        # Cut by what was heard and in explanations alone, which they once were not; uncut answers are as they were.
        cut = ["explanations by hearing"] if self.quote_confidence else []
        self.fingerprint = fingerprint_of("audiollm", folder, max_new_tokens, self.quote_confidence, *cut)
        self._answered = self._cut = 0

    def answer(self, audio: np.ndarray, question: str) -> str:
        return self.answer_batch([audio], [question])[0]

    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        return self._answer(audios, questions, self.quote_confidence)

    def answer_rows(self, rows: Sequence[dict], audios: Sequence[np.ndarray]) -> list[str]:
        """Quotes are cut in explanations; those of what is written down, or answers a question, stay."""
        leasts = [self.quote_confidence if row["task"] in EMOTION_TASKS else 0.0 for row in rows]
        return self._answer(audios, [asked(row) for row in rows], leasts)

    @torch.inference_mode()
    def _answer(
        self, audios: Sequence[np.ndarray], questions: Sequence[str], quote_confidence: float | Sequence[float]
    ) -> list[str]:
        prompts = [self.processor.prompt(question) for question in questions]
        inputs = self.processor(text=prompts, audio=list(audios)).to(self.device)
        texts, tokens = generate_answers(
            self.model,
            self.processor,
            inputs,
            quote_confidence,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
        )
        self._answered += len(texts)
        self._cut += int((~torch.isin(tokens, self._end_ids()).any(dim=1)).sum())
        return texts

    def describe(self) -> dict:
        return {
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.device),
            "max_new_tokens": self.max_new_tokens,
            "quote_confidence": self.quote_confidence,
        }

    def counted(self) -> dict[str, int]:
        return {"answers_given": self._answered, "answers_cut": self._cut}

    def _end_ids(self) -> torch.Tensor:
        ends = self.model.generation_config.eos_token_id
        pad = self.model.generation_config.pad_token_id
        ids = [*(ends if isinstance(ends, list) else [ends]), pad]
        return torch.tensor([token for token in ids if token is not None], device=self.device, dtype=torch.long)
