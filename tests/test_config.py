# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""Nothing that a configuration says is ignored: it is done, or refused in one line that names the field."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    WhisperConfig,
    WhisperModel,
)

from audiollm.commands import main
from audiollm.modeling_audiollm import AudioLLMConfig
from audiollm.modeling_audiollm.configuration_audiollm import EMOTION_LABELS
from audiollm.modeling_audiollm.modeling_audiollm import AudioLLMModel
from audiollm.training import config as sections
from audiollm.training.assemble import assemble, new_parts, note_context, note_label_words, note_labels
from audiollm.training.config import ConfigError, check_config, read_config, read_overrides, set_field
from audiollm.training.sft import build_trainer
from audiollm.training.strict import read_section
from tests.tiny import ENCODERS, tiny_model_and_processor
from tests.tiny_run import config, corpus  # noqa: F401


CONFIGS = Path(__file__).parents[1] / "configs"
MINIMAL = {
    "model": {"parts": {"speech": "whisper", "text": "llama"}},
    "data": {"train": ["samples"]},
    "schedule": "joint",
    "training": {"output_dir": "out"},
}


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["modle=1"], "modle is unknown; did you mean model?"),
        (["model.part=1"], "model.part is unknown; did you mean parts?"),
        (
            ["model.parts.emotion_layermix=true"],
            "emotion_layermix is unknown; did you mean emotion_layer_mix",
        ),
        (["model.parts.speech={pth: x}"], "model.parts.speech.pth is unknown; did you mean path?"),
        (
            ["model.parts.speech={path: x, dtype: fp32}"],
            "speech.dtype is 'fp32'; it must be 'auto' or",
        ),
        (["model.parts.window_seconds=ten"], "model.parts.window_seconds is 'ten'; it must be a number"),
        (["model.parts.adapter_hidden_sizes=[1, two]"], "model.parts.adapter_hidden_sizes.1 is 'two'"),
        (["model.checkpoint=x"], "model needs exactly one of checkpoint"),
        (["model.revision=abc"], "model.revision belongs to a checkpoint"),
        (["model.add_emotion.encodr=x"], "model.add_emotion.encodr is unknown; did you mean encoder?"),
        (["model.add_emotion.fusion=sequence"], "model.add_emotion needs exactly one of encoder"),
        (["model.add_emotion.config={model_type: huber}"], "model.add_emotion.config.model_type is 'huber'"),
        (
            ["model.add_emotion.config={model_type: hubert, hiden_size: 3}"],
            "did you mean hidden_size",
        ),
        (["data.trian=[x]"], "data.trian is unknown; did you mean train?"),
        (["data.train=samples"], "data.train is 'samples'; it must be a list"),
        (["data.train=[{reader: ravdes, path: x}]"], "data: reader.ravdes is unknown; did you mean ravdess?"),
        (["data.train=[{reader: ravdess, pth: x}]"], "data.train.0.pth is unknown; did you mean path?"),
        (["data.train=[{reader: own, path: x, options: {holdot: 0.1}}]"], "holdot is unknown; did you mean holdout?"),
        (["data.tasks=[er, sqaa]"], "data.tasks.sqaa is unknown; did you mean sqa?"),
        (["data.targets=[evidense]"], "data.targets.evidense is unknown; did you mean evidence?"),
        (["schedule=alt4"], "schedule is 'alt4'; did you mean alt-4?"),
        (["schedule=[{tasks: [er], train: [lora], epoch: 2}]"], "schedule.0.epoch is unknown; did you mean epochs?"),
        (["schedule=[{tasks: [er], train: [lora], epochs: two}]"], "epochs is 'two'; it must be a number"),
        (["schedule=[{tasks: er, train: [lora]}]"], "schedule.0.tasks is 'er'; it must be a list of text"),
        (["schedule=[er]"], "schedule.0 is 'er'; it must be a mapping"),
        (["schedule=[{tasks: [er], train: [lorra]}]"], "part 'lorra' is not one of"),
        (["lora.rank=8"], "lora.rank is unknown"),
        (["lora.lora_alfa=8"], "lora.lora_alfa is unknown; did you mean lora_alpha?"),
        (["lora.r=eight"], "lora.r is 'eight'; it must be a whole number"),
        (["training.learning_rat=1.0e-4"], "training.learning_rat is unknown; did you mean learning_rate?"),
        (["training.learning_rate=1e-4"], "it must be a number (in YAML, 1e-4 is text: write 1.0e-4)"),
        (["training.save_steps=[5]"], "training.save_steps is [5]; it must be a number"),
        (["training.bf16=yess"], "training.bf16 is 'yess'; it must be true or false"),
        (["training.lr_scheduler_type=cosin"], "training.lr_scheduler_type is 'cosin'; did you mean cosine?"),
        (["training.num_train_epochs=3"], "training.num_train_epochs cannot be set: the schedule says"),
        (["training.packing=true"], "training.packing cannot be set: "),
        (["training.eval_strategy=steps"], "data.validation names no rows"),
        (["training.eval_steps=5"], "training.eval_steps is of data.validation, which names no rows"),
        (["data.validation=[x]", "training.eval_strategy='no'"], "so data.validation would not be used"),
        (["training.data_seed=5"], "training.data_seed cannot be set: rows come in the order of training.seed"),
        (["training.auto_find_batch_size=true"], "cannot be set: rows are laid out before the first step"),
        (["training.ignore_data_skip=true"], "cannot be set: a run that goes on has to go on with the rows"),
        (
            ["training.accelerator_config={split_batches: true}"],
            "split_batches cannot be set: rows are",
        ),
        (["training.load_best_model_at_end=true"], "cannot be set: the model is what the last round ends with"),
        (["training.save_strategy=epoch"], "training.save_strategy is 'epoch'; it is one of no and steps"),
        (["training.save_strategy=best"], "training.save_strategy is 'best'; it is one of no and steps"),
        (["training.logging_strategy=epoch"], "training.logging_strategy is 'epoch'; it is one of"),
        (["data.validation=[x]", "training.eval_strategy=epoch"], "training.eval_strategy is 'epoch'; it is one of"),
        (["training.train_sampling_strategy=sequential"], "it is one of random and group_by_length"),
        (["max_steps=4", "training.max_steps=5"], "max_steps and training.max_steps are the same field"),
        (["feature_cache.foldr=x"], "feature_cache.foldr is unknown; did you mean folder?"),
        (["feature_cache.folder=x"], "feature_cache needs max_gb"),
        (["training"], "--set 'training': expected section.field=value"),
        (["training.seed=1", "training.seed=2"], "training.seed was set by another --set before it"),
        (["lora.r=1", "lora={r: 2}"], "lora.r was set by another --set before it"),
        (["data.train.7=x"], "'7' is no item of a list of 1"),
        (["schedule.0=x"], "schedule is 'joint', which has no fields"),
        (["data.train=[a"], "no YAML"),
    ],
)
def test_a_slip_is_one_line_that_names_the_field(overrides, message, tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    assert main(["train", "--config", str(path), "--set", *overrides]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and message in said[0]


def test_files_that_are_no_configuration_are_refused(tmp_path, capsys):
    for text in ("- a list\n", "", "training: {output_dir: [}\n"):
        (tmp_path / "c.yaml").write_text(text)
        assert main(["train", "--config", str(tmp_path / "c.yaml")]) == 2
        assert "c.yaml" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="the configuration needs data and schedule and training"):
        check_config({})


@pytest.mark.parametrize("path", sorted({*CONFIGS.glob("*.yaml")} - {CONFIGS / "rl.yaml"}), ids=lambda path: path.stem)
def test_our_own_configurations_are_right(path):
    assert read_config(path)["schedule"]


def test_overrides_reach_new_sections_and_items_of_lists():
    config = {"lora": None, "schedule": [{"epochs": 1}]}
    for name, value in read_overrides(["lora.r=8", "schedule.0.epochs=2.5", "data.train=[a, b]"]).items():
        set_field(config, name, value)
    assert config == {"lora": {"r": 8}, "schedule": [{"epochs": 2.5}], "data": {"train": ["a", "b"]}}


def test_every_field_is_documented():
    kinds = [kind for kind in vars(sections).values() if is_dataclass(kind) and kind.__module__ == sections.__name__]
    assert len(kinds) >= 7
    for kind in kinds:
        if kind is sections.Parts:
            continue  # names the class that documents them
        assert not [item.name for item in fields(kind) if f"{item.name}" not in (kind.__doc__ or "")]


def test_parts_may_set_whatever_the_model_knows():
    own = {item.name for item in fields(AudioLLMConfig)} - {item.name for item in fields(PreTrainedConfig)}
    derived = {"speech_config", "emotion_config", "text_config", "audio_token_id", "quote_confidence", "context_turns"}
    derived |= {"tie_word_embeddings", "initializer_range", "speech_alignment"}  # the last is a matter of the rounds
    derived |= {"speech_decoder", "emotion_label_ids"}  # of words_first and speech_language, and of emotion_labels
    assert own - derived == {item.name for item in fields(sections.Parts)} - set(sections.PARTS_ONLY)


def test_a_strategy_of_no_may_be_written_without_quotes(config):
    config["training"]["save_strategy"] = yaml.safe_load("no")
    assert check_config(config).training["save_strategy"] == "no"


def test_whole_numbers_serve_as_numbers():
    cache = read_section(sections.Cache, {"folder": "x", "max_gb": 1}, "feature_cache")
    assert isinstance(cache.max_gb, float)


@pytest.fixture
def parts(tmp_path):
    """Saved parts: a Whisper, a HuBERT and a Llama, with extractors and tokenizer."""
    model, processor = tiny_model_and_processor()
    whisper = WhisperModel(WhisperConfig(**ENCODERS["whisper"]))
    whisper.save_pretrained(tmp_path / "whisper")
    processor.feature_extractor.save_pretrained(tmp_path / "whisper")
    text = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=len(processor.tokenizer),
        )
    )
    text.save_pretrained(tmp_path / "llama")
    processor.tokenizer.save_pretrained(tmp_path / "llama")
    return {"speech": str(tmp_path / "whisper"), "emotion": str(tmp_path / "whisper"), "text": str(tmp_path / "llama")}


