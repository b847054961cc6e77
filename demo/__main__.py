"""`python -m audiollm.demo CHECKPOINT`: the web page, on this machine only unless told otherwise."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m audiollm.demo", description=__doc__)
    parser.add_argument("checkpoint", help="checkpoint folder, or a name on the Hub (whose code then runs here)")
    parser.add_argument("--aligner", help="ctc_head.safetensors of the speech encoder, if it is not in the checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--max-seconds", type=float, default=300, help="longest recording taken")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("gradio") is None:
        print("error: the page needs Gradio: pip install 'audiollm[demo]'", file=sys.stderr)
        return 2
    from .app import launch

    address = {"server_name": options.host, "server_port": options.port}
    try:
        launch(options.checkpoint, options.aligner, options.max_seconds, **address)
    except OSError as error:  # no such checkpoint, no such aligner, or a port that is taken
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
