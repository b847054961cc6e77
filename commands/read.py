"""Read a corpus to rows of the one schema. Rows that cannot be used go to rejects.jsonl."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..corpora.questions import LABEL_LISTS, STYLES
from ..corpora.readers import READERS
from ..corpora.schema import TASKS
from .arguments import DONE, LEFT, add_list, add_pairs, pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    corpora = "\n\n".join(
        f"{reader.name}: {reader.title}\n  {reader.layout}{_options(reader)}" for reader in READERS.values()
    )
    parser.epilog = f"corpora and what their folders look like:\n\n{corpora}\n\n{parser.epilog}"
    parser.add_argument("corpus", choices=READERS, metavar="CORPUS", help=", ".join(READERS))
    parser.add_argument("root", type=Path, help="folder of the corpus (for `own` also a table; for some a Hub name)")
    parser.add_argument("out", type=Path, help="folder to write")
    add_list(parser, "--splits", metavar="SPLIT", help="to read; all when left out")
    add_list(parser, "--tasks", choices=TASKS, help="to read; all when left out")
    parser.add_argument("--style", choices=STYLES, default="plain", help="of the questions (plain)")
    parser.add_argument("--label-list", choices=LABEL_LISTS, default="never", help="label list in questions (never)")
    parser.add_argument("--seed", type=int, default=0, help="of questions and drawn splits (0)")
    add_pairs(parser, "--option", help="of the corpus, see below")
    parser.add_argument(
        "--without-audio",
        action="store_true",
        help="do not ask for clips: for work on the text, before they are there",
    )


def _options(reader) -> str:
    return "".join(f"\n  --option {name}=...  {meaning}" for name, meaning in reader.options.items())


def run(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..corpora.read import read_to_folder
    from ..corpora.reader import Request

    request = Request(
        root=options.root,
        split="",
        tasks=tuple(options.tasks),
        seed=options.seed,
        style=options.style,
        label_list=options.label_list,
        check_audio=not options.without_audio,
        options=pairs(options.option, "--option"),
    )
    with tqdm(unit=" rows", mininterval=2, disable=None) as bar:
        summary = read_to_folder(options.corpus, request, options.out, options.splits, lambda _: bar.update())
    print(summary.text())
    print(f"written to {options.out}")
    return LEFT if summary.rejects else DONE
