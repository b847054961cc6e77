"""Readers: from a corpus as it is published to rows of the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from audiollm.processing.labels import RAVDESS, label_answer
from audiollm.processing.questions import draw_question

from .schema import read_rows, validate_row


class CorpusError(ValueError):
    """A corpus folder that is not laid out as its reader expects; names the folder and what was looked for."""


RAVDESS_SPLITS = {"train": range(1, 17), "test": range(17, 21), "validation": range(21, 25)}


def read_ravdess(root: Path, split: str) -> Iterator[dict[str, Any]]:
    """RAVDESS speech (Livingstone & Russo, 2018): `Actor_NN/03-01-EE-II-SS-RR-NN.*`, 8 emotions, two sentences.

    Splits are by speaker: actors 01-16 train, 17-20 test, 21-24 validation. Rows are emotion recognition with the
    `label` target, and speech recognition.
    """
    sentences = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}
    for actor in RAVDESS_SPLITS[split]:
        for path in sorted((root / f"Actor_{actor:02d}").glob("03-01-*")):
            fields = path.stem.split("-")
            shared = {
                "corpus": "ravdess",
                "split": split,
                "audio": str(path.relative_to(root)),
                "transcript": sentences[fields[4]],
                "label": RAVDESS[int(fields[2]) - 1],
                "speaker": fields[6],
            }
            yield _recognition(shared, path.stem)
            yield _labelled(shared, path.stem, "er")


def read_librispeech(root: Path, split: str) -> Iterator[dict[str, Any]]:
    """LibriSpeech (Panayotov et al., 2015): `SPEAKER/CHAPTER/*.flac` with `*.trans.txt`, as speech recognition.

    The folder given is one part of the corpus (`train-clean-100`, `test-other`, ...), whatever split it is to serve.
    """
    for listing in sorted(root.glob("*/*/*.trans.txt")):
        for line in listing.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            shared = {
                "corpus": "librispeech",
                "split": split,
                "audio": str((listing.parent / f"{name}.flac").relative_to(root)),
                "transcript": text.lower(),
                "speaker": name.split("-")[0],
            }
            yield _recognition(shared, name)


def _recognition(shared: dict[str, Any], name: str) -> dict[str, Any]:
    row_id = f"{shared['corpus']}-{name}-asr"
    question = draw_question("asr", row_id)
    return {**shared, "id": row_id, "task": "asr", "question": question, "answer": shared["transcript"]}


def _labelled(shared: dict[str, Any], name: str, task: str) -> dict[str, Any]:
    row_id = f"{shared['corpus']}-{name}-{task}"
    answer = label_answer(shared["label"], task)
    return {
        **shared,
        "id": row_id,
        "task": task,
        "question": draw_question(task, row_id),
        "answer": answer,
        "target": "label",
    }


READERS: dict[str, Callable[[Path, str], Iterator[dict[str, Any]]]] = {
    "ravdess": read_ravdess,
    "librispeech": read_librispeech,
}


def read_corpus(source: str | dict[str, str], split: str) -> list[dict[str, Any]]:
    """Rows of a corpus named in a configuration.

    Args:
        source: a path to rows of the schema (see [`read_rows`]), or `{reader: NAME, path: FOLDER}`.
        split: `train`, `validation` or `test`.

    Raises:
        CorpusError: for an unknown reader, or a folder in which the reader finds nothing.
    """
    if isinstance(source, str):
        return read_rows(source, split)
    name, root = source.get("reader"), Path(source.get("path", ""))
    if name not in READERS:
        raise CorpusError(f"Unknown corpus reader {name!r}; it is one of {', '.join(READERS)}.")
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder (corpus {name}).")
    rows = [validate_row(row, root, f"{name}, {row['audio']}") for row in READERS[name](root, split)]
    if not rows:
        layout = READERS[name].__doc__.strip().splitlines()[0]
        raise CorpusError(f"{root}: nothing of split {split!r} found. Expected layout: {layout}")
    return rows
