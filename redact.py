"""What may leave this machine: settings, facts and errors without secrets and without the machine's folders.

Known here, once, for everything that is published, kept with results, or shown with a server's error. Imports nothing
of the package, so that every room can use it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any


HIDDEN = "***"
SHORTEST_SECRET = 6  # of values that are searched for: a shorter one would hide ordinary words

_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])")
_ALWAYS = {
    *("secret", "secrets", "password", "passwords", "passwd", "passphrase", "pwd", "credential", "credentials"),
    *("authorization", "bearer", "cookie", "cookies", "apikey", "apikeys", "authtoken", "privatekey"),
}
# `eos_token` is a piece of text and `sort_key` a column; `hub_token` and `openai_key` are not.
_OF_TEXT = {
    *(
        "audio",
        "bos",
        "cls",
        "decoder",
        "each",
        "emotion",
        "end",
        "eos",
        "first",
        "image",
        "last",
        "mask",
        "pad",
        "per",
    ),
    *("prompt", "sep", "special", "speech", "start", "stop", "text", "unk", "video", "word"),
}
_OF_DATA = {"column", "foreign", "group", "index", "json", "label", "primary", "row", "sort"}

_NAME = (
    r"(?:api[-_]?keys?|access[-_]?key(?:[-_]?id)?|secret(?:[-_]?key)?|private[-_]?key|password|passwd|pwd|passphrase|"
    r"credentials?|authorization|auth|signature|sig|cookie|(?<![\w-])(?:key|token)|"
    r"(?:hub|hf|api|auth|access|refresh|session|bearer|id|sas|security|github|openai|wandb|service)[-_]?token|"
    r"(?:hub|hf|openai|anthropic|azure|aws|google|wandb|comet|server|service|account|license)[-_]key)"
)
_PARAMETER = re.compile(
    rf"(?i)({_NAME})([\"']?(?:\s*[:=]\s*|%3D)[\"']?)(?!\*\*\*)((?:Bearer\s+|Basic\s+)?[^\s\"',;&<>(){{}}\[\]]+)"
)
_OPTION = re.compile(
    r"(?i)((?<!-)--?(?:[\w-]{0,40}[-_])?(?:key|token|secret|password|passwd|auth)[ =])(?!\*\*\*|-)(\S+)"
)
_SHAPES = re.compile(
    r"(?i:\bBearer\s+)[\w.~+/=-]{6,}|(?i:\bBasic\s+)(?=\S*[\d=])[\w+/]{8,}={0,2}"
    r"|\b(?:sk|pk|rk)-[\w*-]{6,}[\w*]*|\b(?:hf|gsk|gh[opsur]|r8|sk|pk|rk|key|fw|tgp|dop_v1|xai|pplx|nvapi|glpat|npm)"
    r"[_-][A-Za-z0-9_-]{16,}|\bgithub_pat_\w{20,}|\bxox[a-z]-[\w-]{8,}|\bA[KS]IA[A-Z0-9]{12,}|\bAIza[\w-]{20,}"
    r"|\bya29\.[\w-]{10,}|\beyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_URL = (
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,20})://(?P<rest>(?:(?![,;|]?[A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s\"'<>`])*)"
)
_PART = r"[^\s/\\\"'<>|*?,;:()\[\]{}`]"
_PATH = (
    r"(?<![\w./\\<)~-])(?P<path>(?:~[\w.-]*|\$\{?\w+\}?|[A-Za-z]:|\.\.?|\\)?"
    rf"[/\\]{{1,2}}(?:{_PART}{{0,255}}(?:[ ](?![~$.]){_PART}{{1,60}}){{0,3}}[/\\]){{0,60}}{_PART}{{0,255}})"
)
_PLACES = re.compile(f"{_URL}|{_PATH}")
_BARE_LOGIN = re.compile(r"(?:(?<=[@/])|(?<![\S]))[^\s/@:\"']{1,200}:[^\s/@\"']{1,200}@(?=[\w.-]+:\d)")
_HOMES = {"home", "Users", "users"}


def redact(value: Any, secrets: Iterable[str] = (), paths: bool = True, texts: Collection[str] = ()) -> Any:
    """The same value without what nobody else should see.

    Hidden are values of keys that name a secret (`hub_token`, `api_key`, `Authorization`, ...), keys of the usual
    services by their form, values of environment variables that name a secret, logins, queries and fragments of URLs,
    and, of paths of this machine anywhere in a text, all but the last component.

    Args:
        value: text, or mappings and lists of any depth, as JSON and YAML hold them.
        secrets: further texts that must not appear, such as the key that a server was asked with.
        paths: whether folders of the machine are hidden too. Files that never leave it may keep them.
        texts: values that stay as they are, whatever their key, such as the [`special_tokens`] of a tokenizer.

    Returns:
        A copy; redacting it again changes nothing. Paths are given as text, everything else keeps its type.
    """
    known = sorted({text for text in (*secrets, *_secrets_of_environment()) if _long_enough(text)}, key=len)[::-1]
    return _redact(value, known, paths, frozenset(texts))


def special_tokens(folder: str | Path) -> set[str]:
    """Texts of the tokens that were added to the tokenizer in a folder: `boi_token` names one, not a secret."""
    tokens: set[str] = set()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):  # what can't be read names none
            said = json.loads((Path(folder) / name).read_text(encoding="utf-8"))
            added = [*said.get("added_tokens", ()), *said.get("added_tokens_decoder", {}).values()]
            tokens.update(token["content"] for token in added if token.get("content"))
    return tokens


def _redact(value: Any, secrets: list[str], paths: bool, texts: frozenset[str]) -> Any:
    if _is_of(texts, value):
        return value
    if isinstance(value, Mapping):
        return {
            _redact(key, secrets, paths, texts): (
                HIDDEN
                if _names_secret(key, item) and not _is_of(texts, item)
                else _redact(item, secrets, paths, texts)
            )
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redact(item, secrets, paths, texts) for item in value]
    if isinstance(value, PurePath):
        value = str(value)
    return _redact_text(value, secrets, paths) if isinstance(value, str) else value


def _is_of(texts: frozenset[str], value: Any) -> bool:
    """Whether a value is one of these texts: as it is, as a token with its settings, or as a list of such."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_of(texts, item) for item in value)
    value = value.get("content") if isinstance(value, Mapping) else value
    return isinstance(value, str) and value in texts


