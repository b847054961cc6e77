"""What travels to the Hub with the weights: configurations, models and pipeline, loaded when first asked for."""

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .configuration_audiollm import AudioLLMConfig
    from .configuration_emotion2vec import Emotion2VecConfig
    from .modeling_audiollm import AudioLLMForConditionalGeneration, AudioLLMModel
    from .modeling_emotion2vec import Emotion2VecForAudioClassification, Emotion2VecModel
    from .pipeline_audiollm import AudioEmotionReasoningPipeline

__all__ = [
    "AudioEmotionReasoningPipeline",
    "AudioLLMConfig",
    "AudioLLMForConditionalGeneration",
    "AudioLLMModel",
    "Emotion2VecConfig",
    "Emotion2VecForAudioClassification",
    "Emotion2VecModel",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .. import registration

    return getattr(registration, name)
