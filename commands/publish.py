"""A model with code, card and results, to a folder or the Hub."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .arguments import add_list, refuse_unread
from .export import add_audio_roots


if TYPE_CHECKING:
    from ..hub.publish import Publication


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN", help="output folder of a training, or a model folder")
    add_list(parser, "--results", metavar="RUN", help="results.json files or folders of its evaluations")
    parser.add_argument("--samples", help="corpus folder whose clips are shown; its README.md must state a licence")
    add_audio_roots(parser)
    parser.add_argument("--name", help="heading of the card")
    add_delivery(parser)


def add_delivery(parser: argparse.ArgumentParser) -> None:
    """Where what is published goes."""
    parser.add_argument("--out", help="write to this folder (default: build/hub)")
    parser.add_argument("--push", metavar="OWNER/NAME", help="push to the Hub instead")
    parser.add_argument("--private", action="store_true", help="a new repository is private")
    parser.add_argument("--dry-run", action="store_true", help="list the files and their sizes, and do nothing")


def run(options: argparse.Namespace) -> None:
    from ..hub.publish import model_publication

    refuse_unread(options, ["--audio-root"], "--samples", bool(options.samples))
    publication = model_publication(
        options.source,
        options.push,
        options.name,
        options.results,
        options.samples,
        audio_roots=options.audio_root,
    )
    deliver(publication, options)


def deliver(publication: Publication, options: argparse.Namespace, **repository: str) -> None:
    """List what is published, and write or push it as the options say."""
    refuse_unread(options, ["--private"], "--push", bool(options.push))
    print(publication.listing())
    if options.dry_run:
        return
    if options.push and not options.out:
        print(publication.push(options.push, options.private, **repository))
    else:
        print(publication.write(options.out or "build/hub"))
        if options.push:
            print(f"not pushed, as --out was given; without it, it goes to {options.push}")
