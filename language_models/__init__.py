"""Asking a text language model many questions: one on this machine in batches, or a server with retries.

Teachers of reasons, judges and the language half of a cascade all ask through here. A journal keeps every reply.
"""

from .base import LanguageModel, LanguageModelError, Messages, Reply, load_language_model
from .served import ServerModel


__all__ = ["LanguageModel", "LanguageModelError", "Messages", "Reply", "ServerModel", "load_language_model"]
