"""Write one HTML file: a sample of targets per label with audio and highlighted quotes, rates and distributions, and
buttons whose marks the next `extract --marks` takes up."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..reporting.players import AUDIO_MODES
from .arguments import count, settings_of
from .export import add_audio_roots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="+", help="the rows that were extracted from")
    parser.add_argument("--reasons", required=True, type=Path, help="the folder that extract wrote")
    parser.add_argument("--out", type=Path, help="file to write (default: audit.html in the folder)")
    parser.add_argument("--split", help="only rows of this split")
    parser.add_argument("--per-label", type=count, default=4, help="samples per target and label (4)")
    parser.add_argument("--attempts", type=count, default=3, help="as extract was told (3)")
    parser.add_argument("--refused", type=int, default=12, help="answers to show that were set aside (12)")
    parser.add_argument(
        "--audio", choices=AUDIO_MODES, default="embed", help="embed it, link to the files, or leave it out (embed)"
    )
    parser.add_argument("--audio-seconds", type=float, default=20.0, help="embed at most so much of a clip (20)")
    parser.add_argument("--audio-megabytes", type=float, default=30.0, help="embed at most so much in all (30)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    add_audio_roots(parser)


def run(options: argparse.Namespace) -> None:
    from ..reasons.audit import Page, write_audit
    from ..reasons.rows import Input

    page = settings_of(Page, options)
    print(write_audit(Input(options.data, options.split), options.reasons, options.out, page, options.audio_root))
