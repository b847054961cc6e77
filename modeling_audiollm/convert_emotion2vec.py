"""Convert a published emotion2vec checkpoint (FunASR's model.pt) into a transformers folder with safetensors.

    audiollm convert-emotion2vec model.pt OUT [--size plus_large]

It runs once, offline. The pickle inside model.pt is read with an unpickler that knows tensors and containers only:
training settings and optimizer states turn into inert placeholders, so neither omegaconf nor fairseq is needed, and
nothing in the file is executed. This file does not travel to the Hub.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import _utils
from transformers import Wav2Vec2FeatureExtractor

from .configuration_emotion2vec import EMOTION2VEC_LABELS, EMOTION2VEC_SIZES, Emotion2VecConfig
from .modeling_emotion2vec import Emotion2VecForAudioClassification, Emotion2VecModel
from .saving import weights_open_to_readers


# SHA-256 of the published model.pt, by size. plus_large: huggingface.co/emotion2vec/emotion2vec_plus_large, revision
# 6c303ba, 1,945,790,254 bytes; plus_base: emotion2vec_plus_base, revision b318240. Not known for base and plus_seed.
PUBLISHED_SHA256 = {
    "plus_large": "be501a01f26fcdc7663a062dff86af839afbaef7c4de32f5e42d7e1ad2784da4",
    "plus_base": "60710b5aae1dbe69bdac8920028fb05882d4314fd09031922b4b61ee9e7aadbd",
}

AUDIO = r"modality_encoders\.AUDIO\."
# Upstream's name -> ours. What matches none is not part of the encoder: a decoder, averaged copies, training heads.
RENAMES = (
    (AUDIO + r"local_encoder\.conv_layers\.(\d+)\.0\.(weight)", r"feature_extractor.conv_layers.\1.projection.\2"),
    (AUDIO + r"local_encoder\.conv_layers\.(\d+)\.2\.1\.(\w+)", r"feature_extractor.conv_layers.\1.layer_norm.\2"),
    (AUDIO + r"project_features\.1\.(\w+)", r"feature_layer_norm.\1"),
    (AUDIO + r"project_features\.2\.(\w+)", r"feature_projection.\1"),
    (AUDIO + r"relative_positional_encoder\.(\d+)\.0\.(\w+)", r"position_encoder.convs.\1.\2"),
    (AUDIO + r"(extra_tokens|alibi_scale)", r"encoder.\1"),
    (AUDIO + r"context_encoder\.norm\.(\w+)", r"encoder.layer_norm.\1"),
    (AUDIO + r"context_encoder\.blocks\.(\d+)\.(.+)", r"prenet.\1.\2"),
    (r"blocks\.(\d+)\.(.+)", r"trunk.\1.\2"),
    (r"proj\.(weight|bias)", r"classifier.\1"),
)
BLOCK_RENAMES = {
    "norm1": "layer_norm",
    "norm2": "final_layer_norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out_proj",
    "mlp.fc1": "feed_forward.intermediate_dense",
    "mlp.fc2": "feed_forward.output_dense",
}


class CheckpointError(ValueError):
    """A file that is no emotion2vec checkpoint, or not the one it should be."""


class _Inert(dict):
    """Stands for any object of a pickle that is neither tensor nor container."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def __call__(self, *args, **kwargs):
        return _Inert()

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    def extend(self, values):
        pass

    def add(self, value):
        pass

    __hash__ = object.__hash__


