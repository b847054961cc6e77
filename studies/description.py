"""What a study is: its runs and what they share, as YAML tells them, and the training configuration of each run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ..training.config import ConfigError, check_config, read_overrides, set_field, undone_by
from ..training.strict import read_section


STUDY = "study.yaml"
ON = " on "  # in a claim: RUN on SET
MODEL, OUT = "{model}", "{out}"


@dataclass(frozen=True)
class Base:
    """What all runs begin from: the folder of a model, and the configuration that trains it."""

    config: str
    model: str


@dataclass(frozen=True)
class Study:
    """What the runs of a study share.

    Args:
        out: folder of all runs.
        common: a training configuration; each run says what differs.
        evaluate: by name, options of `audiollm eval` (`data`, `tasks`, `judge`, ...).
        seeds: of each run.
        steps: optimizer steps of each run.
        base: trained first, unless its model is there.
        controls: systems that are evaluated once on each set.
        cluster: column whose rows are drawn together in tests; or by name of a set, others drawing row by row.
        claims: pairs of runs, of which the second is claimed to be the better on each set; `RUN on SET` (or a control
            for the run) compares what one of them makes of two sets of the same rows.
    """

    out: str
    common: dict[str, Any]
    evaluate: dict[str, dict[str, Any]]
    seeds: list[int]
    steps: int
    base: Base | None = None
    controls: list[str] = field(default_factory=list)
    cluster: str | dict[str, str] | None = None
    claims: list[list[str]] = field(default_factory=list)

    def __post_init__(self):
        _check_steps(self.steps)
        for data, column in self.cluster.items() if isinstance(self.cluster, dict) else ():
            if data not in self.evaluate or not isinstance(column, str):
                raise ValueError(
                    f"cluster: {data}: {column!r} is no column of a set; sets are {', '.join(self.evaluate)}."
                )

    def cluster_of(self, data: str) -> str | None:
        """The column whose rows are drawn together in tests of a set."""
        return self.cluster.get(data) if isinstance(self.cluster, dict) else self.cluster


@dataclass(frozen=True)
class Kind:
    """One run of a study.

    Args:
        set: fields of the training configuration that differ, by dotted name; `{out}` and `{seed}` are filled in.
        tables: `N:ROW` of the paper's tables that it is shown in.
        after: run whose model it begins from (its `model.checkpoint`).
        steps: optimizer steps, where they are not those of the study: of what others begin from, say.
        system: that is evaluated; `{model}` is the run's model, and what it is by default.
        evaluate: by name of a set, options of `audiollm eval` that differ for this run (`null`: left out).
    """

    set: dict[str, Any] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    after: str | None = None
    steps: int | None = None
    system: str = MODEL
    evaluate: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self):
        _check_steps(self.steps)


def _check_steps(steps: int | None) -> None:
    if steps is not None and steps < 1:
        raise ValueError(f"steps is {steps}; a run takes at least one.")


def read_study(
    folder: Path, runs: Sequence[str] = (), overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> tuple[Study, dict[str, Kind]]:
    """A study and its runs by name, what others begin from first.

    Args:
        folder: with [`STUDY`] and a file for each run; `configs/NAME` is the package's own where none is here.
        runs: only these, and what they begin from; all when left out.
        overrides: fields of every run's training, as for [`training.config.read_overrides`].
        changes: fields of [`Study`] instead of the file's.

    Raises:
        ValueError: for a run, claim or field that is not right, with the file that it is in.
    """
    own = Path(__file__).parents[1] / folder
    folder = own if folder.parts[:1] == ("configs",) and not folder.exists() and own.is_dir() else folder
    given = yaml.safe_load((folder / STUDY).read_text(encoding="utf-8"))
    study = read_section(Study, {**given, **(changes or {})}, STUDY)
    base = Path(study.base.config).name if study.base else None
    files = [path for path in sorted(folder.glob("*.yaml")) if path.name not in (STUDY, base)]
    kinds = {
        path.stem: read_section(Kind, yaml.safe_load(path.read_text(encoding="utf-8")) or {}, path.name)
        for path in files
    }
    for name in [*runs, *(kind.after for kind in kinds.values() if kind.after)]:
        if name not in kinds:
            raise ValueError(f"{folder} has no run {name!r}; its runs are {', '.join(kinds)}.")
    _check_claims(study, kinds)
    for name, kind in kinds.items():
        if MODEL not in kind.system:
            raise ValueError(f"{name}.yaml: system is {kind.system!r}, without {MODEL}: it is no system of this run.")
        for data in kind.evaluate.keys() - study.evaluate.keys():
            raise ValueError(f"{name}.yaml: evaluate: {data} is no set; sets are {', '.join(study.evaluate)}.")
    changed = read_overrides(overrides)
    kinds = {name: replace(kind, set={**kind.set, **changed}) for name, kind in kinds.items()}
    wanted = {one for name in runs or kinds for one in line(kinds, name)}
    # What others begin from comes first.
    return study, {name: kinds[name] for name in sorted(wanted, key=lambda name: (generation(kinds, name), name))}


def line(kinds: dict[str, Kind], name: str) -> list[str]:
    """A run, the one that it begins from, and so on, to the first."""
    line: list[str] = []
    one: str | None = name
    while one:
        if one in line:
            raise ValueError(f"{name}.yaml: after: {' after '.join([*line, one])} has no beginning.")
        line.append(one)
        one = kinds[one].after
    return line


def generation(kinds: dict[str, Kind], name: str) -> int:
    """How many runs come before one, and itself."""
    return len(line(kinds, name))


def _check_claims(study: Study, kinds: dict[str, Kind]) -> None:
    """Every claim compares runs with runs, or a control with controls, as they take part in the study."""
    for claim in study.claims:
        sides = [side.partition(ON) for side in claim]
        for name, on, data in sides:
            known = [*kinds, *(study.controls if on else ())]
            if name not in known or (on and data not in study.evaluate):
                raise ValueError(
                    f"{STUDY}: claims: {name + on + data!r} is neither a run nor RUN{ON}SET; runs (or controls, with "
                    f"a set) are {', '.join(known)}, sets are {', '.join(study.evaluate)}."
                )
        if len(sides) != 2 or len({(bool(on), name in kinds or len(study.seeds) == 1) for name, on, _ in sides}) > 1:
            raise ValueError(
                f"{STUDY}: claims: {claim} compares no pair: two runs, two RUN{ON}SET, or two controls on sets, which "
                "have one run where there are several seeds."
            )


def configuration(study: Study, kind: Kind, name: str, seed: int) -> dict[str, Any]:
    """The training configuration of a run, as JSON can hold it.

    Raises:
        ValueError: for what the study gives by other fields; ConfigError as `check_config` does.
    """
    config = deepcopy(study.common)
    begins = {"model.checkpoint": f"{OUT}/{kind.after}-{{seed}}/model"} if kind.after else {}
    if kind.set.get("model.checkpoint") not in (None, *begins.values()) and begins:
        raise ValueError(f"{name}.yaml: model.checkpoint is given by `after: {kind.after}`; leave it out.")
    fields = {**begins, **kind.set}
    for place, (field_name, value) in enumerate(fields.items()):
        if undone := undone_by(field_name, list(fields)[:place]):
            raise ValueError(f"{name}.yaml, or --set: {field_name} would undo {undone}; set single fields of it.")
        set_field(config, field_name, _filled(value, study.out, seed))
    if not isinstance(config.setdefault("training", {}), dict):
        raise ConfigError(f"{name}.yaml, or common: training is {config['training']!r}; it is a mapping.")
    given = {"stretch_to": config.get("stretch_to"), **config["training"]}
    for own, instead in (("stretch_to", "steps"), ("seed", "seeds"), ("output_dir", "out")):
        if given.get(own) is not None:
            raise ValueError(f"{name}.yaml, or common: {own} is given by the study's `{instead}`; leave it out.")
    config["stretch_to"] = kind.steps or study.steps
    config["training"].update(output_dir=str(Path(study.out) / f"{name}-{seed}"), seed=seed)
    check_config(config)
    try:
        return json.loads(json.dumps(config))
    except TypeError as error:  # a date, say
        raise ConfigError(f"{name}.yaml, or common: {error}.") from error


def _filled(value: Any, out: str, seed: int) -> Any:
    """A value of a run's `set` with the study's folder and the run's seed in the texts of it."""
    if isinstance(value, dict):
        return {key: _filled(item, out, seed) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, out, seed) for item in value]
    return value.replace(OUT, out).replace("{seed}", str(seed)) if isinstance(value, str) else value
