"""Nobody is told the emotion of silence or noise, and no speaker is turned away."""

from pathlib import Path

import numpy as np
import pytest

from audiollm.modeling_audiollm.speech_presence import NO_SPEECH, why_no_speech
from audiollm.processing.audio import load_audio
from tests.tiny import like_a_voice


RATE = 16_000
SAMPLES = sorted((Path(__file__).parents[1] / "samples" / "audio" / "test").glob("*.ogg"))[::12]


def at_level(samples, decibels):
    return samples * 10 ** (decibels / 20) / np.sqrt(np.mean(samples**2))


def noise(seconds, slope=0.0, seed=0):
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=round(seconds * RATE)))
    return np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 1) ** (slope / 2), round(seconds * RATE))


def harmonics(seconds, pitch, count=8):
    time = np.arange(round(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * n * pitch * time) / n for n in range(1, count + 1))


def melody(seconds, decay):
    notes = np.random.default_rng(1).integers(-5, 13, round(seconds / 0.25))
    fading = np.exp(-decay * np.arange(RATE // 4) / RATE)
    return np.concatenate([harmonics(0.25, 220 * 2 ** (note / 12)) * fading for note in notes])


def clicks(seconds):
    samples, chance = np.zeros(round(seconds * RATE)), np.random.default_rng(2)
    for start in chance.integers(0, len(samples) - 100, round(2 * seconds)):
        samples[start : start + 100] += chance.normal(size=100) * np.exp(-np.arange(100) / 20)
    return samples


@pytest.mark.parametrize(
    "kind, samples",
    {
        "silence": np.zeros(2 * RATE),
        "silence of 16 bits": np.round(noise(2)) / 32_768,
        "silence of no length": np.zeros(0),
        "noise white": at_level(noise(3), -30),
        "noise white, faint": at_level(noise(1), -60),
        "noise pink": at_level(noise(3, 1), -30),
        "noise brown": at_level(noise(3, 2), -30),
        "noise that swells": at_level(noise(4) * np.linspace(0.05, 1, 4 * RATE), -30),
        "noise of a minute": at_level(noise(60), -30),
        "noise and hum": at_level(harmonics(3, 50), -30) + at_level(noise(3), -40),
        "tones, one": 0.2 * harmonics(1, 220, 1),
        "tones, mains": at_level(harmonics(3, 100), -30),
        "tones, a tune": at_level(melody(4, 0), -25),
        "tones, plucked": at_level(melody(4, 8), -25),
        "clicks": 0.3 * clicks(4),
    }.items(),
)
def test_what_holds_no_speech_is_told(kind, samples):
    reason = why_no_speech(samples, RATE)
    assert reason in NO_SPEECH and kind.startswith(reason)


@pytest.mark.parametrize("level", [-15, -40, -60])
def test_speech_is_never_turned_away_however_quiet(level):
    assert SAMPLES
    for path in SAMPLES:
        assert why_no_speech(at_level(load_audio(str(path)), level), RATE) is None, path.name


def test_speech_within_noise_between_silence_and_in_snatches_is_speech():
    for path in SAMPLES:
        speech = at_level(load_audio(str(path)), -30)
        middle = len(speech) // 2
        for heard in (
            speech + at_level(noise(len(speech) / RATE)[: len(speech)], -35),
            speech + at_level(harmonics(len(speech) / RATE, 50)[: len(speech)], -35),
            np.concatenate([np.zeros(20 * RATE), speech, np.zeros(7 * RATE)]),
            speech[middle - RATE // 5 : middle + RATE // 5],
        ):
            assert why_no_speech(heard, RATE) is None, path.name


def test_other_rates_are_heard_alike():
    assert why_no_speech(like_a_voice(2, 8_000), 8_000) is None
    assert why_no_speech(0.1 * noise(2), 8_000) == "noise"
