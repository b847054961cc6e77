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
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
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


def in_fork(work: Callable[[], Any]) -> dict[str, Any]:
    """What `work()` gives in a process of its own, with its wall time and peak memory; imports are shared."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        started = time.monotonic()
        try:
            result = {"result": work()}
        except BaseException as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        result |= {"seconds": time.monotonic() - started}
        result |= {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        result = json.loads(pipe.read() or '{"error": "killed"}')
    os.waitpid(child, 0)
    if "error" in result:
        raise RuntimeError(result["error"])
    return result


def turn_about(sides: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[dict[str, Any]]]:
    """Run every side once in each turn, one after the other."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            results[name].append(in_fork(side))
    return results


def median(values: Any) -> float:
    return round(statistics.median(values), 4)


def text_model(width: int, layers: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": int(2.67 * width),
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
    }


def whisper(width: int, layers: int, seconds: int) -> dict[str, Any]:
    return {
        "model_type": "whisper",
        "d_model": width,
        "encoder_layers": layers,
        "encoder_attention_heads": width // 64,
        "encoder_ffn_dim": 4 * width,
        "num_mel_bins": 80,
        "max_source_positions": 50 * seconds,
        "vocab_size": 32,
        "pad_token_id": 0,
    }


def run_config(work: Path, model: dict[str, Any], schedule: list[dict], **changes: Any) -> dict[str, Any]:
    config = tiny_config(work, work / f"run-{os.getpid()}")
    config |= {"model": {"scratch": model}, "schedule": schedule, "samples_per_round": 0, "augment": None}
    config["lora"] = {"r": 8, "lora_alpha": 16}
    config["training"] |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "save_steps": 10_000}
    config["training"] |= {"save_strategy": "no", "lr_scheduler_type": "constant"}
    return config | changes


def rows_per_second(config: dict[str, Any]) -> float:
    """Median rows a second over the steps of a run, the first left out."""
    import audiollm.train_sft as train_sft

    trainer = train_sft.build_trainer(config)
    trainer.train()
    speeds = [entry["samples_per_second"] for entry in trainer.state.log_history if "samples_per_second" in entry]
    return statistics.median(speeds[1:])


# The paper's 637 : 164 : 9240 million, divided by 400.
DUAL_SPEECH, DUAL_EMOTION, DUAL_TEXT = whisper(192, 3, 10), encoder(96, 3), text_model(448, 9)


def dual(options: argparse.Namespace) -> dict[str, Any]:
    """Training throughput of a dual against a single encoder, on clips of 2-10 s."""
    import audiollm.train_sft  # noqa: F401

    single_model = {
        "vocab_size": 300,
        "window_seconds": 10,
        "speech_tokens": 100,
        "speech_config": DUAL_SPEECH,
        "text_config": DUAL_TEXT,
    }
    dual_model = single_model | {"emotion_tokens": 10, "emotion_config": DUAL_EMOTION, "emotion_length_aware": True}
    learning = {"train": ["speech_encoder", "speech_adapter", "lora", "language_model"], "tasks": ["er"]}
    single_parts = ["speech_encoder", "speech_adapter", "lora"]
    dual_parts = [*single_parts, "emotion_encoder", "emotion_adapter"]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", 24, (2, 10), ("er", "asr"))
        closing = [learning | {"epochs": 0.2}]
        joint = {
            "single": run_config(work, single_model, [{"tasks": ["er"], "train": single_parts}, *closing]),
            "dual": run_config(work, dual_model, [{"tasks": ["er"], "train": dual_parts}, *closing]),
        }
        for config in joint.values():
            config["max_steps"] = 4
        results = turn_about({name: partial(rows_per_second, config) for name, config in joint.items()}, options.turns)
    ratios = [two["result"] / one["result"] for one, two in zip(results["single"], results["dual"])]
    return {
        "single_rows_per_second": median(result["result"] for result in results["single"]),
        "dual_rows_per_second": median(result["result"] for result in results["dual"]),
        "dual_over_single": median(ratios),
        "paper": 0.933,
    }


