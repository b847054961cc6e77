"""The audio of a row: found inside the corpus and checked, or written from a table or from pieces."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from .rejects import BadRow


VIDEO = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4a", ".aac")
EXTRACT = "extract it: ffmpeg -i CLIP.mp4 -vn -ac 1 -ar 16000 CLIP.wav"
FILM_RATE = 16_000
KINDS = {"WAV": "wav", "WAVEX": "wav", "FLAC": "flac", "OGG": "ogg", "MPEG": "mp3", "MP3": "mp3"}


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
        if self.check and path.lower().endswith(VIDEO):
            return self._sound_of(path, name)
        return path, probe(path) if self.check else None

    def _inside(self, audio: object) -> str:
        """The real path of a file of the corpus."""
        if not isinstance(audio, str) or not audio.strip():
            raise BadRow("audio", f"must be the path of an audio file; it is {audio!r:.60}.")
        if "\x00" in audio:
            raise BadRow("audio", "the path holds a NUL character.")
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
        if self.check and not stat.S_ISREG(mode):
            what = (
                "no such file" if not mode else "is a folder, not a file" if stat.S_ISDIR(mode) else "is no plain file"
            )
            raise BadRow("audio", f"{audio[:200]}: {what}.")
        return path

    def _below(self, path: str) -> bool:
        return path.startswith(self.root.rstrip(os.sep) + os.sep)

    def _derived(self, clip: Clip, name: str) -> tuple[str, float | None]:
        if clip.pieces:
            return self._joined(clip, name)
        if clip.content is not None:
            return self._stored(clip.content, name)
        if clip.samples is None or not clip.rate or np.ndim(clip.samples) != 1:
            raise BadRow("audio", "holds neither an encoded file nor samples with their rate.")
        return self._written(np.asarray(clip.samples, dtype=np.float32), clip.rate, name)

    def _sound_of(self, path: str, name: str) -> tuple[str, float]:
        """The sound of a film, written once."""
        target = self._target(name, "flac")
        if target.exists():
            return str(target), probe(str(target))
        return self._written(film_sound(path), FILM_RATE, name)

    def _stored(self, content: bytes, name: str) -> tuple[str, float]:
        if not content:
            raise BadRow("audio", "is empty (0 bytes).")
        try:
            info = soundfile.info(io.BytesIO(content))
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise BadRow("audio", f"cannot be decoded ({_short(error)}).") from error
        if info.format not in KINDS:
            raise BadRow("audio", f"is a {info.format} file; wav, flac, ogg and mp3 are read.")
        path = self._target(name, KINDS[info.format])
        if not path.exists():
            _write(path, content)
        return str(path), probe(str(path))

    def _joined(self, clip: Clip, name: str) -> tuple[str, float]:
        path = self._target(name, "flac")
        if path.exists():
            return str(path), probe(str(path))
        parts, rates = [], set()
        for piece in clip.pieces:
            source = self._inside(piece)
            probe(source)
            samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
            parts.append(samples.mean(axis=1))
            rates.add(rate)
        if len(rates) > 1:
            raise BadRow("audio", f"its pieces have different sampling rates ({sorted(rates)}).")
        return self._written(np.concatenate(parts), rates.pop(), name)

    def _written(self, samples: np.ndarray, rate: int, name: str) -> tuple[str, float]:
        path = self._target(name, "flac")
        if not path.exists():
            buffer = io.BytesIO()
            soundfile.write(buffer, samples, rate, format="FLAC")
            _write(path, buffer.getvalue())
        return str(path), probe(str(path))

    def _target(self, name: str, kind: str) -> Path:
        if self.work is None:
            needs = "audiollm read"
            raise BadRow("audio", f"has to be written to a file first; read the corpus with `{needs}`.")
        safe = re.sub(r"[^\w.-]", "_", name)[:80]
        if safe != name:  # two names must not become one file
            safe = f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
        self.work.mkdir(parents=True, exist_ok=True)
        return self.work.resolve() / f"{safe}.{kind}"


def film_sound(path: str) -> np.ndarray:
    """Sound of a video or AAC file, mono at [`FILM_RATE`].

    Raises:
        BadRow: if PyAV is not installed, or the file holds no sound that can be decoded.
    """
    name = Path(path).name
    try:
        import av
    except ImportError as error:
        raise BadRow("audio", f"{name}: is video or AAC; `pip install av` to read its sound, or {EXTRACT}") from error
    try:
        with av.open(path) as film:
            resampler = av.AudioResampler("s16", "mono", FILM_RATE)  # of float samples the sum of channels may clip
            frames = [*film.decode(audio=0), None] if film.streams.audio else []
            parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    except (av.FFmpegError, ValueError) as error:
        raise BadRow("audio", f"{name}: cannot be decoded ({_short(error)}).") from error
    if not parts:
        raise BadRow("audio", f"{name}: holds no sound.")
    return np.concatenate(parts)


def probe(path: str) -> float:
    """Length of an audio file in seconds, from its header.

    Raises:
        BadRow: if it is no audio, or has no samples.
    """
    file = os.stat(path)
    seconds, problem = _probe(path, file.st_size, file.st_mtime_ns)
    if problem:
        raise BadRow("audio", problem)
    return seconds


@functools.lru_cache(maxsize=4096)
def _probe(path: str, size: int, changed: int) -> tuple[float, str | None]:
    name = Path(path).name
    if size == 0:
        return 0.0, f"{name}: is empty (0 bytes)."
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, RuntimeError) as error:
        return 0.0, f"{name}: cannot be decoded ({_short(error)})."
    if info.frames <= 0:
        return 0.0, f"{name}: has no samples (zero length)."
    return round(info.frames / info.samplerate, 3), None


def _write(path: Path, content: bytes):
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[-100:]
