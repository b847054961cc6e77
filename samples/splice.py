#!/usr/bin/env python3
"""Make new spoken sentences from the words of the base corpus.

    python samples/splice.py --base build/base --hearing build/tiny-base-hearing --out build/spliced

A language model that sees the same few thousand texts again and again remembers them and need not listen. Here the
speech encoder that was trained to hear (character CTC) finds where each word of the base corpus begins and ends; the
words are then cut out and joined to sentences that nobody read, each from one base voice and similar speakers.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
import torchaudio
from make_samples import BASE_VOICES, Strings, generator
from questions import asr_row, completion_row, meaning_row, pick, sqa_row
from sentences import Sentence, template_sentences, vocabulary
from tqdm import tqdm
from voices import MAX_SECONDS, RATE

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.processing.alignment import Aligner
from audiollm.processing.ctc import ctc_labels
from audiollm.processing.processing_audiollm import AudioLLMProcessor


FRAME = RATE // 25  # samples of one frame of the encoder
FADE = RATE // 200
STRINGS = 0.6  # share of sentences that are strings of words


@dataclass(frozen=True)
class Word:
    """A word cut out of a clip: its samples, and the logarithms of the speaker's formant and F0 factors."""

    wave: np.ndarray
    speaker: np.ndarray


def load_aligner(run: Path) -> Aligner:
    """What finds words in time, from the output folder of the training that learnt to hear by character CTC."""
    folder = run / "model"
    model = AudioLLMForConditionalGeneration.from_pretrained(folder).eval()
    aligner = Aligner.beside(folder, model, AudioLLMProcessor.from_pretrained(folder))
    if aligner is None:
        raise FileNotFoundError(f"{folder} has no CTC head; train it with `ctc` in the schedule.")
    return aligner


def word_borders(aligner: Aligner, wave: np.ndarray, text: str) -> list[int] | None:
    """Samples at which the words of `text` begin, and the end of the clip; None if it is said too fast."""
    emissions = aligner.emissions(wave)
    labels = ctc_labels(text)
    space = ctc_labels(" ")[0]
    if len(labels) + sum(left == right for left, right in zip(labels, labels[1:])) > len(emissions):
        return None
    path, _ = torchaudio.functional.forced_align(emissions[None], torch.tensor([labels], dtype=torch.int32))
    gaps = [i for i, (label, before) in enumerate(zip(path[0][1:], path[0]), 1) if label == space != before]
    return [0, *(quietest(wave, gap * FRAME, FRAME) for gap in gaps), len(wave)]


