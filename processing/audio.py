# This file travels to the Hub with the processor: imports of its own folder only, relative and one level deep.
"""From whatever a person has (path, URL, bytes, array) to mono float32 samples at one rate.

All audio comes through here: what it gives is finite, at a known rate and level, and whole; all else is an
[`AudioError`] that says why.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import math
import mmap
import os
import re
import stat
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, Literal

import numpy as np


# Inside `try`, so that the Hub's loader asks for them only when they are used (dynamic_module_utils.check_imports).
try:
    import soundfile
except (ImportError, OSError):
    soundfile = None
try:
    import av
except ImportError:
    av = None

MIN_RATE, MAX_RATE = 1_000, 768_000
MAX_CHANNELS, MAX_FILM_CHANNELS = 32, 8  # beyond 8 planes PyAV reads memory that is not there
MAX_SECONDS = 3 * 3600  # longer recordings are for `emotion_timeline`, which reads them piece by piece
MAX_BYTES = 1 << 30  # of a download, a stream or encoded bytes
DOWNLOAD_SECONDS = 600  # for a whole transfer
DOWNLOAD_STALL, DOWNLOAD_SLOWEST = 20, 1_000  # seconds after which fewer bytes a second are given up
OVER_FULL_SCALE = 8.0  # 18 dB; encoders overshoot by far less, other scales by far more
BLOCK = 1 << 16  # frames decoded at a time
KINDS = {  # libsndfile's name of a format that is read, to the suffix of its files
    **{"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "W64": "w64", "FLAC": "flac", "OGG": "ogg", "MPEG": "mp3"},
    **{"MP3": "mp3", "AIFF": "aiff", "AU": "au", "CAF": "caf", "NIST": "sph"},
}


class AudioError(ValueError):
    """Audio that can't be used, with the reason; `source` names the file, URL or kind of input."""

    def __init__(self, source: str, reason: str):
        super().__init__(f"{source}: {reason}")
        self.source, self.reason = source, reason


def load_audio(
    audio: Any, sampling_rate: int = 16_000, array_rate: int | None = None, max_seconds: float | None = None
) -> np.ndarray:
    """Load audio as mono float32 samples, 1.0 being full scale, at `sampling_rate`.

    Args:
        audio: a path; an http(s), `file:` or `data:` URL; encoded bytes, or these as base64 text; a file object; an
            array, tensor or list of samples (mono, or stereo with channels first or last; see [`float_samples`] for
            their scale); a pair `(array, rate)` or `(rate, array)`; or a mapping with `array` (or `raw`) and
            `sampling_rate`, or `bytes` and/or `path`, as `datasets` gives them, or `data` in base64, as chat
            messages hold it.
        sampling_rate: rate to give, in Hz.
        array_rate: rate of a bare array, in Hz; `sampling_rate` when left out.
        max_seconds: longest recording to take, at most and by default [`MAX_SECONDS`]; a longer one is not decoded.

    Returns:
        `np.ndarray` of shape `[samples]`, at least one sample. Silence is audio like any other.

    Raises:
        AudioError: if the audio is missing, unreadable, cut off, empty, longer than `max_seconds`, not finite, of
            an unknown level, or has an impossible rate or shape.
    """
    with open_audio(audio, sampling_rate if array_rate is None else array_rate) as clip:
        limit = MAX_SECONDS if max_seconds is None else min(max_seconds, MAX_SECONDS)
        mono = (block.mean(axis=1) for block in clip.blocks(limit))
        samples = np.concatenate([np.zeros(0, np.float32), *resampled(mono, clip.rate, sampling_rate)])
        if clip.full_scale != 1:
            samples /= clip.full_scale
    return samples


