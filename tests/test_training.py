# ruff: noqa: F811 (fixtures are imported, and asked for by name)
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoProcessor, TrainerCallback, TrainerState
from trl import SFTConfig

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.training import run_trainer, sft
from audiollm.training.alternation import AlternationSampler, draw_speeds, set_learning
from audiollm.training.checkpoints import merge_checkpoint
from audiollm.training.config import Data
from audiollm.training.encoder_losses import LabelHead, WordHead, label_classes
from audiollm.training.run import run
from audiollm.training.run_trainer import lay_out, warn_of_slow_bfloat16
from audiollm.training.schedule import SCHEDULES, Plan, Round, ScheduleError, part_parameters, read_schedule
from audiollm.training.sft import read_rows_of
from tests.tiny import tiny_model_and_processor
from tests.tiny_run import config, corpus  # noqa: F401


DUAL = ("speech_encoder", "speech_adapter", "emotion_encoder", "emotion_adapter", "lora", "language_model")
TASKS = ["asr"] * 10 + ["sqa"] * 7 + ["er"] * 9 + ["sr"] * 4


def test_named_schedules_are_the_papers():
    joint, alt1, alt4, inject = (read_schedule(name, DUAL) for name in ("joint", "alt-1", "alt-4", "inject"))
    assert [round_.epochs for round_ in joint] == [5] and "speech_encoder" in joint[0].train
    assert [round_.tasks for round_ in alt1] == [("asr", "sqa"), ("er", "sr")] * 4 + [("asr", "sqa", "er", "sr")]
    assert [round_.epochs for round_ in alt4] == [4, 4, 1]
    assert alt4[1].train == ("emotion_encoder", "emotion_adapter", "lora")
    closing = ("speech_adapter", "emotion_adapter", "lora")
    assert alt1[-1].train == alt4[-1].train == inject[-1].train == closing
    assert "speech_encoder" not in {part for round_ in inject for part in round_.train}


@pytest.mark.parametrize(
    "spec, parts, message",
    [
        ("alt-2", DUAL, "Unknown schedule 'alt-2'"),
        ("alt-4", ("speech_encoder", "speech_adapter", "lora"), "needs an emotion encoder"),
        ([{"tasks": ["asr"], "train": ["adapter"]}], DUAL, "part 'adapter' is not one of"),
        ([{"tasks": ["emotion"], "train": ["lora"]}], DUAL, "task 'emotion' is not one of"),
        ([{"tasks": ["asr"], "train": ["lora"], "rate": 1}], DUAL, "rate is unknown"),
        ([{"tasks": ["asr"], "train": ["lora"], "anneal": "on"}], DUAL, "anneal is 'on'; it must be true or false"),
        ([{"tasks": ["asr"], "train": ["lora"], "average": 1}], DUAL, "average is 1; it must be below 1"),
        ([{"tasks": ["asr"], "train": ["lora"], "lr": "1e-4"}], DUAL, "learning_rate is '1e-4'; it must be a number"),
        ([{"tasks": ["asr"], "train": ["lora"], "epochs": 0}], DUAL, "epochs is 0; it must be above 0"),
        (
            [{"tasks": ["er"], "train": ["emotion_encoder", "lora"], "label": 1, "lm": 0}],
            DUAL,
            "lora would never learn",
        ),
        ([{"tasks": ["er"], "train": ["emotion_encoder"], "lm": 0}], DUAL, "label, align and lm are all 0"),
        (
            [{"tasks": ["er"], "train": ["lora"], "label": 1}],
            ["lora"],
            "label is a loss on emotion_encoder, emotion_adapter",
        ),
        (
            [{"tasks": ["er"], "train": ["lora"], "label": 0.5}],
            DUAL,
            "speech_adapter, and none of these",
        ),
        ([{"tasks": ["er"], "train": ["speech_adapter"], "label": 1}], DUAL, "the emotion_adapter is to learn it"),
        ([{"tasks": ["asr"], "train": ["lora"], "lm": 0.3}], DUAL, "lm is 0.3, but there is no other loss"),
        ([{"tasks": ["asr"], "train": ["lora"], "speeds": [0.9, 3]}], DUAL, "speeds are whole percents .* 3 is not"),
        ([{"tasks": ["asr"], "train": ["lora"], "speeds": [0.925]}], DUAL, "speeds are whole percents"),
        ([{"tasks": ["asr", "er"], "train": ["lora"], "speeds": [0.9]}], DUAL, "tell of the voice as it is"),
    ],
)
def test_a_schedule_that_cannot_be_right_is_refused(spec, parts, message):
    with pytest.raises(ScheduleError, match=message):
        read_schedule(spec, parts)