def quietest(wave: np.ndarray, center: int, reach: int) -> int:
    """The middle of the quietest 10 ms within `reach` samples around half a frame after `center`."""
    start = max(0, center + FRAME // 2 - reach)
    size = RATE // 100
    part = wave[start : center + FRAME // 2 + reach]
    if len(part) <= size:
        return min(center, len(wave))
    energy = np.convolve(part**2, np.ones(size), "valid")
    return start + int(energy.argmin()) + size // 2


def cut_words(base: Path, aligner: Aligner) -> dict[tuple[str, str], list[Word]]:
    """Words of the training clips by base voice and spelling."""
    words = defaultdict(list)
    rows = [json.loads(line) for line in (base / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in tqdm([row for row in rows if row["task"] == "asr"], unit="clip", desc="cutting"):
        wave, _ = sf.read(base / row["audio"], dtype="float32")
        voice, formant, pitch = row["speaker"].rsplit("-", 2)
        speaker = np.log([float(formant), float(pitch)]) * (3.0, 1.0)
        borders = word_borders(aligner, wave, row["transcript"])
        if borders is None:
            continue
        for word, start, end in zip(row["transcript"].split(), borders[:-1], borders[1:], strict=True):
            if end - start > 3 * FADE:
                words[voice, word].append(Word(wave[start:end], speaker))
    return words


def join(waves: list[np.ndarray]) -> np.ndarray:
    """One wave of several, each faded into the next over 5 ms."""
    ramp = np.linspace(0.0, 1.0, FADE, dtype=np.float32)
    joined = waves[0]
    for wave in waves[1:]:
        seam = joined[-FADE:] * (1 - ramp) + wave[:FADE] * ramp
        joined = np.concatenate([joined[:-FADE], seam, wave[FADE:]])
    return joined


def speak(text: str, voice: str, words: dict[tuple[str, str], list[Word]], rng: np.random.Generator):
    """`text` in the words of one voice, or None where it lacks one or gets too long."""
    spoken = [words.get((voice, word)) for word in text.split()]
    if not all(spoken):
        return None
    anchor = pick(spoken[0], rng).speaker
    chosen = []
    for options in spoken:
        near = sorted(options, key=lambda word: float(np.abs(word.speaker - anchor).sum()))[:3]
        chosen.append(pick(near, rng).wave)
    wave = join(chosen)
    return wave if len(wave) <= MAX_SECONDS * RATE else None


def sentences(seed: int, share: float = STRINGS) -> Iterator[tuple[Sentence, str, np.random.Generator]]:
    """Endless new texts, `share` of them strings of words, each with a voice and a generator of its own."""
    templates, strings = template_sentences()["train"], Strings()
    voices = [name.split(":")[1] for name in BASE_VOICES]
    index = 0
    while True:
        rng = generator(seed, "spliced", index)
        sentence = strings.draw(rng) if rng.uniform() < share else pick(pick(templates, rng), rng)
        yield sentence, voices[int(rng.choice(len(voices), p=list(BASE_VOICES.values())))], rng
        index += 1


def tasks_of(sentence: Sentence, known: list[str], answers: bool, rng: np.random.Generator) -> list[dict]:
    """What is asked about a clip: its words and its content; with `answers` also its meaning and a quote."""
    tasks = [asr_row(sentence, rng)]
    if sentence.wording != "string" and rng.uniform() < 0.4:
        tasks.append(sqa_row(sentence, known, rng))
    if answers and sentence.wording != "string" and rng.uniform() < 0.5:
        tasks.append(meaning_row(sentence, rng))
    if answers and rng.uniform() < 0.5:
        tasks.append(completion_row(sentence, rng))
    return tasks


def main() -> None:
    """Read the command line and make the corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the base corpus")
    parser.add_argument("--hearing", type=Path, required=True, help="output of the training that learnt to hear it")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--clips", type=int, default=16_000, help="default 16000")
    parser.add_argument("--strings", type=float, default=STRINGS, help=f"share of strings of words, default {STRINGS}")
    parser.add_argument("--answers", action="store_true", help="also ask what the words tell, and to quote them")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    words = cut_words(args.base, load_aligner(args.hearing))
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    rows, made, known = [], 0, vocabulary()
    with tqdm(total=args.clips, unit="clip", desc="joining") as bar:
        for sentence, voice, rng in sentences(args.seed, args.strings):
            wave = speak(sentence.text, voice, words, rng)
            if wave is None:
                continue
            name = f"w{made:05d}"
            sf.write(args.out / "audio" / f"{name}.wav", wave, RATE, subtype="PCM_16")
            tasks = tasks_of(sentence, known, args.answers, rng)
            shared = {"corpus": "audiollm-spliced", "split": "train", "audio": f"audio/{name}.wav", "speaker": voice}
            shared |= {"transcript": sentence.text, "seconds": round(len(wave) / RATE, 2)}
            rows += [{"id": f"{name}-{number}-{task['task']}", **shared, **task} for number, task in enumerate(tasks)]
            made += 1
            bar.update()
            if made == args.clips:
                break
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    (args.out / "train.jsonl").write_text(text, encoding="utf-8")
    print(f"wrote {args.out}: {made} clips, {sum(map(len, words.values()))} words cut")


if __name__ == "__main__":
    main()