@dataclass
class AudioClip:
    """Open audio: samples come block by block, so that memory does not grow with its length.

    Args:
        source: the file, URL or kind of input, for messages.
        rate: in Hz, valid.
        channels: at most [`MAX_CHANNELS`]; one of a film, which comes mixed.
        frames: samples a channel that its header promises; None if that is unknown.
        read: gives blocks `[frames, channels]`, float32.
        seek: to a frame, for files that can.
        kind: suffix that its files usually have; `film` for what FFmpeg reads, none for arrays.
        full_scale: what 1.0 was in the samples; known when all blocks were read.
        unmixed: of a film, how many channels it has, and what gives its blocks with these.
        fault: that the file ends too early, as its form tells.
    """

    source: str
    rate: int
    channels: int
    frames: int | None
    read: Callable[[], Iterator[np.ndarray]]
    seek: Callable[[int], Any] | None = None
    kind: str = ""
    full_scale: float = 1.0
    unmixed: tuple[int, Callable[[], Iterator[np.ndarray]]] | None = None
    fault: AudioError | None = None

    @property
    def seconds(self) -> float | None:
        """Length that the header promises."""
        return None if self.frames is None else self.frames / self.rate

    def by_channel(self) -> AudioClip:
        """The same audio with all its channels, to be read instead of this."""
        if self.unmixed is None:
            return self
        channels, read = self.unmixed
        return replace(self, channels=channels, read=read, unmixed=None)

    def blocks(self, max_seconds: float | None = None) -> Iterator[np.ndarray]:
        """All samples, `[frames, channels]`, float32 and finite.

        Raises:
            AudioError: where it turns out to be cut off, damaged, empty, too long, or not finite.
        """
        if max_seconds is not None and (self.seconds or 0) > max_seconds:
            raise self._too_long(max_seconds)
        heard, level = 0, _Level(self.source)
        for block in self.read():
            level.note(block)
            heard += len(block)
            if max_seconds is not None and heard > max_seconds * self.rate:
                raise self._too_long(max_seconds)
            yield block
        if self.fault is not None:
            raise self.fault
        if heard == 0:
            raise AudioError(self.source, "holds no samples.")
        if self.frames is not None and heard < self.frames:
            raise AudioError(self.source, f"is cut off: {heard:,} of {self.frames:,} samples are there.")
        self.full_scale = level.full_scale()

    def _too_long(self, max_seconds: float) -> AudioError:
        limit = f"{max_seconds:g} s" if max_seconds < 600 else f"{max_seconds / 60:.0f} minutes"
        reason = f"is longer than {limit}; cut it into pieces, or follow its emotion with `emotion_timeline`."
        return AudioError(self.source, reason)


@contextlib.contextmanager
def open_audio(audio: Any, array_rate: int = 16_000, whole: bool = True) -> Iterator[AudioClip]:
    """Open anything that [`load_audio`] takes, to read its header or its samples block by block.

    Args:
        audio: as for [`load_audio`].
        array_rate: rate of a bare array, in Hz.
        whole: refuse a file that is cut off; else its samples come as far as they go, and then the error.

    Raises:
        AudioError: if it is no audio, or its header says that it can't be used.
    """
    with contextlib.ExitStack() as stack:
        clip = _open(audio, array_rate, stack)
        if whole and clip.fault is not None:
            raise clip.fault
        yield clip


def _open(audio: Any, array_rate: int, stack: contextlib.ExitStack) -> AudioClip:
    if isinstance(audio, str):
        return _open_text(audio, stack)
    if isinstance(audio, os.PathLike):
        return _open_path(os.fspath(audio), stack)
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return _open_bytes(bytes(audio), "audio bytes", stack)
    if isinstance(audio, Mapping):
        return _open_mapping(audio, stack)
    if isinstance(audio, tuple) and len(audio) == 2 and (_is_one(audio[0]) != _is_one(audio[1])):
        samples, rate = audio if _is_one(audio[1]) else audio[::-1]
        return _of_array(samples, rate, "audio array")
    if callable(getattr(audio, "get_all_samples", None)):  # torchcodec's AudioDecoder, which `datasets` gives
        return _of_decoder(audio)
    if callable(getattr(audio, "read", None)):
        return _open_stream(audio, stack)
    if audio is None:
        raise AudioError("audio", "is None; give a path, URL, bytes, array or (array, rate).")
    return _of_array(audio, array_rate, "audio array")


def _is_one(value: Any) -> bool:
    """Whether this is one thing, a rate rather than samples; a text is refused as a rate."""
    return isinstance(value, (str, int, float, type(None))) or getattr(value, "ndim", None) == 0


