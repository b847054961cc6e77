"""What training costs and withstands: kills, dual against single encoder, tokens by length, memory, a peer, scaling.

    python benchmarks/training.py kills --kills 10
    python benchmarks/training.py dual tokens cache memory scaling peer

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
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile


RATE = 16_000
WORDS = "my old dog ran over the hill and nobody saw where it went that day".split()


def write_corpus(
    folder: Path,
    clips: int,
    seconds: tuple[float, float],
    tasks: tuple[str, ...],
    seed: int = 0,
    lengths: Sequence[float] | None = None,
):
    """A corpus of noisy tones in the schema: a row of each task for every clip, drawn from a range or of `lengths`."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    lines = []
    for number in range(clips):
        length = generator.uniform(*seconds) if lengths is None else lengths[number]
        time_axis = np.arange(round(length * RATE)) / RATE
        tone = 0.2 * np.sin(2 * np.pi * generator.uniform(90, 400) * time_axis)
        soundfile.write(folder / f"{number}.wav", tone + generator.normal(0, 0.01, len(tone)), RATE)
        words = " ".join(generator.choice(WORDS, 5))
        labels = dict(zip(("er", "sr"), (("sad", "negative"), ("happy", "positive"))[number % 2]))
        answers = {
            "asr": words,
            "sqa": words.split()[0],
            "er": f'The speaker sounds {labels["er"]}, as "{words}" shows.',
            "sr": f'The sentiment is {labels["sr"]}, as "{words}" shows.',
        }
        for task in tasks:
            row = {
                "id": f"{number}-{task}",
                "task": task,
                "audio": f"{number}.wav",
                "question": f"What is it, {task}?",
            }
            row |= {"answer": answers[task], "transcript": words, "corpus": "tones", "split": "train", "speaker": "a"}
            lines.append(json.dumps(row | {"label": labels.get(task), "seconds": len(tone) / RATE}))
    (folder / "train.jsonl").write_text("\n".join(lines))


def encoder(width: int, layers: int = 1, dropout: float = 0.0) -> dict[str, Any]:
    return {
        "model_type": "parakeet_encoder",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * width,
        "num_mel_bins": 80,
        "subsampling_factor": 4,
        "subsampling_conv_channels": 4,
        "dropout": dropout,
        "layerdrop": dropout,
        "attention_dropout": dropout,
        "activation_dropout": dropout,
    }


def random_model(work: Path, sizes: dict[str, Any]) -> dict[str, str]:
    """The `model` section for a model of random weights, which is made once and kept."""
    from audiollm.samples.base.scratch import from_scratch

    folder = work / f"model-{hashlib.sha256(json.dumps(sizes).encode()).hexdigest()[:8]}"
    if not folder.is_dir():
        for part in from_scratch(sizes, WORDS):
            part.save_pretrained(folder)
    return {"checkpoint": str(folder)}


