"""Whose clips may leave: those below folders that a person named, never those that a row names by itself.

A rows file is data, perhaps somebody else's; an absolute path, `../..` or a link in it may lead to any file of the
machine. What copies or embeds clips (exports, pushes, pages, cards) asks here first. Allowed are the folder of the
rows, those named with `--audio-root`, and those that `read` or `extract` were given on this machine and noted
beside the rows. The note carries a seal made with a key of this user, so that nobody else can write one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from ..processing.audio import AudioError, open_audio
from .stored import clip_cache, is_dataset


NOTE = ".audio_roots.json"


class ClipPlaces:
    """The folders whose clips may leave with some rows.

    Args:
        rows: the rows' file or folder, or several.
        named: further folders, as a person named them.
    """

    def __init__(self, rows: str | Path | Sequence[str | Path], named: Iterable[str | Path] = ()):
        several = [Path(some) for some in ([rows] if isinstance(rows, (str, Path)) else rows)]
        folders = [_folder(some) for some in several if some.exists()]
        # Clips inside a dataset are taken out of it, into a cache of ours.
        folders += [clip_cache()] if any(map(is_dataset, several)) else []
        noted = (root for folder in folders for root in _noted(folder))
        self.roots = tuple(dict.fromkeys(os.path.realpath(root) for root in (*folders, *named, *noted)))
        self._checked = lru_cache(maxsize=4096)(self._check)

    def clip(self, path: str | Path) -> str:
        """The real path of a clip that may leave: below the folders, a plain file, and audio.

        Raises:
            AudioError: if it may not.
        """
        outcome = self._checked(os.fspath(path))
        if isinstance(outcome, AudioError):
            raise outcome
        return outcome

    def _check(self, path: str) -> str | AudioError:
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError) as error:
            return AudioError(path[:300], f"can't be a path ({error}).")
        if not any(real.startswith(root.rstrip(os.sep) + os.sep) for root in self.roots):
            return AudioError(
                path[:300],
                "lies outside of the corpus' folder, so it is not passed on. If it may be, name the folder that its "
                "clips lie in: --audio-root FOLDER.",
            )
        try:
            with open_audio(Path(real)) as clip:
                next(clip.blocks())
        except StopIteration:
            return AudioError(path[:300], "holds no samples.")
        except AudioError as error:
            return error
        return real


def note_places(folder: str | Path, roots: Iterable[str | Path]):
    """Note beside rows that clips below these folders may leave with them, as their reader was given them."""
    found = sorted({os.path.realpath(root) for root in roots} - {os.path.realpath(folder)})
    try:
        note = {"roots": found, "seal": _seal(found)}
        (Path(folder) / NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
    except OSError:  # no place for a key: later commands ask for --audio-root
        pass


def _folder(rows: Path) -> Path:
    return rows if rows.is_dir() else rows.parent


def _noted(folder: Path) -> Iterator[str]:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        roots, seal = note["roots"], note["seal"]
        if hmac.compare_digest(str(seal), _seal(roots)):
            yield from roots
    except (OSError, ValueError, KeyError, TypeError):
        return


def _seal(roots: list[str]) -> str:
    return hmac.new(_key(), json.dumps(roots).encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """This user's key; made when first asked for."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = home / "audiollm" / "key"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    return path.read_bytes()


__all__ = ["ClipPlaces", "note_places"]
