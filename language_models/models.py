"""Asking a text language model many questions: one on this machine, or any OpenAI-compatible server.

Teachers of reasons, judges and the language half of a cascade all ask through here.
"""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer


logger = logging.getLogger(__name__)
Messages = list[dict[str, Any]]
LEAST_SHARED = 32  # tokens with which all prompts begin, from which reading them only once pays
BATCHES_PER_CHUNK = 8  # prompts of so many batches are sorted by length together, so that little is padding


@dataclass(frozen=True)
class Reply:
    """What became of one request: the text, or the error when it could not be had.

    Args:
        text: what the model wrote.
        error: why there is no text, after all retries.
        prompt_tokens, new_tokens: as the model counts them, where it does.
    """

    text: str | None
    error: str | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None


class LanguageModel(Protocol):
    """Attributes: `name`, how results call it."""

    name: str

    def ask(
        self, requests: Iterable[Messages], seed: int = 0, schema: dict[str, Any] | None = None
    ) -> Iterator[tuple[int, Reply]]:
        """Ask, and give `(number of the request, reply)` as replies arrive, in any order.

        Requests are drawn as they are needed, so they can be a generator. A request that fails gives a reply with its
        error and disturbs no other.

        Args:
            requests: chat messages, `[{"role": ..., "content": ...}]`.
            seed: of sampling; greedy models ignore it.
            schema: JSON schema that the reply should follow, where the model can be held to it.
        """
        ...


class ServerModel:
    """A model behind an OpenAI-compatible server (vLLM, llama.cpp, TGI, OpenAI, ...).

    Time-outs, dropped connections, 408, 409, 429 and 5xx are tried again with back-off by the `openai` client, which
    also obeys `Retry-After`. A server that refuses a JSON schema is asked without one from then on, with a warning.

    Args:
        model: name of the model on the server.
        base_url: of the server, usually ending in `/v1`; that of `OPENAI_BASE_URL` when left out.
        api_key: secret; `OPENAI_API_KEY` when left out. Local servers take any.
        concurrency: requests in flight.
        retries: further attempts after a failed one.
        timeout: seconds for one attempt.
        max_new_tokens: longest reply.
        temperature: of sampling; 0 is greedy.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        concurrency: int = 16,
        retries: int = 4,
        timeout: float = 120.0,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
    ):
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ImportError("Asking a server needs the openai client: pip install 'audiollm[server]'.") from error
        if base_url is not None and api_key is None:
            api_key = "none"
        self.client = OpenAI(base_url=base_url, api_key=api_key, max_retries=retries, timeout=timeout)
        self.name, self.model, self.concurrency = f"{model}@server", model, concurrency
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.takes_schema = True

    def ask(
        self, requests: Iterable[Messages], seed: int = 0, schema: dict[str, Any] | None = None
    ) -> Iterator[tuple[int, Reply]]:
        """See [`LanguageModel.ask`]."""
        numbered = enumerate(requests)
        with ThreadPoolExecutor(self.concurrency) as pool:
            running: dict[Future[Reply], int] = {}
            try:
                for number, messages in itertools.islice(numbered, 2 * self.concurrency):
                    running[pool.submit(self._ask_one, messages, seed, schema)] = number
                while running:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), future.result()
                        for number, messages in itertools.islice(numbered, 1):
                            running[pool.submit(self._ask_one, messages, seed, schema)] = number
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask_one(self, messages: Messages, seed: int, schema: dict[str, Any] | None) -> Reply:
        from openai import BadRequestError, OpenAIError

        held = schema is not None and self.takes_schema
        try:
            return self._complete(messages, seed, schema if held else None)
        except BadRequestError as error:
            if not held:
                return Reply(None, _one_line(error))
        except (OpenAIError, ValueError) as error:  # a body that is not JSON is a ValueError
            return Reply(None, _one_line(error))
        try:
            reply = self._complete(messages, seed, None)
        except (OpenAIError, ValueError) as error:
            return Reply(None, _one_line(error))
        if self.takes_schema:
            self.takes_schema = False
            logger.warning("%s refuses JSON schemas; asking without.", self.name)
        return reply

    def _complete(self, messages: Messages, seed: int, schema: dict[str, Any] | None) -> Reply:
        options = {}
        if schema is not None:
            form = {"name": "reply", "schema": schema, "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        answer = self.client.chat.completions.create(
            model=self.model,
            messages=messages,
            max_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=seed,
            **options,
        )
        choices = getattr(answer, "choices", None)
        text = choices[0].message.content if choices else None
        if not isinstance(text, str):
            return Reply(None, "the server's answer holds no text.")
        usage = answer.usage
        return Reply(text, None, getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None))


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
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
        if self.tokenizer.chat_template is None:
            raise ValueError(f"{checkpoint}: its tokenizer has no chat template; choose an instruction-tuned model.")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype).to(device).eval()
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
        options: dict[str, Any] = {}
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


def load_language_model(spec: str, **options: Any) -> ServerModel | LocalModel:
    """A language model from its name.

    Args:
        spec: `server:MODEL` (at `OPENAI_BASE_URL`), `server:MODEL@URL`, or a checkpoint (folder or Hub id).
        options: for [`ServerModel`] or [`LocalModel`].
    """
    kind, _, rest = spec.partition(":")
    if kind != "server":
        return LocalModel(spec, **options)
    model, _, url = rest.partition("@")
    return ServerModel(model, url or None, **options)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
