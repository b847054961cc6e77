"""A delta: what a training changed, without the public weights it started from, and the whole model made of both."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from ..files import new_folder, write_whole
from ..modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from ..modeling_audiollm.saving import open_to_readers
from ..processing.ctc import CTC_NAME
from ..processing.processing_audiollm import AudioLLMProcessor
from ..redact import redact, special_tokens
from .assemble import assemble
from .bases import (
    CONFIG,
    BaseError,
    base_sources,
    base_tensors,
    digest,
    fetch,
    known_words,
    match,
    model_type,
    sketch,
    with_sources,
    word_rows,
)
from .checkpoints import TRAINABLE_NAME, copy_ctc_head, learnt_parts, read_origin, restore, save_merged
from .config import Source, read_model
from .facts import FACTS_NAME, facts_of, write_facts
from .schedule import part_of, part_parameters


DELTA_NAME, MERGED_NAME = "delta.json", "merged.json"
TRAINED_NAME, SKETCHES_NAME, LORA_FOLDER = "trained.safetensors", "bases.safetensors", "lora"
ROWS = "new rows of "  # before the name of an embedding, of which only the rows of new tokens are there
PROCESSOR = ("processor_config.json", "chat_template.jinja")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
FREE = ("README.md", "LICENSE")  # may be edited
WRAPPED = re.compile(r"^base_model\.model\.|\.base_layer(?=\.)")  # what PEFT puts into a parameter's name
CODE = ("auto_map", "custom_pipelines")  # that the whole model has beside it
SCALES = "scales of "  # before the name of a matrix in int8: what each row is to be multiplied by
RUNNING = ("running_mean", "running_var")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32, "int8": torch.int8}


class DeltaError(ValueError):
    """A delta that cannot be written or merged; says what is wrong and what to do."""


@dataclass(frozen=True)
class Delta:
    """A delta on disk, whole and as it was written.

    Args:
        folder: of it.
        facts: what its `delta.json` says: `model` (the section of a configuration), `bases`, `words`, `tokenizer`,
            `files`, `digest`.
    """

    folder: Path
    facts: Mapping[str, Any]

    def sources(self, given: Mapping[str, str]) -> dict[str, Source]:
        """Where each of its bases is taken from.

        Args:
            given: folders (or names on the Hub) in place of the published ones, by what they are. Of two bases that
                are the same model, one is enough.

        Raises:
            DeltaError: for a base that the delta does not have.
        """
        published = base_sources(self.facts["model"])
        _refuse_unknown(given, published, "this delta is made of")
        same = {published[kind]: Source(place) for kind, place in given.items()}
        return {kind: Source(given[kind]) if kind in given else same.get(at, at) for kind, at in published.items()}


@dataclass(frozen=True)
class WrittenDelta:
    """What a model card says of a delta.

    Args:
        config: of the model.
        parameters: of each part of the whole model.
        trained: parameters that the delta holds.
        facts: of the training.
        sizes: bytes of each file.
    """

    config: Mapping[str, Any]
    parameters: Mapping[str, int]
    trained: int
    facts: Mapping[str, Any]
    sizes: Mapping[str, int]

    def listing(self) -> str:
        """Names and sizes, one a line, with their sum."""
        width = max(map(len, self.sizes))
        lines = [f"{name:<{width}} {size / 1e6:>8.2f} MB" for name, size in self.sizes.items()]
        return "\n".join([*lines, f"{'in all':<{width}} {sum(self.sizes.values()) / 1e6:>8.2f} MB"])


def is_delta(folder: str | Path) -> bool:
    """Whether a folder is a delta."""
    return (Path(folder) / DELTA_NAME).is_file()


def write_delta(
    checkpoint: str | Path,
    folder: Path,
    public: Mapping[str, str],
    stated: Mapping[str, Any],
    dtype: torch.dtype = torch.bfloat16,
) -> WrittenDelta:
    """Write what a checkpoint learnt, with all that is needed to make the whole model of it and the published bases.

    Args:
        checkpoint: a `checkpoint-*` folder of a training.
        folder: to write; it is there, and empty.
        public: names on the Hub (`OWNER/NAME`, or `OWNER/NAME@REVISION`) of the bases that the run had from folders,
            by what they are.
        stated: what people say of the model, kept with the facts of its training: `licence`, `hears`.
        dtype: to round what learnt to; int8 rounds matrices, each row with a scale; the rest stays bfloat16, as
            LoRA, which PEFT reads.

    Raises:
        DeltaError: if a base has no public name.
    """
    origin = read_origin(checkpoint)
    published = _published(base_sources(origin["model"]), public)
    section = with_sources(origin["model"], base_sources(origin["model"]))
    model, base_processor = assemble(section)
    processor = AudioLLMProcessor.from_pretrained(checkpoint)
    text = base_sources(section).get("text")
    words = None if text is None else known_words(text.path, text.revision)
    tensors = base_tensors(model, read_model(section), words)
    kinds = {kind: model_type(source.path, source.revision) for kind, source in base_sources(section).items()}
    bases = {kind: {"model_type": kinds[kind], "digest": digest(tensors[kind])} for kind in published}
    sketches = {f"{kind}:{name}": sketch(tensor) for kind in tensors for name, tensor in tensors[kind].items()}
    rows = {ROWS + name: rows[words:].detach().clone() for name, rows in word_rows(model).items() if words}
    del tensors
    trained = restore(model, checkpoint, origin["lora"])
    learnt = {
        WRAPPED.sub("", name): tensor
        for name, tensor in load_file(Path(checkpoint) / TRAINABLE_NAME).items()
        if part_of(name) != "lora"
    }
    new = {name: rows for name, rows in rows.items() if len(rows) and name.removeprefix(ROWS) not in learnt}
    _save(learnt | new, folder / TRAINED_NAME, dtype)
    _save(sketches, folder / SKETCHES_NAME, torch.float32)
    held = sum(tensor.numel() for tensor in (*learnt.values(), *new.values()))
    if isinstance(trained, PeftModel):
        held += _save_lora(trained, folder / LORA_FOLDER, torch.bfloat16 if dtype == torch.int8 else dtype)
    config = _write_settings(checkpoint, folder)
    model.generation_config.save_pretrained(folder)
    vocabulary = _vocabulary(processor)
    if vocabulary != _vocabulary(base_processor):
        for name in TOKENIZER:
            shutil.copy(Path(checkpoint) / name, folder)
    if "speech_encoder" in learnt_parts(checkpoint):
        copy_ctc_head(checkpoint, folder)
    model_section = with_sources(origin["model"], published)
    facts = {"format": 1, **(facts_of(checkpoint) or {}), **stated}
    facts["config"] = {**facts.get("config", {}), "model": model_section}
    write_facts(facts, folder)
    _seal(folder, {"model": model_section, "bases": bases, "words": words, "tokenizer": vocabulary})
    parameters = {
        part: sum(parameter.numel() for _, parameter in named)
        for part, named in part_parameters(trained).items()
        if part != "lora"
    }
    return WrittenDelta(config, parameters, held, facts, _sizes(folder))


def read_delta(folder: str | Path) -> Delta:
    """A delta, checked to be as it was written.

    Raises:
        DeltaError: if it is none, not whole, or edited.
    """
    folder = Path(folder)
    path = folder / DELTA_NAME
    if not path.is_file():
        raise DeltaError(f"{folder} is no delta: {DELTA_NAME} is missing.")
    again = "get it again, or write it anew with `audiollm delta`"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        sealed = facts.pop("digest")
    except (ValueError, KeyError, AttributeError) as error:
        raise DeltaError(f"{path} is cut off or damaged; {again}.") from error
    if facts.get("format") != 1:
        raise DeltaError(f"{path} has the format {facts.get('format')!r}; this version of the package reads 1.")
    if sealed != _hash_of(facts):
        raise DeltaError(f"{path} was changed by hand or damaged; {again}.")
    for name, expected in facts["files"].items():
        if not (folder / name).is_file():
            raise DeltaError(f"{folder / name} is missing; {again}.")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise DeltaError(f"{folder / name} was changed by hand, or is cut off or damaged; {again}.")
    return Delta(folder, {**facts, "digest": sealed})


def merge_delta(folder: str | Path, out: str | Path, given: Mapping[str, str] | None = None) -> None:
    """Write the whole model of a delta and its bases, for `from_pretrained` and `pipeline`.

    Args:
        folder: of the delta.
        out: to write; new or empty.
        given: folders to take bases from instead of the Hub, by what they are (speech, emotion, text, model).

    Raises:
        DeltaError, BaseError: if delta or bases are damaged, or do not belong together.
    """
    delta = read_delta(folder)
    with new_folder(out) as new:
        places = {kind: fetch(kind, source) for kind, source in delta.sources(given or {}).items()}
        _merge(delta, places, new)


def merged_in_cache(folder: str | Path, given: Mapping[str, str] | None = None, offline: bool = False) -> Path:
    """The whole model of a delta, merged once for the same bases and kept in the user's cache folder.

    Args:
        folder: of the delta.
        given: as for [`merge_delta`].
        offline: whether to take only bases that are on this machine.

    Raises:
        DeltaError, BaseError: as [`merge_delta`] does.
    """
    delta = read_delta(folder)
    places = {kind: fetch(kind, source, offline) for kind, source in delta.sources(given or {}).items()}
    weights = {
        kind: [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(place.iterdir())]
        for kind, place in places.items()
    }
    key = _hash_of({"delta": delta.facts["digest"], "bases": weights})[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    merged = home / "audiollm" / f"{delta.folder.resolve().name}-{key}"
    try:
        if not (merged / MERGED_NAME).is_file():
            with new_folder(merged) as new:
                _merge(delta, places, new)
    except FileExistsError:
        if not (merged / MERGED_NAME).is_file():  # else another process merged the same at the same time
            raise
    return merged


def notes(merged: str | Path) -> list[str]:
    """For each base of a merged model that is not what its delta was trained on, a sentence that says so."""
    bases = json.loads((Path(merged) / MERGED_NAME).read_text(encoding="utf-8"))["bases"]
    return [
        f"{kind}: these weights are not bit for bit those that the delta was trained on; they differ by "
        f"{found['difference']:.2%}, as rounded ones do (4 bits: some 10%), so answers may differ a little."
        for kind, found in bases.items()
        if not found["exact"]
    ]


@torch.no_grad()
def _merge(delta: Delta, places: Mapping[str, Path], out: Path):
    facts = delta.facts
    published = base_sources(facts["model"])
    for kind, place in places.items():
        wanted, found = facts["bases"][kind]["model_type"], model_type(place)
        if found != wanted:
            name = published[kind].path
            raise BaseError(f"{kind}: {place} is a {found} model; the delta belongs to {name}, which is {wanted}.")
    section = with_sources(facts["model"], {kind: Source(str(place)) for kind, place in places.items()})
    model, base_processor = assemble(section)
    processor = _processor(delta, base_processor, out)
    if _vocabulary(processor) != facts["tokenizer"]:
        kind = "text" if "text" in places else "model"
        raise BaseError(
            f"{kind}: {places[kind]} has another tokenizer than the delta was trained with: words have other numbers."
        )
    sketches = load_file(delta.folder / SKETCHES_NAME)
    matches = {}
    for kind, tensors in base_tensors(model, read_model(section), facts["words"]).items():
        theirs = {name.partition(":")[2]: value for name, value in sketches.items() if name.startswith(f"{kind}:")}
        matches[kind] = match(kind, tensors, facts["bases"][kind]["digest"], theirs, str(places[kind]))
    config = AudioLLMConfig.from_pretrained(delta.folder)
    if config.speech_alignment:
        model.add_speech_alignment()
    model.config = config
    model.generation_config = GenerationConfig.from_pretrained(delta.folder)
    _load(model, delta.folder / TRAINED_NAME, facts["words"])
    save_merged(_with_lora(model, delta.folder / LORA_FOLDER), processor, out)
    own_head = (delta.folder / CTC_NAME).is_file()
    copy_ctc_head(delta.folder if own_head else places.get("model", delta.folder), out)
    shutil.copy(delta.folder / FACTS_NAME, out)
    compared = {
        kind: {"id": published[kind].path, "exact": found.exact, "difference": round(found.difference, 6)}
        for kind, found in matches.items()
    }
    write_whole(out / MERGED_NAME, json.dumps({"delta": facts["digest"], "bases": compared}, indent=1) + "\n")


def _processor(delta: Delta, base: AudioLLMProcessor, scratch: Path) -> AudioLLMProcessor:
    """The processor of a delta, with the tokenizer of its base unless it has its own; files are left in `scratch`."""
    base.tokenizer.save_pretrained(scratch)
    for name in (*PROCESSOR, *TOKENIZER):
        if (delta.folder / name).is_file():
            shutil.copy(delta.folder / name, scratch)
    return AudioLLMProcessor.from_pretrained(scratch)


def _load(model: AudioLLMForConditionalGeneration, file: Path, words: int | None):
    state = model.state_dict()
    for name, tensor in _unpacked(load_file(file)).items():
        target = state.get(name.removeprefix(ROWS))
        if target is not None and name.startswith(ROWS):
            target = target[words:]
        if target is None or target.shape != tensor.shape:
            raise DeltaError(
                f"{file} holds {name}, which the model does not have so; was it written by another version?"
            )
        target.copy_(tensor)


def _with_lora(model: AudioLLMForConditionalGeneration, folder: Path) -> Any:
    if not folder.is_dir():
        return model
    config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = False
    wrapped = get_peft_model(model, config)
    set_peft_model_state_dict(wrapped, load_file(folder / SAFETENSORS_WEIGHTS_NAME))
    return wrapped


def _save_lora(model: PeftModel, folder: Path, dtype: torch.dtype) -> int:
    """Write LoRA as PEFT does, so that PEFT reads it; gives the number of its parameters."""
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    folder.mkdir()
    _save(tensors, folder / SAFETENSORS_WEIGHTS_NAME, dtype)
    config = copy.copy(model.peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = None, True
    config.save_pretrained(str(folder))
    return sum(tensor.numel() for tensor in tensors.values())


def _save(tensors: Mapping[str, torch.Tensor], file: Path, dtype: torch.dtype):
    packed = _packed(tensors, dtype)
    lost = [name for name, tensor in packed.items() if not tensor.isfinite().all()]
    if lost:
        raise DeltaError(f"{lost[0]} is not finite as {dtype}; choose another dtype.")
    save_file({name: tensor.contiguous() for name, tensor in packed.items()}, file, metadata={"format": "pt"})
    open_to_readers(file)


def _packed(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors as they are written: rounded, those in int8 with their scales beside them.

    Running statistics are not: of a channel far from 0, a rounded mean is off by more than voices differ.
    """
    packed = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        if tensor.is_floating_point() and dtype == torch.int8 and tensor.dim() > 1:
            rows = tensor.float().flatten(1)
            scales = rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / 127
            packed[SCALES + name] = scales.flatten()
            tensor = (rows / scales).round().to(torch.int8).reshape(tensor.shape)
        elif tensor.is_floating_point() and not name.endswith(RUNNING):
            tensor = tensor.to(torch.bfloat16 if dtype == torch.int8 else dtype)
        packed[name] = tensor
    return packed


