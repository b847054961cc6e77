"""The folders of a study's runs: what is wanted in each, what is done of it, and what may be shared of it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..eval.results import RESULTS, digest, read_run
from ..eval.sharing import share_run
from ..files import write_whole
from ..redact import redact
from ..training.facts import FACTS_NAME
from .description import MODEL, ON, STUDY, Kind, Study, configuration, line


STAMP = "done.json"
ITSELF = "run"  # the part of a stamp that is of the run itself; that of a set is ITSELF on SET
ANYWHERE = "study"  # the study's folder in stamps, wherever it lies


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, or of a control, and what has to be done in it, wherever that lies.

    Its stamp says what was done, and with what settings: of the run itself, and of each set that it was evaluated on.

    Args:
        path: of the folder.
        wanted: `evaluate`, by set options of `audiollm eval`; and all that makes the run what it is.
    """

    path: Path
    wanted: dict[str, Any]

    def results_folder(self, data: str) -> Path:
        """Where results on a set lie, once there are some."""
        return self.path / f"eval-{data}"

    def written(self, data: str) -> int | None:
        """When results on a set were written, in nanoseconds, whatever they were made with; None without any."""
        results = self.results_folder(data) / RESULTS
        return results.stat().st_mtime_ns if results.exists() else None

    def results(self, data: str) -> Path | None:
        """Where results on a set lie, if they were made as they are wanted; says if otherwise."""
        found, as_wanted, made = self.results_folder(data), self._as_wanted(), self.made
        if self.written(data) is None:
            return None
        if {ITSELF, _on(data)} <= as_wanted:
            return found
        others = made and (ITSELF not in as_wanted or data in made["evaluate"])
        why = "it was made with other settings" if others else "it is not finished"
        print(f"{found}: not in the tables: {why}", file=sys.stderr)
        return None

    def left(self) -> dict[str, dict[str, Any]]:
        """The sets, with their options, that are to be evaluated on still; says if there are none.

        Raises:
            ValueError: if the folder holds shared results, to which nothing can be added.
        """
        as_wanted = self._as_wanted()
        left = {
            data: options
            for data, options in self.wanted["evaluate"].items()
            if not ({ITSELF, _on(data)} <= as_wanted and self.written(data))
        }
        if not left:
            print(f"{self.path}: done before", file=sys.stderr)
        elif "digests" in self.made:
            raise ValueError(
                f"{self.path} holds shared results, and no model to go on with; print them with --tables."
            )
        return left

    def stamp(self, data: str):
        """Note that a set is done as wanted, beside the sets that were done of the same run."""
        kept = self.made["evaluate"] if ITSELF in self._as_wanted() else {}
        done = {**self.wanted, "evaluate": {**kept, data: self.wanted["evaluate"][data]}}
        write_whole(self.path / STAMP, json.dumps(done, indent=1) + "\n")

    def withdraw(self, data: str):
        """Note that a set is not done, whatever was stamped before."""
        made = self.made
        if made.get("evaluate", {}).pop(data, None) is not None:
            write_whole(self.path / STAMP, json.dumps(made, indent=1) + "\n")

    def share(self, out: Path, study: Study) -> int:
        """Write the results of sets that are done into a folder of this name in `out`; gives how many there are."""
        found = {data: path for data in self.wanted["evaluate"] if (path := self.results(data))}
        for data, path in found.items():
            cluster = study.cluster_of(data)
            share_run(read_run(path), out / self.path.name / path.name, [cluster] if cluster else ())
        if found:
            made = self.made
            told = {"digests": _digests(made), "seconds": self.trained_seconds, **redact(made)}
            write_whole(out / self.path.name / STAMP, json.dumps(told, indent=1) + "\n")
        return len(found)

    @property
    def made(self) -> dict[str, Any]:
        """What the folder was stamped with; nothing if it was not."""
        stamp = self.path / STAMP
        return json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else {}

    @property
    def trained_seconds(self) -> float | None:
        """What the training took, over all processes that went on with it, where that is known."""
        facts, stamp = self.path / FACTS_NAME, self.path / STAMP
        found = facts if facts.exists() else stamp
        return json.loads(found.read_text(encoding="utf-8")).get("seconds") if found.exists() else None

    def _as_wanted(self) -> set[str]:
        """Which parts of what is wanted the folder was stamped with: the run itself, and the run on each set."""
        made = self.made
        theirs = made and (made.get("digests") or _digests(made))
        return {part for part, digest in _digests(self.wanted).items() if theirs.get(part) == digest}


def run_folder(study: Study, kinds: dict[str, Kind], name: str, seed: int) -> RunFolder:
    """The folder of a run of one seed. In what is wanted, `after` are the configurations of what it begins from."""
    kind = kinds[name]
    before, anywhere = line(kinds, name)[1:], replace(study, out=ANYWHERE)
    evaluate = {data: {**options, **kind.evaluate.get(data, {})} for data, options in study.evaluate.items()}
    evaluate = {
        data: {option: value for option, value in options.items() if value is not None}
        for data, options in evaluate.items()
    }
    wanted = {
        "config": configuration(anywhere, kind, name, seed),
        "evaluate": evaluate,
        **({"after": [configuration(anywhere, kinds[one], one, seed) for one in before]} if before else {}),
        **({} if kind.system == MODEL else {"system": kind.system}),
    }
    return RunFolder(Path(study.out) / f"{name}-{seed}", wanted)


def control_folder(study: Study, system: str) -> RunFolder:
    """The folder of a system that is not trained here."""
    name = "".join(character if character.isalnum() or character in "-." else "-" for character in redact(system))
    return RunFolder(Path(study.out) / name, {"system": system, "evaluate": study.evaluate})


def share_study(study: Study, kinds: dict[str, Kind], out: Path) -> int:
    """Write the results of what is done into another folder, without words; gives how many there are."""
    runs = [run_folder(study, kinds, name, seed) for name in kinds for seed in study.seeds]
    controls = [control_folder(study, system) for system in study.controls]
    return sum(folder.share(out, study) for folder in (*runs, *controls))


def check_folders(study: Study, kinds: dict[str, Kind]):
    """Refuse runs whose configuration is not right, before any begins, and controls that would share a folder.

    Raises:
        ValueError: with the file, as [`configuration`] does.
    """
    for name in kinds:
        run_folder(study, kinds, name, study.seeds[0])
    paths = [control_folder(study, system).path for system in study.controls]
    if len(set(paths)) < len(paths):
        raise ValueError(f"{STUDY}: controls: of paths only the last part names a folder, and two are alike.")


def _on(data: str) -> str:
    return f"{ITSELF}{ON}{data}"


def _digests(wanted: dict[str, Any]) -> dict[str, Any]:
    """What stands for settings where folders of the machine that they name do not go."""
    parts: dict[str, Any] = {ITSELF: {name: value for name, value in wanted.items() if name != "evaluate"}}
    parts |= {_on(data): options for data, options in wanted["evaluate"].items()}
    return {name: digest(json.dumps(part, sort_keys=True)) for name, part in parts.items()}
