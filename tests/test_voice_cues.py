import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from audiollm.corpora.schema import read_rows
from audiollm.modeling_audiollm.voice_cues import VoiceCues, describe_cues, pitch_track, voice_cues
from audiollm.processing.audio import load_audio


RATE = 16_000


def voice(pitch, rate=RATE, harmonics=8):
    """A buzz like a voice's, of a pitch (Hz) for each sample."""
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    return sum(np.sin(number * phase) / number for number in range(1, harmonics + 1)) * 0.1


def steady(hertz, seconds, rate=RATE):
    return voice(np.full(round(seconds * rate), float(hertz)), rate)


@pytest.mark.parametrize("hertz", [75, 110, 212, 330, 450])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_the_pitch_of_a_steady_tone_is_measured_within_one_per_cent(hertz, rate):
    cues = voice_cues(steady(hertz, 0.8, rate), rate)
    assert cues.pitch_hz == pytest.approx(hertz, rel=0.01)
    assert cues.pitch_range_semitones < 0.3


def test_a_glide_of_an_octave_spans_what_its_percentiles_span():
    glide = 150 * 2 ** np.linspace(0, 1, 2 * RATE)
    assert voice_cues(voice(glide)).pitch_range_semitones == pytest.approx(0.9 * 12, abs=0.7)


def test_loudness_is_the_level_of_the_speech_and_not_of_the_silence_around_it():
    tone = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    alone = voice_cues(tone)
    assert alone.loudness_db == pytest.approx(-3, abs=0.3)
    assert voice_cues(0.1 * tone).loudness_db == pytest.approx(-23, abs=0.3)
    framed = np.concatenate([np.zeros(RATE), tone, np.zeros(2 * RATE)])
    assert voice_cues(framed).loudness_db == pytest.approx(alone.loudness_db, abs=0.5)


def test_pauses_are_silences_inside_the_speech_and_gaps_within_words_are_none():
    gap = np.zeros(round(0.1 * RATE))
    pause = np.zeros(round(0.5 * RATE))
    clip = np.concatenate(
        [
            pause,
            steady(150, 0.4),
            gap,
            steady(150, 0.4),
            pause,
            steady(150, 0.6),
            pause,
            steady(150, 0.5),
            pause,
            pause,
        ]
    )
    cues = voice_cues(clip)
    assert cues.pauses == 2
    assert cues.pause_share == pytest.approx(1.0 / 3.0, abs=0.03)


@pytest.mark.parametrize("rate", [2.5, 4, 6])
def test_syllables_are_counted_at_the_rate_at_which_the_level_swells(rate):
    time = np.arange(4 * RATE) / RATE
    swells = 0.03 + np.maximum(0, np.sin(2 * np.pi * rate * time)) ** 0.7
    assert voice_cues(steady(140, 4) * swells).syllables_per_second == pytest.approx(rate, rel=0.12)


def test_words_are_counted_where_a_transcript_tells_how_many():
    cues = voice_cues(steady(150, 2), words=5)
    assert cues.words_per_second == pytest.approx(2.5, rel=0.03)
    assert "2.5 words/s" in describe_cues(cues)


def test_noise_has_loudness_but_no_pitch():
    cues = voice_cues(np.random.default_rng(0).normal(0, 0.1, RATE))
    assert cues.pitch_hz is None and cues.syllables_per_second is None
    assert cues.loudness_db == pytest.approx(-20, abs=0.5)
    assert "no pitch" in describe_cues(cues)


@pytest.mark.parametrize("clip", [np.zeros(RATE), np.zeros(1), np.empty(0)])
def test_silence_has_no_cues_and_says_so(clip):
    cues = voice_cues(clip)
    assert cues == VoiceCues(len(clip) / RATE, None, None, None, None, None, None, None, 0)
    assert describe_cues(cues) == "no voice: the clip is silent"


def test_a_very_short_clip_does_not_break():
    assert voice_cues(np.full(10, 0.5)).loudness_db is not None


def test_what_is_no_mono_clip_is_refused():
    with pytest.raises(ValueError, match="mono"):
        voice_cues(np.zeros((2, 100)))


def test_the_description_is_in_plain_words():
    cues = VoiceCues(3.0, 212.4, 7.2, -23.1, 9.0, 3.91, None, 0.178, 2)
    expected = "pitch 212 Hz, range 7 semitones; loudness -23 dB; 3.9 syllables/s; 18% pauses"
    assert describe_cues(cues) == expected


def test_pitch_of_speech_agrees_with_world():
    """pyworld's Harvest, on the spoken samples: most frames within 5%, and each clip's level."""
    if importlib.util.find_spec("pyworld") is None:
        pytest.skip("needs pip install 'audiollm[synth]'")
    spec = importlib.util.spec_from_file_location("voices", Path("samples/voices.py"))
    voices = sys.modules["voices"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(voices)
    pyworld = voices._world()
    paths = sorted({row["audio"]["path"] for row in read_rows("samples", "test")})[::16]
    close = total = 0
    for path in paths:
        clip = load_audio(path)
        ours = pitch_track(clip)
        theirs, _ = pyworld.harvest(clip.astype(np.float64), RATE, f0_floor=60, f0_ceil=500, frame_period=10)
        length = min(len(ours), len(theirs))
        both = np.isfinite(ours[:length]) & (theirs[:length] > 0)
        ratio = ours[:length][both] / theirs[:length][both]
        close, total = close + np.sum(np.abs(ratio - 1) < 0.05), total + both.sum()
        assert np.median(ours[:length][both]) == pytest.approx(np.median(theirs[:length][both]), rel=0.08)
    assert close / total > 0.85


def test_the_pipeline_gives_cues_on_request_only(tiny, tone):
    from audiollm.modeling_audiollm import AudioEmotionReasoningPipeline

    model, processor = tiny
    pipe = AudioEmotionReasoningPipeline(model=model, processor=processor, max_new_tokens=2)
    clips = [tone(0.5), tone(0.9, seed=3)]
    assert "cues" not in pipe(clips[0])
    answers = pipe(clips, batch_size=2, return_cues=True)
    assert [round(answer["cues"]["pitch_hz"]) for answer in answers] == [200, 290]
    assert VoiceCues(**answers[0]["cues"]) == voice_cues(clips[0])
