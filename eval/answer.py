"""Ask a model about recordings: `python -m audiollm.eval.answer MODEL CLIP [CLIP ...]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from transformers import pipeline

from ..modeling_audiollm import AudioEmotionReasoningPipeline


def describe(clip: str, answer: dict[str, Any]) -> str:
    """An answer of the pipeline as lines to read."""
    lines = [clip]
    if answer["label"] is not None:
        others = sorted(answer["scores"].items(), key=lambda item: -item[1])
        lines.append("  label      " + ", ".join(f"{label} {score:.2f}" for label, score in others[:3]))
    lines.append(f"  reasoning  {answer['reasoning']}")
    lines.append("  quotes     " + (", ".join(f'"{quote["text"]}"' for quote in answer["quotes"]) or "none"))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="python -m audiollm.eval.answer", description=__doc__)
    parser.add_argument("model", help="checkpoint folder or Hub id")
    parser.add_argument("clips", nargs="+", help="audio files or URLs")
    parser.add_argument("--task", default="emotion", choices=("emotion", "sentiment"))
    parser.add_argument("--question", help="ask this instead")
    options = parser.parse_args(arguments)
    pipe = pipeline("audio-emotion-reasoning", model=options.model, pipeline_class=AudioEmotionReasoningPipeline)
    settings = {"question": options.question} if options.question else {"task": options.task}
    for clip, answer in zip(options.clips, pipe(options.clips, batch_size=8, **settings)):
        print(describe(clip, answer))


if __name__ == "__main__":
    main()
