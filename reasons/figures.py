"""Figures of an extraction, and a sample of it, read in one pass over the rows and one over the journal."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..language_models.journal import read_journal_at
from ..modeling_audiollm.evidence import find_quotes, ground_quote, normalised_words
from .checks import without_quotes
from .extract import ACCEPTED, ATTEMPTS, ERROR, REFUSED, Answers
from .rows import TEACHER_TARGETS, Input, Job, Unfit


# Distinct-n falls with the number of texts, so it is measured on so many at most.
TEXTS_COMPARED = 2_000
OVERLAP_WORDS = OPENING_WORDS = 4


class Reservoir:
    """So many items of a stream, each with the same chance."""

    def __init__(self, size: int, seed: str):
        self.size, self.items, self.seen = size, [], 0
        self._random = random.Random(seed)

    def add(self, item: Any):
        self.seen += 1
        if len(self.items) < self.size:
            self.items.append(item)
        elif (place := self._random.randrange(self.seen)) < self.size:
            self.items[place] = item


@dataclass
class TargetFigures:
    """Figures of one target.

    Args:
        outcomes: jobs by outcome, as reports say it.
        labels: jobs by `(task, label)` and whether they are accepted.
        faults: refused answers by what was wrong, and `answers` in all.
        reasked: jobs that were answered more than once.
        words: accepted answers by their number of words.
        quotes: quotes in accepted answers by how the transcript holds them.
        quoting: accepted answers that quote.
        openings: accepted answers by their first words after the verdict's sentence, quotes left out.
        texts: a sample of accepted answers.
    """

    outcomes: Counter = field(default_factory=Counter)
    labels: Counter = field(default_factory=Counter)
    faults: Counter = field(default_factory=Counter)
    answers: int = 0
    reasked: int = 0
    words: Counter = field(default_factory=Counter)
    quotes: Counter = field(default_factory=Counter)
    quoting: int = 0
    openings: Counter = field(default_factory=Counter)
    texts: Reservoir = field(default_factory=lambda: Reservoir(TEXTS_COMPARED, "texts"))

    @property
    def accepted(self) -> int:
        return self.outcomes["at once"] + self.outcomes["again"]

    @property
    def answered(self) -> int:
        return sum(self.labels.values())

    @property
    def jobs(self) -> int:
        return sum(self.outcomes.values())


@dataclass
class Figures:
    """Figures by target, samples of accepted answers by `(target, task, label)`, and of those set aside."""

    targets: dict[str, TargetFigures]
    samples: dict[tuple[str, str, str], Reservoir]
    aside: Reservoir
    unfit: int = 0


def collect_figures(
    source: Input, folder: Path, per_label: int = 4, refused: int = 12, attempts: int = 3, seed: int = 0
) -> Figures:
    """Read the rows of an extraction and its journal.

    Args:
        source: the rows.
        folder: of the extraction.
        per_label: accepted answers to sample for each target, task and label.
        refused: answers to sample of those set aside.
        attempts: a job refused so often is set aside.
        seed: of the samples.
    """
    answers = Answers(folder)
    figures = Figures(defaultdict(TargetFigures), {}, Reservoir(refused, f"{seed} aside"))
    for _, entry in read_journal_at(folder / ATTEMPTS):
        if "text" in entry and not entry.get("reviewed"):
            target = figures.targets[entry["target"]]
            target.answers += 1
            if entry["state"] == REFUSED:
                target.faults.update({fault["code"] for fault in entry["faults"][-1]})
    asked = [target for target in TEACHER_TARGETS if target in figures.targets]
    for row in source:
        if isinstance(row, Unfit):
            figures.unfit += 1
    for job in source.jobs(asked):
        _count_job(figures, job, answers.entry(job.key), answers.is_open(job.key, attempts), per_label, seed)
    figures.targets = {target: figures.targets[target] for target in asked}
    return figures


def _count_job(figures: Figures, job: Job, entry: dict | None, is_open: bool, per_label: int, seed: int):
    target, label = figures.targets[job.target], (job.row["task"], job.row["label"])
    if entry is None or entry["state"] == ERROR:
        target.outcomes["open" if entry is None else "failed"] += 1
        return
    accepted = entry["state"] == ACCEPTED
    target.labels[*label, accepted] += 1
    target.reasked += entry["asked"] > 1
    if not accepted:
        target.outcomes["open" if is_open else "aside"] += 1
        figures.aside.add((job, entry))
        return
    target.outcomes["at once" if entry["asked"] == 1 else "again"] += 1
    key = (job.target, *label)
    figures.samples.setdefault(key, Reservoir(per_label, f"{seed} {key}")).add((job, entry))
    text = entry["text"]
    words = normalised_words(text)
    target.words[len(words)] += 1
    quotes = find_quotes(text)
    target.quoting += bool(quotes)
    target.quotes.update(ground_quote(quote.text, job.row["transcript"]).kind or "not said" for quote in quotes)
    target.openings[" ".join(normalised_words(without_quotes(text).partition(". ")[2])[:OPENING_WORDS])] += 1
    target.texts.add(text)


def distinct(texts: list[str], n: int) -> float | None:
    """Share of different ones among all runs of n words; `None` where there are none."""
    runs = [run for text in texts for run in _runs(text, n)]
    return len(set(runs)) / len(runs) if runs else None


def overlap(texts: list[str], n: int = OVERLAP_WORDS) -> float | None:
    """Mean share of a text's runs of n words that another text has too: 1 when all say the same."""
    runs_of = [set(_runs(text, n)) for text in texts]
    holders = Counter(run for runs in runs_of for run in runs)
    shares = [sum(holders[run] > 1 for run in runs) / len(runs) for runs in runs_of if runs]
    return sum(shares) / len(shares) if shares else None


def _runs(text: str, n: int) -> list[tuple[str, ...]]:
    words = normalised_words(text)
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
