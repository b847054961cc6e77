"""A clip and its question on the way to tensors."""

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .processing_audiollm import AudioLLMProcessor

__all__ = ["AudioLLMProcessor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .. import registration

    return getattr(registration, name)
