# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""Saved weights that others may read as the user's umask says: safetensors 0.8 lets nobody else read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_to_readers(file: str | Path):
    """Give a file the permissions of the umask; a link is left alone, and so is what it leads to.

    Args:
        file: that was written.
    """
    umask = os.umask(0)
    os.umask(umask)
    file = Path(file)
    if file.is_file() and not file.is_symlink():
        file.chmod(0o666 & ~umask)


@contextmanager
def weights_open_to_readers(folder: str | Path) -> Iterator[None]:
    """Give weights that are saved into a folder within the block the permissions of the umask, and no other file.

    Args:
        folder: that is saved into; it need not be there yet, and may hold other things.
    """
    before = _weights(folder)
    yield
    for file in _weights(folder).items() - before.items():
        open_to_readers(file[0])


def _weights(folder: str | Path) -> dict[Path, tuple[int, int]]:
    """Weight files of a folder, with what another file under the name would not share."""
    found = {file: file.lstat() for file in Path(folder).glob("*.safetensors")}
    return {file: (state.st_ino, state.st_mtime_ns) for file, state in found.items()}
