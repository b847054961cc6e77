"""How fast evaluation is: the rule judge on many predictions, and answering in batches against one clip at a time.

python benchmarks/evaluation.py judge
python benchmarks/evaluation.py batching samples/tiny-base --data samples
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from audiollm.corpora.schema import read_rows
from audiollm.eval.judges import Case, RuleJudge
from audiollm.eval.rows import select_rows
from audiollm.eval.systems import SAMPLING_RATE, System, load_system
from audiollm.modeling_audiollm.emotion_lexicon import load_lexicon
from audiollm.processing.audio import load_audio


CASES = Path(__file__).parents[1] / "tests" / "data" / "rule_judge_cases.jsonl"


def judge_cases(count: int) -> dict:
    """Seconds to judge the hand-written cases of the tests, repeated with numbers that make each text its own."""
    written = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    sets = load_lexicon().label_sets
    cases = []
    for number in range(count):
        case = written[number % len(written)]
        text = f"{case['prediction']} (answer {number})"
        cases.append(Case(text, case["label"], sets[case["label_set"]]))
    started, cpu_started = time.perf_counter(), time.process_time()
    verdicts = RuleJudge().judge(cases)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return {"predictions": len(verdicts), "seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}


def compare_batching(system: System, rows: Sequence[dict], batch_size: int, repeats: int) -> dict:
    """Median seconds to answer rows one by one and in batches of similar lengths; answers should be the same."""
    clips = sorted(((load_audio(row["audio"], SAMPLING_RATE), row["question"]) for row in rows), key=_length)
    audios, questions = zip(*clips)

    def answer(size: int) -> tuple[float, float, list]:
        started, cpu_started = time.perf_counter(), time.process_time()
        answers = []
        for start in range(0, len(audios), size):
            answers += system.answer_batch(audios[start : start + size], questions[start : start + size])
        return time.perf_counter() - started, time.process_time() - cpu_started, answers

    answer(batch_size)  # first calls allocate
    alone, together = zip(*[(answer(1), answer(batch_size)) for _ in range(repeats)])
    one, many = (statistics.median(run[0] for run in runs) for runs in (alone, together))
    cpu_one, cpu_many = (statistics.median(run[1] for run in runs) for runs in (alone, together))
    same = sum(first == second for first, second in zip(alone[0][2], together[0][2]))
    return {
        "clips": len(audios),
        "mean_seconds_of_audio": round(sum(map(len, audios)) / len(audios) / SAMPLING_RATE, 2),
        "batch_size": batch_size,
        "seconds_one_at_a_time": round(one, 2),
        "seconds_batched": round(many, 2),
        "times_faster": round(one / many, 2),
        "cpu_times_faster": round(cpu_one / cpu_many, 2),  # what a busy machine leaves as it is, with one thread
        "same_answers": same,
    }


def _length(clip: tuple) -> int:
    return len(clip[0])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    judge = commands.add_parser("judge", help="the rule judge")
    judge.add_argument("--count", type=int, default=100_000)
    batching = commands.add_parser("batching", help="batches against one clip at a time")
    batching.add_argument("system")
    batching.add_argument("--data", default="samples")
    batching.add_argument("--split", default="test")
    batching.add_argument("--tasks", nargs="+", default=["er"])
    batching.add_argument("--clips", type=int, default=32)
    batching.add_argument("--batch-size", type=int, default=8)
    batching.add_argument("--max-new-tokens", type=int, default=32)
    batching.add_argument("--repeats", type=int, default=3)
    batching.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.command == "judge":
        print(json.dumps(judge_cases(options.count), indent=1))
        return
    torch.set_num_threads(options.threads)
    rows = select_rows(read_rows(options.data, options.split), options.tasks, options.clips)
    system = load_system(options.system, options.data, options.max_new_tokens)
    print(json.dumps(compare_batching(system, rows, options.batch_size, options.repeats), indent=1))


if __name__ == "__main__":
    main()
