"""Files that are whole or not there, and a full disk said as such: every job that writes for others uses these."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
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
def new_folder(path: str | Path) -> Iterator[Path]:
    """Write a folder that appears when it is whole; what fails or is stopped leaves nothing.

    Args:
        path: of the folder. It may be there, if it is empty.

    Raises:
        FileExistsError: if something is there, or was written by another process meanwhile.
    """
    path = Path(path).absolute()
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"{path} is there already, with other files; give a new or empty folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=PART, dir=path.parent))
    try:
        with naming_a_full_disk(path.parent):
            yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o777 & ~umask)  # mkdtemp's are the owner's alone
        try:
            part.replace(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileExistsError(f"{path} was written by another process meanwhile; its files stay.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


__all__ = ["naming_a_full_disk", "new_folder", "replacing", "write_whole"]
