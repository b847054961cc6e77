"""The configuration of a training: every section, its fields, and what they mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from peft import LoraConfig
from transformers import AutoConfig, TrainingArguments
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from trl import SFTConfig

from ..corpora.reader import Request
from ..corpora.readers import READERS
from ..corpora.schema import TARGETS, TASKS
from ..modeling_audiollm import AudioLLMConfig
from .schedule import SCHEDULES, ScheduleError, read_rounds
from .strict import ConfigError, check_fields, nearest, read_section, refuse_unknown


# Of every training: what would do nothing, or lay out other rows than the plan has.
NEVER_YOURS = {
    "resume_from_checkpoint": "a run goes on from the last whole checkpoint in its output_dir",
    "logging_nan_inf_filter": "a loss that is not finite is shown as it is",
    "data_seed": "rows come in the order of training.seed",
    "auto_find_batch_size": "rows are laid out before the first step, and a smaller batch would shift them",
    "ignore_data_skip": "a run that goes on has to go on with the rows that it has not seen",
    "save_only_model": "a checkpoint without its optimizer cannot be gone on from",
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), "the trainer always trains, and nothing else"),
    **dict.fromkeys(
        ("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
        "the model is what the last round ends with; `audiollm merge` makes one of any checkpoint",
    ),
}
# The whole run is one epoch to transformers, so that these would act once, at its end.
STRATEGIES = ("eval_strategy", "save_strategy", "logging_strategy")
# What else the section has would shift rows against the plan, or do nothing.
OF_ACCELERATOR = ("non_blocking", "gradient_accumulation_kwargs")
# What the trainer sets itself, or does in its own way: setting it would do nothing, or break audio prompts.
NOT_YOURS = NEVER_YOURS | {
    "num_train_epochs": "the schedule says how many epochs each round takes",
    "deepspeed": "",  # refused by its own check, which sees `accelerate launch` too
    **dict.fromkeys(
        ("remove_unused_columns", "dataset_kwargs", "max_length", "truncation_mode", "packing", "packing_strategy")
        + ("padding_free", "eval_packing", "dataset_text_field", "dataset_num_proc", "shuffle_dataset")
        + ("pad_to_multiple_of", "completion_only_loss", "assistant_only_loss", "label_names"),
        "audio rows are prepared by our own collator, which cuts nothing and scores answers only",
    ),
    **dict.fromkeys(
        ("model_init_kwargs", "chat_template_path", "eos_token", "pad_token"),
        "the model and its processor are described by the section `model`",
    ),
}
OF_VALIDATION = ("eval_steps", "eval_delay", "eval_on_start", "per_device_eval_batch_size")
Weights = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Source:
    """A pretrained part, where it is not just a name.

    Args:
        path: folder, or name on the Hub.
        revision: branch, tag or commit there.
        dtype: of its weights; `auto` takes that of the checkpoint, and nothing the one of the section `model`.
        attn_implementation: `eager`, `sdpa`, `flash_attention_2`, ...
        quantization_config: fields of transformers' quantization configurations, with `quant_method`.
    """

    path: str
    revision: str | None = None
    dtype: Weights | None = None
    attn_implementation: str | None = None
    quantization_config: dict[str, Any] | None = None


PARTS_ONLY = ("speech", "emotion", "text", "speech_language")  # which a model's configuration has not, as they are


@dataclass(frozen=True)
class Parts:
    """Pretrained parts, between which only the adapters are new.

    Args:
        speech, emotion: checkpoints of audio encoders; without `emotion` the model has one encoder.
        text: checkpoint of a causal language model.
        speech_language: that the speech decoder hears (`en`), where `words_first` is `decoder` and its Whisper knows
            several.
        others: as [`AudioLLMConfig`] has them.
    """

    speech: str | Source
    text: str | Source
    emotion: str | Source | None = None
    fusion: str | None = None
    speech_tokens: int = AudioLLMConfig.speech_tokens
    emotion_tokens: int = AudioLLMConfig.emotion_tokens
    window_seconds: float = AudioLLMConfig.window_seconds
    audio_tokens: str = AudioLLMConfig.audio_tokens
    emotion_layer_mix: bool = False
    speech_length_aware: bool = False
    emotion_length_aware: bool = False
    adapter_hidden_sizes: list[int] | None = None
    adapter_norm: str = AudioLLMConfig.adapter_norm
    emotion_adapter_norm: str | None = None
    emotion_statistics: dict[str, Any] | None = None
    adapter_context: int = AudioLLMConfig.adapter_context
    adapter_dropout: float = AudioLLMConfig.adapter_dropout
    words_first: str | None = None
    label_first: bool = False
    speech_language: str | None = None
    emotion_labels: list[str] | None = None
    sentiment_labels: list[str] | None = None

    def __post_init__(self):
        if self.speech_language is not None and self.words_first != "decoder":
            raise ConfigError("model.parts.speech_language is for `words_first: decoder`; leave it out.")

    def sources(self) -> dict[str, Source]:
        """The parts that there are, by kind."""
        given = {"speech": self.speech, "emotion": self.emotion, "text": self.text}
        return {kind: as_source(source) for kind, source in given.items() if source is not None}

    def settings(self) -> dict[str, Any]:
        """Fields of [`AudioLLMConfig`] that are given."""
        names = [item.name for item in dataclasses.fields(self) if item.name not in PARTS_ONLY]
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class AddEmotion:
    """An emotion encoder for a single-encoder model.

    Args:
        encoder: a checkpoint, or `speech_encoder` for a copy of the model's own.
        config: instead, an encoder of random weights: `model_type` and the fields of its configuration.
        fusion: `sequence` or `feature`.
        emotion_tokens, emotion_length_aware, emotion_layer_mix, emotion_adapter_norm, emotion_statistics, label_first:
            as [`AudioLLMConfig`] has them.
    """

    encoder: str | Source | None = None
    config: dict[str, Any] | None = None
    fusion: str = "sequence"
    emotion_tokens: int | None = None
    emotion_length_aware: bool = False
    emotion_layer_mix: bool = False
    emotion_adapter_norm: str | None = None
    emotion_statistics: dict[str, Any] | None = None
    label_first: bool = False

    def __post_init__(self):
        if (self.encoder is None) == (self.config is None):
            raise ConfigError("model.add_emotion needs exactly one of encoder (a checkpoint) and config.")
        if self.config is not None:
            _check_architecture(self.config, "model.add_emotion.config")

    def apply_to(self, config: Any):
        """Set in an [`AudioLLMConfig`] how the encoder's branch hears, before there is one."""
        own = ("encoder", "config", "fusion", "emotion_tokens")
        for item in dataclasses.fields(self):
            if item.name not in own:
                setattr(config, item.name, getattr(self, item.name))


