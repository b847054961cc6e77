# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""Training by rewards: the policy hears, each clip is encoded once, the right parts learn, errors name their row."""

import dataclasses
import json
import logging
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from audiollm.commands import main
from audiollm.corpora.schema import read_rows
from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.training.grpo import AUDIO_RL, AudioLLMGRPOTrainer, DeafPolicyError
from audiollm.training.identity import OtherRunError
from audiollm.training.lora import lora_settings
from audiollm.training.pairs import Sampling
from audiollm.training.reward_checks import CheckedReward, RewardError
from audiollm.training.rl import build_rl_trainer, train_by_rewards
from audiollm.training.rl_config import RewardChoice, RLConfiguration, check_rl_config, read_rl_config
from audiollm.training.run import run
from audiollm.training.schedule import ScheduleError
from audiollm.training.strict import ConfigError
from tests.tiny import tiny_model_and_processor
from tests.tiny_run import config as sft_config  # noqa: F401
from tests.tiny_run import corpus  # noqa: F401


KINDS = [
    {"emotion": None},
    {"fusion": "feature"},
    {"fusion": "sequence"},
    {"fusion": "feature", "emotion": "emotion2vec"},
    {"fusion": "sequence", "emotion": "emotion2vec"},
    {"fusion": "sequence", "emotion": "emotion2vec", "audio_tokens": "clip"},
    {"fusion": "sequence", "audio_tokens": "clip", "emotion_layer_mix": True},
    {
        "speech": "parakeet_encoder",
        "emotion": "parakeet_encoder",
        "adapter_norm": "batch",
        "speech_length_aware": True,
    },
]
LEARN = [("lora",), ("lora", "adapters"), ("lora", "adapters", "encoders")]


def letters(completions, **columns):
    """How many a's an answer has."""
    return [float(text.count("a")) for text in completions]


def parts(model, groups):
    """Names of the parts of a model in groups of them."""
    there = {name for name, _ in model.model.named_children()}
    kinds = {"adapters": "adapter", "encoders": "encoder"}
    return [part for group in groups for part in sorted(there | {"lora"}) if part.endswith(kinds.get(group, group))]


def trainer_of(
    corpus, tmp_path, model, processor, learn=("lora",), rewards=None, trainer_type=None, steps=1, **settings
):
    shared = {
        "output_dir": str(tmp_path / "out"),
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "num_generations": 4,
        "max_completion_length": 5,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "report_to": "none",
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    rows = Dataset.from_list(list(read_rows(corpus, "train")))
    return (trainer_type or AudioLLMGRPOTrainer)(
        model=model,
        args=GRPOConfig(**shared | AUDIO_RL | settings),
        train_dataset=rows,
        processor=processor,
        rewards=rewards or {"letters": letters},
        train=parts(model, learn),
        lora=LoraConfig(**lora_settings({"r": 4, "lora_alpha": 8}, model)),
        max_steps=steps,
    )


class Watch(AudioLLMGRPOTrainer):
    """Compares the log-probabilities of each loss with full logits, and counts the windows that each encoder hears."""

    def _compute_loss(self, model, inputs):
        self.scored = inputs
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        given = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
        )
        if torch.is_grad_enabled():
            assert given[0].requires_grad
            with torch.no_grad(), torch.random.fork_rng():
                rows = [clip for _, clip in self._heard]
                audio = {name: values[rows] for name, values in self._heard[0][0].inputs.items()}
                logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **audio).logits
                own = logits[:, -logits_to_keep - 1 : -1].log_softmax(-1)
                own = own.gather(-1, input_ids[:, -logits_to_keep:, None]).squeeze(-1)
            real = attention_mask[:, -logits_to_keep:].bool()
            self.errors = [*getattr(self, "errors", []), float((own - given[0].detach())[real].abs().max())]
        return given


@pytest.mark.parametrize("learn", LEARN, ids="+".join)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_log_probabilities_are_those_of_full_logits(corpus, tmp_path, kind, learn):
    model, processor = tiny_model_and_processor(**kind)
    trainer = trainer_of(corpus, tmp_path, model, processor, learn, trainer_type=Watch)
    assert trainer.hearing_error() < 1e-5
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    assert len(trainer.errors) == 2 and max(trainer.errors) < 1e-5
    after = trainer.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and moved <= trainer.learnable


