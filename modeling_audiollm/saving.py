# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""Saved files that others may read as the user's umask says."""

from __future__ import annotations

import os
from pathlib import Path


def open_to_readers(path: str | Path):
    """Give a file, or all files of a folder, the permissions of the umask: safetensors 0.8 lets nobody else read it.

    Args:
        path: that was written.
    """
    umask = os.umask(0)
    os.umask(umask)
    path = Path(path)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            file.chmod(0o666 & ~umask)
