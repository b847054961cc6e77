# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""Plans, proofs, checkpoints and resuming: what makes a long run worth starting."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoProcessor, TrainerCallback

from audiollm.commands import main
from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.processing.ctc import CTC_NAME
from audiollm.training import sft
from audiollm.training.assemble import _language_model
from audiollm.training.checkpoints import NOTED, load_trained, whole_checkpoints
from audiollm.training.proof import FrozenPartMovedError, part_checksums, tensor_checksum
from audiollm.training.schedule import Round, ScheduleError, refuse_unlabelled, refuse_unlearned
from tests.tiny import tiny_model_and_processor
from tests.tiny_run import config, corpus  # noqa: F401


ROOT = Path(__file__).resolve().parent.parent


def test_the_plan_tells_rounds_rows_clips_and_parts(config):
    text = sft.build_trainer(config).report_plan()
    lines = text.splitlines()
    assert lines[0].split() == ["round", "steps", "epochs", "lr", "tasks", "(rows)", "learns", "(parameters)"]
    assert lines[3].split()[:8] == ["3", "12-17", "1", "0.001", "asr", "12", "er", "12"]
    assert "sr: 12 rows on 12 clips" in text and "language_model" in lines[-2] and "4 rows a step; 18 steps" in text


def test_a_new_part_that_no_round_trains_is_refused(config):
    rounds = [Round(("asr",), ("lora",))]
    refuse_unlearned(rounds, {"lora"})
    with pytest.raises(ScheduleError, match="emotion_adapter would never learn"):
        refuse_unlearned(rounds, {"lora", "emotion_adapter"})
    config["schedule"] = [{"tasks": ["asr"], "train": ["speech_adapter"]}]
    with pytest.raises(ScheduleError, match="lora would never learn"):
        sft.build_trainer(config)


