"""What every language model takes and gives, and building one from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..redact import redact


Messages = list[dict[str, Any]]


class LanguageModelError(ValueError):
    """A language model that can't be asked, and what to change."""


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


def load_language_model(spec: str, **options: Any) -> LanguageModel:
    """A language model from its name.

    Args:
        spec: `server:MODEL` (at `OPENAI_BASE_URL`), `server:MODEL@URL`, or a checkpoint (folder or Hub id).
        options: for [`ServerModel`] or [`LocalModel`].

    Raises:
        LanguageModelError: if there is no such model, or a server's URL has no `http://`.
    """
    kind, _, rest = spec.partition(":")
    if kind != "server":
        from .local import LocalModel  # loads torch, which a server does without

        return LocalModel(spec, **options)
    from .served import ServerModel

    model, url = split_server(rest)
    return ServerModel(model, url, **options)


def split_server(spec: str) -> tuple[str, str | None]:
    """`NAME` or `NAME@URL` as name and URL; the name itself may hold an @, as in `model@revision`.

    Raises:
        LanguageModelError: if the name is empty, or what looks like a URL has no `http://`.
    """
    found = re.fullmatch(r"(.*?)@(https?://.+)", spec, re.S)
    model, url = found.groups() if found else (spec, None)
    if not model or (url is None and re.search(r"@(?:[\w.-]+:\d+(?:/|$)|localhost|[\w.-]+/)", model)):
        raise LanguageModelError(
            f"{redact(spec)}: write the address with http:// or https://, as in MODEL@http://localhost:8000/v1."
        )
    return model, url
