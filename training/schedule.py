"""Schedules as data: which tasks are trained, which parts learn, for how long.

A schedule is a list of rounds. Sampler, callback and report read the same plan, which is made of the schedule and the
rows at hand, so they can't disagree about the round of a step.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from peft import PeftModel
from torch import nn

from ..corpora.schema import EMOTION_TASKS, SPEECH_TASKS, TASKS
from ..modeling_audiollm import AudioLLMForConditionalGeneration
from .strict import ConfigError, read_section


PARTS = ("speech_encoder", "speech_adapter", "emotion_encoder", "emotion_adapter", "adapter", "lora", "language_model")
NEVER_LEARNS = "speech_decoder"  # whose words are tokens, through which no gradient goes
ADAPTERS = ("speech_adapter", "emotion_adapter", "adapter")


class ScheduleError(ValueError):
    """A schedule that cannot be right; names the round and what to do."""


@dataclass(frozen=True)
class Round:
    """One stretch of training.

    Args:
        tasks: tasks whose rows are seen.
        train: parts that learn; all others are frozen.
        epochs: passes over the rows of these tasks; a fraction takes the first part of a shuffled pass.
        learning_rate: of this round, `lr` for short; that of the training arguments when left out. The scheduler's
            shape (warmup, decay) goes over the whole run, and is scaled to it.
        anneal: whether that shape goes over this round alone, so that what a later round builds on has settled.
        average: weight of the past in a running average of what learns, which takes its place when the round ends (0:
            none; 0.98 averages over some 50 steps). It takes the noise of the last steps out.
        label: weight of a classification loss by the rows' labels (0: none), which teaches how feelings sound before
            the language model is to tell them: the emotion encoder, by its frames; or, where that does not learn,
            an adapter (of those that do the emotion adapter, else the one over both encoders, else that of speech),
            by how near its tokens come to the language model's words for the labels.
        align: weight of [`AudioLLMAlignment`]'s loss, by the rows' transcripts (0: none), which teaches the adapter
            that hears speech the language model's own words, without running it.
        lm: weight of the language-model loss; 0 trains by the other losses only, which reach fewer parts.
        speeds: at which clips are heard, whole percents from 0.5 to 2; each row of the round draws one by its place.
            Pitch and pace change together, so that few voices sound like more (none: clips as they are). Not where
            the language model learns to tell of a voice, which would be another.
    """

    # Losses on an encoder's frames: the field that weighs one, and the part that it reaches.
    encoder_losses: ClassVar[dict[str, str]] = {"label": "emotion_encoder"}
    # The first of these parts that learns is the one that it reaches instead, where the encoder does not learn.
    adapter_losses: ClassVar[dict[str, tuple[str, ...]]] = {"label": ("emotion_adapter", "adapter", "speech_adapter")}

    tasks: tuple[str, ...]
    train: tuple[str, ...]
    epochs: float = 1.0
    learning_rate: float | None = None
    anneal: bool = False
    average: float = 0.0
    label: float = 0.0
    align: float = 0.0
    lm: float = 1.0
    speeds: tuple[float, ...] = ()

    @property
    def weighed(self) -> dict[str, str]:
        """The losses on encoders' frames and adapters' tokens that this round weighs, with the part of each."""
        parts = {name: part for name, part in self.encoder_losses.items() if getattr(self, name)}
        for name, adapters in self.adapter_losses.items():
            taught = next((adapter for adapter in adapters if adapter in self.train), None)
            if taught and parts.get(name) not in (None, *self.train):
                parts[name] = taught
        return parts

    def teaches_labels(self, adapter: str) -> bool:
        """Whether an adapter learns the language model's words for emotions."""
        return self.weighed.get("label") == adapter and "er" in self.tasks

    @property
    def reached(self) -> set[str]:
        """Parts that losses beside the language model's reach."""
        weighed = {*self.weighed.values()}
        through = {"speech_encoder"} if weighed & {"speech_adapter", "adapter"} else set()
        aligned = {"speech_encoder", "speech_adapter", "emotion_encoder", "adapter"} if self.align else set()
        return {*weighed, *through, *aligned}


