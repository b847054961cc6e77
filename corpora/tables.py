"""Tables as people have them (CSV, TSV, JSON lines), read row by row in bounded memory; bad rows are told apart."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from .rejects import MAX_FIELD, BadRow, CorpusError, Reject


MAX_LINE = 1 << 20  # characters
MAX_LINES_PER_RECORD = 64  # a quote that is never closed takes at most so many lines with it
_UNDECODED = re.compile("[\udc80-\udcff\ufffd]")
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_TOO_LONG = "\x00line too long\n"


def read_table(
    path: Path, columns: Sequence[str] = (), encoding: str | None = None, kind: str | None = None
) -> Iterator[tuple[str, dict[str, Any]] | Reject]:
    """Rows of a CSV, TSV or JSON-lines file.

    Args:
        path: the file. Columns of a table are parted by commas, semicolons or tabs, as its header is.
        columns: columns that the file must have.
        encoding: of the file; UTF-8, or what its byte-order mark says, when left out.
        kind: `csv` or `jsonl`; told by the name when left out (`.jsonl`, `.ndjson` and `.json` are JSON lines).

    Yields:
        `(where, row)` with the file and line, or a [`Reject`] for a line that cannot be used. A file that is
        missing or lacks a column gives one [`Reject`].

    Raises:
        CorpusError: if the encoding is unknown.
    """
    if not path.is_file():
        yield Reject(str(path), None, "no such file.")
        return
    encoding = _known(encoding) if encoding else _encoding_of(path)
    with path.open(encoding=encoding, errors=_error_handler(encoding), newline="") as file:
        lines = _bounded_lines(file)
        if (kind or _kind(path)) == "jsonl":
            yield from _json_rows(path, lines, columns)
        else:
            first = next(lines, "")
            yield from _csv_rows(path, itertools.chain([first], lines), columns, _delimiter(first, path))


def _kind(path: Path) -> str:
    return "jsonl" if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else "csv"


def _delimiter(header: str, path: Path) -> str:
    """What parts the columns: the commonest of comma, semicolon and tab in the header, outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    return max((usual, ",", ";", "\t"), key=bare.count)


def _encoding_of(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    return next((name for mark, name in _BOMS if start.startswith(mark)), "utf-8")


def _known(encoding: str) -> str:
    """The usual name of an encoding."""
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise CorpusError(f"encoding {encoding!r} is unknown; usual ones are utf-8, cp1252, gb18030.") from error


def _error_handler(encoding: str) -> str:
    return "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def _bounded_lines(file: TextIO) -> Iterator[str]:
    """Lines with their ends; one longer than [`MAX_LINE`] is skipped over and stands as a mark."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            while len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
                line = file.readline(MAX_LINE)
            yield _TOO_LONG
        else:
            yield line


def _check_text(text: str):
    if text.startswith(_TOO_LONG[:-1]):
        raise BadRow(None, f"the line is longer than {MAX_LINE:,} characters.")
    if not text.isascii() and _UNDECODED.search(text):
        raise BadRow(
            None, "bytes that are not in the file's encoding; save it as UTF-8, or name it: --option encoding=cp1252."
        )


def _json_rows(
    path: Path, lines: Iterator[str], columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]] | Reject]:
    for number, line in enumerate(lines, 1):
        where = f"{path.name}, line {number}"
        if not line.strip():
            continue
        try:
            _check_text(line)
            row = parse_json_object(line)
            for column in columns:
                if column not in row:
                    raise BadRow(column, "is missing.")
        except BadRow as error:
            yield error.at(where)
        else:
            yield where, row


def parse_json_object(text: str) -> dict[str, Any]:
    """The object that a line holds; [`BadRow`] if it holds none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(None, f"is not JSON ({' '.join(str(error).split())[:120]}).") from error
    if not isinstance(row, dict):
        raise BadRow(None, f"is a JSON {type(row).__name__}, not an object.")
    return row


def json_file(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; [`CorpusError`] if it does not."""
    try:
        return parse_json_object(path.read_text(encoding="utf-8-sig"))
    except (BadRow, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: {error}") from error


def _csv_rows(
    path: Path, lines: Iterator[str], columns: Sequence[str], delimiter: str
) -> Iterator[tuple[str, dict[str, Any]] | Reject]:
    records = _csv_records(lines, delimiter)
    first = next(records, None)
    if first is None:
        yield Reject(str(path), None, "the file is empty.")
        return
    _, header = first
    problem = _header_problem(header, columns)
    if problem:
        yield problem.at(str(path))
        return
    names = [name.strip() for name in header]
    for number, record in records:
        where = f"{path.name}, line {number}"
        if isinstance(record, BadRow):
            yield record.at(where)
        elif len(record) != len(names):
            yield Reject(where, None, f"has {len(record)} fields, but the header has {len(names)}.")
        else:
            yield where, dict(zip(names, record))


def _header_problem(header: list[str] | BadRow, columns: Sequence[str]) -> BadRow | None:
    if isinstance(header, BadRow):
        return header
    names = [name.strip() for name in header]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        return BadRow(twice, "the header names this column twice.")
    missing = next((column for column in columns if column not in names), None)
    if missing is not None:
        return BadRow(missing, f"the file has no such column; it has {', '.join(names)[:300]}.")
    return None


def _csv_records(lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Records with the number of their first line. After a bad record, reading goes on with the next line."""
    waiting: deque[str] = deque()
    number = 1
    while True:
        taken: list[str] = []

        def feed(taken: list[str] = taken) -> Iterator[str]:
            while len(taken) < MAX_LINES_PER_RECORD:
                line = waiting.popleft() if waiting else next(lines, None)
                if line is None:
                    return
                taken.append(line)
                yield line

        try:
            record: list[str] | BadRow | None = next(csv.reader(feed(), delimiter=delimiter, strict=True), None)
            if record:
                for line in taken:
                    _check_text(line)
                _check_length(record)
        except csv.Error as error:
            record = BadRow(None, _csv_reason(error, len(taken)))
            waiting.extendleft(reversed(taken[1:]))
            del taken[1:]
        except BadRow as error:
            record = error
        if record is None and not taken:
            return
        if record:
            yield number, record
        number += len(taken)


def _csv_reason(error: csv.Error, lines: int) -> str:
    if "field larger than" in str(error):
        return f"a field is longer than {MAX_FIELD:,} characters."
    unclosed = lines == MAX_LINES_PER_RECORD or "unexpected end" in str(error)
    return "a quote is opened and never closed." if unclosed else f"the quotes are malformed ({error})."


def _check_length(record: list[str]):
    if any(len(field) > MAX_FIELD for field in record):
        raise BadRow(None, f"a field is longer than {MAX_FIELD:,} characters.")
