"""A run's folder: the files that it holds, written whole, and read back."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..files import replacing, write_whole
from ..language_models.journal import read_journal
from . import EvalError


PREDICTIONS, VERDICTS, RATED, CLAIMS, MEASURES, RATINGS, RESULTS, RUN, REPORT, COUNTS = (
    "predictions.jsonl",
    "verdicts.jsonl",
    "rated.jsonl",
    "claims.jsonl",
    "voice.jsonl",
    "ratings.jsonl",
    "results.json",
    "run.json",
    "report.html",
    "counts.json.gz",
)
DIGEST = "sha256:"


@dataclass(frozen=True)
class Run:
    """What a run's folder holds.

    Args:
        folder: where it was read from.
        results: content of `results.json`.
        rows: the answered rows, each with its `prediction`.
        verdicts: lines of `verdicts.jsonl` by row id.
        ratings: lines of `rated.jsonl` by what was rated and row id; none without a language model as judge.
        claims: about the voice, by row id; None for a run that was written before they were checked.
        counts: of a run that was shared without words, what each row adds to a metric's sums, by metric and row id;
            its `rows` have no texts.
    """

    folder: Path
    results: dict[str, Any]
    rows: list[dict[str, Any]]
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)
    ratings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    claims: dict[str, list[dict[str, Any]]] | None = None
    counts: dict[str, dict[str, list[float]]] | None = None

    @property
    def name(self) -> str:
        return self.results["system"]["name"]

    def of_task(self, task: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["task"] == task]

    def labels(self, task: str) -> tuple[str, ...]:
        return tuple(self.results["label_sets"][task]["labels"])


def read_run(folder: str | Path, answers: bool = True) -> Run:
    """Read a run's folder.

    Args:
        folder: of the run.
        answers: whether they are needed; else a run that was shared without words (see `sharing.py`) will do.

    Raises:
        FileNotFoundError: if a file is missing.
        EvalError: if the folder's answers are not those that its results count.
    """
    folder = Path(folder)
    folder = folder.parent if folder.name == RESULTS else folder
    results = read_results(folder)
    if (folder / COUNTS).exists() and not (folder / PREDICTIONS).exists():
        if answers:
            raise FileNotFoundError(f"{folder} was shared without words: it can be compared, not shown.")
        return _read_shared(folder, results)
    for name in (PREDICTIONS, VERDICTS):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder} has no {name}; run the evaluation into it.")
    rows = [row for row in read_predictions(folder / PREDICTIONS).values() if row["error"] is None]
    if len(rows) != results["counts"]["answered"]:
        raise EvalError(
            f"{folder} holds {len(rows)} answers, but its results count {results['counts']['answered']}: run its "
            "evaluation again to its end, or with --overwrite."
        )
    verdicts = {verdict["id"]: verdict for verdict in _read_lines(folder / VERDICTS)}
    ratings = defaultdict(dict)
    # Runs of the first version have none.
    for rating in _read_lines(folder / RATED) if (folder / RATED).exists() else ():
        ratings[rating["what"]][rating["id"]] = rating
    claims = None
    if (folder / CLAIMS).exists():
        claims = {line["id"]: line["claims"] for line in _read_lines(folder / CLAIMS)}
    return Run(folder, results, rows, verdicts, dict(ratings), claims)


def _read_shared(folder: Path, results: dict[str, Any]) -> Run:
    try:
        shared = json.loads(gzip.decompress((folder / COUNTS).read_bytes()))
        rows = shared["rows"]
        counts = {
            metric: {row["id"]: added for row, added in zip(rows, column, strict=True) if added is not None}
            for metric, column in shared["counts"].items()
        }
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EvalError(f"{folder / COUNTS}: not what a run adds to figures ({error!r}): share it again.") from error
    return Run(folder, results, rows, counts=counts)


def digest(text: str | None) -> str | None:
    """What stands for a text in a run that was shared without words."""
    if text is None or text.startswith(DIGEST):
        return text
    return DIGEST + hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:8]


def same_text(one: str | None, other: str | None) -> bool:
    """Whether two texts are the same, one of which may be given by its [`digest`]."""
    return one == other or digest(one) == digest(other)


def read_results(path: str | Path) -> dict[str, Any]:
    """Results from a file or from the folder of a run.

    Raises:
        FileNotFoundError: if there are none.
        EvalError: if the file holds none.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EvalError(f"{path}: not JSON ({error}).") from error
    wanted = ("system", "settings", "label_sets", "counts", "figures", "groups")
    lacking = [name for name in wanted if not isinstance(results, dict) or name not in results]
    if lacking:
        raise EvalError(f"{path}: not the results of a run: it lacks {', '.join(lacking)}. Evaluate again.")
    return results


def read_predictions(path: str | Path) -> dict[str, dict[str, Any]]:
    """Predictions by id; of several lines for an id the last counts. A half-written last line is left out.

    Raises:
        JournalError: if another line is broken.
    """
    return {entry["id"]: entry for entry in read_journal(Path(path))}


def name_by_folder(results: Sequence[dict[str, Any]], folders: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Results in which systems that share a name are told apart by the folders of their runs."""
    count = Counter(result["system"]["name"] for result in results)
    named = []
    for result, folder in zip(results, folders):
        system, folder = result["system"], Path(folder)
        if count[system["name"]] > 1:
            folder = folder.parent if folder.name == RESULTS else folder
            system = system | {"name": f"{system['name']} ({folder.resolve().name})"}
        named.append(result | {"system": system})
    return named


def read_runs(folders: Sequence[str | Path], answers: bool = True) -> list[Run]:
    """Read several runs as [`read_run`] does, whose names are told apart (see [`name_by_folder`])."""
    runs = [read_run(folder, answers) for folder in folders]
    named = name_by_folder([run.results for run in runs], folders)
    return [replace(run, results=results) for run, results in zip(runs, named)]


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n", errors="backslashreplace")


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with replacing(path, errors="backslashreplace") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    # Not splitlines: JSON text may hold other line separators.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
