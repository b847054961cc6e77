"""A model behind an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from ..modeling_audiollm.replies import whole_characters
from ..redact import redact
from .base import LanguageModelError, Messages, Reply


logger = logging.getLogger(__name__)
MOST_BYTES = 8 << 20  # of a server's answer
LONGEST_REASON = 300  # characters of an error that are kept
_SEARCHED = 8 * LONGEST_REASON  # and that are searched for secrets before it is cut
# Statuses that say something of the request's parameters, rather than of the key, the load or the network.
_OF_PARAMETERS = (400, 404, 405, 415, 422)
_NAMED = {"response_format": r"response_format|schema|json|structured|guided|grammar"}
UNNAMED_FAILURES = 3  # failures of a server with a schema, which it survives without, until it is asked without


class ServerModel:
    """A model behind an OpenAI-compatible server (vLLM, llama.cpp, TGI, OpenAI, ...).

    Time-outs, dropped connections, 408, 409, 429 and 5xx are tried again with back-off by the `openai` client, which
    also obeys `Retry-After`. A server that refuses `max_tokens` is asked with `max_completion_tokens` from then on;
    one that refuses a temperature, a seed or a JSON schema is asked without, with a warning (`refused`).

    Args:
        model: name of the model on the server.
        base_url: of the server, usually ending in `/v1`; that of `OPENAI_BASE_URL` when left out.
        api_key: secret; `OPENAI_API_KEY` when left out. Local servers take any.
        concurrency: requests in flight.
        retries: further attempts after a failed one.
        timeout: seconds for one attempt: connecting, waiting and the whole transfer.
        max_new_tokens: longest reply.
        temperature: of sampling; 0 is greedy.

    Raises:
        LanguageModelError: without the client, without a key where one is needed, or for a URL without http(s).
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
            from openai import AsyncOpenAI, OpenAIError
        except ImportError as error:
            raise LanguageModelError(
                "asking a server needs the openai client: pip install 'audiollm[server]'."
            ) from error
        if base_url is not None and api_key is None:
            api_key = "none"
        client = _http_client(timeout)
        try:
            self.client = AsyncOpenAI(
                base_url=base_url, api_key=api_key, max_retries=retries, timeout=timeout, http_client=client
            )
        except OpenAIError as error:
            raise LanguageModelError(f"server:{model}: {' '.join(str(error).split())}") from error
        if self.client.base_url.scheme not in ("http", "https"):
            raise LanguageModelError(f"server:{model}: a server's URL begins with http:// or https://.")
        self.name, self.model, self.concurrency = f"{model}@server", model, concurrency
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.refused: set[str] = set()
        self._unnamed_failures = 0
        login = urlsplit(str(self.client.base_url))
        self._secrets = [secret for secret in (self.client.api_key, login.password, login.username) if secret]
        self._secrets += [unquote(secret) for secret in self._secrets]

    def ask(
        self, requests: Iterable[Messages], seed: int = 0, schema: dict[str, Any] | None = None
    ) -> Iterator[tuple[int, Reply]]:
        """See [`LanguageModel.ask`]."""
        numbered = enumerate(requests)
        running: dict[Future[Reply], int] = {}
        try:
            for number, messages in itertools.islice(numbered, self.concurrency):
                running[self._submit(messages, seed, schema)] = number
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    for number, messages in itertools.islice(numbered, 1):
                        running[self._submit(messages, seed, schema)] = number
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()

    def _submit(self, messages: Messages, seed: int, schema: dict[str, Any] | None) -> Future[Reply]:
        return asyncio.run_coroutine_threadsafe(self._ask_one(messages, seed, schema), _loop())

    async def _ask_one(self, messages: Messages, seed: int, schema: dict[str, Any] | None) -> Reply:
        from openai import APIStatusError, OpenAIError

        without: set[str] = set()
        guessed: set[str] = set()
        while True:
            parameters = self._parameters(seed, schema, self.refused | without)
            try:
                request: dict[str, Any] = {"model": self.model, "messages": messages, **parameters}
                raw = await self.client.chat.completions.with_raw_response.create(**request)
                reply = read_completion(raw.text)
                status, said = 200, ""
            except APIStatusError as error:
                reply, status, said = Reply(None, self._reason(error)), error.status_code, error.response.text
            except (OpenAIError, ValueError, RecursionError) as error:
                return Reply(None, self._reason(error))
            if reply.text is not None:
                self._remember(without, guessed, schema)
                return reply
            blamed = named_parameters(status, said, parameters)
            if not blamed and (status in _OF_PARAMETERS or status in (200, 500, 501)):
                blamed = {"response_format"}.intersection(parameters)
                guessed |= blamed
            if not blamed:
                return replace(reply, error=self._shown(reply.error or ""))
            without |= blamed

    def _parameters(self, seed: int, schema: dict[str, Any] | None, without: set[str]) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
        parameters: dict[str, Any] = {limit: self.max_new_tokens, "temperature": self.temperature, "seed": seed}
        if schema is not None:
            form = {"name": "reply", "schema": schema, "strict": True}
            parameters["response_format"] = {"type": "json_schema", "json_schema": form}
        return {name: value for name, value in parameters.items() if name not in without}

    def _remember(self, without: set[str], guessed: set[str], schema: dict[str, Any] | None) -> None:
        """Note what a request had to do without to be answered."""
        if schema is not None and not without and "response_format" not in self.refused:
            self._unnamed_failures = 0
        if without == guessed == {"response_format"}:  # perhaps the server failed by chance
            self._unnamed_failures += 1
            if self._unnamed_failures < UNNAMED_FAILURES:
                return
        new = without - self.refused
        self.refused |= new
        if new:
            logger.warning("%s refuses %s; asking without.", self.name, ", ".join(sorted(new)))

    def _reason(self, error: BaseException) -> str:
        """An error in one line, without the secrets that a server may echo."""
        cause = error.__cause__
        text = f"{type(error).__name__}: {error}" + (f" ({cause})" if cause is not None and str(cause) else "")
        return self._shown(text)

    def _shown(self, text: str) -> str:
        """A reason in one line. It is cut after its secrets are hidden: half a key would not be found."""
        return redact(" ".join(text[:_SEARCHED].split()), self._secrets, paths=False)[:LONGEST_REASON]


