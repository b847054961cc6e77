"""What travels to the Hub with the weights: configurations, models and pipeline, registered with the Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, AutoModelForMultimodalLM
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_audiollm import AudioLLMConfig
from .configuration_emotion2vec import Emotion2VecConfig
from .modeling_audiollm import AudioLLMForConditionalGeneration, AudioLLMModel
from .modeling_emotion2vec import Emotion2VecForAudioClassification, Emotion2VecModel
from .pipeline_audiollm import AudioEmotionReasoningPipeline


AutoConfig.register(AudioLLMConfig.model_type, AudioLLMConfig, exist_ok=True)
# As a user expects of `AutoModel` for a model that answers: the generating class, not its headless base.
AutoModel.register(AudioLLMConfig, AudioLLMForConditionalGeneration, exist_ok=True)
AutoModelForMultimodalLM.register(AudioLLMConfig, AudioLLMForConditionalGeneration, exist_ok=True)
AutoConfig.register(Emotion2VecConfig.model_type, Emotion2VecConfig, exist_ok=True)
AutoModel.register(Emotion2VecConfig, Emotion2VecModel, exist_ok=True)
AutoModelForAudioClassification.register(Emotion2VecConfig, Emotion2VecForAudioClassification, exist_ok=True)
AudioLLMConfig.register_for_auto_class()
AudioLLMForConditionalGeneration.register_for_auto_class("AutoModelForMultimodalLM")
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
    "Emotion2VecConfig",
    "Emotion2VecForAudioClassification",
    "Emotion2VecModel",
]
