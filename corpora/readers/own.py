"""Your own data: a table (CSV, TSV, JSON lines) with a mapping of columns, a dataset, or a folder of audio."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...processing.audio import AudioError, open_audio
from ...processing.conversation import ContextError, read_turns
from ..dialogue import Turn, context_turns, past_turns
from ..hub_tables import ALIASES, clip_of, open_dataset, spellings, usual_split
from ..labels import EMOTIONS, itself
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
    visible,
)
from ..rejects import BadRow, CorpusError, Reject
from ..stored import is_dataset
from ..tables import read_table
from .holdout import Holdout


TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
FIELDS = ("id", "audio", "transcript", "emotion", "sentiment", "question", "answer", "speaker", "dialogue", "split")
CONTEXT_COLUMN = "context"
DEFAULT_SPLIT = "train"
USUAL_COLUMNS = {
    "audio": ("audio", "file_name", "filename", "file", "path", "filepath", "file_path", "audio_path", "wav"),
    "transcript": ("transcript", "text", "sentence", "transcription"),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "dialogue": ("dialogue", "dialogue_id"),
}
Item = tuple[str, Mapping[str, Any]] | Reject
Items = Callable[[], Iterator[Item]]


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    root = request.root
    if is_dataset(root):
        yield from _dataset(request)
    elif found := _table_of(request):
        table, split = found

        def items() -> Iterator[Item]:
            return read_table(table, encoding=request.option("encoding"))

        base = request.clip_root if request.option("clips") else table.parent
        yield from _rows(request, items, base, split)
    elif root.is_file():
        raise CorpusError(f"{root}: is no table; read are {', '.join(TABLES)} and .parquet.")
    else:
        yield from _folder(request)


def _dataset(request: Request) -> Iterator[Utterance | Reject]:
    splits = open_dataset(request.root, request.option("config"))

    def items() -> Iterator[Item]:
        for name, rows in splits.named(request.split) if splits.divided else splits.all():
            for number, row in enumerate(rows):
                yield f"{request.root.name}, {name + ', ' if name else ''}row {number}", row

    yield from _rows(request, items, request.root, request.split if splits.divided else None)


def _table_of(request: Request) -> tuple[Path, str | None] | None:
    """The table that holds the split, and the split that it is wholly for."""
    root = request.root
    if root.is_file():
        return (root, None) if root.suffix.lower() in (*TABLES, ".txt", ".json", "") else None
    of_splits = [
        (path, split)
        for split in SPLITS
        for name in spellings(split)
        for kind in TABLES
        for path in (root / f"{name}{kind}", root / name / f"metadata{kind}")
    ]
    found = next((pair for pair in of_splits if pair[1] == request.split and pair[0].is_file()), None)
    if found:
        return found
    shared = [(root / f"{name}{kind}", None) for name in ("metadata", "data") for kind in TABLES]
    return next((pair for pair in shared if pair[0].is_file()), None)


def _rows(request: Request, items: Items, base: Path, split: str | None) -> Iterator[Utterance | Reject]:
    """Utterances of the split asked for.

    Args:
        items: gives the rows of the table anew with each call.
        base: folder that audio paths start from.
        split: that the whole table is of; `None` when its rows say it, or nothing does.
    """
    if split is not None and request.option("holdout"):
        raise CorpusError(f"holdout: {request.root} is divided into splits already; leave it out.")
    holdout = _drawn(request, _undivided(request, items()))
    of_none = split or DEFAULT_SPLIT  # the split in which a row that belongs to none is told, once
    columns = _Columns(request)
    for number, item in enumerate(items()):
        if isinstance(item, Reject):
            if of_none == request.split:
                yield item
            continue
        where, row = item
        own = of_none
        try:
            named = columns.of(row)
            own = split or _split_of(request, row, named, holdout)
            if own == request.split:
                yield _row(row, named, where, base, number, request)
        except BadRow as error:
            if own == request.split:
                yield error.at(where)


def _drawn(request: Request, names: Iterable[str]) -> Holdout | None:
    """Who is held out of the names, if anybody is to be."""
    share = request.option("holdout")
    if share is None:
        return None
    holdout = Holdout(share, request.seed)
    for name in names:
        holdout.add(name)
    holdout.draw(str(request.root))
    return holdout


class _Columns:
    """Which column of a table holds which field."""

    def __init__(self, request: Request):
        self.request, self.keys, self.columns = request, None, {}

    def of(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Our field to the column of a row; JSON rows need not have the same keys.

        Raises:
            CorpusError: if the first row lacks a column that was named, or audio.
        """
        if self.keys != list(row):
            first, self.keys = self.keys is None, list(row)
            self.columns = self._find(row, first)
        return self.columns

    def _find(self, row: Mapping[str, Any], first: bool) -> dict[str, str]:
        columns, has = {}, ", ".join(map(str, row))[:300]
        folded = {str(name).strip().lower(): name for name in reversed(list(row))}
        for field in FIELDS:
            named = self.request.option(field)
            if (
                first
                and named is not None
                and named not in row
                and not (field == "split" and usual_split(named) in SPLITS)
            ):
                raise CorpusError(f"no column {named!r} (for {field}); the table has {has}.")
            found = named or next(
                (folded[name] for name in USUAL_COLUMNS.get(field, (field,)) if name in folded), None
            )
            if found is not None:
                columns[field] = found
        if first and "audio" not in columns:
            raise CorpusError(f"no column with audio paths in {has}; name it: --option audio=COLUMN.")
        return columns


