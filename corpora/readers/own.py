"""Your own data: a table (CSV, TSV, JSON lines) with a mapping of columns, or a folder of audio."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...processing.audio import AudioError, open_audio
from ..hub_tables import hub_rows
from ..labels import EMOTIONS, itself
from ..questions import draw_number
from ..reader import (
    AUDIO_KINDS,
    FILM_KINDS,
    HEADERLESS,
    SPLITS,
    Reader,
    Request,
    Utterance,
    as_posix,
    clean_text,
    drawn_share,
    visible,
)
from ..rejects import BadRow, CorpusError, Reject
from ..tables import read_table
from .audiobench import clip_of


TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
FIELDS = ("id", "audio", "transcript", "emotion", "sentiment", "question", "answer", "speaker", "dialogue", "split")
DEFAULT_SPLIT = "train"
OTHER_NAMES = dict.fromkeys(("dev", "valid", "val"), "validation")
USUAL_COLUMNS = {
    "audio": ("audio", "file_name", "file", "path", "wav"),
    "transcript": ("transcript", "text", "sentence", "transcription"),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "dialogue": ("dialogue", "dialogue_id"),
}


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    found = _table_of(request)
    if found:
        table, split = found
        items = read_table(table, encoding=request.option("encoding"))
        base = request.clip_root if request.option("clips") else table.parent
        yield from _rows(request, items, base, split)
    elif not request.root.exists() or _is_dataset(request.root):
        rows = hub_rows(request.root, request.split, request.option("config"))
        items = ((f"{request.root.name}, {request.split}, row {n}", row) for n, row in enumerate(rows))
        yield from _rows(request, items, request.root, request.split)
    else:
        yield from _folder(request)


def _is_dataset(root: Path) -> bool:
    marks = ("dataset_dict.json", "state.json")
    return any((root / mark).is_file() for mark in marks) or next(root.rglob("*.parquet"), None) is not None


def _table_of(request: Request) -> tuple[Path, str | None] | None:
    """The table that holds the split, and the split that it is wholly for."""
    root = request.root
    if root.is_file():
        return root, None
    whole = [(root / f"{request.split}{kind}", request.split) for kind in TABLES]
    own = [(root / request.split / f"metadata{kind}", request.split) for kind in TABLES]
    shared = [(root / f"{name}{kind}", None) for name in ("metadata", "data") for kind in TABLES]
    return next((pair for pair in (*whole, *own, *shared) if pair[0].is_file()), None)


def _rows(
    request: Request, items: Iterator[tuple[str, dict[str, Any]] | Reject], base: Path, split: str | None
) -> Iterator[Utterance | Reject]:
    root = request.clip_root
    words = _words(request)
    columns: dict[str, str] | None = None
    keys: list[str] = []
    of_none = split or DEFAULT_SPLIT  # the split in which a row that belongs to none is told, once
    for number, item in enumerate(items):
        if isinstance(item, Reject):
            if of_none == request.split:
                yield item
            continue
        where, row = item
        own = of_none
        try:
            if columns is None or keys != list(row):  # JSON rows need not have the same keys
                columns, keys = _columns(request, row, first=columns is None), list(row)
            own = split or _split_of(request, row, columns, number)
            if own == request.split:
                yield _row(row, columns, where, base, root, number, request, words)
        except BadRow as error:
            if own == request.split:
                yield error.at(where)


def _columns(request: Request, row: Mapping[str, Any], first: bool) -> dict[str, str]:
    """Our field to the table's column; that of the first row must have what was named."""
    columns, has = {}, ", ".join(map(str, row))[:300]
    for field in FIELDS:
        named = request.option(field)
        if first and named is not None and named not in row and not (field == "split" and named in SPLITS):
            raise CorpusError(f"no column {named!r} (for {field}); the table has {has}.")
        found = named or next((name for name in USUAL_COLUMNS.get(field, (field,)) if name in row), None)
        if found is not None:
            columns[field] = found
    if first and "audio" not in columns:
        raise CorpusError(f"no column with audio paths in {has}; name it: --option audio=COLUMN.")
    return columns


def _split_of(request: Request, row: Mapping[str, Any], columns: Mapping[str, str], number: int) -> str:
    """The split that a row names, or is drawn for, or that all rows are."""
    said = clean_text("split", row.get(columns.get("split", ""))) or None
    if said is None and request.option("holdout"):
        return _drawn_split(request, row, columns, number)
    if said is None and columns.get("split") in SPLITS:
        return columns["split"]
    own = OTHER_NAMES.get(said, said) or DEFAULT_SPLIT
    if own not in SPLITS:
        raise BadRow("split", f"{own[:60]!r} is unknown; splits are {', '.join((*SPLITS, *OTHER_NAMES))}.")
    return own


def _share(request: Request) -> float:
    text = request.option("holdout", "0")
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share < 1:
        raise CorpusError(f"holdout: {text!r} is no share from 0 to 1, such as 0.1.")
    return share


def _drawn_split(request: Request, row: Mapping[str, Any], columns: Mapping[str, str], number: int) -> str:
    """A seeded share of speakers (of rows without one) is test, decided row by row, for tables of any size."""
    share = _share(request)
    name = row.get(columns.get("speaker", "")) or f"row {number}"
    return "test" if draw_number(f"split|{request.seed}|{name}") % 10**6 < share * 10**6 else "train"


