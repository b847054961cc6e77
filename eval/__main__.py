"""Evaluate a system on a corpus: `python -m audiollm.eval --system FOLDER --data FOLDER_OR_JSONL --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from audiollm.eval import EvalError
from audiollm.eval.judges import JUDGES
from audiollm.eval.run import RESULTS, Settings, command_line, evaluate_system
from audiollm.eval.tables import all_tables
from audiollm.processing.corpora.schema import TASKS, RowError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audiollm.eval", description="Evaluate a system on a corpus.")
    parser.add_argument("--system", required=True, help="AudioLLM checkpoint folder, or `majority`")
    parser.add_argument("--data", required=True, help="corpus folder with SPLIT.jsonl, or a JSON-lines file")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", required=True, help="folder for predictions, verdicts and results")
    parser.add_argument("--judge", default="rule", choices=sorted(JUDGES))
    parser.add_argument(
        "--normalizer", default="whisper_english", help="none, whisper_english, whisper_english:FOLDER"
    )
    parser.add_argument("--label-set", help="emotion classes: emotion7, ravdess8, iemocap10, or a list with commas")
    parser.add_argument("--tasks", nargs="+", default=[], choices=TASKS, help="default: all in the data")
    parser.add_argument(
        "--group-by", nargs="+", default=[], metavar="COLUMN", help="give figures by these row columns"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--limit", type=int, help="evaluate a random sample of so many rows")
    parser.add_argument("--seed", type=int, default=0, help="of that sample")
    parser.add_argument("--overwrite", action="store_true", help="forget the answers that the folder holds")
    parser.add_argument("--report", action="store_true", help="write report.html too")
    parser.add_argument("--train-log", help="trainer_state.json, whose losses the report shows")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = build_parser().parse_args(arguments)
    settings = Settings(
        system=options.system,
        data=options.data,
        split=options.split,
        judge=options.judge,
        normalizer=options.normalizer,
        label_set=options.label_set,
        tasks=tuple(options.tasks),
        group_by=tuple(options.group_by),
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
        limit=options.limit,
        seed=options.seed,
    )
    try:
        results = evaluate_system(settings, options.out, overwrite=options.overwrite, command=command_line(arguments))
    except (EvalError, RowError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(table.markdown() for table in all_tables([results])))
    print(f"\nResults: {Path(options.out) / RESULTS}")
    if options.report:
        from audiollm.eval.report import write_report  # draws with matplotlib, which the figures do without

        print(f"Report: {write_report(options.out, train_log=options.train_log)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