@pytest.mark.parametrize(("learn", "passes"), [(LEARN[0], 1), (LEARN[1], 1), (LEARN[2], 3)])
def test_each_clip_is_encoded_once_not_once_for_each_answer(corpus, tmp_path, learn, passes):
    """Two clips, each answered four times in two batches; encoders that learn hear them again for the gradient."""
    model, processor = tiny_model_and_processor()
    trainer = trainer_of(corpus, tmp_path, model, processor, learn)
    trainer.refuse_deaf = lambda: None
    heard = {"speech_encoder": 0, "emotion_encoder": 0}
    for part in heard:
        getattr(trainer.audio_model.model, part).register_forward_hook(
            lambda module, args, output, part=part: heard.update({part: heard[part] + output[0].shape[0]})
        )
    windows = []
    read = trainer.collator.clip
    trainer.collator.clip = lambda row: windows.append(processor.num_windows(len(read(row)))) or read(row)
    trainer.train()
    assert len(windows) == 2
    assert set(heard.values()) == {passes * sum(windows)}


def test_questions_about_one_clip_encode_it_once(corpus, tmp_path):
    model, processor = tiny_model_and_processor(audio_tokens="clip")
    trainer = trainer_of(corpus, tmp_path, model, processor)
    rows = [row for row in trainer.train_dataset if row["id"].startswith(("3-", "9-"))]
    rows = [{**row, "question": row["task"], "prompt": processor.prompt(row["task"])} for row in rows]
    trainer._rows = rows
    ids, _, _ = trainer._tokenize_prompts([row["prompt"] for row in rows])
    assert len(trainer._heard[0][0].embeds) == 2
    whole = processor(text=[row["prompt"] for row in rows], audio=[row["audio"]["path"] for row in rows])
    assert ids == [row[mask.bool()].tolist() for row, mask in zip(whole["input_ids"], whole["attention_mask"])]
    embeds = trainer._audio(trainer._heard)["audio"].pooler_output
    whole = {name: value for name, value in whole.items() if name.startswith("input_f")}
    torch.testing.assert_close(embeds, model.get_audio_features(**whole).pooler_output)


def test_a_deaf_policy_is_refused_before_the_first_step(corpus, tmp_path):
    class Deaf(AudioLLMGRPOTrainer):
        _get_per_token_logps_and_entropies = GRPOTrainer._get_per_token_logps_and_entropies

    model, processor = tiny_model_and_processor()
    trainer = trainer_of(corpus, tmp_path, model, processor, trainer_type=Deaf)
    with pytest.raises(DeafPolicyError, match="differ by .* nats on the first rows"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_sampling_that_would_not_hear_is_refused(corpus, tmp_path, monkeypatch):
    model, processor = tiny_model_and_processor()
    trainer = trainer_of(corpus, tmp_path, model, processor)
    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", lambda *args, **kwargs: ([[1]] * 8, None))
    with pytest.raises(DeafPolicyError, match="samples answers in a way that this trainer does not know"):
        trainer.train()


def test_no_placeholder_is_sampled_and_the_name_of_images_leaves_no_trace(corpus, tmp_path):
    model, processor = tiny_model_and_processor()
    trainer = trainer_of(corpus, tmp_path, model, processor)
    assert trainer.generation_config.suppress_tokens == [processor.audio_token_id]
    assert "image_token_id" not in model.config.to_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_vllm": True}, "sample without audio"),
        ({"beta": 0.1, "learn": ("lora", "adapters")}, "its own reference"),
    ],
)
def test_what_would_train_the_wrong_policy_is_refused(corpus, tmp_path, settings, message):
    model, processor = tiny_model_and_processor()
    with pytest.raises(ValueError, match=message):
        trainer_of(corpus, tmp_path, model, processor, **settings)


def test_a_reference_policy_is_the_model_without_lora(corpus, tmp_path):
    model, processor = tiny_model_and_processor()
    trainer = trainer_of(corpus, tmp_path, model, processor, beta=0.1)
    trainer.train()
    assert [entry["kl"] for entry in trainer.state.log_history if "kl" in entry] == [pytest.approx(0, abs=1e-6)]


def rewarded(corpus, tmp_path, reward):
    model, processor = tiny_model_and_processor()
    trainer = trainer_of(corpus, tmp_path, model, processor, rewards={"mine": reward})
    trainer.train()
    return trainer


def failing(completions, id, **columns):
    if any(row.endswith("-er") for row in id):
        raise KeyError("label")
    return [0.0] * len(id)


