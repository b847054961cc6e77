"""A corpus and a configuration that trains a tiny dual model in seconds, as fixtures."""

import json

import pytest
import soundfile

from tests.tiny import tiny_model_and_processor


@pytest.fixture
def corpus(tmp_path, tone):
    """Twelve clips with a row of each task, on disk in the schema."""
    rows = []
    for number in range(12):
        name = f"{number}.wav"
        soundfile.write(tmp_path / name, tone(0.4 + 0.1 * number, seed=number), 16_000)
        shared = {"corpus": "test", "split": "train", "audio": name, "transcript": "my old dog", "speaker": "a"}
        for task, answer, label in (
            ("asr", "my old dog", None),
            ("sqa", "dog", None),
            ("er", "The speaker sounds sad.", ("sad", "neutral")[number % 2]),
            ("sr", "negative", "negative"),
        ):
            row = {"id": f"{number}-{task}", "task": task, "question": "What?", "answer": answer, "label": label}
            rows.append({**shared, **row})
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


@pytest.fixture
def config(corpus, tmp_path):
    """A configuration that trains a saved tiny dual model with LoRA for a few steps on the CPU."""
    model, processor = tiny_model_and_processor()
    model.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    return {
        "model": {"checkpoint": str(tmp_path / "start")},
        "data": {"train": [str(corpus)]},
        "schedule": [
            {"tasks": ["asr", "sqa"], "train": ["speech_encoder", "speech_adapter", "lora"]},
            {"tasks": ["er", "sr"], "train": ["emotion_encoder", "emotion_adapter", "lora"]},
            {"tasks": ["asr", "er"], "train": ["speech_adapter", "emotion_adapter", "lora"], "lr": 0.001},
        ],
        "lora": {"r": 4, "lora_alpha": 8},
        "training": {
            "output_dir": str(tmp_path / "out"),
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