TINY = {
    "vocab_size": 300,
    "window_seconds": 1,
    "speech_tokens": 5,
    "emotion_tokens": 2,
    "speech_config": encoder(16, dropout=0.1),
    "emotion_config": encoder(16, dropout=0.1),
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


def tiny_config(work: Path, out: Path, sizes: dict[str, Any] = TINY) -> dict[str, Any]:
    """A dual model from nothing that trains in seconds, with all that is random switched on."""
    return {
        "model": random_model(work, sizes),
        "data": {"train": [str(work / "corpus")]},
        "schedule": [
            {"tasks": ["asr", "sqa"], "train": ["speech_encoder", "speech_adapter", "lora"]},
            {
                "tasks": ["er", "sr"],
                "train": ["emotion_encoder", "emotion_adapter", "lora"],
                "lr": 0.005,
                "average": 0.9,
                "label": 0.3,
            },
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

    from audiollm.training import sft

    class Tell(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            os.write(pipe, b".")

    build = sft.build_trainer

    def build_and_prepare(config):
        trainer = build(config)
        if pipe is not None:
            trainer.add_callback(Tell())
        if prepare is not None:
            prepare(trainer)
        return trainer

    sft.build_trainer = build_and_prepare
    sft.train(config)


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
    import audiollm.training.run_trainer as module

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
    import audiollm.training.sft  # noqa: F401  (before the forks, so that each costs little)

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
            moment = None if prepare else (chance.randint(0, 3), chance.uniform(0, 0.1))
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
    config = tiny_config(work, work / f"run-{os.getpid()}", model)
    config |= {"schedule": schedule, "samples_per_round": 0}
    config["lora"] = {"r": 8, "lora_alpha": 16}
    config["training"] |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "save_steps": 10_000}
    config["training"] |= {"save_strategy": "no", "lr_scheduler_type": "constant"}
    return config | changes


def step_seconds(config: dict[str, Any]) -> list[float]:
    """Seconds of each step of a run, loading of its rows and all, the first left out."""
    from audiollm.training import sft

    trainer = sft.build_trainer(config)
    trainer.train()
    speeds = [entry["samples_per_second"] for entry in trainer.state.log_history if "samples_per_second" in entry]
    return [trainer.plan.rows_per_step / speed for speed in speeds[1:]]


# The paper's 637 : 164 : 9240 million, divided by 100: below, a step of the emotion encoder is mostly Python.
DUAL_SPEECH, DUAL_EMOTION, DUAL_TEXT = whisper(320, 5, 30), encoder(192, 3), text_model(768, 13)
PAPER_MILLIONS = {"speech_encoder": 637, "emotion_encoder": 164, "language_model": 9240}


def dual_model() -> dict[str, Any]:
    """A dual model of the paper's proportions and windows."""
    return {
        "vocab_size": 1200,  # in whose words a question and its answer are about 60 tokens
        "window_seconds": 30,
        "speech_tokens": 100,
        "emotion_tokens": 10,
        "speech_config": DUAL_SPEECH,
        "emotion_config": DUAL_EMOTION,
        "emotion_length_aware": True,
        "text_config": DUAL_TEXT,
    }


def proportions(model: dict[str, Any]) -> dict[str, float]:
    """Million parameters of the parts that the paper names."""
    from audiollm.samples.base.scratch import from_scratch
    from audiollm.training.schedule import part_parameters

    parts = part_parameters(from_scratch(model, WORDS)[0])
    return {part: round(sum(p.numel() for _, p in parts[part]) / 1e6, 2) for part in PAPER_MILLIONS}


def dual(options: argparse.Namespace) -> dict[str, Any]:
    """Training throughput of a dual against a single encoder, on clips of 2-10 s: where everything learns jointly, and
    where the dual model learns as in the paper, a task's parts at a time."""
    import audiollm.training.sft  # noqa: F401

    models = {"dual": dual_model()}
    models["single"] = {name: value for name, value in dual_model().items() if not name.startswith("emotion")}
    speech, emotion = (["speech_encoder", "speech_adapter"], ["emotion_encoder", "emotion_adapter"])
    tasks = ["asr", "er"]
    schedules = {
        "single": [{"tasks": tasks, "train": [*speech, "lora"]}],
        "dual": [{"tasks": tasks, "train": [*speech, *emotion, "lora"]}],
        "alternating": [
            {"tasks": ["asr"], "train": [*speech, "lora"]},
            {"tasks": ["er"], "train": [*emotion, "lora"]},
        ],
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", 8, (2, 10), ("er", "asr"))
        (work / "corpus" / "train.jsonl").write_text("\n".join(map(json.dumps, lengthen(peer_rows(work)))))
        sides = {}
        for kind, schedule in schedules.items():
            config = run_config(work, models["single" if kind == "single" else "dual"], schedule)
            config["training"]["per_device_train_batch_size"] = 2
            sides[kind] = partial(step_seconds, config | {"max_steps": 8})
        results = turn_about(sides, options.turns)
    seconds = {kind: [result["result"] for result in side] for kind, side in results.items()}
    # Each side sees every row once, in an order of its own.
    totals = {kind: [sum(steps) for steps in side] for kind, side in seconds.items()}

    def over_single(kind: str) -> float:
        return median(single / dual for single, dual in zip(totals["single"], totals[kind]))

    return {
        "dual_over_single": over_single("dual"),
        "alternating_over_single": over_single("alternating"),
        "turns": options.turns,
        "paper": 0.933,
        "millions": in_fork(partial(proportions, dual_model()))["result"],
        "paper_millions": PAPER_MILLIONS,
    }


# Seconds of MELD's 13,708 utterances by their published start and end, in 16 equal shares; their mean is 3.1 s.
MELD_SECONDS = (0.5, 1.0, 1.2, 1.5, 1.7, 1.9, 2.1, 2.3, 2.6, 2.9, 3.2, 3.7, 4.2, 5.2, 6.5, 9.0)


def tokens(options: argparse.Namespace) -> dict[str, Any]:
    """Rows trained and answers given a second with `audio_tokens: clip` over `window`, on clips of MELD's lengths.

    The third side, `heard`, is `clip` with `speech_length_aware`: Whisper hears to the next whole 5 s.

    The model has the paper's proportions and 100 + 10 tokens for 30 s. The rounds are those of the paper's
    alternation: in one, emotion encoder, emotion adapter and LoRA learn emotions, in the other speech encoder, speech
    adapter and LoRA learn transcripts. Then 8 clips are answered at once, with 20 tokens each.
    """
    from audiollm.training import sft

    rounds = {
        "er": {"tasks": ["er"], "train": ["emotion_encoder", "emotion_adapter", "lora"]},
        "asr": {"tasks": ["asr"], "train": ["speech_encoder", "speech_adapter", "lora"]},
    }

    kinds = {
        "window": {"audio_tokens": "window"},
        "clip": {"audio_tokens": "clip"},
        "heard": {"audio_tokens": "clip", "speech_length_aware": True},
    }

    def measure(work: Path, kind: str, task: str) -> dict[str, float]:
        import torch

        config = run_config(work, dual_model() | kinds[kind], [rounds[task] | {"epochs": 2}])
        trainer = sft.build_trainer(config | {"max_steps": 6})
        trainer.train()
        speeds = [entry["samples_per_second"] for entry in trainer.state.log_history if "samples_per_second" in entry]
        model, processor = trainer.model.merge_and_unload().eval(), trainer.processing_class
        rows = peer_rows(work)[::4]
        clips = [soundfile.read(work / "corpus" / row["audio"], dtype="float32")[0] for row in rows]
        started = time.monotonic()
        with torch.no_grad():
            inputs = processor(text=[processor.prompt(row["question"]) for row in rows], audio=clips)
            model.generate(**inputs, max_new_tokens=20, min_new_tokens=20, do_sample=False)
        return {"rows": median(speeds[1:]), "answers": len(clips) / (time.monotonic() - started)}

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", len(MELD_SECONDS), (0, 0), tuple(rounds), lengths=MELD_SECONDS)
        sides = {f"{kind} {task}": partial(measure, work, kind, task) for task in rounds for kind in kinds}
        results = turn_about(sides, options.turns)

    def over_window(kind: str, key: str, task: str) -> float:
        pairs = zip(results[f"{kind} {task}"], results[f"window {task}"])
        return median(side["result"][key] / window["result"][key] for side, window in pairs)

    return {
        kind: {
            "rows_er": over_window(kind, "rows", "er"),
            "rows_asr": over_window(kind, "rows", "asr"),
            "answers": over_window(kind, "answers", "er"),
        }
        for kind in ("clip", "heard")
    } | {
        "rows_per_second": {side: median(r["result"]["rows"] for r in found) for side, found in results.items()},
        "turns": options.turns,
    }


def cache(options: argparse.Namespace) -> dict[str, Any]:
    """An emotion round of four epochs, at the paper's proportions, with and without the feature cache."""
    from audiollm.training import sft

    schedule = [{"tasks": ["er"], "train": ["emotion_encoder", "emotion_adapter", "lora"], "epochs": 4}]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", 12, (2, 10), ("er", "asr"))

        def measure(cached: bool) -> dict[str, float]:
            folder = work / f"cache-{os.getpid()}"
            config = run_config(work, dual_model(), schedule)
            config["feature_cache"] = {"folder": str(folder), "max_gb": 1} if cached else None
            trainer = sft.build_trainer(config)
            trainer.train()
            logged = [entry for entry in trainer.state.log_history if "samples_per_second" in entry]
            disk = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) if cached else 0
            return {"seconds": sum(4 / entry["samples_per_second"] for entry in logged), "disk_mb": disk / 1e6}

        results = turn_about({"off": partial(measure, False), "on": partial(measure, True)}, options.turns)
    seconds = {name: [result["result"]["seconds"] for result in side] for name, side in results.items()}
    return {
        "seconds_without": median(seconds["off"]),
        "seconds_with": median(seconds["on"]),
        "saved_share": median(1 - on / off for on, off in zip(seconds["on"], seconds["off"])),
        "disk_mb": median(result["result"]["disk_mb"] for result in results["on"]),
        "clips": 12,
    }


def resident_mb() -> float:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of a training step with 256 k words: our trainer's, and that of the model's own loss in it."""
    from transformers import TrainerCallback

    from audiollm.samples.base.scratch import from_scratch
    from audiollm.training import sft

    model = {
        "vocab_size": 300,
        "window_seconds": 10,
        "speech_tokens": 100,
        "speech_config": whisper(128, 1, 10),
        "text_config": text_model(128, 2),
    }

    class Note(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            self.before = resident_mb()

        def on_optimizer_step(self, args, state, control, **kwargs):
            self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def step(work: Path, whole: bool) -> dict[str, float]:
        built, processor = from_scratch(model, WORDS)
        built.resize_token_embeddings(256_000)
        config = run_config(work, model, [{"tasks": ["er"], "train": ["lora"]}])
        config["max_steps"] = 1
        config["training"]["per_device_train_batch_size"] = options.batch
        trainer = sft.build_trainer(config, built, processor)
        if whole:
            trainer.compute_loss = lambda model, inputs, **kwargs: model(**inputs).loss
        note = Note()
        trainer.add_callback(note)
        trainer.train()
        labels = trainer.data_collator([trainer.train_dataset[n] for n in range(options.batch)])["labels"]
        scored = int((labels != -100).sum())
        return {"step": note.peak - note.before, "process": note.peak, "tokens": labels.numel(), "scored": scored}

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", options.batch, (2, 10), ("er",))
        results = turn_about({"full": partial(step, work, True), "ours": partial(step, work, False)}, options.turns)
    full, ours = ([result["result"] for result in results[name]] for name in ("full", "ours"))
    return {
        "full_logits_mb": median(result["step"] for result in full),
        "ours_mb": median(result["step"] for result in ours),
        "ours_over_full": median(a["step"] / b["step"] for a, b in zip(ours, full)),
        "process_mb": {"full": median(r["process"] for r in full), "ours": median(r["process"] for r in ours)},
        "batch": options.batch,
        "tokens": full[0]["tokens"],
        "scored": full[0]["scored"],
    }


def scaling(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a training step for a row, by clip length and by number of clips."""
    import audiollm.training.sft  # noqa: F401

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
            results = turn_about({"run": partial(step_seconds, config)}, options.turns)["run"]
            table.append(
                {
                    "seconds_of_clip": seconds,
                    "clips": clips,
                    "ms_per_row": median(250 * s for result in results for s in result["result"]),
                    "run_seconds": median(result["seconds"] for result in results),
                    "peak_mb": median(result["peak_mb"] for result in results),
                }
            )
    return {"table": table}


PEER_LORA = {"r": 16, "lora_alpha": 32}
PEER_PROJECTIONS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)"
PEER_WORDS = 49_152


def peer_rows(work: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work / "corpus" / "train.jsonl").read_text().splitlines()]


def lengthen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with questions and answers of about 60 tokens together, chat template and all."""
    question = "What emotion does the speaker show, and which words of the recording show it best?"
    told = " ".join(WORDS[:12])
    ending = f'because the words "{told}" tell of a loss, and the voice is low and slow from the first to the last.'
    return [{**row, "question": question, "answer": f"{row['answer']} {ending}"} for row in rows]


def save_sides(work: Path, layers: int):
    """Both models with random weights, as checkpoints: a Whisper encoder of 384 x 4 and a Llama of 576 x `layers`."""
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    from audiollm.samples.base.scratch import from_scratch

    text = text_model(576, layers) | {
        "intermediate_size": 1536,
        "num_key_value_heads": 3,
        "max_position_embeddings": 4096,
    }
    section = {
        "vocab_size": 1200,
        "window_seconds": 10,
        "speech_tokens": 34,  # the paper's 100 for 30 s
        "speech_config": whisper(384, 4, 10),
        "text_config": text,
    }
    texts = [row[column] for row in peer_rows(work) for column in ("question", "answer")]
    model, processor = from_scratch(section, texts * 20)
    model.resize_token_embeddings(PEER_WORDS)
    model.save_pretrained(work / "ours")
    processor.save_pretrained(work / "ours")
    audio = {name: value for name, value in whisper(384, 4, 30).items() if name not in ("vocab_size", "pad_token_id")}
    config = Qwen2AudioConfig(
        audio_config=audio | {"model_type": "qwen2_audio_encoder"},
        text_config=text | {"vocab_size": PEER_WORDS},
        audio_token_index=processor.audio_token_id,
        tie_word_embeddings=True,
    )
    Qwen2AudioForConditionalGeneration(config).save_pretrained(work / "theirs")
    Qwen2AudioProcessor(
        WhisperFeatureExtractor(feature_size=80),
        processor.tokenizer,
        # Our template, so that both read the same text; audio stands in it as their placeholder.
        chat_template=processor.chat_template,
        audio_token=processor.audio_token,
        audio_bos_token=processor.audio_start_token,
        audio_eos_token=processor.audio_end_token,
    ).save_pretrained(work / "theirs")


def peer(options: argparse.Namespace) -> dict[str, Any]:
    """Rows trained and answers given a second, beside transformers' Qwen2-Audio of the same sizes.

    Both have a Whisper encoder of 384 x 4, a Llama of 576 x 30 (`--shrink` divides the layers) and the same LoRA, and
    nothing else learns; both get the same clips of 2-10 s and the same text. Ours is trained by `train_sft.py`'s
    trainer, theirs by transformers' Trainer with its processor in a collator, as its users write it. The second step
    is timed; then LoRA is merged on both sides and 8 clips are answered at once, with 40 tokens each. Peak memory is
    that of the whole process, and that beyond what it held when libraries had been imported.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoProcessor,
        Qwen2AudioForConditionalGeneration,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from audiollm.training import sft

    class Clock(TrainerCallback):
        def __init__(self):
            self.ends = []

        def on_step_end(self, args, state, control, **kwargs):
            self.ends.append(time.monotonic())

    def measure(trainer: Trainer, processor: Any, prompts: list[str], clips: list[np.ndarray], **settings: Any):
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
        model = trainer.model.merge_and_unload().eval()
        started = time.monotonic()
        inputs = processor(text=prompts, audio=clips, return_tensors="pt", padding=True, **settings)
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=40, min_new_tokens=40, do_sample=False)
        seconds = time.monotonic() - started
        return {
            "rows": options.batch / (clock.ends[1] - clock.ends[0]),
            "answers": len(clips) / seconds,
            "prompt": inputs["input_ids"].shape[1],
            "answered": tokens.shape[1] - inputs["input_ids"].shape[1],
        }

    def heard(work: Path) -> list[np.ndarray]:
        return [soundfile.read(work / "corpus" / row["audio"], dtype="float32")[0] for row in peer_rows(work)]

    imported = resident_mb()

    def ours(work: Path) -> dict[str, float]:
        config = run_config(work, {}, [{"tasks": ["er"], "train": ["lora"], "epochs": 4}])
        config |= {"model": {"checkpoint": str(work / "ours")}, "max_steps": 2}
        config["lora"] = PEER_LORA | {"target_modules": PEER_PROJECTIONS}
        config["training"]["per_device_train_batch_size"] = options.batch
        trainer = sft.build_trainer(config)
        processor = trainer.processing_class
        prompts = [processor.prompt(row["question"]) for row in peer_rows(work)]
        return measure(trainer, processor, prompts, heard(work))

    def theirs(work: Path) -> dict[str, float]:
        model = Qwen2AudioForConditionalGeneration.from_pretrained(work / "theirs")
        model = get_peft_model(model, LoraConfig(**PEER_LORA, target_modules=PEER_PROJECTIONS, task_type="CAUSAL_LM"))
        processor = AutoProcessor.from_pretrained(work / "theirs")
        processor.tokenizer.padding_side = "left"
        end = processor.tokenizer.eos_token

        def prompt(row: dict[str, Any]) -> str:
            content = [{"type": "audio"}, {"type": "text", "text": row["question"]}]
            return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

        def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            clips = [soundfile.read(work / "corpus" / row["audio"], dtype="float32")[0] for row in rows]
            texts = [prompt(row) + row["answer"] + end for row in rows]
            batch = processor(text=texts, audio=clips, sampling_rate=RATE, return_tensors="pt", padding=True)
            labels = batch["input_ids"].clone()
            for row, line in zip(rows, labels):
                answer = processor.tokenizer(row["answer"] + end, add_special_tokens=False)["input_ids"]
                line[: -len(answer)] = -100
            return {**batch, "labels": labels}

        arguments = TrainingArguments(
            output_dir=str(work / "theirs-run"),
            per_device_train_batch_size=options.batch,
            max_steps=2,
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        )
        rows = peer_rows(work)
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        return measure(trainer, processor, [prompt(row) for row in rows], heard(work), sampling_rate=RATE)

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_corpus(work / "corpus", 8, (2, 10), ("er",), options.seed)
        (work / "corpus" / "train.jsonl").write_text("\n".join(map(json.dumps, lengthen(peer_rows(work)))))
        # In a process of its own, so that those of the sides begin small, and with no threads to inherit.
        in_fork(partial(save_sides, work, 30 // options.shrink))
        results = turn_about({"ours": partial(ours, work), "theirs": partial(theirs, work)}, options.turns)

    def ratio(key: str) -> float:
        return median(a["result"][key] / b["result"][key] for a, b in zip(results["ours"], results["theirs"]))

    def memory_ratio(spared: float) -> float:
        pairs = zip(results["ours"], results["theirs"])
        return median((a["peak_mb"] - spared) / (b["peak_mb"] - spared) for a, b in pairs)

    def medians(key: str) -> dict[str, float]:
        return {name: median(result["result"][key] for result in side) for name, side in results.items()}

    return {
        "rows_per_second": medians("rows"),
        "answers_per_second": medians("answers"),
        "training_ratio": ratio("rows"),
        "answers_ratio": ratio("answers"),
        "peak_mb": {name: median(result["peak_mb"] for result in side) for name, side in results.items()},
        "memory_ratio": memory_ratio(0),
        "memory_ratio_beyond_imports": memory_ratio(imported),
        "prompt_tokens": medians("prompt"),
        "answer_tokens": medians("answered"),
        "layers": 30 // options.shrink,
        "batch": options.batch,
        "turns": options.turns,
    }


PARTS = {
    "kills": kills,
    "dual": dual,
    "tokens": tokens,
    "cache": cache,
    "memory": memory,
    "scaling": scaling,
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
