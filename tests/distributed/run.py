"""One process of a distributed test: trains unbroken, then stopped and resumed, and writes down what happened."""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from transformers import TrainerCallback

from audiollm.training import sft
from audiollm.training.run import run


class Stop(TrainerCallback):
    """Ends a run early, as a kill would: without saving."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def watched(config: dict, seen: list, stop: int = 0):
    """A trainer that notes the tasks and number of rows that its process trains on, step by step."""
    trainer = sft.build_trainer(config)
    collate = trainer.data_collator

    def noting(rows):
        seen.append([rows[0]["place"] // trainer.plan.rows_per_step, sorted({row["task"] for row in rows}), len(rows)])
        return collate(rows)

    trainer.data_collator = noting
    if stop:
        trainer.add_callback(Stop(stop))
    return trainer


def main(path: str, stops: list[int]):
    config = json.loads(Path(path).read_text())
    output = config["training"]["output_dir"]
    seen: list = []
    trainer = watched(config, seen)
    run(config, trainer)
    if stops:
        config["training"]["output_dir"] = f"{output}-resumed"
        for stop in stops:
            run(config, watched(config, [], stop))
        sft.train(config)
    facts = {
        "world": dist.get_world_size(),
        "rank": dist.get_rank(),
        "sharded": trainer.is_fsdp_enabled,
        "windows": seen,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "moved": [sorted(entry["moved"]) for entry in trainer.state.log_history if "checksums" in entry][1:],
    }
    Path(f"{output}-{dist.get_rank()}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], [int(step) for step in sys.argv[2:]])
