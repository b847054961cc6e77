"""The card of a model, filled from what its files say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import safe_open

import audiollm

from ..demo.about import describe
from ..eval.metrics import METRICS, TASK_NAMES
from ..eval.rows import data_name
from ..eval.tables import Table
from ..reporting.markdown import plain, plain_all


TEMPLATE = Path(audiollm.__file__).parent / "model_card.md"
CODE_LICENCE = "apache-2.0"
HUB_TASKS = {"er": "audio-classification", "sr": "audio-classification", "asr": "automatic-speech-recognition"}
PARTS = {
    "speech_config": "speech encoder",
    "speech_decoder": "speech decoder",
    "emotion_config": "emotion encoder",
    "text_config": "language model",
}


@dataclass(frozen=True)
class CardFacts:
    """All that a card is filled from.

    Args:
        name: of the model, as its heading says.
        model_id: what `pipeline(model=...)` takes.
        config: `config.json`.
        parameters: number of each part, see [`count_parameters`].
        training: `training.json`, or none.
        results: contents of `results.json` files of this model.
        tables: of these results.
        clips: sample recordings, `{"path": in the repository, "title": ..., "licence": ...}`.
        clip_url: of a file of the repository, to which its path is added; none where it is not known.
        carbon: grams of CO2 equivalents that the training caused, if they were measured.
        home: folder of the run; what names a folder here or above it is no model of the Hub.
        trained: parameters that are in the repository, where it has only what was trained (a delta).
    """

    name: str
    model_id: str
    config: Mapping[str, Any]
    parameters: Mapping[str, int]
    training: Mapping[str, Any] | None = None
    results: Sequence[Mapping[str, Any]] = ()
    tables: Sequence[Table] = ()
    clips: Sequence[Mapping[str, str]] = ()
    clip_url: str | None = None
    carbon: float | None = None
    home: Path = Path()
    trained: int | None = None

    @property
    def licence(self) -> str:
        """Of the weights: as stated with the facts of the training."""
        return (self.training or {}).get("licence", CODE_LICENCE)


def model_card(facts: CardFacts, template: str | Path = TEMPLATE) -> ModelCard:
    """The card: the template, filled, under the Hub's metadata.

    Args:
        facts: of the model.
        template: Jinja template of the text.
    """
    shown = {
        "name": facts.name,
        "parts": model_parts(facts),
        "settings": _settings(facts.config),
        "labels": facts.config.get("emotion_labels", ()),
        "training": _training(facts.training) if facts.training and "plan" in facts.training else None,
        "evaluations": [_conditions(result) for result in facts.results],
        "clips": [{**clip, "path": quote(clip["path"])} for clip in facts.clips],
    }
    return ModelCard.from_template(
        card_metadata(facts),
        template_path=str(template),
        model_id=facts.model_id,
        parameters=_count(sum(facts.parameters.values())),
        trained=None if facts.trained is None else _count(facts.trained),
        about=describe(facts.name, sum(facts.parameters.values()), facts.training),
        licence=plain(facts.licence),
        carbon=facts.carbon,
        tables=[table.markdown() for table in facts.tables],
        code_licence=CODE_LICENCE,
        # All text here may come from data.
        **plain_all(shown),
    )


def card_metadata(facts: CardFacts) -> ModelCardData:
    """What the Hub reads: task, library, licence, languages, base models, data sets and evaluation results."""
    training = facts.training or {}
    languages = training.get("config", {}).get("language", "en")
    extra = {}
    if facts.clips and facts.clip_url:
        extra["widget"] = [
            {"example_title": clip["title"], "src": f"{facts.clip_url}/{quote(clip['path'])}"} for clip in facts.clips
        ]
    if facts.carbon is not None:
        extra["co2_eq_emissions"] = {"emissions": facts.carbon, "source": "codecarbon", "training_type": "fine-tuning"}
    evaluated = eval_results(facts.results)
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-text-to-text",
        license=facts.licence,
        language=languages,
        tags=["audio", "speech", "speech-emotion-recognition", "reasoning", "audiollm"],
        base_model=_base_models(training, facts.home) or None,
        model_name=facts.name if evaluated else None,
        eval_results=evaluated or None,
        **extra,
    )


def eval_results(results: Sequence[Mapping[str, Any]]) -> list[EvalResult]:
    """Figures in the Hub's `model-index` form, with the judge and label set without which they mean nothing."""
    entries = []
    for result in results:
        settings = result["settings"]
        for metric in METRICS:
            value = metric.value(result["figures"], "evidence")
            if value is None or metric.hub is None:
                continue
            task, (kind, name) = metric.tasks[0], metric.hub
            known = {
                "judge": settings["judge"],
                "normalizer": settings["normalizer"],
                "labels": result["label_sets"].get(task, {}).get("labels"),
            }
            conditions = {key: known[key] for key in metric.conditions if known[key] is not None}
            entries.append(
                EvalResult(
                    task_type=HUB_TASKS.get(task, "question-answering"),
                    task_name=TASK_NAMES[task] if len(metric.tasks) == 1 else metric.path[0],
                    dataset_type=data_name(settings["data"]),
                    dataset_name=data_name(settings["data"]),
                    dataset_split=settings["split"],
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(value, 2),
                    metric_args=conditions or None,
                )
            )
    return entries


def count_parameters(files: Sequence[str | Path]) -> dict[str, int]:
    """Parameters of each part (`speech_encoder`, `language_model`, ...), read from headers of safetensors files."""
    counts: Counter[str] = Counter()
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():
                part = next((piece for piece in name.split(".") if piece != "model"), name)
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                counts[part] += size
    return dict(counts)


