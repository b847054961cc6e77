"""Checkpoints: what learns (small, to resume), and the merged model (to use and to share)."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .. import files
from ..modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from ..modeling_audiollm.saving import open_to_readers
from ..processing.ctc import CTC_NAME
from ..processing.processing_audiollm import AudioLLMProcessor
from .assemble import assemble
from .facts import facts_of, write_facts
from .schedule import part_of


# What a training writes into a model's configuration, which the section `model` of its own does not say.
NOTED = ("emotion_labels", "sentiment_labels", "emotion_label_ids", "context_turns")
TRAINABLE_NAME = "trainable.safetensors"
ORIGIN_NAME = "origin.json"
# Checkpoints are written and deleted in this folder of the run, where a killed process may leave pieces.
STAGING_NAME = "unfinished"
logger = logging.getLogger(__name__)


def whole_checkpoints(run: str | Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first.

    A checkpoint appears by one rename, after all its files were written; the trainer's state is the last of them. A
    folder without it is a copy that was cut short, or not ours, and is left out.
    """
    found = []
    for folder in Path(run).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        step = folder.name.rpartition("-")[2]
        if not step.isdecimal() or not folder.is_dir():
            continue
        if all((folder / name).is_file() for name in (TRAINER_STATE_NAME, TRAINABLE_NAME)):
            found.append((int(step), folder))
        else:
            logger.warning("%s is not a complete checkpoint; it is ignored.", folder)
    return [folder for _, folder in sorted(found)]


class DamagedCheckpointError(ValueError):
    """A run whose checkpoints are all damaged; names what is missing or cut in each."""


def newest_whole_checkpoint(run: str | Path, patterns: Sequence[str]) -> Path | None:
    """The newest checkpoint with all its files, readable to their ends; none if the run has no checkpoint.

    Args:
        run: folder of the run.
        patterns: of the files that a checkpoint must have.

    Raises:
        DamagedCheckpointError: if there are checkpoints, but none that is whole.
    """
    numbered = {path: path.name.rpartition("-")[2] for path in Path(run).glob(f"{PREFIX_CHECKPOINT_DIR}-*")}
    damages = []
    for path in sorted((path for path in numbered if numbered[path].isdecimal()), key=lambda p: -int(numbered[p])):
        damage = damage_of(path, patterns)
        if damage is None:
            return path
        logger.warning("%s; the checkpoint before it is tried.", damage)
        damages.append(damage)
    if damages:
        raise DamagedCheckpointError(
            f"{run} has no whole checkpoint: {'; '.join(damages)}. Put the files back, or choose another "
            "training.output_dir (or delete the folder) to begin anew."
        )
    return None


