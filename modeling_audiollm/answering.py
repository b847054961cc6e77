# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""Answers as text, whose quotes keep only the words that the model is sure of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from .evidence import cut_quotes


class TokenSureness(LogitsProcessor):
    """Keeps the probability of each token that was generated; changes nothing.

    A token's probability is known one step later, when it stands at the end of the input; that of the last one is
    never asked for. Unlike `output_logits=True`, it holds the logits of one step, not of all.
    """

    def __init__(self):
        self.steps: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._last is not None:
            self.steps.append(self._last.gather(-1, input_ids[:, -1:])[:, 0])
        self._last = scores.float().softmax(-1)
        return scores

    def of_tokens(self, tokens: int) -> list[list[float]]:
        """For each row, the probabilities of its first `tokens` generated tokens."""
        if not self.steps:
            return [[1.0] * tokens] * (0 if self._last is None else len(self._last))
        known = torch.stack(self.steps[:tokens], dim=1)
        return torch.nn.functional.pad(known, (0, tokens - known.shape[1]), value=1.0).tolist()


def generate_answers(
    model: Any, processor: Any, inputs: dict[str, torch.Tensor], quote_confidence: float | None = None, **settings: Any
) -> tuple[list[str], torch.Tensor]:
    """Generate, and decode with quotes cut to what the model is sure of.

    Args:
        model, processor: an AudioLLM and its processor.
        inputs: what the processor gives.
        quote_confidence: least probability in [0, 1] of a word that stays in a quote; 0 leaves quotes as they are; by
            default that of the model's configuration.
        settings: as for `generate`.

    Returns:
        The answers, and the generated tokens `[batch, tokens]`.

    Raises:
        ValueError: for a beam search with a confidence above 0: its tokens have no one probability.
    """
    least = model.config.quote_confidence if quote_confidence is None else quote_confidence
    prompt_tokens = inputs["input_ids"].shape[1]
    if least == 0:
        tokens = model.generate(**inputs, **settings)[:, prompt_tokens:]
        return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)], tokens
    if (settings.get("num_beams") or model.generation_config.num_beams or 1) > 1:
        raise ValueError("Quotes are cut by token probabilities, which beams do not have; pass quote_confidence=0.")
    sureness = TokenSureness()
    watching = LogitsProcessorList([*settings.pop("logits_processor", []), sureness])
    tokens = model.generate(**inputs, **settings, logits_processor=watching)[:, prompt_tokens:]
    rows = zip(tokens.tolist(), sureness.of_tokens(tokens.shape[1]))
    return [_decode_sure(processor.tokenizer, ids, probabilities, least) for ids, probabilities in rows], tokens


def _decode_sure(tokenizer: Any, ids: Sequence[int], probabilities: Sequence[float], least: float) -> str:
    text, sure = "", []
    for count in range(1, len(ids) + 1):
        # By prefixes: what a token adds may depend on the tokens before it.
        text = tokenizer.decode(ids[:count], skip_special_tokens=True)
        sure = sure[: len(text)] + [probabilities[count - 1]] * (len(text) - len(sure))
    return cut_quotes(text, sure, least).strip()


__all__ = ["TokenSureness", "generate_answers"]
