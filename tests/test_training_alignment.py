# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""Rounds that align: the adapter learns words without the language model, and what cannot be right is refused."""

import json
from pathlib import Path

import pytest
import torch

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.processing.word_targets import WordTargets, spoken_words
from audiollm.training import sft
from audiollm.training.checkpoints import load_trained
from audiollm.training.schedule import ScheduleError, without_lora
from tests.tiny import tiny_model_and_processor, tiny_tokenizer
from tests.tiny_run import config, corpus  # noqa: F401


ALIGN = {"tasks": ["asr"], "train": ["speech_adapter"], "epochs": 2, "align": 1.0, "lm": 0.0}


def test_transcripts_become_words_as_they_sound():
    assert spoken_words("Don\u2019t, said 'HE' \u2014 No\u00eb!") == "don't said he no\u00eb"
    assert spoken_words("...") == ""


def test_labels_are_the_places_of_the_transcripts_tokens():
    tokenizer = tiny_tokenizer()
    rows = [{"transcript": "I lost my old dog.", "place": 3}, {"transcript": "happy", "place": 4}]
    targets = WordTargets(tokenizer, [row["transcript"] for row in rows], others=20)
    given = targets(rows)
    for row, labels in zip(rows, given["alignment_labels"]):
        ids = given["alignment_words"][labels[labels >= 0]].tolist()
        assert tokenizer.decode(ids) == " " + spoken_words(row["transcript"])
    words = given["alignment_words"].tolist()
    assert words == sorted(set(words)) and not set(words) & set(tokenizer.all_special_ids)
    assert torch.equal(given["alignment_words"], targets(rows)["alignment_words"])


def trainer_of(config, tmp_path, name, schedule, cached=False, lora=False, **training):
    config = json.loads(json.dumps(config)) | {"schedule": schedule, "samples_per_round": 1}
    config["training"] |= {"output_dir": str(tmp_path / name), **training}
    config["feature_cache"] = {"folder": str(tmp_path / f"cache-{name}"), "max_gb": 1} if cached else None
    if not lora:
        config["lora"] = None
    return sft.build_trainer(config)


def losses(trainer) -> torch.Tensor:
    return torch.tensor([entry["alignment_loss"] for entry in trainer.state.log_history if "alignment_loss" in entry])


def test_labels_that_take_words_from_an_aligned_adapter_are_said_or_refused(config, caplog):
    label = {"tasks": ["er"], "train": ["speech_adapter"], "label": 1.0, "lm": 0.0}
    config["lora"] = None
    for rounds, said in (([ALIGN, label], 1), ([label, ALIGN], 0), ([label], 0)):
        caplog.clear()
        sft.build_trainer(config | {"schedule": rounds}, *tiny_model_and_processor(emotion=None))
        assert caplog.text.count("it forgets words that align taught") == said
    model, processor = tiny_model_and_processor(emotion=None, words_first="adapter")
    model.add_speech_alignment()
    with pytest.raises(ScheduleError, match="of which words_first: adapter is to make words"):
        sft.build_trainer(config | {"schedule": [ALIGN, label]}, model, processor)


def test_an_aligning_round_trains_the_adapter_and_the_language_model_never_runs(config, tmp_path):
    trainer = trainer_of(config, tmp_path, "out", [ALIGN])
    model = trainer.audio_model.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    read = []
    hook = model.language_model.register_forward_hook(lambda *_: read.append(1))
    trainer.train()
    hook.remove()
    changed = {
        name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"speech_adapter"} and not read
    assert not torch.equal(model.speech_adapter.alignment.blank, before["speech_adapter.alignment.blank"])
    assert losses(trainer)[-1] < losses(trainer)[0]
    (samples,) = [entry["samples"] for entry in trainer.state.log_history if "samples" in entry]
    assert set(samples[0]) >= {"heard"} and "said" not in samples[0]


def test_frames_of_a_frozen_encoder_come_from_the_cache_and_change_nothing(config, tmp_path):
    plain = trainer_of(config, tmp_path, "plain", [ALIGN])
    plain.train()
    cached = trainer_of(config, tmp_path, "cached", [ALIGN], cached=True)
    calls = []
    encoder = cached.audio_model.model.speech_encoder
    encoder.register_forward_hook(lambda module, args, output: calls.append(output[0].shape[0]))
    fills = []
    cached.audio_model.model.emotion_encoder.register_forward_hook(lambda *_: fills.append(cached.state.global_step))
    cached.train()
    assert set(fills) <= {cached.state.global_step}  # only for the answers shown when the round is over
    torch.testing.assert_close(losses(cached), losses(plain), rtol=1e-5, atol=1e-5)
    assert sum(calls) <= 17 + 2  # the 12 clips' windows once, and the sample of the round's end


def test_alignment_goes_on_beside_the_language_model_and_is_saved(config, tmp_path):
    both = {**ALIGN, "train": ["speech_adapter", "lora"], "lm": 1.0}
    trainer = trainer_of(config, tmp_path, "out", [ALIGN, both], lora=True)
    trainer.train()
    trainer.save_merged(tmp_path / "model")
    merged = AudioLLMForConditionalGeneration.from_pretrained(tmp_path / "model")
    last = f"checkpoint-{trainer.plan.total_steps}"
    checkpoint = without_lora(load_trained(tmp_path / "out" / last)[0])
    for model in (merged, checkpoint):
        alignment = trainer.audio_model.model.speech_adapter.alignment
        torch.testing.assert_close(model.model.speech_adapter.alignment.blank, alignment.blank)
    logged = [entry for entry in trainer.state.log_history if "loss_asr" in entry]
    assert logged and all("alignment_loss" in entry for entry in logged)


def test_a_resumed_alignment_is_as_if_nothing_had_happened(config, tmp_path):
    whole = trainer_of(config, tmp_path, "whole", [ALIGN], save_steps=2)
    whole.train()
    again = trainer_of(config, tmp_path, "again", [ALIGN], save_steps=2)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    expected = whole.audio_model.model.speech_adapter.state_dict()
    for name, value in again.audio_model.model.speech_adapter.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train": ["emotion_adapter"]}, "teaches the speech_adapter"),
        ({"train": ["speech_adapter", "lora"]}, "lora would never learn in it"),
        ({"label": 1.0, "tasks": ["er"]}, "rounds of their own"),
        ({"align": -1}, "must be at least 0"),
    ],
)
def test_rounds_that_cannot_be_right_are_refused(config, tmp_path, change, message):
    with pytest.raises(ScheduleError, match=message):
        trainer_of(config, tmp_path, "out", [{**ALIGN, **change}], lora=True)


def change_rows(corpus: Path, **fields):
    rows = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    (corpus / "train.jsonl").write_text("\n".join(json.dumps({**row, **fields}) for row in rows))


def test_rows_without_words_and_words_without_tokens_are_refused(config, corpus, tmp_path):
    change_rows(corpus, transcript=" ".join(["my old dog"] * 10))
    with pytest.raises(ScheduleError, match="12 of 12 rows have more words than audio tokens .10.0 a second"):
        trainer_of(config, tmp_path, "out", [ALIGN])
    change_rows(corpus, transcript="")
    with pytest.raises(ScheduleError, match="12 of 12 rows of rounds with `align` have no transcript .first: '0-asr'"):
        trainer_of(config, tmp_path, "out", [ALIGN])