def cache(options: argparse.Namespace) -> dict[str, Any]:
    """An emotion round of four epochs with and without the feature cache."""
    import audiollm.train_sft as train_sft

    model = {
        "vocab_size": 300,
        "window_seconds": 10,
        "speech_tokens": 20,
        "emotion_tokens": 4,
        "speech_config": whisper(256, 4, 10),
        "emotion_config": encoder(64, 2),
        "emotion_length_aware": True,
        "text_config": text_model(192, 3),
    }
    # Two steps of everything else, so that no part stays random; then the round that is measured.
    schedule = [
        {"tasks": ["asr"], "train": ["speech_encoder", "speech_adapter", "language_model"], "epochs": 0.2},
        {"tasks": ["er"], "train": ["emotion_encoder", "emotion_adapter", "lora"], "epochs": 4},
    ]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", 16, (2, 10), ("er", "asr"))

        def measure(cached: bool) -> dict[str, float]:
            folder = work / f"cache-{os.getpid()}"
            config = run_config(work, model, schedule)
            config["feature_cache"] = {"folder": str(folder), "max_gb": 1} if cached else None
            trainer = train_sft.build_trainer(config)
            trainer.train()
            logged = [entry for entry in trainer.state.log_history if entry.get("round") == 2]
            disk = sum(path.stat().st_size for path in folder.rglob("*")) if cached else 0
            return {"seconds": sum(4 / entry["samples_per_second"] for entry in logged), "disk_mb": disk / 1e6}

        results = turn_about({"off": partial(measure, False), "on": partial(measure, True)}, options.turns)
    seconds = {name: [result["result"]["seconds"] for result in side] for name, side in results.items()}
    return {
        "seconds_without": median(seconds["off"]),
        "seconds_with": median(seconds["on"]),
        "saved_share": median(1 - on / off for on, off in zip(seconds["on"], seconds["off"])),
        "disk_mb": median(result["result"]["disk_mb"] for result in results["on"]),
        "clips": 16,
    }


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of a training step with 256 k words: our loss, and the model's own over whole logits."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from audiollm.training.trainer import AudioLLMTrainer  # noqa: F401

    batch, length, scored = options.batch, 200, 40
    sizes = text_model(128, 2) | {"vocab_size": 256_000, "tie_word_embeddings": True}
    settings = {name: value for name, value in sizes.items() if name != "model_type"}

    def step(fused: bool) -> float:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **settings))
        model.get_input_embeddings().weight.requires_grad_(False)
        ids = torch.randint(0, 256_000, (batch, length))
        labels = ids.clone()
        labels[:, : length - scored] = -100
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if fused:
            add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
            kept = labels[:, 1:] != -100
            inner = model.model.forward

            def keep_scored(*args: Any, **kwargs: Any):
                output = inner(*args, **kwargs)
                output.last_hidden_state = output.last_hidden_state[:, :-1][kept].unsqueeze(0)
                return output

            model.model.forward = keep_scored
            shifted = labels[:, 1:][kept].unsqueeze(0)
            output = model(input_ids=ids, labels=labels, shift_labels=shifted, fused_lm_head=True)
        else:
            output = model(input_ids=ids, labels=labels)
        output.loss.backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - base

    results = turn_about({"full": partial(step, False), "ours": partial(step, True)}, options.turns)
    full, ours = ([result["result"] for result in results[name]] for name in ("full", "ours"))
    return {
        "full_logits_mb": median(full),
        "ours_mb": median(ours),
        "ours_over_full": median(a / b for a, b in zip(ours, full)),
        "batch": batch,
        "tokens": length,
        "scored": scored,
    }