def _value(field: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Any:
    return row.get(columns[field]) if field in columns else None


def _stated_split(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    return usual_split(clean_text("split", _value("split", row, columns))) or None


def _split_of(request: Request, row: Mapping[str, Any], columns: Mapping[str, str], holdout: Holdout | None) -> str:
    """The split that a row names, or is drawn for, or that all rows are."""
    said = _stated_split(row, columns)
    if said is None and holdout is not None:
        return holdout.split(_drawn_by(row, columns))
    named = usual_split(columns.get("split"))
    if said is None and named is not None and named in SPLITS:
        return named
    own = said or DEFAULT_SPLIT
    if own not in SPLITS:
        known = ", ".join(name for names in ALIASES.values() for name in names)
        raise BadRow("split", f"{own[:60]!r} is unknown; splits are {known}.")
    return own


def _undivided(request: Request, items: Iterator[Item]) -> Iterator[str]:
    """What rows without a split are drawn by."""
    columns = _Columns(request)
    for item in items:
        if not isinstance(item, Reject):
            try:
                named = columns.of(item[1])
                if _stated_split(item[1], named) is None:
                    yield _drawn_by(item[1], named)
            except BadRow:  # told when the row is read
                continue


def _drawn_by(row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """The speaker of a row; of a row without one, its clip, so that no clip is in two splits."""
    speaker = clean_text("speaker", _value("speaker", row, columns))
    if speaker:
        return f"speaker {speaker}"
    audio = _value("audio", row, columns)
    if isinstance(audio, dict):
        audio = hashlib.sha256(audio.get("bytes") or str(audio).encode()).hexdigest()
    return f"clip {str(audio).strip()}"


def _row(
    row: Mapping[str, Any], columns: Mapping[str, str], where: str, base: Path, number: int, request: Request
) -> Utterance:
    values = {field: row.get(column) for field, column in columns.items()}
    audio, root = values.get("audio"), request.clip_root
    if isinstance(audio, str) and audio.strip():
        audio = audio.strip() if base == root else as_posix(base / audio.strip(), root)
    elif isinstance(audio, dict):
        audio = clip_of(audio, "audio")
    return Utterance(
        where=where,
        name=clean_text("id", values.get("id"))
        or f"{Path(audio).stem if isinstance(audio, str) else 'row'}-{number:07d}",
        audio=audio,
        transcript=values.get("transcript") or None,
        emotion=_mapped(request, clean_text("emotion", values.get("emotion")) or None),
        sentiment=_mapped(request, clean_text("sentiment", values.get("sentiment")) or None),
        question=values.get("question") or None,
        answer=values.get("answer") or None,
        task=request.option("task"),
        speaker=values.get("speaker") or None,
        dialogue=values.get("dialogue") or None,
        before=_before(row.get(CONTEXT_COLUMN), context_turns(request.options)),
        speaks_as=clean_text("context_speaker", row.get("context_speaker")) or None,
    )


def _before(context: Any, most: int | None) -> tuple[Turn, ...]:
    """The turns that a row tells from before it, the last `most` of them; a table's cell holds them as JSON.

    A text that is no list is a passage, as tables of questions have it, unless turns were asked for.
    """
    passage = isinstance(context, str) and not context.lstrip().startswith("[")
    if context is None or context == "" or (passage and most is None):
        return ()
    try:
        turns = read_turns(json.loads(context) if isinstance(context, str) else list(context))
    except (ContextError, TypeError, ValueError) as error:
        raise BadRow(CONTEXT_COLUMN, f"is no list of turns {{speaker, text}}: {error}") from error
    said = [Turn(number, number, turn["speaker"], turn["text"]) for number, turn in enumerate(turns)]
    now = Turn(len(said), len(said), None, "")
    return past_turns(said, now, len(said) if most is None else most)


def _mapped(request: Request, word: str | None) -> str | None:
    """A label after `--option map=joy:happy,anger:angry`, whatever the case."""
    pairs = [pair.partition(":") for pair in (request.option("map") or "").split(",") if pair]
    wrong = next((said for said, colon, label in pairs if not (colon and label.strip())), None)
    if wrong is not None:
        raise CorpusError(f"map: {wrong!r} is not of the form word:label.")
    found = {said.strip().lower(): label.strip() for said, _, label in pairs}
    return found.get(word.lower(), word) if word else word


def _folder(request: Request) -> Iterator[Utterance | Reject]:
    """`[SPLIT/]LABEL/CLIP.wav`, with the words in `CLIP.txt` beside it if it is there; other files are set aside."""
    parts = {
        split: path
        for split in SPLITS
        for path in (request.root / name for name in reversed(spellings(split)))
        if path.is_dir()
    }
    if parts and request.option("holdout"):
        raise CorpusError(f"holdout: {request.root} is divided into splits already; leave it out.")
    whole = usual_split(request.option("split", DEFAULT_SPLIT))
    if parts and request.split == next(iter(parts)):
        yield from _outside(request, list(parts.values()))
    if request.split not in (parts or (whole,)) and not request.option("holdout"):
        return
    top, paths = parts.get(request.split, request.root), []
    for path in visible(top.rglob("*")):
        problem = None if path.is_dir() or _is_used(path) else _clip_problem(path)
        if problem is None and not path.is_dir() and not _is_used(path):
            paths.append(path)
        elif problem is not None and (parts or request.split == whole):
            yield Reject(as_posix(path, request.root), "audio", problem)
    holdout = _drawn(request, [as_posix(path, top) for path in paths])
    for path in paths:
        where = as_posix(path, request.root)
        if holdout and holdout.split(as_posix(path, top)) != request.split:
            continue
        try:
            yield Utterance(
                where=where,
                name=where.rsplit(".", 1)[0],
                audio=where,
                transcript=_words_beside(path),
                emotion=_mapped(request, path.parent.name if path.parent != top else None),
                task=request.option("task"),
            )
        except BadRow as error:
            yield error.at(where)


def _outside(request: Request, parts: list[Path]) -> Iterator[Reject]:
    """Files beside the folders of the splits."""
    names = ", ".join(part.name for part in parts)
    for path in visible(request.root.rglob("*")):
        if path.is_file() and not _is_used(path) and not any(part in path.parents for part in parts):
            reason = f"lies outside of the folders of the splits ({names})."
            yield Reject(as_posix(path, request.root), "audio", reason)


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
        CONTEXT_COLUMN: "at most so many turns of the column `context`; all when left out",
        "holdout": "share of speakers (of clips, in rows without one) that is test, where no split is given",
        "config": "of a Hub dataset",
        "clips": "folder that audio paths start from, if it is not the table's; paths below it may be absolute",
    },
)
