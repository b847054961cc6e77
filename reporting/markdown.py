"""Text from data that stays text in Markdown: no HTML, no links, no images, no borders of tables."""

from __future__ import annotations

from html import escape
from typing import Any


def plain(text: Any) -> str:
    """A text in one line, every character that Markdown or HTML would read as markup made harmless."""
    text = " ".join(escape(str(text), quote=False).split())
    return "".join(f"\\{character}" if character in "|[]`*\\" else character for character in text)
