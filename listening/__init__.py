"""Recordings of any length: who speaks when, how they feel and why, segment by segment."""

from __future__ import annotations

from typing import Any


__all__ = ["listen"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .listener import listen

    return listen
