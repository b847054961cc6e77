"""Convert a published emotion2vec checkpoint (FunASR's model.pt) into a transformers folder with safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="the published model.pt")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--size", help="published size that the file must be: base, plus_seed, plus_base, plus_large")
    parser.add_argument("--sha256", help="SHA-256 that the file must have")
    parser.add_argument("--labels", type=Path, help="file of labels, one a line (default: tokens.txt beside model.pt)")


def run(options: argparse.Namespace) -> None:
    from ..modeling_audiollm.configuration_emotion2vec import EMOTION2VEC_SIZES
    from ..modeling_audiollm.convert_emotion2vec import convert

    if options.size not in (None, *EMOTION2VEC_SIZES):
        raise ValueError(f"--size {options.size} is not one of {', '.join(EMOTION2VEC_SIZES)}.")
    convert(options.checkpoint, options.output, options.size, options.sha256, options.labels)