def test_settings_of_parts_arrive_in_the_model(parts):
    section = {"parts": {**parts, "emotion_layer_mix": True, "adapter_norm": "batch", "window_seconds": 1}}
    section["parts"] |= {"adapter_context": 1, "adapter_dropout": 0.1, "emotion_adapter_norm": "layer"}
    model, _ = assemble(section)
    assert model.model.emotion_adapter.context == 1 and model.model.speech_adapter.dropout == 0.1
    assert model.config.emotion_layer_mix and model.config.adapter_norm == "batch"
    assert model.config.norm_of("emotion") == "layer"
    assert hasattr(model.model.emotion_adapter, "mixes") or "mix" in str(model.model.emotion_adapter).lower()
    assert new_parts(section, model) == {"speech_adapter", "emotion_adapter"}
    model, _ = assemble({"parts": {**parts, "window_seconds": 1, "emotion_statistics": {"width": 5}}})
    assert model.model.emotion_adapter.linear_1.out_features == 5


def test_settings_of_an_added_emotion_encoder_arrive_in_the_model(parts, tmp_path):
    single, processor = assemble({"parts": {**parts, "emotion": None, "window_seconds": 1}})
    single.save_pretrained(tmp_path / "single")
    processor.save_pretrained(tmp_path / "single")
    added = {"encoder": parts["emotion"], "emotion_layer_mix": True, "emotion_length_aware": True}
    added |= {"emotion_adapter_norm": "batch", "emotion_tokens": 7}
    config = assemble({"checkpoint": str(tmp_path / "single"), "add_emotion": added})[0].config
    assert config.emotion_layer_mix and config.emotion_length_aware and config.emotion_tokens == 7
    assert (config.norm_of("emotion"), config.norm_of("speech")) == ("batch", "layer")
    added = {"encoder": "speech_encoder", "emotion_statistics": {"context": 2}}
    model = assemble({"checkpoint": str(tmp_path / "single"), "add_emotion": added})[0]
    adapter = model.model.emotion_adapter
    assert adapter.context == 2 and type(adapter).__name__ in model._no_split_modules
    assert adapter.linear_1.weight.std().item() == pytest.approx(adapter.linear_1.in_features**-0.5, rel=0.1)


