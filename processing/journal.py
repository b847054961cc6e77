"""An append-only file of results, kept as they arrive, so that a killed job loses and repeats nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class JournalError(ValueError):
    """A line of a journal that is not JSON; names the file and the line."""


class Journal:
    """JSON lines, one for each finished item, written at once.

    A line that was half-written when the process was killed is cut off when the file is opened again. Of several lines
    with one key the last counts. The journal is a context manager.

    Args:
        path: the file; its folder is made.
        key: field by which an item is known.

    Raises:
        JournalError: if a whole line is not a JSON object with the key.
    """

    def __init__(self, path: str | Path, key: str = "id"):
        self.path, self.key = Path(path), key
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _drop_half_written_line(self.path)
        self.entries: dict[str, dict[str, Any]] = {entry[key]: entry for entry in read_journal(self.path, key)}
        self._file = self.path.open("a", encoding="utf-8")

    def append(self, entry: dict[str, Any]):
        """Write an item and hand it to the operating system: it outlives a kill of this process."""
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        self.entries[entry[self.key]] = entry

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error):
        self._file.close()


def read_journal(path: Path, key: str = "id") -> Iterator[dict[str, Any]]:
    """Lines of a journal in order; raises as [`Journal`], but leaves out a half-written last line."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                entry = json.loads(line)
                entry[key]
            except (json.JSONDecodeError, TypeError, KeyError) as error:
                raise JournalError(f"{path}, line {number}: not an item with {key!r}; mend or delete it.") from error
            yield entry


def _drop_half_written_line(path: Path):
    if path.exists():
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
