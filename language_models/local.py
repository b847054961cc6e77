"""A causal language model of transformers on this machine."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from .base import LanguageModelError, Messages, Reply


LEAST_SHARED = 32  # tokens with which all prompts begin, from which reading them only once pays
BATCHES_PER_CHUNK = 8  # prompts of so many batches are sorted by length together, so that little is padding


class LocalModel:
    """A causal language model of transformers on this machine, asked in batches.

    What all prompts of some batches begin with (instructions, examples) is read once for all of them.

    Args:
        checkpoint: folder or Hub id; its tokenizer must have a chat template.
        batch_size: requests answered together.
        max_new_tokens: longest reply.
        temperature: of sampling; 0 is greedy.
        device: `"cuda"`, `"cpu"`, ...; a GPU where there is one.
        dtype: of the weights; bfloat16 on a GPU, else float32.
    """

    def __init__(
        self,
        checkpoint: str,
        batch_size: int = 16,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
        if self.tokenizer.chat_template is None:
            raise LanguageModelError(
                f"{checkpoint}: its tokenizer has no chat template; choose an instruction-tuned model."
            )
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype)
        self.model = model.to(device).eval()
        self.name, self.batch_size = checkpoint.rstrip("/").rsplit("/", 1)[-1], batch_size
        self.max_new_tokens, self.temperature = max_new_tokens, temperature

    def ask(
        self, requests: Iterable[Messages], seed: int = 0, schema: dict[str, Any] | None = None
    ) -> Iterator[tuple[int, Reply]]:
        """See [`LanguageModel.ask`]; a schema is not enforced."""
        numbered = enumerate(requests)
        while chunk := list(itertools.islice(numbered, self.batch_size * BATCHES_PER_CHUNK)):
            prompts = self.tokenizer.apply_chat_template(
                [messages for _, messages in chunk], add_generation_prompt=True, tokenize=False
            )
            prompts = [self.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
            beginning = self._read_beginning(prompts)
            order = sorted(range(len(chunk)), key=lambda index: len(prompts[index]))
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                torch.manual_seed(seed + chunk[batch[0]][0])
                replies = self._answer([prompts[index] for index in batch], beginning)
                yield from zip((chunk[index][0] for index in batch), replies)

    @torch.inference_mode()
    def _read_beginning(self, prompts: Sequence[list[int]]) -> DynamicCache | None:
        """What the model keeps of the tokens with which all prompts begin: instructions and examples.

        None if they are few, or if the model keeps something else than keys and values of all tokens.
        """
        shared = next((i for i, tokens in enumerate(zip(*prompts)) if len(set(tokens)) > 1), None)
        shared = min(map(len, prompts)) - 1 if shared is None else shared
        longest = max(map(len, prompts)) + self.max_new_tokens
        cache = DynamicCache(config=self.model.config)
        whole = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)
        window = getattr(self.model.config.get_text_config(), "sliding_window", None) or longest
        if len(prompts) == 1 or shared < LEAST_SHARED or not whole or longest > window:
            return None
        tokens = torch.tensor([prompts[0][:shared]], device=self.model.device)
        self.model(input_ids=tokens, cache=cache, use_cache=True, logits_to_keep=1)
        return cache

    @torch.inference_mode()
    def _answer(self, prompts: Sequence[list[int]], beginning: DynamicCache | None) -> list[Reply]:
        shared, pad = 0, self.tokenizer.pad_token_id
        longest = max(map(len, prompts))
        options: dict[str, Any] = {"num_beams": 1}  # whatever the checkpoint has
        if beginning is not None:
            shared = beginning.get_seq_length()
            options["cache"] = copy.deepcopy(beginning)
            options["cache"].batch_repeat_interleave(len(prompts))
        # Padding goes between the shared beginning and the rest, so that the beginning stands where it was read.
        filled = [row[:shared] + [pad] * (longest - len(row)) + row[shared:] for row in prompts]
        mask = [[1] * shared + [0] * (longest - len(row)) + [1] * (len(row) - shared) for row in prompts]
        if self.temperature:
            options |= {"do_sample": True, "temperature": self.temperature}
        else:
            options["do_sample"] = False
        device = self.model.device
        output = self.model.generate(
            input_ids=torch.tensor(filled, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=self.max_new_tokens,
            pad_token_id=pad,
            **options,
        )
        new = output[:, longest:]
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        lengths = (new != pad).sum(-1).tolist()
        return [Reply(text.strip(), None, len(row), count) for text, row, count in zip(texts, prompts, lengths)]
