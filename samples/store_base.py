#!/usr/bin/env python3
"""Keep a trained base in the repository, at half the size.

    python samples/store_base.py --run build/tiny-base-answers --out samples/tiny-base

Weights are rounded to half precision; the configuration still says float32, so they are loaded as that.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from audiollm.files import write_whole
from audiollm.modeling_audiollm.saving import open_to_readers
from audiollm.training.facts import FACTS_NAME


WEIGHTS = "model.safetensors"
HEARS = (
    "It learnt 266 words from synthetic voices and hears nothing else: a person's voice it does not understand, and "
    "of feelings it was taught nothing."
)


def store(run: Path, out: Path) -> None:
    """Replace `out` by the merged model of a training's output folder."""
    tensors = load_file(run / "model" / WEIGHTS)
    rounded = {
        name: tensor.to(torch.float16) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
    if not all(tensor.isfinite().all() for tensor in rounded.values()):
        raise ValueError(f"{run / 'model' / WEIGHTS} has weights beyond the range of half precision.")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(run / "model", out, ignore=shutil.ignore_patterns("*.py"))  # samples/base_code.py writes it
    save_file(rounded, out / WEIGHTS, metadata={"format": "pt"})
    open_to_readers(out / WEIGHTS)
    write_whole(out / FACTS_NAME, json.dumps({"format": 1, "hears": HEARS}, indent=1) + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"wrote {out}: {size / 1e6:.2f} MB")


def main() -> None:
    """Read the command line and store the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="output folder of the last leg")
    parser.add_argument("--out", type=Path, required=True, help="folder to replace")
    args = parser.parse_args()
    store(args.run, args.out)


if __name__ == "__main__":
    main()
