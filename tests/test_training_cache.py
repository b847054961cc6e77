# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""Outputs of frozen branches are computed once, and change nothing."""

import shutil

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from audiollm.training import sft
from audiollm.training.feature_cache import FeatureCache, fingerprint
from audiollm.training.frozen_branches import _of_windows
from tests.tiny import tiny_model_and_processor
from tests.tiny_run import config, corpus  # noqa: F401


TOKENS = torch.zeros(1, 10, 100)  # 4 kB


def train(config, cached: bool, folder):
    """Losses of a run of an emotion round of two epochs, and how often each encoder was called."""
    config["schedule"] = [
        {"tasks": ["er", "sr"], "train": ["emotion_encoder", "emotion_adapter", "lora"], "epochs": 2}
    ]
    config["samples_per_round"] = 0
    config["training"]["output_dir"] = str(folder / f"out-{cached}")
    config["feature_cache"] = {"folder": str(folder / "cache"), "max_gb": 1} if cached else None
    trainer = sft.build_trainer(config)
    calls = {"speech_encoder": 0, "emotion_encoder": 0}
    for part in calls:
        encoder = getattr(trainer.audio_model.model, part)
        encoder.register_forward_hook(
            lambda module, args, output, part=part: calls.update({part: calls[part] + output[0].shape[0]})
        )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], calls


def test_a_frozen_branch_hears_each_clip_once_and_losses_stay_the_same(config, tmp_path):
    plain, all_calls = train(config, False, tmp_path)
    cached, calls = train(config, True, tmp_path)
    torch.testing.assert_close(torch.tensor(cached), torch.tensor(plain), rtol=1e-5, atol=1e-5)
    # 12 clips, of which 5 have two windows; asked 4 times: 2 tasks, 2 epochs.
    assert all_calls == {"speech_encoder": 68, "emotion_encoder": 68}
    assert calls == {"speech_encoder": 17, "emotion_encoder": 68}
    _, again = train(config, True, tmp_path)
    assert again["speech_encoder"] == 0


def test_a_cache_that_keeps_nothing_is_said(config, tmp_path, caplog):
    everything = ["speech_encoder", "emotion_encoder", "speech_adapter", "emotion_adapter", "lora"]
    config |= {"samples_per_round": 0, "feature_cache": {"folder": str(tmp_path / "cache"), "max_gb": 1}}
    for schedule, said in (([everything, everything], 1), ([everything, everything[1:]], 0)):
        config["schedule"] = [{"tasks": ["er"], "train": train, "epochs": 0.3} for train in schedule]
        config["training"]["output_dir"] = str(tmp_path / f"out-{said}")
        caplog.clear()
        sft.build_trainer(config).train()
        assert caplog.text.count("no encoder stays frozen through any round, so nothing is kept") == said


def test_a_branch_that_learns_is_never_taken_from_the_cache(config, tmp_path):
    """In alternation the weights change between rounds, so what the first emotion round kept must not serve again."""
    speech = {"tasks": ["asr"], "train": ["speech_encoder", "speech_adapter", "lora"]}
    emotion = {"tasks": ["er"], "train": ["emotion_encoder", "emotion_adapter", "lora"]}
    config |= {"schedule": [speech, emotion, speech, emotion], "samples_per_round": 0}
    losses = []
    for cache in (None, {"folder": str(tmp_path / "cache"), "max_gb": 1}):
        config |= {"feature_cache": cache}
        config["training"]["output_dir"] = str(tmp_path / f"out-{bool(cache)}")
        trainer = sft.build_trainer(config)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-4, atol=1e-4)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_one_encoder_in_both_branches_gives_each_the_layers_that_it_asks_for(config, tmp_path):
    """The small preset has Whisper twice: its last layer for speech, all of them for emotion."""
    speech = {"tasks": ["er"], "train": ["speech_adapter", "lora"]}
    emotion = {"tasks": ["er"], "train": ["emotion_adapter", "lora"]}
    config |= {"schedule": [speech, emotion], "samples_per_round": 0}
    losses = []
    for cache in (None, {"folder": str(tmp_path / "cache"), "max_gb": 1}):
        config |= {"feature_cache": cache}
        config["training"]["output_dir"] = str(tmp_path / f"out-{bool(cache)}")
        torch.manual_seed(0)
        model, processor = tiny_model_and_processor(emotion="whisper", emotion_layer_mix=True)
        model.model.emotion_encoder.load_state_dict(model.model.speech_encoder.state_dict())
        heard = []
        model.model.speech_encoder.register_forward_hook(lambda _, args, output, to=heard: to.append(len(output[0])))
        trainer = sft.build_trainer(config, model, processor)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        assert sum(heard) == (17 if cache else 34)  # windows; the second round embeds the frames that the first kept
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"emotion_adapter_norm": "batch", "audio_tokens": "window"},
        {"emotion_adapter_norm": "batch", "audio_tokens": "clip", "adapter_context": 1},
        {"emotion_statistics": {"context": 1, "dropout": 0.0}, "audio_tokens": "window"},
        {"emotion_statistics": {"context": 1, "dropout": 0.0}, "audio_tokens": "clip"},
    ],
)
def test_kept_frames_move_a_batch_norm_as_all_frames_do(config, settings, tmp_path):
    config["schedule"] = [{"tasks": ["er"], "train": ["emotion_adapter"], "label": 1.0, "lm": 0.0, "epochs": 2}]
    config["lora"] = None
    moved, ran = [], []
    for cache in (None, {"folder": str(tmp_path / "cache"), "max_gb": 1}):
        config |= {"feature_cache": cache, "samples_per_round": 0}
        config["training"]["output_dir"] = str(tmp_path / f"out-{bool(cache)}")
        torch.manual_seed(0)
        model, processor = tiny_model_and_processor(emotion="whisper", **settings)
        model.model.emotion_encoder.register_forward_hook(lambda _, args, output, to=cache: ran.append(bool(to)))
        trainer = sft.build_trainer(config, model, processor)
        trainer.train()
        adapter = trainer.audio_model.model.emotion_adapter
        moved.append((adapter.norm if "emotion_statistics" in settings else adapter.norms[0]).running_mean)
    torch.testing.assert_close(moved[1], moved[0], rtol=1e-4, atol=1e-5)
    assert moved[0].abs().max() > 0.01 and ran.count(True) < ran.count(False)


