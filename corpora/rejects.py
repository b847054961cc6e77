"""Rows that are set aside, each with its reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


MAX_FIELD = 1 << 16  # characters of a text field


class CorpusError(ValueError):
    """A corpus folder that is not laid out as its reader expects; names the folder and what was looked for."""


@dataclass(frozen=True)
class Reject:
    """A row that was set aside.

    Args:
        where: file and line, or the file.
        field: what was at fault, where one field was.
        reason: why, in a sentence.
        corpus, split, task, label: of the row, as far as they are known.
    """

    where: str
    field: str | None
    reason: str
    corpus: str | None = None
    split: str | None = None
    task: str | None = None
    label: str | None = None

    def entry(self) -> dict[str, Any]:
        """As a line of the reject file."""
        return asdict(self)


class BadRow(ValueError):
    """What is wrong with a row; `field` names the field at fault."""

    def __init__(self, field: str | None, reason: str):
        super().__init__(reason)
        self.field, self.reason = field, reason

    def at(self, where: str, **known: str | None) -> Reject:
        """The row as a [`Reject`]."""
        return Reject(where, self.field, self.reason, **known)