def _named(parts: Sequence[str]) -> dict[str, list[Round]]:
    """The paper's schedules for a model that has `parts` (section 3.3 and, for `inject`, section 6)."""

    def keep(*wanted: str) -> tuple[str, ...]:
        return tuple(part for part in wanted if part in parts)

    speech = keep("speech_encoder", "speech_adapter", "adapter", "lora")
    emotion = keep("emotion_encoder", "emotion_adapter", "adapter", "lora")
    everything = keep("speech_encoder", "emotion_encoder", *ADAPTERS, "lora")
    closing = Round(TASKS, keep(*ADAPTERS, "lora"), 1)
    once = [Round(SPEECH_TASKS, speech, 1), Round(EMOTION_TASKS, emotion, 1)]
    return {
        "joint": [Round(TASKS, everything, 5)],
        "alt-1": [*once * 4, closing],
        "alt-4": [Round(SPEECH_TASKS, speech, 4), Round(EMOTION_TASKS, emotion, 4), closing],
        "inject": [Round(EMOTION_TASKS, emotion, 4), closing],
    }


SCHEDULES = tuple(_named(PARTS))


def read_schedule(
    spec: str | Sequence[dict[str, Any]], parts: Sequence[str], round_type: type[Round] = Round
) -> list[Round]:
    """A schedule from its name, or from a list of rounds as YAML gives it.

    Args:
        spec: one of `joint`, `alt-1`, `alt-4`, `inject`, or mappings with the fields of `round_type`.
        parts: parts that the model has.
        round_type: [`Round`], or a class with fields of its own.

    Raises:
        ScheduleError: for an unknown name, field, task or part, or a part that the model does not have.
    """
    if isinstance(spec, str):
        named = _named(parts)
        if spec not in named:
            raise ScheduleError(f"Unknown schedule {spec!r}; it is one of {', '.join(named)}, or a list of rounds.")
        if spec != "joint" and "emotion_encoder" not in parts:
            raise ScheduleError(f"Schedule {spec!r} needs an emotion encoder; this model has none.")
        return named[spec]
    rounds = read_rounds(spec, round_type)
    for number, round_ in enumerate(rounds, 1):
        _check_names(number, "part", round_.train, parts)
        for name, part in round_.weighed.items():
            if part not in parts:
                raise ScheduleError(f"Round {number}: {name} is a loss on the {part}; this model has none.")
            hears = next((adapter for adapter in round_.adapter_losses.get(name, ()) if adapter in parts), part)
            if part in ADAPTERS and part != hears:
                raise ScheduleError(
                    f"Round {number}: {name} would teach the {part}, but in this model the {hears} is to learn it; "
                    "put that into `train`."
                )
    return rounds


def read_rounds(spec: Any, round_type: type[Round] = Round) -> list[Round]:
    """Rounds as YAML gives them, whatever parts the model has.

    Raises:
        ScheduleError: for an unknown field, task or part, or a value that cannot be right.
    """
    if not isinstance(spec, list | tuple):
        raise ScheduleError(f"schedule is {spec!r}; it must be one of {', '.join(SCHEDULES)}, or a list of rounds.")
    rounds = []
    for number, line in enumerate(spec, 1):
        if isinstance(line, Mapping) and "lr" in line:
            if "learning_rate" in line:
                raise ScheduleError(f"Round {number}: `lr` and `learning_rate` are the same field; give one.")
            line = {"learning_rate" if name == "lr" else name: value for name, value in line.items()}
        try:
            round_ = read_section(round_type, line, f"schedule.{number - 1}")
        except ConfigError as error:
            raise ScheduleError(f"Round {number}: {error}") from error
        _check_names(number, "task", round_.tasks, TASKS)
        _check_names(number, "part", round_.train, PARTS)
        _check_numbers(number, round_)
        rounds.append(round_)
    for place in range(len(rounds)):
        _check_weighed(place, rounds)
    return rounds


