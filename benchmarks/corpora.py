"""Memory and speed of reading, verifying, exporting and streaming a corpus larger than memory should be.

    python benchmarks/corpora.py [--rows 100000 1000000] [--clips 2000] [--folder FOLDER]

For each number of rows a child process reads a synthetic JSON-lines table (reader `own`: emotion recognition, two
splits, a speaker and a dialogue for each row) and verifies what it read; its peak resident memory is the largest that
the operating system saw. Rows share short real FLAC clips, each of which is decoded once: what is measured is the flow
of rows, ids, speakers and dialogues, not decoding. `--distinct` gives every row a file name of its own (links to the
clips), so that every row's clip is opened, decoded and remembered, at the cost of time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile


LABELS = ("happy", "sad", "angry", "neutral")
CLIPS_PER_FOLDER = 1000
STEPS = ("read", "verify", "export", "stream")


def make_corpus(folder: Path, rows: int, clips: int, distinct: bool) -> Path:
    """A table of rows and the clips that they name."""
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for number in range(clips):
        path = folder / "clips" / f"{number}.flac"
        if not path.exists():
            soundfile.write(path, rng.normal(0, 0.1, 1600).astype(np.float32), 16_000)
    table = folder / f"rows{rows}.jsonl"
    with table.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = {
                "id": f"row{number}",
                "audio": link(folder, number, clips) if distinct else f"clips/{number % clips}.flac",
                "emotion": LABELS[number % len(LABELS)],
                "transcript": f"this is what the speaker of row {number} says, more or less",
                "speaker": f"speaker{number % (rows // 10)}",
                "dialogue": f"dialogue{number // 8}",
                "split": "test" if number % 10 == 0 else "train",
            }
            file.write(json.dumps(row) + "\n")
    return table


def link(folder: Path, number: int, clips: int) -> str:
    """A hard link to a clip, under a name of its own."""
    name = f"links/{number // CLIPS_PER_FOLDER}/{number}.flac"
    if not (folder / name).exists():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / "clips" / f"{number % clips}.flac", folder / name)
    return name


def measure(table: Path, out: Path):
    """Read, verify, export and stream what was exported, in this process; prints one JSON object."""
    from audiollm.corpora.export import export
    from audiollm.corpora.read import read_to_folder
    from audiollm.corpora.reader import Request
    from audiollm.corpora.schema import iterate_rows
    from audiollm.corpora.verify import verify

    exported = out.with_name(f"{out.name}-exported")

    figures, done = {"imports_mb": peak_mb()}, {}
    for name, work in {
        "read": lambda: read_to_folder("own", Request(table, "", tasks=("er",)), out, ("train", "test")),
        "verify": lambda: verify(out),
        "export": lambda: export(out, exported, "parquet"),
        "stream": lambda: sum(1 for _ in iterate_rows(exported)),
    }.items():
        wall, cpu = time.perf_counter(), time.process_time()
        done[name] = work()
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        figures |= {f"{name}_s": seconds[0], f"{name}_cpu_s": seconds[1], f"{name}_mb": peak_mb()}
    print(json.dumps({**figures, "rows": done["stream"], "clips": done["verify"].clips}))


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(*args.measure)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        heads = " ".join(f"{name:>8}" for name in ("clips", "imports", *STEPS))
        print(f"{'rows':>9} {heads}  peak MB; CPU (and wall) seconds")
        for rows in args.rows:
            table = make_corpus(Path(place), rows, args.clips, args.distinct)
            command = [sys.executable, __file__, "--measure", str(table), str(Path(place) / f"out{rows}")]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            times = "; ".join(f"{name} {found[f'{name}_cpu_s']:.0f} ({found[f'{name}_s']:.0f})" for name in STEPS)
            megabytes = " ".join(f"{found[f'{name}_mb']:>8.0f}" for name in ("imports", *STEPS))
            print(f"{found['rows']:>9,} {found['clips']:>8,} {megabytes}  {times}", flush=True)


if __name__ == "__main__":
    main()
