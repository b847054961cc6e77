"""One process of a distributed test by rewards: trains unbroken, then stopped and resumed, and writes it down."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from run import Stop
from transformers import TrainerCallback

from audiollm.training import run as runs
from audiollm.training.rl import build_rl_trainer, train_by_rewards


def letters(completions, **columns):
    """How many a's an answer has."""
    return [float(text.count("a")) for text in completions]


class Ending(TrainerCallback):
    """What each process holds when training ends, before the first one merges LoRA."""

    def __init__(self, trainer):
        self.trainer, self.facts = trainer, {}

    def on_train_end(self, args, state, control, **kwargs):
        learnt = self.trainer.learnt_tensors().values()
        self.facts["sum"] = float(sum(value.double().sum() for value in learnt))
        self.facts["hearing_error"] = self.trainer.hearing_error()


def main(path: str, stop: int):
    config = json.loads(Path(path).read_text())
    output = config["training"]["output_dir"]
    trainer = build_rl_trainer(config, lambda rows: {"letters": letters})
    ending = Ending(trainer)
    trainer.add_callback(ending)
    rows: list = []
    score = trainer._calculate_rewards
    trainer._calculate_rewards = lambda inputs, *given: (
        rows.append([row["id"] for row in inputs]) or score(inputs, *given)
    )
    runs.run(config, trainer)
    if stop:
        config["training"]["output_dir"] = f"{output}-resumed"
        stopped = build_rl_trainer(config, lambda rows: {"letters": letters})
        stopped.add_callback(Stop(stop))
        stopped.save_merged = lambda folder: None
        runs.run(config, stopped)
        if dist.get_rank() == 0:
            (Path(config["training"]["output_dir"]) / "training.json").unlink()
        dist.barrier()
        train_by_rewards(config, lambda rows: {"letters": letters})
    facts = {
        "world": dist.get_world_size(),
        "rows": rows,
        **ending.facts,
        "rewards": [entry["reward"] for entry in trainer.state.log_history if "reward" in entry],
        "moved": [sorted(entry["moved"]) for entry in trainer.state.log_history if "checksums" in entry][1:],
    }
    Path(f"{output}-{dist.get_rank()}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]))
