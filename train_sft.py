"""Train an AudioLLM: `accelerate launch train_sft.py --config configs/tiny.yaml`, the same as `audiollm train`."""

import sys

from audiollm.commands import main


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
