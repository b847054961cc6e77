"""Extraction of reasons against asking for one row at a time, with a local teacher and with a server on loopback.

    python benchmarks/reasons.py local --teacher path/to/smollm2-135m-instruct --rows 32
    python benchmarks/reasons.py server --rows 320
    python benchmarks/reasons.py draw --data FOLDER --rows 300 --out rows.jsonl
    python benchmarks/reasons.py kills --data rows.jsonl --teacher server:MODEL@http://localhost:8000/v1 --out FOLDER

Both sides run the whole extraction (prompts, checks, journal, rows) over the same rows, in one process. The local
teacher is timed by CPU time on one thread, so that other load on the machine counts for neither side; the server,
which answers after 50 ms, by the clock. `local` tells how many answers of both sides are the same, letter by letter.

`draw` takes rows of a folder that `python -m audiollm read` wrote, half emotion and half sentiment, by a
seed. `kills` runs the command itself against a real server, kills it with SIGKILL at ten random moments, lets it
finish, and counts in the journal what was lost or asked again.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from audiollm.corpora.schema import read_rows
from audiollm.language_models import LanguageModel, Messages, Reply, ServerModel
from audiollm.language_models.local import LocalModel
from audiollm.reasons.extract import Extraction
from audiollm.reasons.prompts import read_prompts
from audiollm.reasons.rows import Input
from tests.chat_server import chat_server
from tests.reasons_rows import good_answer


KILLS = 10
EMOTIONS = ("angry", "happy", "sad", "neutral", "surprised")
OPENERS = ("Oh my God,", "Well,", "You know what,", "Hey,", "Look,", "I mean,", "Okay,", "So")
MIDDLES = ("she never told me that", "we have to leave tonight", "I found the ring under the bed", "it works again")
ENDINGS = ("and nobody said a word.", "after all these years!", "can you believe it?", "so here we are.", "right?")


class OneByOne:
    """A teacher that is asked for each row alone, and answers before the next is asked."""

    def __init__(self, model: LanguageModel):
        self.model, self.name = model, model.name

    def ask(
        self, requests: Iterable[Messages], seed: int = 0, schema: dict[str, Any] | None = None
    ) -> Iterator[tuple[int, Reply]]:
        for number, messages in enumerate(requests):
            ((_, reply),) = self.model.ask([messages], seed, schema)
            yield number, reply


def made_rows(count: int) -> list[dict]:
    """Rows of spoken length, each different."""
    rows = []
    for number in range(count):
        words = (OPENERS[number % 8], MIDDLES[number // 8 % 4], ENDINGS[number % 5], f"That makes {number}.")
        row = {"id": str(number), "task": "er", "audio": f"{number}.wav", "transcript": " ".join(words)}
        rows.append(row | {"label": EMOTIONS[number % 5], "question": "How does the speaker feel?", "split": "train"})
    return rows


def meld_rows(path: str, count: int) -> list[dict]:
    """The first rows of a MELD CSV."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:count]
    names = {"joy": "happy", "anger": "angry", "sadness": "sad", "surprise": "surprised", "fear": "fearful"}
    names |= {"disgust": "disgusted"}
    return [
        row | {"transcript": line["Utterance"], "label": names.get(line["Emotion"], line["Emotion"])}
        for row, line in zip(made_rows(len(rows)), rows)
    ]


