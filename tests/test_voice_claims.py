"""What explanations claim of a voice is read, and checked against what was measured."""

from pathlib import Path

import evaluate
import numpy as np
import pytest
import soundfile

from audiollm.voice_claims.claims import check_cues, find_claims
from audiollm.voice_claims.measures import count_syllables, measure_clip
from audiollm.voice_claims.norms import CUES, norms_by_speaker, norms_of


USUAL = {
    "pitch_hz": 200.0,
    "pitch_range_semitones": 8.0,
    "loudness_db": -25.0,
    "syllables_per_second": 4.0,
    "pause_share": 0.1,
}


def read(text):
    return [(claim.cue, claim.direction, claim.denied) for claim in find_claims(text)]


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("The voice is low and slow.", [("pitch", "low", False), ("rate", "low", False)]),
        ("They speak in a raised voice and at a rapid pace.", [("loudness", "high", False), ("rate", "high", False)]),
        ("Her pitch is raised and her volume is low.", [("pitch", "high", False), ("loudness", "low", False)]),
        ("The pitch of the voice is rather low.", [("pitch", "low", False)]),
        ("A high-pitched, trembling voice.", [("pitch", "high", False), (None, None, False)]),
        ("His voice is neither loud nor fast.", [("loudness", "high", True), ("rate", "high", True)]),
        ("The voice isn’t raised.", [("loudness", "high", True)]),
        ("The tone is not loud, but quick.", [("loudness", "high", True), ("rate", "high", False)]),
        ("The tone is low-pitched and monotone, without pauses.", [
            ("pitch", "low", False), ("pitch_range", "low", False), ("pauses", "low", False)
        ]),
        ("The speaker speaks at a normal pace.", [("rate", "middle", False)]),
        ("The delivery is slow, with frequent pauses.", [("rate", "low", False), ("pauses", "high", False)]),
        ("He is shouting. He is shouting again.", [("loudness", "high", False)]),
    ],
)  # fmt: skip
def test_claims_are_read(text, claims):
    assert read(text) == claims


@pytest.mark.parametrize(
    "text",
    [
        'The speaker sounds sad: "my voice is low and slow".',
        "The speaker is in a low mood and complains about high prices.",
        "The speaker talks about a fast car and loud music.",
        "The voice conveys deep sadness.",
        "The speaker says they lost a quick game.",
        "Is the voice loud?",
        "",
    ],
)
def test_what_is_said_of_other_things_is_no_claim(text):
    assert read(text) == []


@pytest.mark.parametrize(
    ("text", "changes", "counts"),
    [
        ("The voice is low and slow.", {"pitch_hz": 160.0, "syllables_per_second": 3.0}, (2, 2, 2)),
        ("The voice is low and slow.", {"pitch_hz": 240.0, "syllables_per_second": 3.0}, (2, 2, 1)),
        ("The voice is low and shaky.", {"pitch_hz": 160.0}, (2, 1, 1)),
        ("The voice is loud.", {}, (1, 1, 0)),
        ("The voice is not loud.", {}, (1, 1, 1)),
        ("The volume is normal.", {}, (1, 1, 1)),
        ("The voice is high.", {"pitch_hz": None}, (1, 0, 0)),
        ("The voice is flat, with long pauses.", {"pitch_range_semitones": 3.0, "pause_share": 0.3}, (2, 2, 2)),
    ],
)
def test_claims_are_checked_against_measures_and_norms(text, changes, counts):
    found = check_cues(text, USUAL | changes, norms_of([USUAL] * 5))
    assert (found.claimed, found.checkable, found.true) == counts


def test_without_norms_nothing_can_be_checked():
    found = check_cues("The voice is low.", USUAL, None)
    assert (found.claimed, found.checkable, found.true) == (1, 0, 0)


def test_a_speaker_with_several_clips_has_norms_of_its_own():
    low, high = USUAL | {"pitch_hz": 100.0}, USUAL | {"pitch_hz": 220.0}
    speakers = ["low"] * 6 + ["high"] * 6 + ["once", None]
    norms = norms_by_speaker([low] * 6 + [high] * 6 + [low, low], speakers)
    assert [norm.of for norm in norms] == ["speaker"] * 12 + ["corpus"] * 2
    assert check_cues("The voice is high.", low | {"pitch_hz": 130.0}, norms[0]).true == 1
    assert check_cues("The voice is high.", low | {"pitch_hz": 130.0}, norms[6]).true == 0


def tone(pitch=150.0, level=0.1, seconds=1.0):
    """A buzz whose level falls and rises four times a second, as syllables do."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    return level * np.sign(np.sin(2 * np.pi * pitch * time)) * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * time))


def test_every_cue_is_measured():
    measured = measure_clip(tone(), transcript="Nobody told me that.")
    assert {name for cue in CUES.values() for name in cue.measures} <= measured.keys()


@pytest.mark.parametrize(("text", "count"), [("Nobody told me the little tree.", 9), ("", 0), ("\u4f60\u597d", 0)])
def test_syllables_of_a_text_are_counted(text, count):
    assert count_syllables(text) == count


@pytest.mark.parametrize(
    ("changed", "true", "false"),
    [
        ({"pitch": 190.0}, "The voice is high.", "The voice is low."),
        ({"pitch": 120.0}, "The voice is deep.", "The voice is high-pitched."),
        ({"level": 0.25}, "A raised voice.", "The voice is quiet."),
        ({"level": 0.04}, "They speak softly.", "They are shouting."),
        ({"seconds": 0.75}, "They speak fast.", "The voice is slow."),
        ({"seconds": 1.5}, "They speak slowly.", "The pace is fast."),
    ],
)
def test_what_was_changed_in_a_sound_is_what_may_be_claimed_of_it(changed, true, false):
    said = "Nobody told me."
    norms = norms_of([measure_clip(tone(), transcript=said)])
    heard = measure_clip(tone(**changed), transcript=said)
    assert check_cues(true, heard, norms).true == 1
    assert check_cues(false, heard, norms).true == 0


def test_the_metric_folder_loads_by_evaluate(tmp_path):
    paths = [str(tmp_path / f"{name}.wav") for name in "abc"]
    for path, pitch in zip(paths, (150, 150, 200)):
        soundfile.write(path, tone(pitch), 16_000)
    folder = Path(__file__).parents[1] / "eval" / "cue_score"
    metric = evaluate.load(str(folder), cache_dir=str(tmp_path / "cache"))
    said = ["The voice is high.", "Sad.", "Happy: the voice is high and shaky."]
    found = metric.compute(predictions=said, references=paths)
    assert (found["n_claims"], found["n_claims_checkable"], found["cues_true"]) == (3, 2, 50.0)