def damage_of(folder: Path, patterns: Sequence[str]) -> str | None:
    """What is wrong with files that a folder must have, with the name of the first that is; None if nothing is."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if not found:
            return f"{folder / pattern} is missing"
        for file in found:
            try:
                _read_through(file)
            except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
                return f"{file} is cut off or damaged ({error})"
    return None


def _read_through(file: Path):
    if file.suffix == ".safetensors":
        with safe_open(file, "pt"):  # checks that all tensors of its header fit into it
            return
    if file.suffix == ".json":
        json.loads(file.read_text(encoding="utf-8"))
    elif file.suffix in (".pt", ".pth", ".bin") and file.is_file():  # archives of torch.save, with checksums
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"checksum of {damaged}")


@contextmanager
def naming_a_full_disk(folder: str | Path) -> Iterator[None]:
    """Say of whatever error a full disk causes in a library that the disk is full.

    Raises:
        OSError: with what to do.
    """
    advice = "training.save_total_limit says how many checkpoints are kept"
    with files.naming_a_full_disk(folder, f"make room and start again ({advice})"):
        yield


def publish_checkpoint(staged: Path, run: Path):
    """Move a checkpoint that was written in the staging folder to its place, in one step.

    Its bytes are on the disk before its name is, so that even a loss of power leaves the checkpoint before it, or it.
    """
    for path in [*staged.rglob("*"), staged]:
        _flush(path)
    target = run / staged.name
    if target.exists():
        discard_checkpoint(target, staged.parent)
    staged.rename(target)
    _flush(run)


def discard_checkpoint(folder: Path, staging: Path):
    """Delete a checkpoint so that a kill in the midst of it leaves no half of it under its name."""
    staging.mkdir(exist_ok=True)
    doomed = staging / f"deleted-{folder.name}"
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _flush(path: Path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def gather_tensors(model: nn.Module, names: Set[str]) -> dict[str, torch.Tensor]:
    """The parameters `names`, and all saved buffers of their parts, whole and on the CPU.

    Under FSDP this gathers one tensor after the other, so all processes must call it.
    """
    state = model.state_dict()
    parts = {part_of(name) for name in names}
    buffers = {name for name, _ in model.named_buffers() if part_of(name) in parts and name in state}
    tensors = {}
    for name in sorted(names | buffers):
        tensor = state[name]
        tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        tensors[name] = tensor.detach().cpu().contiguous()
    return tensors


def save_trainable(tensors: dict[str, torch.Tensor], folder: str | Path):
    """Write what [`gather_tensors`] gave to `folder/trainable.safetensors`, whole or not at all."""
    path = Path(folder) / TRAINABLE_NAME
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    open_to_readers(partial)
    partial.replace(path)


@torch.no_grad()
def load_trainable(model: nn.Module, folder: str | Path):
    """Load what [`save_trainable`] wrote into a model built the same way.

    Raises:
        FileNotFoundError: if the folder is not such a checkpoint.
        ValueError: if the checkpoint has parameters that the model does not have, or has in another shape.
    """
    path = Path(folder) / TRAINABLE_NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; is {folder} a training checkpoint of AudioLLM?")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is cut off or damaged ({error}).") from error
    state = model.state_dict()
    for name, tensor in tensors.items():
        if name not in state:
            raise ValueError(f"{path} holds {name}, which this model does not have; was it built another way?")
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: {name} has shape {list(tensor.shape)}, but the model's has {list(state[name].shape)}."
            )
        target = state[name]
        if isinstance(target, DTensor):
            tensor = distribute_tensor(
                tensor.to(target.device, target.dtype), target.device_mesh, target.placements, src_data_rank=None
            )
        target.copy_(tensor)


def save_origin(origin: dict[str, Any], config: AudioLLMConfig, processor: AudioLLMProcessor, folder: str | Path):
    """Write beside the parameters that learnt what they belong to, so that the folder can be read without its run."""
    config.save_pretrained(folder)
    processor.save_pretrained(str(folder))
    (Path(folder) / ORIGIN_NAME).write_text(json.dumps(origin, indent=1), encoding="utf-8")


def load_trained(folder: str | Path) -> tuple[nn.Module, AudioLLMProcessor]:
    """The model of a training checkpoint, LoRA not merged, and its processor.

    Args:
        folder: a `checkpoint-*` of a run of `train_sft.py`. What did not learn is read from where the run had it.

    Raises:
        FileNotFoundError: if the folder does not say what it belongs to.
    """
    origin = read_origin(folder)
    processor = AudioLLMProcessor.from_pretrained(folder)
    model, _ = assemble(origin["model"])
    return restore(model, folder, origin["lora"]).eval(), processor


def read_origin(folder: str | Path) -> dict[str, Any]:
    """What [`save_origin`] wrote: the sections `model` and `lora` of the run.

    Raises:
        FileNotFoundError: if the folder does not say what it belongs to.
    """
    path = Path(folder) / ORIGIN_NAME
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; is {folder} a checkpoint of train_sft.py?")
    return json.loads(path.read_text(encoding="utf-8"))


def restore(
    model: AudioLLMForConditionalGeneration, folder: str | Path, lora: dict[str, Any] | None
) -> AudioLLMForConditionalGeneration | PeftModel:
    """Give a model that was assembled anew what a checkpoint of it learnt.

    Args:
        model: changed in place.
        folder: the checkpoint.
        lora: fields of `LoraConfig`, or none.
    """
    saved = AudioLLMConfig.from_pretrained(folder)
    if saved.speech_alignment:
        model.add_speech_alignment()
    for noted in NOTED:
        setattr(model.config, noted, getattr(saved, noted))
    wrapped: Any = get_peft_model(model, LoraConfig(**lora)) if lora else model
    load_trainable(wrapped, folder)
    return wrapped


def save_merged(model: nn.Module, processor: AudioLLMProcessor, folder: str | Path):
    """Write a folder that `from_pretrained` and `pipeline` load: LoRA merged, with processor and code."""
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    assert isinstance(model, AudioLLMForConditionalGeneration)
    model.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))


def copy_ctc_head(source: str | Path, folder: str | Path):
    """Put a model's CTC head, if it has one, beside a model with the same speech encoder: it finds words in time."""
    head = Path(source) / CTC_NAME
    if head.is_file():
        shutil.copy(head, folder)


def learnt_parts(checkpoint: str | Path) -> set[str]:
    """The parts that a training checkpoint holds."""
    with safe_open(Path(checkpoint) / TRAINABLE_NAME, "pt") as tensors:
        return {part_of(name) for name in tensors.keys()}


def merge_checkpoint(checkpoint: str | Path, folder: str | Path) -> None:
    """Write a training checkpoint (what learnt) as a whole, merged model.

    Args:
        checkpoint: a `checkpoint-*` folder of a training.
        folder: to write, for `from_pretrained` and `pipeline`; new or empty.
    """
    model, processor = load_trained(checkpoint)
    first = str(model.name_or_path)
    with files.new_folder(folder) as new:
        save_merged(model, processor, new)
        copy_ctc_head(checkpoint if "speech_encoder" in learnt_parts(checkpoint) else first, new)
        if facts := facts_of(checkpoint):
            write_facts(facts, new)
