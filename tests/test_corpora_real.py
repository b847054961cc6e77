"""Readers on the real files that lie beside the checkout, where they do."""

from collections import Counter
from pathlib import Path

import pytest

from audiollm.corpora.reader import Request
from audiollm.corpora.readers import READERS, read_items
from audiollm.corpora.rejects import Reject


DATA = Path(__file__).parents[2] / "shared" / "data"
MOODS = ("angry", "fearful", "happy", "neutral", "sad", "surprised")
CASES = {
    "ravdess": ("ravdess", "test", True, {("asr", None): 240, ("er", "neutral"): 16, ("er", "angry"): 32}),
    "librispeech": ("librispeech", "test", True, {("asr", None): 100}),
    "nemo": ("nemo", "test", True, {("asr", None): 90, **{("er", mood): 15 for mood in MOODS}}),
    "spoken_squad": ("spoken_squad", "test", False, {("sqa", None): 5351}),
    "iemocap": ("emobox", "test", False, {("er", "neutral"): 384, ("er", "happy"): 278, ("er", "sad"): 194}),
    "m3ed": ("emobox", "test", False, {("er", "neutral"): 1853, ("er", "angry"): 736, ("er", "fearful"): 65}),
}


@pytest.mark.parametrize("folder", CASES)
def test_real_files_are_read_whole(folder):
    reader, split, clips, expected = CASES[folder]
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not beside this checkout")
    items = list(read_items(reader, Request(DATA / folder, split, check_audio=clips)))
    assert not [item for item in items if isinstance(item, Reject)]
    counts = Counter((item["task"], item["label"]) for item in items)
    assert {key: counts[key] for key in expected} == expected
    assert len({item["id"] for item in items}) == len(items) and all(item["answer"] for item in items)
    assert not clips or all(item["seconds"] > 0.5 for item in items)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_melds_csvs_hold_the_published_classes_for_both_tasks(split):
    if not (DATA / "meld").is_dir():
        pytest.skip("meld is not beside this checkout")
    items = list(read_items("meld", Request(DATA / "meld", split, check_audio=False)))
    assert not [item for item in items if isinstance(item, Reject)]
    counts = Counter((item["task"], item["label"]) for item in items)
    stated = [p for p in READERS["meld"].published if p.split == split and p.source.startswith("Poria")]
    assert counts == {(p.task, label): rows for p in stated for label, rows in p.counts.items()} and len(stated) == 2


def test_a_table_of_real_clips_is_read_as_own_data():
    if not (DATA / "meld_tts").is_dir():
        pytest.skip("meld_tts is not beside this checkout")
    words = {"map": "joy:happy,anger:angry,sadness:sad,disgust:disgusted,fear:fearful,surprise:surprised"}
    items = list(read_items("own", Request(DATA / "meld_tts", "test", tasks=("er", "sr"), options=words)))
    assert len(items) == 2 * 344 and not [item for item in items if isinstance(item, Reject)]
    assert all(item["seconds"] > 0.2 and item["transcript"] and item["speaker"] for item in items)