def test_each_part_is_loaded_as_it_is_said(parts, monkeypatch):
    told = {}
    real = AutoModelForCausalLM.from_pretrained

    def loading(source, **settings):
        told.update(settings)
        settings.pop("quantization_config", None)
        return real(source, **settings)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loading)
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    text = {"path": parts["text"], "dtype": "bfloat16", "revision": "main", "quantization_config": quantized}
    section = {"parts": {**parts, "text": text, "window_seconds": 1}, "attn_implementation": "eager"}
    model, _ = assemble(section)
    assert told == {
        "dtype": "bfloat16",
        "revision": "main",
        "attn_implementation": "eager",
        "quantization_config": quantized,
    }
    model_dtypes = {part.dtype for part in (model.model.language_model, model.lm_head.weight)}
    assert model_dtypes == {torch.bfloat16} and model.model.speech_encoder.dtype == torch.float32
    assert {part.config._attn_implementation for part in (model.model.language_model, model.model.speech_encoder)} == {
        "eager"
    }


def test_parts_are_taken_as_they_were_loaded_and_nothing_is_made_twice(parts, monkeypatch):
    loaded = []
    real = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *a, **k: loaded.append(real(*a, **k)) or loaded[-1]
    )
    built = []
    plain = AudioLLMModel.__init__
    monkeypatch.setattr(
        AudioLLMModel,
        "__init__",
        lambda self, config: plain(self, config) or built.append({p.device.type for p in self.parameters()}),
    )
    model, _ = assemble({"parts": {**parts, "window_seconds": 1}})
    assert built == [{"meta"}]
    assert model.model.language_model is loaded[0].base_model
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    adapter = dict(model.model.speech_adapter.named_parameters())
    assert any(weight.abs().sum() > 0 for name, weight in adapter.items() if "linear" in name)


