# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""A run that goes wrong says so and loses nothing: other runs, damaged files, full disks, numbers that are none."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import TrainerCallback

from audiollm.commands import main
from audiollm.locks import FolderInUseError, folder_lock
from audiollm.training import sft
from audiollm.training.checkpoints import (
    DamagedCheckpointError,
    load_trained,
    merge_checkpoint,
    newest_whole_checkpoint,
    whole_checkpoints,
)
from audiollm.training.clips import BadRowsError, refuse_bad_rows
from audiollm.training.feature_cache import FeatureCache
from audiollm.training.identity import OtherRunError
from audiollm.training.lora import LoraSectionError, lora_settings
from audiollm.training.run import run
from audiollm.training.schedule import Round, ScheduleError, leave_out_missing, part_of, part_parameters
from tests.tiny import tiny_model_and_processor
from tests.tiny_run import config, corpus, in_another_folder, write_corpus, write_start  # noqa: F401


class Stop(TrainerCallback):
    """Ends a run after a step, as if it had been killed before its model was written."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def begin(config, step: int = 11):
    """Train to a step without an end: checkpoints at 5 and 10, and no model."""
    trainer = sft.build_trainer(config)
    trainer.add_callback(Stop(step))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "save_merged", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(config, trainer)


def output(config) -> Path:
    return Path(config["training"]["output_dir"])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was trained to step 11, for all tests here."""
    config = write_start(write_corpus(tmp_path_factory.mktemp("stopped")))
    config["schedule"][0]["average"] = 0.5
    begin(config)
    return config


@pytest.fixture(scope="module")
def patterns(stopped):
    """Of the files that a checkpoint of that run must have."""
    return sft.build_trainer(stopped).checkpoint_files()


@pytest.fixture
def begun(stopped, tmp_path):
    """That run in a folder of the test's own."""
    return in_another_folder(stopped, tmp_path / "out")


# Numbers


@pytest.mark.parametrize("change", [{"learning_rate": 1e30}, {"learning_rate": 1e30, "logging_strategy": "no"}])
def test_a_run_whose_numbers_are_none_stops_with_what_was_saved_before(config, tmp_path, change, capsys):
    config["training"] |= {**change, "save_steps": 1, "max_grad_norm": 0.0}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "--config", str(tmp_path / "run.yaml")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "is not finite" in said[0] and "Lower the learning rate" in said[0]
    assert not (output(config) / "model").exists() and not (output(config) / "training.json").exists()
    for checkpoint in whole_checkpoints(output(config)):
        assert all(value.isfinite().all() for value in load_file(checkpoint / "trainable.safetensors").values())


