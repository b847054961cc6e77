"""`python -m audiollm.demo CHECKPOINT`: the web page, on this machine only unless told otherwise."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from audiollm.demo.app import launch


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="python -m audiollm.demo", description=__doc__)
    parser.add_argument("checkpoint", help="checkpoint folder, or a name on the Hub (whose code then runs here)")
    parser.add_argument("--aligner", help="ctc_head.safetensors of the speech encoder, if it is not in the checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--max-seconds", type=float, default=300, help="longest recording taken")
    options = parser.parse_args(arguments)
    launch(
        options.checkpoint, options.aligner, options.max_seconds, server_name=options.host, server_port=options.port
    )


if __name__ == "__main__":
    main()
