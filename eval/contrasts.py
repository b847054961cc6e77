"""Whether one kind of run is better than another: paired over rows, pooled over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..reporting.plots import COLOURS, FAINT, interval_plot
from . import EvalError
from .metrics import METRICS, Metric, cluster_names
from .results import Run
from .statistics import Comparison, Interval, compare_bootstrap, over_trainings
from .tables import Table, compatible_pairs, interval_cell, p_text


ALPHA = 0.05
SEEN, CONTRARY, UNDECIDED = "seen", "the contrary", "undecided"
VERDICTS = {SEEN: COLOURS[0], CONTRARY: COLOURS[1], UNDECIDED: FAINT}  # with the colour that each is drawn in
# Figures that a comparison of trainings is decided by, beside the headlines.
_ALSO = ("quotation", "quotes_grounded", "cues_true", "squad_f1")


def contrast(
    first: Sequence[Run], second: Sequence[Run], metric: Metric, cluster: str | None = None, seed: int = 0
) -> Comparison | None:
    """The difference of a figure between runs of two kinds.

    Runs of the same place in both lists (of the same seed) are paired row by row, and rows are drawn with the answers
    of all seeds together. Of several seeds the interval is over clips (or clusters of them) and trainings, of one it
    is over clips: what another training would give is not known then.

    Args:
        first, second: runs of each kind, seed by seed.
        metric: the figure.
        cluster: column whose values are drawn whole; rows when left out.
        seed: of the draws.

    Returns:
        None if no rows have the figure.

    Raises:
        EvalError: if there are other numbers of runs on both sides, or runs that can't be compared.
    """
    pairs = _paired(first, second, metric, cluster)
    return _compare(pairs, metric, seed) if pairs else None


@dataclass(frozen=True)
class _Pair:
    """What the rows that two runs have in common add to a figure of each, `[rows, k]`, and the rows' clusters."""

    first: np.ndarray
    second: np.ndarray
    names: list


def _paired(first: Sequence[Run], second: Sequence[Run], metric: Metric, cluster: str | None) -> list[_Pair]:
    """Of each seed that has the figure, of both kinds."""
    if len(first) != len(second):
        raise EvalError(f"{len(first)} runs are to be compared with {len(second)}: evaluate the same seeds of both.")
    pairs = []
    for one, other in zip(first, second):
        ours, its = compatible_pairs(one, other)
        theirs, rows = {row["id"]: row for row in its}, metric.rows(ours)
        if not rows:
            continue
        counts = metric.added(one, rows), metric.added(other, [theirs[row["id"]] for row in rows])
        both = ~np.isnan(np.concatenate(counts, axis=1)).any(axis=1)
        if not both.any():
            continue
        kept = [rows[place] for place in np.flatnonzero(both)]
        names = cluster_names(kept, cluster) or [row["id"] for row in kept]
        pair = _Pair(counts[0][both], counts[1][both], list(names))
        if not np.isnan(_difference(pair, metric)):  # without a quote on one side nothing is said of quotes
            pairs.append(pair)
    return pairs


def _compare(pairs: Sequence[_Pair], metric: Metric, seed: int) -> Comparison:
    first, second = (np.concatenate(side) for side in zip(*((pair.first, pair.second) for pair in pairs)))
    names = [name for pair in pairs for name in pair.names]
    found = compare_bootstrap(first, second, metric.statistic, names, seed=seed)
    return over_trainings(found, [_difference(pair, metric) for pair in pairs]) if len(pairs) > 1 else found


def _difference(pair: _Pair, metric: Metric) -> float:
    return float(metric.statistic(pair.second.sum(0)) - metric.statistic(pair.first.sum(0)))


def _alike(pairs: Sequence[_Pair], metric: Metric, difference: float) -> int:
    """How many seeds differ in the direction of all of them together."""
    signs = np.sign([_difference(pair, metric) for pair in pairs])
    return int(np.sum(signs == np.sign(difference))) if difference else 0


