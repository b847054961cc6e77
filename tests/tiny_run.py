"""A corpus and a configuration that trains a tiny dual model in seconds, as fixtures."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import soundfile

from tests.tiny import quiet_tone, tiny_model_and_processor


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path)


@pytest.fixture
def config(corpus, tmp_path):
    return write_start(tmp_path)


def in_another_folder(config, folder: Path) -> dict:
    """The run as it stands, with a folder of its own to go on in."""
    other = copy.deepcopy(config)
    other["training"]["output_dir"] = str(folder)
    shutil.copytree(config["training"]["output_dir"], folder)
    return other


def write_corpus(folder: Path) -> Path:
    """Twelve clips with a row of each task, on disk in the schema."""
    rows = []
    for number in range(12):
        name = f"{number}.wav"
        soundfile.write(folder / name, quiet_tone(0.4 + 0.1 * number, seed=number), 16_000)
        shared = {"corpus": "test", "split": "train", "audio": name, "transcript": "my old dog", "speaker": "a"}
        for task, answer, label in (
            ("asr", "my old dog", None),
            ("sqa", "dog", None),
            ("er", "The speaker sounds sad.", ("sad", "neutral")[number % 2]),
            ("sr", "negative", "negative"),
        ):
            row = {"id": f"{number}-{task}", "task": task, "question": "What?", "answer": answer, "label": label}
            rows.append({**shared, **row})
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def write_start(folder: Path) -> dict:
    """A configuration that trains a saved tiny dual model with LoRA for a few steps on the CPU."""
    model, processor = tiny_model_and_processor()
    model.save_pretrained(folder / "start")
    processor.save_pretrained(folder / "start")
    return {
        "model": {"checkpoint": str(folder / "start")},
        "data": {"train": [str(folder)]},
        "schedule": [
            {"tasks": ["asr", "sqa"], "train": ["speech_encoder", "speech_adapter", "lora"]},
            {"tasks": ["er", "sr"], "train": ["emotion_encoder", "emotion_adapter", "lora"]},
            {"tasks": ["asr", "er"], "train": ["speech_adapter", "emotion_adapter", "lora"], "lr": 0.001},
        ],
        "lora": {"r": 4, "lora_alpha": 8},
        "training": {
            "output_dir": str(folder / "out"),
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "learning_rate": 0.01,
            "logging_steps": 1,
            "save_steps": 5,
            "report_to": "none",
            "bf16": False,
            "use_cpu": True,
            "gradient_checkpointing": False,
        },
    }
