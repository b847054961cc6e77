# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""Two processes over gloo: alternation, saving and resuming under DDP and FSDP2, and the same loss as one process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audiollm.training import sft
from tests.tiny import tiny_model_and_processor
from tests.tiny_run import config, corpus  # noqa: F401


ROOT = Path(__file__).resolve().parents[2]


def launch(config, accelerate: str, tmp_path: Path, *stops: int, script: str = "run.py") -> list[dict]:
    """Run a script in two processes, which stops and goes on at these steps, and read what each wrote."""
    config["training"] |= {"gradient_accumulation_steps": 1, "disable_tqdm": True}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch"]
    command += [
        "--config_file",
        str(ROOT / "configs" / "accelerate" / f"{accelerate}.yaml"),
        "--main_process_port",
        "0",
    ]
    command += [str(Path(__file__).with_name(script)), str(path), *map(str, stops)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (tmp_path / "errors").open("w+") as errors:
        # A session of its own, so that a hanging collective leaves no processes behind.
        started = subprocess.Popen(
            command, stdout=errors, stderr=errors, env=environment, cwd=ROOT, start_new_session=True
        )
        try:
            status = started.wait(timeout=300)
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
    text = (tmp_path / "errors").read_text()
    assert status == 0, text[text.find("Traceback") :][:4000]
    return [json.loads(Path(f"{config['training']['output_dir']}-{rank}.json").read_text()) for rank in (0, 1)]


def final_weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model" / "model.safetensors")


@pytest.mark.parametrize("accelerate", ["cpu-ddp", "cpu-fsdp2"])
def test_two_processes_alternate_resume_and_lose_as_one_does(config, tmp_path, accelerate):
    config["schedule"] = [
        {"tasks": ["asr"], "train": ["speech_encoder", "speech_adapter", "lora"]},
        {"tasks": ["er", "sr"], "train": ["emotion_encoder", "emotion_adapter", "lora"]},
    ]
    output = config["training"]["output_dir"]
    one = json.loads(json.dumps(config))
    one["training"]["output_dir"] = str(tmp_path / "one")
    facts = launch(config, accelerate, tmp_path, 7)

    assert [(fact["world"], fact["rank"]) for fact in facts] == [(2, 0), (2, 1)]
    assert facts[0]["sharded"] == (accelerate == "cpu-fsdp2")
    assert (
        facts[0]["moved"]
        == facts[1]["moved"]
        == [
            ["lora", "speech_adapter", "speech_encoder"],
            ["emotion_adapter", "emotion_encoder", "lora"],
        ]
    )
    windows = {}
    for fact in facts:
        for window, tasks, rows in fact["windows"]:
            windows.setdefault(window, []).append((tasks, rows))
    assert sorted(windows) == list(range(9))
    assert all(len(parts) == 2 and parts[0][1] == parts[1][1] for parts in windows.values())

    sft.train(one)
    state = json.loads((tmp_path / "one" / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    torch.testing.assert_close(torch.tensor(facts[0]["losses"]), torch.tensor(losses), rtol=1e-4, atol=1e-4)
    whole, resumed, alone = (final_weights(folder) for folder in (output, f"{output}-resumed", str(tmp_path / "one")))
    for name in whole:
        torch.testing.assert_close(whole[name], resumed[name], rtol=0, atol=0)
        torch.testing.assert_close(whole[name], alone[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("accelerate", ["cpu-ddp", "cpu-fsdp2"])
def test_two_processes_align_one_adapter_let_its_words_be_read_and_resume(config, tmp_path, accelerate):
    settings = {"words_first": "adapter", "adapter_context": 1, "emotion_statistics": {"context": 1}}
    settings |= {"label_first": True, "emotion_label_ids": [[40], [50, 51]]}
    for part in tiny_model_and_processor(**settings):
        part.save_pretrained(config["model"]["checkpoint"])
    config |= {"lora": None, "samples_per_round": 0}
    config["schedule"] = [
        {"tasks": ["asr"], "train": ["speech_adapter"], "epochs": 2, "align": 1.0, "lm": 0.0},
        {"tasks": ["asr"], "train": ["emotion_adapter"], "epochs": 1},
    ]
    config["training"]["save_steps"] = 1
    facts = launch(config, accelerate, tmp_path, 4, 8)  # before a part has learnt, and while it does
    assert [fact["moved"] for fact in facts] == [[["speech_adapter"], ["emotion_adapter"]]] * 2
    output = config["training"]["output_dir"]
    whole, resumed = (final_weights(folder) for folder in (output, f"{output}-resumed"))
    start = load_file(Path(config["model"]["checkpoint"]) / "model.safetensors")
    learnt = [name for name in whole if name not in start or not torch.equal(whole[name], start[name])]
    assert any("alignment" in name for name in learnt) and all("_adapter." in name for name in learnt)
    assert any("emotion_adapter.norm.running_mean" in name for name in learnt)
    for name in whole:
        torch.testing.assert_close(whole[name], resumed[name], rtol=0, atol=0)


def test_batch_norms_of_two_processes_do_not_pass_for_frozen_parts_that_move(config, tmp_path):
    """Each process's batch norm counts its own rows; DDP broadcasts the first one's when the part is frozen."""
    for part in tiny_model_and_processor(speech="parakeet_encoder", emotion=None, adapter_norm="batch"):
        part.save_pretrained(config["model"]["checkpoint"])
    config["samples_per_round"] = 0
    config["schedule"] = [
        {"tasks": ["asr"], "train": ["speech_encoder", "speech_adapter"], "epochs": 0.7},
        {"tasks": ["er"], "train": ["language_model", "lora"], "epochs": 0.7},
    ]
    moved = [fact["moved"] for fact in launch(config, "cpu-ddp", tmp_path)]
    assert moved == [[["speech_adapter", "speech_encoder"], ["language_model", "lora"]]] * 2


def test_two_processes_train_by_rewards_hear_and_resume(config, tmp_path):
    """Each prompt's four answers are sampled by both, and advantages are of all four."""
    config |= {"rewards": [{"name": "letters"}], "train": ["lora", "emotion_adapter"], "max_steps": 4}
    del config["schedule"]
    config["training"] |= {"num_generations": 4, "max_completion_length": 5, "save_steps": 2}
    facts = launch(config, "cpu-ddp", tmp_path, 3, script="run_rl.py")
    assert [fact["world"] for fact in facts] == [2, 2]
    assert max(fact["hearing_error"] for fact in facts) < 1e-5
    assert facts[0]["sum"] == facts[1]["sum"] and facts[0]["rewards"] == facts[1]["rewards"]
    assert facts[0]["moved"] == [["emotion_adapter", "lora"]]
    first, second = (fact["rows"] for fact in facts)
    assert all(one == other and len(set(one)) == 1 for one, other in zip(first, second))
    assert len(first) == 4 and len({ids[0] for ids in first}) == 4
    output = config["training"]["output_dir"]
    whole, resumed = (final_weights(folder) for folder in (output, f"{output}-resumed"))
    for name in whole:
        torch.testing.assert_close(whole[name], resumed[name], rtol=0, atol=0)


def test_deepspeed_and_the_first_fsdp_are_refused_at_the_start(config, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ValueError, match="DeepSpeed ZeRO is not supported: it decides by `requires_grad`"):
        sft.build_trainer(config)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "false")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="FSDP 1 is not supported"):
        sft.build_trainer(config)


@pytest.mark.parametrize(
    "settings, problem",
    [
        (
            {"speech_length_aware": True},
            "speech_length_aware does not work with FSDP and an encoder of type 'whisper'",
        ),
        (
            {"words_first": "decoder", "speech_decoder": {"prompt": [1], "positions": 50}},
            "words_first: decoder does not work with FSDP",
        ),
    ],
)
def test_what_runs_as_often_as_a_clip_asks_for_is_refused_under_fsdp(config, monkeypatch, settings, problem):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    model, processor = tiny_model_and_processor(**settings)
    with pytest.raises(ValueError, match=problem):
        sft.build_trainer(config, model, processor)
