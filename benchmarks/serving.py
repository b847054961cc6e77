"""vLLM against `generate` on one folder: equal answers, throughput, bad audio, and clients whose server is killed.

    python benchmarks/serving.py equal --models samples/tiny-base
    python benchmarks/serving.py throughput --model samples/tiny-base
    python benchmarks/serving.py clients --judge models/smollm2-135m-instruct

Models are saved anew first, so that what is served is what `save_pretrained` writes today; `small:FOLDER` stands for
the small preset assembled, untrained, from the parts in FOLDER. AUDIOLLM_VLLM_PYTHON names the Python that has vLLM
(`make test-vllm` makes one). Server and client share this machine; OMP_NUM_THREADS holds for both.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch


sys.path.insert(0, str(Path(__file__).parents[1]))  # the server's launcher is the tests'

from tests.vllm_server import AUDIO_MODEL, VllmServer, vllm_server


NAME = "served"
SMALL = {"fusion": "sequence", "window_seconds": 10, "speech_tokens": 50, "emotion_tokens": 5}
RATE = 16_000
# One of each: no base64, no audio, a header without sound, and audio that is longer than the context.
BAD = ("no base64!", "UklGRiBubyBzb3VuZA==", "empty", "endless")


class Asked(NamedTuple):
    """A question about a clip: samples as 16-bit WAV holds them, and that WAV in base64."""

    samples: np.ndarray
    data: str
    question: str


class Said(NamedTuple):
    """An answer of the server: its text and tokens, or the status of the error."""

    text: str | None
    tokens: list[int]
    status: int = 200


def saved(source: str, folder: Path) -> Path:
    """The model of a folder, or the small preset of untrained adapters, as it is saved today."""
    from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
    from audiollm.processing import AudioLLMProcessor
    from audiollm.training.assemble import assemble
    from audiollm.training.checkpoints import save_merged

    if source.startswith("small:"):
        parts = source.removeprefix("small:")
        encoder, text = f"{parts}/whisper-tiny.en", f"{parts}/smollm2-135m-instruct"
        torch.manual_seed(0)
        built = assemble({"parts": {"speech": encoder, "emotion": encoder, "text": text, **SMALL}})
    else:
        built = AudioLLMForConditionalGeneration.from_pretrained(source), AudioLLMProcessor.from_pretrained(source)
    save_merged(*built, folder)
    return folder


def questions(corpus: Path, count: int) -> list[Asked]:
    """Rows of the test split, one per clip, their tasks in turn."""
    from audiollm.corpora.schema import read_rows
    from audiollm.processing.audio import load_audio

    by_clip: dict[str, list[dict]] = {}
    for row in read_rows(corpus, "test"):
        by_clip.setdefault(row["audio"]["path"], []).append(row)
    asked = []
    for number, (path, rows) in enumerate(islice(cycle(by_clip.items()), count)):
        samples = (load_audio(path, RATE) * 32767).astype(np.int16)
        asked.append(Asked(samples / np.float32(32768), wav(samples), rows[number % len(rows)]["question"]))
    return asked


def wav(samples: np.ndarray) -> str:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode("ascii")


def ask(url: str, question: str, data: str, tokens: int) -> Said:
    """One greedy answer of the server; an error is an answer too."""
    from openai import APIStatusError, OpenAI

    sound = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    try:
        answer = OpenAI(base_url=url, api_key="none", max_retries=0, timeout=600).chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": [sound, {"type": "text", "text": question}]}],
            max_tokens=tokens,
            temperature=0,
            extra_body={"return_token_ids": True},
        )
    except APIStatusError as error:
        return Said(None, [], error.status_code)
    return Said(answer.choices[0].message.content, answer.choices[0].token_ids)


def ask_all(url: str, asked: Sequence[Asked], tokens: int, concurrency: int) -> list[Said]:
    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(lambda one: ask(url, one.question, one.data, tokens), asked))


@torch.inference_mode()
def compare(folder: Path, asked: Sequence[Asked], answers: Sequence[Said], tokens: int) -> dict[str, Any]:
    """How many answers are those of `generate`, one clip at a time; for the others, where and by how little.

    A margin is the difference of the logits of the two tokens where they part, in our own model.
    """
    from transformers import AutoModel, AutoProcessor

    import audiollm

    audiollm.register()
    model, processor = (
        AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
        AutoProcessor.from_pretrained(folder),
    )
    equal, cut, least, differences = 0, 0, float("inf"), []
    for one, said in zip(asked, answers):
        inputs = processor(text=processor.prompt(one.question), audio=[one.samples])
        output = model.generate(
            **inputs, max_new_tokens=tokens, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
        ours = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        logits = torch.stack(output.logits, dim=1)[0]
        best = logits.topk(2).values
        least = min(least, float((best[:, 0] - best[:, 1]).min()))
        cut += len(ours) == tokens
        if ours == said.tokens:
            equal += 1
            continue
        step = next(i for i, pair in enumerate(zip(ours, [*said.tokens, -1])) if pair[0] != pair[1])
        theirs = said.tokens[step] if step < len(said.tokens) else None
        margin = None if theirs is None else float(logits[step, ours[step]] - logits[step, theirs])
        differences.append({"step": step, "margin": margin, "ours": processor.decode(ours), "vllm": said.text})
    return {
        "clips": len(asked),
        "equal": equal,
        "tokens_each": round(statistics.mean(len(said.tokens) for said in answers), 1),
        "reached_the_limit": cut,
        "smallest_margin_of_all_steps": least,
        "differences": differences,
    }


def equal(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    figures = {}
    for number, source in enumerate(options.models):
        folder = saved(source, scratch / f"model{number}")
        asked = questions(options.corpus, options.clips)
        with vllm_server(folder, NAME, scratch / "vllm.log", AUDIO_MODEL) as server:
            answers = ask_all(server.url, asked, options.tokens, options.concurrency)
        figures[source] = compare(folder, asked, answers, options.tokens)
    return figures


class Cost(NamedTuple):
    """Seconds by the clock, and of the processor by all processes that took part."""

    seconds: float
    cpu_seconds: float


def throughput(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Turns of vLLM and of our pipeline over the same questions, then the same with bad audio in the middle."""
    from transformers import pipeline

    from audiollm.modeling_audiollm import AudioEmotionReasoningPipeline

    folder = saved(options.model, scratch / "model")
    asked = questions(options.corpus, options.requests)
    pipe = pipeline(
        "audio-emotion-reasoning",
        model=str(folder),
        pipeline_class=AudioEmotionReasoningPipeline,
        dtype=torch.float32,
        max_new_tokens=options.tokens,
        quote_confidence=0,  # answers as they are generated, which is what vLLM gives
    )
    question = asked[0].question  # a call of the pipeline has one
    asked = [one._replace(question=question) for one in asked]
    clips = [one.samples for one in asked]
    # vLLM keeps features and prompts that it saw; here every turn is to do the whole work.
    fresh = ("--no-enable-prefix-caching", "--mm-processor-cache-gb", "0")
    costs: dict[str, list[Cost]] = {"vllm": [], "pipeline": []}
    with vllm_server(folder, NAME, scratch / "vllm.log", [*AUDIO_MODEL, *fresh]) as server:
        ask_all(server.url, asked[:4], options.tokens, 4)
        pipe(clips[:2], batch_size=2, question=question)
        for _ in range(options.repeats):
            before, started = server.cpu_seconds() + own_seconds(), time.perf_counter()
            answers = ask_all(server.url, asked, options.tokens, options.concurrency)
            used = server.cpu_seconds() + own_seconds() - before
            costs["vllm"].append(Cost(time.perf_counter() - started, used))
            before, started = own_seconds(), time.perf_counter()
            ours = [said["generated_text"] for said in pipe(clips, batch_size=options.concurrency, question=question)]
            costs["pipeline"].append(Cost(time.perf_counter() - started, own_seconds() - before))
        middle = len(asked) // 2
        long = {"empty": wav(np.zeros(0, np.int16)), "endless": wav(np.zeros(RATE * options.endless, np.int16))}
        bad = [asked[0]._replace(data=long.get(data, data)) for data in BAD]
        mixed = ask_all(server.url, [*asked[:middle], *bad, *asked[middle:]], options.tokens, options.concurrency)
    refused, others = mixed[middle : middle + len(BAD)], mixed[:middle] + mixed[middle + len(BAD) :]
    return {
        "requests": len(asked),
        "concurrency": options.concurrency,
        "threads": torch.get_num_threads(),
        "answered": sum(said.text is not None for said in answers),
        "equal_to_the_pipeline": sum(said.text.strip() == text for said, text in zip(answers, ours)),
        "tokens_each": round(statistics.mean(len(said.tokens) for said in answers), 1),
        "requests_a_second": {
            name: [round(len(asked) / cost.seconds, 2) for cost in turns] for name, turns in costs.items()
        },
        "cpu_seconds": {name: [round(cost.cpu_seconds, 1) for cost in turns] for name, turns in costs.items()},
        "ratio": round(statistics.median(ours.seconds / vllm.seconds for vllm, ours in zip(*costs.values())), 2),
        "cpu_ratio": round(
            statistics.median(ours.cpu_seconds / vllm.cpu_seconds for vllm, ours in zip(*costs.values())), 2
        ),
        "bad_audio": {
            "status": dict(zip(BAD, (said.status for said in refused))),
            "others_answered_as_before": sum(now == then for now, then in zip(others, answers)),
        },
    }


