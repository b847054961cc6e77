"""From corpora to training data: `python -m audiollm read|verify|extract|audit|export|push`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


DESCRIPTION = """From a downloaded corpus to verified, documented training data with reasons.

  python -m audiollm read meld MELD.Raw build/meld
  python -m audiollm verify build/meld
  python -m audiollm extract build/meld --out build/reasons --teacher server:MODEL@URL
  python -m audiollm audit build/meld --reasons build/reasons
  python -m audiollm export build/reasons build/meld-dataset

COMMAND --help tells each one's options; docs/corpora.md and docs/reasons.md tell more."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, a function of the arguments that gives the exit code."""
    from .corpora import commands as corpora
    from .reasons import commands as reasons

    parser = argparse.ArgumentParser(
        prog="python -m audiollm",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    corpora.add_commands(subparsers)
    reasons.add_commands(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except (ValueError, OSError) as error:  # what the user can mend, said in a sentence
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
