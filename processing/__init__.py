"""A clip and its question on the way to tensors."""

from transformers import AutoProcessor

from ..modeling_audiollm import AudioLLMConfig
from .processing_audiollm import AudioLLMProcessor


AutoProcessor.register(AudioLLMConfig, AudioLLMProcessor, exist_ok=True)
AudioLLMProcessor.register_for_auto_class()

__all__ = ["AudioLLMProcessor"]
