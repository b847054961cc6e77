"""Intervals and paired tests for figures that are functions of sums: accuracy, class averages, WER, Cohen's kappa.

Each row of data (an answer) adds a vector of counts, and a figure is computed from the vectors' sum. So a resample is
a vector of weights, all resamples of a figure are one matrix product, and a cluster (all answers about one clip, or of
one speaker) is a row like any other, whose vector is the sum of its members'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtr, stdtr, stdtrit


RESAMPLES = 10_000
LEVEL = 0.95
_NUMBERS_AT_ONCE = 4_000_000  # drawn numbers in memory together: 32 MB

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval, in the figure's own unit.

    Args:
        estimate: the figure of the data; None if it does not exist (a class without an answer).
        low, high: limits of the interval; None with the estimate, or if no resample has the figure.
        level: share of resamples inside.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float = LEVEL


@dataclass(frozen=True)
class Comparison:
    """Two systems' figures on the same rows.

    Args:
        test: the test's name.
        first, second: their figures; None where there is none.
        p_value: of no difference, two-sided; None without both figures.
        n: paired rows.
        units: what was resampled or swapped: rows, or clusters of them.
        difference: second minus first, with an interval where the test gives one.
        error: the difference's standard error, where the test gives one.
    """

    test: str
    first: float | None
    second: float | None
    p_value: float | None
    n: int
    units: int
    difference: Interval
    error: float | None = None


def bootstrap(
    counts: np.ndarray,
    statistic: Statistic,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Interval]:
    """Percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13).

    Args:
        counts: `[rows, k]`, what each row adds to the sums.
        statistic: maps sums `[..., k]` to figures `[..., m]`; NaN where a figure does not exist.
        clusters: a name for each row; rows with the same name are drawn together.
        resamples: number of them.
        level: share of resamples inside the interval, in (0, 1).
        seed: of the draws.

    Returns:
        One interval for each of the m figures. Resamples without a figure (no answer of a rare class) are left out of
        that figure's interval.
    """
    units = sum_clusters(counts, clusters)
    estimates = np.atleast_1d(statistic(units.sum(0)))
    if not len(units):
        return [Interval(None, None, None, level) for _ in estimates]
    figures = statistic(resample_sums(units, resamples, seed)).reshape(resamples, -1)
    return [_interval(estimate, column, level) for estimate, column in zip(estimates, figures.T)]


def compare_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Statistic,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Paired bootstrap: both systems' rows are drawn together, and the difference of one figure is looked at.

    Args:
        first, second: `[rows, k]` counts of both systems, row by row of the same questions.
        statistic: maps sums `[..., k]` to one figure `[...]`.
        clusters, resamples, level, seed: as for [`bootstrap`].

    Returns:
        The comparison; the p-value is twice the smaller share of resamples on one side of zero, ties on both sides,
        each share counted with one more resample so that it is never zero. It is at least 2 ** (1 - units), the least
        that swapping whole units between the systems could give: resamples of two speakers are all alike, however
        little two speakers say.
    """
    width = first.shape[1]
    units = sum_clusters(np.hstack([first, second]), clusters)

    def difference(sums: np.ndarray) -> np.ndarray:
        return statistic(sums[..., width:]) - statistic(sums[..., :width])

    figures = _figure(statistic(first.sum(0))), _figure(statistic(second.sum(0)))
    if None in figures or not len(units):
        return Comparison(
            "paired bootstrap", *figures, None, len(first), len(units), Interval(None, None, None, level)
        )
    differences = difference(resample_sums(units, resamples, seed))
    defined = differences[~np.isnan(differences)]
    sides = [(1 + np.sum(defined <= 0)) / (1 + len(defined)), (1 + np.sum(defined >= 0)) / (1 + len(defined))]
    interval = _interval(float(difference(units.sum(0))), differences, level)
    p_value = min(1.0, max(2 * float(min(sides)), _least_p(len(units))))
    error = float(defined.std()) if len(defined) else None
    return Comparison("paired bootstrap", *figures, p_value, len(first), len(units), interval, error)


