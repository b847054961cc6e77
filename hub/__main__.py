"""`python -m audiollm.hub publish RUN --out FOLDER`, or `--push OWNER/NAME`; `... space MODEL` for a web page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from huggingface_hub.errors import HfHubHTTPError

from ..corpora.schema import RowError
from . import PublishError
from .publish import Publication, model_publication
from .space import space_publication


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m audiollm.hub", description="Publish a model, or a page for it.")
    commands = parser.add_subparsers(dest="command", required=True)
    publish = commands.add_parser("publish", help="a model, with code, card and results")
    publish.add_argument("source", metavar="RUN", help="output folder of a training, or a model folder")
    publish.add_argument("--results", nargs="+", default=[], help="results.json files or folders of its evaluations")
    publish.add_argument("--samples", help="corpus folder whose clips are shown; its README.md must state a licence")
    publish.add_argument("--name", help="heading of the card")
    space = commands.add_parser("space", help="the web demo of a published model")
    space.add_argument("source", metavar="MODEL", help="OWNER/NAME on the Hub, or a folder, which then goes along")
    for command in (publish, space):
        command.add_argument("--out", help="write to this folder (default: build/hub)")
        command.add_argument("--push", metavar="OWNER/NAME", help="push to the Hub instead")
        command.add_argument("--private", action="store_true", help="a new repository is private")
        command.add_argument("--dry-run", action="store_true", help="list the files and their sizes, and do nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        if options.command == "publish":
            publication = model_publication(
                options.source, options.push, options.name, options.results, options.samples
            )
            print(_deliver(publication, options))
        else:
            print(_deliver(space_publication(options.source), options, repo_type="space", space_sdk="gradio"))
    except (PublishError, RowError, FileNotFoundError, HfHubHTTPError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _deliver(publication: Publication, options: argparse.Namespace, **repository: str) -> str:
    listing = publication.listing()
    if options.dry_run:
        return listing
    if options.push and not options.out:
        return f"{listing}\n{publication.push(options.push, options.private, **repository)}"
    return f"{listing}\n{publication.write(options.out or 'build/hub')}"


if __name__ == "__main__":
    sys.exit(main())