def scaling(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a training step for a row, by clip length and by number of clips."""
    import audiollm.train_sft  # noqa: F401

    model = {
        "vocab_size": 300,
        "window_seconds": 5,
        "speech_tokens": 25,
        "speech_length_aware": True,
        "speech_config": encoder(128, 3),
        "text_config": text_model(192, 3),
    }
    learning = [{"tasks": ["asr"], "train": ["speech_encoder", "speech_adapter", "lora", "language_model"]}]
    table = []
    for seconds, clips in ((1, 16), (2, 16), (4, 16), (8, 16), (16, 16), (4, 32), (4, 64)):
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            write_corpus(work / "corpus", clips, (seconds, seconds), ("asr",))
            config = run_config(work, model, learning)
            results = turn_about({"run": partial(rows_per_second, config)}, options.turns)["run"]
            table.append(
                {
                    "seconds_of_clip": seconds,
                    "clips": clips,
                    "ms_per_row": median(1000 / result["result"] for result in results),
                    "run_seconds": median(result["seconds"] for result in results),
                    "peak_mb": median(result["peak_mb"] for result in results),
                }
            )
    return {"table": table}


def processes(options: argparse.Namespace) -> dict[str, Any]:
    """Losses of two gloo processes (DDP) and of one process with twice the accumulation."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", 8, (0.3, 1.8), ("asr", "sqa", "er", "sr"))
        losses = {}
        for processes_, accumulation in ((1, 2), (2, 1)):
            config = tiny_config(work, work / f"out-{processes_}")
            config["schedule"][0].pop("ctc")
            config["lora"]["lora_dropout"] = 0.0
            for part in ("speech_config", "emotion_config"):
                config["model"]["scratch"][part] |= {"dropout": 0.0, "layerdrop": 0.0, "attention_dropout": 0.0}
                config["model"]["scratch"][part] |= {"activation_dropout": 0.0}
            config["model"]["scratch"]["text_config"]["attention_dropout"] = 0.0
            config["training"] |= {"gradient_accumulation_steps": accumulation, "save_steps": 1000}
            path = work / f"config-{processes_}.yaml"
            path.write_text(json.dumps(config))
            launch = [sys.executable, "-W", "ignore"]
            if processes_ == 2:
                launch += ["-m", "accelerate.commands.launch", "--main_process_port", "0", "--config_file"]
                launch += [str(root / "configs" / "accelerate" / "cpu-ddp.yaml")]
            command = [*launch, str(root / "train_sft.py"), "--config", str(path)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            state = json.loads((work / f"out-{processes_}" / "trainer_state.json").read_text())
            losses[processes_] = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    differences = [abs(one - two) for one, two in zip(losses[1], losses[2], strict=True)]
    return {"steps": len(differences), "largest_difference": max(differences)}


def peer(options: argparse.Namespace) -> dict[str, Any]:
    """Rows trained and answers given a second, beside transformers' Qwen2-Audio of the same sizes.

    Both have a Whisper encoder of 384 x 4, a Llama of 576 x 30 (`--shrink` divides the layers) and LoRA on the same
    projections; both train on the same clips and texts. Qwen2-Audio is called as its documentation does.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        WhisperFeatureExtractor,
    )
    from trl.trainer.utils import add_fused_lm_head

    from audiollm.processing.collator import AudioLLMCollator
    from audiollm.training.assemble import assemble
    from audiollm.training.trainer import LORA_TARGETS

    layers = 30 // options.shrink
    text = {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": layers,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 4096,
    }
    generator = np.random.default_rng(options.seed)
    clips = [generator.normal(0, 0.1, round(s * RATE)).astype(np.float32) for s in generator.uniform(2, 10, 8)]
    texts = ["What emotion does the speaker show, and which words show it?"] * 8
    answers = [f'The speaker sounds sad. The words "{" ".join(generator.choice(WORDS, 8))}" show it.' for _ in clips]
    lora = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    size, vocabulary = options.batch, 49_152

    section = {
        "vocab_size": 1200,
        "window_seconds": 10,
        "speech_tokens": 50,
        "speech_config": whisper(384, 4, 10),
    }
    words = [*texts, *answers] * 9
    # Both sides get as many tokens of text, counted with our tokenizer.
    _, counting = assemble({"scratch": section | {"text_config": text | {"num_hidden_layers": 1}}}, words)
    prompt_tokens = len(counting.tokenizer(counting.prompt(texts[0]), add_special_tokens=False)["input_ids"])
    answer_tokens = len(counting.tokenizer(answers[0], add_special_tokens=False)["input_ids"]) + 1

    def timed(train: Callable, generate: Callable) -> dict[str, float]:
        train()
        started = time.monotonic()
        train()
        trained = time.monotonic()
        with torch.no_grad():
            generate()
        return {"rows": size / (trained - started), "answers": 8 / (time.monotonic() - trained)}

    def ours() -> dict[str, float]:
        model, processor = assemble({"scratch": section | {"text_config": text}}, words)
        model.resize_token_embeddings(vocabulary)
        add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
        targets = LORA_TARGETS.replace("|gate_proj|up_proj|down_proj", "")
        model = get_peft_model(model, LoraConfig(**{**lora, "target_modules": targets}))
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        rows = [
            {"id": str(n), "audio": clip, "question": question, "answer": answer}
            for n, (clip, question, answer) in enumerate(zip(clips, texts, answers))
        ]
        collate = AudioLLMCollator(processor)

        def train():
            model.train()
            batch = collate(rows[:size])
            scored = torch.nn.functional.pad(batch["labels"][:, 1:], (0, 1), value=-100)
            kept = scored != -100
            output = model(**batch, fused_lm_head=True, kept=kept, shift_labels=scored[kept].unsqueeze(0))
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        def generate():
            inputs = processor(text=[processor.prompt(question) for question in texts], audio=clips)
            model.eval().generate(**inputs, max_new_tokens=40, min_new_tokens=40, do_sample=False)

        return timed(train, generate)

    def theirs() -> dict[str, float]:
        audio = {
            "d_model": 384,
            "encoder_layers": 4,
            "encoder_attention_heads": 6,
            "encoder_ffn_dim": 1536,
            "num_mel_bins": 80,
        }
        config = Qwen2AudioConfig(
            audio_config=audio, text_config=text | {"vocab_size": vocabulary}, audio_token_index=vocabulary - 1
        )
        model = get_peft_model(
            Qwen2AudioForConditionalGeneration(config),
            LoraConfig(**{**lora, "target_modules": r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)"}),
        )
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        extractor = WhisperFeatureExtractor(feature_size=80)

        def inputs(count: int, answered: bool) -> dict[str, torch.Tensor]:
            settings = {"sampling_rate": RATE, "return_attention_mask": True, "padding": "max_length"}
            features = extractor(clips[:count], return_tensors="pt", **settings)
            mask = features["attention_mask"]
            tokens = ((mask.sum(-1) - 1) // 2 + 1 - 2) // 2 + 1
            after = prompt_tokens + (answer_tokens if answered else 0)
            longest = int(tokens.max()) + after
            ids = torch.randint(10, 1000, (count, longest))
            attention = torch.ones_like(ids)
            for row, number in enumerate(tokens.tolist()):
                pad = longest - number - after
                attention[row, :pad] = 0
                ids[row, pad : pad + number] = vocabulary - 1
            batch = {"input_ids": ids, "attention_mask": attention}
            return batch | {"input_features": features["input_features"], "feature_attention_mask": mask}

        def train():
            model.train()
            batch = inputs(size, True)
            labels = batch["input_ids"].clone()
            labels[:, :-answer_tokens] = -100
            model(**batch, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        def generate():
            model.eval().generate(**inputs(8, False), max_new_tokens=40, min_new_tokens=40, do_sample=False)

        return timed(train, generate)

    results = turn_about({"ours": ours, "theirs": theirs}, options.turns)

    def ratio(key: str) -> float:
        return median(a["result"][key] / b["result"][key] for a, b in zip(results["ours"], results["theirs"]))

    return {
        "ours": {key: median(r["result"][key] for r in results["ours"]) for key in ("rows", "answers")},
        "theirs": {key: median(r["result"][key] for r in results["theirs"]) for key in ("rows", "answers")},
        "training_ratio": ratio("rows"),
        "answers_ratio": ratio("answers"),
        "peak_mb": {name: median(r["peak_mb"] for r in side) for name, side in results.items()},
        "memory_ratio": median(a["peak_mb"] / b["peak_mb"] for a, b in zip(results["ours"], results["theirs"])),
        "turns": options.turns,
        "layers": layers,
        "text_tokens": [prompt_tokens, answer_tokens],
    }


PARTS = {
    "kills": kills,
    "dual": dual,
    "cache": cache,
    "memory": memory,
    "scaling": scaling,
    "processes": processes,
    "peer": peer,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS, help="what to measure")
    parser.add_argument("--kills", type=int, default=10, help="how often the run is killed")
    parser.add_argument("--turns", type=int, default=5, help="turns that medians are over")
    parser.add_argument("--batch", type=int, default=4, help="rows of a step, for memory and peer")
    parser.add_argument("--shrink", type=int, default=1, help="divides the layers of the peer's language model")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for part in options.parts:
        print(json.dumps({"part": part, **PARTS[part](options)}), flush=True)


if __name__ == "__main__":
    main()
