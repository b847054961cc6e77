#!/usr/bin/env python3
"""Put the model's code beside `samples/tiny-base`, so that it loads with `trust_remote_code=True` as from the Hub.

    python samples/base_code.py

`make setup` runs this, and again when the code has changed; the copies are not kept in the repository.
"""

from pathlib import Path

from transformers.dynamic_module_utils import custom_object_save

from audiollm import AudioEmotionReasoningPipeline, AudioLLMForConditionalGeneration, AudioLLMProcessor


BASE = Path(__file__).resolve().parent / "tiny-base"


def write_code(folder: Path):
    """Copy the files that define model, processor and pipeline into `folder`, as saving a model does."""
    for saved in (AudioLLMForConditionalGeneration, AudioLLMProcessor, AudioEmotionReasoningPipeline):
        custom_object_save(saved, folder)


if __name__ == "__main__":
    write_code(BASE)
