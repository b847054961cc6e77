"""What explanations claim of a voice is read, and checked against what was measured."""

import numpy as np
import pytest

from audiollm.voice_claims.claims import check_cues, find_claims
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


def test_every_cue_is_measured():
    from dataclasses import asdict

    from audiollm.modeling_audiollm.voice_cues import voice_cues

    tone = 0.1 * np.sign(np.sin(2 * np.pi * 150 * np.arange(16_000) / 16_000))
    assert {cue.measure for cue in CUES.values()} <= asdict(voice_cues(tone)).keys()