def own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def clients(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The evaluation's judge and the reason extraction's teacher, whose server is killed and started again."""
    out = options.out or scratch
    server = VllmServer(options.judge, NAME, scratch / "vllm.log", ["--max-model-len", "2048"])
    figures: dict[str, Any] = {"up_after_seconds": round(server.start(), 1)}
    who = f"server:{NAME}@{server.url}"
    judge = ["audiollm.eval", "--system", "majority", "--data", options.corpus, "--tasks", "er", "sr", "--limit"]
    judge += [options.items, "--judge", f"llm:{who}", "--judge-timeout", options.timeout, "--out", out / "judged"]
    teach = ["audiollm.processing", "extract", options.corpus, "--split", "validation", "--limit", options.rows]
    teach += ["--teacher", who, "--timeout", options.timeout, "--attempts", 2, "--quiet", "--out", out / "reasons"]
    jobs = {"judge": (judge, out / "judged" / "ratings.jsonl"), "teacher": (teach, out / "reasons" / "attempts.jsonl")}
    try:
        for name, (command, journal) in jobs.items():
            over = threading.Event()
            killer = threading.Thread(
                target=_kill_in_the_middle, args=(server, journal, options.kill_after[name], over)
            )
            killer.start()
            first = _run(command, journal)
            over.set()
            killer.join()
            figures[name] = {"killed_in_the_middle": first, "again": _run(command, journal)}
    finally:
        server.kill()
    return figures


def _kill_in_the_middle(server: VllmServer, journal: Path, lines: int, over: threading.Event):
    while _lines(journal) < lines:
        if over.wait(0.5):
            return
    server.kill()
    server.start()


def _run(command: Sequence[Any], journal: Path) -> dict[str, Any]:
    before, started = _lines(journal), time.perf_counter()
    ended = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True)
    entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    last = {entry.get("key") or entry["id"]: entry for entry in entries}
    states = Counter(entry.get("state") or entry.get("failure") or "rated" for entry in last.values())
    return {
        "exit_code": ended.returncode,
        "seconds": round(time.perf_counter() - started, 1),
        "replies_written": len(entries) - before,
        "items": len(last),
        "they_are": dict(states),
        "said": (ended.stderr.strip().splitlines() or ended.stdout.strip().splitlines() or [""])[-1],
    }


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("samples"))
    commands = parser.add_subparsers(required=True, metavar="equal|throughput|clients")
    for run in (equal, throughput, clients):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        if run is clients:
            command.add_argument("--judge", required=True, help="folder of a chat model")
            command.add_argument("--items", type=int, default=200, help="answers to judge")
            command.add_argument("--rows", type=int, default=24, help="rows to explain")
            command.add_argument("--timeout", type=float, default=300)
            command.add_argument("--out", type=Path, help="keep the judge's run and the reasons here")
            command.set_defaults(kill_after={"judge": 60, "teacher": 20})
            continue
        command.add_argument("--tokens", type=int, default=40, help="longest answer")
        command.add_argument("--concurrency", type=int, default=16)
        if run is equal:
            command.add_argument("--models", nargs="+", required=True, help="folders, or small:FOLDER")
            command.add_argument("--clips", type=int, default=20)
        else:
            command.add_argument("--model", required=True, help="a folder, or small:FOLDER")
            command.add_argument("--requests", type=int, default=64)
            command.add_argument("--repeats", type=int, default=3)
            command.add_argument("--endless", type=int, default=500, help="seconds of audio that are too long")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(options.run(options, Path(scratch)), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
