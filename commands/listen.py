"""Listen to a recording of any length: who speaks when, how they feel and why. Stop it whenever you like; the same
command goes on.

example: audiollm listen call.wav --model build/demo/model --out build/call --channels"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .arguments import DONE, LEFT, add_list, count, count_or_none


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("audio", help="recording of any length")
    parser.add_argument("--model", required=True, help="AudioLLM folder, or name on the Hub")
    parser.add_argument("--out", required=True, type=Path, help="folder for answers, tables, subtitles and the page")
    parser.add_argument("--channels", action="store_true", help="each channel is a speaker, as in a stereo call")
    parser.add_argument("--rttm", type=Path, help="who speaks when, instead of voice activity")
    parser.add_argument(
        "--context",
        type=count_or_none,
        help="so many segments before each are told; 0: none (as the model was trained, up to 4)",
    )
    parser.add_argument("--task", choices=("emotion", "sentiment"), default="emotion", help="(emotion)")
    add_list(parser, "--labels", metavar="LABEL", help="to choose from; those of the model when left out")
    parser.add_argument("--longest", type=float, help="seconds of a segment, at most (a window of the model)")
    parser.add_argument("--batch-size", type=count, default=8, help="segments answered together (8)")
    parser.add_argument("--max-new-tokens", type=count, default=128, help="longest answer (128)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    from ..listening.listener import listen
    from ..listening.outputs import write_outputs
    from ..listening.page import write_page

    heard = listen(
        options.audio,
        options.model,
        options.out,
        by_channel=options.channels,
        rttm=options.rttm,
        context=options.context,
        task=options.task,
        labels=options.labels or None,
        longest=options.longest,
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
        progress=not options.quiet,
    )
    paths = [*write_outputs(heard, options.out), write_page(heard, options.audio, options.out)]
    for problem in heard.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if not heard.rows:
        print("No speech was found.")
    print(f"{len(heard.rows)} segments in {heard.seconds:.1f} s, {heard.answered_now} answered now: ", end="")
    print(", ".join(map(str, paths)))
    return LEFT if heard.problems else DONE
