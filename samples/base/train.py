"""Train one leg of the tiny base: `python -m audiollm.samples.base.train --config samples/base/1-hearing.yaml`.

A configuration is one of `train_sft.py`, with `ctc` in its rounds and a section `hearing` (`augment`, `position_gap`).
"""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path

import yaml

from audiollm.samples.base.augmentation import Augmentation
from audiollm.samples.base.hearing import HearingCollator, HearingTrainer
from audiollm.training.run import run
from audiollm.training.sft import build_trainer


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    config = yaml.safe_load(Path(options.config).read_text(encoding="utf-8"))
    hearing = dict(config.pop("hearing", {}))
    augment = Augmentation(**hearing.pop("augment")) if "augment" in hearing else None
    collator = partial(HearingCollator, augment=augment, seed=config["training"]["seed"], **hearing)
    run(config, build_trainer(config, trainer_type=HearingTrainer, collator_type=collator))


if __name__ == "__main__":
    main()
