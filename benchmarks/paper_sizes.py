"""One GPU at the paper's sizes, with random weights: memory and speed of training, dual over single.

    python benchmarks/paper_sizes.py --rows 6 --steps 8

Gemma-2-9B, Whisper-large-v3 and Emotion2Vec+ large by their published configurations; noise of 2-10 s for speech. What
`configs/paper.yaml` sets stays as it is (float32 weights, bf16 autocast, gradient checkpointing), and `--plan`'s
estimate is printed beside the peak. `--shrink 16` divides layers, words and feed-forward widths, to try it on a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from transformers import AutoConfig, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from audiollm.modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from audiollm.modeling_audiollm.encoder_sizes import PUBLISHED_ENCODERS
from audiollm.processing.processing_audiollm import AudioLLMProcessor
from audiollm.samples.base.scratch import train_tokenizer
from audiollm.training import sft
from audiollm.training.config import read_config
from audiollm.training.estimate import PUBLISHED_TEXTS


RATE = 16_000
PRESET = Path(__file__).parents[1] / "configs" / "paper.yaml"
GEMMA_2_9B = PUBLISHED_TEXTS["google/gemma-2-9b-it"]
WORDS = "my old dog ran over the hill and nobody saw where it went that day".split()
ANSWER = 'The speaker sounds sad: the voice is low and slow, and "{}" tells of a loss that is not yet over.'


def write_rows(folder: Path, clips: int) -> None:
    """Noise of 2-10 s with a transcript, a question and an explained emotion for each clip."""
    chance = np.random.default_rng(0)
    lines = []
    for number in range(clips):
        seconds = float(chance.uniform(2, 10))
        soundfile.write(folder / f"{number}.wav", chance.normal(0, 0.05, round(seconds * RATE)), RATE)
        words = " ".join(chance.choice(WORDS, round(2.5 * seconds)))
        for task, answer in {"asr": words, "er": ANSWER.format(words[:30])}.items():
            row = {
                "id": f"{number}-{task}",
                "task": task,
                "audio": f"{number}.wav",
                "question": f"What is it, {task}?",
            }
            row |= {"answer": answer, "transcript": words, "corpus": "noise", "split": "train", "seconds": seconds}
            lines.append(json.dumps(row))
    (folder / "train.jsonl").write_text("\n".join(lines))


def shrunk(settings: dict[str, Any], by: int) -> dict[str, Any]:
    """The same architecture with `by` times fewer layers and words, and narrower feed-forward layers."""
    names = ("num_hidden_layers", "encoder_layers", "intermediate_size", "encoder_ffn_dim", "vocab_size")
    return settings | {name: max(1, settings[name] // by) for name in names if name in settings}


def build(dual: bool, shrink: int, device: str) -> tuple[AudioLLMForConditionalGeneration, AudioLLMProcessor]:
    """A model of random weights at the preset's sizes, made on the device, and its processor."""
    parts = yaml.safe_load(PRESET.read_text())["model"]["parts"]
    tokenizer = train_tokenizer([ANSWER, *WORDS] * 20, 1200)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    names = {"text": GEMMA_2_9B, "speech": PUBLISHED_ENCODERS["whisper-large-v3"].config}
    names |= {"emotion": PUBLISHED_ENCODERS["emotion2vec-plus-large"].config} if dual else {}
    configs: dict[str, Any] = {}
    for part, settings in names.items():
        settings = shrunk(settings, shrink) | (special if part == "text" else {})
        settings["vocab_size"] = max(settings.get("vocab_size", 32), len(tokenizer) if part == "text" else 32)
        if part != "text":
            settings.setdefault("pad_token_id", 0)
        configs[f"{part}_config"] = AutoConfig.for_model(settings.pop("model_type"), **settings)
    config = AudioLLMConfig(
        **configs,
        **{name: value for name, value in parts.items() if name not in ("speech", "emotion", "text", "fusion")},
        fusion="sequence" if dual else None,
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
    )
    with torch.device(device):
        model = AudioLLMForConditionalGeneration(config)
    model.generation_config.update(**special)
    mels = WhisperFeatureExtractor(feature_size=config.speech_config.num_mel_bins)
    processor = AudioLLMProcessor(
        mels,
        Wav2Vec2FeatureExtractor(return_attention_mask=True) if dual else mels,
        tokenizer,
        tokens_per_window=config.tokens_per_window,
        window_seconds=config.window_seconds,
        emotion_tokens=config.emotion_tokens if dual else 0,
        audio_tokens=config.audio_tokens,
    )
    return model, processor


def measure(dual: bool, rounds: list[dict[str, Any]], options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Seconds for a row in each round (the median step), and the peak of the GPU's memory."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.monotonic()
    model, processor = build(dual, options.shrink, device)
    config = read_config(str(PRESET))
    config |= {"data": {"train": [str(work)]}, "schedule": rounds, "feature_cache": None, "samples_per_round": 0}
    config["training"] |= {"output_dir": str(work / f"dual-{dual}"), "per_device_train_batch_size": options.rows}
    config["training"] |= {"save_strategy": "no", "logging_steps": 1, "report_to": "none", "disable_tqdm": True}
    config["training"] |= {"dataloader_num_workers": options.workers}
    if device == "cpu":
        config["training"] |= {"use_cpu": True, "bf16": False}
    else:
        torch.cuda.reset_peak_memory_stats()
    built = time.monotonic() - started
    trainer = sft.build_trainer(config, model, processor)
    trainer.train()
    steps: dict[int, list[float]] = {}
    for entry in trainer.state.log_history:
        if "samples_per_second" in entry:
            steps.setdefault(int(entry["round"]), []).append(1 / entry["samples_per_second"])
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    seconds = {number: statistics.median(values[2:] or values) for number, values in steps.items()}
    del trainer, model
    torch.cuda.empty_cache()
    return {"seconds_a_row": seconds, "peak_gb": peak, "built_s": built}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6, help="rows of a step")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--shrink", type=int, default=1, help="divides the sizes, to try it on a CPU")
    parser.add_argument("--workers", type=int, default=8, help="processes that read audio")
    options = parser.parse_args()
    speech, emotion = ["speech_encoder", "speech_adapter"], ["emotion_encoder", "emotion_adapter"]
    rounds = {
        "joint": {"tasks": ["asr", "er"], "train": [*speech, *emotion, "lora"], "epochs": 0.5},
        "speech": {"tasks": ["asr"], "train": [*speech, "lora"]},
        "emotion": {"tasks": ["er"], "train": [*emotion, "lora"]},
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_rows(work, options.rows * options.steps)
        single = measure(False, [rounds["joint"] | {"train": [*speech, "lora"]}], options, work)
        print(json.dumps({"single": single}), flush=True)
        dual = measure(True, list(rounds.values()), options, work)
        print(json.dumps({"dual": dual}), flush=True)
    joint, asr, er = (dual["seconds_a_row"][number] for number in (1, 2, 3))
    alone = single["seconds_a_row"][1]
    ratios = {"dual_over_single": alone / joint, "alternating_over_single": 2 * alone / (asr + er), "paper": 0.933}
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
