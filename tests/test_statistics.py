"""Intervals and tests equal scipy's where it has them, and hand computations where it hasn't."""

import time

import numpy as np
import pytest
from scipy import stats

from audiollm.eval.statistics import (
    Comparison,
    Interval,
    binomial_p,
    bootstrap,
    class_averages,
    cohen_kappa,
    compare_bootstrap,
    compare_mcnemar,
    compare_randomised,
    holm,
    over_trainings,
    ratio,
    sum_clusters,
    unweighted_average,
    weighted_average,
)


def accuracy_counts(right):
    return np.stack([right, np.ones(len(right))], axis=1)


@pytest.fixture
def answers():
    generator = np.random.default_rng(3)
    first = generator.random(200) < 0.6
    return first, np.where(generator.random(200) < 0.25, ~first, first)


def test_the_interval_of_an_accuracy_equals_scipys_percentile_bootstrap(answers):
    right = answers[0].astype(float)
    (mine,) = bootstrap(accuracy_counts(right), ratio, seed=1)
    theirs = stats.bootstrap((right,), np.mean, n_resamples=10_000, method="percentile", rng=2).confidence_interval
    assert mine.estimate == pytest.approx(100 * right.mean())
    assert mine.low == pytest.approx(100 * theirs.low, abs=1) and mine.high == pytest.approx(100 * theirs.high, abs=1)


def test_the_interval_of_a_ratio_of_sums_equals_scipys():
    generator = np.random.default_rng(0)
    words = generator.integers(1, 30, 120)
    errors = generator.binomial(words, 0.3)
    (mine,) = bootstrap(np.stack([errors, words], 1), ratio)
    theirs = stats.bootstrap(
        (errors, words),
        lambda e, w, axis: 100 * e.sum(axis) / w.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=1,
    ).confidence_interval
    assert mine.low == pytest.approx(theirs.low, abs=0.3) and mine.high == pytest.approx(theirs.high, abs=0.3)


def test_the_same_seed_gives_the_same_interval(answers):
    counts = accuracy_counts(answers[0])
    assert bootstrap(counts, ratio, seed=5) == bootstrap(counts, ratio, seed=5)
    assert bootstrap(counts, ratio, seed=5, resamples=50) != bootstrap(counts, ratio, seed=6, resamples=50)


def test_clusters_are_drawn_whole():
    right = np.repeat([1.0, 0.0], 50)
    alone = bootstrap(accuracy_counts(right), ratio)[0]
    speakers = bootstrap(accuracy_counts(right), ratio, clusters=["a"] * 50 + ["b"] * 50)[0]
    assert (speakers.low, speakers.high) == (0, 100) and alone.high - alone.low < 25


def test_clusters_are_summed_by_name_wherever_they_stand():
    assert sum_clusters(np.array([[1, 2], [3, 4], [5, 6]]), ["x", "y", "x"]).tolist() == [[6, 8], [3, 4]]


def test_class_averages_leave_out_classes_that_do_not_occur():
    sums = np.array([3.0, 0.0, 1.0, 4.0, 0.0, 2.0])  # right of three classes, then all
    assert class_averages(sums).tolist() == pytest.approx([75, np.nan, 50, 62.5, 400 / 6], nan_ok=True)
    assert unweighted_average(sums) == 62.5 and weighted_average(sums) == pytest.approx(400 / 6)


def test_a_rare_class_has_an_interval_from_the_resamples_that_hold_it():
    counts = np.zeros((100, 4))
    counts[0, [0, 2]] = 1  # one answer of the first class, right
    counts[1:, 3] = 1
    rare, _, unweighted, _ = bootstrap(counts, class_averages)
    assert (rare.estimate, rare.low, rare.high) == (100, 100, 100) and unweighted.estimate == 50


def test_without_rows_there_is_no_figure():
    (nothing,) = bootstrap(np.zeros((0, 2)), ratio)
    assert nothing.estimate is None and nothing.low is None
    empty = np.zeros((0, 2))
    assert compare_mcnemar([], []).p_value is None
    assert compare_bootstrap(empty, empty, ratio).p_value is None
    assert compare_randomised(empty, empty, ratio).p_value is None


@pytest.mark.parametrize("count, trials", [(0, 0), (0, 5), (3, 10), (5, 10), (40, 60), (700, 1500)])
def test_the_binomial_p_value_equals_scipys(count, trials):
    expected = stats.binomtest(count, trials).pvalue if trials else 1.0
    assert binomial_p(count, trials) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_looks_only_at_rows_where_the_systems_differ(answers):
    first, second = answers
    result = compare_mcnemar(first, second)
    gained, lost = int(np.sum(second & ~first)), int(np.sum(first & ~second))
    assert result.p_value == pytest.approx(stats.binomtest(lost, gained + lost).pvalue)
    assert result.difference.estimate == pytest.approx(100 * (gained - lost) / 200)
    assert compare_mcnemar(first, first).p_value == 1


def test_randomisation_equals_scipys_permutation_test(answers):
    first, second = (answer.astype(float) for answer in answers)
    mine = compare_randomised(accuracy_counts(first), accuracy_counts(second), ratio)
    theirs = stats.permutation_test(
        (first, second),
        lambda a, b, axis: b.mean(axis) - a.mean(axis),
        permutation_type="samples",
        n_resamples=10_000,
        vectorized=True,
        rng=1,
    )
    assert mine.p_value == pytest.approx(theirs.pvalue, abs=0.02)
    assert mine.difference.estimate == pytest.approx(100 * theirs.statistic)


