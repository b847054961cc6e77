#!/usr/bin/env python3
"""Sentences by many voices of espeak-ng, for a base that has to understand voices it never heard.

    python samples/more_voices.py --out build/more-voices

Formant synthesis sounds like nobody, but its variants differ more than the six voices of the base corpus do.
"""

import argparse
import io
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile as sf
from questions import pick
from scipy.signal import resample_poly
from sentences import Sentence, vocabulary
from splice import sentences, tasks_of
from tqdm import tqdm
from voices import MAX_SECONDS, RATE, trim


LANGUAGES = ["en-us", "en-us", "en-us", "en-gb", "en-gb-x-rp", "en-029"]
VARIANTS = (
    "adam Alex Alicia Andrea Andy Annie antonio aunty belinda benjamin boris caleb david Denis Diogo ed "
    "edward edward2 Gene Gene2 gustave Henrique Hugo iven iven2 iven3 iven4 Jacky john Lee linda marcelo "
    "Marco Mario max michel miguel Mike Nguyen pablo paul pedro quincy rob robert sandro shelby steph "
    "steph2 steph3 travis Tweaky victor m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 "
).split()


def synthesise(sentence: Sentence, rng: np.random.Generator) -> tuple[np.ndarray, str] | None:
    """The sentence in a random voice, pitch and rate, and the voice's name; None if it is too long."""
    voice = f"{pick(LANGUAGES, rng)}+{pick(VARIANTS, rng)}"
    pitch, rate = int(rng.integers(15, 85)), int(rng.integers(125, 215))
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(rate), "--stdout", sentence.text]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    wave, sampling_rate = sf.read(io.BytesIO(spoken), dtype="float32")
    wave = trim(resample_poly(wave, RATE, sampling_rate).astype(np.float32))
    return (0.5 * wave / np.abs(wave).max(), voice) if len(wave) <= MAX_SECONDS * RATE else None


def spoken(seed: int, share: float, workers: int) -> Iterator[tuple[Sentence, np.random.Generator, np.ndarray, str]]:
    """Endless spoken sentences."""
    texts = ((sentence, rng) for sentence, _, rng in sentences(seed, share))
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(texts, 64)):
            for (sentence, rng), made in zip(batch, pool.map(lambda item: synthesise(*item), batch), strict=True):
                if made is not None:
                    yield sentence, rng, *made


def main() -> None:
    """Read the command line and make the corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--clips", type=int, default=10_000, help="default 10000")
    parser.add_argument("--strings", type=float, default=0.35, help="share of strings of words, default 0.35")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    rows, known = [], vocabulary()
    clips = islice(spoken(args.seed, args.strings, args.workers), args.clips)
    for number, (sentence, rng, wave, voice) in enumerate(tqdm(clips, total=args.clips, unit="clip")):
        name = f"e{number:05d}"
        sf.write(args.out / "audio" / f"{name}.wav", wave, RATE, subtype="PCM_16")
        shared = {"corpus": "audiollm-voices", "split": "train", "audio": f"audio/{name}.wav", "speaker": voice}
        shared |= {"transcript": sentence.text, "seconds": round(len(wave) / RATE, 2)}
        tasks = tasks_of(sentence, known, True, rng)
        rows += [{"id": f"{name}-{place}-{task['task']}", **shared, **task} for place, task in enumerate(tasks)]
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    (args.out / "train.jsonl").write_text(text, encoding="utf-8")
    print(f"wrote {args.out}: {args.clips} clips")


if __name__ == "__main__":
    main()