def model_parts(facts: CardFacts) -> list[dict[str, str]]:
    """Architecture, origin and size of each part of the model."""
    sources = _sources((facts.training or {}).get("config", {}).get("model", {}))
    unknown = "see training.json" if facts.training else "not recorded"
    rows = []
    for field, name in PARTS.items():
        config = facts.config.get(field)
        if config is None:
            continue
        part = name.replace(" ", "_")
        kind = config.get("model_type") or facts.config["speech_config"]["model_type"]  # a decoder is its encoder's
        source = sources.get({"language_model": "text"}.get(part, part.split("_")[0]))
        rows.append(
            {
                "name": name,
                "kind": kind,
                "source": public_name(source) if source else unknown,
                "parameters": _count(facts.parameters.get(part, 0)),
            }
        )
    adapters = sum(size for part, size in facts.parameters.items() if "adapter" in part)
    kind = "MLP" if facts.config.get("emotion_statistics") is None else "MLP; linear, of statistics (emotion)"
    rows.append({"name": "adapters", "kind": kind, "source": "trained here", "parameters": _count(adapters)})
    return rows


def _path(source: str | Mapping[str, Any]) -> str:
    """Where a part comes from; it may say how it is loaded, too."""
    return source if isinstance(source, str) else source["path"]


def _sources(section: Mapping[str, Any]) -> dict[str, str]:
    """Where the weights of each part began, as a `model` section of a configuration says it."""
    if "scratch" in section:  # as runs of before said it
        return dict.fromkeys(("speech", "emotion", "text"), "random weights")
    given = section.get("parts") or {}
    sources: dict[str, str] = {part: _path(given[part]) for part in ("speech", "emotion", "text") if given.get(part)}
    if section.get("checkpoint"):
        sources = dict.fromkeys(("speech", "emotion", "text"), str(section["checkpoint"]))
    if section.get("add_emotion"):
        encoder = _path(section["add_emotion"].get("encoder") or "random weights")
        sources["emotion"] = "a copy of the speech encoder" if encoder == "speech_encoder" else encoder
    return sources


def public_name(value: str) -> str:
    """A path of the machine it was trained on as its last component; names on the Hub as they are."""
    return Path(value).name if value.startswith(("/", "~", "./", "../")) or value.count("/") > 1 else value


def at(figures: Any, path: Sequence[str]) -> Any:
    """The figure at a path, or None if there is none."""
    for key in path:
        figures = figures.get(key) if isinstance(figures, Mapping) else None
    return figures


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fusion": config.get("fusion"),
        "window": config.get("window_seconds"),
        "speech_tokens": config.get("speech_tokens"),
        "emotion_tokens": config.get("emotion_tokens") if config.get("fusion") == "sequence" else None,
    }


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a run in words, for the template."""
    plan, arguments = training["plan"], training["config"].get("training", {})
    starts = [0, *plan["stops"]]
    rounds = [
        {
            "steps": f"{start + 1} to {min(stop, training['steps'])}",
            "tasks": ", ".join(round_["tasks"]),
            "train": ", ".join(part.replace("_", " ") for part in round_["train"]),
        }
        for round_, start, stop in zip(plan["rounds"], starts, plan["stops"])
        if start < training["steps"]
    ]
    machine = training["hardware"]
    devices = ", ".join(f"{count} x {name}" if count > 1 else name for name, count in machine["devices"].items())
    return {
        "corpora": [
            {
                "name": corpus["title"] or corpus["name"],
                "licence": corpus["licence"] or "not stated",
                "rows": ", ".join(f"{count:,} {task}" for task, count in corpus["rows"].items()),
                "clips": f"{corpus['clips']:,}",
                "hours": "" if corpus["hours"] is None else f"{corpus['hours']:.2f}",
                "speakers": "" if corpus["speakers"] is None else corpus["speakers"],
            }
            for corpus in training["corpora"]
        ],
        "rounds": rounds,
        "steps": f"{training['steps']:,}",
        "rows_per_step": plan.get("rows_per_step", plan.get("window")),  # the name in runs of old
        "learning_rate": arguments.get("learning_rate"),
        "lora": training["config"].get("lora"),
        "devices": devices,
        "cpu_cores": machine["cpu_cores"],
        "processes": machine["processes"],
        "minutes": f"{training['seconds'] / 60:.1f}",
        "versions": ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    }


def _conditions(result: Mapping[str, Any]) -> dict[str, Any]:
    settings = result["settings"]
    return {
        "data": data_name(settings["data"]),
        "split": settings["split"],
        "rows": f"{result['counts']['rows']:,}",
        "unscored": result["counts"]["unscored"],
        "errors": result["counts"]["errors"],
        "judge": settings["judge"],
    }


def _base_models(training: Mapping[str, Any], home: Path) -> list[str]:
    """Parts that are on the Hub: named `OWNER/NAME`, and no folder of ours."""
    sources = _sources(training.get("config", {}).get("model", {}))
    named = [name for part in ("speech", "emotion", "text") if (name := sources.get(part))]
    places = [Path(), home, *home.resolve().parents]
    return [
        name
        for name in dict.fromkeys(named)
        if "/" in name and public_name(name) == name and not any((place / name).exists() for place in places)
    ]


def _count(parameters: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.1f} {unit}"
    return str(parameters)