def _open_text(text: str, stack: contextlib.ExitStack) -> AudioClip:
    scheme = text[:16].partition(":")[0].lower() if ":" in text[:16] else ""
    if scheme in ("http", "https"):
        return _open_bytes(_download(text), _name(text), stack)
    if scheme == "data":
        head, _, data = text.partition(",")
        raw = _base64(data, "data URL") if head.endswith(";base64") else urllib.parse.unquote_to_bytes(data)
        return _open_bytes(raw, "data URL", stack)
    if scheme == "file":
        return _open_path(urllib.request.url2pathname(urllib.parse.urlsplit(text).path), stack)
    if "://" in text[:16] and not os.path.lexists(text):
        raise AudioError(_name(text), "URLs of this kind are not read; http, https, file and data are.")
    if len(text) > 255 and "." not in text[-8:] and not os.path.lexists(text[:4096]):
        with contextlib.suppress(AudioError):
            return _open_bytes(_base64(text, "base64 text"), "base64 text", stack)
    return _open_path(text, stack)


def _base64(text: Any, source: str) -> bytes:
    try:
        return base64.b64decode("".join(urllib.parse.unquote(text).split()), validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise AudioError(source, f"is not base64 ({error}).") from error


def _open_mapping(audio: Mapping, stack: contextlib.ExitStack) -> AudioClip:
    path = audio.get("path") or audio.get("url")
    source = _name(path) if isinstance(path, (str, os.PathLike)) else "audio mapping"
    for key in ("array", "raw"):
        if audio.get(key) is not None:
            rate = audio.get("sampling_rate", audio.get("sample_rate"))
            if rate is None:
                raise AudioError(source, f"has `{key}` without `sampling_rate`; say its rate in Hz.")
            return _of_array(audio[key], rate, source)
    raw = audio.get("bytes")
    if raw is not None:
        if not isinstance(raw, (bytes, bytearray, memoryview)):
            raise AudioError(source, f"`bytes` must hold an encoded file; it is {type(raw).__name__}.")
        return _open_bytes(bytes(raw), source, stack)
    if isinstance(audio.get("data"), str):
        data = audio["data"]
        raw = None if data.startswith("data:") else _base64(data, "base64 data")
        return _open_text(data, stack) if raw is None else _open_bytes(raw, "base64 data", stack)
    if isinstance(path, (str, os.PathLike)):
        return _open(path, 0, stack)
    keys = ", ".join(map(str, audio))[:200]
    raise AudioError(source, f"needs `array`, `bytes` or `path`; it has {keys or 'nothing'}.")


def _open_stream(file: Any, stack: contextlib.ExitStack) -> AudioClip:
    source = _name(getattr(file, "name", None) or "audio file object")
    try:
        raw = file.read(MAX_BYTES + 1)
    except Exception as error:  # whatever the object raises
        raise AudioError(source, f"can't be read ({_short(error)}).") from error
    if not isinstance(raw, bytes):
        raise AudioError(source, "is open as text; open it in binary mode (`rb`).")
    return _open_bytes(raw, source, stack)


def _open_bytes(raw: bytes, source: str, stack: contextlib.ExitStack) -> AudioClip:
    if not raw:
        raise AudioError(source, "is empty (0 bytes).")
    if len(raw) > MAX_BYTES:
        raise AudioError(source, f"is larger than {MAX_BYTES >> 20} MiB.")
    return _decoded(_Bytes(raw), len(raw), source, stack)


class _Bytes(io.BytesIO):
    """Bytes in which a damaged header may send libsndfile anywhere: errors of its callbacks only make noise."""

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(max(offset, 0) if whence == 0 else offset, whence)


def _open_path(path: str | bytes, stack: contextlib.ExitStack) -> AudioClip:
    source = _name(path)
    try:
        _check_regular(os.stat(path), source)  # before it is opened: opening a device may do something
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        file = stack.enter_context(open(descriptor, "rb", buffering=0))
        size = _check_regular(os.fstat(descriptor), source)
    except FileNotFoundError as error:
        raise AudioError(source, "no such file.") from error
    except PermissionError as error:
        raise AudioError(source, "can't be read: permission denied.") from error
    except (OSError, ValueError) as error:
        raise AudioError(source, f"can't be read ({getattr(error, 'strerror', None) or _short(error)}).") from error
    if size == 0:
        raise AudioError(source, "is empty (0 bytes).")
    return _decoded(file, size, source, stack)


def _check_regular(found: os.stat_result, source: str) -> int:
    if stat.S_ISDIR(found.st_mode):
        raise AudioError(source, "is a folder, not an audio file.")
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(source, "is a pipe, socket or device, not an audio file.")
    return found.st_size


def _download(url: str) -> bytes:
    """What a URL holds, within a time for the whole transfer; a thread, for a name server or a header may hang too."""
    result: list[Any] = []

    def fetch():
        try:
            result.append(_transfer(url, time.monotonic()))
        except Exception as error:  # urllib, http.client, ssl, idna: each its own
            result.append(error)

    worker = threading.Thread(target=fetch, daemon=True)
    worker.start()
    worker.join(DOWNLOAD_SECONDS)
    outcome = result[0] if result else TimeoutError(f"it takes longer than {DOWNLOAD_SECONDS} s")
    if isinstance(outcome, AudioError):
        raise outcome
    if isinstance(outcome, Exception):
        raise AudioError(_name(url), f"could not be downloaded ({_short(outcome)}).") from outcome
    return outcome


def _transfer(url: str, start: float) -> bytes:
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    safe = "/%:=&?~+!$,;'@()*[]"
    plain = parts._replace(netloc=host, path=urllib.parse.quote(parts.path, safe), fragment="")
    plain = plain._replace(query=urllib.parse.quote(parts.query, safe))
    request = urllib.request.Request(plain.geturl(), headers={"User-Agent": "audiollm"})
    data = bytearray()
    with urllib.request.urlopen(request, timeout=DOWNLOAD_STALL) as response:
        promised = response.headers.get("Content-Length") or ""
        while chunk := response.read1(BLOCK):
            data += chunk
            elapsed = time.monotonic() - start
            if len(data) > MAX_BYTES:
                raise AudioError(_name(url), f"is larger than {MAX_BYTES >> 20} MiB.")
            if elapsed > DOWNLOAD_SECONDS or (elapsed > DOWNLOAD_STALL and len(data) < DOWNLOAD_SLOWEST * elapsed):
                raise TimeoutError(f"{len(data):,} bytes in {elapsed:.0f} s are too slow")
    if promised.isdigit() and len(data) < int(promised):
        raise AudioError(_name(url), f"was cut short: {len(data):,} of {int(promised):,} bytes came.")
    return bytes(data)


def _decoded(file: BinaryIO, size: int, source: str, stack: contextlib.ExitStack) -> AudioClip:
    """A clip of an encoded file; what it holds, not its name, says what it is."""
    try:
        head = file.read(64)
        container = _container(head)
        cut = _cut_off(file, head, size, container)
        fault = None if cut is None else AudioError(source, cut)
        file.seek(0)
        try:
            clip = _open_av(file, container, source, stack) if container else _open_soundfile(file, source, stack)
        except (AudioError, ImportError):
            if fault is not None:
                raise fault from None
            raise
        clip.fault = fault
        return clip
    except OSError as error:
        raise AudioError(source, f"can't be read ({error.strerror or _short(error)}).") from error


def _open_soundfile(file: BinaryIO, source: str, stack: contextlib.ExitStack) -> AudioClip:
    if soundfile is None:
        raise ImportError("Reading audio files needs soundfile: pip install soundfile")
    try:
        # By its descriptor a file has no name from which soundfile could guess a headerless format.
        target = os.dup(file.fileno()) if not isinstance(file, io.BytesIO) else file
        sound = stack.enter_context(soundfile.SoundFile(target, closefd=True))
    except Exception as error:  # soundfile's own, and what it does not expect: TypeError, RuntimeError, ...
        raise _undecodable(source, error) from error
    if sound.format not in KINDS:
        known = ", ".join(dict.fromkeys(KINDS.values()))
        raise AudioError(source, f"is a {sound.format} file; {known} are read.")
    rate, channels = _valid_rate(sound.samplerate, source), _valid_channels(sound.channels, source)
    sound.seekable = lambda: False  # else soundfile seeks after each read, which FLAC of unknown length refuses
    known = 0 <= sound.frames < 1 << 48  # FLAC from a pipe promises 2**63 - 1
    frames = max(1, sound.frames - 2 * 1152) if sound.format in ("MPEG", "MP3") else sound.frames  # counted loosely

    def read() -> Iterator[np.ndarray]:
        try:
            while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
                yield block
        except Exception as error:
            raise _undecodable(source, error) from error

    return AudioClip(source, rate, channels, frames if known else None, read, sound.seek, KINDS[sound.format])


def _undecodable(source: str, error: Exception) -> AudioError:
    said = getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
    reason = " ".join(str(said).split()).rstrip(".")[:200] or type(error).__name__
    return AudioError(source, f"can't be decoded as audio ({reason}). Is it an audio file, and whole?")


def _container(head: bytes) -> str | None:
    """FFmpeg's name of what libsndfile does not read. It is told, not asked: it would follow playlists to anywhere."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head[:1] == b"\xff" and head[1:2] and head[1] & 0xF6 == 0xF0:  # layer 0: not MPEG audio but AAC
        return "aac"
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return "asf"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    return "amr" if head.startswith(b"#!AMR") else None


def _open_av(file: BinaryIO, container: str, source: str, stack: contextlib.ExitStack) -> AudioClip:
    ffmpeg = av
    if ffmpeg is None:
        advice = "`pip install av` to read its sound, or extract it: ffmpeg -i FILE -vn -ac 1 -ar 16000 CLIP.wav"
        raise AudioError(source, f"is video or AAC; {advice}")
    try:
        film: Any = stack.enter_context(ffmpeg.open(file, mode="r", format=container, metadata_errors="ignore"))
        stream = next(iter(film.streams.audio), None)
    except Exception as error:  # FFmpeg's many, and ValueError, MemoryError, ...
        raise _undecodable(source, error) from error
    if stream is None or stream.codec_context is None:
        raise AudioError(source, "holds no sound that can be decoded. Is it whole?")
    rate = _valid_rate(stream.codec_context.sample_rate, source)
    channels = _valid_channels(stream.codec_context.channels, source, MAX_FILM_CHANNELS)
    promised = None
    if stream.duration and stream.time_base:
        promised = float(stream.duration * stream.time_base)
    elif film.duration and len(film.streams) == 1 and container != "aac":  # of AAC it is a guess
        promised = film.duration / 1e6
    # A length counts what an encoder adds at both ends, which a decoder may leave out.
    frames = None if promised is None else max(1, int((promised - max(0.15, promised / 50)) * rate))

    def read(layout: Any, channels: int) -> Iterator[np.ndarray]:
        try:
            # FFmpeg knows how much of each channel of a film makes its sound; of floats the sum may clip.
            resampler = ffmpeg.AudioResampler("s16", layout, rate)
            for frame in film.decode(stream):
                _valid_channels(len(frame.layout.channels), source, MAX_FILM_CHANNELS)  # they may change on the way
                for part in resampler.resample(frame):
                    yield part.to_ndarray().reshape(-1, channels).astype(np.float32) / (1 << 15)
        except AudioError:
            raise
        except Exception as error:
            raise _undecodable(source, error) from error

    unmixed = channels, partial(read, stream.codec_context.layout, channels)
    return AudioClip(source, rate, 1, frames, partial(read, "mono", 1), kind="film", unmixed=unmixed)


def _cut_off(file: BinaryIO, head: bytes, size: int, container: str | None) -> str | None:
    """What is missing of a file that ends before its header says, or in the middle of a page or frame.

    Decoders give what is there without a word: of half a WAV its first half.
    """
    if head.startswith(b"OggS"):
        cut = _ogg_is_cut(file, size)
    elif not container and (head.startswith(b"ID3") or (head[:1] == b"\xff" and head[1:2] and head[1] >= 0xE0)):
        cut = _mp3_is_cut(file, size)
    else:
        end = _declared_end(file, head, size, container)
        if end is not None and end > size:
            return f"is cut off: {size:,} of {end:,} bytes are there."
        return None
    return "is cut off: its end is missing." if cut else None


def _declared_end(file: BinaryIO, head: bytes, size: int, container: str | None) -> int | None:
    """Where the samples end, as the header says it; None where it does not, as when it was written to a pipe."""
    order = "big" if head[:4] in (b"RIFX", b"FORM", b"caff", b".snd") else "little"
    if container == "mov":
        return _box_end(file, size)
    if container == "matroska":
        return _segment_end(file, size)
    if container == "avi" or head.startswith(b"riff\x2e\x91\xcf\x11"):
        at, width, rest = (4, 4, 8) if container else (16, 8, 0)
        return int.from_bytes(head[at : at + width], "little") + rest
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM", b"caff"):
        return _chunk_end(file, size, order)
    if head[:4] in (b".snd", b"dns."):
        start, length = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
        return None if length >= 0x7FFF0000 else start + length
    if head.startswith(b"NIST_1A"):
        file.seek(0)
        text = file.read(1 << 14)
        said = {name: int(number) for name, number in re.findall(rb"(\w+) -i (\d{1,15})", text)}
        start = int(text[8:16]) if text[8:16].strip().isdigit() else 1024
        return start + math.prod(said.get(name, 0) for name in (b"sample_count", b"sample_n_bytes", b"channel_count"))
    return None


_BOXES = tuple(b"ftyp styp moov moof mdat mfra free skip wide uuid sidx ssix prft emsg meta pnot".split())


def _box_end(file: BinaryIO, size: int) -> int | None:
    """Where the last box of an MP4 ends."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if head[4:8] not in _BOXES or length == 0:  # 0: to the end of the file
            break
        position += max(8, int.from_bytes(head[8:], "big") if length == 1 else length)
    return position


def _segment_end(file: BinaryIO, size: int) -> int | None:
    """Where the segment of a Matroska or WebM file ends; those of a live recording do not say."""
    position = 0
    for _ in range(2):  # the header, and the segment
        file.seek(position + 4)  # both have ids of four bytes
        head = file.read(8)
        width = 9 - head[0].bit_length() if head and head[0] else 8
        bits = 7 * width
        length = int.from_bytes(head[:width], "big") & ((1 << bits) - 1)
        if len(head) < width or length == (1 << bits) - 1:
            return None
        position += 4 + width + length
        if position > size:
            break
    return position


def _chunk_end(file: BinaryIO, size: int, order: Literal["big", "little"]) -> int | None:
    """Where the samples end in a file of chunks: WAV, RF64, AIFF, CAF."""
    file.seek(0)
    caf, large = file.read(4) == b"caff", 0
    position, width, pad = (8, 8, 0) if caf else (12, 4, 1)
    while position < size:
        file.seek(position)
        head = file.read(4 + width)
        length = int.from_bytes(head[4:], order)
        if len(head) < 4 + width:
            return None
        if head[:4] == b"ds64":
            large = int.from_bytes(file.read(16)[8:], "little")
        if head[:4] in (b"data", b"SSND"):
            length = large if length == 0xFFFFFFFF and large else length
            # Whoever writes to a pipe, or has crashed, leaves the largest size there is, or thereabouts.
            unknown = 0x7FFF0000 <= length <= 0xFFFFFFFF or length == (1 << 64) - 1
            return None if unknown and length > size else position + 4 + width + length
        position += 4 + width + length + length % 2 * pad
    return None


def _ogg_is_cut(file: BinaryIO, size: int) -> bool:
    start = max(0, size - (1 << 17))  # a page has less than 64 KiB
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27 or len(tail) < page + 27 + tail[page + 26]:
        return True
    lengths = tail[page + 27 : page + 27 + tail[page + 26]]
    return page + 27 + len(lengths) + sum(lengths) > len(tail) or not tail[page + 5] & 4  # 4: the last page


_MP3_KBITS = {  # by (version 1 or not, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _mp3_is_cut(file: BinaryIO, size: int) -> bool:
    """Whether the last frame is not whole, going from frame to frame; what follows the last one does not matter."""
    in_memory = isinstance(file, io.BytesIO)
    raw = file.getbuffer() if in_memory else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    position = 0
    while raw[position : position + 3] == b"ID3" and len(raw) >= position + 10:
        lengths = raw[position + 6 : position + 10]
        position += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(lengths, (21, 14, 7, 0)))
    while position + 4 <= len(raw):
        length = _mp3_frame_length(raw[position : position + 4])
        if length is None:
            return False
        position += length
    return size < position


def _mp3_frame_length(head: bytes | memoryview) -> int | None:
    version, layer, bits, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if head[0] != 0xFF or head[1] < 0xE0 or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    bits = _MP3_KBITS[version == 3, layer][bits] * 1000
    padding, rate = head[2] >> 1 & 1, _MP3_RATES[version][rate]
    if layer == 1:
        return (12 * bits // rate + padding) * 4
    return (144 if layer == 2 or version == 3 else 72) * bits // rate + padding


def _of_array(samples: Any, rate: Any, source: str) -> AudioClip:
    array = float_samples(samples, source)
    if array.ndim > 2:
        raise AudioError(source, f"has shape {array.shape}; expected [samples], or [channels, samples].")
    if array.ndim == 2:
        array = array if array.shape[1] < array.shape[0] else array.T
        if array.shape[1] > MAX_CHANNELS:
            raise AudioError(source, f"has shape {array.shape}: more than {MAX_CHANNELS} channels. Is it a batch?")
    else:
        array = np.atleast_1d(array)[:, None]
    return AudioClip(source, _valid_rate(rate, source), array.shape[1], len(array), lambda: iter([array]))


def _of_decoder(decoder: Any) -> AudioClip:
    try:
        decoded = decoder.get_all_samples()
        samples, rate = decoded.data, decoded.sample_rate
    except Exception as error:
        raise _undecodable("audio decoder", error) from error
    return _of_array(samples, rate, "audio decoder")


def float_samples(samples: Any, source: str = "audio array") -> np.ndarray:
    """Samples as float32 with 1.0 as full scale: the one rule for arrays, tensors and lists.

    Floats are taken as they are up to [`OVER_FULL_SCALE`]. Whole numbers (whole-valued floats beyond that too) are
    scaled by what they plainly are: int16, int8 and uint8 by their type; of wider types, 16-bit values if their peak
    is over 256 and at most 32,768, 32-bit ones if their peak is at least 2**23 or their low byte is empty throughout.

    Args:
        samples: array, tensor, or list of numbers, of any shape.
        source: for messages.

    Raises:
        AudioError: if they are no numbers, empty, not finite, or of a scale that nobody can tell.
    """
    array = _numbers(samples, source)
    if array.size == 0:
        raise AudioError(source, "holds no samples.")
    kind = array.dtype
    if kind == np.uint8 and array.ndim == 1 and array[:4].tobytes() in (b"RIFF", b"fLaC", b"OggS"):
        raise AudioError(source, "holds the bytes of a file as numbers; give them as `bytes`.")
    if kind in (np.int16, np.int8):
        return array.astype(np.float32) / -float(np.iinfo(kind).min)
    if kind == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if kind.kind in "iu":
        return (array / _scale_of_whole(array, source)).astype(np.float32)
    level = _Level(source)
    level.note(array)
    return (array / level.full_scale()).astype(np.float32)


def _numbers(samples: Any, source: str) -> np.ndarray:
    try:
        if callable(getattr(samples, "detach", None)):
            samples = samples.detach().cpu()
            # numpy has no bfloat16 and no 8-bit floats
            samples = (samples.float() if samples.is_floating_point() else samples).numpy()
        array = np.asarray(samples)
    except Exception as error:  # ragged lists, sparse or quantised tensors, tensors without data, ...
        raise AudioError(source, f"is not an array of samples ({_short(error)}).") from error
    if array.dtype.kind not in "fiu":
        raise AudioError(source, f"is not an array of samples (its type is {array.dtype}).")
    return array


def _scale_of_whole(array: np.ndarray, source: str) -> float:
    """Full scale of whole numbers of a type wider than their samples may be."""
    peak = max(abs(int(array.max())), abs(int(array.min())))
    if peak == 0 or 256 < peak <= 1 << 15:
        return float(1 << 15)
    if peak <= 1 << 31 and (peak >= 1 << 23 or (peak > 1 << 15 and not np.any(array & 0xFF))):
        return float(1 << 31)
    raise AudioError(
        source,
        f"holds whole numbers up to {peak:,}, of which nobody can tell whether they have 8, 16, 24 or 32 bits; give "
        "them as int16, or as floats from -1 to 1.",
    )


class _Level:
    """Peak of float samples, and whether all are whole numbers: what tells samples from sample values."""

    def __init__(self, source: str):
        self.source, self.peak, self.whole = source, 0.0, True

    def note(self, block: np.ndarray):
        low, high = float(block.min(initial=0.0)), float(block.max(initial=0.0))
        if not (math.isfinite(low) and math.isfinite(high)):
            count = int((~np.isfinite(block)).sum())
            raise AudioError(self.source, f"holds {count:,} samples that are NaN or infinite.")
        self.peak = max(self.peak, -low, high)
        if self.peak > 1 << 15:
            raise self._unknown()
        self.whole = self.whole and bool((block == np.rint(block)).all())

    def full_scale(self) -> float:
        if self.peak <= OVER_FULL_SCALE:
            return 1.0
        if self.whole and self.peak > 256:
            return float(1 << 15)
        raise self._unknown()

    def _unknown(self) -> AudioError:
        advice = "samples go from -1 to 1. Divide them by what full scale is."
        return AudioError(self.source, f"its level can't be right: a peak of {self.peak:.4g}, where {advice}")


def _valid_rate(rate: Any, source: str) -> int:
    value = rate.item() if getattr(rate, "ndim", None) == 0 and callable(getattr(rate, "item", None)) else rate
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and MIN_RATE <= value <= MAX_RATE
    if not good or int(value) != value:
        raise AudioError(
            source,
            f"has the sampling rate {repr(value)[:40]}; expected a whole number of Hz from {MIN_RATE:,} to "
            f"{MAX_RATE:,}.",
        )
    return int(value)


def _valid_channels(channels: int, source: str, most: int = MAX_CHANNELS) -> int:
    if not 1 <= channels <= most:
        raise AudioError(source, f"has {channels} channels; 1 to {most} are taken.")
    return channels


def at_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """A clip played faster or slower: pitch, pace and length change together.

    Args:
        samples: `[samples]`.
        speed: above 1 is faster, higher and shorter; a whole percent.
    """
    return np.concatenate([samples[:0], *resampled(iter([samples]), round(100 * speed), 100)])


_WIDTH, _ROLLOFF = 6, 0.99  # zero crossings on each side, and share of the band that is kept: torchaudio's defaults


def resampled(blocks: Iterator[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Blocks at another rate, by windowed-sinc interpolation: what `torchaudio.functional.resample` computes.

    Its memory does not grow with the length, nor with the smallest common multiple of the rates.

    Args:
        blocks: of shape `[samples]`.
        rate, target: in Hz; `ceil(samples * target / rate)` samples come out in all.
    """
    if rate == target:
        yield from blocks
        return
    common = math.gcd(rate, target)
    rate, target = rate // common, target // common
    width = math.ceil(_WIDTH * rate / (min(rate, target) * _ROLLOFF))
    taps = np.arange(-width, width + 1)
    bank = None
    if target * len(taps) <= 1 << 20:
        bank = _sinc_kernel(taps - (np.arange(target) * rate % target / target)[:, None], rate, target)
    held, first, given, total = np.zeros(width, np.float32), -width, 0, 0  # `held` begins at input sample `first`

    def interpolate(outputs: np.ndarray) -> np.ndarray:
        whole, part = outputs * rate // target, outputs * rate % target
        rows = _sinc_kernel(taps - (part / target)[:, None], rate, target) if bank is None else bank[part_row(part)]
        return np.einsum("ij,ij->i", held[(whole - first)[:, None] + taps], rows)

    def part_row(part: np.ndarray) -> np.ndarray:
        return part * pow(rate, -1, target) % target if target > 1 else part

    def ready(inputs: int) -> Iterator[np.ndarray]:
        """Outputs whose neighbours up to input sample `inputs` are all there."""
        nonlocal given
        stop = min(max(0, -(-(inputs - width) * target // rate)), -(-total * target // rate))
        step = max(1, (1 << 18) // len(taps))
        for start in range(given, stop, step):
            yield interpolate(np.arange(start, min(start + step, stop)))
        given = max(given, stop)

    for block in blocks:
        total += len(block)
        held = np.concatenate([held, block.astype(np.float32, copy=False)])
        yield from ready(total)
        unused = given * rate // target - width - first
        if unused > 0:
            held, first = held[unused:], first + unused
    held = np.concatenate([held, np.zeros(2 * width + rate // target + 2, np.float32)])
    yield from ready(total + 2 * width + rate // target + 2)


def _sinc_kernel(offsets: np.ndarray, rate: int, target: int) -> np.ndarray:
    scale = min(rate, target) * _ROLLOFF / rate
    t = np.clip(offsets * scale, -_WIDTH, _WIDTH)
    return (np.sinc(t) * np.cos(t * (math.pi / 2 / _WIDTH)) ** 2 * scale).astype(np.float32)


def _name(source: Any) -> str:
    """A path or URL for messages: short, and without the logins and keys that a URL may hold."""
    text = os.fsdecode(source) if isinstance(source, (bytes, os.PathLike)) else str(source)
    text = text.encode("utf-8", "replace").decode().replace("\x00", "\\0")
    if "://" in text[:16]:
        scheme, _, rest = text.partition("://")
        host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
        text = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