def _unpacked(packed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that [`_packed`] rounded."""
    tensors = {name: tensor for name, tensor in packed.items() if not name.startswith(SCALES)}
    for name in tensors.keys() & {name.removeprefix(SCALES) for name in packed if name.startswith(SCALES)}:
        rows = tensors[name].float().flatten(1) * packed[SCALES + name][:, None]
        tensors[name] = rows.reshape(tensors[name].shape)
    return tensors


def _write_settings(checkpoint: str | Path, folder: Path) -> dict[str, Any]:
    """Write configuration, processor and chat template, without folders of the machine; gives the configuration."""
    config = json.loads((Path(checkpoint) / CONFIG).read_text(encoding="utf-8"))
    settings, template = PROCESSOR
    shutil.copy(Path(checkpoint) / template, folder)
    processor = json.loads((Path(checkpoint) / settings).read_text(encoding="utf-8"))
    tokens = special_tokens(checkpoint)
    for name, content in ((CONFIG, config), (settings, processor)):
        own = {key: value for key, value in content.items() if key not in CODE}
        write_whole(folder / name, json.dumps(redact(own, texts=tokens), ensure_ascii=False, indent=1) + "\n")
    return config


def _published(sources: Mapping[str, Source], public: Mapping[str, str]) -> dict[str, Source]:
    """The bases by their names on the Hub."""
    _refuse_unknown(public, sources, "this model was made of")
    named = {}
    for kind, source in sources.items():
        if kind in public:
            named[kind] = _named(public[kind])
        elif Path(source.path).expanduser().exists():
            twin = next((other for other in public if sources[other] == source), None)
            if twin is None:
                raise DeltaError(
                    f"{kind}: the run had its weights from the folder {source.path}; say what they are on the Hub: "
                    f"--base {kind}=OWNER/NAME."
                )
            named[kind] = _named(public[twin])
        else:
            named[kind] = Source(source.path, source.revision)
        try:
            validate_repo_id(named[kind].path)
        except HFValidationError as error:
            raise DeltaError(f"{kind}: {named[kind].path!r} is no name on the Hub (OWNER/NAME).") from error
    return named


def _named(name: str) -> Source:
    """A source from `OWNER/NAME` or `OWNER/NAME@REVISION`."""
    path, _, revision = name.partition("@")
    return Source(path, revision or None)


def _refuse_unknown(given: Mapping[str, str], known: Mapping[str, Any], what: str):
    for kind in given:
        if kind not in known:
            raise DeltaError(f"--base {kind}: {what} {', '.join(known)}.")


def _vocabulary(processor: AudioLLMProcessor) -> str:
    return _hash_of(processor.tokenizer.get_vocab())


def _hash_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def _seal(folder: Path, facts: Mapping[str, Any]):
    """Write `delta.json`, with hashes of all other files and of itself."""
    names = [name for name in _sizes(folder) if name not in FREE]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    whole = {"format": 1, **facts, "files": files}
    write_whole(folder / DELTA_NAME, json.dumps({**whole, "digest": _hash_of(whole)}, indent=1) + "\n")
