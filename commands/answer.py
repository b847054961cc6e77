"""Ask a model about recordings: label, reasoning and quoted words of each."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import pairs, refuse_unread
from .merge import add_base, whole_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="checkpoint folder, delta, or Hub id")
    add_base(parser)
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="audio files or URLs")
    parser.add_argument("--task", default="emotion", choices=("emotion", "sentiment"), help="(emotion)")
    parser.add_argument("--question", help="ask this instead")


def describe(clip: str, answer: dict[str, Any]) -> str:
    """An answer of the pipeline as lines to read."""
    lines = [clip]
    if answer["label"] is not None:
        others = sorted(answer["scores"].items(), key=lambda item: -item[1])
        lines.append("  label      " + ", ".join(f"{label} {score:.2f}" for label, score in others[:3]))
    lines.append(f"  reasoning  {answer['reasoning']}")
    lines.append("  quotes     " + (", ".join(f'"{quote["text"]}"' for quote in answer["quotes"]) or "none"))
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    from transformers import pipeline

    from ..modeling_audiollm import AudioEmotionReasoningPipeline
    from ..modeling_audiollm.pipeline_audiollm import LONGEST_ANSWER

    refuse_unread(options, ["--task"], "the pipeline's own question", not options.question)
    task: Any = "audio-emotion-reasoning"  # a name of ours, which transformers' overloads lack
    model = whole_model(options.model, pairs(options.base, "--base"))
    try:
        pipe: Any = pipeline(
            task, model=model, pipeline_class=AudioEmotionReasoningPipeline, max_new_tokens=LONGEST_ANSWER
        )
    except OSError as error:
        raise OSError(f"{options.model}: {error}") from error
    settings = {"question": options.question} if options.question else {"task": options.task}
    for clip, answer in zip(options.clips, pipe(options.clips, batch_size=8, **settings), strict=True):
        print(describe(clip, answer))