def over_trainings(found: Comparison, differences: Sequence[float], level: float = LEVEL) -> Comparison:
    """A paired bootstrap of trainings' answers, with what those trainings drew by chance counted, too.

    Rows drawn anew say what other clips would have given, of the same trainings. Other seeds would have given others:
    the spread of the trainings' own differences says how much. The squares of both standard errors, of rows and of
    the trainings' mean, add up, and their degrees of freedom are Welch and Satterthwaite's (Satterthwaite 1946).

    Args:
        found: by [`compare_bootstrap`], of the answers of all trainings together.
        differences: of each training by itself; two or more.
        level: of the interval, in (0, 1).

    Returns:
        The comparison, with Student's t for its interval and p-value, which is at least that of `found`'s units.
    """
    if found.error is None or found.difference.estimate is None:
        return found
    rows, trainings = found.error**2, float(np.var(differences, ddof=1)) / len(differences)
    error = math.sqrt(rows + trainings)
    if not error:
        return found
    freedom = error**4 / (trainings**2 / (len(differences) - 1) + rows**2 / max(1, found.units - 1))
    estimate, reach = found.difference.estimate, error * float(stdtrit(freedom, (1 + level) / 2))
    p_value = max(2 * float(stdtr(freedom, -abs(estimate) / error)), _least_p(found.units))
    interval = Interval(estimate, estimate - reach, estimate + reach, level)
    return replace(found, test="paired bootstrap, t", p_value=p_value, difference=interval, error=error)


