"""What a training run was, written beside its model, so that nobody has to type it into a card."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import DatasetCard

from ..corpora.schema import read_rows
from ..files import write_whole
from ..redact import redact


FACTS_NAME = "training.json"
PACKAGES = ("audiollm", "torch", "transformers", "trl", "peft")


def training_facts(
    config: Mapping[str, Any],
    rows: Iterable[Any],
    plan: Mapping[str, Any],
    steps: int,
    seconds: float,
    readers: Mapping[str, Any],
) -> dict[str, Any]:
    """Facts of a run, as JSON can hold them.

    Args:
        config: the configuration as it was used.
        rows: of the schema, that were trained on.
        plan: the schedule laid out over steps, `Plan` as a mapping.
        steps: optimizer steps taken.
        seconds: that the run took, over all processes that went on with it.
        readers: corpus readers by name, with `title` and `licence`.
    """
    return {
        "format": 1,
        "config": dict(config),
        "corpora": describe_corpora(rows, config["data"]["train"], readers),
        "plan": dict(plan),
        "steps": steps,
        "seconds": round(seconds, 1),
        "hardware": hardware(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def write_facts(facts: Mapping[str, Any], folder: str | Path) -> Path:
    """Write facts to `folder/training.json`, without secrets and folders of the machine: they are made to travel."""
    path = Path(folder) / FACTS_NAME
    write_whole(path, json.dumps(redact(facts), ensure_ascii=False, indent=1) + "\n")
    return path


def read_facts(folder: str | Path) -> dict[str, Any] | None:
    """Facts that [`write_facts`] wrote to a folder, if it did."""
    path = Path(folder) / FACTS_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def facts_of(checkpoint: str | Path) -> dict[str, Any] | None:
    """Facts of a run as far as a checkpoint of it, or of all of it if the checkpoint has none."""
    return read_facts(checkpoint) or read_facts(Path(checkpoint).resolve().parent)


def describe_corpora(
    rows: Iterable[Mapping[str, Any]], sources: Sequence[str | Mapping[str, str]], readers: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """For each corpus its name, title, licence, and how many rows (by task), clips, speakers and hours it gave.

    A title or licence that nobody states is None. Of a corpus with a reader, the reader states it; of a folder of
    rows, its dataset card does (`README.md` with `license:` at its top, as on the Hub).
    """
    stated = _stated_licences(sources, readers)
    by_corpus = defaultdict(list)
    for row in rows:
        by_corpus[row.get("corpus")].append(row)
    return [
        {"name": name, **stated.get(name, {"title": None, "licence": None}), **_amounts(some)}
        for name, some in by_corpus.items()
    ]


def hardware() -> dict[str, Any]:
    """The machine that this process runs on."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "devices": dict(Counter(gpus)) or {f"CPU ({platform.machine()})": 1},
        "cpu_cores": os.cpu_count(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def _amounts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    clips: dict[str, Any] = {_path(row["audio"]): row.get("seconds") for row in rows}
    known = None not in clips.values()
    return {
        "rows": dict(Counter(row["task"] for row in rows)),
        "clips": len(clips),
        "speakers": len({row["speaker"] for row in rows if row.get("speaker")}) or None,
        "hours": round(sum(clips.values()) / 3600, 3) if known else None,
    }


def _path(audio: Any) -> str:
    return audio["path"] if isinstance(audio, Mapping) else str(audio)


def _stated_licences(
    sources: Sequence[str | Mapping[str, str]], readers: Mapping[str, Any]
) -> dict[str, dict[str, str | None]]:
    stated = {}
    for source in sources:
        if isinstance(source, Mapping):
            name = source.get("reader", "")
            reader = readers.get(name)
            facts = {"title": getattr(reader, "title", None), "licence": getattr(reader, "licence", None) or None}
            stated[name] = facts
        else:
            facts = dataset_card_facts(source)
            stated |= dict.fromkeys({row["corpus"] for row in read_rows(source, "train")}, facts)
    return stated


def dataset_card_facts(source: str | Path) -> dict[str, str | None]:
    """Title and licence that the dataset card of a folder (or of a file's folder) states."""
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    card = folder / "README.md"
    data = DatasetCard.load(card).data if card.is_file() else None
    return {"title": getattr(data, "pretty_name", None), "licence": getattr(data, "license", None)}
