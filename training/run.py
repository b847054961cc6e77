"""A run in its folder: alone, always the same one, from where it stopped to its end."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..corpora.readers import READERS
from ..locks import folder_lock
from .assemble import new_parts
from .checkpoints import naming_a_full_disk, newest_whole_checkpoint
from .clips import BadRowsError
from .facts import FACTS_NAME, read_facts, training_facts, write_facts
from .identity import claim_folder, run_identity
from .run_trainer import RunTrainer


logger = logging.getLogger("audiollm.train")
# Of what a row is refused for in a process that loads data, torch gives the traceback alone; this is its last line.
IN_WORKER = re.compile(r"^Caught (?:Audio|Value)Error in DataLoader.*\n[\w.]*(?:Audio|Value)Error: (.*?)\s*\Z", re.S)


def run(config: Mapping[str, Any], trainer: RunTrainer) -> str:
    """Train in `training.output_dir`, or go on where a killed run stopped; gives the folder of the merged model.

    Args:
        config: the configuration as it is used.
        trainer: that was built of it.

    Raises:
        FolderInUseError: if another training writes to the folder.
        OtherRunError: if the folder holds the run of another configuration.
        DamagedCheckpointError: if no checkpoint of a run that began is whole.
    """
    output, first = Path(str(trainer.args.output_dir)), trainer.is_world_process_zero()
    with folder_lock(output, "training") if first else nullcontext():
        if first:
            new = new_parts(config["model"], trainer.audio_model)
            identity = run_identity(config, trainer.train_dataset, trainer.model, new, trainer.args.world_size)
            begun = [*output.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), *output.glob(FACTS_NAME), *output.glob("model")]
            claim_folder(output, identity, bool(begun), type(trainer.args))
            logger.info("plan\n%s", trainer.report_plan())
        trainer.accelerator.wait_for_everyone()
        final = output / "model"
        facts = read_facts(output)
        if facts and facts["steps"] == trainer.args.max_steps and final.is_dir():
            logger.info("this run is finished (%d steps); its model is in %s", facts["steps"], final)
            return str(final)
        if first:
            trainer.facts = training_facts(config, trainer.train_dataset, asdict(trainer.plan), 0, 0.0, READERS)
        _train(trainer, newest_whole_checkpoint(output, trainer.checkpoint_files()))
        if first:
            with naming_a_full_disk(output):
                trainer.state.save_to_json(str(output / TRAINER_STATE_NAME))
                trainer.save_merged(final)
                write_facts(trainer.facts_so_far(), output)
            logger.info("trained %d steps; the model is in %s", trainer.state.global_step, final)
        trainer.accelerator.wait_for_everyone()
        return str(final)


def _train(trainer: RunTrainer, checkpoint: Path | None):
    """Train to the end of the schedule; a checkpoint that was saved there is loaded, and not trained on by a step."""
    state = checkpoint and TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if state:
        trainer.seconds_before = max((entry.get("seconds", 0.0) for entry in state.log_history), default=0.0)
    if state and state.global_step >= trainer.args.max_steps:
        trainer.state = state
        if not trainer.is_fsdp_enabled:
            trainer._load_from_checkpoint(str(checkpoint))
        return
    try:
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except (ValueError, RuntimeError) as error:
        told = IN_WORKER.search(str(error))
        if told:
            raise BadRowsError(told[1]) from error
        raise
    finally:
        for callback in trainer.callback_handler.callbacks:
            if getattr(callback, "training_bar", None) is not None:
                callback.training_bar.close()  # so that an error begins a line
    trainer.refuse_not_finite(trainer.learnt_tensors())
    step = trainer.state.global_step
    if trainer.is_fsdp_enabled and not (trainer.folder / f"{PREFIX_CHECKPOINT_DIR}-{step}").is_dir():
        # No process has the whole model, so the merged one is made of the last checkpoint.
        trainer._save_checkpoint(trainer.model, None)