def test_a_label_that_no_round_teaches_a_new_adapter_is_not_put_first():
    taught = Round(("er",), ("emotion_adapter",), label=1.0)
    encoder = Round(("er",), ("emotion_encoder", "emotion_adapter"), label=1.0)  # which learns from labels itself
    sentiments, read = Round(("sr",), ("emotion_adapter",), label=1.0), Round(("er",), ("lora",))
    refuse_unlabelled([replace(taught, lm=0.0), read], {"emotion_adapter"})
    refuse_unlabelled([taught, encoder], {"emotion_adapter"})
    refuse_unlabelled([encoder], {"lora"})
    for lacking in ([encoder], [replace(sentiments, lm=0.0), read], [read, taught]):
        with pytest.raises(ScheduleError, match="label_first needs a round of er with `label`"):
            refuse_unlabelled(lacking, {"emotion_adapter"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_checksum_sees_one_changed_and_two_swapped_elements(dtype):
    tensor = torch.arange(7).to(dtype).reshape(7, 1)
    changed, swapped = tensor.clone(), tensor.flip(0)
    changed[0] = 1
    assert len({tensor_checksum(t) for t in (tensor, changed, swapped)}) == 3
    assert tensor_checksum(tensor) == tensor_checksum(tensor.clone())


def test_checksums_cover_buffers_that_are_saved():
    model, _ = tiny_model_and_processor(adapter_norm="batch")
    before = part_checksums(model)
    model.model.speech_adapter.norms[0].running_mean += 1
    after = part_checksums(model)
    assert {part for part in after if after[part] != before[part]} == {"speech_adapter"}


def test_a_frozen_part_that_moves_stops_the_run(config):
    class Meddle(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 2:
                with torch.no_grad():
                    next(model.get_base_model().model.emotion_encoder.parameters()).add_(1e-7)

    trainer = sft.build_trainer(config)
    trainer.add_callback(Meddle())
    with pytest.raises(FrozenPartMovedError, match="steps 0-5, round 1: emotion_encoder changed, but only speech_enc"):
        trainer.train()
    assert [folder.name for folder in whole_checkpoints(config["training"]["output_dir"])] == ["checkpoint-5"]


def test_the_log_tells_what_moved_at_each_border_and_what_the_model_says(config):
    sft.train(config)
    state = json.loads((Path(config["training"]["output_dir"]) / "trainer_state.json").read_text())
    proofs = [entry for entry in state["log_history"] if "checksums" in entry]
    assert [entry["step"] for entry in proofs] == [0, 6, 12, 18]
    assert [sorted(entry["moved"]) for entry in proofs[1:]] == [
        ["lora", "speech_adapter", "speech_encoder"],
        ["emotion_adapter", "emotion_encoder", "lora"],
        ["emotion_adapter", "lora", "speech_adapter"],
    ]
    samples = [entry["samples"] for entry in state["log_history"] if "samples" in entry]
    assert [[sample["task"] for sample in rows] for rows in samples] == [["asr", "sqa"], ["er", "sr"], ["asr", "er"]]
    logged = [entry for entry in state["log_history"] if "loss" in entry]
    assert all(entry["samples_per_second"] > 0 for entry in logged)
    assert {key for entry in logged[6:12] for key in entry if key.startswith("loss_")} == {"loss_er", "loss_sr"}


def test_no_logged_loss_is_a_mean_over_two_rounds(config):
    config["training"]["logging_steps"] = 4
    trainer = sft.build_trainer(config)
    trainer.train()
    logged = [(entry["step"], entry["round"]) for entry in trainer.state.log_history if "loss" in entry]
    assert logged == [(4, 1), (6, 1), (8, 2), (12, 2), (16, 3), (18, 3)]


def test_losses_of_tasks_are_means_over_the_tokens_since_the_last_log(config):
    config["schedule"] = [{"tasks": ["asr", "er"], "train": ["speech_adapter", "lora"]}]
    config["training"] |= {"logging_steps": 6, "learning_rate": 0.0}
    trainer = sft.build_trainer(config)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    losses = {"asr": [], "er": []}
    model = trainer.audio_model.eval()
    for row in trainer.train_dataset:
        if row["task"] in losses:
            batch = trainer.data_collator([row])
            batch.pop("tasks")
            with torch.no_grad():
                losses[row["task"]] += [model(**batch).loss] * int((batch["labels"] != -100).sum())
    for task, values in losses.items():
        assert logged[f"loss_{task}"] == pytest.approx(float(torch.stack(values).mean()), rel=1e-4)
    assert logged["mean_token_accuracy"] == 0 and logged["num_tokens"] > 0


def test_a_training_step_of_ours_waits_for_no_number(config, monkeypatch):
    """On a GPU each `.item()` or `.tolist()` in a step makes the CPU wait for all that was asked before it."""
    waits = []

    def watched(name):
        original = getattr(torch.Tensor, name)

        def call(self, *args):
            caller = Path(sys._getframe(1).f_code.co_filename)
            if caller.parent.name in ("training", "trainer"):  # ours and TRL's
                waits.append(f"{caller.name}: {name}")
            return original(self, *args)

        return call

    config |= {"max_steps": 2, "samples_per_round": 0}
    config["training"]["logging_steps"] = 100
    trainer = sft.build_trainer(config)
    compute = trainer.compute_loss

    def step(*args, **kwargs):
        with monkeypatch.context() as patch:
            for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
                patch.setattr(torch.Tensor, name, watched(name))
            return compute(*args, **kwargs)

    trainer.compute_loss = step
    trainer.train()
    assert waits == []


def test_an_unfinished_checkpoint_is_ignored_and_old_ones_are_deleted(config):
    config["training"] |= {"save_steps": 2, "save_total_limit": 2}
    config["max_steps"] = 6
    sft.train(config)
    output = Path(config["training"]["output_dir"])
    assert [folder.name for folder in whole_checkpoints(output)] == ["checkpoint-4", "checkpoint-6"]
    (output / "checkpoint-8").mkdir()
    (output / "checkpoint-8" / "trainable.safetensors").write_bytes(b"half")
    assert [folder.name for folder in whole_checkpoints(output)] == ["checkpoint-4", "checkpoint-6"]
    assert not (output / "unfinished").exists()


def test_a_run_killed_at_any_moment_ends_bit_identical():
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "training.py"), "kills", "--kills", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["bit_identical"] and result["kills"] == result["asked"] == 5


def test_new_tokens_have_the_same_weights_whenever_a_model_is_assembled(tmp_path):
    config = tiny_model_and_processor()[0].config.text_config
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    first, second = (_language_model(str(tmp_path), config.vocab_size + 3).get_input_embeddings() for _ in range(2))
    assert first.num_embeddings == config.vocab_size + 3 and torch.equal(first.weight, second.weight)


def test_liger_gets_the_language_model_and_is_refused_where_it_has_no_kernels(config, monkeypatch):
    given = []
    monkeypatch.setattr(
        "audiollm.training.trainer.apply_liger_kernel",
        lambda model, settings: given.append((model.config.model_type, settings)),
    )
    config["training"]["use_liger_kernel"] = True
    with pytest.raises(ValueError, match="Liger has no kernels for llama"):
        sft.build_trainer(config)
    assert given == [("llama", {"fused_linear_cross_entropy": False})]


@pytest.mark.parametrize("taught", [False, True])
def test_a_training_checkpoint_alone_gives_the_merged_model(config, tone, taught):
    config["max_steps"] = 13
    if taught:
        settings = Path(config["model"]["checkpoint"]) / "config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"label_first": True}))
        label = {"tasks": ["er"], "train": ["emotion_adapter"], "label": 1.0, "lm": 0.0}
        config["schedule"] = [label, {"tasks": ["er"], "train": ["lora"]}]
    folder = sft.train(config)
    checkpoint = whole_checkpoints(config["training"]["output_dir"])[-1]
    changed = sum(tensor.numel() for tensor in load_file(checkpoint / "trainable.safetensors").values())
    model, processor = load_trained(checkpoint)
    assert changed < sum(parameter.numel() for parameter in model.parameters())
    out = Path(folder).parent / "converted"
    main(["merge", str(checkpoint), str(out)])
    inputs = processor(text=processor.prompt("What?"), audio=[tone(1.3)])
    with torch.no_grad():
        logits = [
            loaded(**inputs).logits
            for loaded in (
                model,
                AudioLLMForConditionalGeneration.from_pretrained(folder).eval(),
                AudioLLMForConditionalGeneration.from_pretrained(out).eval(),
            )
        ]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-5, atol=1e-5)
    assert torch.equal(logits[1], logits[2])
    assert AutoProcessor.from_pretrained(out).tokens_per_window == processor.tokens_per_window
    noted, again = (json.loads((Path(whole) / "config.json").read_text()) for whole in (folder, out))
    assert {name: noted[name] for name in NOTED} == {name: again[name] for name in NOTED}
    assert bool(noted["emotion_label_ids"]) == taught


@pytest.mark.parametrize("learns", ["lora", "speech_encoder"])
def test_a_model_keeps_the_first_ones_ctc_head_as_long_as_it_fits(config, tmp_path, learns):
    (Path(config["model"]["checkpoint"]) / CTC_NAME).write_bytes(b"characters")
    config |= {"schedule": [{"tasks": ["er"], "train": [learns]}], "max_steps": 1}
    config["lora"] = config["lora"] if learns == "lora" else None
    merged = Path(sft.train(config))
    main(["merge", str(whole_checkpoints(config["training"]["output_dir"])[-1]), str(tmp_path / "converted")])
    for folder in (merged, tmp_path / "converted"):
        assert (folder / CTC_NAME).is_file() == (learns == "lora")
