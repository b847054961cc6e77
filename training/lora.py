"""LoRA lands in the language model, whatever way its targets are named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from peft import PeftModel
from torch import nn

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from .schedule import part_of


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraSectionError(ValueError):
    """A `lora` section that would change other parts than the language model; names the field."""


def lora_settings(section: Mapping[str, Any], model: AudioLLMForConditionalGeneration) -> dict[str, Any]:
    """The fields of `LoraConfig` that a `lora` section means for a model.

    Encoders have modules of the same names as language models do (`q_proj`), so names are looked for there alone.

    Args:
        section: fields of `LoraConfig`. `target_modules` may be names, `all-linear`, or a pattern of whole names,
            which is taken as it is; the projections of attention and MLP when left out.
        model: not yet wrapped.

    Raises:
        LoraSectionError: for fields that make other parameters learn, which `train` in the schedule's rounds does, and
            for targets whose LoRA cannot be merged.
    """
    for field, nothing in (("modules_to_save", None), ("bias", "none")):
        if section.get(field, nothing) not in (nothing, [], ()):
            raise LoraSectionError(
                f"lora.{field} is {section[field]!r}: what learns beside LoRA is said in the schedule (`train`)."
            )
    targets = section.get("target_modules") or PROJECTIONS
    if "all-linear" in ([targets] if isinstance(targets, str) else targets):
        linear = model.model.language_model.named_modules()
        targets = sorted({name.rpartition(".")[2] for name, module in linear if isinstance(module, nn.Linear)})
    if not isinstance(targets, str):
        targets = rf"(model\.)*language_model\.(.*\.)?({'|'.join(map(re.escape, targets))})"
    _refuse_tied(targets, model)
    return {"task_type": "CAUSAL_LM", **section, "target_modules": targets}


def _refuse_tied(targets: str, model: AudioLLMForConditionalGeneration):
    """Refuse LoRA on one of two layers that share a weight: merged, it would change the other one, too."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if getattr(embeddings, "weight", None) is not getattr(head, "weight", None):
        return
    for name, module in model.named_modules():
        if module in (embeddings, head) and re.fullmatch(targets, name):
            raise LoraSectionError(
                f"lora.target_modules has {name}, whose weight this language model uses twice, for its embeddings and "
                "its head: merged into one of them, LoRA would change the other. Leave it out; "
                "`trainable_token_indices` teaches single tokens."
            )


def refuse_outside(model: PeftModel):
    """Refuse LoRA in encoders and adapters: it would change parts that the schedule calls frozen.

    Raises:
        LoraSectionError: naming the first of them.
    """
    outside = [
        name
        for name, _ in model.named_parameters()
        if part_of(name) == "lora" and "language_model" not in name.split(".")
    ]
    if outside:
        raise LoraSectionError(
            f"lora.target_modules reaches {len(outside)} parameters outside the language model (first: {outside[0]}); "
            "name modules (`[q_proj, v_proj]`), or begin the pattern with `(model\\.)*language_model\\.`."
        )