def _names_secret(key: Any, value: Any) -> bool:
    """Whether a key says that its value, if there is one, is secret."""
    if not isinstance(key, str) or value is None or isinstance(value, bool) or value in ("", HIDDEN):
        return False
    words = [word.lower() for word in _WORDS.findall(key)]
    joined = "_".join(words)
    if _ALWAYS.intersection(words) or re.search(r"(?:api|access|private|secret)_keys?(?:_id)?$", joined):
        return True
    if not words or isinstance(value, (int, float)):  # `max_token: 5` counts
        return False
    if words[-1] == "token":
        return not _OF_TEXT.intersection(words)
    return words[-1] == "auth" or (words[-1] == "key" and len(words) > 1 and not _OF_DATA.intersection(words))


def _redact_text(text: str, secrets: list[str], paths: bool) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _SHAPES.sub(HIDDEN, text)
    text = _PLACES.sub(lambda found: _place(found, paths), text)
    text = _BARE_LOGIN.sub("", text)
    text = _OPTION.sub(rf"\g<1>{HIDDEN}", text)
    return _PARAMETER.sub(rf"\g<1>\g<2>{HIDDEN}", text)


def _place(found: re.Match[str], paths: bool) -> str:
    if found["scheme"] is None:
        return _last_component(found["path"]) if paths else found["path"]
    if found["scheme"].lower() == "file":
        return _last_component(found["rest"]) if paths else found[0]
    return f"{found['scheme']}://{_address(found['rest'])}"


def _address(rest: str) -> str:
    """Host and path of a URL."""
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        rest = rest[host.rindex("@") + 1 :]
    elif "@" in rest and not re.fullmatch(r"(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d*)?", host):
        rest = rest.rpartition("@")[2]  # a password with a slash in it
    closing = rest[len(rest.rstrip(".,;:)]}")) :]
    return re.split(r"[?#]", rest.removesuffix(closing), maxsplit=1)[0] + closing


def _last_component(path: str) -> str:
    if re.fullmatch(r"[/\\]", path) or re.fullmatch(r"/[\w.-]+", path) and not path.startswith("/home"):
        return path if len(path) == 1 else path[1:]
    parts = [part for part in re.split(r"[/\\]", path) if part]
    if not parts or parts[-1].startswith(("~", "$")) or (len(parts) > 1 and parts[-2] in _HOMES):
        return "~"
    return parts[-1]


def _secrets_of_environment() -> list[str]:
    return [value for name, value in os.environ.items() if _names_secret(name, value)]


def _long_enough(text: str) -> bool:
    return len(text) >= SHORTEST_SECRET


__all__ = ["HIDDEN", "redact", "special_tokens"]
