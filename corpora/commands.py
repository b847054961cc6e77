"""The commands `read`, `verify`, `export` and `push`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from .export import FORMATS, export
from .push import push
from .questions import LABEL_LISTS, STYLES
from .read import read_to_folder
from .reader import Request
from .readers import READERS
from .schema import TASKS
from .verify import MAX_SECONDS, SILENCE_DB, verify


ROWS_HELP = "folder written by `read` (or by `extract`), or a JSON-lines file of rows"


def add_commands(subparsers: argparse._SubParsersAction):
    """Add the commands to a parser; each sets `run`, a function of the arguments that gives the exit code."""
    _add_read(subparsers)
    _add_verify(subparsers)
    _add_export(subparsers)
    _add_push(subparsers)


def _add_read(subparsers: argparse._SubParsersAction):
    corpora = "\n\n".join(
        f"{reader.name}: {reader.title}\n  {reader.layout}{_options(reader)}" for reader in READERS.values()
    )
    parser = subparsers.add_parser(
        "read",
        help="a corpus as published -> rows.jsonl, rejects.jsonl, read.json",
        description="Read a corpus to rows of the one schema. Rows that cannot be used go to rejects.jsonl.",
        epilog=f"corpora and what their folders look like:\n\n{corpora}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", choices=READERS, metavar="CORPUS", help=", ".join(READERS))
    parser.add_argument("root", type=Path, help="folder of the corpus (for `own` also a table; for some a Hub name)")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--split", action="append", help="split to read; may be repeated; all when left out")
    parser.add_argument("--task", action="append", choices=TASKS, help="task to read; may be repeated")
    parser.add_argument("--style", choices=STYLES, default="plain", help="of the questions (plain)")
    parser.add_argument("--label-list", choices=LABEL_LISTS, default="never", help="label list in questions (never)")
    parser.add_argument("--seed", type=int, default=0, help="of questions and drawn splits (0)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the corpus, see below")
    parser.add_argument(
        "--without-audio",
        action="store_true",
        help="do not ask for clips: for work on the text, before they are there",
    )
    parser.set_defaults(run=_read)


def _options(reader) -> str:
    return "".join(f"\n  --option {name}=...  {meaning}" for name, meaning in reader.options.items())


def _read(args: argparse.Namespace) -> int:
    options = dict(_pair(text) for text in args.option)
    request = Request(
        root=args.root,
        split="",
        tasks=tuple(args.task or ()),
        seed=args.seed,
        style=args.style,
        label_list=args.label_list,
        check_audio=not args.without_audio,
        options=options,
    )
    with tqdm(unit=" rows", mininterval=2, disable=None) as bar:
        summary = read_to_folder(args.corpus, request, args.out, args.split, lambda _: bar.update())
    print(summary.text())
    print(f"written to {args.out}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option {text!r}: expected NAME=VALUE.")
    return name, value


def _add_verify(subparsers: argparse._SubParsersAction):
    parser = subparsers.add_parser(
        "verify",
        help="counts beside published ones, every clip heard, what splits share -> verify.json, problems.jsonl",
        description="Verify rows: counts per split and class beside the published ones, every clip decoded once, the "
        "same speaker, dialogue or sound in several splits.",
    )
    parser.add_argument("rows", type=Path, help=ROWS_HELP)
    parser.add_argument("--out", type=Path, help="folder for the report; that of the rows when left out")
    parser.add_argument("--without-audio", action="store_true", help="check rows only, hear no clip")
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, help=f"longer clips are listed ({MAX_SECONDS:g})"
    )
    parser.add_argument(
        "--silence", type=float, default=SILENCE_DB, help=f"peak in dB that is silence ({SILENCE_DB:g})"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything is wrong")
    parser.set_defaults(run=_verify)


def _verify(args: argparse.Namespace) -> int:
    with tqdm(unit=" rows", mininterval=2, disable=None) as bar:
        report = verify(
            args.rows, args.out, not args.without_audio, args.max_seconds, args.silence, lambda _: bar.update()
        )
    print(report.text())
    return int(args.strict and not report.clean)


def _add_export(subparsers: argparse._SubParsersAction):
    parser = subparsers.add_parser(
        "export",
        help="rows as a datasets folder, Parquet, ShareGPT or AudioBench",
        description="Write rows, with their clips, in a form that other tools read.",
    )
    parser.add_argument("rows", type=Path, help=ROWS_HELP)
    parser.add_argument("out", type=Path, help="new folder to write")
    parser.add_argument("--format", choices=FORMATS, default="datasets", help="(datasets)")
    _add_drop(parser)
    parser.set_defaults(run=_export)


def _add_drop(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--drop-problems", action="store_true", help="leave out rows whose clip `verify` found unusable"
    )


def _export(args: argparse.Namespace) -> int:
    counts = export(args.rows, args.out, args.format, args.drop_problems)
    print("\n".join(f"{split}: {rows:,} rows" for split, rows in counts.items()))
    print(f"written to {args.out}")
    return 0


def _add_push(subparsers: argparse._SubParsersAction):
    parser = subparsers.add_parser(
        "push",
        help="rows to the Hub, with a dataset card",
        description="Push rows to the Hub as Parquet with a card. Log in first: hf auth login.",
    )
    parser.add_argument("rows", type=Path, help=ROWS_HELP)
    parser.add_argument("name", help="owner/dataset")
    parser.add_argument("--public", action="store_true", help="for everybody; mind the corpus' licence")
    parser.add_argument("--dry-run", type=Path, metavar="FOLDER", help="write what would be uploaded to a new folder")
    _add_drop(parser)
    parser.set_defaults(run=_push)


def _push(args: argparse.Namespace) -> int:
    print(push(args.rows, args.name, not args.public, args.dry_run, args.drop_problems))
    return 0
