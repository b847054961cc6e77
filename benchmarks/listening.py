"""Memory, time, boundaries and restarts of `audiollm listen` on a synthetic call of two voices.

python benchmarks/listening.py build/listening --minutes 2 120 --kills 5
python benchmarks/listening.py build/listening --minutes 2 --music 600

The call is spliced from the embedded samples with pauses between the turns, a voice on each channel; its truth is
where each turn is loud. Each length is heard by its channels, and as a mono mix with an RTTM of the truth, in a
process of its own. `--music` hears so many minutes of chords and drums too, in which nobody speaks. `--browser` opens
each stereo call's page in Chromium (`pip install playwright`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

from audiollm.corpora.schema import read_rows
from audiollm.processing.audio import load_audio


ROOT = Path(__file__).parents[1]
RATE = 16_000
LOUD = 0.02  # of a clip's peak


def write_call(folder: Path, minutes: float) -> list[tuple[str, float, float]]:
    """Write `call.wav` (stereo), `mono.wav` and `mono.rttm`; gives the turns."""
    draw, noise = random.Random(0), np.random.default_rng(0)
    paths = sorted({row["audio"]["path"] for row in read_rows(ROOT / "samples", "test")})
    folder.mkdir(parents=True, exist_ok=True)
    turns, at = [], 0
    with (
        soundfile.SoundFile(folder / "call.wav", "w", RATE, 2) as stereo,
        soundfile.SoundFile(folder / "mono.wav", "w", RATE, 1) as mono,
    ):
        while at < minutes * 60 * RATE:
            said, channel = load_audio(draw.choice(paths)), len(turns) % 2
            pause = round(draw.uniform(0.6, 1.5) * RATE)
            block = noise.normal(0, 0.001, (pause + len(said), 2))
            block[pause:, channel] += said
            stereo.write(block)
            mono.write(block.mean(axis=1))
            loud = np.flatnonzero(np.abs(said) > LOUD * np.abs(said).max()) + at + pause
            turns.append((f"channel {channel + 1}", loud[0] / RATE, loud[-1] / RATE))
            at += len(block)
    lines = (
        f"SPEAKER mono 1 {a:.3f} {b - a:.3f} <NA> <NA> {who.replace(' ', '-')} <NA> <NA>\n" for who, a, b in turns
    )
    (folder / "mono.rttm").write_text("".join(lines), encoding="utf-8")
    return turns


def write_music(path: Path, minutes: float):
    """Plucked chords over a beat, a bar of four strokes every two seconds."""
    draw, noise = random.Random(0), np.random.default_rng(0)
    time_ = np.arange(RATE // 2) / RATE
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(round(minutes * 30)):
            root = draw.choice((131, 147, 165, 175, 196, 220))
            for stroke in range(4):
                block = 0.1 * np.exp(-25 * time_) * noise.normal(size=len(time_)) * (stroke % 2)
                for step in (1, 5 / 4, 3 / 2, draw.choice((2, 9 / 4, 5 / 2))):
                    for harmonic in range(1, 6):
                        wave = np.sin(2 * np.pi * root * step * harmonic * time_)
                        block += 0.1 * np.exp(-3 * harmonic * time_) / harmonic * wave
                file.write(0.5 * block)


def command(audio: Path, out: Path, model: str, more: list[str]) -> list[str]:
    words = ["-m", "audiollm", "listen", str(audio), "--model", model, "--out", str(out), "--max-new-tokens", "32"]
    return [sys.executable, *words, "--quiet", *more]


def heard(words: list[str]) -> dict:
    """Seconds and peak memory of a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed with {status}")
    return {"seconds": round(time.perf_counter() - started, 1), "peak_mib": round(used.ru_maxrss / 1024)}


def near(rows: list[dict], turns: list[tuple[str, float, float]], within: float = 0.3) -> float:
    """Share of the turns' boundaries near which a segment of their speaker has one."""
    found = 0
    for speaker, *places in turns:
        own = [row for row in rows if row["speaker"] == speaker]
        for key, place in zip(("start", "end"), places):
            found += any(abs(row[key] - place) < within for row in own)
    return found / (2 * len(turns))


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def opened(page: Path) -> dict:
    """Seconds until Chromium shows a page, the segments on it, and what its scripts complained of."""
    from playwright.sync_api import sync_playwright

    problems, chromium = [], shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        started = time.perf_counter()
        tab.goto(page.as_uri())
        shown = tab.locator("article").count()
        seconds = time.perf_counter() - started
        browser.close()
    megabytes = round(page.stat().st_size / 1e6, 1)
    return {"page_mb": megabytes, "page_seconds": round(seconds, 1), "page_segments": shown, "page_errors": problems}


def killed(words: list[str], journal: Path, kills: int, turns: int) -> dict:
    """Kill a run so many times on its way, then let it end; counts answers that are there more than once."""
    for number in range(1, kills + 1):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        wanted = number * turns // (kills + 2)
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > wanted):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    heard(words)
    ids = [row["id"] for row in rows_of(journal)]
    return {"kills": kills, "answers": len(ids) - 1, "twice": len(ids) - len(set(ids))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default=str(ROOT / "samples" / "tiny-base"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 120])
    parser.add_argument("--kills", type=int, default=0, help="kill a further run of the shortest call so many times")
    parser.add_argument("--browser", action="store_true", help="open the pages")
    parser.add_argument("--music", type=float, default=0, help="hear so many minutes of music, too")
    options = parser.parse_args()
    for minutes in options.minutes:
        folder = options.out / f"{minutes:g}"
        turns = write_call(folder, minutes)
        mono = ["--rttm", str(folder / "mono.rttm")]
        for name, audio, more in (("stereo", "call.wav", ["--channels"]), ("mono + RTTM", "mono.wav", mono)):
            out = folder / audio.partition(".")[0]
            figures = heard(command(folder / audio, out, options.model, more))
            rows = rows_of(out / "segments.jsonl")
            figures |= {"turns": len(turns), "segments": len(rows)}
            if name == "stereo":
                figures["boundaries_near"] = round(near(rows, turns), 3)
                figures |= opened(out / "listen.html") if options.browser else {}
            print(json.dumps({"minutes": minutes, "as": name, **figures}), flush=True)
    if options.music:
        write_music(options.out / "music.wav", options.music)
        figures = heard(command(options.out / "music.wav", options.out / "music", options.model, []))
        segments = len(rows_of(options.out / "music" / "segments.jsonl"))
        print(json.dumps({"minutes": options.music, "as": "music", **figures, "segments": segments}), flush=True)
    if options.kills:
        folder = options.out / f"{min(options.minutes):g}"
        turns = len(rows_of(folder / "call" / "segments.jsonl"))
        words = command(folder / "call.wav", folder / "killed", options.model, ["--channels", "--batch-size", "2"])
        print(json.dumps(killed(words, folder / "killed" / "answers.jsonl", options.kills, turns)))


if __name__ == "__main__":
    main()
