"""Files that are whole or not there, and a full disk said as such: every job that writes for others uses these."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


FULL = (errno.ENOSPC, errno.EDQUOT)
NEARLY_FULL = 1 << 20  # bytes: some libraries say of a full disk that a write failed, and no more
PART = ".part"


@contextmanager
def replacing(path: str | Path, mode: str = "w", **how: Any) -> Iterator[IO]:
    """Write a file that appears, in place of an old one, when it is whole; with the permissions of the umask.

    Args:
        path: of the file; its folder must be there.
        mode: `w` (UTF-8, unless `how` says else) or `wb`.
        how: as for `open`.

    Raises:
        OSError: if it cannot be written; the old file is then as it was.
    """
    path = Path(path)
    part = path.with_name(path.name + PART)
    how = how if "b" in mode else {"encoding": "utf-8", **how}
    try:
        with naming_a_full_disk(path.parent):
            with part.open(mode, **how) as file:
                yield file
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes, **how: Any) -> None:
    """Write a file at once (see [`replacing`])."""
    with replacing(path, "wb" if isinstance(content, bytes) else "w", **how) as file:
        file.write(content)


@contextmanager
def naming_a_full_disk(
    folder: str | Path, advice: str = "make room and give the same command again"
) -> Iterator[None]:
    """Say of whatever error a full disk causes in a library that the disk is full.

    Args:
        folder: that is written to; it must be there.
        advice: what to do.

    Raises:
        OSError: with what to do.
    """
    try:
        yield
    except Exception as error:  # sqlite's, Arrow's, safetensors', libsndfile's: each says it in its own way
        number = getattr(error, "errno", None)
        told = number in FULL or any(f"os error {code}" in str(error) for code in FULL)
        libraries = ("sqlite3", "safetensors_rust")
        writing = isinstance(error, (OSError, RuntimeError)) or type(error).__module__ in libraries
        if not (told or (writing and shutil.disk_usage(folder).free < NEARLY_FULL)):
            raise
        if isinstance(error, OSError) and str(error.strerror).startswith("the disk is full"):
            raise
        place = os.fspath(folder)
        raise OSError(number or errno.ENOSPC, f"the disk is full; what is there is whole: {advice}", place) from error


__all__ = ["naming_a_full_disk", "replacing", "write_whole"]