def test_a_weight_that_is_no_number_is_not_saved(config):
    class Spoil(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 7:
                next(p for _, p in part_parameters(model)["lora"]).data[0] = float("inf")

    config["training"]["logging_strategy"] = "no"
    trainer = sft.build_trainer(config)
    trainer.add_callback(Spoil())
    with pytest.raises(ValueError, match=r"step 10: base_model.* is not finite.*the last checkpoint is .*-6"):
        trainer.train()


# One folder, one run


def test_a_second_training_in_one_folder_is_refused_and_harms_nothing(begun):
    partial = output(begun) / "unfinished" / "checkpoint-15"
    partial.mkdir(parents=True)
    with folder_lock(output(begun), "training"):
        with pytest.raises(FolderInUseError, match=rf"is in use by a training \(process {os.getpid()} on"):
            sft.train(begun)
    assert partial.is_dir()


def test_a_killed_job_lets_go_of_its_folder_even_if_a_child_of_it_lives(tmp_path):
    program = f"""
import os, time
from audiollm.locks import folder_lock
with folder_lock({str(tmp_path)!r}, "training"):
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""
    job = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True, text=True)
    try:
        assert job.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError):
            with folder_lock(tmp_path, "training"):
                pass
        job.kill()
        job.wait()
        time.sleep(0.1)
        with folder_lock(tmp_path, "training"), pytest.raises(FolderInUseError):
            with folder_lock(tmp_path, "evaluation"):
                pass
    finally:
        os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda c: c["training"].update(learning_rate=0.02), "training.learning_rate was 0.01, is 0.02"),
        (lambda c: c["training"].update(weight_decay=0.1), "training.weight_decay was 0.0, is 0.1"),
        (lambda c: c["lora"].update(r=2), "lora.r was 4, is 2"),
        (lambda c: c["lora"].update(lora_alpha=16), "lora.lora_alpha was 8, is 16"),
        (lambda c: c["schedule"][0].update(epochs=2), "schedule was"),
        (lambda c: c["data"].update(tasks=["asr", "er", "sqa", "sr"], targets=[]), None),
        (lambda c: c["training"].update(save_steps=4, logging_steps=2, weight_decay=0.0), None),
    ],
)
def test_another_configuration_in_a_runs_folder_is_refused_by_name(begun, change, named):
    change(begun)
    if named is None:
        sft.train(begun)
        return
    with pytest.raises(OtherRunError, match=named):
        sft.train(begun)


def test_other_rows_or_another_base_in_a_runs_folder_are_refused(config, corpus):
    begin(config)
    rows = (corpus / "train.jsonl").read_text()
    (corpus / "train.jsonl").write_text(rows.replace("my old dog", "my new dog", 1))
    with pytest.raises(OtherRunError, match="the training rows .data. are others .48 then, 48 now."):
        sft.train(config)
    (corpus / "train.jsonl").write_text(rows)
    model, _ = tiny_model_and_processor()
    model.save_pretrained(config["model"]["checkpoint"])
    with pytest.raises(OtherRunError, match="the weights that emotion_encoder begins with .model. are others"):
        sft.train(config)


def test_checkpoints_that_do_not_say_whose_they_are_are_not_continued(begun):
    (output(begun) / "run.json").unlink()
    with pytest.raises(OtherRunError, match="does not say what it was .run.json is missing."):
        sft.train(begun)


def test_a_finished_run_started_again_says_so_and_changes_nothing(config, caplog):
    folder = Path(sft.train(config))
    files = {path: path.stat().st_mtime_ns for path in output(config).rglob("*") if path.is_file()}
    with caplog.at_level("INFO"):
        assert sft.train(config) == str(folder)
    assert "this run is finished (18 steps)" in caplog.text
    del files[output(config) / ".lock"]
    assert all(path.stat().st_mtime_ns == written for path, written in files.items())


def test_other_recordings_under_the_same_names_are_another_run(begun, stopped):
    clip = Path(stopped["data"]["train"][0], "3.wav")
    kept = clip.read_bytes()
    try:
        clip.write_bytes(kept[:44] + bytes(len(kept) - 44))
        with pytest.raises(
            OtherRunError, match="the recordings of the training rows .data. are others, under the same"
        ):
            sft.train(begun)
    finally:
        clip.write_bytes(kept)


def test_a_run_that_began_before_recordings_were_written_down_goes_on(begun):
    identity = json.loads((output(begun) / "run.json").read_text())
    del identity["rows"]["clips"]
    (output(begun) / "run.json").write_text(json.dumps(identity))
    sft.train(begun)
    assert json.loads((output(begun) / "training.json").read_text())["steps"] == 18


def test_a_checkpoint_says_what_its_run_learns_from(begun, tmp_path):
    merge_checkpoint(output(begun) / "checkpoint-10", tmp_path / "merged")
    facts = json.loads((tmp_path / "merged" / "training.json").read_text())
    assert facts["steps"] == 10 and [corpus["name"] for corpus in facts["corpora"]] == ["test"]


def test_a_run_killed_before_its_model_was_written_is_not_trained_on(config):
    whole = load_file(Path(sft.train(config)) / "model.safetensors")
    config["training"]["output_dir"] += "-killed"
    begin(config, step=18)
    assert whole_checkpoints(output(config))[-1].name == "checkpoint-18"
    merged = load_file(Path(sft.train(config)) / "model.safetensors")
    assert all(torch.equal(whole[name], merged[name]) for name in whole)
    facts = json.loads((output(config) / "training.json").read_text())
    assert facts["steps"] == 18 and facts["seconds"] > 0


# Rows


def test_bad_rows_are_all_named_before_a_step_is_spent(config, corpus):
    (corpus / "3.wav").unlink()
    (corpus / "4.wav").write_bytes(b"no sound at all")
    (corpus / "5.wav").write_bytes((corpus / "5.wav").read_bytes()[:2000])
    lines = (corpus / "train.jsonl").read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"answer": ""})
    (corpus / "train.jsonl").write_text("\n".join(lines))
    with pytest.raises(BadRowsError) as found:
        sft.build_trainer(config)
    said = str(found.value)
    assert said.startswith("4 rows or clips cannot be trained on") and "row '0-asr' has no answer to learn" in said
    assert all(f"row '{number}-asr'" in said and f"{number}.wav" in said for number in (3, 4, 5))


def test_rows_to_validate_with_are_looked_at_too(config, corpus):
    rows = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    row = rows[0] | {"split": "validation", "audio": "gone.wav"}
    (corpus / "validation.jsonl").write_text(json.dumps(row))
    config["data"]["validation"] = [str(corpus)]
    with pytest.raises(BadRowsError, match="gone.wav: no such file"):
        sft.build_trainer(config)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_turns_out_to_be_wild_is_named_in_one_line(config, corpus, tmp_path, workers, capsys):
    wild = np.full(8000, 1e38, dtype=np.float32)
    soundfile.write(corpus / "3.wav", wild, 16_000, subtype="FLOAT")
    config["training"]["dataloader_num_workers"] = workers
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "--config", str(tmp_path / "run.yaml")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and said[0].startswith("error: row '3-") and "3.wav" in said[0] and len(said[0]) < 300


def test_clips_in_the_rows_are_looked_at_and_those_elsewhere_are_not_fetched(corpus):
    row = {"id": "a", "answer": "dog"}
    good = {"bytes": (corpus / "1.wav").read_bytes(), "path": None}
    refuse_bad_rows([row | {"audio": good}, row | {"audio": {"path": "https://example.invalid/a.wav", "bytes": None}}])
    with pytest.raises(BadRowsError, match="1 rows or clips"):
        refuse_bad_rows([row | {"audio": good}, row | {"audio": good | {"bytes": b"none"}}])
    with pytest.raises(BadRowsError, match="; and 5 more"):
        refuse_bad_rows([row | {"audio": {"path": f"{n}.none", "bytes": None}} for n in range(15)])


# Damaged files


@pytest.mark.parametrize(
    "name, damage",
    [
        ("optimizer.pt", Path.unlink),
        ("scheduler.pt", Path.unlink),
        ("rng_state.pth", Path.unlink),
        ("trainer_state.json", Path.unlink),
        ("average.safetensors", Path.unlink),
        ("trainable.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-10])),
        ("optimizer.pt", lambda path: path.write_bytes(path.read_bytes()[:1000])),
        ("trainer_state.json", lambda path: path.write_text(path.read_text()[:100])),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(begun, patterns, name, damage, caplog):
    damage(output(begun) / "checkpoint-10" / name)
    assert newest_whole_checkpoint(output(begun), patterns) == output(begun) / "checkpoint-6"
    assert f"checkpoint-10/{name} is " in caplog.text and "the checkpoint before it is tried" in caplog.text


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(begun, caplog):
    (output(begun) / "checkpoint-10" / "optimizer.pt").unlink()
    sft.train(begun)
    assert "checkpoint-10/optimizer.pt is missing; the checkpoint before it is tried" in caplog.text
    assert json.loads((output(begun) / "training.json").read_text())["steps"] == 18


def test_a_run_without_a_whole_checkpoint_is_refused(begun):
    for folder in ("checkpoint-5", "checkpoint-6"):  # the second is the end of a round
        (output(begun) / folder / "optimizer.pt").unlink()
    (output(begun) / "checkpoint-10" / "trainable.safetensors").write_bytes(b"half")
    with pytest.raises(DamagedCheckpointError, match="trainable.safetensors is cut off.*-5/optimizer.pt is missing"):
        sft.train(begun)
    with pytest.raises(ValueError, match="checkpoint-10/trainable.safetensors is cut off or damaged"):
        load_trained(output(begun) / "checkpoint-10")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space (os error 28)")],
)
def test_a_full_disk_is_said_as_such_and_the_last_checkpoint_stays(config, monkeypatch, error):
    def full(tensors, folder):
        if folder.endswith("checkpoint-10"):
            raise error
        save(tensors, folder)

    from audiollm.training import run_trainer as module

    save = module.save_trainable
    monkeypatch.setattr(module, "save_trainable", full)
    with pytest.raises(OSError, match="the disk is full"):
        sft.train(config)
    assert [path.name for path in whole_checkpoints(output(config))] == ["checkpoint-5", "checkpoint-6"]
    assert not (output(config) / "unfinished").exists()


def test_a_full_cache_disk_ends_no_training(tmp_path, monkeypatch, caplog):
    def full(tensors, path):
        path.write_bytes(b"part")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    cache = FeatureCache(tmp_path, max_gb=1)
    cache.open(["new"])
    monkeypatch.setattr("audiollm.training.feature_cache.save_file", full)
    cache.put("new", "aa", torch.zeros(1, 2, 3))
    cache.put("new", "bb", torch.zeros(1, 2, 3))
    assert caplog.text.count("cannot be written") == 1 and not [p for p in tmp_path.rglob("*") if p.is_file()]
    (tmp_path / "file").touch()
    FeatureCache(tmp_path / "file", max_gb=1).open(["new"])  # a folder that cannot be made


def test_what_is_saved_may_be_read_as_the_umask_says(config):
    before = os.umask(0o027)
    try:
        config["max_steps"] = 1
        sft.train(config)
    finally:
        os.umask(before)
    saved = [path for path in output(config).rglob("*") if path.is_file() and path.suffix == ".safetensors"]
    assert len(saved) >= 2
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in saved} == {"0o640"}


# LoRA


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear", ["all-linear"], ["self_attn.q_proj"], None])
def test_lora_lands_in_the_language_model_whatever_way_it_is_named(config, targets):
    config["lora"]["target_modules"] = targets
    config["max_steps"] = 6
    trainer = sft.build_trainer(config)
    named = [name for name, _ in trainer.model.named_parameters() if part_of(name) == "lora"]
    assert named and all(".language_model." in name for name in named)
    folder = run(config, trainer)
    proof = [entry["moved"] for entry in trainer.state.log_history if "moved" in entry]
    assert sorted(proof[1]) == ["lora", "speech_adapter", "speech_encoder"]
    merged = load_file(Path(folder) / "model.safetensors")
    first = load_file(Path(config["model"]["checkpoint"]) / "model.safetensors")
    changed = {name for name in first if not torch.equal(first[name], merged[name])}
    linear = {name for name in changed if part_of(name) == "language_model"}
    assert linear and all(name.endswith("_proj.weight") for name in linear)
    assert {part_of(name) for name in changed - linear} == {"speech_adapter", "speech_encoder"}


@pytest.mark.parametrize(
    "section, message",
    [
        ({"target_modules": ".*q_proj"}, "reaches .* parameters outside the language model .first: .*encoder"),
        ({"modules_to_save": ["speech_adapter"]}, "lora.modules_to_save is .*said in the schedule"),
        ({"bias": "all"}, "lora.bias is 'all'"),
        (
            {"target_modules": ["q_proj", "embed_tokens"]},
            "has model.language_model.embed_tokens, whose .* twice",
        ),
        ({"target_modules": ".*lm_head"}, "has lm_head, whose weight this language model uses twice"),
    ],
)
def test_lora_elsewhere_is_refused(config, section, message):
    config["lora"] |= section
    with pytest.raises(LoraSectionError, match=message):
        sft.build_trainer(config)


def test_lora_settings_leave_other_fields_alone():
    model, _ = tiny_model_and_processor()
    assert lora_settings({"r": 3, "modules_to_save": []}, model)["r"] == 3


# Corpora that lack tasks, and what TRL would write


@pytest.mark.parametrize("schedule", ["joint", "alt-1", "alt-4"])
def test_a_named_schedule_goes_without_tasks_that_have_no_rows(config, schedule):
    config |= {"schedule": schedule, "max_steps": 2}
    config["data"]["tasks"] = ["asr", "er"]
    trainer = sft.build_trainer(config)
    assert {task for round_ in trainer.plan.rounds for task in round_.tasks} == {"asr", "er"}
    assert "sqa: no rows" in trainer.report_plan() and "sr: no rows" in trainer.report_plan()
    trainer.train()


def test_rounds_without_any_rows_are_left_out_of_a_named_schedule():
    rounds = [Round(("asr", "sqa"), ("speech_adapter",)), Round(("er", "sr"), ("lora",))]
    assert leave_out_missing(rounds, ["er", "er"]) == ([Round(("er",), ("lora",))], ["asr", "sqa", "sr"])
    with pytest.raises(ScheduleError, match="no rows of any task"):
        leave_out_missing(rounds, [])


def test_rounds_that_name_a_task_without_rows_are_refused(config):
    config["data"]["tasks"] = ["asr", "er", "sr"]
    with pytest.raises(ScheduleError, match="Round 1 trains on sqa, but there are no such rows"):
        sft.build_trainer(config)


def test_no_card_of_trl_stands_beside_the_model(config):
    config["max_steps"] = 5
    sft.train(config)
    assert not list(output(config).rglob("README.md"))
