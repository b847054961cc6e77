# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""The recipe of the tiny base: hearing by characters, changed clips, gaps of positions, models from nothing."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.processing.alignment import Aligner
from audiollm.processing.ctc import ctc_labels
from audiollm.processing.processing_audiollm import AudioLLMProcessor
from audiollm.samples.base.augmentation import Augmentation
from audiollm.samples.base.hearing import CTCHead, HearingCollator, HearingRound, HearingTrainer
from audiollm.samples.base.scratch import from_scratch
from audiollm.training.alternation import ScheduledRows
from audiollm.training.run import run
from audiollm.training.schedule import ScheduleError, read_schedule
from audiollm.training.sft import build_trainer
from tests.test_training import Watch
from tests.tiny_run import config, corpus  # noqa: F401


BASE = Path(__file__).resolve().parents[1] / "samples" / "base"
SIZES = yaml.safe_load("""
    vocab_size: 300
    window_seconds: 1
    speech_tokens: 5
    speech_config: {model_type: parakeet_encoder, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
      intermediate_size: 32, num_mel_bins: 80, subsampling_factor: 4, subsampling_conv_channels: 4}
    text_config: {model_type: llama, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1,
      num_attention_heads: 2, num_key_value_heads: 2}
    """)


@pytest.fixture
def hearing(config, tmp_path):
    """A configuration of a new model that learns by CTC alone, then by both losses."""
    for part in from_scratch(SIZES, ["my old dog", "What?"] * 10):
        part.save_pretrained(tmp_path / "new")
    config |= {"model": {"checkpoint": str(tmp_path / "new")}, "lora": None}
    config["schedule"] = [
        {"tasks": ["asr"], "train": ["speech_encoder"], "ctc": 1.0, "lm": 0.0},
        {"tasks": ["asr", "sqa"], "train": ["speech_encoder", "speech_adapter", "language_model"], "ctc": 0.3},
    ]
    return config


def hearing_trainer(config):
    collator = partial(HearingCollator, augment=Augmentation(), position_gap=3, seed=1)
    return build_trainer(config, trainer_type=HearingTrainer, collator_type=collator)


def test_a_new_model_learns_by_ctc_then_by_both_losses(hearing):
    trainer = hearing_trainer(hearing)
    watch = Watch(trainer.plan)
    trainer.add_callback(watch)
    run(hearing, trainer)
    assert watch.changed == {0: {"speech_encoder"}, 1: {"speech_encoder", "speech_adapter", "language_model"}}
    assert all("ctc_loss" in entry for entry in trainer.state.log_history if "loss" in entry)


def test_a_ctc_head_stays_beside_the_model_and_goes_on_in_the_next_leg(hearing, tmp_path):
    hearing["max_steps"] = 2
    first = run(hearing, hearing_trainer(hearing))
    model, processor = (
        AudioLLMForConditionalGeneration.from_pretrained(first),
        AudioLLMProcessor.from_pretrained(first),
    )
    aligner = Aligner.beside(first, model, processor)
    hearing["model"] = {"checkpoint": first}
    hearing["training"] |= {"output_dir": str(tmp_path / "second")}
    torch.testing.assert_close(hearing_trainer(hearing).heads["ctc"].projection.weight.cpu(), aligner.weight)


def test_ctc_is_a_loss_on_the_speech_encoder_alone():
    spec = [{"tasks": ["asr"], "train": ["speech_encoder", "lora"], "ctc": 1, "lm": 0}]
    with pytest.raises(ScheduleError, match="lora would never learn"):
        read_schedule(spec, ["speech_encoder", "lora"], HearingRound)
    with pytest.raises(ScheduleError, match="ctc is unknown"):
        read_schedule(spec, ["speech_encoder", "lora"])


def test_ctc_joins_the_windows_of_a_clip_and_leaves_padding_out():
    head = CTCHead(4, steps=4)
    frames = torch.randn(3, 10, 4)
    labels = torch.tensor([[1, 2, 3, -100], [4, -100, -100, -100]])
    mask = torch.zeros(2, 2, 40, dtype=torch.bool)
    mask[0, 0], mask[0, 1, :20], mask[1, 0, :32] = True, True, True
    together = head(frames, mask, labels)
    first = head(frames[:2].reshape(1, 20, 4)[:, :15], torch.ones(1, 1, 60, dtype=torch.bool), labels[:1, :3])
    second = head(frames[2:, :8], torch.ones(1, 1, 32, dtype=torch.bool), labels[1:, :1])
    torch.testing.assert_close(together, (first + second) / 2)


def test_augmentation_is_seeded_and_changes_little(tone):
    clip = tone(1.0)
    first, again = (Augmentation()(clip, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert 0.9 <= len(first) / len(clip) <= 1.12 and first.dtype == np.float32 and np.isfinite(first).all()


def row(tone, place: int = 0) -> dict:
    facts = {"id": str(place), "task": "asr", "question": "What?", "answer": "dog", "transcript": "My dog!"}
    return {**facts, "audio": tone(0.5), "place": place}


def test_characters_are_those_of_the_transcript(tiny, tone):
    assert HearingCollator(tiny[1])([row(tone)])["ctc_labels"][0].tolist() == ctc_labels("my dog")


def test_a_rows_augmentation_depends_on_its_place_alone(tiny, tone):
    rows, processor = [row(tone, n) for n in range(3)], tiny[1]
    collate = HearingCollator(processor, augment=lambda samples, random: samples * random.uniform(0.1, 1), seed=4)
    ordered = ScheduledRows(rows, [2, 0, 2])
    first, second, again = (collate([ordered[place]])["input_features"] for place in (0, 2, 0))
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_a_position_gap_moves_what_follows_the_audio(tiny, tone):
    model, processor = tiny
    rows = [row(tone, place=place) for place in range(20)]
    collator = HearingCollator(processor, position_gap=5, seed=3)
    batch = collator(rows)
    gaps = set()
    for ids, positions in zip(batch["input_ids"].tolist(), batch["position_ids"].tolist()):
        after = len(ids) - ids[::-1].index(processor.audio_token_id)
        assert positions[:after] == list(range(after))
        gap = positions[after] - after
        assert positions[after:] == list(range(after + gap, len(ids) + gap))
        gaps.add(gap)
    assert gaps == set(range(6))
    assert torch.equal(collator(rows[7:8])["position_ids"][0], batch["position_ids"][7])
    assert model(**{name: batch[name] for name in batch if name not in ("tasks", "ctc_labels")}).loss.isfinite()


@pytest.mark.parametrize("leg", sorted(BASE.glob("[1-5]-*.yaml")), ids=lambda path: path.stem)
def test_every_leg_reads_and_has_rounds_that_can_be_right(leg):
    config = yaml.safe_load(leg.read_text())
    assert read_schedule(config["schedule"], ["speech_encoder", "speech_adapter", "language_model"], HearingRound)
    hearing = dict(config.get("hearing", {}))
    Augmentation(**hearing.pop("augment", {}))
    assert set(hearing) <= {"position_gap"}


def test_a_leg_runs_from_the_command_line(hearing, tmp_path):
    hearing |= {"hearing": {"augment": {"speed": 0.05}, "position_gap": 2}, "max_steps": 1}
    hearing["training"]["seed"] = 1
    (tmp_path / "leg.yaml").write_text(yaml.safe_dump(hearing))
    command = [sys.executable, "-m", "audiollm.samples.base.train", "--config", str(tmp_path / "leg.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "model" / "ctc_head.safetensors").is_file()
