"""Outputs of frozen branches on disk: computed once for a clip, and used in every later step of a round."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..modeling_audiollm.saving import open_to_readers


GIGABYTE = 1_000_000_000
OURS = re.compile("[0-9a-f]{32}")  # what [`fingerprint`] gives; other folders beside are somebody's, and stay
logger = logging.getLogger(__name__)


def fingerprint(*facts: Any) -> str:
    """A name for whatever gives the same outputs for the same audio: weights, settings, feature extraction."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


class FeatureCache:
    """Token embeddings of clips, a file each, in a folder for each fingerprint.

    What was computed with other weights is deleted when room is needed, by this run or another; when all that is left
    belongs to the present round, nothing more is kept, and the clips that are not there are computed each time. What
    else lies in the folder is neither counted nor deleted.

    Args:
        folder: of the cache; several runs and processes may share it.
        max_gb: gigabytes (10^9 bytes) that the files may take.
        writers: processes that write to it in this run; each may use its share of the room.
    """

    def __init__(self, folder: str | Path, max_gb: float, writers: int = 1):
        if max_gb <= 0:
            raise ValueError(f"feature_cache.max_gb is {max_gb}; it must be above 0 (or leave feature_cache out).")
        self.folder, self.limit, self.writers = Path(folder), max_gb * GIGABYTE, writers
        self.used, self.hits, self.misses = 0, 0, 0
        self._open: tuple[str, ...] = ()
        self._full = False

    def open(self, fingerprints: Sequence[str]):
        """Begin a round that uses these fingerprints."""
        self._open = tuple(fingerprints)
        self._full = False
        with self._going_on():
            for name in fingerprints:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
                os.utime(self.folder / name)
            self.used = self._size()

    def get(self, name: str, clip: str) -> torch.Tensor | None:
        """The embeddings `[windows, tokens, hidden]` of a clip, or none if they are not there."""
        try:
            tensor = load_file(self._path(name, clip))["tokens"]
        except (OSError, SafetensorError, KeyError):  # an unreadable file is computed and written again
            self.misses += 1
            return None
        self.hits += 1
        return tensor

    def put(self, name: str, clip: str, tokens: torch.Tensor):
        """Keep the embeddings of a clip, if there is room."""
        size = tokens.numel() * tokens.element_size()
        path = self._path(name, clip)
        partial = path.with_suffix(f".{os.getpid()}")
        with self._going_on():
            if not self._has_room(size):
                return
            path.parent.mkdir(parents=True, exist_ok=True)  # another run may have needed the room
            try:
                save_file({"tokens": tokens.detach().cpu().contiguous()}, partial)
                open_to_readers(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            self.used += size * self.writers

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Keep nothing more where it cannot be written (a full disk, say): a cache is no reason to end a training."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            self._full = True
            logger.warning("the feature cache %s cannot be written (%s); no more is kept.", self.folder, error)

    def _path(self, name: str, clip: str) -> Path:
        return self.folder / name / clip[:2] / f"{clip}.safetensors"

    def _has_room(self, size: int) -> bool:
        if self._full:
            return False
        old = sorted((path for path in self._folders() if path.name not in self._open), key=_last_opened)
        while self.used + size * self.writers > self.limit and old:
            logger.info("the feature cache makes room: %s, of other weights, is deleted", old[0])
            shutil.rmtree(old.pop(0), ignore_errors=True)
            self.used = self._size()
        self._full = self.used + size * self.writers > self.limit
        if self._full:
            logger.warning(
                "the feature cache %s is full (%.1f GB); no more is kept.", self.folder, self.used / GIGABYTE
            )
        return not self._full

    def _folders(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if OURS.fullmatch(path.name)]

    def _size(self) -> int:
        return sum(_bytes(path) for folder in self._folders() for path in folder.rglob("*.safetensors"))


def _last_opened(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # deleted by another process since it was listed
        return 0.0


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
