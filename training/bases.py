"""The pretrained weights that a model was made of: where they lie, and whether some weights are those."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import AutoConfig

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from .checkpoints import damage_of
from .config import Model, Source, as_source, read_model
from .proof import CHUNK


CONFIG, WEIGHTS = "config.json", "model.safetensors"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # one of them is there
FETCHED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]  # no pickles, no code
HOW = ("attn_implementation", "quantization_config")  # the machine's, not the model's
# Where the weights of each part of an assembled model come from; of an AudioLLM that training began with, all do.
PLACES = {
    "speech": ("model.speech_encoder.", "model.speech_decoder.decoder."),
    "emotion": ("model.emotion_encoder.",),
    "text": ("model.language_model.", "lm_head."),
}
SKETCH = 128
# How far a tensor's sketch may be from that of the same tensor, rounded: quantisers leave vectors (norms, biases) in
# 16 bits, whose rounding is 2^-9 at most, and 4 bits in groups move matrices by a tenth, in whole rows by a fifth.
MOST_OF_A_VECTOR, MOST_OF_A_MATRIX = 0.005, 0.25


class BaseError(ValueError):
    """Pretrained weights that are not at hand, not whole, or not those that are needed; says which and what to do."""


def base_sources(section: Mapping[str, Any]) -> dict[str, Source]:
    """The pretrained weights that a `model` section names, by what they are: speech, emotion, text or model."""
    asked = read_model(section)
    if asked.parts is not None:
        sources = asked.parts.sources()
    else:
        sources = {"model": Source(str(asked.checkpoint), asked.revision)}
    added = asked.add_emotion
    if added is not None and added.encoder not in (None, "speech_encoder"):
        sources["emotion"] = as_source(added.encoder)
    return sources


def with_sources(section: Mapping[str, Any], sources: Mapping[str, Source]) -> dict[str, Any]:
    """A `model` section that takes its weights from elsewhere, as they are there: not quantised.

    Args:
        section: as a configuration has it.
        sources: for each that [`base_sources`] gives, path and revision of another.
    """
    changed = {name: value for name, value in copy.deepcopy(dict(section)).items() if name not in HOW}
    former = base_sources(section)
    for kind, source in sources.items():
        given = {"path": source.path, "revision": source.revision, "dtype": former[kind].dtype}
        place = {name: value for name, value in given.items() if value is not None}
        if kind == "model":
            changed["checkpoint"], changed["revision"] = source.path, source.revision
        elif kind == "emotion" and changed.get("add_emotion"):
            changed["add_emotion"]["encoder"] = place
        else:
            changed["parts"][kind] = place if len(place) > 1 else source.path
    return changed


def fetch(kind: str, source: Source, offline: bool = False) -> Path:
    """The folder with pretrained weights, from the Hub if they are not on this machine yet, checked to be whole.

    Args:
        kind: what they are, for messages.
        source: a folder, or a name on the Hub.
        offline: whether to look on this machine only.

    Raises:
        MissingBaseError: if they cannot be had.
        BaseError: if they are not whole.
    """
    folder = Path(source.path)
    instead, named = f"--base {kind}=FOLDER", folder.is_dir()
    if not named:
        try:
            folder = Path(
                snapshot_download(
                    source.path, revision=source.revision, allow_patterns=FETCHED, local_files_only=offline
                )
            )
        except HFValidationError as error:
            raise BaseError(f"{kind}: {source.path} is no folder, and no name on the Hub (OWNER/NAME).") from error
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise MissingBaseError(
                f"{kind}: {source.path} cannot be had from the Hub ({reason}); name a folder that has it: {instead}."
            ) from error
    damage = damage_of(folder, [CONFIG, "*.json"])
    damage = damage or damage_of(folder, _weight_files(folder))
    if kind in ("text", "model") and not any((folder / name).is_file() for name in TOKENIZERS):
        damage = damage or f"{folder / TOKENIZERS[0]} is missing"
    if damage:
        # Of a snapshot in the Hub's cache, some files alone may have been asked for.
        error = MissingBaseError if offline and not named else BaseError
        raise error(f"{kind}: {damage}; fetch it again, or name another folder: {instead}.")
    return folder


def _weight_files(folder: Path) -> list[str]:
    index = folder / f"{WEIGHTS}.index.json"
    if not index.is_file():
        return [WEIGHTS]
    return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))


def model_type(folder: str | Path, revision: str | None = None) -> str:
    """The architecture that a checkpoint names."""
    return AutoConfig.from_pretrained(folder, revision=revision).model_type


def known_words(folder: str | Path, revision: str | None = None) -> int:
    """Rows of a language model's embeddings, as published."""
    return AutoConfig.from_pretrained(folder, revision=revision).get_text_config(decoder=True).vocab_size