@dataclass(frozen=True)
class Decision:
    """What runs say of a claim by one figure.

    Args:
        claim: which kind is said to be better than which.
        metric: the figure.
        found: the second kind beside the first.
        seeds: trainings of each.
        alike: of these, how many differ in the same direction by themselves.
    """

    claim: str
    metric: Metric
    found: Comparison
    seeds: int
    alike: int

    @property
    def gain(self) -> Interval:
        """The difference, above 0 where it is as claimed."""
        found = self.found.difference
        if self.metric.higher_is_better or found.estimate is None:
            return found
        low, high = (None if bound is None else -bound for bound in (found.high, found.low))
        return Interval(-found.estimate, low, high, found.level)

    @property
    def verdict(self) -> str:
        """One of [`VERDICTS`]."""
        if self.found.p_value is None or not self.found.p_value < ALPHA:
            return UNDECIDED
        return SEEN if (self.gain.estimate or 0) > 0 else CONTRARY

    @property
    def told(self) -> str:
        """The verdict, and whether it is of a single run of each kind."""
        return self.verdict if self.seeds > 1 or self.verdict == UNDECIDED else f"{self.verdict}, of one run"


def decide(
    claims: Sequence[tuple[str, str]], runs: dict[str, list[Run]], cluster: str | None = None, seed: int = 0
) -> list[Decision]:
    """What runs say of claims that one kind of them is better than another, by every figure that they have.

    Args:
        claims: pairs of kinds, of which the second is claimed to be the better.
        runs: by kind, seed by seed, on one set of rows.
        cluster, seed: as in [`contrast`].
    """
    decisions = []
    for worse, better in claims:
        if worse not in runs or better not in runs:
            continue
        for metric in METRICS:
            if not (metric.headline or metric.name in _ALSO):
                continue
            pairs = _paired(runs[worse], runs[better], metric, cluster)
            found = _compare(pairs, metric, seed) if pairs else None
            if found and found.p_value is not None and found.difference.estimate is not None:
                alike = _alike(pairs, metric, found.difference.estimate)
                decisions.append(Decision(f"{better} over {worse}", metric, found, len(pairs), alike))
    return decisions


def claims_table(decisions: Sequence[Decision], cluster: str | None = None, seed: int = 0) -> Table:
    """Claims as a table: seen, the contrary, or undecided. Arguments as for [`decide`], which gives the decisions."""
    lines = [
        (
            decision.claim,
            decision.metric.heading,
            *(found.first, found.second, interval_cell(found.difference, signed=True)),
            *(f"{decision.alike} of {decision.seeds}", p_text(found.p_value), decision.told),
        )
        for decision in decisions
        for found in [decision.found]
    ]
    unit = f"clusters of the same {cluster}" if cluster else "rows"
    several = any(decision.seeds > 1 for decision in decisions)
    over = f"{unit} and, of several seeds by the spread of seeds, over trainings (of one run over {unit} alone)"
    over = over if several else f"{unit}, not over trainings"
    note = (
        f"Percent. Paired bootstrap, with the answers of all seeds to a row drawn together; intervals and p are over "
        f"{over}; seed {seed}. So by seed: trainings that differ in the same direction by themselves. Undecided: p of "
        f"{ALPHA} or more, not corrected for the number of tests."
    )
    columns = ("claim", "figure", "without", "with", "difference", "so by seed", "p", "here")
    return Table("The paper's directions", columns, tuple(lines), note)


def claims_plot(decisions: Sequence[Decision]) -> str | None:
    """Claims as a picture: by figure, how much better what is claimed to be better is; None without any."""
    by_figure: dict[str, list[tuple[str, Interval, str]]] = {}
    for decision in decisions:
        by_figure.setdefault(decision.metric.heading, []).append((decision.claim, decision.gain, decision.verdict))
    return interval_plot(by_figure, VERDICTS, "points, 95% interval")