def _check_architecture(given: Mapping[str, Any], where: str) -> None:
    kind = given.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ConfigError(f"{where}.model_type is {kind!r}; it must be an architecture that transformers knows.")
    known = AutoConfig.for_model(str(kind))
    refuse_unknown(given, {*known.to_dict(), *known.attribute_map}, where)


@dataclass(frozen=True)
class Model:
    """What is trained: exactly one of `checkpoint` and `parts`.

    Args:
        checkpoint: folder or Hub name of an AudioLLM.
        parts: pretrained parts to make one of.
        add_emotion: an emotion encoder for it, if it has none.
        quote_confidence: how sure the trained model has to be of a word that it quotes, 0 to 1.
        dtype: of the weights while they are trained (float32).
        revision: of `checkpoint`.
        attn_implementation, quantization_config: of every part that does not say otherwise.
    """

    checkpoint: str | None = None
    parts: Parts | None = None
    add_emotion: AddEmotion | None = None
    quote_confidence: float | None = None
    dtype: Weights = "float32"
    revision: str | None = None
    attn_implementation: str | None = None
    quantization_config: dict[str, Any] | None = None

    def __post_init__(self):
        if (self.checkpoint is None) == (self.parts is None):
            raise ConfigError("model needs exactly one of checkpoint (an AudioLLM) and parts (to make one of).")
        if self.revision is not None and self.checkpoint is None:
            raise ConfigError("model.revision belongs to a checkpoint; write {path: ..., revision: ...} for a part.")

    def loading(self, source: Source) -> dict[str, Any]:
        """What `from_pretrained` is told of a source, beside its path."""
        told = {
            "dtype": source.dtype or self.dtype,
            "revision": source.revision,
            "attn_implementation": source.attn_implementation or self.attn_implementation,
            "quantization_config": source.quantization_config or self.quantization_config,
        }
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True)
class Corpus:
    """A corpus that a reader reads, in `data.train` and `data.validation`.

    Args:
        reader: its name.
        path: folder, file, or name on the Hub.
        tasks: those wanted; the reader's usual ones when left out.
        seed, style, label_list: of the questions.
        options: of the reader.
    """

    reader: str
    path: str
    tasks: list[str] = field(default_factory=list)
    seed: int = Request.seed
    style: str = Request.style
    label_list: str = Request.label_list
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        refuse_unknown([self.reader], READERS, "data: reader")
        refuse_unknown(self.options, ("corpus", *READERS[self.reader].options), f"data: options of {self.reader}")


