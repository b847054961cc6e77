"""Tables of results, one system a row: `python -m audiollm.eval.tables A/results.json B/results.json`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


TASK_NAMES = {"er": "emotion", "sr": "sentiment", "asr": "transcription", "sqa": "question answering"}


@dataclass(frozen=True)
class Table:
    """A table before it is written in any format; a cell None is a figure that does not exist, and stays empty.

    Args:
        title: what it shows.
        columns: headings; the first one is of the row names.
        rows: as many cells as columns, numbers unformatted.
        note: what a reader must know to read the figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple, ...]
    note: str = ""

    def markdown(self) -> str:
        cells = [self.columns, *(tuple(format_cell(cell) for cell in row) for row in self.rows)]
        cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
        widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(self.columns))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [
            "| "
            + " | ".join(_pad(cell, width, column) for column, (cell, width) in enumerate(zip(row, widths)))
            + " |"
            for row in [cells[0], rule, *cells[1:]]
        ]
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])])


def format_cell(cell: object) -> str:
    """A cell as text: one decimal for a figure, nothing for a missing one."""
    if cell is None:
        return ""
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def overall_table(results: Sequence[dict]) -> Table:
    """The main figures of several systems."""
    columns = {
        "ER": ("er", "weighted_average"),
        "ER unweighted": ("er", "unweighted_average"),
        "ER at worst": ("er", "if_unscored_wrong", "weighted_average"),
        "SR": ("sr", "weighted_average"),
        "SR at worst": ("sr", "if_unscored_wrong", "weighted_average"),
        "WER": ("asr", "wer"),
        "SQuAD EM": ("sqa", "squad_exact_match"),
        "SQuAD F1": ("sqa", "squad_f1"),
        "quotation": ("evidence", "evidence", "quotation"),
        "quotes grounded": ("evidence", "evidence", "quotes_grounded"),
    }
    shown = {name: path for name, path in columns.items() if any(_at(r["figures"], path) is not None for r in results)}
    rows = [
        (
            result["system"]["name"],
            *(_at(result["figures"], path) for path in shown.values()),
            result["counts"]["unscored"],
            result["counts"]["errors"],
        )
        for result in results
    ]
    note = "Percent. ER and SR: of the scored answers; at worst: if the unscored are wrong. " + _conditions(results)
    return Table("Overall", ("system", *shown, "unscored", "errors"), tuple(rows), note)


def class_table(results: Sequence[dict], task: str) -> Table:
    """Accuracy by class of several systems, with both averages."""
    results = [result for result in results if task in result["figures"]]
    labels = list(dict.fromkeys(label for result in results for label in result["figures"][task]["labels"]))
    rows = [
        (
            result["system"]["name"],
            *((result["figures"][task]["per_class"].get(label) or {}).get("accuracy") for label in labels),
            result["figures"][task]["unweighted_average"],
            result["figures"][task]["weighted_average"],
            result["figures"][task]["n_unscored"],
        )
        for result in results
    ]
    columns = ("system", *labels, "unweighted", "weighted", "unscored")
    return Table(f"By class: {TASK_NAMES[task]}", columns, tuple(rows), "Percent right of the scored answers.")


def group_table(result: dict, column: str) -> Table:
    """One system's main figures by the values of a grouping column (or pair of columns)."""
    figures = {
        "ER": ("er", "weighted_average"),
        "ER at worst": ("er", "if_unscored_wrong", "weighted_average"),
        "ER answers": ("er", "n"),
        "SR": ("sr", "weighted_average"),
        "SR answers": ("sr", "n"),
        "WER": ("asr", "wer"),
        "words": ("asr", "reference_words"),
        "SQuAD F1": ("sqa", "squad_f1"),
        "quotation": ("evidence", "evidence", "quotation"),
        "quotes grounded": ("evidence", "evidence", "quotes_grounded"),
    }
    groups = result["groups"][column]
    shown = {name: path for name, path in figures.items() if any(_at(g, path) is not None for g in groups.values())}
    rows = [(value, *(_at(group, path) for path in shown.values())) for value, group in groups.items()]
    return Table(f"{result['system']['name']} by {column}", (column, *shown), tuple(rows))


def all_tables(results: Sequence[dict]) -> list[Table]:
    """Every table that results allow."""
    tables = [overall_table(results)]
    tables += [class_table(results, task) for task in ("er", "sr") if any(task in r["figures"] for r in results)]
    return tables + [group_table(result, column) for result in results for column in result["groups"]]


def read_results(path: str | Path) -> dict:
    """Results from a file or from the folder of a run.

    Raises:
        FileNotFoundError: if there are none.
    """
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    return json.loads(path.read_text(encoding="utf-8"))


def _conditions(results: Sequence[dict]) -> str:
    sets = {
        f"{task.upper()} classes: {', '.join(labels['labels'])}"
        for result in results
        for task, labels in result["label_sets"].items()
    }
    judges = {f"judge: {result['settings']['judge']}" for result in results}
    normalizers = {f"WER normaliser: {r['settings']['normalizer']}" for r in results if "asr" in r["figures"]}
    return "; ".join([*sorted(sets), *sorted(judges), *sorted(normalizers)]) + "."


def _at(figures: dict, path: tuple[str, ...]):
    for key in path:
        figures = (figures or {}).get(key)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m audiollm.eval.tables", description="Print results as tables.")
    parser.add_argument("results", nargs="+", help="results.json files, or folders of runs")
    tables = all_tables([read_results(path) for path in parser.parse_args(arguments).results])
    print("\n\n".join(table.markdown() for table in tables))


if __name__ == "__main__":
    main()
