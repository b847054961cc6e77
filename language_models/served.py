"""A model behind an OpenAI-compatible server."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from .base import Messages, Reply


logger = logging.getLogger(__name__)


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
        options: dict[str, Any] = {"messages": messages}
        if schema is not None:
            form = {"name": "reply", "schema": schema, "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        answer = self.client.chat.completions.create(
            model=self.model,
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


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