def base_tensors(
    model: AudioLLMForConditionalGeneration, section: Model, words: int | None = None
) -> dict[str, dict[str, torch.Tensor]]:
    """Parameters and saved buffers of a model that was just assembled, by the pretrained weights they come from.

    Args:
        model: as `assemble(section)` gives it, nothing learnt.
        section: that it was made of.
        words: rows of the embeddings that the language model had; those behind are new.
    """
    added = section.add_emotion
    new = ("model.emotion_encoder.", "model.emotion_adapter.", "model.adapter.") if added else ()
    found: dict[str, dict[str, torch.Tensor]] = {}
    seen = set()
    embeddings = {id(parameter) for parameter in word_rows(model).values()}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if section.parts is not None or (added and name.startswith(PLACES["emotion"])):
            kind = next((kind for kind, places in PLACES.items() if name.startswith(places)), None)
            if kind == "emotion" and added and added.encoder in (None, "speech_encoder"):
                kind = None
        else:
            kind = None if name.startswith(new) else "model"
        if kind is not None:
            rows = words if id(tensor) in embeddings else None
            found.setdefault(kind, {})[name] = tensor.detach()[:rows] if rows else tensor.detach()
    return found


def word_rows(model: AudioLLMForConditionalGeneration) -> dict[str, torch.nn.Parameter]:
    """The parameters that have a row for each word, by name: input embeddings, and the head if it is not tied."""
    tables = {id(model.get_input_embeddings().weight), id(model.lm_head.weight)}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in tables}


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, shapes and values rounded to bfloat16: the same for any container and any wider type."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(json.dumps([name, list(tensor.shape)]).encode())
        for chunk in tensor.flatten().split(CHUNK):
            rounded = chunk.to(torch.bfloat16).view(torch.int16) if chunk.is_floating_point() else chunk.long()
            found.update(rounded.contiguous().cpu().numpy().tobytes())
    return found.hexdigest()


def sketch(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as [`SKETCH`] sums of its elements with pseudo-random signs, float32.

    The norm of the difference of two sketches estimates that of the tensors (a count sketch; to some 6 %).
    """
    sums = torch.zeros(SKETCH, dtype=torch.float64)
    start = 0
    for chunk in tensor.detach().flatten().split(CHUNK):
        mixed = torch.arange(start, start + len(chunk))
        start += len(chunk)
        for _ in range(2):  # a hash of the place, in integers, the same everywhere
            mixed = ((mixed >> 16) ^ mixed) * 0x45D9F3B & 0xFFFFFFFF
        mixed = (mixed >> 16) ^ mixed
        sums.index_add_(0, mixed >> 1 & SKETCH - 1, chunk.double().cpu() * ((mixed & 1) * 2 - 1))
    return sums.float()


class MissingBaseError(BaseError):
    """Pretrained weights that are not on this machine, and cannot be had."""


@dataclass(frozen=True)
class Match:
    """How some weights compare with those that a model was trained on.

    Args:
        exact: whether they are the same, bit for bit, once rounded to bfloat16.
        difference: norm of the difference, as a share of the norm.
    """

    exact: bool
    difference: float = 0.0


def match(
    kind: str, tensors: Mapping[str, torch.Tensor], expected: str, sketches: Mapping[str, torch.Tensor], where: str
) -> Match:
    """Compare weights with a digest, and if they are not the same, with sketches.

    Args:
        kind: what they are, for messages.
        tensors: by name.
        expected: what [`digest`] gave of those that are wanted.
        sketches: of each of these by name.
        where: the weights come from, for messages.

    Raises:
        BaseError: if they are not the same weights, rounded.
    """
    if digest(tensors) == expected:
        return Match(True)
    refused = f"{kind}: {where} holds other weights than those that belong here"
    if tensors.keys() != sketches.keys():
        odd = sorted(tensors.keys() ^ sketches.keys())[0]
        raise BaseError(f"{refused} ({odd} is only in one of them).")
    apart = {name: (sketch(tensors[name]) - sketches[name]).norm().item() for name in sketches}
    norms = {name: sketches[name].norm().item() for name in sketches}
    for name, distance in apart.items():
        most = MOST_OF_A_VECTOR if tensors[name].dim() < 2 else MOST_OF_A_MATRIX
        if not distance <= most * norms[name]:
            share = distance / norms[name] if norms[name] else float("inf")
            raise BaseError(
                f"{refused}: {name} differs by {share:.1%}, more than a rounding, even to 4 bits, would make it "
                f"({most:.1%} at most)."
            )
    return Match(False, _norm(apart.values()) / (_norm(norms.values()) or 1.0))


def _norm(values: Iterable[float]) -> float:
    return sum(value * value for value in values) ** 0.5
