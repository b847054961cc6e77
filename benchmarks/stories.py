"""How often the label of an answer and its explanation contradict each other, as the rule judge reads them.

    python benchmarks/stories.py --model build/demo/model

Every clip of the rows is asked for its emotion and its sentiment by the pipeline's own questions. An explanation
contradicts its label if it states another label, or several. Beside it, how often the label is right. One to two
minutes on 2 cores for `samples/`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import pipeline

from audiollm.corpora.schema import read_rows
from audiollm.eval.judges import RuleJudge
from audiollm.modeling_audiollm import AudioEmotionReasoningPipeline


TASKS = {"emotion": "er", "sentiment": "sr"}


def measure(pipe: AudioEmotionReasoningPipeline, rows: Sequence[dict], task: str, batch_size: int) -> dict:
    """Shares of the clips of one task, in %."""
    judge, labels = RuleJudge(), tuple(getattr(pipe.model.config, f"{task}_labels"))
    clips = {row["audio"]["path"]: row["label"] for row in rows if row["task"] == TASKS[task]}
    answers = pipe(list(clips), task=task, batch_size=batch_size)
    against, silent, bare, right, quoted, examples = 0, 0, 0, 0, 0, []
    for answer, label in zip(answers, clips.values()):
        stated, kind = judge.stated_labels(answer["generated_text"], labels)
        differs = kind in ("several_emotions", "neutral_but_emotion") or (
            kind is None and stated != (answer["label"],)
        )
        against += differs
        silent += kind is not None and not differs
        bare += answer["reasoning"] == answer["generated_text"]
        quoted += bool(answer["quotes"])
        right += answer["label"] == label
        if differs and len(examples) < 3:
            examples.append({"label": answer["label"], "text": answer["generated_text"]})
    shares = {
        "contradict": against,
        "state no label": silent,
        "say no more than the label": bare,
        "quote": quoted,
        "label right": right,
    }
    return {
        "clips": len(clips),
        **{name: round(100 * count / len(clips), 1) for name, count in shares.items()},
        "examples": examples,
    }


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samples/tiny-base", help="checkpoint folder")
    parser.add_argument("--data", type=Path, default=Path("samples/test.jsonl"), help="rows with er and sr")
    parser.add_argument("--limit", type=int, help="of rows")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args(arguments)
    pipe = pipeline(
        "audio-emotion-reasoning",
        model=options.model,
        pipeline_class=AudioEmotionReasoningPipeline,
        dtype=torch.float32,
    )
    rows = list(read_rows(options.data))[: options.limit]
    for task in TASKS:
        print(json.dumps({"task": task, **measure(pipe, rows, task, options.batch_size)}), flush=True)


if __name__ == "__main__":
    main()
