"""Speech emotion reasoning with multitask AudioLLMs.

Importing the package registers its classes with transformers' Auto classes and its pipeline task.
"""

from . import modeling_audiollm, processing


__version__ = "0.1.0"
__all__ = ["modeling_audiollm", "processing"]
