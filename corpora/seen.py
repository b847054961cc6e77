"""What was met before, on disk: memory stays the same for a thousand rows and for a billion."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path


CACHE_KIB = 8_000  # of the database, whatever the number of rows


class Seen:
    """Two tables in one file that is deleted at the end: first owners of keys, and groups with the splits they are in.

    Keys are kept as 16-byte digests. It is a context manager.

    Args:
        path: of the file; one that is there is a leftover, and is deleted.
    """

    def __init__(self, path: Path):
        self.path = path
        path.unlink(missing_ok=True)
        self.base = sqlite3.connect(path, isolation_level=None)
        for pragma in (f"cache_size = -{CACHE_KIB}", "synchronous = OFF", "journal_mode = OFF"):
            self.base.execute(f"PRAGMA {pragma}")
        self.base.execute("CREATE TABLE owner (key BLOB PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self.base.execute(
            "CREATE TABLE member (kind TEXT, key BLOB, split TEXT, name TEXT, "
            "PRIMARY KEY (kind, key, split)) WITHOUT ROWID"
        )
        self.base.execute("BEGIN")

    def first(self, kind: str, key: str | bytes, value: str) -> str | None:
        """The value that a key was first met with; `None` if this is the first time."""
        digest = short_digest(kind, key)
        if self.base.execute("INSERT OR IGNORE INTO owner VALUES (?, ?)", (digest, value)).rowcount:
            return None
        return self.base.execute("SELECT value FROM owner WHERE key = ?", (digest,)).fetchone()[0]

    def value(self, kind: str, key: str | bytes) -> str | None:
        """The value of a key; `None` if it was not met."""
        row = self.base.execute("SELECT value FROM owner WHERE key = ?", (short_digest(kind, key),)).fetchone()
        return row and row[0]

    def note(self, kind: str, key: str | bytes, split: str, name: str):
        """Note that a group (`kind`, `key`) has a row in a split."""
        values = (kind, short_digest(kind, key), split, name)
        self.base.execute("INSERT OR IGNORE INTO member VALUES (?, ?, ?, ?)", values)

    def shared(self, kind: str) -> Iterator[list[tuple[str, str]]]:
        """Groups that are in more than one split: `(split, name)` of each."""
        query = (
            "SELECT key, split, name FROM member WHERE kind = ? AND key IN "
            "(SELECT key FROM member WHERE kind = ? GROUP BY key HAVING COUNT(*) > 1) ORDER BY key, split"
        )
        group, last = [], None
        for key, *member in self.base.execute(query, (kind, kind)):
            if key != last and group:
                yield group
                group = []
            group.append(tuple(member))
            last = key
        if group:
            yield group

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *error):
        self.base.close()
        self.path.unlink(missing_ok=True)


def short_digest(kind: str, key: str | bytes) -> bytes:
    """16 bytes for a key of a kind."""
    data = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16, person=kind.encode()[:16]).digest()