def _row(
    row: Mapping[str, Any],
    columns: Mapping[str, str],
    where: str,
    base: Path,
    root: Path,
    number: int,
    request: Request,
    words: Mapping[str, str],
) -> Utterance:
    values = {field: row.get(column) for field, column in columns.items()}
    audio = values.get("audio")
    if isinstance(audio, str) and audio.strip():
        audio = audio.strip() if base == root else as_posix(base / audio.strip(), root)
    elif isinstance(audio, dict):
        audio = clip_of(audio, "audio")
    emotion = clean_text("emotion", values.get("emotion")) or None
    return Utterance(
        where=where,
        name=clean_text("id", values.get("id"))
        or f"{Path(audio).stem if isinstance(audio, str) else 'row'}-{number:07d}",
        audio=audio,
        transcript=values.get("transcript") or None,
        emotion=words.get(emotion, emotion),
        sentiment=values.get("sentiment") or None,
        question=values.get("question") or None,
        answer=values.get("answer") or None,
        task=request.option("task"),
        speaker=values.get("speaker") or None,
        dialogue=values.get("dialogue") or None,
    )


def _words(request: Request) -> dict[str, str]:
    """`--option map=joy:happy,anger:angry` as a mapping."""
    pairs = [pair.partition(":") for pair in (request.option("map") or "").split(",") if pair]
    wrong = next((word for word, colon, label in pairs if not (colon and label)), None)
    if wrong is not None:
        raise CorpusError(f"map: {wrong!r} is not of the form word:label.")
    return {word.strip(): label.strip() for word, _, label in pairs}


def _folder(request: Request) -> Iterator[Utterance | Reject]:
    """`[SPLIT/]LABEL/CLIP.wav`, with the words in `CLIP.txt` beside it if it is there; other files are set aside."""
    parts = [split for split in SPLITS if (request.root / split).is_dir()]
    top = request.root / request.split if request.split in parts else request.root
    if parts and request.split == parts[0]:
        inside = tuple(request.root / split for split in parts)
        for path in visible(request.root.rglob("*")):
            if path.is_file() and not _is_used(path) and not any(part in path.parents for part in inside):
                reason = f"lies outside of the folders of the splits ({', '.join(parts)})."
                yield Reject(as_posix(path, request.root), "audio", reason)
    if parts and request.split not in parts:
        return
    share = 0 if parts else _share(request)
    if not parts and not share and request.split != request.option("split", DEFAULT_SPLIT):
        return
    words, paths = _words(request), []
    for path in visible(top.rglob("*")):
        problem = None if path.is_dir() or _is_used(path) else _clip_problem(path)
        if problem is None and not path.is_dir() and not _is_used(path):
            paths.append(path)
        elif problem is not None and (parts or request.split == DEFAULT_SPLIT or not share):
            yield Reject(as_posix(path, request.root), "audio", problem)
    test = drawn_share([as_posix(path, top) for path in paths], share, request.seed) if share else None
    for path in paths:
        where = as_posix(path, request.root)
        if test is not None and (as_posix(path, top) in test) != (request.split == "test"):
            continue
        label = path.parent.name if path.parent != top else None
        try:
            yield Utterance(
                where=where,
                name=where.rsplit(".", 1)[0],
                audio=where,
                transcript=_words_beside(path),
                emotion=words.get(label, label),
                task=request.option("task"),
            )
        except BadRow as error:
            yield error.at(where)


def _is_used(path: Path) -> bool:
    """Whether a file serves otherwise: words of a clip, a film whose sound lies beside it, what describes a corpus."""
    if path.name.upper().startswith(("README", "LICENSE", "LICENCE")):
        return True
    beside = {other.suffix.lower() for other in path.parent.glob(f"{glob.escape(path.stem)}.*")} - {
        path.suffix.lower()
    }
    kind = path.suffix.lower()
    return (kind == ".txt" and bool(beside.intersection((*AUDIO_KINDS, *FILM_KINDS)))) or (
        kind in FILM_KINDS and bool(beside.intersection(AUDIO_KINDS))
    )


def _clip_problem(path: Path) -> str | None:
    """Why a file is no clip; whether audio can be decoded is found out later, where its name says that it is some."""
    kind = path.suffix.lower()
    if kind in HEADERLESS:
        return "holds samples without a header, of a rate that nothing says; convert it to WAV."
    if kind in (*AUDIO_KINDS, *FILM_KINDS):
        return None
    try:
        with open_audio(path):
            return None
    except AudioError as error:
        return f"is no clip: {error.reason}"


def _words_beside(path: Path) -> str | None:
    text = path.with_suffix(".txt")
    try:
        return text.read_text(encoding="utf-8-sig") if text.is_file() else None
    except UnicodeDecodeError as error:
        raise BadRow("transcript", f"{text.name}: bytes that are not UTF-8.") from error


OWN = Reader(
    name="own",
    title="Your own data",
    layout="a table (`.csv`, `.tsv`, `.jsonl`: the file, or `SPLIT.csv`, `metadata.csv`, ... in the folder) with a "
    "column of audio paths, a `datasets` folder, Parquet files or a Hub name with an audio column, or a folder "
    "`[SPLIT/]LABEL/CLIP.wav` with `CLIP.txt` for the words.",
    utterances=_utterances,
    tasks=("asr", "er", "sr", "sqa"),
    emotions=itself(EMOTIONS),
    licence="yours",
    options={
        **{field: f"column that holds the {field}" for field in FIELDS},
        "split": "column that holds the split, or the split that all rows are (train when nothing says it)",
        "task": "the one task that rows serve, where the columns do not tell",
        "labels": "label set for emotions: a,b,c; `any` takes every label",
        "map": "other words for labels: joy:happy,anger:angry",
        "encoding": "of the table, if it is not UTF-8",
        "holdout": "share of speakers (rows without one) that is test, where no split is given",
        "config": "of a Hub dataset",
        "clips": "folder that audio paths start from, if it is not the table's; paths below it may be absolute",
    },
)
