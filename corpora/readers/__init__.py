"""Readers: from a corpus as it is published to rows of the schema. One file for each, all known by name here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..reader import Reader, Request
from ..rejects import CorpusError, Reject
from ..schema import read_rows, validate_row
from .audiobench import AUDIOBENCH, CPQA, MNSC
from .cmu_mosei import CMU_MOSEI
from .cremad import CREMAD
from .emobox import EMOBOX_READER
from .emodb import EMODB
from .esd import ESD
from .iemocap import IEMOCAP_READER
from .librispeech import LIBRISPEECH
from .m3ed import M3ED_READER
from .meld import MELD_READER
from .msp_podcast import MSP_PODCAST
from .nemo import NEMO_READER
from .own import OWN
from .ravdess import RAVDESS_READER
from .savee import SAVEE
from .slue_sqa5 import SLUE_SQA5
from .spoken_squad import SPOKEN_SQUAD
from .tess import TESS


__all__ = ["READERS", "CorpusError", "open_reader", "read_corpus", "read_items"]
logger = logging.getLogger(__name__)
ON_HUB = ("audiobench", "own", "cpqa", "mnsc", "slue_sqa5")  # readers that take a name on the Hub
READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        IEMOCAP_READER,
        MELD_READER,
        M3ED_READER,
        CPQA,
        MNSC,
        SPOKEN_SQUAD,
        SLUE_SQA5,
        LIBRISPEECH,
        RAVDESS_READER,
        NEMO_READER,
        CREMAD,
        TESS,
        SAVEE,
        EMODB,
        ESD,
        MSP_PODCAST,
        CMU_MOSEI,
        AUDIOBENCH,
        EMOBOX_READER,
        OWN,
    )
}


def open_reader(name: str | None, root: Path) -> Reader:
    """The reader of a name, for a corpus that is there.

    Raises:
        CorpusError: for an unknown name, or a corpus that does not exist.
    """
    if name not in READERS:
        raise CorpusError(f"Unknown corpus reader {name!r}; it is one of {', '.join(READERS)}.")
    on_hub = len(root.parts) == 2 and not root.is_absolute()  # `owner/name`
    if not root.exists() and not (on_hub and name in ON_HUB):
        raise CorpusError(f"{root}: no such folder (corpus {name}).")
    return READERS[name]


def read_items(name: str, request: Request) -> Iterator[dict[str, Any] | Reject]:
    """Rows of a corpus and what had to be set aside, one at a time.

    Raises:
        CorpusError: as [`open_reader`] and [`Reader.read`].
    """
    return open_reader(name, request.root).read(request)


def read_corpus(source: str | Path | dict[str, Any], split: str) -> list[dict[str, Any]]:
    """Rows for training, evaluation and extraction, whatever they come from.

    Args:
        source: rows of the schema in any form (see [`read_rows`]), or a corpus that a reader knows: `{reader: NAME,
            path: FOLDER}`, with `tasks`, `seed`, `style`, `label_list` and `options` as [`Request`] has them; or that
            as text, as a command line gives it.
        split: `train`, `validation` or `test`.

    Raises:
        CorpusError: for an unknown reader, or a folder in which the reader finds nothing. Rows that cannot be used are
            set aside with a warning.
        FileNotFoundError: if there are no rows.
        RowError: for the first row that does not fit the schema.
    """
    if isinstance(source, str) and source.lstrip().startswith("{"):
        source = _mapping(source)
    if not isinstance(source, dict):
        return read_rows(source, split)
    settings = {**source}
    name, root = settings.pop("reader", None), Path(settings.pop("path", ""))
    reader = open_reader(name, root)
    try:
        request = Request(root=root, split=split, **{**settings, "tasks": tuple(settings.get("tasks") or ())})
    except TypeError as error:
        raise CorpusError(f"corpus {name}: {error}.") from error
    rows, rejects = [], []
    for item in reader.read(request):
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            rows.append(validate_row(item, root, f"{name}, {item['audio']}"))
    if not rows:
        raise nothing_found(reader, root, split, rejects[0] if rejects else None)
    if rejects:
        logger.warning("%s: %d rows of %s set aside; the first: %s", root, len(rejects), split, rejects[0])
    return rows


def _mapping(text: str) -> dict[str, Any]:
    try:
        source = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise CorpusError(f"{text}: is not of the form {{reader: NAME, path: FOLDER}} ({reason}).") from error
    return source


def nothing_found(reader: Reader, root: Path, split: str, first: Reject | None) -> CorpusError:
    """The error for a corpus of which no row could be used."""
    why = f" First problem: {first.where}: {first.reason}" if first else ""
    return CorpusError(f"{root}: nothing of split {split!r} found. Expected layout: {reader.layout}{why}")