def test_randomisation_of_few_rows_is_near_the_exact_test():
    first, second = np.zeros((6, 2)), np.zeros((6, 2))
    first[:, 1] = second[:, 1] = 1
    second[:, 0] = 1  # six rows, all better: 2 of 64 swaps are as far apart
    assert compare_randomised(first, second, ratio).p_value == pytest.approx(2 / 64, abs=0.006)


def test_the_paired_bootstrap_agrees_with_mcnemar_on_a_clear_and_on_no_difference(answers):
    first = answers[0]
    better = first | (np.arange(200) % 6 == 0)
    clear = compare_bootstrap(accuracy_counts(first), accuracy_counts(better), ratio)
    assert clear.p_value < 0.01 and clear.difference.low > 0 and compare_mcnemar(first, better).p_value < 0.01
    none = compare_bootstrap(accuracy_counts(first), accuracy_counts(first), ratio)
    assert none.p_value == 1 and none.difference.estimate == 0


@pytest.mark.parametrize(("speakers", "least"), [(1, 1.0), (2, 0.5), (4, 0.125), (6, 2 / 64), (200, 0.0)])
def test_few_speakers_prove_nothing_however_much_they_say(speakers, least):
    first, better = accuracy_counts(np.zeros(200, bool)), accuracy_counts(np.ones(200, bool))
    names = [row % speakers for row in range(200)]
    found = compare_bootstrap(first, better, ratio, clusters=names)
    assert found.units == speakers and found.p_value >= least
    assert found.p_value == pytest.approx(max(least, 2 / 10_001), abs=1e-4)
    exact = compare_randomised(first, better, ratio, clusters=names)
    assert found.p_value == pytest.approx(exact.p_value, abs=0.02)


def test_pairing_makes_the_interval_of_a_difference_narrow(answers):
    first = answers[0]
    better = first.copy()
    better[np.flatnonzero(~first)[:3]] = True
    difference = compare_bootstrap(accuracy_counts(first), accuracy_counts(better), ratio).difference
    alone = bootstrap(accuracy_counts(first), ratio)[0]
    assert difference.high - difference.low < (alone.high - alone.low) / 2


def test_kappa_equals_published_and_hand_computed_examples():
    # scikit-learn's documentation of cohen_kappa_score: 0.6875.
    names = {"negative": 0, "neutral": 1, "positive": 2}
    table = np.zeros((3, 3))
    for a, b in zip(
        ["negative", "positive", "negative", "neutral", "positive"],
        ["negative", "positive", "negative", "neutral", "negative"],
    ):
        table[names[a], names[b]] += 1
    assert cohen_kappa(table.ravel()) == pytest.approx(0.6875)
    # By hand: 35 of 50 agree, by chance 0.5 x 0.6 + 0.5 x 0.4 = 0.5, so (0.7 - 0.5) / 0.5.
    assert cohen_kappa(np.array([20.0, 5.0, 10.0, 15.0])) == pytest.approx(0.4)
    assert np.isnan(cohen_kappa(np.array([9.0, 0.0, 0.0, 0.0])))


def test_holm_orders_and_bounds():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_ten_thousand_resamples_of_melds_test_set_take_seconds():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 7, 2610)
    counts = np.zeros((2610, 14))
    counts[np.arange(2610), label] = generator.random(2610) < 0.5
    counts[np.arange(2610), 7 + label] = 1
    start = time.process_time()
    assert len(bootstrap(counts, class_averages)) == 9
    assert time.process_time() - start < 5


def test_over_trainings_both_spreads_add_up_as_in_welchs_test():
    """Rows' means as one sample and trainings' as the other: scipy's test of their difference has the same form."""
    generator = np.random.default_rng(5)
    rows, trainings = generator.normal(4, 6, 9), generator.normal(0, 2, 4)
    estimate, error = rows.mean() - trainings.mean(), stats.sem(rows)
    found = Comparison("", 0.0, estimate, 0.001, 9, 9, Interval(estimate, 0.0, 1.0), error)
    whole, theirs = over_trainings(found, trainings), stats.ttest_ind(rows, trainings, equal_var=False)
    interval = theirs.confidence_interval()
    assert whole.p_value == pytest.approx(theirs.pvalue)
    assert (whole.difference.low, whole.difference.high) == pytest.approx((interval.low, interval.high))


def test_over_trainings_is_the_paired_t_test_where_rows_are_sure():
    differences = [3.0, 5.0, 4.5]
    found = Comparison("", 0.0, np.mean(differences), 0.001, 90, 90, Interval(np.mean(differences), 4.0, 4.4), 0.0)
    assert over_trainings(found, differences).p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_chance_of_trainings_is_no_difference():
    """Three trainings of each kind that differ by chance alone: rows alone find a difference far too often."""
    generator, of_rows, whole = np.random.default_rng(6), [], []
    for _ in range(300):
        clips, seeds = generator.normal(0, 10, 18), generator.normal(0, 6, (3, 1))
        gains = clips + seeds + generator.normal(0, 12, (3, 18))
        second = np.stack([gains.ravel(), np.full(54, 100.0)], axis=1)
        first, names = second * [0, 1], list(range(18)) * 3
        found = compare_bootstrap(first, second, ratio, names, resamples=400)
        of_rows.append(found.p_value < 0.05)
        whole.append(over_trainings(found, gains.mean(1)).p_value < 0.05)
    assert np.mean(of_rows) > 0.15 and np.mean(whole) < 0.1
