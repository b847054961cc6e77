"""Emotion2Vec against FunASR's own code with the same (random) weights: equality, time and peak memory. And the
emotion branch that hears a clip only against the paper's, which hears its window's padding too.

    pip install funasr
    python benchmarks/emotion_encoders.py [exactness] [speed] [memory] [length] --threads 2

Both sides run in one process on the same number of threads, turn by turn, and ratios are medians of turns: a busy
machine slows both alike. One thread is timed by its CPU time, several by the clock. FunASR is called as its
`AutoModel.generate` calls it, `Emotion2vec.inference`, clip by clip, on arrays. `ceiling` is the ratio that a program
would reach if it did nothing but the model's matrix products, at the speed that this machine has for large ones.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch
from transformers import AutoConfig

from audiollm.modeling_audiollm.configuration_emotion2vec import EMOTION2VEC_SIZES
from audiollm.modeling_audiollm.convert_emotion2vec import build_model, convert_state_dict, read_config
from audiollm.modeling_audiollm.modeling_audiollm import build_part, encode


RATE = 16_000
SIZES = {"base": (768, 12), "plus_large": (1024, 16)}
EXACTNESS_SECONDS = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.3, 2.0, 3.1, 30.0)
SETS = {
    "1 clip of 3 s": [3.0],
    "8 clips of 1-10 s": [1.0, 2.3, 3.6, 4.9, 6.1, 7.4, 8.7, 10.0],
    "8 clips of 0.2-0.9 s": [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
}
BATCH_ALONE_SECONDS = [0.1, 0.7, 3.0, 10.0]


def funasr_config(width: int, heads: int, prenet: int, trunk: int) -> dict:
    """`model_conf` of FunASR's template.yaml, as far as inference reads it."""
    audio = {
        "type": "AUDIO",
        "prenet_depth": prenet,
        "prenet_layerdrop": 0.05,
        "prenet_dropout": 0.1,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_extra_tokens": 10,
        "init_extra_token_zero": True,
        "local_grad_mult": 1.0,
        "use_alibi_encoder": True,
        "alibi_scale": 1.0,
        "learned_alibi": False,
        "alibi_max_pos": None,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "num_alibi_heads": heads,
        "model_depth": trunk,
        "decoder": None,
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2",
        "conv_pos_width": 95,
        "conv_pos_groups": 16,
        "conv_pos_depth": 5,
        "conv_pos_pre_ln": False,
    }
    return {
        "depth": trunk,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "num_heads": heads,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "encoder_dropout": 0.1,
        "post_mlp_drop": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "dropout_input": 0.0,
        "layerdrop": 0.05,
        "embed_dim": width,
        "mlp_ratio": 4.0,
        "layer_norm_first": False,
        "end_of_block_targets": False,
        "clone_batch": 1,
        "normalize": True,
        "modalities": {"audio": audio},
    }


def funasr_model(width: int, heads: int, prenet: int = 4, trunk: int = 8, seed: int = 0) -> torch.nn.Module:
    """FunASR's Emotion2vec with random weights, also where it starts with ones and zeros: norms, biases, scales."""
    from funasr.models.emotion2vec.model import Emotion2vec

    torch.manual_seed(seed)
    model = Emotion2vec(model_conf=funasr_config(width, heads, prenet, trunk), vocab_size=9).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 or name.endswith("alibi_scale"):
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def ours_like(theirs: torch.nn.Module) -> torch.nn.Module:
    """Our classifier with FunASR's weights, through the converter."""
    weights, _ = convert_state_dict(theirs.state_dict())
    return build_model(weights, read_config(weights))


@torch.no_grad()
def differences(theirs: torch.nn.Module, ours: torch.nn.Module, clip: torch.Tensor) -> dict[str, float]:
    """Largest absolute differences of frame features, utterance feature and logits for one clip."""
    frames = theirs.extract_features(torch.nn.functional.layer_norm(clip, clip.shape)[None])["x"]
    outputs = ours.emotion2vec(clip[None])
    logits = theirs.proj(frames.mean(1))
    return {
        "frames": (outputs.last_hidden_state - frames).abs().max().item(),
        "utterance": (outputs.pooler_output - frames.mean(1)).abs().max().item(),
        "logits": (ours.classifier(outputs.pooler_output) - logits).abs().max().item(),
    }