def _check_weighed(place: int, rounds: Sequence[Round]):
    """A loss has a part that learns by it: in this round, or in a later one, whose head then learns beforehand."""
    for name, part in rounds[place].weighed.items():
        if not any(part in later.train for later in rounds[place:] if later.weighed.get(name) == part):
            taught = (rounds[place].encoder_losses[name], *rounds[place].adapter_losses.get(name, ()))
            raise ScheduleError(
                f"Round {place + 1}: {name} is a loss on {', '.join(taught)}, and none of these is in its `train`."
            )


def _check_names(number: int, kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    if not names:
        raise ScheduleError(f"Round {number}: needs `tasks` and `train`, each with at least one name.")
    for name in names:
        if name not in known:
            raise ScheduleError(f"Round {number}: {kind} {name!r} is not one of {', '.join(known)}.")


def _check_numbers(number: int, round_: Round):
    for name in ("epochs", "learning_rate", "average", "align", "lm", *round_.encoder_losses):
        value = getattr(round_, name)
        positive = name in ("epochs", "learning_rate")
        if value is not None and (not math.isfinite(value) or value < 0 or (positive and value == 0)):
            raise ScheduleError(
                f"Round {number}: {name} is {value:g}; it must be {'above' if positive else 'at least'} 0."
            )
    wrong = [speed for speed in round_.speeds if not 0.5 <= speed <= 2 or abs(100 * speed - round(100 * speed)) > 1e-6]
    if wrong:
        raise ScheduleError(f"Round {number}: speeds are whole percents from 0.5 to 2, and {wrong[0]:g} is not.")
    if round_.speeds and round_.lm and set(round_.tasks) & set(EMOTION_TASKS):
        raise ScheduleError(
            f"Round {number}: answers to {' and '.join(EMOTION_TASKS)} tell of the voice as it is, which `speeds` "
            "would change; set lm to 0, or leave speeds out."
        )
    if round_.average >= 1:
        raise ScheduleError(f"Round {number}: average is {round_.average:g}; it must be below 1.")
    if round_.align and round_.weighed:
        raise ScheduleError(f"Round {number}: align and {', '.join(round_.weighed)} need rounds of their own.")
    if round_.align and not {"speech_adapter", "adapter"} & set(round_.train):
        raise ScheduleError(f"Round {number} has align, which teaches the speech_adapter; add it to `train`.")
    reached = sorted(round_.reached)
    if round_.lm == 0 and not reached:
        names = ", ".join((*round_.encoder_losses, "align"))
        raise ScheduleError(f"Round {number}: {names} and lm are all 0, so nothing is learnt.")
    if round_.lm not in (0, 1) and not reached:
        raise ScheduleError(
            f"Round {number}: lm is {round_.lm:g}, but there is no other loss to weigh it against: leave it out."
        )
    deaf = [part for part in round_.train if part not in reached]
    if round_.lm == 0 and deaf:
        raise ScheduleError(
            f"Round {number} trains without the language model (lm: 0), which reaches {' and '.join(reached)} only; "
            f"{', '.join(deaf)} would never learn in it."
        )


def leave_out_missing(rounds: Sequence[Round], tasks: Iterable[str]) -> tuple[list[Round], list[str]]:
    """A named schedule for a corpus that does not have all tasks, and the tasks that it lacks.

    Args:
        rounds: the schedule.
        tasks: that have rows.

    Raises:
        ScheduleError: if no round is left.
    """
    here = set(tasks)
    lacking = [task for task in TASKS if task not in here and any(task in round_.tasks for round_ in rounds)]
    kept = [replace(round_, tasks=tuple(task for task in round_.tasks if task in here)) for round_ in rounds]
    kept = [round_ for round_ in kept if round_.tasks]
    if not kept:
        raise ScheduleError(f"There are no rows of any task of the schedule ({', '.join(lacking)}).")
    return kept, lacking


def stretch(rounds: Sequence[Round], tasks: Sequence[str], rows_per_step: int, steps: int) -> list[Round]:
    """A schedule made longer or shorter, each round in proportion, so that schedules can be compared at equal steps.

    Args:
        rounds: the schedule.
        tasks: of the rows, one entry a row.
        rows_per_step: that one optimizer step takes.
        steps: that the whole schedule is to take.

    Raises:
        ScheduleError: if there are fewer steps than rounds, or a round has no rows.
    """
    plan = Plan.of(rounds, tasks, rows_per_step)
    if steps < len(rounds):
        raise ScheduleError(f"stretch_to is {steps}, but the schedule has {len(rounds)} rounds of at least one step.")
    stops = [round(stop * steps / plan.total_steps) for stop in plan.stops]
    for index in range(len(stops)):  # at least one step each
        stops[index] = max(stops[index], index + 1)
    for index in range(len(stops) - 1, -1, -1):
        stops[index] = min(stops[index], steps - (len(stops) - 1 - index))
    lengths = [stop - start for start, stop in zip([0, *stops], stops)]
    return [
        replace(round_, epochs=length / steps_per_epoch(round_, plan.rows, rows_per_step))
        for round_, length in zip(rounds, lengths)
    ]


def refuse_unlearned(rounds: Sequence[Round], new: Iterable[str]):
    """Refuse a schedule in which a part stays as random as it was made.

    Args:
        rounds: the schedule.
        new: parts of the model whose weights are new.

    Raises:
        ScheduleError: naming the parts that are new and learn in no round.
    """
    lost = sorted(set(new) - {part for round_ in rounds for part in round_.train})
    if lost:
        raise ScheduleError(
            f"{', '.join(lost)} would never learn: the weights are new, and no round has them in `train`. Add them to "
            "a round, or start from a checkpoint that has them trained."
        )


def refuse_unlabelled(rounds: Sequence[Round], new: Iterable[str]):
    """Refuse `label_first` for a new emotion adapter that no round teaches what the labels' words are.

    Args:
        rounds: the schedule.
        new: parts of the model whose weights are new.

    Raises:
        ScheduleError: saying which round is missing.
    """
    first_read = next((place for place, round_ in enumerate(rounds) if round_.lm), len(rounds))
    first = rounds[: first_read + 1]
    if "emotion_adapter" in new and not any(round_.teaches_labels("emotion_adapter") for round_ in first):
        raise ScheduleError(
            "label_first needs a round of er with `label` and `emotion_adapter` in `train`, before the language model "
            "reads: it teaches the adapter the words for labels. (With `emotion_encoder` in `train`, that learns.)"
        )


def part_parameters(model: nn.Module) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Named parameters of each part of a model, LoRA-wrapped or not; every parameter is in exactly one part."""
    parts: dict[str, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        parts.setdefault(part_of(name), []).append((name, parameter))
    return parts


def without_lora(model: Any) -> AudioLLMForConditionalGeneration:
    """The model itself, without what PEFT wraps around it."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return base


def part_of(parameter: str) -> str:
    """The part that a parameter or buffer of this name belongs to."""
    path = parameter.split(".")
    if any(piece.startswith("lora_") for piece in path) or "trainable_tokens_delta" in parameter:
        return "lora"
    return next((part for part in (NEVER_LEARNS, *PARTS) if part in path), "language_model")


@dataclass(frozen=True)
class Plan:
    """A schedule laid out over optimizer steps.

    Args:
        rounds: the schedule.
        stops: step at which each round ends; the first round begins at step 0.
        rows: for each task, how many rows there are.
        rows_per_step: that one optimizer step takes, over accumulation and processes.
    """

    rounds: tuple[Round, ...]
    stops: tuple[int, ...]
    rows: dict[str, int]
    rows_per_step: int

    @classmethod
    def of(cls, rounds: Sequence[Round], tasks: Sequence[str], rows_per_step: int) -> Plan:
        """Lay `rounds` out for rows of `tasks` (one entry a row), `rows_per_step` rows a step.

        Raises:
            ScheduleError: if a task of a round has no rows, or a round is shorter than one step.
        """
        rows = Counter(tasks)
        stops, step = [], 0
        for number, round_ in enumerate(rounds, 1):
            missing = [task for task in round_.tasks if not rows[task]]
            if missing:
                raise ScheduleError(f"Round {number} trains on {', '.join(missing)}, but there are no such rows.")
            steps = round(round_.epochs * steps_per_epoch(round_, rows, rows_per_step))
            if steps < 1:
                count = sum(rows[task] for task in round_.tasks)
                raise ScheduleError(
                    f"Round {number} ({round_.epochs:g} epochs of {count} rows, {rows_per_step} a step) is shorter "
                    "than one step; give it more epochs, or make the batch smaller."
                )
            step += steps
            stops.append(step)
        return cls(tuple(rounds), tuple(stops), dict(rows), rows_per_step)

    @property
    def total_steps(self) -> int:
        return self.stops[-1]

    def index_at(self, step: int) -> int:
        """Index of the round that optimizer step `step` (from 0) belongs to."""
        return min(bisect.bisect_right(self.stops, step), len(self.rounds) - 1)

    def round_at(self, step: int) -> Round:
        return self.rounds[self.index_at(step)]

    def start_of(self, index: int) -> int:
        """The first step of a round."""
        return self.stops[index - 1] if index else 0

    @property
    def parts(self) -> set[str]:
        """Parts that learn in some round."""
        return {part for round_ in self.rounds for part in round_.train}

    def report(self, model: nn.Module, clips: dict[str, int] | None = None, learning_rate: float = 0.0) -> str:
        """A table of rounds, steps, tasks and parameters that learn, to be read before anything runs.

        Args:
            model: whose parts are counted.
            clips: for each task, how many different recordings its rows have.
            learning_rate: of rounds that name none.
        """
        sizes = {
            part: sum(parameter.numel() for _, parameter in named) for part, named in part_parameters(model).items()
        }
        table = [("round", "steps", "epochs", "lr", "tasks (rows)", "learns (parameters)")]
        start = 0
        for number, (round_, stop) in enumerate(zip(self.rounds, self.stops), 1):
            table.append(
                (
                    str(number),
                    f"{start}-{stop - 1}",
                    f"{round_.epochs:g}",
                    f"{round_.learning_rate or learning_rate:g}",
                    " ".join(f"{task} {self.rows[task]}" for task in round_.tasks),
                    ", ".join(f"{part} {_millions(sizes[part])}" for part in round_.train),
                )
            )
            start = stop
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table]
        for task, count in sorted(self.rows.items()):
            used = "" if any(task in round_.tasks for round_ in self.rounds) else ", in no round"
            heard = "" if clips is None else f" on {clips[task]} clips"
            lines.append(f"{task}: {count} rows{heard}{used}")
        lines += [f"{task}: no rows" for task in TASKS if task not in self.rows]
        lines.append(
            "parts: "
            + ", ".join(
                f"{part} {_millions(size)} {'learns' if part in self.parts else 'frozen'}"
                for part, size in sizes.items()
            )
        )
        lines.append(f"{self.rows_per_step} rows a step; {self.total_steps} steps in all")
        return "\n".join(lines)


def steps_per_epoch(round_: Round, rows: dict[str, int], rows_per_step: int) -> int:
    """Steps of one pass over the rows of all tasks of a round, the last of them filled up."""
    return -(-sum(rows[task] for task in round_.tasks) // rows_per_step)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
