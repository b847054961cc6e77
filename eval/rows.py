"""Which rows are evaluated, and what their classes are."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ..corpora.questions import draw_number
from ..corpora.readers import read_corpus
from ..corpora.schema import EMOTION_TASKS, TARGETS, TASKS
from ..modeling_audiollm.emotion_lexicon import LabelError, find_label_set, named_label_set, spell_label
from ..processing.conversation import last_turns
from . import EvalError


REFERENCES = {"er": "label", "sr": "label", "asr": "transcript", "sqa": "answer"}


def clip_of(row: Mapping[str, Any]) -> str:
    """A name for the recording of a row: its path, or the row's id where it has none."""
    audio = row["audio"]
    return str((audio.get("path") if isinstance(audio, Mapping) else audio) or row["id"])


def name_clips(rows: Sequence[Mapping[str, Any]], data: str | Path | dict[str, Any]) -> dict[str, str]:
    """A name for the recording of each row, by the row's id: the same for the same file, and of no other one.

    It is the path in the folder of the data. Of a recording that lies elsewhere it is the file's name after eight
    digits that stand for its folder, so that nothing of the machine is told.
    """
    source = _source(data)
    path = Path(source if isinstance(source, str) else source.get("path") or "")
    root = os.path.join(os.path.realpath(path if path.is_dir() else path.parent), "")
    real = lru_cache(maxsize=1024)(os.path.realpath)

    def name(row: Mapping[str, Any]) -> str:
        audio = row["audio"]["path"] if isinstance(row["audio"], Mapping) else row["audio"]
        if not audio:
            return ""
        folder, file = os.path.split(audio)
        folder = os.path.join(real(folder), "")
        if folder.startswith(root):
            return Path(folder.removeprefix(root), file).as_posix()
        return f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}/{file}"

    return {row["id"]: name(row) for row in rows}


def read_data(data: str | Path | dict[str, Any], split: str) -> list[dict]:
    """Rows of a corpus, named as in a configuration of a training.

    Args:
        data: a path to rows (a folder, a file, a `datasets` folder), or `{reader: NAME, path: FOLDER, ...}` as a
            mapping or its YAML.
        split: which to read.

    Raises:
        EvalError: if a text in braces is no mapping.
        RowError, CorpusError, FileNotFoundError: as [`read_corpus`].
    """
    return read_corpus(_source(data), split)


def data_name(data: str | dict[str, Any]) -> str:
    """A corpus as people call it: its reader's name, or its folder's."""
    source = _source(data)
    return Path(source).name if isinstance(source, str) else str(source.get("reader"))


def _source(data: str | Path | dict[str, Any]) -> str | dict[str, Any]:
    if isinstance(data, dict):
        return data
    data = str(data)
    if not data.lstrip().startswith("{"):
        return data
    try:
        source = yaml.safe_load(data)
    except yaml.YAMLError:
        source = None
    if not isinstance(source, dict):
        raise EvalError(f"data {data!r} is no mapping; write '{{reader: NAME, path: FOLDER}}'.")
    return source


def select_rows(rows: list[dict], tasks: Sequence[str] = (), limit: int | None = None, seed: int = 0) -> list[dict]:
    """Rows of these tasks, or a seeded random sample of them in the same order.

    Raises:
        EvalError: if a task is unknown, an id is repeated, a row lacks what its task is scored by, or nothing is left.
    """
    unknown = set(tasks) - set(TASKS)
    if unknown:
        raise EvalError(f"unknown tasks {', '.join(sorted(unknown))}; choose among {', '.join(TASKS)}.")
    repeated = [id_ for id_, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise EvalError(f"{len(repeated)} ids occur more than once (first: {repeated[0]}); every row needs its own.")
    rows = [row for row in rows if not tasks or row["task"] in tasks]
    if not rows:
        raise EvalError(f"no rows of the tasks {', '.join(tasks)}.")
    for row in rows:
        field = REFERENCES[row["task"]]
        # An empty transcript is a reference (nothing was said); an absent one is a hole in the data.
        if row.get(field) is None or (field != "transcript" and not str(row[field]).strip()):
            raise EvalError(f"row {row['id']}: a row of task {row['task']} needs the field {field!r}.")
    if limit is not None and limit < len(rows):
        kept = sorted(random.Random(seed).sample(range(len(rows)), limit))
        rows = [rows[index] for index in kept]
    return rows


def with_context(rows: list[dict], most: int | None = None) -> list[dict]:
    """Rows with at most the last `most` turns of their context; with none of it for 0, as they are for `None`.

    Raises:
        EvalError: if no row has a context.
    """
    if most is None:
        return rows
    if most < 0:
        raise EvalError(f"context is a number of turns, 0 or more; got {most}.")
    if not any(row.get("context") for row in rows):
        raise EvalError("no row has a context; read the corpus with --option context=N.")
    return [last_turns(row, most) for row in rows]


def asked_for(rows: list[dict], ask: str | None, data: str | dict[str, Any]) -> list[dict]:
    """Rows of emotion and sentiment asked for one kind of answer, as training rows ask; as they are for `None`.

    Args:
        rows: to evaluate.
        ask: a target, `label` for instance, and, after a colon, the data whose training rows ask for it.
        data: the data if `ask` names none.

    Raises:
        EvalError: for another target, or training rows that never ask for it.
    """
    if ask is None:
        return rows
    target, _, other = ask.partition(":")
    if target not in TARGETS:
        raise EvalError(f"ask names no target: {target!r}; the targets are {', '.join(TARGETS)}.")
    if not any(row["task"] in EMOTION_TASKS for row in rows):
        raise EvalError(f"ask {ask}: no row asks for {' or '.join(EMOTION_TASKS)}, so leave it out.")
    questions = defaultdict(set)
    for row in read_data(other or data, "train"):
        if row["target"] == target:
            questions[row["task"]].add(row["question"])
    lacking = {row["task"] for row in rows} & set(EMOTION_TASKS) - set(questions)
    if lacking:
        raise EvalError(
            f"ask: no training row of {other or data} asks {' and '.join(sorted(lacking))} for {target}; name data "
            f"that has some: {target}:DATA."
        )
    pools = {task: sorted(pool) for task, pool in questions.items()}

    def asked(row: dict) -> dict:
        pool = pools[row["task"]]
        return {**row, "question": pool[draw_number(row["id"]) % len(pool)], "target": target}

    return [asked(row) if row["task"] in EMOTION_TASKS else row for row in rows]


def find_label_sets(rows: Iterable[dict], emotion_set: str | None = None) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The label set of each emotion task in the rows: `{task: (name, labels)}`.

    Raises:
        EvalError: if a row's label is not in the set.
    """
    labels = defaultdict(set)
    for row in rows:
        if row["task"] in EMOTION_TASKS:
            labels[row["task"]].add(row["label"])
    try:
        sets = {task: find_label_set(found) for task, found in labels.items()}
        if emotion_set and "er" not in sets:
            raise EvalError(f"label set {emotion_set}: no row asks for an emotion (er), so leave it out.")
        if emotion_set:
            sets["er"] = named_label_set(emotion_set)
        for task, found in labels.items():
            for label in sorted(found):
                spell_label(label, sets[task][1])
    except LabelError as error:
        raise EvalError(str(error)) from error
    return sets