def make_clips(seconds: list[float]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(round(length * RATE), generator=generator) * 0.1 for length in seconds]


def padded(clips: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(clips, batch_first=True), pad([torch.ones_like(clip) for clip in clips], batch_first=True)


@torch.inference_mode()
def run_theirs(model: torch.nn.Module, clips: list[torch.Tensor]) -> None:
    for clip in clips:
        model.inference([clip], device="cpu", key=["clip"])


@torch.inference_mode()
def run_ours(model: torch.nn.Module, clips: list[torch.Tensor]) -> None:
    values, mask = padded(clips)
    model(values, attention_mask=mask)


def seconds_of(function, *arguments) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    function(*arguments)
    return clock() - start


def product_gflop(config, samples: int) -> float:
    """Billions of floating-point operations in the matrix products and convolutions for one clip."""
    frames, length, flop = config.num_frames(samples), samples, 0
    for i, (kernel, stride) in enumerate(zip(config.conv_kernel, config.conv_stride)):
        length = (length - kernel) // stride + 1
        flop += 2 * length * kernel * config.conv_dim[i] * (config.conv_dim[i - 1] if i else 1)
    width, tokens = config.hidden_size, frames + config.num_extra_tokens
    flop += 2 * frames * config.conv_dim[-1] * width
    flop += config.num_position_layers * 2 * frames * width * width // config.position_groups * config.position_kernel
    block = 2 * tokens * (4 * width * width + 2 * width * config.intermediate_size) + 4 * tokens * tokens * width
    return (flop + config.num_hidden_layers * block) / 1e9


def exactness() -> None:
    print("| size | frames | utterance | logits | clip in a batch, ours | clip in a batch, FunASR |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size, (width, heads) in SIZES.items():
        theirs = funasr_model(width, heads)
        ours = ours_like(theirs)
        errors = [differences(theirs, ours, clip) for clip in make_clips(EXACTNESS_SECONDS)]
        worst = [f"{max(error[key] for error in errors):.1e}" for key in errors[0]]
        print(f"| {size} | {' | '.join(worst)} | {batch_error_ours(ours):.1e} | {batch_error_theirs(theirs):.2f} |")


@torch.no_grad()
def batch_error_ours(model: torch.nn.Module) -> float:
    clips = make_clips(BATCH_ALONE_SECONDS)
    values, mask = padded(clips)
    batch = model.emotion2vec(values, attention_mask=mask).last_hidden_state
    alone = [model.emotion2vec(clip[None]).last_hidden_state[0] for clip in clips]
    return max((row[: len(frames)] - frames).abs().max().item() for row, frames in zip(batch, alone))


@torch.no_grad()
def batch_error_theirs(model: torch.nn.Module) -> float:
    clips = [torch.nn.functional.layer_norm(clip, clip.shape) for clip in make_clips(BATCH_ALONE_SECONDS)]
    values, mask = padded(clips)
    batch = model.extract_features(values, padding_mask=mask == 0)["x"]
    alone = [model.extract_features(clip[None])["x"][0] for clip in clips]
    return max((row[: len(frames)] - frames).abs().max().item() for row, frames in zip(batch, alone))


def speed(repeats: int) -> None:
    large = torch.randn(1536, 1536)
    print("| size | clips | FunASR, s | ours, s | ratio | ceiling |\n| --- | --- | --- | --- | --- | --- |")
    for size, (width, heads) in SIZES.items():
        theirs = funasr_model(width, heads)
        ours = ours_like(theirs)
        for name, lengths in SETS.items():
            clips = make_clips(lengths)
            work = sum(product_gflop(ours.config, len(clip)) for clip in clips)
            run_theirs(theirs, clips), run_ours(ours, clips)
            turns = []
            for _ in range(repeats):
                product = min(seconds_of(torch.mm, large, large) for _ in range(3))
                ideal = work / (2 * 1536**3 / 1e9 / product)
                turns.append((seconds_of(run_theirs, theirs, clips), seconds_of(run_ours, ours, clips), ideal))
            a, b = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
            ratio, ceiling = (statistics.median(turn[0] / turn[i] for turn in turns) for i in (1, 2))
            print(f"| {size} | {name} | {a:.2f} | {b:.2f} | {ratio:.2f} | {ceiling:.2f} |", flush=True)


WINDOW_SECONDS, CLIP_SECONDS = 30.0, 4.0
LENGTH_ENCODERS = {
    "emotion2vec base": {"model_type": "emotion2vec", **EMOTION2VEC_SIZES["base"]},
    "emotion2vec plus_large": {"model_type": "emotion2vec", **EMOTION2VEC_SIZES["plus_large"]},
    "HuBERT base": {"model_type": "hubert"},
    "WavLM base": {"model_type": "wavlm"},
}


def length_encoder(name: str) -> torch.nn.Module:
    """An emotion encoder of random weights."""
    torch.manual_seed(0)
    settings = dict(LENGTH_ENCODERS[name])
    return build_part(AutoConfig.for_model(settings.pop("model_type"), **settings)).eval()


def length_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """A clip of 4 s in a window of 30 s, and its mask, as the processor gives them."""
    window = torch.zeros(1, round(WINDOW_SECONDS * RATE))
    mask = torch.zeros_like(window)
    samples = round(CLIP_SECONDS * RATE)
    window[:, :samples], mask[:, :samples] = make_clips([CLIP_SECONDS])[0], 1
    return window, mask


@torch.inference_mode()
def run_length(encoder: torch.nn.Module, aware: bool) -> None:
    window, mask = length_inputs()
    encode(encoder, window, mask if aware else None)


def length(repeats: int, threads: int) -> None:
    """Emotion branch on a clip of 4 s: the whole window of 30 s against the audio only."""
    print("| encoder | padded, s | length-aware, s | ratio | padded, MB | length-aware, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in LENGTH_ENCODERS:
        encoder = length_encoder(name)
        run_length(encoder, True)
        turns = [
            (seconds_of(run_length, encoder, False), seconds_of(run_length, encoder, True)) for _ in range(repeats)
        ]
        padded_time, aware_time = (statistics.median(turn[i] for turn in turns) for i in (0, 1))
        ratio = statistics.median(turn[0] / turn[1] for turn in turns)
        peaks = [measured_peak(side, "-", name, threads) for side in ("padded", "aware")]
        print(f"| {name} | {padded_time:.2f} | {aware_time:.2f} | {ratio:.1f} | {peaks[0]} | {peaks[1]} |", flush=True)


def measured_peak(side: str, size: str, clips: str, threads: int) -> str:
    """What `peak` prints in a process of its own."""
    command = [sys.executable, __file__, "peak", "--side", side, "--size", size, "--clips", clips]
    run = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, check=True)
    return run.stdout.split()[-1]


def memory(threads: int) -> None:
    """Peak of the resident set beyond that of the loaded model, each measured in a process of its own."""
    print("| size | clips | FunASR, MB | ours, MB |\n| --- | --- | --- | --- |")
    for size in SIZES:
        for name in ("1 clip of 3 s", "8 clips of 1-10 s", "1 clip of 30 s"):
            peaks = [measured_peak(side, size, name, threads) for side in ("theirs", "ours")]
            print(f"| {size} | {name} | {peaks[0]} | {peaks[1]} |", flush=True)


def peak(side: str, size: str, name: str) -> None:
    if side in ("padded", "aware"):
        run, arguments = run_length, (length_encoder(name), side == "aware")
    else:
        theirs = funasr_model(*SIZES[size])
        model, run = (theirs, run_theirs) if side == "theirs" else (ours_like(theirs), run_ours)
        del theirs
        arguments = (model, make_clips(SETS.get(name, [30.0])))
    reset_peak()
    before = peak_megabytes()
    run(*arguments)
    print(round(peak_megabytes() - before))


def reset_peak() -> None:
    """Let the kernel forget the peak of building the model (Linux)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_megabytes() -> float:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help="exactness, speed, memory, length; all when left out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    parser.add_argument("--clips", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if "peak" in options.parts:
        return peak(options.side, options.size, options.clips)
    parts = options.parts or ["exactness", "speed", "memory", "length"]
    print(f"torch {torch.__version__}, {options.threads} thread(s), CPU, float32\n")
    if "exactness" in parts:
        exactness()
    if "speed" in parts:
        speed(options.repeats)
    if "memory" in parts:
        memory(options.threads)
    if "length" in parts:
        length(options.repeats, options.threads)


if __name__ == "__main__":
    main()