def test_steps_of_the_training_arguments_are_kept(config):
    config["training"]["max_steps"] = 2
    assert build_trainer(config).args.max_steps == 2


def test_rows_to_validate_with_give_a_loss_for_each_task(config, corpus):
    lines = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    rows = [json.dumps(row | {"split": "validation"}) for row in lines[:8]]
    (corpus / "validation.jsonl").write_text("\n".join(rows))
    config["data"]["validation"] = [str(corpus)]
    config["training"] |= {"max_steps": 5, "save_steps": 5}
    trainer = build_trainer(config)
    trainer.train()
    logged = {name: value for entry in trainer.state.log_history for name, value in entry.items()}
    assert {name for name in logged if name.endswith("_loss") and name.startswith("eval_")} == {
        f"eval_{task}_loss" for task in ("asr", "sqa", "er", "sr")
    }
    assert all(0 < logged[f"eval_{task}_loss"] < 20 for task in ("asr", "er"))


@pytest.mark.parametrize(
    "section, emotions",
    [
        (None, [*EMOTION_LABELS, "bored"]),
        ({"checkpoint": "x"}, [*EMOTION_LABELS, "bored"]),
        ({"parts": {"speech": "x", "text": "y"}}, ["sad", "bored"]),
        ({"parts": {"speech": "x", "text": "y", "emotion_labels": ["sad", "bored", "proud"]}}, list(EMOTION_LABELS)),
    ],
)
def test_a_model_keeps_the_labels_that_it_learns(section, emotions):
    model, _ = tiny_model_and_processor()
    rows = [{"task": "er", "label": label} for label in ("sad", "bored", "Sad", None)]
    note_labels(model, section, Dataset.from_list([*rows, {"task": "asr", "label": "odd"}]))
    assert [label for label in model.config.emotion_labels if label != "Sad"] == emotions
    assert list(model.config.sentiment_labels) == ["positive", "negative", "neutral"]


def test_settings_of_an_emotion_branch_that_the_model_has_not_are_said(parts, caplog):
    single = {**parts, "emotion": None, "window_seconds": 1}
    for section, said in (
        ({"parts": single}, []),
        ({"parts": {**single, "emotion_tokens": 3}}, ["parts.emotion_tokens is not read: fusion is none"]),
        ({"parts": {**single, "emotion": parts["emotion"], "emotion_tokens": 3}}, []),
        (
            {"parts": single, "add_emotion": {"encoder": parts["emotion"], "emotion_tokens": 3, "fusion": "feature"}},
            ["add_emotion.emotion_tokens is not read: fusion is feature"],
        ),
    ):
        caplog.clear()
        assemble(section)
        assert [message for message in said if message not in caplog.text] == []
        assert caplog.text.count("is not read") == len(said)


def test_a_model_keeps_the_words_of_labels_that_its_adapter_was_taught_and_of_no_others():
    model, processor = tiny_model_and_processor(label_first=True)
    note_label_words(model, processor, ["sad", "happy", "sad"])
    assert model.config.emotion_label_ids == processor.label_ids(["happy", "sad"])
    note_label_words(model, processor, [])  # a training that teaches the language model alone
    note_label_words(model, processor, ["bored", "sad"])
    assert model.config.emotion_label_ids == processor.label_ids(["happy", "sad", "bored"])


def test_a_model_keeps_how_much_context_it_learns_with():
    model, _ = tiny_model_and_processor()
    turn = {"speaker": "A", "text": "hello"}
    for contexts, known in (([None], 0), ([[turn, turn], None], 2), ([[turn]], 2)):
        note_context(model, Dataset.from_list([{"context": context} for context in contexts]))
        assert model.config.context_turns == known