class _TensorUnpickler(pickle.Unpickler):
    """Knows what tensors are made of. Everything else a pickle names becomes `_Inert`, unimported and uncalled."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return getattr(_utils, name)
        if module == "torch" and name.endswith("Storage") and hasattr(torch, name):
            return getattr(torch, name)
        return _Inert


def _load(file, **kwargs):
    return _TensorUnpickler(file, **kwargs).load()


_tensor_pickle = types.SimpleNamespace(Unpickler=_TensorUnpickler, load=_load, __name__="tensor_pickle")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors under "model" of a checkpoint, without running anything that the file holds.

    Raises:
        CheckpointError: if the file is no PyTorch checkpoint or has no model in it.
    """
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint. Files of a few hundred bytes are Git LFS pointers: "
            "fetch the file itself."
        )
    try:
        # Memory-mapped: two thirds of the published file is optimizer state that is never looked at.
        checkpoint = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_tensor_pickle, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(f"{path} can't be read as a PyTorch checkpoint: {error}") from error
    weights = checkpoint.get("model") if isinstance(checkpoint, Mapping) else None
    if not isinstance(weights, Mapping):
        raise CheckpointError(f'{path} has no weights under "model"; is it the model.pt of an emotion2vec model?')
    return {key: value for key, value in weights.items() if isinstance(value, torch.Tensor)}


def _rename(key: str) -> str | None:
    key = key.removeprefix("d2v_model.")
    for pattern, name in RENAMES:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, name, key)
    return None


def _rename_block(key: str, prenet: int) -> str:
    part, index, rest = key.split(".", 2)
    module, _, parameter = rest.rpartition(".")
    layer = int(index) + (prenet if part == "trunk" else 0)
    return f"encoder.layers.{layer}.{BLOCK_RENAMES.get(module, module)}.{parameter}"


