"""Speech emotion reasoning with multitask AudioLLMs.

Importing the package loads neither torch nor transformers. The classes load when first asked for, and are then
registered with transformers' Auto classes and its pipelines; [`register`] does that without asking for one.
"""

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .modeling_audiollm import (
        AudioEmotionReasoningPipeline,
        AudioLLMConfig,
        AudioLLMForConditionalGeneration,
        AudioLLMModel,
        Emotion2VecConfig,
        Emotion2VecForAudioClassification,
        Emotion2VecModel,
    )
    from .processing import AudioLLMProcessor

__version__ = "0.1.0"
__all__ = [
    "AudioEmotionReasoningPipeline",
    "AudioLLMConfig",
    "AudioLLMForConditionalGeneration",
    "AudioLLMModel",
    "AudioLLMProcessor",
    "Emotion2VecConfig",
    "Emotion2VecForAudioClassification",
    "Emotion2VecModel",
    "register",
]


def register() -> None:
    """Let transformers' Auto classes and `pipeline` know the classes of this package, without remote code."""
    from . import registration  # noqa: F401


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import registration

    return getattr(registration, name)
