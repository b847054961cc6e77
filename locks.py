"""One job at a time in an output folder: training, evaluation, extraction and reading hold theirs with this."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


LOCK_NAME = ".lock"
logger = logging.getLogger(__name__)
_held: set[int] = set()  # open descriptors


class FolderInUseError(ValueError):
    """Another job holds this folder; names the folder and, if known, the process."""


@contextmanager
def folder_lock(folder: str | Path, job: str) -> Iterator[None]:
    """Hold a folder, which is made, for one job; the operating system lets go of it when the process ends or dies.

    Args:
        folder: that the job writes to.
        job: what it is, for the message: `training`, `evaluation`.

    Raises:
        FolderInUseError: if another process holds the folder.
    """
    path = Path(folder) / LOCK_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(descriptor)
    try:
        _take(descriptor, folder, job)
        yield
    finally:
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)


def _take(descriptor: int, folder: str | Path, job: str):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
        raise FolderInUseError(
            f"{folder} is in use{f' by {holder}' if holder else ''}; wait for it, or choose another folder."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        logger.warning("%s cannot be locked (%s): see to it that no other %s writes to it.", folder, error, job)
    os.truncate(descriptor, 0)
    told = f"a {job} (process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')})"
    os.pwrite(descriptor, told.encode(), 0)


def _let_go():
    """A forked child (a worker that loads data) must not go on holding what its parent held when that is killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)
