"""The worked examples of CONTRIBUTING.md do what they say."""

import importlib
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoConfig

from audiollm import commands
from audiollm.corpora import readers
from audiollm.eval import tables
from tests import tiny


ROOT = Path(__file__).parents[1]


def example(path):
    """The code block of a file, run as that module of the package: with what the module has, if it is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"^```python\n# {re.escape(path)}\n(.*?)^```", text, flags=re.M | re.S)
    name = "audiollm." + path.removesuffix(".py").replace("/", ".")
    there = vars(importlib.import_module(name)) if (ROOT / path).is_file() else {}
    names = {**there, "__name__": name, "__package__": name.rpartition(".")[0]}
    exec(compile(code, path, "exec"), names)
    return names


def test_a_reader_is_one_file_and_its_name(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    for name in ("tom_happy_1", "tom_sad_2", "tom"):
        soundfile.write(tmp_path / "train" / f"{name}.wav", np.full(3200, 0.1, np.float32), 16_000)
    monkeypatch.setitem(readers.READERS, "cats", example("corpora/readers/cats.py")["CATS"])
    rows = readers.read_corpus({"reader": "cats", "path": str(tmp_path)}, "train")
    assert [(row["label"], row["speaker"], row["task"]) for row in rows] == [
        ("happy", "tom", "er"),
        ("sad", "tom", "er"),
    ]


def test_a_metric_is_one_entry_and_its_figure(monkeypatch):
    metric = example("eval/metrics.py")["SHORT"]
    rows = [{"task": "sqa", "prediction": text} for text in ("my dog", "they lost it there today")]
    figures = {"sqa": {"short_answers": example("eval/figures.py")["short_answers"](rows)}}
    assert metric.statistic(metric.counts(None, metric.rows(rows)).sum(0)) == figures["sqa"]["short_answers"] == 50
    monkeypatch.setattr(tables, "METRICS", (metric,))
    settings = {"judge": "rule", "normalizer": "none"}
    results = {"figures": figures, "system": {"name": "it"}, "settings": settings, "label_sets": {}}
    table = tables.overall_table([results | {"counts": {"unscored": 0, "errors": 0}}])
    assert dict(zip(table.columns, table.rows[0]))["short answers"] == 50


def test_a_command_is_one_file_and_its_name(monkeypatch, capsys):
    written = types.ModuleType("audiollm.commands.labels")
    vars(written).update(example("commands/labels.py"))
    monkeypatch.setitem(sys.modules, "audiollm.commands.labels", written)
    monkeypatch.setitem(commands.COMMANDS, "labels", "labels and their counts")
    assert commands.main(["labels", str(ROOT / "samples"), "--split", "validation"]) == 0
    assert "sad: " in capsys.readouterr().out
    assert commands.main(["labels", str(ROOT / "samples"), "--split", "no-such-split"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("kind", ["unispeech-sat", "data2vec-audio"])
def test_an_encoder_that_names_its_convolutions_needs_no_change(kind, monkeypatch):
    monkeypatch.setitem(tiny.ENCODERS, kind, tiny.CONV)
    model, processor = tiny.tiny_model_and_processor(emotion=kind)
    assert isinstance(model.config.emotion_config, type(AutoConfig.for_model(kind)))
    inputs = processor(text=processor.prompt("How?"), audio=[np.zeros(16_000, np.float32)])
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()