@dataclass(frozen=True)
class Data:
    """What is trained on.

    Args:
        train: folders with `train.jsonl`, files, or corpora with their reader.
        validation: the same, for the loss on rows that are not trained on: their split `validation`.
        tasks: those kept; all when left out.
        targets: kinds of answers kept (`label`, `interpretive`, `evidence`); all when left out.
        context: earlier turns told with a row, at most; of a list each row draws one by its id, so that the model
            knows recordings with and without; all that a row has when left out.
        balance: train on as many rows of each emotion, and of each sentiment, as of any other: of a rare one they
            come again, of a common one some stay away, and a task has as many rows as before.
    """

    train: list[str | Corpus]
    validation: list[str | Corpus] | None = None
    tasks: list[str] | None = None
    targets: list[str] | None = None
    context: int | list[int] | None = None
    balance: bool = False

    def __post_init__(self):
        refuse_unknown(self.tasks or (), TASKS, "data.tasks")
        refuse_unknown(self.targets or (), TARGETS, "data.targets")
        if min(self.turns, default=0) < 0:
            raise ConfigError(f"data.context is {self.context}; turns are 0 or more.")
        if self.context == []:
            raise ConfigError("data.context is an empty list; give numbers of turns, or leave it out.")

    @property
    def turns(self) -> list[int]:
        """Numbers of turns that rows draw from; empty if they keep all they have."""
        return [self.context] if isinstance(self.context, int) else self.context or []


@dataclass(frozen=True)
class Cache:
    """Where outputs of frozen branches are kept.

    Args:
        folder: of the cache.
        max_gb: gigabytes (10^9 bytes) that it may take.
    """

    folder: str
    max_gb: float


class Run:
    """What every training has, whatever it learns by."""

    data: Data
    training: dict[str, Any]
    lora: dict[str, Any] | None
    max_steps: int

    def check_run(self, arguments: type[TrainingArguments], not_yours: Mapping[str, str]) -> None:
        """Check the sections that all trainings have.

        Args:
            arguments: whose fields `training` has.
            not_yours: those that cannot be set, with the reason.

        Raises:
            ConfigError: naming the field that is wrong.
        """
        object.__setattr__(self, "training", check_fields(arguments, self.training, "training"))
        for name in self.training:
            if not_yours.get(name):
                raise ConfigError(f"training.{name} cannot be set: {not_yours[name]}.")
        if self.max_steps and self.training.get("max_steps", -1) not in (-1, self.max_steps):
            raise ConfigError("max_steps and training.max_steps are the same field; give one.")
        if self.lora is not None:
            check_fields(LoraConfig, self.lora, "lora")
        strategy = self.training.get("train_sampling_strategy", "random")
        if strategy not in ("random", "group_by_length"):
            raise ConfigError(
                f"training.train_sampling_strategy is {strategy!r}; it is one of random and group_by_length."
            )
        self._check_strategies()
        wanted = self.training.get("eval_strategy", "no")
        if wanted != "no" and self.data.validation is None:
            raise ConfigError(f"training.eval_strategy is {wanted!r}, but data.validation names no rows to evaluate.")
        if self.data.validation is None and (given := [name for name in OF_VALIDATION if name in self.training]):
            raise ConfigError(f"training.{given[0]} is of data.validation, which names no rows to evaluate.")
        if self.data.validation is not None and self.training.get("eval_strategy") == "no":
            raise ConfigError("training.eval_strategy is 'no', so data.validation would not be used; leave one out.")

    def _check_strategies(self) -> None:
        for name in STRATEGIES:
            strategy = str(getattr(self.training.get(name), "value", self.training.get(name)))
            if strategy in ("epoch", "best"):
                raise ConfigError(
                    f"training.{name} is {strategy!r}; it is one of no and steps: a run has rounds, each with epochs "
                    "of its own, and its model is what the last one ends with."
                )
        accelerator = self.training.get("accelerator_config") or {}
        if not isinstance(accelerator, Mapping):
            raise ConfigError("training.accelerator_config is a file; give its fields here.")
        for name in accelerator:
            if name not in OF_ACCELERATOR:
                raise ConfigError(
                    f"training.accelerator_config.{name} cannot be set: rows are laid out by the trainer, and would "
                    f"be others; there are {' and '.join(OF_ACCELERATOR)}."
                )

    @property
    def steps(self) -> int:
        """Stop after so many steps; 0 runs to the end."""
        return self.max_steps or max(self.training.get("max_steps", -1), 0)

    def training_arguments(self) -> dict[str, Any]:
        """Fields of the trainer's arguments: validation every `save_steps` if nothing else is said."""
        if self.data.validation is None or "eval_strategy" in self.training:
            return self.training
        steps = self.training.get("save_steps", TrainingArguments.save_steps)
        return {"eval_strategy": "steps", "eval_steps": steps, **self.training}


