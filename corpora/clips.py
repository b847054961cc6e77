"""The audio of a row: found inside the corpus and checked, or written from a table or from pieces."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..files import write_whole
from ..processing.audio import AudioError, load_audio, open_audio
from .rejects import BadRow


FILM_RATE = 16_000


@dataclass(frozen=True)
class Clip:
    """Audio that is no file of the corpus yet.

    Args:
        content: an encoded file, as Hub tables hold it.
        samples, rate: or samples `[samples]` in [-1, 1] and their rate in Hz.
        pieces: or paths relative to the corpus that are to be joined in order.
        name: of the file to write; derived from the row when left out. Rows with one name share the file.
    """

    content: bytes | None = None
    samples: np.ndarray | None = None
    rate: int | None = None
    pieces: Sequence[str] = ()
    name: str | None = None


class ClipStore:
    """Finds clips of a corpus, or writes them.

    Args:
        root: of the corpus; nothing outside of it is read.
        work: where derived audio is written; `None` to refuse what would have to be.
        check: whether clips must exist and be audio with samples.
    """

    def __init__(self, root: Path, work: Path | None, check: bool):
        self.root, self.work, self.check = os.path.realpath(root), work, check
        self._folder = functools.lru_cache(maxsize=1024)(os.path.realpath)

    def locate(self, audio: str | Clip | None, name: str) -> tuple[str, float | None]:
        """Absolute path of a clip, and its length in seconds if it was checked.

        Raises:
            BadRow: naming what is wrong with the audio.
        """
        if isinstance(audio, Clip):
            return self._derived(audio, audio.name or name)
        path = self._inside(audio)
        if not self.check:
            return path, None
        seconds, kind = probe(path)
        return self._sound_of(path, name) if kind == "film" else (path, seconds)

    def _inside(self, audio: object) -> str:
        """The real path of a file of the corpus."""
        if not isinstance(audio, str) or not audio.strip():
            raise BadRow("audio", f"must be the path of an audio file; it is {audio!r:.60}.")
        if "\x00" in audio:
            raise BadRow("audio", "the path holds a NUL character.")
        # Names with accents come in two spellings, and archives made on a Mac have the other one.
        path, mode = self._resolved(audio)
        for form in () if mode or audio.isascii() else ("NFC", "NFD"):
            other, there = self._resolved(unicodedata.normalize(form, audio))
            path, mode = (other, there) if there else (path, mode)
        if self.check and not stat.S_ISREG(mode):
            missing = f"no such file in {self.root}"
            what = missing if not mode else "is a folder, not a file" if stat.S_ISDIR(mode) else "is no plain file"
            raise BadRow("audio", f"{audio[:200]}: {what}.")
        return path

    def _resolved(self, audio: str) -> tuple[str, int]:
        """The real path of a file of the corpus and its mode, which is 0 if it is not there."""
        try:
            written = os.path.normpath(os.path.join(self.root, audio))
            folder, name = os.path.split(written)
            path = os.path.join(self._folder(folder), name)
            mode = os.lstat(path).st_mode if os.path.lexists(path) else 0
            if stat.S_ISLNK(mode):
                path = os.path.realpath(path)
                mode = os.stat(path).st_mode if os.path.exists(path) else 0
        except (OSError, ValueError) as error:
            raise BadRow("audio", f"the path cannot be used ({' '.join(str(error).split())[:120]}).") from error
        if not self._below(path):
            how = "a symbolic link leads" if self._below(written) else "leads"
            raise BadRow("audio", f"{audio[:200]}: {how} outside of the corpus folder.")
        return path, mode

    def _below(self, path: str) -> bool:
        return path.startswith(self.root.rstrip(os.sep) + os.sep)

    def _derived(self, clip: Clip, name: str) -> tuple[str, float | None]:
        if clip.pieces:
            return self._joined(clip, name)
        if clip.content is not None:
            return self._stored(clip.content, name)
        if clip.samples is None or not clip.rate or np.ndim(clip.samples) != 1:
            raise BadRow("audio", "holds neither an encoded file nor samples with their rate.")
        return self._written(_samples((clip.samples, clip.rate), clip.rate), clip.rate, self._target(name, "flac"))

    def _sound_of(self, path: str, name: str) -> tuple[str, float]:
        """The sound of a film, written once."""
        target = self._target(name, "flac")
        return self._known(target) or self._written(_samples(Path(path), FILM_RATE), FILM_RATE, target)

    def _stored(self, content: bytes, name: str) -> tuple[str, float]:
        try:
            with open_audio(content) as clip:
                kind = clip.kind
        except AudioError as error:
            raise BadRow("audio", error.reason) from error
        if kind == "film":
            target = self._target(name, "flac")
            return self._known(target) or self._written(_samples(content, FILM_RATE), FILM_RATE, target)
        path = self._target(name, kind)
        if not path.exists():
            write_whole(path, content)
        return str(path), probe(str(path))[0]

    def _joined(self, clip: Clip, name: str) -> tuple[str, float]:
        target = self._target(name, "flac")
        if (known := self._known(target)) is not None:
            return known
        sources = [Path(self._inside(piece)) for piece in clip.pieces]
        rates = [_rate(source) for source in sources]
        if len(set(rates)) > 1:
            raise BadRow("audio", f"its pieces have different sampling rates ({sorted(set(rates))}).")
        return self._written(np.concatenate([_samples(source, rates[0]) for source in sources]), rates[0], target)

    def _known(self, target: Path) -> tuple[str, float] | None:
        return (str(target), probe(str(target))[0]) if target.exists() else None

    def _written(self, samples: np.ndarray, rate: int, target: Path) -> tuple[str, float]:
        if not target.exists():
            buffer = io.BytesIO()
            soundfile.write(buffer, samples, rate, format="FLAC")
            write_whole(target, buffer.getvalue())
        return str(target), probe(str(target))[0]

    def _target(self, name: str, kind: str) -> Path:
        if self.work is None:
            needs = "audiollm read"
            raise BadRow("audio", f"has to be written to a file first; read the corpus with `{needs}`.")
        safe = re.sub(r"[^\w.-]", "_", name)[:80]
        if safe != name:  # two names must not become one file
            safe = f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        self.work.mkdir(parents=True, exist_ok=True)
        return self.work.resolve() / f"{safe}.{kind}"


def probe(path: str) -> tuple[float, str]:
    """Length of an audio file in seconds, from its header where that says it, and its kind (see [`AudioClip`]).

    Raises:
        BadRow: if it is no audio, is cut off, or has no samples.
    """
    file = os.stat(path)
    seconds, kind, problem = _probe(path, file.st_size, file.st_mtime_ns)
    if problem:
        raise BadRow("audio", problem)
    return seconds, kind


@functools.lru_cache(maxsize=4096)
def _probe(path: str, size: int, changed: int) -> tuple[float, str, str | None]:
    try:
        with open_audio(Path(path)) as clip:
            frames = clip.frames
            if not frames:  # it does not say, or says 0
                frames = sum(map(len, clip.blocks()))
            return round(frames / clip.rate, 3), clip.kind, None
    except AudioError as error:
        return 0.0, "", f"{Path(path).name}: {error.reason}"


def _samples(source: Any, rate: int) -> np.ndarray:
    try:
        return load_audio(source, rate)
    except AudioError as error:
        raise BadRow("audio", f"{Path(error.source).name}: {error.reason}") from error


def _rate(source: Path) -> int:
    try:
        with open_audio(source) as clip:
            return clip.rate
    except AudioError as error:
        raise BadRow("audio", f"{source.name}: {error.reason}") from error
