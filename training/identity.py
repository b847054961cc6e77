"""What a run is, so that its folder is never continued, or described, by another one."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

from torch import nn
from transformers import TrainingArguments
from trl import SFTConfig

from .proof import part_checksums


RUN_NAME = "run.json"
GLIMPSE, THREADS = 4096, 16
# What changes nothing of what is learnt. Rows and weights are compared themselves, not their paths.
FREE = ("data", "feature_cache", "samples_per_round", "model.checkpoint", "model.add_emotion.encoder")
FREE += tuple(f"model.parts.{part}" for part in ("speech", "emotion", "text"))
FREE_PREFIXES = ("training.logging_", "training.log_", "training.save_", "training.report_", "training.hub_")
FREE_PREFIXES += ("training.dataloader_", "training.push_to_hub", "training.eval_", "training.per_device_eval_")
FREE += tuple(f"training.{name}" for name in ("output_dir", "disable_tqdm", "run_name", "project"))


class OtherRunError(ValueError):
    """A run's folder holds another run; names what differs."""


def run_identity(
    config: Mapping[str, Any], rows: Iterable[Any], model: nn.Module, new: Iterable[str], processes: int
) -> dict[str, Any]:
    """What makes a run the same: settings, rows, weights that it began with, number of processes.

    Args:
        config: the configuration as it is used.
        rows: that are trained on.
        model: as it was built, before anything is learnt.
        new: parts whose weights nobody trained before; the seed stands for them.
        processes: that train together.
    """
    settings = json.loads(json.dumps(_flat(config), default=str))
    return {
        "format": 1,
        "settings": {name: value for name, value in settings.items() if not _free(name)},
        "rows": rows_identity(rows),
        "weights": {part: value for part, value in part_checksums(model).items() if part not in {*new, "lora"}},
        "processes": processes,
    }


def rows_identity(rows: Iterable[Any]) -> dict[str, Any]:
    """What makes rows the same: all that they hold, in their order; of recordings the names, sizes and some bytes."""
    digest, clips, count, files = hashlib.sha256(), hashlib.sha256(), 0, {}
    for row in rows:
        count += 1
        audio = row["audio"]
        name = Path(audio.get("path") or "").name if isinstance(audio, Mapping) else str(audio)
        digest.update(json.dumps([name, *(row[key] for key in sorted(row) if key != "audio")]).encode())
        if isinstance(audio, Mapping) and audio.get("bytes") is not None:
            clips.update(_glimpse(io.BytesIO(audio["bytes"])).encode())
        elif isinstance(audio, Mapping):
            files[audio.get("path")] = None
    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(_glimpse_of, files):
            clips.update(found.encode())
    return {"count": count, "digest": digest.hexdigest(), "clips": clips.hexdigest()}


def _glimpse_of(path: Any) -> str:
    """As [`_glimpse`], of a file; nothing of one that lies elsewhere."""
    if not isinstance(path, str) or not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        return _glimpse(file)


def _glimpse(recording: BinaryIO) -> str:
    """A recording's size and bytes of its middle, which tell it from others without reading all corpora anew."""
    size = recording.seek(0, os.SEEK_END)
    recording.seek(size // 2)
    return hashlib.sha256(size.to_bytes(8, "big") + recording.read(GLIMPSE)).hexdigest()


def claim_folder(
    folder: str | Path, identity: Mapping[str, Any], begun: bool, arguments: type[TrainingArguments] = SFTConfig
):
    """Write down whose folder this is, or refuse it as another run's.

    Args:
        folder: of the run.
        identity: what [`run_identity`] gave.
        begun: whether the folder holds results or checkpoints of a run.
        arguments: of the section `training`, whose defaults hold for what is left out there.

    Raises:
        OtherRunError: naming each difference.
    """
    path = Path(folder) / RUN_NAME
    way_out = "choose another training.output_dir, or delete the folder."
    if not begun:
        path.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
        return
    if not path.is_file():
        raise OtherRunError(f"{folder} holds a run that does not say what it was ({RUN_NAME} is missing); {way_out}")
    differences = _differences(json.loads(path.read_text(encoding="utf-8")), identity, arguments)
    if differences:
        raise OtherRunError(
            f"{folder} holds another run: {'; '.join(differences)}. Go on as it was started, or {way_out}"
        )


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], arguments: type[TrainingArguments]) -> list[str]:
    defaults = {f"training.{field.name}": field.default for field in fields(arguments)}
    found = []
    for name in sorted(then["settings"].keys() | now["settings"].keys()):
        default = getattr(defaults.get(name), "value", defaults.get(name))
        before, after = (facts["settings"].get(name, default) for facts in (then, now))
        if before != after:
            found.append(f"{name} was {before!r}, is {after!r}")
    rows, rows_now = then["rows"], now["rows"]
    if any(rows[name] != rows_now[name] for name in ("count", "digest")):
        found.append(f"the training rows (data) are others ({rows['count']} then, {rows_now['count']} now)")
    elif rows.get("clips", rows_now["clips"]) != rows_now["clips"]:  # runs that began before it was written down
        found.append("the recordings of the training rows (data) are others, under the same names")
    for part in sorted(then["weights"].keys() | now["weights"].keys()):
        if then["weights"].get(part) != now["weights"].get(part):
            found.append(f"the weights that {part} begins with (model) are others")
    if then["processes"] != now["processes"]:
        found.append(f"{then['processes']} processes trained it, now {now['processes']}")
    return found


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names; an empty section is like one that is left out."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def _free(name: str) -> bool:
    return name.startswith(FREE_PREFIXES) or any(name == free or name.startswith(f"{free}.") for free in FREE)