def not_a_number(completions, id, **columns):
    return [float("nan") if row == id[-1] else 1.0 for row in id]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda completions, **columns: 1 / 0, r"reward mine failed on row '\d+-\w+': ZeroDivisionError"),
        (lambda completions, **columns: [1.0], r"reward mine gave 1 values for 8 answers, the first of them to row"),
        (not_a_number, r"reward mine gave nan to row '\d+-\w+'"),
        (lambda completions, **columns: ["good"] * len(completions), r"reward mine gave 'good' to row '\d+-\w+'"),
    ],
)
def test_a_reward_that_is_none_stops_the_run_with_its_name_and_the_row(corpus, tmp_path, reward, message):
    with pytest.raises(RewardError, match=message):
        rewarded(corpus, tmp_path, reward)


def test_of_many_rows_the_one_that_a_reward_fails_on_is_named():
    reward = CheckedReward("mine", failing)
    with pytest.raises(RewardError, match=r"failed on row '2-er': KeyError"):
        reward(completions=["a"] * 3, id=["1-asr", "2-er", "3-er"])
    assert reward(completions=["a"], id=["1-asr"], trainer_state=None) == [0.0]


def test_rewards_that_judge_no_row_are_counted_and_each_is_logged_with_its_spread(corpus, tmp_path):
    trainer = rewarded(corpus, tmp_path, lambda completions, id, **columns: [None, *map(float, range(len(id) - 1))])
    logged = next(entry for entry in trainer.state.log_history if "rewards/mine/mean" in entry)
    assert logged["rewards/mine/unscored"] == 1 / 8
    assert logged["rewards/mine/mean"] == pytest.approx(3.0) and logged["rewards/mine/std"] > 0


def test_what_is_rewarded_is_said_more_often(corpus, tmp_path):
    model, processor = tiny_model_and_processor()
    trainer = trainer_of(corpus, tmp_path, model, processor, ("lora", "language_model"), lr_scheduler_type="constant")
    trainer.args.max_steps = 20
    trainer.train()
    means = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert sum(means[-5:]) > 1.5 * sum(means[:5])