def test_a_label_loss_needs_rows_with_labels():
    asr = Round(("asr",), ("emotion_encoder", "lora"), label=0.3)
    with pytest.raises(ScheduleError, match="Round 2 has label, but no row of asr has one"):
        label_classes(["er", "asr"], ["sad", None], [Round(("er",), ("lora",)), asr])


def test_a_round_without_rows_or_shorter_than_a_step_is_refused():
    with pytest.raises(ScheduleError, match="trains on sr, but there are no such rows"):
        Plan.of([Round(("er", "sr"), ("lora",))], ["er"], 2)
    with pytest.raises(ScheduleError, match="shorter than one step"):
        Plan.of([Round(("er",), ("lora",), epochs=0.1)], ["er"], 2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("size", [1, 4, 7])
@pytest.mark.parametrize("lengths", [None, [float(row * 7 % 11) for row in range(len(TASKS))]])
def test_every_step_holds_rows_of_its_round_and_every_row_is_seen(name, size, lengths):
    plan = Plan.of(read_schedule(name, DUAL), TASKS, size)
    order = list(AlternationSampler(plan, TASKS, 3, lengths))
    assert len(order) == plan.total_steps * size
    seen = [Counter() for _ in plan.rounds]
    for step in range(plan.total_steps):
        rows = order[step * size : (step + 1) * size]
        assert {TASKS[row] for row in rows} <= set(plan.round_at(step).tasks)
        seen[plan.index_at(step)].update(rows)
    for index, (round_, counts) in enumerate(zip(plan.rounds, seen)):
        wanted = [row for row, task in enumerate(TASKS) if task in round_.tasks]
        steps = plan.stops[index] - plan.start_of(index)
        assert sorted(counts) == wanted and min(counts.values()) >= round_.epochs
        assert steps == round_.epochs * -(-len(wanted) // size)  # no pass pays for more than one step that is not full


def test_a_step_mixes_the_tasks_of_its_round():
    plan = Plan.of([Round(("asr", "sqa", "er", "sr"), ("lora",), epochs=20)], TASKS, 6)
    order = np.array(list(AlternationSampler(plan, TASKS, seed=3))).reshape(-1, 6)
    several = [len({TASKS[row] for row in rows}) > 1 for rows in order]
    assert np.mean(several) > 0.95


def test_a_part_of_a_pass_is_the_beginning_of_a_whole_one():
    orders = []
    for epochs in (1, 0.5):
        plan = Plan.of([Round(("asr", "er"), ("lora",), epochs)], TASKS, 4)
        orders.append(list(AlternationSampler(plan, TASKS, seed=3)))
    assert 0 < len(orders[1]) < len(orders[0]) and orders[0][: len(orders[1])] == orders[1]


def test_order_depends_on_the_seed_alone():
    plan = Plan.of(read_schedule("alt-1", DUAL), TASKS, 4)
    assert list(AlternationSampler(plan, TASKS, 1)) == list(AlternationSampler(plan, TASKS, 1))
    assert list(AlternationSampler(plan, TASKS, 1)) != list(AlternationSampler(plan, TASKS, 2))


def test_steps_of_similar_lengths_hold_the_same_rows():
    tasks = ["asr"] * 40
    plan = Plan.of([Round(("asr",), ("speech_encoder",))], tasks, 4)
    lengths = [float(number % 10) for number in range(40)]
    order = np.array(list(AlternationSampler(plan, tasks, 1, lengths)))
    assert sorted(order) == list(range(40))
    windows = np.array(lengths)[order].reshape(-1, 4)
    assert (np.ptp(windows, axis=1) == 0).all() and (np.diff(windows[:, 0]) < 0).any()


def test_rows_with_as_many_tokens_to_read_stand_together():
    """Earlier turns count as the audio does: of clips of one length, those with context are the longer rows."""
    _, processor = tiny_model_and_processor()
    turns = [{"speaker": "A", "text": "my old dog said no to the cat again"}] * 6
    rows = [
        {"task": "er", "audio": "x.wav", "question": "How?", "answer": "Sad.", "context_speaker": None}
        | {"seconds": seconds, "context": context}
        for context in (None, turns)
        for seconds in (1.0, 8.0)
        for _ in range(4)
    ]
    plan = Plan.of([Round(("er",), ("lora",))], [row["task"] for row in rows], 4)
    args = SFTConfig(output_dir="unused", train_sampling_strategy="group_by_length", bf16=False, report_to="none")
    steps = lay_out(plan, Dataset.from_list(rows), args, processor).reshape(-1, 4)
    assert sorted(sorted({row // 4 for row in step}) for step in steps.tolist()) == [[0], [1], [2], [3]]
    for column, wanted in (("length", "seconds"), ("weight", "weight")):
        args.length_column_name = column
        short = Dataset.from_list([{**row, "seconds": None} for row in rows])
        with pytest.raises(ValueError, match=f"group_by_length needs '{wanted}' in every training row"):
            lay_out(plan, short, args, processor)


@pytest.mark.parametrize("fusion", ["none", "feature", "sequence"])
def test_every_parameter_belongs_to_one_part(fusion):
    model, _ = tiny_model_and_processor(emotion=None if fusion == "none" else "whisper", fusion=fusion)
    parts = part_parameters(model)
    expected = {
        "none": {"speech_encoder", "speech_adapter"},
        "feature": {"speech_encoder", "emotion_encoder", "adapter"},
        "sequence": {"speech_encoder", "speech_adapter", "emotion_encoder", "emotion_adapter"},
    }[fusion]
    assert set(parts) == expected | {"language_model"}
    assert sum(len(named) for named in parts.values()) == len(list(model.named_parameters()))
    set_learning(model, ("speech_encoder",))
    assert {part for part, named in parts.items() if any(p.requires_grad for _, p in named)} == {"speech_encoder"}


class Watch(TrainerCallback):
    """Notes which parts change in which round."""

    def __init__(self, plan):
        self.plan, self.before, self.changed = plan, None, {}

    @staticmethod
    def _copy(model):
        return {part: [p.detach().clone() for _, p in named] for part, named in part_parameters(model).items()}

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.before = self._copy(model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        after = self._copy(model)
        index = self.plan.index_at(state.global_step - 1)
        for part in after:
            if any(not torch.equal(a, b) for a, b in zip(self.before[part], after[part])):
                self.changed.setdefault(index, set()).add(part)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_in_each_round_exactly_its_parts_change(config, gradient_checkpointing):
    config["training"]["gradient_checkpointing"] = gradient_checkpointing
    trainer = sft.build_trainer(config)
    watch = Watch(trainer.plan)
    trainer.add_callback(watch)
    trainer.train()
    assert watch.changed == {index: set(round_.train) for index, round_ in enumerate(trainer.plan.rounds)}
    rounds = [entry["round"] for entry in trainer.state.log_history if "loss" in entry]
    assert rounds == [1] * 6 + [2] * 6 + [3] * 6
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates[12] < 0.2 * rates[11]


def test_an_annealed_round_has_the_scheduler_for_itself(config):
    first, second, third = config["schedule"]
    config["schedule"] = [first | {"anneal": True}, second | {"lr": 0.004, "anneal": True}, third]
    config["training"] |= {"learning_rate": 0.01, "lr_scheduler_type": "linear", "warmup_steps": 2}
    trainer = sft.build_trainer(config)
    trainer.create_optimizer_and_scheduler(trainer.args.max_steps)
    rate = trainer.lr_scheduler.lr_lambdas[0]
    start, stop, end = trainer.plan.stops
    assert [rate(step) for step in (0, 1, 2, start - 1)] == pytest.approx([0, 0.5, 1, 1 / (start - 2)])
    assert rate(start) == 0 and rate(start + 2) == pytest.approx(0.4)
    assert rate(stop - 1) == pytest.approx(0.4 / (stop - start - 2))
    assert rate(stop) == pytest.approx((end - stop) / (end - 2) * (third.get("lr", 0.01) / 0.01))


def test_an_annealed_round_that_only_warms_up_is_said(config, caplog):
    config["schedule"] = [config["schedule"][0] | {"anneal": True}]
    for warmup, said in ((0.5, 0), (100, 1)):
        trainer = sft.build_trainer(config | {"training": config["training"] | {"warmup_steps": warmup}})
        caplog.clear()
        trainer.create_optimizer_and_scheduler(trainer.args.max_steps)
        steps = trainer.plan.stops[0]
        told = [record.getMessage() for record in caplog.records if "all of them warmup" in record.getMessage()]
        assert len(told) == said, told
        assert all(f"round 1 anneals over {steps} steps" in text and f"to {steps - 1}%" in text for text in told)


def test_a_round_ends_with_the_average_of_its_weights(config):
    config["schedule"] = [config["schedule"][1] | {"average": 0.5}, config["schedule"][2]]
    trainer = sft.build_trainer(config)
    parameter = trainer.audio_model.model.emotion_encoder.layer_norm.weight
    stepped = []

    class Note(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            stepped.append(parameter.detach().clone())

    trainer.callback_handler.callbacks.insert(0, Note())  # to see the weights before they are averaged
    trainer.train()
    stop = trainer.plan.stops[0]
    expected = stepped[0]
    for seen, weight in enumerate(stepped[:stop], 1):
        past = min(0.5, seen / (9 + seen))
        expected = past * expected + (1 - past) * weight
    torch.testing.assert_close(parameter.detach(), expected)
    assert not torch.equal(parameter, stepped[stop - 1]) and torch.equal(parameter, stepped[-1])


def test_the_last_checkpoint_of_a_round_that_max_steps_ends_is_the_model(config, tmp_path):
    config["schedule"], config["max_steps"] = [config["schedule"][1] | {"average": 0.9}], 3
    whole = load_file(Path(sft.train(config)) / "model.safetensors")
    merge_checkpoint(tmp_path / "out" / "checkpoint-3", tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert all(torch.equal(whole[name], merged[name]) for name in whole)


def test_a_label_weighs_as_much_however_rows_fall_into_batches(config):
    """Rows of asr have no label: a batch of theirs alone must not halve the loss on the labels of others."""
    config["schedule"] = [{"tasks": ["asr", "er"], "train": ["emotion_encoder", "emotion_adapter"], "label": 1.0}]
    config |= {"lora": None, "samples_per_round": 0}
    norms = []
    for size, batches in ((4, 1), (1, 4)):
        config["training"] |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": batches}
        torch.manual_seed(0)
        model, processor = tiny_model_and_processor()
        trainer = sft.build_trainer(config, model, processor)
        trainer.state, trainer.current_gradient_accumulation_steps = TrainerState(), batches
        for parameter in trainer.heads.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
        rows = [trainer.train_dataset[int(place)] | {"place": 0} for place in trainer.order[:4]]
        assert len({row["task"] for row in rows}) == 2
        batched = iter([trainer.data_collator(rows[start : start + size]) for start in range(0, 4, size)])
        step, items = trainer.get_batch_samples(batched, batches, trainer.args.device)
        for batch in step:
            trainer.compute_loss(trainer.model.train(), batch, num_items_in_batch=items).backward()
        norms.append(torch.stack([parameter.grad.norm() for parameter in trainer.heads.parameters()]))
    torch.testing.assert_close(norms[0], norms[1])


def test_a_gradient_of_a_head_that_is_not_finite_is_gone_at_the_next_step(config):
    """With fp16 the scaler leaves out the step of an overflow; what stayed would make it leave out all others."""
    config["schedule"] = [{"tasks": ["er"], "train": ["emotion_encoder"], "label": 1.0}]
    config["lora"] = None
    trainer = sft.build_trainer(config)
    for parameter in trainer.heads.parameters():
        parameter.grad = torch.full_like(parameter, torch.inf)
    trainer.get_batch_samples(iter([]), 1, trainer.args.device)
    assert all(parameter.grad is None for parameter in trainer.heads.parameters())


def test_rows_of_another_task_than_the_plan_has_are_not_trained_on(config):
    trainer = sft.build_trainer(config)
    trainer.order = trainer.order[::-1].copy()
    with pytest.raises(RuntimeError, match="step 1: rows of .*in a round of asr, sqa.*other batches than the plan"):
        trainer.train()


def test_a_part_that_is_not_in_the_optimizer_is_refused(config):
    trainer = sft.build_trainer(config)
    for parameter in trainer.audio_model.model.emotion_encoder.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(RuntimeError, match="parameters of emotion_encoder are not in the optimizer"):
        trainer.train()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_named_schedule_trains_a_model_that_loads(config, schedule):
    config |= {"schedule": schedule, "max_steps": 3}
    if schedule == "inject":
        model, processor = tiny_model_and_processor(emotion=None)
        for part in (model, processor):
            part.save_pretrained(config["model"]["checkpoint"])
        settings = model.config.speech_config.to_dict()
        config["model"]["add_emotion"] = {"config": settings, "emotion_tokens": 2}
    folder = sft.train(config)
    model, processor = AudioLLMForConditionalGeneration.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert model.config.fusion == "sequence" and processor.tokens_per_window == 12


def test_merged_model_answers_like_the_trained_one(config, tone):
    config["max_steps"] = 4
    trainer = sft.build_trainer(config)
    trainer.train()
    processor = trainer.processing_class
    inputs = processor(text=processor.prompt("What?"), audio=[tone(1.3)])
    trained = trainer.model.eval()(**inputs).logits
    trainer.save_merged(config["training"]["output_dir"])
    merged = AudioLLMForConditionalGeneration.from_pretrained(config["training"]["output_dir"]).eval()
    torch.testing.assert_close(merged(**inputs).logits, trained, rtol=1e-5, atol=1e-5)


def test_a_resumed_run_ends_where_an_unbroken_one_does(config, tmp_path):
    config["schedule"][1] |= {"label": 0.3, "average": 0.9}
    whole = sft.train(config)
    config["training"]["output_dir"] = str(tmp_path / "broken")

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 8

    trainer = sft.build_trainer(config)
    trainer.add_callback(Stop())
    run(config, trainer)
    assert trainer.state.global_step == 8
    resumed = sft.train(config)
    first, second = (
        AudioLLMForConditionalGeneration.from_pretrained(folder).state_dict() for folder in (whole, resumed)
    )
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def test_an_emotion_encoder_learns_by_labels_and_then_with_the_language_model(config):
    config["schedule"] = [
        {"tasks": ["er"], "train": ["emotion_encoder"], "label": 1.0, "lm": 0.0},
        {"tasks": ["er", "asr"], "train": ["emotion_encoder", "emotion_adapter", "lora"], "label": 0.5},
    ]
    trainer = sft.build_trainer(config)
    watch = Watch(trainer.plan)
    trainer.add_callback(watch)
    trainer.train()
    assert watch.changed == {0: {"emotion_encoder"}, 1: {"emotion_encoder", "emotion_adapter", "lora"}}
    assert any("label_loss" in entry for entry in trainer.state.log_history)


@pytest.mark.parametrize("cached", [False, True])
def test_an_emotion_adapter_learns_the_words_of_labels(config, cached, tmp_path):
    config["schedule"] = [
        {"tasks": ["er"], "train": ["emotion_adapter"], "label": 1.0, "lm": 0.0, "epochs": 20, "learning_rate": 3e-3},
        {"tasks": ["er", "asr"], "train": ["emotion_adapter", "lora"], "label": 0.5},
        {"tasks": ["er"], "train": ["emotion_encoder", "speech_adapter"], "label": 0.5},
    ]
    if cached:
        config["feature_cache"] = {"folder": str(tmp_path / "cache"), "max_gb": 1}
    trainer = sft.build_trainer(config)
    watch = Watch(trainer.plan)
    trainer.add_callback(watch)
    trainer.train()
    assert watch.changed[0] == {"emotion_adapter"}
    assert set(trainer.heads) == {"label", "label_emotion_adapter"}
    labels = trainer.data_collator.processor.label_ids(["neutral", "sad"])
    assert trainer.audio_model.config.emotion_label_ids == labels
    assert (trainer.branches is not None and trainer.branches.cache.hits > 0) == cached
    logged = [entry for entry in trainer.state.log_history if "label_loss" in entry]
    losses = [entry["label_loss"] for entry in logged if entry["round"] == 1]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert {entry["round"] for entry in logged} == {1, 2, 3}
    first, second, _ = (entry["samples"] for entry in trainer.state.log_history if "samples" in entry)
    assert all(row["felt"] in trainer.audio_model.config.emotion_labels and "said" not in row for row in first)
    assert {("felt" in row, row["task"]) for row in second} == {(True, "er"), (False, "asr")}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("fusion", "adapter"), [("none", "speech_adapter"), ("feature", "adapter")])
def test_where_there_is_no_emotion_adapter_the_one_there_is_learns_the_words_of_labels(
    config, tmp_path, fusion, adapter, cached
):
    config["schedule"] = [
        {"tasks": ["er"], "train": [adapter], "label": 1.0, "lm": 0.0, "epochs": 20, "learning_rate": 3e-3},
        {"tasks": ["er", "asr"], "train": [adapter, "lora"], "label": 0.5},
    ]
    if cached:
        config["feature_cache"] = {"folder": str(tmp_path / "cache"), "max_gb": 1}
    parts = tiny_model_and_processor(fusion=fusion, emotion="whisper" if fusion == "feature" else None)
    trainer = sft.build_trainer(config, *parts)
    watch = Watch(trainer.plan)
    trainer.add_callback(watch)
    trainer.train()
    assert watch.changed == {0: {adapter}, 1: {adapter, "lora"}} and set(trainer.heads) == {f"label_{adapter}"}
    assert len(trainer.audio_model.config.emotion_label_ids) == 2  # sad and neutral
    assert (trainer.branches is not None and trainer.branches.cache.hits > 0) == cached
    logged = [entry for entry in trainer.state.log_history if "label_loss" in entry]
    losses = [entry["label_loss"] for entry in logged if entry["round"] == 1]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]) and {entry["round"] for entry in logged} == {1, 2}
    first, _ = (entry["samples"] for entry in trainer.state.log_history if "samples" in entry)
    assert all(row["felt"] in trainer.audio_model.config.emotion_labels for row in first)


def test_a_label_loss_reaches_the_encoder_of_the_adapter_that_it_teaches(config):
    config["schedule"] = [{"tasks": ["er"], "train": ["speech_encoder", "speech_adapter"], "label": 1.0, "lm": 0.0}]
    config["lora"] = None
    trainer = sft.build_trainer(config, *tiny_model_and_processor(emotion=None))
    watch = Watch(trainer.plan)
    trainer.add_callback(watch)
    trainer.train()
    assert watch.changed == {0: {"speech_encoder", "speech_adapter"}}


def test_a_language_model_is_told_the_label_that_the_adapter_learnt_with_a_cache_as_without(config, tmp_path):
    label = {"tasks": ["er"], "train": ["emotion_adapter"], "label": 1.0, "lm": 0.0}
    config["schedule"] = [label, {"tasks": ["er"], "train": ["speech_adapter", "lora"]}]
    losses = []
    for kept in (None, {"folder": str(tmp_path / "cache"), "max_gb": 1}):
        config |= {"feature_cache": kept}
        config["training"]["output_dir"] = str(tmp_path / f"out-{bool(kept)}")
        torch.manual_seed(0)
        model, processor = tiny_model_and_processor(label_first=True)
        trainer = sft.build_trainer(config, model, processor)
        learnt = set(trainer.train_dataset.filter(lambda row: row["task"] == "er")["label"])
        assert model.config.emotion_label_ids == processor.label_ids(sorted(learnt))
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cached", [False, True])
def test_a_round_hears_each_clip_at_speeds_of_its_own(config, cached, tmp_path):
    """And what is kept of a clip at one speed is never that of another: losses are the same without a cache."""
    fast = {"tasks": ["er"], "train": ["emotion_adapter"], "label": 1.0, "lm": 0.0, "epochs": 6, "speeds": [0.8, 1.25]}
    config["schedule"] = [fast, {"tasks": ["asr"], "train": ["speech_adapter", "lora"]}]
    losses = []
    for kept in (cached, False):
        config["feature_cache"] = {"folder": str(tmp_path / "cache"), "max_gb": 1} if kept else None
        config["training"]["output_dir"] = str(tmp_path / f"out-{kept}-{len(losses)}")
        trainer = sft.build_trainer(config)
        rows = trainer.get_train_dataloader().dataset
        heard = Counter(row["speed"] for row in (rows[place] for place in range(trainer.plan.stops[0] * 4)))
        assert set(heard) == {0.8, 1.25} and min(heard.values()) > 10
        assert all(rows[place]["speed"] == 1 for place in range(trainer.plan.stops[0] * 4, len(rows)))
        seconds = {
            place: len(trainer.data_collator.clip(rows[place])) / 16_000 / rows[place]["speed"] for place in range(8)
        }
        batch = trainer.data_collator([rows[place] for place in seconds])
        real = batch["input_features_mask"].flatten(1).sum(-1) / 100
        assert real.tolist() == pytest.approx(list(seconds.values()), abs=0.02)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-5, atol=1e-5)


def test_speeds_are_drawn_by_round_and_not_by_what_shuffles_its_rows():
    rounds = [Round(("asr",), ("lora",), 3, speeds=(0.9, 1.1)), Round(("asr",), ("lora",), 1)]
    plan = Plan.of(rounds, ["asr"] * 400, 4)
    speeds = draw_speeds(plan, 1)
    assert len(speeds) == 1600 and np.array_equal(speeds, draw_speeds(plan, 1))
    assert set(speeds[:1200]) == {0.9, 1.1} and set(speeds[1200:]) == {1.0}
    assert 500 < (speeds[:1200] == 0.9).sum() < 700 and not np.array_equal(speeds, draw_speeds(plan, 2))
    shuffler = np.random.default_rng([1, 0, 0]).choice([0.9, 1.1], 1200)
    assert (speeds[:1200] == shuffler).mean() < 0.6
    assert draw_speeds(Plan.of(rounds[1:], ["asr"] * 400, 4), 1) is None


def test_words_of_labels_are_nearest_to_the_tokens_that_are_them():
    words = torch.randn(3, 16)
    head = WordHead(words).eval()
    mask = torch.tensor([[[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]]], dtype=torch.bool)  # half of the window is real
    tokens = torch.stack([words[0], words[0], words[1]]).repeat(1, 1, 1)
    tokens = torch.cat([tokens, 1e3 * words[2].expand(1, 1, 16)], dim=1)
    right, wrong = (head(tokens, mask, torch.tensor([label])) for label in ([1, 0, -100], [0, 1, -100]))
    assert right < 0.01 < wrong
    other_task = head(tokens, mask, torch.tensor([[-100, -100, 1]]))  # alone in its task, it can be nothing else
    torch.testing.assert_close(other_task, right, atol=1e-4, rtol=0)
    nothing = head(tokens.requires_grad_(), mask, torch.full((1, 3), -100))
    nothing.backward()
    assert nothing == 0 and not tokens.grad.any()


def test_classes_of_other_tasks_count_for_nothing_in_a_label_loss():
    torch.manual_seed(0)
    head = LabelHead(4, steps=2, classes=3)
    frames, mask = torch.randn(2, 5, 4), torch.ones(2, 1, 10, dtype=torch.bool)
    labels = torch.tensor([[1, 0, -100], [0, 1, -100]])
    loss = head(frames, mask, labels)
    with torch.no_grad():
        head.projection.bias[2] += 10
    torch.testing.assert_close(head(frames, mask, labels), loss)


def test_a_row_without_a_label_counts_for_nothing_in_a_label_loss():
    torch.manual_seed(0)
    head = LabelHead(4, steps=2, classes=2)
    frames, mask = torch.randn(2, 5, 4, requires_grad=True), torch.ones(2, 1, 10, dtype=torch.bool)
    alone = head(frames[:1], mask[:1], torch.tensor([[1, 0]]))
    torch.testing.assert_close(head(frames, mask, torch.tensor([[1, 0], [-100, -100]])), alone)
    nothing = head(frames, mask, torch.full((2, 2), -100))
    nothing.backward()
    assert nothing == 0 and not frames.grad.any()


def test_classes_are_those_of_the_rows_and_a_round_of_labels_needs_them():
    tasks, labels = ["sr", "er", "asr", "er"], ["positive", "sad", None, "sad"]
    rounds = [Round(("er", "asr"), ("emotion_encoder", "lora"), label=0.5)]
    assert label_classes(tasks, labels, rounds) == [("er", "sad"), ("sr", "positive")]
    assert label_classes(tasks, labels, [Round(("er",), ("lora",))]) == []
    with pytest.raises(ScheduleError, match="Round 1 learns from labels alone, which rows of asr lack"):
        label_classes(tasks, labels, [Round(("er", "asr"), ("emotion_encoder",), label=1.0, lm=0.0)])


def test_balanced_rows_have_as_many_of_each_label_and_as_many_in_all(tmp_path, tone):
    soundfile.write(tmp_path / "a.wav", tone(0.3), 16_000)
    labels = [("er", "neutral", 50), ("er", "sad", 7), ("er", "angry", 3), ("sr", "negative", 9), ("sr", "neutral", 1)]
    kinds = [(task, label) for task, label, count in labels for _ in range(count)] + [("asr", None)] * 5
    row = {"audio": "a.wav", "question": "How?", "answer": "So.", "transcript": "so", "split": "train"}
    rows = [{**row, "id": str(place), "task": task, "label": label} for place, (task, label) in enumerate(kinds)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def trained_on(**settings):
        found = read_rows_of(Data([str(tmp_path)], **settings), [str(tmp_path)], "train")
        return found["id"], Counter(zip(found["task"], found["label"]))

    ids, counts = trained_on(balance=True)
    assert counts == {
        **dict.fromkeys((("er", "neutral"), ("er", "sad"), ("er", "angry")), 20),
        **dict.fromkeys((("sr", "negative"), ("sr", "neutral")), 5),
        ("asr", None): 5,
    }
    assert set(Counter(id for id in ids if id in map(str, range(50, 57))).values()) == {
        2,
        3,
    }  # none of the sad forgotten
    assert len({id for id in ids if int(id) < 50}) == 20  # no neutral one twice
    assert trained_on(balance=True)[0] == ids and len(trained_on()[0]) == len(rows) == len(ids)
    with pytest.raises(ValueError, match="no row that is trained on has an emotion"):
        trained_on(balance=True, tasks=["asr"])


@pytest.mark.parametrize(
    ("bf16", "native", "warns"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_bf16_on_a_cpu_that_does_not_know_it_is_said_to_be_slow(bf16, native, warns, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(run_trainer, "_knows_bfloat16", lambda: native)
    warn_of_slow_bfloat16(SFTConfig(output_dir=str(tmp_path), bf16=bf16, use_cpu=True, report_to="none"))
    assert ("no instructions for bfloat16" in caplog.text) == warns
