"""An append-only file of results, kept as they arrive, so that a killed job loses and repeats nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


BLOCK = 1 << 16


class JournalError(ValueError):
    """A line of a journal that is not JSON; names the file and the line."""


class Journal:
    """JSON lines, one for each finished item, written at once.

    A line that was half-written when the process was killed is cut off when the file is opened again. Of several lines
    with one key the last counts. The journal is a context manager.

    Args:
        path: the file; its folder is made.
        key: field by which an item is known.
        keep: what of an item stays in memory, from the item and its offset in the file; the item itself when left out.

    Raises:
        JournalError: if a whole line is not a JSON object with the key.
    """

    def __init__(self, path: str | Path, key: str = "id", keep: Callable[[dict[str, Any], int], Any] | None = None):
        self.path, self.key, self._keep = Path(path), key, keep or (lambda entry, offset: entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _drop_half_written_line(self.path)
        self.entries: dict[str, Any] = {
            entry[key]: self._keep(entry, offset) for offset, entry in read_journal_at(self.path, key)
        }
        self._file = self.path.open("a+b")

    def append(self, entry: dict[str, Any]):
        """Write an item and hand it to the operating system: it outlives a kill of this process."""
        offset = self._file.seek(0, os.SEEK_END)
        # Half of a character pair, which UTF-8 cannot hold, is written as JSON's escape of it.
        self._file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        self._file.flush()
        self.entries[entry[self.key]] = self._keep(entry, offset)

    def read(self, offset: int) -> dict[str, Any]:
        """The item that was written at an offset."""
        self._file.seek(offset)
        return json.loads(self._file.readline())

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error):
        self._file.close()


def read_journal(path: Path, key: str = "id") -> Iterator[dict[str, Any]]:
    """Lines of a journal in order; raises as [`Journal`], but leaves out a half-written last line."""
    return (entry for _, entry in read_journal_at(path, key))


def read_journal_at(path: Path, key: str = "id") -> Iterator[tuple[int, dict[str, Any]]]:
    """As [`read_journal`], each line with its offset in the file."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
                entry[key]
            except (ValueError, TypeError, KeyError) as error:
                raise JournalError(f"{path}, line {number}: not an item with {key!r}; mend or delete it.") from error
            yield offset, entry
            offset += len(line)


def _drop_half_written_line(path: Path):
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = position = file.seek(0, os.SEEK_END)
        while position:
            start = max(0, position - BLOCK)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < end:
            file.truncate(position)