def compare_randomised(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Statistic,
    clusters: Sequence[Hashable] | None = None,
    rounds: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Approximate randomisation (Noreen 1989): how often random swaps of rows between the systems differ as much.

    Args:
        first, second, statistic, clusters: as for [`compare_bootstrap`].
        rounds: number of random swaps.
        seed: of the swaps.

    Returns:
        The comparison, with p = (rounds at least as far apart + 1) / (rounds + 1).
    """
    width = first.shape[1]
    units = sum_clusters(np.hstack([first, second]), clusters)
    before, after = _figure(statistic(first.sum(0))), _figure(statistic(second.sum(0)))
    figures, name = (before, after), "approximate randomisation"
    if before is None or after is None or not len(units):
        return Comparison(name, *figures, None, len(first), len(units), Interval(None, None, None))
    gaps = units[:, width:] - units[:, :width]
    generator = np.random.default_rng(seed)
    observed, as_far = after - before, 0
    for size in _chunks(rounds, len(units)):
        moved = generator.integers(0, 2, (size, len(units)), dtype=np.int8).astype(np.float64) @ gaps
        swapped = statistic(units[:, width:].sum(0) - moved) - statistic(units[:, :width].sum(0) + moved)
        # Equal up to rounding is as far: sums of counts are exact, their quotients are not.
        as_far += int(np.sum(np.abs(swapped) >= abs(observed) - 1e-12))
    p_value = (as_far + 1) / (rounds + 1)
    return Comparison(name, *figures, p_value, len(first), len(units), Interval(observed, None, None))


def compare_mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Comparison:
    """Exact McNemar test of two systems' right and wrong answers to the same questions (rows count as independent).

    Args:
        first, second: whether each row is right.

    Returns:
        The comparison, in percent right; p is exact: the two-sided binomial test of the rows that one alone got right.
    """
    right, other = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int(np.sum(right & ~other)), int(np.sum(other & ~right))
    shares = (100 * float(right.mean()), 100 * float(other.mean())) if len(right) else (None, None)
    difference = None if shares[0] is None or shares[1] is None else shares[1] - shares[0]
    p_value = binomial_p(only_first, only_first + only_second) if len(first) else None
    return Comparison("exact McNemar", *shares, p_value, len(first), len(first), Interval(difference, None, None))


def binomial_p(count: int, trials: int) -> float:
    """Two-sided p-value of `count` successes in `trials` at a chance of one half."""
    return min(1.0, 2 * float(bdtr(min(count, trials - count), trials, 0.5)))


def sum_clusters(counts: np.ndarray, clusters: Sequence[Hashable] | None) -> np.ndarray:
    """Counts of each cluster, in order of first appearance; without clusters, the rows themselves."""
    counts = np.asarray(counts, np.float64)
    if clusters is None:
        return counts
    numbers: dict[Hashable, int] = {}
    member = [numbers.setdefault(name, len(numbers)) for name in clusters]
    sums = np.zeros((len(numbers), counts.shape[1]))
    np.add.at(sums, member, counts)
    return sums


def resample_sums(units: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Sums `[resamples, k]` of as many units as there are, drawn with replacement."""
    generator, total = np.random.default_rng(seed), len(units)
    sums = []
    for size in _chunks(resamples, total):
        drawn = generator.integers(0, total, (size, total))
        drawn += total * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * total).reshape(size, total)
        sums.append(weights.astype(np.float64) @ units)
    return np.concatenate(sums)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Percentage of two sums `[..., 2]`, part and whole: accuracy of right and all, WER of errors and words."""
    return _percent(sums[..., 0], sums[..., 1])


def class_shares(sums: np.ndarray) -> np.ndarray:
    """Percent right of each class from sums `[..., 2 * classes]`: right answers of each class, then all of each."""
    right, total = np.split(sums, 2, axis=-1)
    return _percent(right, total)


def unweighted_average(sums: np.ndarray) -> np.ndarray:
    """Mean over the classes that occur, of sums as for [`class_shares`]."""
    shares = class_shares(sums)
    some = ~np.isnan(shares)
    with np.errstate(invalid="ignore"):
        return np.where(some, shares, 0).sum(-1) / np.where(some.any(-1), some.sum(-1), np.nan)


def weighted_average(sums: np.ndarray) -> np.ndarray:
    """Percent right of all answers, of sums as for [`class_shares`]."""
    right, total = np.split(sums, 2, axis=-1)
    return _percent(right.sum(-1), total.sum(-1))


def class_averages(sums: np.ndarray) -> np.ndarray:
    """Percent right of each class, then the unweighted and the weighted average: `[..., classes + 2]`."""
    averages = np.stack([unweighted_average(sums), weighted_average(sums)], axis=-1)
    return np.concatenate([class_shares(sums), averages], axis=-1)


def cohen_kappa(sums: np.ndarray) -> np.ndarray:
    """Agreement beyond chance (Cohen 1960) from sums `[..., c * c]` of two raters' table; NaN if both are constant."""
    classes = math.isqrt(sums.shape[-1])
    table = sums.reshape(*sums.shape[:-1], classes, classes)
    total = table.sum((-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        agreement = np.trace(table, axis1=-2, axis2=-1) / total
        chance = (table.sum(-1) * table.sum(-2)).sum(-1) / total**2
        return np.where(chance < 1, (agreement - chance) / (1 - chance), np.nan)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for their number (Holm 1979); those that are None stay None and do not count."""
    ranked = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted, highest = list(p_values), 0.0
    for rank, (p_value, place) in enumerate(ranked):
        highest = max(highest, min(1.0, (len(ranked) - rank) * p_value))
        adjusted[place] = highest
    return adjusted


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, 100 * part / whole, np.nan)


def _interval(estimate: float, figures: np.ndarray, level: float) -> Interval:
    defined = figures[~np.isnan(figures)]
    if np.isnan(estimate) or not len(defined):
        return Interval(_figure(estimate), None, None, level)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), level)


def _figure(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)


def _least_p(units: int) -> float:
    """The least that swapping whole units between two systems can give."""
    return 2.0 ** (1 - units)


def _chunks(rounds: int, width: int) -> list[int]:
    size = max(1, _NUMBERS_AT_ONCE // max(1, width))
    return [min(size, rounds - start) for start in range(0, rounds, size)]
