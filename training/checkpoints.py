"""Checkpoints: what learns (small, to resume), and the merged model (to use and to share)."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.processing.processing_audiollm import AudioLLMProcessor


TRAINABLE_NAME = "trainable.safetensors"


def save_trainable(
    model: nn.Module, names: Set[str], folder: str | Path, state_dict: dict[str, torch.Tensor] | None = None
):
    """Write the parameters `names`, and all buffers of their modules, to `folder/trainable.safetensors`.

    Args:
        model: the model in training, LoRA-wrapped or not.
        names: of the parameters that ever learn.
        folder: where to write.
        state_dict: of the model, if it was gathered already.
    """
    state = model.state_dict() if state_dict is None else state_dict
    modules = {name.rpartition(".")[0] for name in names}
    buffers = {name for name, _ in model.named_buffers() if name.rpartition(".")[0] in modules and name in state}
    kept = {name: state[name].detach().cpu().contiguous() for name in sorted(names | buffers)}
    path = Path(folder) / TRAINABLE_NAME
    partial = path.with_suffix(".partial")
    save_file(kept, partial, metadata={"format": "pt"})
    partial.replace(path)


def load_trainable(model: nn.Module, folder: str | Path):
    """Load what [`save_trainable`] wrote into a model built the same way.

    Raises:
        FileNotFoundError: if the folder is not such a checkpoint.
        ValueError: if the checkpoint has parameters that the model does not have.
    """
    path = Path(folder) / TRAINABLE_NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; is {folder} a training checkpoint of AudioLLM?")
    _, unexpected = model.load_state_dict(load_file(path), strict=False)
    if unexpected:
        raise ValueError(f"{path} holds parameters that this model does not have, such as {unexpected[0]}.")


def save_merged(model: nn.Module, processor: AudioLLMProcessor, folder: str | Path):
    """Write a folder that `from_pretrained` and `pipeline` load: LoRA merged, with processor and code."""
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    assert isinstance(model, AudioLLMForConditionalGeneration)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
