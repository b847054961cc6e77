"""Rows of datasets as the Hub and `datasets` store them, in bounded memory, with audio left encoded.

Read are folders of `Dataset.save_to_disk` and `DatasetDict.save_to_disk`, folders of Parquet files, and Hub names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .reader import visible
from .rejects import CorpusError


HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
BATCH = 16  # rows of a batch: a row may hold minutes of audio
ALIASES = {"validation": ("validation", "valid", "val", "dev"), "train": ("train",), "test": ("test",)}


def hub_rows(root: Path, split: str, config: str | None = None, any_split: bool = False) -> Iterator[dict[str, Any]]:
    """Rows of a split; nothing if the dataset has no such split.

    Args:
        root: a folder, or a name on the Hub (`AudioLLMs/meld_emotion_test`), read as a stream.
        split: `train`, `validation`, `test`, or a name of the dataset's own.
        config: of the Hub dataset; with a folder, a folder in it.
        any_split: take whatever is there, for folders whose name says the split.

    Raises:
        CorpusError: if the dataset cannot be opened.
    """
    if not root.exists():
        yield from _streamed(str(root), split, config)
        return
    folder = root / config if config else root
    if (folder / "dataset_dict.json").is_file():
        names = [name for name in _names(split, any_split, folder) if (folder / name).is_dir()]
        for name in names:
            yield from _saved(folder / name)
    elif (folder / "state.json").is_file():
        if any_split or _own_split(folder) in (None, *ALIASES.get(split, (split,))):
            yield from _saved(folder)
    else:
        yield from _parquet(folder, split, any_split)


def _names(split: str, any_split: bool, folder: Path) -> tuple[str, ...]:
    return tuple(path.name for path in visible(folder.iterdir())) if any_split else ALIASES.get(split, (split,))


def _saved(folder: Path) -> Iterator[dict[str, Any]]:
    from datasets import load_from_disk

    try:
        dataset = load_from_disk(str(folder))
    except Exception as error:  # what datasets raises for a broken folder depends on what is broken
        raise CorpusError(f"{folder}: cannot be opened as a datasets folder ({_short(error)}).") from error
    # As Arrow tables: audio stays encoded, so that neither torchcodec nor memory for samples is needed.
    for table in dataset.with_format("arrow").iter(batch_size=BATCH):
        yield from table.to_pylist()


def _own_split(folder: Path) -> str | None:
    from .tables import json_file

    return json_file(folder / "state.json").get("_split")


def _parquet(folder: Path, split: str, any_split: bool) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    wanted = "|".join(map(re.escape, ALIASES.get(split, (split,))))
    name = re.compile(rf"(?:{wanted})(?:-\d+-of-\d+.*)?$")
    for path in visible(folder.rglob("*.parquet")):
        if any_split or name.match(path.stem) or path.parent.name in ALIASES.get(split, (split,)):
            try:
                for batch in ParquetFile(path).iter_batches(batch_size=BATCH):
                    yield from batch.to_pylist()
            except (pyarrow.ArrowInvalid, OSError) as error:
                raise CorpusError(f"{path}: cannot be read as Parquet ({_short(error)}).") from error


def _streamed(name: str, split: str, config: str | None) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    if not HUB_NAME.fullmatch(name):
        raise CorpusError(f"{name}: neither a folder nor a name on the Hub (`owner/name`).")
    try:
        splits = load_dataset(name, config, streaming=True)
        for own in ALIASES.get(split, (split,)):
            if own in splits:
                yield from splits[own].decode(False)
    except Exception as error:  # network, missing repository or configuration: each its own exception
        raise CorpusError(f"{name}: cannot be read from the Hub ({_short(error)}).") from error


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
