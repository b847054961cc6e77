"""How often tests at 5 % find a difference between two methods that differ by chance alone, and how often a true one.

A study is drawn: `--trainings` runs of each method and answers of `--speakers` speakers. What a speaker gains differs
by chance (10 points), so does what a training gains (`--spread`), and a speaker's answers to each training (12).
Tests are over speakers alone, as for one training, and over speakers and trainings, as in studies of several.

python benchmarks/intervals.py --trainings 2 3 5 --spread 0 3 6 --gain 0 10
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np
from tqdm import tqdm

from audiollm.eval.statistics import compare_bootstrap, over_trainings, ratio


SPEAKER, ANSWER = 10.0, 12.0


def decided(generator: np.random.Generator, gain: float, spread: float, trainings: int, speakers: int) -> list[bool]:
    """Whether one drawn study decides, by speakers alone and by speakers and trainings."""
    gains = gain + generator.normal(0, SPEAKER, speakers) + generator.normal(0, spread, (trainings, 1))
    gains = gains + generator.normal(0, ANSWER, (trainings, speakers))
    after = np.stack([gains.ravel(), np.full(gains.size, 100.0)], axis=1)
    names = list(range(speakers)) * trainings
    alone = compare_bootstrap(after * [0, 1], after, ratio, names, resamples=1000)
    return [found.p_value < 0.05 for found in (alone, over_trainings(alone, list(gains.mean(1))))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, nargs="+", default=[3], help="of each method")
    parser.add_argument("--spread", type=float, nargs="+", default=[3.0, 6.0], help="of trainings, in points")
    parser.add_argument("--gain", type=float, nargs="+", default=[0.0], help="of the second method, in points")
    parser.add_argument("--speakers", type=int, default=18)
    parser.add_argument("--studies", type=int, default=1000, help="drawn for each line")
    options = parser.parse_args()
    print("| trainings | they differ by | gain | decided of 100, by speakers | by speakers and trainings |")
    print("|---:|---:|---:|---:|---:|")
    for trainings, spread, gain in product(options.trainings, options.spread, options.gain):
        generator = np.random.default_rng(0)
        studies = tqdm(
            range(options.studies), desc=f"{trainings} trainings, spread {spread:g}, gain {gain:g}", leave=False
        )
        found = [decided(generator, gain, spread, trainings, options.speakers) for _ in studies]
        alone, both = 100 * np.mean(found, axis=0)
        print(f"| {trainings} | {spread:g} | {gain:g} | {alone:.1f} | {both:.1f} |", flush=True)


if __name__ == "__main__":
    main()
