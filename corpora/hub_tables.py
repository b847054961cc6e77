"""Datasets as `datasets` and the Hub store them, in bounded memory, with audio left encoded.

Read are folders of `Dataset.save_to_disk` and `DatasetDict.save_to_disk`, Parquet files and folders of them, and names
on the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .clips import Clip
from .rejects import BadRow, CorpusError
from .tables import json_file


HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
BATCH = 16  # rows of a batch: a row may hold minutes of audio
ALIASES = {"validation": ("validation", "valid", "val", "dev"), "train": ("train", "training"), "test": ("test",)}
_SHARD = re.compile(r"-\d+-of-\d+.*$")
Rows = Callable[[], Iterator[dict[str, Any]]]


def usual_split(name: str | None) -> str | None:
    """`train`, `validation` or `test` for what a split is called (`dev`, `Train`); any other name as it is."""
    folded = name.strip().lower() if name else name
    return next((split for split, names in ALIASES.items() if folded in names), name)


def spellings(split: str) -> tuple[str, ...]:
    """What a split may be called, the usual name first."""
    return ALIASES.get(split, (split,))


@dataclass(frozen=True)
class DatasetSplits:
    """The parts of a dataset by its own names for them (`""` for none), each as a function that gives its rows."""

    parts: Mapping[str, Rows]

    @property
    def divided(self) -> bool:
        """Whether it is divided into splits; a single part called `train`, or nothing usual, is the whole."""
        usual = {usual_split(name) for name in self.parts}
        return len(usual & set(ALIASES)) > 1 or bool(usual & {"validation", "test"})

    def named(self, split: str) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
        """Parts of a split, with its usual name."""
        return ((split, rows()) for name, rows in self.parts.items() if usual_split(name) == split)

    def all(self) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
        """All parts with their usual names."""
        return ((usual_split(name) or "", rows()) for name, rows in self.parts.items())


def dataset_rows(root: Path, split: str, config: str | None = None, any_split: bool = False) -> Iterator[dict]:
    """Rows of a split; nothing if the dataset has no such split. What has no splits is `train`.

    Args:
        root: as for [`open_dataset`].
        split: `train`, `validation`, `test`, or a name of the dataset's own.
        config: of the Hub dataset; with a folder, a folder in it.
        any_split: take whatever is there, for folders whose name says the split.

    Raises:
        CorpusError: if the dataset cannot be opened.
    """
    splits = open_dataset(root, config)
    parts = splits.all() if any_split else splits.named(split)
    if not any_split and split == "train" and not splits.divided and not any(map(usual_split, splits.parts)):
        parts = splits.all()
    for _, rows in parts:
        yield from rows


def open_dataset(root: Path, config: str | None = None) -> DatasetSplits:
    """A dataset and its splits.

    Args:
        root: a folder, a Parquet file, or a name on the Hub (`AudioLLMs/meld_emotion_test`), read as a stream.
        config: of the Hub dataset; with a folder, a folder in it.

    Raises:
        CorpusError: if it cannot be opened.
    """
    if not root.exists():
        return DatasetSplits(_streamed(str(root), config))
    folder = root / config if config else root
    if root.is_file():
        return DatasetSplits({"": lambda: _parquet_rows([root])})
    if (folder / "dataset_dict.json").is_file():
        names = [path.name for path in sorted(folder.iterdir()) if (path / "state.json").is_file()]
        return DatasetSplits({name: lambda name=name: _saved(folder / name) for name in names})
    if (folder / "state.json").is_file():
        return DatasetSplits({json_file(folder / "state.json").get("_split") or "": lambda: _saved(folder)})
    return DatasetSplits(_parquet(folder))


def _saved(folder: Path) -> Iterator[dict[str, Any]]:
    from datasets import load_from_disk

    try:
        dataset: Any = load_from_disk(str(folder))
    except Exception as error:  # what datasets raises for a broken folder depends on what is broken
        raise CorpusError(f"{folder}: cannot be opened as a datasets folder ({_short(error)}).") from error
    # As Arrow tables: audio stays encoded, so that neither torchcodec nor memory for samples is needed.
    for table in dataset.with_format("arrow").iter(batch_size=BATCH):
        yield from table.to_pylist()


def _parquet(folder: Path) -> dict[str, Rows]:
    """Parquet files by split: `SPLIT-00000-of-00002.parquet`, `SPLIT/ANY.parquet`; others are of no split."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.parquet")):
        names = (_SHARD.sub("", path.stem), path.parent.name if path.parent != folder else "")
        split = next((name for name in names if usual_split(name) in ALIASES), names[0])
        if not path.name.startswith("."):
            files.setdefault(split, []).append(path)
    if len(files) > 1 and not {usual_split(name) for name in files} & set(ALIASES):
        known_shards = {name for name, paths in files.items() if _SHARD.search(paths[0].stem)}
        if not known_shards:  # `part-0`, `part-1`: pieces of one whole
            files = {"": [path for paths in files.values() for path in paths]}
    return {split: lambda paths=paths: _parquet_rows(paths) for split, paths in files.items()}


def _parquet_rows(paths: list[Path]) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    for path in paths:
        try:
            file = ParquetFile(path)
            for group in range(file.num_row_groups):  # read in one go, what was read of all groups stays in memory
                for batch in file.iter_batches(batch_size=BATCH, row_groups=[group]):
                    yield from batch.to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise CorpusError(f"{path}: cannot be read as Parquet ({_short(error)}).") from error


def _streamed(name: str, config: str | None) -> dict[str, Rows]:
    from datasets import load_dataset

    if not HUB_NAME.fullmatch(name):
        raise CorpusError(f"{name}: neither a folder nor a name on the Hub (`owner/name`).")
    try:
        splits: Any = load_dataset(name, config, streaming=True)
    except Exception as error:  # network, missing repository or configuration: each its own exception
        reason = f"no such folder here, and cannot be read from the Hub ({_short(error)})."
        raise CorpusError(f"{name}: {reason}") from error

    def rows(split: str) -> Iterator[dict[str, Any]]:
        try:
            yield from splits[split].decode(False)
        except Exception as error:
            raise CorpusError(f"{name}: cannot be read from the Hub ({_short(error)}).") from error

    return {split: lambda split=split: rows(split) for split in splits}


def clip_of(audio: Any, field: str, name: str | None = None) -> Clip:
    """Audio as `datasets` stores it undecoded: bytes, or samples and their rate.

    Raises:
        BadRow: if it is neither.
    """
    if isinstance(audio, dict) and audio.get("bytes"):
        return Clip(content=audio["bytes"], name=name)
    if isinstance(audio, dict) and audio.get("array") is not None:
        return Clip(samples=np.asarray(audio["array"]), rate=audio.get("sampling_rate"), name=name)
    raise BadRow(field, "holds no audio (neither `bytes` nor `array`); save the dataset with its audio embedded.")


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