def test_the_cache_stays_within_its_room_and_gives_up_old_weights_first(tmp_path):
    cache, old, new = FeatureCache(tmp_path, max_gb=1e-5), fingerprint("old"), fingerprint("new")  # 10 kB
    cache.open([old])
    cache.put(old, "aa", TOKENS)
    cache.open([new])
    for clip in ("aa", "bb", "cc"):
        cache.put(new, clip, TOKENS)
    assert cache.get(old, "aa") is None
    assert [cache.get(new, clip) is not None for clip in ("aa", "bb", "cc")] == [True, True, False]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 10_000


def test_a_cache_that_needs_room_deletes_nothing_that_it_did_not_write_nor_counts_it(tmp_path):
    others = [tmp_path / "my-model" / "model.safetensors", tmp_path / "notes.txt", tmp_path / ("e" * 31) / "a.txt"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(bytes(20_000))
    cache, old, new = FeatureCache(tmp_path, max_gb=1e-5), fingerprint("old"), fingerprint("new")
    for name in (old, new):
        cache.open([name])
        for clip in ("aa", "bb", "cc"):
            cache.put(name, clip, TOKENS)
    assert all(other.stat().st_size == 20_000 for other in others)
    assert not (tmp_path / old).exists() and cache.get(new, "aa") is not None


def test_frames_of_windows_that_are_encoded_by_length_have_a_name_of_their_own():
    def way(emotion, norm, aware):
        model, _ = tiny_model_and_processor(emotion=emotion, emotion_length_aware=aware)
        model.config.emotion_config.feat_extract_norm = norm
        return _of_windows(model.config, "emotion")

    assert way("hubert", "group", True) == ["by length"]
    assert way("hubert", "layer", True) == way("hubert", "group", False) == way("whisper", "layer", True) == []


def test_a_cache_whose_folder_another_run_took_for_room_is_written_anew(tmp_path):
    cache, name = FeatureCache(tmp_path, max_gb=1), fingerprint("mine")
    cache.open([name])
    shutil.rmtree(tmp_path / name)
    cache.put(name, "aa", TOKENS)
    assert cache.get(name, "aa") is not None


def test_a_broken_file_of_the_cache_is_computed_again(tmp_path):
    cache = FeatureCache(tmp_path, max_gb=1)
    cache.open(["new"])
    cache.put("new", "aa", TOKENS)
    next(tmp_path.rglob("*.safetensors")).write_bytes(b"half")
    assert cache.get("new", "aa") is None


def test_what_is_frozen_keeps_no_graph_and_no_dropout(config):
    trainer = sft.build_trainer(config)
    seen = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            base = model.get_base_model().model
            for part in ("speech_encoder", "emotion_encoder"):
                getattr(base, part).register_forward_hook(
                    lambda module, args, output, part=part: seen.append(
                        (part, module.training, output[0].requires_grad)
                    )
                )
            control.should_training_stop = True

    trainer.add_callback(Look())
    trainer.train()
    assert set(seen) == {("speech_encoder", True, True), ("emotion_encoder", False, False)}


def test_only_scored_positions_go_through_the_head(config):
    trainer = sft.build_trainer(config)
    shapes = []
    norm = trainer.audio_model.model.register_forward_hook(
        lambda module, args, output: shapes.append(output.last_hidden_state.shape[:2])
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.compute_loss(trainer.model, dict(batch))
    norm.remove()
    assert shapes == [(1, int((batch["labels"] != -100).sum()))]
    whole = trainer.audio_model(**{name: batch[name] for name in batch if name != "tasks"}).loss
    torch.testing.assert_close(loss, whole, rtol=1e-5, atol=1e-5)


def test_losses_reach_tensorboard(config, tmp_path):
    config["training"] |= {"report_to": "tensorboard"}
    config["max_steps"] = 2
    sft.build_trainer(config).train()
    folder = next(tmp_path.rglob("events.*")).parent
    events = EventAccumulator(str(folder)).Reload()
    names = set(events.Tags()["scalars"])
    assert {"train/loss", "train/round", "train/samples_per_second"} <= names
    assert any(name in names for name in ("train/loss_asr", "train/loss_sqa"))