@dataclass(frozen=True)
class Configuration(Run):
    """A training.

    Args:
        model: what is trained.
        data: on what.
        schedule: `joint`, `alt-1`, `alt-4`, `inject`, or a list of rounds, see `training/schedule.py`.
        training: fields of TRL's `SFTConfig`.
        lora: fields of PEFT's `LoraConfig`, for the language model; none without it.
        feature_cache: for the outputs of frozen branches.
        samples_per_round: rows of each task that the model answers at the end of a round.
        max_steps: as `training.max_steps`, which is its name elsewhere.
        stretch_to: optimizer steps that the whole schedule takes, each round its share; its own number when left out.
    """

    data: Data
    schedule: str | list[dict[str, Any]]
    training: dict[str, Any]
    model: Model | None = None
    lora: dict[str, Any] | None = None
    feature_cache: Cache | None = None
    samples_per_round: int = 1
    max_steps: int = 0
    stretch_to: int = 0

    def __post_init__(self):
        if isinstance(self.schedule, str) and self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule is {self.schedule!r}; {nearest(self.schedule, SCHEDULES)}")
        self.check_run(SFTConfig, NOT_YOURS)


def as_source(source: str | Source) -> Source:
    """A source that may be just a name."""
    return Source(source) if isinstance(source, str) else source


def check_config(config: Mapping[str, Any]) -> Configuration:
    """The typed form of a configuration.

    Raises:
        ConfigError: naming the field that is unknown, of another type, or in contradiction to others.
    """
    return read_section(Configuration, config, "")


def read_model(section: Mapping[str, Any]) -> Model:
    """The typed form of a section `model`."""
    return read_section(Model, section, "model")


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A configuration from YAML, with `section.field=value` overrides.

    Args:
        path: of the file; `configs/NAME.yaml` is the package's own where no such file is here.
        overrides: as for [`read_overrides`].

    Raises:
        ConfigError: for a malformed override, or a configuration that [`check_config`] refuses.
    """
    return load_config(path, overrides, _check_with_rounds)


def load_config(path: str | Path, overrides: Sequence[str], check: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """As [`read_config`], for a configuration of another kind, which `check` refuses or not."""
    config = yaml_value(_find(Path(path)).read_text(encoding="utf-8"), str(path))
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: a configuration is a mapping of sections; see configs/.")
    for name, value in read_overrides(overrides).items():
        set_field(config, name, value)
    try:
        check(config)
    except (ConfigError, ScheduleError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return config


def _check_with_rounds(config: dict[str, Any]) -> None:
    checked = check_config(config)
    if not isinstance(checked.schedule, str):
        read_rounds(checked.schedule)


def _find(path: Path) -> Path:
    own = Path(__file__).parents[1] / path
    return own if path.parts[:1] == ("configs",) and not path.exists() and own.is_file() else path


def set_field(config: dict[str, Any], name: str, value: Any) -> None:
    """Change one field of a configuration.

    Args:
        config: the configuration.
        name: `section.field`; a number names an item of a list, as in `schedule.0.epochs`.
        value: the field's new value.

    Raises:
        ConfigError: if it names a field of what has none, or an item that is not there.
    """
    *sections, last = name.split(".")
    target: Any = config
    for place, section in enumerate(sections):
        if isinstance(target, dict) and target.get(section) is None:
            target[section] = {}
        target = target[_key(target, section, name, sections[:place])]
    target[_key(target, last, name, sections)] = value


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Values, read as YAML, by the dotted names of the fields that `section.field=value` sets, in their order.

    Raises:
        ConfigError: if one does not say where and what, or undoes one before it.
    """
    read: dict[str, Any] = {}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {override!r}: expected section.field=value.")
        if undone := undone_by(name, read):
            raise ConfigError(f"--set {override!r}: {undone} was set by another --set before it; leave one out.")
        read[name] = yaml_value(value, f"--set {override!r}")
    return read


def undone_by(name: str, before: Iterable[str]) -> str | None:
    """The first of fields, set before, that setting another one changes again: the same, or a part of it."""
    return next((one for one in before if f"{one}.".startswith(f"{name}.")), None)


def _key(target: Any, key: str, name: str, sections: list[str]) -> Any:
    """A part of a field's dotted name, as the key of what the parts before it name."""
    if not isinstance(target, dict | list):
        raise ConfigError(f"--set {name}: {'.'.join(sections)} is {target!r}, which has no fields.")
    if isinstance(target, dict):
        return key
    if not (key.isdecimal() and int(key) < len(target)):
        raise ConfigError(f"--set {name}: {key!r} is no item of a list of {len(target)} (from 0).")
    return int(key)


def yaml_value(text: str, where: str) -> Any:
    """What YAML reads.

    Raises:
        ConfigError: with line and column of what is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: no YAML: {' '.join(str(error).split())}") from error
