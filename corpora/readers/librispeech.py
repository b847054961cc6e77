"""LibriSpeech: chapters of flac files with one transcript file each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..reader import AUDIO_KINDS, Published, Reader, Request, Utterance, as_posix, corpus_folder, text_lines, visible
from ..rejects import Reject


PARTS = {  # utterances, Panayotov et al. 2015 and OpenSLR 12
    "train": {"train-clean-100": 28539, "train-clean-360": 104014, "train-other-500": 148688},
    "validation": {"dev-clean": 2703, "dev-other": 2864},
    "test": {"test-clean": 2620, "test-other": 2939},
}
PART_NAMES = tuple(part for parts in PARTS.values() for part in parts)


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    for part in _parts(request):
        for listing in visible(part.glob("*/*/*.trans.txt")):
            for item in text_lines(listing):
                if isinstance(item, Reject):
                    yield item
                    continue
                where, line = item
                name, _, text = line.partition(" ")
                yield Utterance(
                    where=where,
                    name=name,
                    audio=as_posix(_clip(listing.parent, name), request.root),
                    transcript=text.lower(),
                    speaker=name.split("-")[0],
                    dialogue="-".join(name.split("-")[:2]),
                    subset=part.name if part.name in PART_NAMES else None,
                )


def _parts(request: Request) -> list[Path]:
    """The parts of a split; a folder that is one part serves whatever split it is asked for."""
    top = corpus_folder(request.root, "*/*/*.trans.txt", *(f"{part}/*/*/*.trans.txt" for part in PART_NAMES))
    folders = (top / part for part in PARTS[request.split])
    return [folder for folder in folders if folder.is_dir()] or [top]


def _clip(folder: Path, name: str) -> Path:
    kinds = (".flac", *AUDIO_KINDS)
    return next((path for kind in kinds if (path := folder / f"{name}{kind}").exists()), folder / f"{name}.flac")


LIBRISPEECH = Reader(
    name="librispeech",
    title="LibriSpeech (Panayotov et al., 2015)",
    layout="LibriSpeech, `{train,dev,test}-*/SPEAKER/CHAPTER/*.flac` (or wav) with `*.trans.txt`; or one part, which "
    "then serves any split.",
    utterances=_utterances,
    tasks=("asr",),
    published=tuple(
        Published("Panayotov et al. 2015", None, "asr", {None: rows}, subset=part)
        for parts in PARTS.values()
        for part, rows in parts.items()
    ),
    licence="CC BY 4.0",
)
