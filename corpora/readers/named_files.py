"""Corpora whose file names say it all, wherever below the folder the files lie."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..reader import AUDIO_KINDS, Request, Utterance, as_posix, drawn_share
from ..rejects import Reject


Fields = Mapping[str, str]


def named_files(
    name: re.Pattern[str],
    form: str,
    describe: Callable[[Fields], dict[str, Any]],
    splits: Callable[[Request], Callable[[Fields], str]] | None = None,
) -> Callable[[Request], Iterator[Utterance | Reject]]:
    """The `utterances` of a reader of such a corpus.

    Archives are unpacked under folders of any depth and name, some of them twice; of files with one name the first is
    read and the others are set aside.

    Args:
        name: matches the stem of every clip, with a group `speaker`.
        form: of names, for people.
        describe: from the groups of a name to fields of [`Utterance`], at least `emotion`.
        splits: for what is asked, from the groups of a name to its split; by default a seeded fifth of the speakers is
            test, and of the others a seeded eighth validation.
    """

    def utterances(request: Request) -> Iterator[Utterance | Reject]:
        paths = list(audio_files(request.root))
        matches = {path: name.fullmatch(path.stem) for path in paths}
        speakers = {match["speaker"] for match in matches.values() if match}
        split_by_name = splits(request) if splits else speaker_split(speakers, request.seed)
        seen: dict[str, str] = {}
        for path, match in matches.items():
            where = as_posix(path, request.root)
            if match is None:
                if request.split == "train":  # what has no name of the corpus is in no split: told once
                    yield Reject(where, "name", f"is no name of this corpus, {form}.")
            elif split_by_name(match.groupdict()) == request.split:
                if path.stem in seen:
                    yield Reject(where, "name", f"is there twice; {seen[path.stem]} is read.")
                    continue
                seen[path.stem] = where
                fields = match.groupdict()
                yield Utterance(
                    where=where, name=path.stem, audio=where, speaker=fields["speaker"], **describe(fields)
                )

    return utterances


def audio_files(root: Path) -> Iterator[Path]:
    """Audio files below a folder, in order, without hidden ones."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(AUDIO_KINDS) and not name.startswith("."):
                yield Path(folder) / name


def speaker_split(speakers: set[str], seed: int) -> Callable[[Fields], str]:
    """Splits by speaker, drawn: a fifth for test, an eighth of the others for validation."""
    test = drawn_share(sorted(speakers), 0.2, seed) if speakers else set()
    others = sorted(speakers - test)
    validation = drawn_share(others, 0.125, seed) if len(others) > 1 else set()

    def split(fields: Fields) -> str:
        speaker = fields["speaker"]
        return "test" if speaker in test else "validation" if speaker in validation else "train"

    return split
