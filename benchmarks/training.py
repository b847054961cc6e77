"""What training costs and withstands: kills, dual against single encoder, a peer, memory, cache, processes, scaling.

    python benchmarks/training.py kills --kills 10
    python benchmarks/training.py dual cache memory scaling peer processes

Everything is made here: random weights and synthetic clips, so that nothing is downloaded. Each figure is a median of
turns in which both sides run one after the other: a busy machine slows both alike. Results are printed as JSON lines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile


RATE = 16_000
WORDS = "my old dog ran over the hill and nobody saw where it went that day".split()


def write_corpus(folder: Path, clips: int, seconds: tuple[float, float], tasks: tuple[str, ...], seed: int = 0):
    """A corpus of noisy tones in the schema: a row of each task for every clip."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    lines = []
    for number in range(clips):
        time_axis = np.arange(round(generator.uniform(*seconds) * RATE)) / RATE
        tone = 0.2 * np.sin(2 * np.pi * generator.uniform(90, 400) * time_axis)
        soundfile.write(folder / f"{number}.wav", tone + generator.normal(0, 0.01, len(tone)), RATE)
        words = " ".join(generator.choice(WORDS, 5))
        answers = {
            "asr": words,
            "sqa": words.split()[0],
            "er": f'The speaker sounds sad, as "{words}" shows.',
            "sr": f'The sentiment is negative, as "{words}" shows.',
        }
        for task in tasks:
            row = {
                "id": f"{number}-{task}",
                "task": task,
                "audio": f"{number}.wav",
                "question": f"What is it, {task}?",
            }
            row |= {"answer": answers[task], "transcript": words, "corpus": "tones", "split": "train", "speaker": "a"}
            lines.append(json.dumps(row | {"seconds": len(tone) / RATE}))
    (folder / "train.jsonl").write_text("\n".join(lines))


def encoder(width: int, layers: int = 1) -> dict[str, Any]:
    return {
        "model_type": "parakeet_encoder",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * width,
        "num_mel_bins": 80,
        "subsampling_factor": 4,
        "subsampling_conv_channels": 4,
        "dropout": 0.1,
        "layerdrop": 0.1,
    }


def tiny_config(work: Path, out: Path) -> dict[str, Any]:
    """A dual model from nothing that trains in seconds, with all that is random switched on."""
    return {
        "model": {
            "scratch": {
                "vocab_size": 300,
                "window_seconds": 1,
                "speech_tokens": 5,
                "emotion_tokens": 2,
                "speech_config": encoder(16),
                "emotion_config": encoder(16),
                "text_config": {
                    "model_type": "llama",
                    "hidden_size": 16,
                    "intermediate_size": 32,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "attention_dropout": 0.1,
                },
            }
        },
        "data": {"train": [str(work / "corpus")]},
        "augment": {"speed": 0.1},
        "schedule": [
            {"tasks": ["asr", "sqa"], "train": ["speech_encoder", "speech_adapter", "lora"], "ctc": 0.3},
            {"tasks": ["er", "sr"], "train": ["emotion_encoder", "emotion_adapter", "lora"], "lr": 0.005},
            {"tasks": ["asr", "er"], "train": ["speech_adapter", "emotion_adapter", "language_model"]},
        ],
        "lora": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.1},
        "training": {
            "output_dir": str(out),
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "learning_rate": 0.01,
            "lr_scheduler_type": "cosine",
            "logging_steps": 1,
            "save_steps": 2,
            "save_total_limit": 2,
            "report_to": "none",
            "bf16": False,
            "use_cpu": True,
            "gradient_checkpointing": False,
            "dataloader_num_workers": 0,
            "disable_tqdm": True,
        },
    }


def digest(folder: Path) -> str:
    """SHA-256 of the final weights of a run."""
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def _train(config: dict[str, Any], prepare: Callable | None, pipe: int | None = None):
    """Train in this process; `prepare(trainer)` may add what kills it."""
    from transformers import TrainerCallback

    import audiollm.train_sft as train_sft

    class Tell(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            os.write(pipe, b".")

    build = train_sft.build_trainer

    def build_and_prepare(config):
        trainer = build(config)
        if pipe is not None:
            trainer.add_callback(Tell())
        if prepare is not None:
            prepare(trainer)
        return trainer

    train_sft.build_trainer = build_and_prepare
    train_sft.train(config)


def in_child(config: dict[str, Any], prepare: Callable | None = None, kill_at: tuple[int, float] | None = None) -> int:
    """Train in a forked process, killed `kill_at[1]` seconds after its step `kill_at[0]`; gives its exit signal."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            _train(config, prepare, writer)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    os.close(writer)
    if kill_at is not None:
        step, wait = kill_at
        for _ in range(step):
            if not os.read(reader, 1):
                break
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reader)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("Training failed.")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _die_while_saving(trainer):
    """Kill this process in the midst of its second save: some files of the checkpoint are written, others are not."""
    save, saves = trainer._save_rng_state, []

    def die_later(folder):
        saves.append(folder)
        if len(saves) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(folder)

    trainer._save_rng_state = die_later


def _die_before_renaming(trainer):
    """Kill this process when its next checkpoint is whole, but not yet under its name."""
    import audiollm.training.trainer as module

    module.publish_checkpoint = lambda staged, run: os.kill(os.getpid(), signal.SIGKILL)


def _die_at_border(trainer):
    """Kill this process right after the last step of a round, before its checkpoint."""
    from transformers import TrainerCallback

    class Die(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step in trainer.plan.stops:
                os.kill(os.getpid(), signal.SIGKILL)

    trainer.add_callback(Die())


def kills(options: argparse.Namespace) -> dict[str, Any]:
    """Kill a run again and again, resume it, and compare its last weights with those of an unbroken run.

    Three kills are placed: within a save, between a save and its renaming, at a border of rounds. The others come at
    random moments.
    """
    import audiollm.train_sft  # noqa: F401  (before the forks, so that each costs little)

    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", 8, (0.3, 1.8), ("asr", "sqa", "er", "sr"))
        started = time.monotonic()
        in_child(tiny_config(work, work / "whole"))
        config = tiny_config(work, work / "killed")
        placed = [_die_while_saving, _die_at_border, _die_before_renaming][: options.kills]
        moments: list[Callable | None] = placed + [None] * (options.kills - len(placed))
        chance.shuffle(moments)
        signals = []
        for prepare in moments:
            moment = None if prepare else (chance.randint(0, 3), chance.uniform(0, 0.3))
            signals.append(in_child(config, prepare, moment))
        finished = in_child(config)
        same = finished == 0 and digest(work / "whole") == digest(work / "killed")
        return {
            "kills": signals.count(signal.SIGKILL),
            "asked": options.kills,
            "bit_identical": same,
            "seconds": round(time.monotonic() - started, 1),
        }


PARTS = {"kills": kills}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS, help="what to measure")
    parser.add_argument("--kills", type=int, default=10, help="how often the run is killed")
    parser.add_argument("--turns", type=int, default=5, help="turns that medians are over")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for part in options.parts:
        print(json.dumps({"part": part, **PARTS[part](options)}), flush=True)


if __name__ == "__main__":
    main()
