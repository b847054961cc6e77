"""The command `audiollm`: one subcommand a module, loaded only when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from .. import __version__
from .arguments import DONE, REFUSED, STOPPED, Parser


# What each does, in the order of a project. The module of a command has its name, and two functions:
# `add_arguments(parser)` and `run(options)`, which gives the exit code and imports what the command needs.
COMMANDS = {
    "read": "a corpus as published -> rows.jsonl, rejects.jsonl, read.json",
    "verify": "counts beside published ones, every clip heard, what splits share -> verify.json, problems.jsonl",
    "extract": "ask a teacher for the reasons behind the labels",
    "audit": "make a page to listen to, read and mark what was extracted",
    "export": "rows as a datasets folder, Parquet, ShareGPT or AudioBench",
    "push": "rows to the Hub, with a dataset card",
    "train": "train a model by a configuration, or show what that takes",
    "rl": "train a model by rewards for its answers, or show what that takes",
    "delta": "a training checkpoint -> what learnt alone, small, to publish",
    "merge": "a training checkpoint or a delta -> a whole, merged model",
    "study": "train and evaluate the runs of a study, and print its tables",
    "eval": "answer, judge and count: systems on a corpus",
    "report": "one page of a run: figures, plots, recordings beside answers",
    "tables": "results as Markdown, LaTeX or CSV, beside the paper's",
    "judge-study": "whether a judge decides special cases as people do",
    "audiobench": "AudioBench's prediction and score logs, read and written",
    "listen": "a recording of any length -> who feels what and why, segment by segment",
    "answer": "ask a model about recordings",
    "demo": "a web page to speak to a model",
    "publish": "a model with code, card and results, to a folder or the Hub",
    "space": "the web page of a published model, to a folder or the Hub",
    "convert-emotion2vec": "emotion2vec's published checkpoint -> a transformers folder",
    "encoders": "the paper's encoders: what to write into a configuration, and how large each is",
}

DESCRIPTION = """From a corpus to a trained, evaluated and published model of speech emotion reasoning.

  audiollm read meld MELD.Raw build/meld
  audiollm extract build/meld --out build/reasons --teacher server:MODEL@URL
  audiollm train --config configs/tiny.yaml --set training.output_dir=build/run
  audiollm eval --system build/run/model --data samples --out build/eval --report

`audiollm COMMAND --help` tells the options of one. Options that take several values take them with spaces, and add up
when given again."""

EXIT_CODES = """exit codes: 0 done; 1 done, but something was set aside, failed or is left to do, as the output says;
2 refused: one line `error: ...` says what to change; 130 stopped by the keyboard."""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of one (only that one's module is loaded)."""
    parser = Parser(
        prog="audiollm",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"audiollm {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from, to report a bug")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == command:
            module = importlib.import_module(f".{name.replace('-', '_')}", __name__)
            subparser.description = module.__doc__
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What a command line asks for; `run` of it is the function to call.

    Raises:
        ValueError: if it cannot be understood.
    """
    options = build_parser(next((word for word in arguments if not word.startswith("-")), None)).parse_args(arguments)
    options.words = list(arguments)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse(arguments)
        return options.run(options) or DONE
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    # What a user can mend: values, files, servers, packages that are not installed. Anything else is a bug of ours.
    except (ValueError, OSError, ImportError) as error:
        if "--traceback" in arguments:
            raise
        print(f"error: {one_line(error)}", file=sys.stderr)
        return REFUSED


def one_line(error: Exception) -> str:
    """An error as one line; a missing package with the command that brings it, if an extra of ours has it."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name)
    text = str(error).strip() or type(error).__name__
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _missing(module: str) -> str:
    extras = {"gradio": "demo", "openai": "server", "av": "video", "tensorboard": "test", "silero_vad": "listen"}
    package = module.partition(".")[0]
    wanted = f"'audiollm[{extras[package]}]'" if package in extras else package
    return f"the package {package} is not installed: pip install {wanted}"
