"""The trained model that comes with the project."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from safetensors import safe_open

from audiollm.training.bases import base_sources
from audiollm.training.delta import is_delta, read_delta


FOLDER = Path(__file__).parents[1] / "samples" / "small"


def test_it_is_whole_and_small_and_says_whose_it_is():
    assert is_delta(FOLDER)
    delta = read_delta(FOLDER)  # refuses what is not as it was written
    assert {kind: source.path for kind, source in base_sources(delta.facts["model"]).items()} == {
        "speech": "openai/whisper-base",
        "emotion": "openai/whisper-base",
        "text": "HuggingFaceTB/SmolLM2-135M-Instruct",
    }
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 24_000_000
    card = ModelCard.load(FOLDER / "README.md")
    assert card.data.license == "cc-by-nc-sa-4.0"  # as RAVDESS, which is in its training


@pytest.mark.parametrize("weights", ["trained.safetensors", "lora/adapter_model.safetensors"])
def test_it_holds_only_what_was_trained(weights):
    with safe_open(FOLDER / weights, "pt") as file:
        names = set(file.keys())
    kept = {name for name in names if "new rows of" not in name}  # of the placeholder, which the base lacks
    assert kept and not any("encoder." in name or "embed_tokens" in name for name in kept)
