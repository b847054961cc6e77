"""Our classes, registered with transformers' Auto classes and its pipelines when this module is imported."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForMultimodalLM,
    AutoProcessor,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .modeling_audiollm.configuration_audiollm import AudioLLMConfig
from .modeling_audiollm.configuration_emotion2vec import Emotion2VecConfig
from .modeling_audiollm.modeling_audiollm import AudioLLMForConditionalGeneration, AudioLLMModel
from .modeling_audiollm.modeling_emotion2vec import Emotion2VecForAudioClassification, Emotion2VecModel
from .modeling_audiollm.pipeline_audiollm import AudioEmotionReasoningPipeline
from .processing.processing_audiollm import AudioLLMProcessor


AutoConfig.register(AudioLLMConfig.model_type, AudioLLMConfig, exist_ok=True)
# As a user expects of `AutoModel` for a model that answers: the generating class, not its headless base.
AutoModel.register(AudioLLMConfig, AudioLLMForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(AudioLLMConfig, AudioLLMForConditionalGeneration, exist_ok=True)
AutoProcessor.register(AudioLLMConfig, AudioLLMProcessor, exist_ok=True)
AutoConfig.register(Emotion2VecConfig.model_type, Emotion2VecConfig, exist_ok=True)
AutoModel.register(Emotion2VecConfig, Emotion2VecModel, exist_ok=True)
AutoModelForAudioClassification.register(Emotion2VecConfig, Emotion2VecForAudioClassification, exist_ok=True)
AudioLLMConfig.register_for_auto_class()
AudioLLMForConditionalGeneration.register_for_auto_class("AutoModelForMultimodalLM")
AudioLLMProcessor.register_for_auto_class()
PIPELINE_REGISTRY.register_pipeline(
    "audio-emotion-reasoning",
    pipeline_class=AudioEmotionReasoningPipeline,
    pt_model=AutoModelForMultimodalLM,
    type="multimodal",
)

__all__ = [
    "AudioEmotionReasoningPipeline",
    "AudioLLMConfig",
    "AudioLLMForConditionalGeneration",
    "AudioLLMModel",
    "AudioLLMProcessor",
    "Emotion2VecConfig",
    "Emotion2VecForAudioClassification",
    "Emotion2VecModel",
]