def named_parameters(status: int, said: str, parameters: Iterable[str]) -> set[str]:
    """The parameters that a server names as it refuses a request.

    Args:
        status: of its answer.
        said: the body of its answer.
        parameters: what it was asked with.
    """
    if status not in _OF_PARAMETERS:
        return set()
    return {name for name in parameters if re.search(rf"\b(?:{_NAMED.get(name, name)})\b", said, re.I)}


def read_completion(body: str) -> Reply:
    """The text of a chat completion, or why it holds none, with the body as it came. Nothing in it raises."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return Reply(None, f"the server's answer is not JSON: {body[:_SEARCHED]}")
    answer = answer if isinstance(answer, dict) else {}
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = _object_of(choice, "message")
    text = _text_of(message.get("content"))
    if text is None and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    ended = choice.get("finish_reason")
    if not text and ended in ("length", "content_filter"):
        why = "it was spent before the answer began; allow more tokens" if ended == "length" else "it was filtered"
        return Reply(None, f"the server's answer holds no text ({ended}): {why}.")
    if text is None:
        return Reply(None, f"the server's answer holds no text: {body[:_SEARCHED]}")
    usage = _object_of(answer, "usage")
    counts = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return Reply(whole_characters(text), None, *(count if isinstance(count, int) else None for count in counts))


def _object_of(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object within an answer; an empty one where something else, or nothing, stands there."""
    value = answer.get(name)
    return value if isinstance(value, dict) else {}


def _text_of(content: Any) -> str | None:
    """Text of a message's content: a string, or a list of parts of which those of text count."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join(texts) if texts else None
    return content if isinstance(content, str) else None


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all requests, in a thread of its own: callers may have a loop of theirs."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="language-model-requests", daemon=True).start()
    return loop


def _http_client(timeout: float) -> Any:
    """The client's own HTTP client, with a limit to the time and the size of a whole transfer.

    Its time-outs are for single reads, which a server that sends a byte now and then never exceeds.
    """
    from openai import APITimeoutError, DefaultAsyncHttpxClient, OpenAIError

    class Bounded(DefaultAsyncHttpxClient):
        async def send(self, request, *, stream=False, **options):
            try:
                async with asyncio.timeout(1.1 * timeout):  # a silent server meets the client's own time-out first
                    response = await super().send(request, stream=True, **options)
                    body = bytearray()
                    async for part in response.aiter_bytes():
                        body += part
                        if len(body) > MOST_BYTES:
                            await response.aclose()
                            raise OpenAIError(f"the server's answer is longer than {MOST_BYTES >> 20} MiB.")
            except TimeoutError as error:
                raise APITimeoutError(request=request) from error
            plain = [(k, v) for k, v in response.headers.items() if k not in ("content-encoding", "content-length")]
            return type(response)(response.status_code, headers=plain, content=bytes(body), request=request)

    return Bounded(timeout=timeout)
