"""CSV files for spreadsheets: nothing from data acts as a formula, and what comes back is read kindly."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import EvalError


# As which tables are printed.
FORMATS = ("markdown", "latex", "csv")


# A cell that starts with one of these is computed, not shown, by common spreadsheets (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_DELIMITERS = (",", ";", "\t")


def safe_text(text: str) -> str:
    """A text that a spreadsheet shows as it is: an apostrophe in front of what would be a formula."""
    # Also where spaces hide the sign, for some programs strip them; NUL bytes end a file for others.
    text = text.replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) or text.lstrip().startswith(_FORMULA_STARTS) else text


def write_rows(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; texts made safe, numbers as they are, None empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(["" if c is None else safe_text(c) if isinstance(c, str) else c for c in row] for row in rows)
    return text.getvalue()


def read_sheet(path: str | Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file that a spreadsheet may have written again.

    Takes UTF-8 with and without a byte order mark, UTF-16 with one, and Windows-1252; commas, semicolons or tabs;
    other column orders and further columns; headings in other case or with spaces around; empty lines.

    Args:
        path: the file.
        wanted: headings that must be there.

    Returns:
        For each row its cells by wanted heading, without outer spaces, and its line under `line`.

    Raises:
        FileNotFoundError: if there is no such file.
        EvalError: if it is a workbook and no CSV file, or headings are missing.
    """
    path = Path(path)
    content = path.read_bytes()
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise EvalError(f"{path} is a spreadsheet's own format; save it as CSV.")
    text = _decode(content)
    first = next((line for line in text.splitlines() if line.strip(_delimiters_and_spaces())), "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    places: dict[str, int] | None = None
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if places is None:
            headings = [cell.strip().lower() for cell in cells]
            missing = [name for name in wanted if name.lower() not in headings]
            if missing:
                raise EvalError(f"{path}, line {reader.line_num}: no column {', '.join(missing)}; found {headings}.")
            places = {name: headings.index(name.lower()) for name in wanted}
            continue
        padded = cells + [""] * (1 + max(places.values()) - len(cells))
        rows.append({name: padded[place].strip() for name, place in places.items()} | {"line": reader.line_num})
    return rows


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimiters_and_spaces() -> str:
    return "".join(_DELIMITERS) + " \ufeff"
