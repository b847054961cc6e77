"""Time to first answer from a cold start, and answers a second, against a cascade of the same pretrained parts.

    python benchmarks/pipeline.py --models models --clips samples/audio/test

Ours is the small preset's model (Whisper-base twice, its decoder for the words, SmolLM2-135M-Instruct) with untrained
adapters: its answers mean nothing here, only how long they take. The cascade transcribes with Whisper-base and asks
SmolLM2-135M-Instruct about the transcript. Both write exactly as many tokens of explanation; ours also gives
probabilities of its seven labels, the cascade a transcript. Clips and threads are the same; the systems take turns.
A few minutes on 2 quiet cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml


PRESET = Path(__file__).parents[1] / "configs" / "small.yaml"
SPEECH, TEXT = "whisper-base", "smollm2-135m-instruct"
SPOKEN = {"language": "en", "task": "transcribe"}  # as ours is told; where nobody says a task, Whisper repeats itself
QUESTION = "What emotion does the speaker show, and which words show it?"


def assemble(models: Path, folder: Path):
    """Save the small preset's model, untrained."""
    from audiollm.modeling_audiollm.emotion_lexicon import named_label_set
    from audiollm.training.assemble import assemble as build
    from audiollm.training.assemble import note_label_words
    from audiollm.training.checkpoints import save_merged

    parts = yaml.safe_load(PRESET.read_text(encoding="utf-8"))["model"]["parts"]
    ours = {part: str(models / Path(parts[part]).name.lower()) for part in ("speech", "emotion", "text")}
    model, processor = build({"parts": parts | ours})
    # A label comes first, which an untrained adapter tells as well as another.
    note_label_words(model, processor, named_label_set("emotion7")[1])
    save_merged(model, processor, folder)


def load_ours(folder: Path, models: Path, tokens: int) -> Callable[[list[np.ndarray]], list[str]]:
    from transformers import pipeline

    from audiollm.modeling_audiollm import AudioEmotionReasoningPipeline

    pipe = pipeline(
        "audio-emotion-reasoning",
        model=str(folder),
        pipeline_class=AudioEmotionReasoningPipeline,
        dtype=torch.float32,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
    )
    return lambda clips: [answer["generated_text"] for answer in pipe(clips, batch_size=len(clips))]


def load_cascade(folder: Path, models: Path, tokens: int) -> Callable[[list[np.ndarray]], list[str]]:
    from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, WhisperForConditionalGeneration

    processor = AutoProcessor.from_pretrained(models / SPEECH)
    whisper = WhisperForConditionalGeneration.from_pretrained(models / SPEECH, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(models / TEXT, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    language = AutoModelForCausalLM.from_pretrained(models / TEXT, dtype=torch.float32).eval()

    @torch.inference_mode()
    def answer(clips: list[np.ndarray]) -> list[str]:
        heard = processor(clips, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
        transcripts = processor.batch_decode(whisper.generate(**heard, **SPOKEN), skip_special_tokens=True)
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": f"Somebody says: {text.strip()}\n{QUESTION}"}],
                tokenize=False,
                add_generation_prompt=True,
            )
            for text in transcripts
        ]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        output = language.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        return tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return answer


class Cost(NamedTuple):
    """Seconds by the clock and of the processor; on a machine that others use too, the latter are the steady ones."""

    seconds: float
    cpu_seconds: float


SYSTEMS = {"ours": load_ours, "cascade": load_cascade}


def cold_start(system: str, folder: Path, models: Path, clip: Path, tokens: int) -> Cost:
    """From the start of a new process to its first answer, imports and loading included."""
    command = [sys.executable, __file__, "--models", str(models), "--first-answer", system, str(folder), str(clip)]
    started, used = time.perf_counter(), _children_seconds()
    subprocess.run([*command, "--tokens", str(tokens)], check=True, stdout=subprocess.DEVNULL)
    return Cost(time.perf_counter() - started, _children_seconds() - used)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_answer(system: str, folder: Path, models: Path, clip: Path, tokens: int):
    from audiollm.processing.audio import load_audio

    print(SYSTEMS[system](folder, models, tokens)([load_audio(str(clip))])[0])


def cost_of_answers(answer: Callable, clips: Sequence[np.ndarray], batch: int) -> Cost:
    """Of one answer, at this batch size."""
    started, used = time.perf_counter(), time.process_time()
    for start in range(0, len(clips), batch):
        answer(list(clips[start : start + batch]))
    return Cost((time.perf_counter() - started) / len(clips), (time.process_time() - used) / len(clips))


def measure(models: Path, clips: Sequence[Path], tokens: int, repeats: int) -> dict:
    """Medians over `repeats` turns; each turn measures both systems, one after the other."""
    from audiollm.processing.audio import load_audio

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        assemble(models, folder)
        cold = {name: [] for name in SYSTEMS}
        for _ in range(repeats):
            for name in SYSTEMS:
                cold[name].append(cold_start(name, folder, models, clips[0], tokens))
        samples = [load_audio(str(clip)) for clip in clips]
        loaded = {name: load(folder, models, tokens) for name, load in SYSTEMS.items()}
        speeds = {name: {1: [], len(clips): []} for name in SYSTEMS}
        for answer in loaded.values():
            answer(samples[:1])
        for _ in range(repeats):
            for name, answer in loaded.items():
                speeds[name][1].append(cost_of_answers(answer, samples[:2], 1))
                speeds[name][len(clips)].append(cost_of_answers(answer, samples, len(samples)))
    return {
        "tokens": tokens,
        "clips": len(clips),
        "threads": torch.get_num_threads(),
        "first_answer_from_cold": {name: _medians(costs) for name, costs in cold.items()},
        "one_answer": {
            name: {f"batch {batch}": _with_rate(_medians(costs)) for batch, costs in by_batch.items()}
            for name, by_batch in speeds.items()
        },
    }


def _with_rate(cost: dict[str, float]) -> dict[str, float]:
    return {**cost, "answers_per_second": round(1 / cost["seconds"], 3)}


def _medians(costs: Sequence[Cost]) -> dict[str, float]:
    return {
        field: round(statistics.median(values), 3) for field, values in zip(Cost._fields, zip(*costs, strict=True))
    }


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help=f"folder with {SPEECH} and {TEXT}")
    parser.add_argument("--clips", type=Path, default=Path("samples/audio/test"), help="folder of recordings")
    parser.add_argument("--count", type=int, default=8, help="how many of them, and the larger batch")
    parser.add_argument("--tokens", type=int, default=32, help="of each explanation")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--first-answer", nargs=3, metavar=("SYSTEM", "FOLDER", "CLIP"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.first_answer:
        system, folder, clip = options.first_answer
        return first_answer(system, Path(folder), options.models, Path(clip), options.tokens)
    clips = sorted(path for path in options.clips.iterdir() if path.is_file())[: options.count]
    print(json.dumps(measure(options.models, clips, options.tokens, options.repeats), indent=1))


if __name__ == "__main__":
    main()
