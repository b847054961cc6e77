# This file travels to the Hub with the processor: imports of its own folder only, relative and one level deep.
"""From whatever a person has (path, URL, bytes, array) to mono float32 samples at one rate."""

from __future__ import annotations

import io
import math
import os
import urllib.error
import urllib.request
from typing import Any

import numpy as np


# Inside `try`, so that the Hub's loader asks for them only when they are used (dynamic_module_utils.check_imports).
try:
    import soundfile
except ImportError:
    soundfile = None
try:
    import torch
    import torchaudio
except (ImportError, OSError):
    torchaudio = None

MIN_RATE, MAX_RATE = 1_000, 768_000
MAX_CHANNELS = 32
DOWNLOAD_TIMEOUT = 60
DOWNLOAD_LIMIT = 1 << 30


class AudioError(ValueError):
    """Audio that can't be used, with the reason; `source` names the file, URL or kind of input."""

    def __init__(self, source: str, reason: str):
        super().__init__(f"{source}: {reason}")
        self.source, self.reason = source, reason


def load_audio(audio: Any, sampling_rate: int = 16_000, array_rate: int | None = None) -> np.ndarray:
    """Load audio as mono float32 samples in [-1, 1] at `sampling_rate`.

    Args:
        audio: a path, an http(s) URL, encoded bytes, a file object, an array or tensor of samples (mono, or stereo
            with channels first or last; integers are scaled to [-1, 1]), a pair `(array, rate)`, or a mapping with
            `array` and `sampling_rate`, or `bytes` and/or `path`, as `datasets` gives them.
        sampling_rate: rate to give, in Hz.
        array_rate: rate of a bare array, in Hz; `sampling_rate` when left out.

    Returns:
        `np.ndarray` of shape `[samples]`, at least one sample. Silence is audio like any other.

    Raises:
        AudioError: if the audio is missing, unreadable, empty, not finite, or has an impossible rate or shape.
    """
    samples, rate, source = _read(audio, array_rate or sampling_rate)
    samples = _to_mono_float(samples, source)
    return _resample(samples, _valid_rate(rate, source), sampling_rate)


def _read(audio: Any, array_rate: int) -> tuple[np.ndarray, int, str]:
    if isinstance(audio, (str, os.PathLike)):
        return _read_path(os.fspath(audio))
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(audio), "audio bytes")
    if isinstance(audio, dict):
        return _read_mapping(audio, array_rate)
    if isinstance(audio, tuple) and len(audio) == 2 and np.ndim(audio[1]) == 0:
        return _to_numpy(audio[0], "audio array"), audio[1], "audio array"
    if hasattr(audio, "read"):
        return _decode(audio, str(getattr(audio, "name", "audio file object")))
    if hasattr(audio, "get_all_samples"):  # torchcodec's AudioDecoder, which `datasets` gives since 4.0
        decoded = audio.get_all_samples()
        return _to_numpy(decoded.data, "audio decoder"), decoded.sample_rate, "audio decoder"
    if audio is None:
        raise AudioError("audio", "is None; give a path, URL, bytes, array or (array, rate).")
    return _to_numpy(audio, "audio array"), array_rate, "audio array"


def _read_mapping(audio: dict, array_rate: int) -> tuple[np.ndarray, int, str]:
    source = str(audio.get("path") or "audio mapping")
    if audio.get("array") is not None:
        return _to_numpy(audio["array"], source), audio.get("sampling_rate") or array_rate, source
    if audio.get("bytes") is not None:
        return _decode(io.BytesIO(audio["bytes"]), source)
    if audio.get("path"):
        return _read_path(source)
    raise AudioError(source, f"needs `array`, `bytes` or `path`; it has {', '.join(audio) or 'nothing'}.")


def _read_path(path: str) -> tuple[np.ndarray, int, str]:
    if path.startswith(("http://", "https://")):
        return _decode(io.BytesIO(_download(path)), path)
    if not os.path.exists(path):
        raise AudioError(path, "no such file.")
    if os.path.isdir(path):
        raise AudioError(path, "is a folder, not an audio file.")
    with open(path, "rb") as file:
        return _decode(file, path)


def _download(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "audiollm"})
    try:
        with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT) as response:
            data = response.read(DOWNLOAD_LIMIT + 1)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise AudioError(url, f"could not be downloaded ({error}).") from error
    if len(data) > DOWNLOAD_LIMIT:
        raise AudioError(url, f"is larger than {DOWNLOAD_LIMIT >> 20} MiB.")
    return data


def _decode(file: Any, source: str) -> tuple[np.ndarray, int, str]:
    if soundfile is None:
        raise ImportError("Reading audio files needs soundfile: pip install soundfile")
    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(source, f"can't be decoded as audio ({error}). Is it an audio file, and whole?") from error
    return samples.T, rate, source


def _to_numpy(samples: Any, source: str) -> np.ndarray:
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu().numpy()
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise AudioError(source, f"is not an array of samples ({error}).") from error
    if array.dtype.kind not in "fiu":
        raise AudioError(source, f"is not an array of samples (its type is {array.dtype}).")
    return array


def _to_mono_float(samples: np.ndarray, source: str) -> np.ndarray:
    if samples.size == 0:
        raise AudioError(source, "holds no samples.")
    if samples.dtype.kind == "u":
        samples = samples.astype(np.float64) / (np.iinfo(samples.dtype).max / 2) - 1
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)
    if samples.ndim > 2:
        raise AudioError(source, f"has shape {samples.shape}; expected [samples], or [channels, samples].")
    if samples.ndim == 2:
        channel_axis = int(samples.shape[1] < samples.shape[0])
        if samples.shape[channel_axis] > MAX_CHANNELS:
            raise AudioError(source, f"has shape {samples.shape}: more than {MAX_CHANNELS} channels. Is it a batch?")
        samples = samples.mean(axis=channel_axis)
    samples = np.ascontiguousarray(np.atleast_1d(samples), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(source, f"holds {int((~np.isfinite(samples)).sum())} samples that are NaN or infinite.")
    return samples


def _valid_rate(rate: Any, source: str) -> int:
    if not MIN_RATE <= rate <= MAX_RATE or math.isnan(rate) or int(rate) != rate:
        raise AudioError(source, f"has the sampling rate {rate!r}; expected a whole number of Hz from {MIN_RATE}.")
    return int(rate)


def _resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    if rate == target:
        return samples
    if torchaudio is None:
        raise ImportError(f"Resampling from {rate} to {target} Hz needs torchaudio: pip install torchaudio")
    return torchaudio.functional.resample(torch.from_numpy(samples), rate, target).numpy()