def _reshape(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name.endswith("alibi_scale"):
        return tensor.reshape(-1)
    if ".conv_layers." in name and tensor.ndim == 3:
        return tensor.transpose(1, 2).flatten(1)  # [out, in, taps] as the matrix of a channels-last convolution
    return tensor


def convert_state_dict(weights: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Rename FunASR's weights to those of `Emotion2VecModel`, plus `classifier.*` if there is a head.

    Returns:
        the weights in float32, and the keys that were left out: decoder, averaged copies, training heads.
    """
    renamed = {name: weights[key] for key in weights if (name := _rename(key)) is not None}
    dropped = sorted(key for key in weights if _rename(key) is None)
    prenet = 1 + max((int(name.split(".")[1]) for name in renamed if name.startswith("prenet.")), default=-1)
    converted = {}
    for name, tensor in renamed.items():
        if name.startswith(("prenet.", "trunk.")):
            name = _rename_block(name, prenet)
        elif name.startswith("position_encoder."):  # counted from 1 upstream, after a transpose
            name = re.sub(r"\d+", lambda index: str(int(index[0]) - 1), name)
        converted[name] = _reshape(name, tensor.float()).contiguous()
    return converted, dropped


def read_config(weights: Mapping[str, torch.Tensor], labels: list[str] | None = None) -> Emotion2VecConfig:
    """The configuration that converted weights were made for, from their shapes.

    Raises:
        CheckpointError: if a tensor that tells is missing, or labels don't match the head.
    """
    try:
        hidden_size = weights["feature_projection.weight"].shape[0]
        intermediate_size = weights["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0]
        extra_tokens = weights["encoder.extra_tokens"].shape[1]
        heads = weights["encoder.alibi_scale"].numel()
        position_weight = weights["position_encoder.convs.0.weight"]
        conv_dim = [
            weights[f"feature_extractor.conv_layers.{i}.layer_norm.weight"].numel()
            for i in range(len(Emotion2VecConfig.conv_dim))
        ]
    except KeyError as error:
        raise CheckpointError(f"These are no emotion2vec weights: there is no {error.args[0]!r}.") from error
    head = weights.get("classifier.weight")
    labels = list(EMOTION2VEC_LABELS) if labels is None else labels
    if head is not None and len(labels) != head.shape[0]:
        raise CheckpointError(
            f"The head has {head.shape[0]} classes and there are {len(labels)} labels; "
            "put the checkpoint's tokens.txt beside it or name it with --labels."
        )
    names = {}
    if head is not None:
        names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    return Emotion2VecConfig(
        hidden_size=hidden_size,
        num_hidden_layers=len({key.split(".")[2] for key in weights if key.startswith("encoder.layers.")}),
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        conv_dim=conv_dim,
        num_extra_tokens=extra_tokens,
        num_position_layers=len({key.split(".")[2] for key in weights if key.startswith("position_encoder.")}),
        position_kernel=position_weight.shape[2],
        position_groups=hidden_size // position_weight.shape[1],
        **names,
    )


def read_labels(path: Path) -> list[str]:
    """Labels of a tokens.txt, one a line; of "生气/angry" the English half."""
    return [line.strip().rpartition("/")[2] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def build_model(
    weights: Mapping[str, torch.Tensor], config: Emotion2VecConfig
) -> Emotion2VecModel | Emotion2VecForAudioClassification:
    """A model of converted weights: a classifier if they have a head, else the encoder alone.

    Raises:
        CheckpointError: if tensors are missing or have the wrong shape.
    """
    if "classifier.weight" in weights:
        model = Emotion2VecForAudioClassification(config)
        weights = {key if key.startswith("classifier.") else f"emotion2vec.{key}": weights[key] for key in weights}
    else:
        model = Emotion2VecModel(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"The weights are not those of an emotion2vec model: {error}") from error
    return model.eval()


def save_portable(model: Emotion2VecModel | Emotion2VecForAudioClassification, output: Path) -> None:
    """Save a model with its code and feature extractor: it loads anywhere with `trust_remote_code=True`."""
    Emotion2VecConfig.register_for_auto_class()
    Emotion2VecModel.register_for_auto_class("AutoModel")
    Emotion2VecForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
    # A classifier's folder is asked for its encoder too, and saving maps the saved class only.
    model.config.auto_map = {"AutoModel": "modeling_emotion2vec.Emotion2VecModel"}
    with weights_open_to_readers(output):
        model.save_pretrained(output)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(output)


def convert(
    checkpoint: Path,
    output: Path,
    size: str | None = None,
    sha256: str | None = None,
    labels: Path | None = None,
) -> Emotion2VecModel | Emotion2VecForAudioClassification:
    """Convert `checkpoint` and save it to the folder `output`.

    Args:
        checkpoint: FunASR's model.pt.
        output: folder to write: weights, config, feature extractor and code.
        size: the published size this must be, checked by width and, where it is known, by SHA-256.
        sha256: the SHA-256 that the file must have, instead of the published one.
        labels: file with one label a line; the tokens.txt beside the checkpoint, if there is one, when left out.

    Returns:
        the model, as saved.

    Raises:
        CheckpointError: if the file is not what it should be.
    """
    if not checkpoint.is_file():
        raise CheckpointError(f"There is no file {checkpoint}.")
    expected = sha256 or (PUBLISHED_SHA256.get(size) if size else None)
    if expected and (found := sha256_of(checkpoint)) != expected.lower():
        raise CheckpointError(
            f"{checkpoint} has SHA-256 {found}, not {expected.lower()}: a broken download or another file. "
            "Fetch it again, or leave out --size to convert weights of your own."
        )
    tokens = labels or checkpoint.with_name("tokens.txt")
    weights, dropped = convert_state_dict(load_checkpoint(checkpoint))
    config = read_config(weights, read_labels(tokens) if labels or tokens.is_file() else None)
    if size and config.hidden_size != EMOTION2VEC_SIZES[size]["hidden_size"]:
        raise CheckpointError(f"{checkpoint} is {config.hidden_size} wide, which is not {size}.")
    model = build_model(weights, config)
    save_portable(model, output)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{output}: {type(model).__name__}, {parameters / 1e6:.2f} M parameters, {config.hidden_size} wide.")
    if dropped:
        print(f"Left out {len(dropped)} tensors of training, such as {', '.join(dropped[:3])}.")
    return model
