"""Counts beside the published ones, with every difference named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .reader import SPLITS, Published, Reader


NUMBERS = (False, False, False, False, True, True, True, False)  # columns of the table
Key = tuple[str | None, str | None, str | None, str | None, str | None]  # corpus, split, subset, task, label


@dataclass(frozen=True)
class Comparison:
    """One published count and what is there.

    Args:
        corpus: counted.
        published: the counts it is one of.
        label: the class; `None` for the total.
        stated: the published count.
        found: rows that are there.
        rejected: rows of the same kind that were set aside when the corpus was read.
    """

    corpus: str
    published: Published
    label: str | None
    stated: int
    found: int
    rejected: int

    @property
    def difference(self) -> int:
        return self.found - self.stated

    def place(self) -> str:
        """Which rows these are."""
        parts = (
            self.corpus,
            self.published.split or "all splits",
            self.published.subset,
            self.published.task,
            self.label,
        )
        return " ".join(part for part in parts if part)

    def sentence(self) -> str:
        """The difference, and why, as far as it is known."""
        much = f"{abs(self.difference):,} {'more' if self.difference > 0 else 'fewer'}"
        stated = f"{self.stated:,} published ({self.published.source})"
        return f"{self.place()}: {self.found:,} rows, {stated}: {much}{self.why()}"

    def why(self) -> str:
        """What explains the difference; empty if nothing is known."""
        known = []
        if self.rejected and self.difference < 0:
            rest = self.difference + self.rejected
            known.append(f"{self.rejected:,} set aside" + (f", {abs(rest):,} unexplained" if rest else ""))
        if self.published.note:
            known.append(self.published.note)
        return f"; {'; '.join(known)}" if known else ""

    def as_json(self) -> dict[str, Any]:
        """As in `verify.json`."""
        return {
            "corpus": self.corpus,
            "split": self.published.split,
            "subset": self.published.subset,
            "task": self.published.task,
            "label": self.label,
            "source": self.published.source,
            "published": self.stated,
            "found": self.found,
            "set_aside": self.rejected,
            "difference": self.difference,
            "why": self.why().removeprefix("; "),
        }


def compare(counts: Counter[Key], rejected: Counter[Key], readers: Mapping[str, Reader]) -> list[Comparison]:
    """All comparisons for corpora, splits and tasks of which there are rows."""
    found = []
    for corpus in dict.fromkeys(key[0] for key in counts if key[0] is not None):
        for published in readers[corpus].published if corpus in readers else ():
            if _sum(counts, corpus, published, None):
                found += _comparisons(counts, rejected, corpus, published)
    return found


def _comparisons(counts: Counter[Key], rejected: Counter[Key], corpus: str, published: Published) -> list[Comparison]:
    labels = [label for label in published.counts if label is not None]
    rows = [
        Comparison(
            corpus,
            published,
            label,
            published.counts[label],
            _sum(counts, corpus, published, label),
            _sum(rejected, corpus, published, label, subset=False),
        )
        for label in labels
    ]
    total = _sum(counts, corpus, published, None), _sum(rejected, corpus, published, None, subset=False)
    return [*rows, Comparison(corpus, published, None, published.total, *total)]


def _sum(counts: Counter[Key], corpus: str, published: Published, label: str | None, subset: bool = True) -> int:
    return sum(
        rows
        for (of, split, part, task, said), rows in counts.items()
        if of == corpus
        and task == published.task
        and published.split in (None, split)
        and (not subset or published.subset in (None, part))
        and label in (None, said)
    )


def table(counts: Counter[Key], comparisons: list[Comparison]) -> str:
    """Rows by corpus, split, task and label, with each published count and the difference."""
    stated: dict[tuple, list[Comparison]] = {}
    for item in comparisons:
        place = (item.corpus, item.published.split, item.published.subset, item.published.task, item.label)
        stated.setdefault(place, []).append(item)
    lines = [("corpus", "split", "task", "label", "rows", "published", "difference", "source")]
    for key, rows in _with_totals(counts):
        corpus, split, subset, task, label = key
        beside = stated.pop(key, []) + (stated.pop((corpus, split, None, task, label), []) if subset else [])
        place = (str(corpus), str(split) + (f" ({subset})" if subset else ""), str(task), label or "all")
        lines += [(*place, f"{rows:,}", *_cells(item)) for item in beside] or [(*place, f"{rows:,}", "", "", "")]
    for (corpus, split, subset, task, label), items in stated.items():
        where = " ".join(filter(None, (split or "all splits", f"({subset})" if subset else None)))
        lines += [(corpus, where, task, label or "all", f"{item.found:,}", *_cells(item)) for item in items]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(_pad(line, widths)).rstrip() for line in lines)


def _cells(item: Comparison) -> tuple[str, str, str]:
    return f"{item.stated:,}", f"{item.difference:+,}" if item.difference else "none", item.published.source


def _pad(line: tuple[str, ...], widths: list[int]) -> list[str]:
    numbers = (4, 5, 6)
    return [
        cell.rjust(width) if at in numbers else cell.ljust(width) for at, (cell, width) in enumerate(zip(line, widths))
    ]


def _with_totals(counts: Counter[Key]) -> list[tuple[Key, int]]:
    """Counts with a total under each group of labels, in the order of splits."""
    groups: dict[tuple, dict[str | None, int]] = {}
    for (*place, label), rows in counts.items():
        groups.setdefault(tuple(place), {})[label] = rows
    lines = []
    for place in sorted(groups, key=_place_order):
        labels = groups[place]
        lines += [
            ((*place, label), rows) for label, rows in sorted(labels.items(), key=lambda pair: -pair[1]) if label
        ]
        lines.append(((*place, None), sum(labels.values())))
    return lines


def _place_order(place: tuple) -> tuple:
    corpus, split, subset, task = place
    return str(corpus), SPLITS.index(split) if split in SPLITS else len(SPLITS), str(subset or ""), str(task)
