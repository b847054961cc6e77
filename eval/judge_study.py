"""Does a judge decide special cases as people do? The paper's section 7, for any judge and any runs.

    audiollm judge-study draw RUN [RUN ...] --out study [--count 50] [--seed 0]
    (each rater copies study/sheet.csv and fills the column `right`)
    audiollm judge-study score RATED.csv [RATED.csv ...] --key study/key.json

The sheet shows neither the judge's verdict nor the system, and its order says nothing; the key holds both.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..corpora.schema import EMOTION_TASKS
from . import EvalError
from .judges.rule import RuleJudge
from .metrics import TASK_NAMES
from .results import Run
from .sheets import read_sheet, write_rows
from .statistics import Interval, bootstrap, cohen_kappa
from .tables import Cell, Table


SHEET, KEY = "sheet.csv", "key.json"

HEADINGS = ("case", "question", "classes", "label", "transcript", "answer", "right", "remark")
RIGHT = frozenset(("1", "1.0", "1,0", "right", "correct", "yes", "y", "true", "r", "\u2713", "\u2714"))
WRONG = frozenset(("0", "0.0", "0,0", "wrong", "incorrect", "no", "n", "false", "w"))


@dataclass(frozen=True)
class StudyCase:
    """One special case of a study.

    Args:
        case: its name in the sheet.
        system: who answered.
        corpus: whose recording it is.
        row: id of the row.
        task: `er` or `sr`.
        special: kind of special case.
        judge: who decided.
        score: the judge's decision, 1 right or 0 wrong.
        reason: the judge's.
    """

    case: str
    system: str
    corpus: str
    row: str
    task: str
    special: str
    judge: str
    score: int
    reason: str


@dataclass(frozen=True)
class Agreement:
    """How far a judge and people agree, in percent of `n` cases, but for kappa.

    Args:
        name: of these cases.
        n: rated cases.
        agree: same decision.
        too_lenient: the judge says right, people wrong.
        too_strict: the judge says wrong, people right.
        kappa: Cohen's, with a 95% bootstrap interval.
    """

    name: str
    n: int
    agree: Interval
    too_lenient: Interval
    too_strict: Interval
    kappa: Interval


def _decided_by_rule(run: Run, verdict: dict) -> bool:
    """Whether a verdict is the rule's; one of a judge of somebody's own may not say whose it is."""
    judge = run.results["settings"]["judge"]
    return verdict.get("judge", judge) == "rule" and judge.partition(":")[0] in ("rule", "hybrid")


def draw_cases(runs: Sequence[Run], count: int = 50, seed: int = 0) -> tuple[list[StudyCase], list[tuple]]:
    """Draw special cases that a judge has decided, so many of each corpus and task, and shuffle them together.

    Special is what the rule judge calls so, whichever judge decided, an answer of a class that overlaps with the right
    one among them. What the rule decided itself is left out.

    Args:
        runs: runs whose judge decides special cases (`hybrid:...`, `llm:...`).
        count: at most so many of each corpus and task.
        seed: of the draw.

    Returns:
        The key's cases, and the sheet's rows under [`HEADINGS`], in the same order.

    Raises:
        EvalError: if there is no decided special case.
    """
    rule, strata, undecided = RuleJudge(), defaultdict(list), 0
    for run in runs:
        for row in run.rows:
            if row["task"] not in EMOTION_TASKS or not row["prediction"].strip():
                continue
            verdict = run.verdicts[row["id"]]
            labels = run.labels(row["task"])
            special = rule.judge_one(row["prediction"], row["label"], labels).special
            if special and verdict["score"] is None:
                undecided += 1
            elif special and not _decided_by_rule(run, verdict):
                key = (str(row.get("corpus") or "unnamed"), row["task"])
                strata[key].append((run, row, labels, verdict, special))
    if not strata:
        raise EvalError(
            f"no special case that a judge has decided ({undecided} undecided): evaluate with --judge hybrid:MODEL or "
            "llm:MODEL first; the rule judge leaves special cases unscored."
        )
    draw = random.Random(seed)
    drawn = [item for key in sorted(strata) for item in draw.sample(strata[key], min(count, len(strata[key])))]
    draw.shuffle(drawn)
    cases, rows = [], []
    for number, (run, row, labels, verdict, special) in enumerate(drawn, start=1):
        judge = verdict.get("judge") or run.results["settings"]["judge"]
        cases.append(
            StudyCase(
                case=f"C{number:04}",
                system=run.name,
                corpus=str(row.get("corpus") or "unnamed"),
                row=row["id"],
                task=row["task"],
                special=special,
                judge=judge,
                score=verdict["score"],
                reason=verdict["reason"],
            )
        )
        shown = (row["question"], ", ".join(labels), row["label"], row.get("transcript") or "", row["prediction"])
        rows.append((f"C{number:04}", *shown, "", ""))
    return cases, rows


def write_study(runs: Sequence[Run], out: str | Path, count: int = 50, seed: int = 0) -> tuple[Path, Path]:
    """Draw cases and write sheet and key into a folder.

    Raises:
        EvalError: if there is nothing to draw, or the folder holds a study already.
    """
    out = Path(out)
    if (out / KEY).exists() or (out / SHEET).exists():
        raise EvalError(f"{out} holds a study already, perhaps with ratings; give another folder.")
    cases, rows = draw_cases(runs, count, seed)
    out.mkdir(parents=True, exist_ok=True)
    # The byte order mark tells spreadsheets that the file is UTF-8.
    (out / SHEET).write_text("\ufeff" + write_rows([HEADINGS, *rows]), encoding="utf-8")
    key = {
        "seed": seed,
        "count": count,
        "runs": [str(run.folder) for run in runs],
        "cases": [asdict(c) for c in cases],
    }
    (out / KEY).write_text(json.dumps(key, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return out / SHEET, out / KEY


def read_key(path: str | Path) -> list[StudyCase]:
    """Cases of a key.

    Raises:
        EvalError: if it is none.
    """
    try:
        return [StudyCase(**case) for case in json.loads(Path(path).read_text(encoding="utf-8"))["cases"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise EvalError(f"{path}: not the key of a study ({error}).") from error


def read_ratings(path: str | Path, cases: Sequence[StudyCase]) -> dict[str, bool | None]:
    """A rater's decisions by case; None where the rater left the cell empty.

    Args:
        path: the sheet as a spreadsheet saved it (see [`read_sheet`]).
        cases: of the key.

    Raises:
        EvalError: naming every cell that says neither right nor wrong, unknown and repeated cases, and cases without
            a line.
    """
    known, ratings, faults = {case.case for case in cases}, {}, []
    for row in read_sheet(path, ("case", "right")):
        case, cell = row["case"].upper(), row["right"].casefold().strip(" '\u2019.\u00a0")
        where = f"line {row['line']}"
        if not case and not cell:
            continue
        if case not in known:
            faults.append(f"{where}: case {row['case']!r} is not in the key")
        elif case in ratings:
            faults.append(f"{where}: case {case} is there twice")
        elif cell and cell not in RIGHT | WRONG:
            faults.append(f"{where}: case {case} is rated {row['right']!r}, not 1 (right) or 0 (wrong)")
        else:
            ratings[case] = None if not cell else cell in RIGHT
    gone = sorted(known - set(ratings)) if not faults else []
    if gone:
        faults.append(f"no line for {', '.join(gone)}")
    if faults:
        raise EvalError(f"{path}: " + "; ".join(faults) + ".")
    return ratings


def majority(ratings: Sequence[dict[str, bool | None]]) -> dict[str, bool | None]:
    """What most raters say of each case; None without a rating or at a tie."""
    votes = {case: [said for rater in ratings if (said := rater[case]) is not None] for case in ratings[0]}
    return {case: None if 2 * sum(said) == len(said) else 2 * sum(said) > len(said) for case, said in votes.items()}


def agreement(name: str, pairs: Sequence[tuple[bool, bool]], seed: int = 0) -> Agreement:
    """Agreement of a judge with people.

    Args:
        name: of these cases.
        pairs: `(judge, people)` for each case, True for right.
        seed: of the bootstrap.
    """
    # A case is one of the four cells: both wrong, too strict, too lenient, both right.
    cells = np.zeros((len(pairs), 4))
    for number, (judge, people) in enumerate(pairs):
        cells[number, 2 * bool(judge) + bool(people)] = 1

    def figures(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = 100 * sums / sums.sum(-1, keepdims=True)
        agree = shares[..., 0] + shares[..., 3]
        return np.stack([agree, shares[..., 2], shares[..., 1], cohen_kappa(sums)], axis=-1)

    return Agreement(name, len(pairs), *bootstrap(cells, figures, seed=seed))


def score_study(cases: Sequence[StudyCase], raters: dict[str, dict[str, bool | None]], seed: int = 0) -> dict:
    """All figures of a study.

    Args:
        cases: of the key.
        raters: ratings by rater.
        seed: of the bootstraps.

    Returns:
        `judge`: agreements with the raters' majority, of all cases and by corpus and task, system and kind; `raters`:
        with each rater alone; `between`: of raters with each other; `missing`: cases without a rating, by rater;
        `ties`: cases without a majority; `judges`: who judged how many.

    Raises:
        EvalError: if nobody rated anything.
    """
    given = list(raters.values())
    people = majority(given)
    rated = [case for case in cases if people[case.case] is not None]
    if not rated:
        raise EvalError("no case is rated (or every one is a tie); fill the column 'right' with 1 or 0.")
    groups: dict[str, list[StudyCase]] = {"all": rated}
    for title, key in (
        ("", lambda case: f"{case.corpus}, {TASK_NAMES[case.task]}"),
        ("system ", lambda case: case.system),
        ("", lambda case: case.special.replace("_", " ")),
    ):
        found = defaultdict(list)
        for case in rated:
            found[f"{title}{key(case)}"].append(case)
        groups |= dict(sorted(found.items())) if len(found) > 1 else {}

    def compare(name: str, some: Sequence[StudyCase], ratings: dict[str, bool | None]) -> Agreement:
        pairs = [(bool(case.score), said) for case in some if (said := ratings[case.case]) is not None]
        return agreement(name, pairs, seed)

    names = list(raters)
    between = {
        f"{one} and {other}": [
            (first, second)
            for case in cases
            if (first := raters[one][case.case]) is not None and (second := raters[other][case.case]) is not None
        ]
        for number, one in enumerate(names)
        for other in names[number + 1 :]
    }
    return {
        "judge": [compare(name, some, people) for name, some in groups.items()],
        "raters": [compare(name, cases, ratings) for name, ratings in raters.items()] if len(raters) > 1 else [],
        "between": [agreement(name, pairs, seed) for name, pairs in between.items()],
        "missing": {
            name: [case for case, said in ratings.items() if said is None] for name, ratings in raters.items()
        },
        "ties": [
            c.case for c in cases if people[c.case] is None and any(r[c.case] is not None for r in raters.values())
        ],
        "judges": dict(Counter(case.judge for case in cases)),
        "cases": len(cases),
    }


def study_tables(study: dict) -> list[Table]:
    """A study's figures as tables."""
    judges = ", ".join(f"{judge} ({count} cases)" for judge, count in study["judges"].items())
    note = (
        f"Percent of special cases, kappa apart [95% bootstrap interval]. Judge: {judges}. Too lenient: the judge "
        "says right, people wrong; too strict: the other way round."
    )
    missing = [f"{name}: {', '.join(cases)}" for name, cases in study["missing"].items() if cases]
    if missing:
        note += f" Not rated, left out: {'; '.join(missing)}."
    if study["ties"]:
        note += f" Without a majority, left out: {', '.join(study['ties'])}."
    tables = [_agreement_table("Judge and people", study["judge"], note)]
    if study["raters"]:
        tables.append(_agreement_table("Judge and each rater", study["raters"], ""))
    if study["between"]:
        note = "Too lenient: the first of the two says right, the second wrong."
        tables.append(_agreement_table("Raters with each other", study["between"], note))
    return tables


def _agreement_table(title: str, agreements: Sequence[Agreement], note: str) -> Table:
    rows = [
        (a.name, a.n, *(_cell(i) for i in (a.agree, a.too_lenient, a.too_strict)), _cell(a.kappa, decimals=2))
        for a in agreements
    ]
    return Table(title, ("cases", "n", "agree", "too lenient", "too strict", "kappa"), tuple(rows), note)


def _cell(interval: Interval, decimals: int = 1) -> Cell | None:
    if interval.estimate is None:
        return None
    return Cell(interval.estimate, interval.low, interval.high, decimals=decimals)
