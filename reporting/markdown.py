"""Text from data that stays text in Markdown: no HTML, no links, no images, no borders of tables."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any


def plain(text: Any) -> str:
    """A text in one line, every character that Markdown or HTML would read as markup made harmless."""
    text = " ".join(escape(str(text), quote=False).split())
    return "".join(f"\\{character}" if character in "|[]`*\\" else character for character in text)


def plain_all(value: Any) -> Any:
    """The same value with every text in it made [`plain`], keys of mappings left as they are."""
    if isinstance(value, Mapping):
        return {key: plain_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_all(item) for item in value]
    return plain(value) if isinstance(value, str) else value