@pytest.fixture
def config(sft_config):
    """A configuration that trains the saved tiny model by rewards for some steps."""
    settings = dict(sft_config["training"])
    settings |= {"per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 5, "save_steps": 2}
    return {
        "model": sft_config["model"],
        "data": {**sft_config["data"], "tasks": ["er"]},
        "rewards": [{"name": "letters", "weight": 2.0}],
        "train": ["lora", "emotion_adapter"],
        "epochs": 1.0,
        "lora": sft_config["lora"],
        "training": settings,
    }


class Stop(TrainerCallback):
    """Ends a run early, as a kill would: without saving."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def test_a_model_notes_the_labels_that_it_is_rewarded_for(config):
    model, processor = tiny_model_and_processor()
    model.config.emotion_labels = ["bored"]
    trainer = build_rl_trainer(config, lambda rows: {"letters": letters}, model, processor)
    assert set(trainer.audio_model.config.emotion_labels) == {"bored", *trainer.train_dataset["label"]}


def test_a_killed_run_ends_as_an_unbroken_one_and_the_model_loads(config, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    config["epochs"] = 1.5  # so that the kill falls into the second pass, whose order is another one
    whole = train_by_rewards(config, lambda rows: {"letters": letters})
    assert "reward letters x 2: 12 of 12 rows" in caplog.text
    config["training"]["output_dir"] += "-resumed"
    trainer = build_rl_trainer(config, lambda rows: {"letters": letters})
    assert trainer.args.max_steps == 9
    trainer.add_callback(Stop(7))
    trainer.save_merged = lambda folder: None
    run(config, trainer)
    (Path(config["training"]["output_dir"]) / "training.json").unlink()
    again = train_by_rewards(config, lambda rows: {"letters": letters})
    first, second = weights(whole), weights(again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    start = weights(config["model"]["checkpoint"])
    moved = {name for name in first if not torch.equal(first[name], start[name])}
    assert moved and all("emotion_adapter" in name or "language_model" in name for name in moved)
    AudioLLMForConditionalGeneration.from_pretrained(again)
    state = json.loads((Path(again).parent / "trainer_state.json").read_text())
    proof = [entry["moved"] for entry in state["log_history"] if "moved" in entry]
    assert sorted(proof[-1]) == ["emotion_adapter", "lora"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": []}, "reward is unknown; did you mean rewards"),
        ({"rewards": [{"name": "label", "wait": 1}]}, "rewards.0.wait is unknown; did you mean weight"),
        ({"rewards": [{"name": "label"}, {"name": "label"}]}, "rewards are label, label; give at least one, and each"),
        ({"rewards": [{"name": "label", "weight": 0.0}]}, "label has the weight 0"),
        ({"train": ["lorra"]}, "train: lorra is no part; did you mean lora"),
        ({"train": ["emotion_adapter"]}, "`lora` where there is a section `lora`"),
        ({"method": "dpo"}, "training.num_generations is unknown"),
        ({"sampling": {}}, "sampling is of method dpo"),
        ({"epochs": 0.0}, "epochs is 0; it must be above 0"),
        ({"training": {"num_generation": 4}}, "training.num_generation is unknown; did you mean num_generations"),
        ({"training": {"reward_weights": [1.0]}}, "reward_weights cannot be set: `rewards` gives each its weight"),
        ({"training": {"use_vllm": True}}, "use_vllm cannot be set: it would sample without audio"),
        ({"training": {"eval_strategy": "steps"}}, "data.validation names no rows"),
        ({"training": {"auto_find_batch_size": True}}, "cannot be set: rows are laid out before the first step"),
        ({"training": {"save_strategy": "epoch"}}, "save_strategy is 'epoch'; it is one of no and steps"),
    ],
)
def test_what_a_configuration_cannot_mean_is_refused_by_name(config, change, message):
    with pytest.raises(ConfigError, match=message):
        check_rl_config({**config, **change})


def test_our_own_configuration_is_right_and_its_fields_are_documented():
    assert read_rl_config("configs/rl.yaml")["rewards"]
    for kind in (RLConfiguration, RewardChoice, Sampling):
        assert all(f"{field.name}" in kind.__doc__ for field in dataclasses.fields(kind))


def test_a_checkpoint_in_the_midst_of_what_was_sampled_once_is_refused(corpus, tmp_path):
    """A run that went on there would sample other answers than the unbroken one learns from."""
    model, processor = tiny_model_and_processor()
    build = partial(trainer_of, corpus, tmp_path, model, processor, save_strategy="steps")
    with pytest.raises(ValueError, match="learnt from for 2 steps.*make it a multiple of 2"):
        build(num_iterations=2, save_steps=1, steps=4)
    with pytest.raises(ValueError, match="make it a multiple of 3"):
        build(steps_per_generation=6, save_steps=2, steps=6)
    for settings in (
        {"num_iterations": 2, "save_steps": 2},
        {"save_steps": 1},
        {"num_iterations": 2, "save_steps": 9},
    ):
        build(**settings, steps=4)


@pytest.fixture
def by_pairs(config):
    """The configuration of a training by pairs."""
    settings = {name: value for name, value in config["training"].items() if name not in ("num_generations",)}
    settings = {name: value for name, value in settings.items() if name != "max_completion_length"}
    settings |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "beta": 0.1}
    sampling = {"answers": 4, "max_new_tokens": 5, "batch_size": 5}
    return config | {"method": "dpo", "train": ["lora"], "training": settings, "sampling": sampling, "epochs": 1.5}


def test_the_better_of_two_answers_becomes_likelier_and_a_killed_run_goes_on(by_pairs):
    rewards = lambda rows: {"letters": letters}  # noqa: E731
    whole = train_by_rewards(by_pairs, rewards)
    folder = Path(whole).parent
    entries = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    pairs = [entry for entry in entries if "chosen" in entry]
    assert pairs and all(
        pair["chosen"].count("a") * 2 == pair["worth"][0] > pair["worth"][1] == pair["rejected"].count("a") * 2
        for pair in pairs
    )
    logged = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    margins = [entry["rewards/margins"] for entry in logged if "rewards/margins" in entry]
    assert margins[0] == pytest.approx(0, abs=1e-6) and margins[-1] > margins[0]
    by_pairs["training"]["output_dir"] += "-resumed"
    trainer = build_rl_trainer(by_pairs, rewards)
    trainer.add_callback(Stop(trainer.args.max_steps - 1))
    trainer.save_merged = lambda folder: None
    run(by_pairs, trainer)
    (Path(by_pairs["training"]["output_dir"]) / "training.json").unlink()
    again = weights(train_by_rewards(by_pairs, rewards))
    assert all(torch.equal(value, again[name]) for name, value in weights(whole).items())


def test_pairs_are_scored_with_their_audio(by_pairs):
    """TRL gives its model all that a collator makes; without the audio log-probabilities would be others."""
    trainer = build_rl_trainer(by_pairs, lambda rows: {"letters": letters})
    rows = [trainer.train_dataset[0], trainer.train_dataset[1]]
    batch = trainer.data_collator(rows)
    chosen, rejected = trainer.compute_ref_log_probs(trainer.model, batch)
    model = trainer.audio_model.eval()
    whole = {name: value for name, value in batch.items() if name != "completion_mask"}
    with torch.no_grad(), trainer.model.disable_adapter():
        logits = model(**whole).logits[:, :-1].log_softmax(-1)
    own = logits.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1) * batch["completion_mask"][:, 1:]
    torch.testing.assert_close(torch.cat([chosen, rejected]), own.sum(-1), rtol=1e-5, atol=1e-5)


def test_a_job_that_was_killed_while_sampling_makes_the_same_pairs(by_pairs):
    build_rl_trainer(by_pairs, lambda rows: {"letters": letters})
    path = Path(by_pairs["training"]["output_dir"]) / "pairs.jsonl"
    whole = path.read_text().splitlines()
    path.write_text("\n".join(whole[:8]) + "\n" + whole[8][:5])
    build_rl_trainer(by_pairs, lambda rows: {"letters": letters})
    assert path.read_text().splitlines() == whole


def test_pairs_that_were_made_of_something_else_are_refused(by_pairs):
    build_rl_trainer(by_pairs, lambda rows: {"letters": letters})
    others = {
        "sampling": by_pairs | {"sampling": by_pairs["sampling"] | {"temperature": 0.5}},
        "seed": by_pairs | {"training": by_pairs["training"] | {"seed": 5}},
    }
    for name, other in others.items():
        with pytest.raises(ConfigError, match=f"made with another {name}; give another training.output_dir, or del"):
            build_rl_trainer(other, lambda rows: {"letters": letters})
    (path,) = (Path(folder) / "train.jsonl" for folder in by_pairs["data"]["train"])
    path.write_text(path.read_text().replace("my old dog", "my old cat"))  # in the same place
    with pytest.raises(ConfigError, match="made with another rows"):
        build_rl_trainer(by_pairs, lambda rows: {"letters": letters})


def test_answers_that_are_all_worth_the_same_make_no_pairs(by_pairs):
    with pytest.raises(ValueError, match="All 4 answers to each row are worth the same"):
        build_rl_trainer(by_pairs, lambda rows: {"letters": lambda completions, **columns: [1.0] * len(completions)})


def test_a_part_that_the_model_does_not_have_is_refused(config):
    with pytest.raises(ScheduleError, match="this model has no adapter; it has .*speech_adapter"):
        build_rl_trainer(config | {"train": ["lora", "adapter"]}, lambda rows: {"letters": letters})


def test_another_run_in_the_folder_is_refused_and_a_finished_one_is_left(config, caplog):
    caplog.set_level(logging.INFO)
    config["max_steps"] = 1
    train_by_rewards(config, lambda rows: {"letters": letters})
    train_by_rewards(config, lambda rows: {"letters": letters})
    assert "this run is finished (1 steps)" in caplog.text
    config["training"]["learning_rate"] = 0.5
    with pytest.raises(OtherRunError, match="training.learning_rate was 0.01, is 0.5"):
        train_by_rewards(config, lambda rows: {"letters": letters})


def test_rows_to_validate_with_are_answered_and_rewarded_too(config, corpus, tmp_path):
    (tmp_path / "validation.jsonl").write_text((corpus / "train.jsonl").read_text().replace('"train"', '"validation"'))
    config |= {"data": {**config["data"], "validation": [str(corpus)]}, "max_steps": 2}
    config["training"] |= {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 8}
    trainer = build_rl_trainer(config, lambda rows: {"letters": letters})
    trainer.train()
    assert any({"eval_rewards/letters/mean", "eval_er_loss"} <= entry.keys() for entry in trainer.state.log_history)


def test_the_command_shows_its_plan_and_trains_the_model(config, corpus, tmp_path, capsys):
    config["rewards"] = [{"name": "label"}, {"name": "quotes_said", "weight": 0.5}]
    (tmp_path / "rl.yaml").write_text(yaml.safe_dump(config))
    assert main(["rl", "--config", str(tmp_path / "rl.yaml"), "--plan", "--gpus", "1"]) == 0
    said = capsys.readouterr().out
    assert "lora" in said or "activations" in said
    assert "reward quotes_said x 0.5: 12 of 12 rows" in said
    assert main(["rl", "--config", str(tmp_path / "rl.yaml"), "--set", "max_steps=1"]) == 0
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert any("rewards/quotes_said/std" in entry for entry in state["log_history"])