def seconds_of(
    teacher: LanguageModel, rows: list[dict], clock: Callable[[], float]
) -> tuple[float, dict[str, str], float]:
    """Time of an extraction of evidence, its answers by row, and the share accepted."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        extraction = Extraction(
            Input([source]), Path(folder) / "out", teacher, read_prompts(), ["evidence"], attempts=1
        )
        with extraction:
            start = clock()
            report = extraction.run()
            seconds = clock() - start
        lines = (Path(folder) / "out" / "attempts.jsonl").read_text().splitlines()
        answers = {entry["row"]: entry["text"] for entry in map(json.loads, lines)}
    return seconds, answers, report.counts["evidence"]["at once"] / len(rows)


def local(options: argparse.Namespace) -> None:
    rows = meld_rows(options.meld, options.rows) if options.meld else made_rows(options.rows)
    model = LocalModel(options.teacher, options.batch_size, options.max_new_tokens, device="cpu")
    seconds_of(model, rows[: options.batch_size], time.process_time)  # memory is allocated, kernels are chosen
    together, answers, accepted = seconds_of(model, rows, time.process_time)
    alone, single, _ = seconds_of(OneByOne(model), rows, time.process_time)
    same = sum(answers[row] == single[row] for row in answers)
    print(f"local teacher, {len(rows)} rows, at most {options.max_new_tokens} new tokens, 1 thread, CPU time")
    print(f"  one row at a time  {alone:8.1f} s  {len(rows) / alone:6.2f} rows/s")
    print(f"  batches of {options.batch_size:<8}{together:8.1f} s  {len(rows) / together:6.2f} rows/s")
    print(f"  ratio {alone / together:.2f}; {same} of {len(rows)} answers the same; {100 * accepted:.1f}% accepted")


def server(options: argparse.Namespace) -> None:
    rows = made_rows(options.rows)
    few = rows[: max(20, options.rows // 8)]  # one at a time takes long, and its rate does not depend on the number
    with chat_server(lambda body: good_answer(body["messages"]), delay=options.latency) as at:
        model = ServerModel("m", at.url, concurrency=options.concurrency)
        seconds_of(model, rows[:16], time.perf_counter)
        together, _, _ = seconds_of(model, rows, time.perf_counter)
        alone, _, _ = seconds_of(OneByOne(ServerModel("m", at.url, concurrency=1)), few, time.perf_counter)
    rate, rate_alone = len(rows) / together, len(few) / alone
    print(f"server with {1000 * options.latency:.0f} ms, {len(rows)} rows ({len(few)} one at a time), by the clock")
    print(f"  one row at a time  {rate_alone:7.1f} rows/s")
    print(f"  {options.concurrency} in flight       {rate:7.1f} rows/s")
    print(f"  ratio {rate / rate_alone:.2f}")


def draw(options: argparse.Namespace) -> None:
    rows = read_rows(options.data, "train")
    drawn = []
    for task in ("er", "sr"):
        drawn += random.Random(0).sample([row for row in rows if row["task"] == task], options.rows // 2)
    options.out.write_text("".join(json.dumps(row) + "\n" for row in drawn), encoding="utf-8")


def kills(options: argparse.Namespace) -> None:
    journal, moments = options.out / "attempts.jsonl", random.Random(0)
    command = [sys.executable, "-m", "audiollm.processing", "extract", options.data, "--out", str(options.out)]
    command += ["--teacher", options.teacher, "--quiet", "--max-new-tokens", str(options.max_new_tokens)]
    command += ["--concurrency", str(options.concurrency)]
    survived: list[str] = []
    for number in range(KILLS):
        written = len(whole_lines(journal)) + moments.randint(0, options.lines_between)
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while child.poll() is None and len(whole_lines(journal)) <= written:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 2))
        child.send_signal(signal.SIGKILL)
        code = child.wait()
        lines = whole_lines(journal)
        lost = survived != lines[: len(survived)]
        survived = lines
        print(
            f"  kill {number + 1}: exit {code}, {len(lines)} answers stored{', LINES LOST' if lost else ''}",
            flush=True,
        )
    subprocess.run(command, check=True)
    entries = [json.loads(line) for line in whole_lines(journal)]
    again = accepted_and_asked_again(entries)
    kept = survived == whole_lines(journal)[: len(survived)]
    jobs = {entry["id"] for entry in entries}
    rows = sum(bool(line.strip()) for line in Path(options.data).read_text(encoding="utf-8").splitlines())
    print(f"{rows} rows, {len(jobs)} targets, {len(entries)} answers; stored before a kill and there: {kept}")
    print(f"answers to targets that had been accepted before: {again}")


def whole_lines(journal: Path) -> list[str]:
    """Lines of a journal that were written to their end."""
    text = journal.read_bytes() if journal.exists() else b""
    return text[: text.rfind(b"\n") + 1].decode().splitlines()


def accepted_and_asked_again(entries: list[dict[str, Any]]) -> int:
    """How many answers came after their target had been accepted."""
    accepted: set[str] = set()
    again = 0
    for entry in entries:
        again += entry["id"] in accepted
        if entry["state"] == "accepted":
            accepted.add(entry["id"])
    return again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("local", "server", "draw", "kills"))
    parser.add_argument("--teacher", help="checkpoint of the local teacher; of `kills` as `extract` takes it")
    parser.add_argument("--data", help="rows for `kills`, or the folder to `draw` from")
    parser.add_argument("--out", type=Path, help="new folder for `kills`, or file for `draw`")
    parser.add_argument("--lines-between", type=int, default=60, help="answers between two kills, at most")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--meld", help="a MELD CSV to take the rows of `local` from")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency", type=float, default=0.05, help="of the server, in seconds")
    options = parser.parse_args()
    if options.part in ("local", "kills") and not options.teacher:
        parser.error(f"{options.part} needs --teacher")
    if options.part in ("draw", "kills") and not (options.data and options.out):
        parser.error(f"{options.part} needs --data and --out")
    torch.set_num_threads(1)
    {"local": local, "server": server, "draw": draw, "kills": kills}[options.part](options)


if __name__ == "__main__":
    main()
