"""Emotion2Vec: the same numbers as upstream, alone and in batches, and a model like any other of transformers."""

import importlib.util
import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
    pipeline,
)

from audiollm.commands import main
from audiollm.modeling_audiollm import convert_emotion2vec as converter
from audiollm.modeling_audiollm import modeling_emotion2vec as modeling
from audiollm.modeling_audiollm.configuration_emotion2vec import EMOTION2VEC_LABELS, Emotion2VecConfig
from audiollm.modeling_audiollm.modeling_emotion2vec import Emotion2VecForAudioClassification, Emotion2VecModel
from audiollm.processing.timeline import emotion_timeline, emotion_windows
from tests.tiny import ENCODERS


RATE = 16_000
GOLDEN_LOGITS = [2.1232, 0.2491, -0.0706, 0.1707, 0.6954, 0.0774, 0.6259, 0.1029, -0.0159]
AUDIO = "modality_encoders.AUDIO."
CONVS = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]


@pytest.fixture(scope="module", autouse=True)
def registered():
    AutoConfig.register("emotion2vec", Emotion2VecConfig, exist_ok=True)
    AutoModel.register(Emotion2VecConfig, Emotion2VecModel, exist_ok=True)
    AutoModelForAudioClassification.register(Emotion2VecConfig, Emotion2VecForAudioClassification, exist_ok=True)


def noise(seconds, seed=0, amplitude=0.1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(round(seconds * RATE), generator=generator) * amplitude


def upstream_weights(width=48, heads=6, prenet=1, trunk=2, channels=16, classes=9, seed=0):
    """Random weights under FunASR's names and in its shapes."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0, mean=0.0):
        return torch.randn(*shape, generator=generator) * scale + mean

    weights = {}

    def affine(name, size):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = normal(size, scale=0.2, mean=1.0), normal(size, scale=0.2)

    def linear(name, out, size):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (
            normal(out, size, scale=size**-0.5),
            normal(out, scale=0.2),
        )

    for i, (kernel, _) in enumerate(CONVS):
        size = channels if i else 1
        weights[f"{AUDIO}local_encoder.conv_layers.{i}.0.weight"] = normal(
            channels, size, kernel, scale=(2 / size / kernel) ** 0.5
        )
        affine(f"{AUDIO}local_encoder.conv_layers.{i}.2.1", channels)
    affine(f"{AUDIO}project_features.1", channels)
    linear(f"{AUDIO}project_features.2", width, channels)
    for i in range(1, 6):
        weights[f"{AUDIO}relative_positional_encoder.{i}.0.weight"] = normal(width, width // 16, 19, scale=0.15)
        weights[f"{AUDIO}relative_positional_encoder.{i}.0.bias"] = normal(width, scale=0.2)
    weights[f"{AUDIO}extra_tokens"] = normal(1, 10, width)
    scale = normal(1, 1, heads, 1, 1, scale=0.5, mean=1.0)
    scale[0, 0, 1] = -0.3  # below zero it counts as zero
    weights[f"{AUDIO}alibi_scale"] = scale
    affine(f"{AUDIO}context_encoder.norm", width)
    blocks = [f"{AUDIO}context_encoder.blocks.{i}" for i in range(prenet)] + [f"blocks.{i}" for i in range(trunk)]
    for block in blocks:
        affine(f"{block}.norm1", width)
        affine(f"{block}.norm2", width)
        linear(f"{block}.attn.qkv", 3 * width, width)
        linear(f"{block}.attn.proj", width, width)
        linear(f"{block}.mlp.fc1", 4 * width, width)
        linear(f"{block}.mlp.fc2", width, 4 * width)
    if classes:
        linear("proj", classes, width)
    return weights


def plain_reference(weights, waveform, blocks, heads=6):
    """The architecture once more, in straight lines: one clip, no padding, no classes. `[frames, width]`."""
    x = F.layer_norm(waveform, waveform.shape)[None, None]
    for i, (_, stride) in enumerate(CONVS):
        name = f"{AUDIO}local_encoder.conv_layers.{i}"
        x = F.conv1d(x, weights[f"{name}.0.weight"], stride=stride)
        norm = weights[f"{name}.2.1.weight"], weights[f"{name}.2.1.bias"]
        x = F.gelu(F.layer_norm(x.transpose(1, 2), x.shape[1:2], *norm).transpose(1, 2))

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = linear(norm(x[0].T, f"{AUDIO}project_features.1"), f"{AUDIO}project_features.2")
    frames, width = x.shape
    position = x
    for i in range(1, 6):
        name = f"{AUDIO}relative_positional_encoder.{i}.0"
        position = F.conv1d(
            position.T[None], weights[f"{name}.weight"], weights[f"{name}.bias"], padding=9, groups=16
        )[0].T
        position = F.gelu(F.layer_norm(position, (width,)))
    x = torch.cat([weights[f"{AUDIO}extra_tokens"][0], x + position])

    slopes = {
        4: [1 / 4, 1 / 16, 1 / 64, 1 / 256],
        6: [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8],  # of 4 heads, then every other one of 8
    }[heads]
    bias = torch.zeros(heads, frames + 10, frames + 10)
    for head in range(heads):
        scale = max(weights[f"{AUDIO}alibi_scale"].flatten()[head].item(), 0.0)
        for i in range(frames):
            bias[head, 10 + i, 10:] = -scale * slopes[head] * (torch.arange(frames) - i).abs()

    x = norm(x, f"{AUDIO}context_encoder.norm")
    for name in blocks:
        qkv = linear(x, f"{name}.attn.qkv").view(-1, 3, heads, width // heads)
        query, key, value = (qkv[:, i].transpose(0, 1) for i in range(3))
        attention = (query @ key.transpose(1, 2) * (width // heads) ** -0.5 + bias).softmax(-1) @ value
        x = norm(x + linear(attention.transpose(0, 1).reshape(-1, width), f"{name}.attn.proj"), f"{name}.norm1")
        x = norm(x + linear(F.gelu(linear(x, f"{name}.mlp.fc1")), f"{name}.mlp.fc2"), f"{name}.norm2")
    return x[10:]


BLOCKS = [f"{AUDIO}context_encoder.blocks.0", "blocks.0", "blocks.1"]


def from_upstream(weights, labels=None):
    converted, dropped = converter.convert_state_dict(weights)
    assert not dropped
    return converter.build_model(converted, converter.read_config(converted, labels))


@pytest.fixture(scope="module")
def weights():
    return upstream_weights()


@pytest.fixture(scope="module")
def classifier(weights):
    return from_upstream(weights)


@pytest.fixture(scope="module")
def model(classifier):
    return classifier.emotion2vec


def batch_of(clips, length=None, fill=0.0):
    length = length or max(len(clip) for clip in clips)
    values = torch.stack([F.pad(clip, (0, length - len(clip)), value=fill) for clip in clips])
    mask = torch.stack([(torch.arange(length) < len(clip)).long() for clip in clips])
    return values, mask


# Numbers


@pytest.mark.parametrize("seconds", [0.025, 0.1, 0.2, 0.4, 0.7, 1.0, 1.28, 1.31, 2.0, 5.3, 12.0, 30.0])
@torch.no_grad()
def test_frames_are_those_of_the_architecture_written_out(weights, classifier, seconds):
    clip = noise(seconds)
    expected = plain_reference(weights, clip, BLOCKS)
    outputs = classifier.emotion2vec(clip[None])
    torch.testing.assert_close(outputs.last_hidden_state[0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.pooler_output[0], expected.mean(0), atol=1e-4, rtol=0)
    logits = F.linear(expected.mean(0), weights["proj.weight"], weights["proj.bias"])
    torch.testing.assert_close(classifier(clip[None]).logits[0], logits, atol=1e-4, rtol=0)


@torch.no_grad()
def test_golden_figures_stay(classifier):
    """Made with `plain_reference` and the weights of seed 0; catches a change of both sides at once."""
    time = torch.arange(RATE) / RATE
    logits = classifier(torch.sin(2 * torch.pi * 220 * time)[None] * 0.3).logits[0]
    assert logits.tolist() == pytest.approx(GOLDEN_LOGITS, abs=1e-4)


@pytest.mark.parametrize("group_frames, as_on_gpu", [(1, False), (150, False), (100_000, False), (100_000, True)])
@torch.no_grad()
def test_a_clip_gives_the_same_in_a_batch_as_alone(classifier, monkeypatch, group_frames, as_on_gpu):
    monkeypatch.setattr(modeling, "CPU_FRAMES", group_frames)
    if as_on_gpu:
        pieces = modeling.Emotion2VecFeatureEncoder._pieces
        monkeypatch.setattr(
            modeling.Emotion2VecFeatureEncoder, "_pieces", lambda self, frames, one_by_one: pieces(self, frames, False)
        )
    clips = [noise(seconds, seed) for seed, seconds in enumerate([2.0, 0.025, 0.3, 3.1, 3.1, 0.9])]
    values, mask = batch_of(clips, fill=7.0)  # what is in the padding must not matter
    batch = classifier.emotion2vec(values, attention_mask=mask, output_hidden_states=True)
    logits = classifier(values, attention_mask=mask).logits
    for row, clip in enumerate(clips):
        alone = classifier.emotion2vec(clip[None], output_hidden_states=True)
        frames = alone.last_hidden_state.shape[1]
        torch.testing.assert_close(
            batch.last_hidden_state[row, :frames], alone.last_hidden_state[0], atol=1e-5, rtol=0
        )
        assert not batch.last_hidden_state[row, frames:].any()
        torch.testing.assert_close(batch.pooler_output[row], alone.pooler_output[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(logits[row], classifier(clip[None]).logits[0], atol=1e-5, rtol=0)
        for state, state_alone in zip(batch.hidden_states, alone.hidden_states):
            torch.testing.assert_close(state[row, :frames], state_alone[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_padding_of_a_whole_batch_costs_no_exactness_and_keeps_the_frame_count(model):
    clip = noise(1.0)
    values, mask = batch_of([clip], length=3 * RATE)
    padded = model(values, attention_mask=mask).last_hidden_state
    alone = model(clip[None]).last_hidden_state
    assert padded.shape[1] == model.config.num_frames(3 * RATE) == 149
    torch.testing.assert_close(padded[:, :49], alone, atol=1e-6, rtol=0)
    assert not padded[:, 49:].any()


@torch.no_grad()
def test_a_mask_of_ones_means_no_padding(model):
    clips = torch.stack([noise(0.5, 1), noise(0.5, 2)])
    expected = model(clips).last_hidden_state
    for ones in (torch.ones_like(clips), torch.ones_like(clips).long(), torch.ones_like(clips).bool()):
        assert torch.equal(model(clips, attention_mask=ones).last_hidden_state, expected)


@pytest.mark.parametrize("amplitude", [1e-4, 1e-3, 1.0, 1e4])
@torch.no_grad()
def test_loudness_is_normalised_as_upstream_does_it_for_quiet_clips_too(weights, model, amplitude):
    clip = noise(0.5, amplitude=amplitude) + amplitude
    expected = plain_reference(weights, clip, BLOCKS)
    torch.testing.assert_close(model(clip[None]).last_hidden_state[0], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_silence_gives_finite_features(model):
    assert model(torch.zeros(1, RATE)).last_hidden_state.isfinite().all()


@torch.no_grad()
def test_eager_attention_equals_sdpa(weights, classifier):
    eager = from_upstream(weights)
    eager.set_attn_implementation("eager")
    assert (classifier.config._attn_implementation, eager.config._attn_implementation) == ("sdpa", "eager")
    values, mask = batch_of([noise(1.0), noise(0.4)])
    torch.testing.assert_close(
        eager(values, attention_mask=mask).logits, classifier(values, attention_mask=mask).logits, atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_hidden_states_are_the_input_of_the_blocks_and_each_output(model):
    outputs = model(noise(0.5)[None], output_hidden_states=True)
    assert len(outputs.hidden_states) == model.config.num_hidden_layers + 1
    assert {state.shape for state in outputs.hidden_states} == {(1, 24, 48)}
    assert torch.equal(outputs.hidden_states[-1], outputs.last_hidden_state)
    assert model(noise(0.5)[None]).hidden_states is None
    assert isinstance(model(noise(0.5)[None], return_dict=False), tuple)


def test_frame_counts_agree_with_what_the_model_gives():
    config = Emotion2VecConfig()
    lengths = [0, 1, 399, 400, 719, 720, 16_000, 48_000, 480_000]
    assert [config.num_frames(n) for n in lengths] == [0, 0, 0, 1, 1, 2, 49, 149, 1499]
    assert config.num_frames(torch.tensor(lengths)).tolist() == [config.num_frames(n) for n in lengths]
    assert [config.num_samples(frames) for frames in (1, 2, 49)] == [400, 720, 400 + 48 * 320]


@torch.no_grad()
def test_length_methods_named_as_hubert_has_them(model):
    _, mask = batch_of([noise(1.0), noise(0.5)])
    assert model._get_feat_extract_output_lengths(mask.sum(-1)).tolist() == [49, 24]
    assert model._get_feature_vector_attention_mask(49, mask).sum(-1).tolist() == [49, 24]


# Training


def gradients(model, checkpointing):
    """Of every parameter; `checkpointing` is None, or whether to checkpoint reentrantly."""
    model = type(model)(model.config)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.train()
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
    torch.manual_seed(1)
    values, mask = batch_of([noise(0.6, 1), noise(0.3, 2)])
    model(values, attention_mask=mask, labels=torch.tensor([3, 6])).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("reentrant", [False, True])
def test_every_parameter_learns_and_checkpointing_gives_the_same_gradients(classifier, monkeypatch, reentrant):
    monkeypatch.setattr(classifier.config, "layerdrop", 0.0)
    plain, checkpointed = gradients(classifier, None), gradients(classifier, reentrant)
    assert [name for name, gradient in plain.items() if gradient is None or not gradient.any()] == []
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_dropout_and_layerdrop_act_in_training_only(weights):
    model = from_upstream(weights)
    clip = noise(0.5)[None]
    assert torch.equal(model(clip).logits, model(clip).logits)
    model.train()
    assert not torch.equal(model(clip).logits, model(clip).logits)


def test_freezing_the_base_model_leaves_the_classifier(weights):
    model = from_upstream(weights)
    model.freeze_base_model()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "classifier.weight",
        "classifier.bias",
    ]


@torch.no_grad()
def test_bfloat16_stays_close(weights, classifier):
    clip = noise(0.5)[None]
    logits = from_upstream(weights).to(torch.bfloat16)(clip.to(torch.bfloat16)).logits
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), classifier(clip).logits, atol=0.1, rtol=0)


# Configuration and heads


@pytest.mark.parametrize("size, millions", [("base", 93.171), ("plus_seed", 93.178), ("plus_large", 162.140)])
def test_sizes_have_the_published_number_of_parameters(size, millions):
    with torch.device("meta"):
        config = Emotion2VecConfig.from_size(size)
        model = Emotion2VecModel(config) if size == "base" else Emotion2VecForAudioClassification(config)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


def test_labels_are_upstreams_in_order_unless_others_are_given():
    assert list(Emotion2VecConfig().id2label.values()) == list(EMOTION2VEC_LABELS)
    assert Emotion2VecConfig().label2id["sad"] == 6
    assert Emotion2VecConfig(num_labels=2).id2label == {0: "LABEL_0", 1: "LABEL_1"}


@pytest.mark.parametrize("labels", [2, 4])
def test_other_label_counts_survive_saving(tmp_path, labels):
    Emotion2VecConfig(num_labels=labels).save_pretrained(tmp_path)
    assert Emotion2VecConfig.from_pretrained(tmp_path).num_labels == labels


@pytest.mark.parametrize(
    "wrong", [{"conv_dim": [8]}, {"num_attention_heads": 7}, {"position_kernel": 4}, {"conv_kernel": [1] * 7}]
)
def test_impossible_architectures_are_refused(wrong):
    with pytest.raises(Exception, match=next(iter(wrong))):
        Emotion2VecConfig(**wrong)


@torch.no_grad()
def test_labels_that_start_with_unuse_are_never_chosen(weights):
    model = from_upstream(weights, ["angry", "unuse_0", "unuse_1", "happy", "neutral", "unuse_2", "sad", "x", "<unk>"])
    probabilities = model(noise(0.5)[None]).logits.softmax(-1)[0]
    assert (probabilities == 0).tolist() == [False, True, True, False, False, True, False, False, False]


def test_bad_input_says_what_is_wrong(model):
    clip = noise(0.5)[None]
    mask = torch.ones_like(clip)
    with pytest.raises(ValueError, match="Clip 0 has 399 samples; emotion2vec needs at least 400"):
        model(clip[:, :399])
    with pytest.raises(ValueError, match="pad on the right"):
        model(clip, attention_mask=mask.index_fill(1, torch.arange(100), 0))
    with pytest.raises(ValueError, match="they must be alike"):
        model(clip, attention_mask=mask[:, :100])
    with pytest.raises(ValueError, match="must be \\[batch, samples\\]"):
        model(clip[0])
    with pytest.raises(ValueError, match="Unknown emotion2vec size 'huge'"):
        Emotion2VecConfig.from_size("huge")


# Conversion


def save_checkpoint(path, weights, **extra):
    torch.save({"model": weights, **extra}, path)
    return path


class TrainingSettings:
    """Like omegaconf's objects in the published files: a class that is not there when the file is read."""

    def __init__(self):
        self.lr, self.parts = 1e-4, [{"a": (1, 2)}]


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the checkpoint was run')",)


def test_converter_reads_prefixed_files_and_leaves_training_behind(tmp_path, weights, classifier, capsys):
    published = {key if key.startswith("proj.") else f"d2v_model.{key}": value for key, value in weights.items()}
    published["d2v_model.modality_encoders.AUDIO.decoder.blocks.0.0.weight"] = torch.zeros(3)
    published["d2v_model.recon_proj.weight"] = torch.zeros(3)
    published["_ema"] = {"blocks.0.norm1.weight": torch.zeros(3)}
    path = save_checkpoint(
        tmp_path / "model.pt",
        published,
        cfg=TrainingSettings(),
        last_optimizer_state={"state": {0: {"exp_avg": torch.zeros(9)}}, "np": np.float64(3.0)},
    )
    (tmp_path / "tokens.txt").write_text("\n".join(f"字/{label}" for label in EMOTION2VEC_LABELS[:-1]) + "\n<unk>\n")
    main(["convert-emotion2vec", str(path), str(tmp_path / "out")])
    assert "Left out 2 tensors of training" in capsys.readouterr().out
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "modeling_emotion2vec.py"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }
    loaded = Emotion2VecForAudioClassification.from_pretrained(tmp_path / "out")
    assert list(loaded.config.id2label.values()) == list(EMOTION2VEC_LABELS)
    for name, parameter in classifier.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name


def test_converter_makes_an_encoder_of_a_checkpoint_without_head(tmp_path, model):
    path = save_checkpoint(tmp_path / "model.pt", upstream_weights(classes=0))
    assert type(converter.convert(path, tmp_path / "out")) is Emotion2VecModel
    loaded = Emotion2VecModel.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded(noise(0.1)[None]).pooler_output, model(noise(0.1)[None]).pooler_output)


def test_converter_runs_nothing_that_a_checkpoint_holds(tmp_path, weights):
    path = save_checkpoint(tmp_path / "model.pt", weights, cfg=Bomb())
    with pytest.raises(SystemExit):
        torch.load(path, weights_only=False)
    converter.convert(path, tmp_path / "out")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda w: {k: v for k, v in w.items() if "blocks.1.mlp.fc1" not in k}, "Missing key.*layers.2"),
        (lambda w: {**w, "blocks.0.norm1.weight": torch.ones(5)}, "size mismatch"),
        (lambda w: {k: v for k, v in w.items() if "extra_tokens" not in k}, "there is no 'encoder.extra_tokens'"),
        (lambda w: {**w, "proj.weight": torch.ones(4, 48)}, "4 classes and there are 9 labels"),
        (lambda w: {"encoder.weight": torch.ones(3)}, "These are no emotion2vec weights"),
    ],
)
def test_converter_names_what_does_not_fit(tmp_path, weights, spoil, message):
    path = save_checkpoint(tmp_path / "model.pt", spoil(weights))
    with pytest.raises(converter.CheckpointError, match=message):
        converter.convert(path, tmp_path / "out")


def test_converter_refuses_other_files(tmp_path, weights):
    path = save_checkpoint(tmp_path / "model.pt", weights)
    with pytest.raises(converter.CheckpointError, match="has SHA-256 .* not be501a01"):
        converter.convert(path, tmp_path / "out", size="plus_large")
    with pytest.raises(converter.CheckpointError, match="48 wide, which is not base"):
        converter.convert(path, tmp_path / "out", size="base")
    with pytest.raises(converter.CheckpointError, match="There is no file"):
        converter.convert(tmp_path / "absent.pt", tmp_path / "out")
    pointer = tmp_path / "pointer.pt"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(converter.CheckpointError, match="Git LFS pointers"):
        converter.convert(pointer, tmp_path / "out")
    archive = tmp_path / "archive.pt"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a")
    with pytest.raises(converter.CheckpointError, match="can't be read"):
        converter.convert(archive, tmp_path / "out")
    with pytest.raises(converter.CheckpointError, match='no weights under "model"'):
        converter.convert(save_checkpoint(tmp_path / "list.pt", [1, 2]), tmp_path / "out")
    assert converter.convert(path, tmp_path / "out", sha256=converter.sha256_of(path).upper())


def test_converter_command_reports_errors_without_a_traceback(tmp_path, capsys):
    assert main(["convert-emotion2vec", str(tmp_path / "absent.pt"), str(tmp_path / "out")]) == 2
    assert main(["convert-emotion2vec", str(tmp_path / "absent.pt"), str(tmp_path / "out"), "--size", "huge"]) == 2
    said = capsys.readouterr().err
    assert "error: There is no file" in said and "--size huge is not one of base, " in said


def test_tensor_unpickler_imports_nothing():
    data = pickle.dumps(TrainingSettings())
    unpickled = converter._TensorUnpickler(io.BytesIO(data)).load()
    assert type(unpickled).__name__ == "_Inert"


# A model like any other


@pytest.fixture(scope="module")
def saved(tmp_path_factory, classifier):
    folder = tmp_path_factory.mktemp("emotion2vec")
    converter.save_portable(classifier, folder)
    return folder


@torch.no_grad()
def test_auto_classes_load_model_head_and_feature_extractor(saved, classifier):
    clip = noise(0.5)
    extractor = AutoFeatureExtractor.from_pretrained(saved)
    assert type(extractor) is Wav2Vec2FeatureExtractor
    inputs = extractor([clip.numpy(), clip[:4000].numpy()], sampling_rate=RATE, padding=True, return_tensors="pt")
    loaded = AutoModelForAudioClassification.from_pretrained(saved)
    torch.testing.assert_close(loaded(**inputs).logits[1], classifier(clip[None, :4000]).logits[0], atol=1e-5, rtol=0)
    encoder = AutoModel.from_pretrained(saved)
    assert type(encoder) is Emotion2VecModel
    assert torch.equal(encoder(clip[None]).pooler_output, classifier.emotion2vec(clip[None]).pooler_output)
    assert json.loads((saved / "config.json").read_text())["auto_map"].keys() == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForAudioClassification",
    }


def test_audio_classification_pipeline_gives_the_same_one_by_one_and_in_batches(saved):
    pipe = pipeline("audio-classification", model=str(saved), device="cpu")
    clips = [noise(seconds, seed).numpy() for seed, seconds in enumerate([0.5, 1.2, 0.3])]
    alone = [pipe(clip, top_k=None) for clip in clips]
    for scores, batched in zip(alone, pipe(list(clips), batch_size=3, top_k=None)):
        assert [s["label"] for s in scores] == [s["label"] for s in batched]
        assert [s["score"] for s in scores] == pytest.approx([s["score"] for s in batched], abs=1e-5)
    assert len(alone[0]) == 9


STRANGER = """
import json, sys
import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline

folder = sys.argv[1]
clip = np.load(sys.argv[2])
trust = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(folder, **trust)
inputs = AutoFeatureExtractor.from_pretrained(folder)(clip, sampling_rate=16000, return_tensors="pt")
with torch.no_grad():
    mean = AutoModel.from_pretrained(folder, **trust)(**inputs).pooler_output[0]
    logits = AutoModelForAudioClassification.from_pretrained(folder, **trust)(**inputs).logits[0]
best = pipeline("audio-classification", model=folder, device="cpu", **trust)(clip, top_k=1)[0]
assert not any(name.split(".")[0] == "audiollm" for name in sys.modules)
print(json.dumps({"type": config.model_type, "mean": mean.tolist(), "logits": logits.tolist(), "best": best}))
"""


@torch.no_grad()
def test_a_process_without_this_package_loads_it_with_trust_remote_code(saved, classifier, tmp_path):
    clip = noise(0.5)
    np.save(tmp_path / "clip.npy", clip.numpy())
    environment = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(saved), str(tmp_path / "clip.npy")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout.splitlines()[-1])
    outputs = classifier(clip[None]).logits[0]
    assert answer["type"] == "emotion2vec"
    assert answer["logits"] == pytest.approx(outputs.tolist(), abs=1e-5)
    assert answer["mean"] == pytest.approx(classifier.emotion2vec(clip[None]).pooler_output[0].tolist(), abs=1e-5)
    assert answer["best"]["label"] == classifier.config.id2label[outputs.argmax().item()]


# Timeline


class LoudnessClassifier(torch.nn.Module):
    """Says "loud" where the mean power of a window is above 1/8: what a timeline shows is then known."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        super().__init__()
        self.config = Emotion2VecConfig(id2label={0: "quiet", 1: "loud", 2: "unuse_0"})
        self.shapes = []

    def forward(self, input_values):
        self.shapes.append(tuple(input_values.shape))
        loud = (input_values.square().mean(-1) - 0.125) * 100
        logits = torch.stack([-loud, loud, torch.full_like(loud, -torch.inf)], dim=-1)
        return type("Output", (), {"logits": logits})


def quiet_loud_quiet(rate):
    time = np.arange(10 * rate) / rate
    return (np.sin(2 * np.pi * 200 * time) * ((time >= 4) & (time < 7))).astype(np.float32)


def test_timeline_finds_when_it_is_loud_without_gaps_or_overlaps():
    segments = list(emotion_timeline(LoudnessClassifier(), quiet_loud_quiet(RATE), window=1.0, hop=0.25))
    assert [segment.label for segment in segments] == ["quiet", "loud", "quiet"]
    assert segments[0].start == 0.0 and segments[-1].end == 10.0
    assert [a.end for a in segments[:-1]] == [b.start for b in segments[1:]]
    assert [segments[1].start, segments[1].end] == pytest.approx([4.0, 7.0], abs=0.25)
    for segment in segments:
        assert segment.scores.keys() == {"quiet", "loud"}
        assert segment.score == max(segment.scores.values()) > 0.5


@pytest.mark.parametrize("rate, channels", [(16_000, 1), (22_050, 1), (44_100, 2)])
def test_timeline_of_a_file_is_that_of_its_samples(tmp_path, rate, channels):
    path = tmp_path / "long.wav"
    samples = quiet_loud_quiet(rate)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate)
    of_file = list(emotion_timeline(LoudnessClassifier(), path, window=1.0, hop=0.5))
    of_array = list(emotion_timeline(LoudnessClassifier(), samples, window=1.0, hop=0.5, sampling_rate=rate))
    assert [(s.label, s.start, s.end) for s in of_file] == [(s.label, s.start, s.end) for s in of_array]
    assert [s.label for s in of_file] == ["quiet", "loud", "quiet"]


def test_no_window_is_longer_than_asked_and_the_last_one_is_full():
    listener = LoudnessClassifier()
    windows = list(emotion_windows(listener, np.zeros(int(7.3 * RATE)), window=2.0, hop=1.5, batch_size=2))
    assert [(w.start, w.end) for w in windows] == [(0, 2), (1.5, 3.5), (3, 5), (4.5, 6.5), (5.3, 7.3)]
    assert listener.shapes == [(2, 32_000), (2, 32_000), (1, 32_000)]


def test_timeline_reads_on_only_when_it_is_asked(tmp_path):
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(3600 * 1000), 1000)  # an hour, 1000 samples a second
    listener = LoudnessClassifier()
    next(emotion_windows(listener, path, window=3.0, hop=1.0, batch_size=4))
    assert len(listener.shapes) == 1


def test_a_recording_shorter_than_the_window_is_one_segment(classifier):
    (segment,) = emotion_timeline(classifier, noise(0.8).numpy())
    assert (segment.start, segment.end) == (0.0, 0.8)
    assert segment.label in EMOTION2VEC_LABELS
    assert sum(segment.scores.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("window, hop", [(1.0, 0.0), (1.0, 1.5), (0.01, 0.01)])
def test_timeline_refuses_windows_that_leave_gaps_or_hold_no_frame(window, hop):
    with pytest.raises(ValueError, match="hop"):
        next(emotion_windows(LoudnessClassifier(), np.zeros(RATE), window=window, hop=hop))


# FunASR's own code


def load_benchmark():
    path = Path(__file__).parents[1] / "benchmarks" / "emotion_encoders.py"
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("width, heads", [(768, 12), (1024, 16)])
@torch.no_grad()
def test_funasr_gives_the_same_with_the_same_weights(width, heads):
    """Published widths, two blocks for speed; the benchmark compares all twelve."""
    pytest.importorskip("funasr.models.emotion2vec.model", reason="needs FunASR: pip install funasr")
    benchmark = load_benchmark()
    theirs = benchmark.funasr_model(width, heads, prenet=1, trunk=1)
    ours = from_upstream(theirs.state_dict())
    for seconds in benchmark.EXACTNESS_SECONDS:
        errors = benchmark.differences(theirs, ours, noise(seconds))
        assert max(errors.values()) < 1e-4, (seconds, errors)


def small_model(attn_implementation="eager", cls=Emotion2VecModel, **settings):
    config = Emotion2VecConfig(**ENCODERS["emotion2vec"], attn_implementation=attn_implementation, **settings)
    return cls(config)


def padded_pair():
    values = torch.randn(2, 4000)
    mask = torch.ones(2, 4000, dtype=torch.long)
    mask[1, 2500:] = 0
    return values, mask


def test_attention_is_given_for_each_clip_and_is_zero_where_there_is_no_frame():
    model = small_model().eval()
    values, mask = padded_pair()
    (attention,) = model(values, mask, output_attentions=True).attentions
    extra, frames = model.config.num_extra_tokens, [model.config.num_frames(4000), model.config.num_frames(2500)]
    assert attention.shape == (2, 2, extra + frames[0], extra + frames[0])
    for clip, count in zip(attention, frames):
        sums = clip.sum(-1)
        torch.testing.assert_close(sums[:, : extra + count], torch.ones_like(sums[:, : extra + count]))
        assert not clip[:, :, extra + count :].any() and not clip[:, extra + count :].any()
    (alone,) = model(values[1:, :2500], output_attentions=True).attentions
    torch.testing.assert_close(alone[0], attention[1, :, : extra + frames[1], : extra + frames[1]])
    with pytest.raises(ValueError, match='attn_implementation="eager"'):
        small_model("sdpa").eval()(values, mask, output_attentions=True)


def test_gradients_reach_every_hidden_state():
    outputs = small_model()(*padded_pair(), output_hidden_states=True)
    for state in outputs.hidden_states:
        state.retain_grad()
    outputs.pooler_output.square().sum().backward()
    assert all(state.grad is not None and state.grad.any() for state in outputs.hidden_states)


def test_asking_for_hidden_states_changes_no_result():
    model = small_model("sdpa").eval()
    values, mask = padded_pair()
    plain, asked = model(values, mask), model(values, mask, output_hidden_states=True)
    torch.testing.assert_close(plain.last_hidden_state, asked.last_hidden_state)
    torch.testing.assert_close(asked.hidden_states[-1], asked.last_hidden_state)
    assert len(asked.hidden_states) == 1 + model.config.num_hidden_layers


@pytest.mark.parametrize(
    "problem, labels",
    [
        ("regression", torch.tensor([[0.5, 0.1, 0.0], [0.2, 0.3, 0.9]])),
        ("single_label_classification", torch.tensor([0, 2])),
        ("multi_label_classification", torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])),
    ],
)
def test_the_loss_is_that_of_the_problem(problem, labels):
    labels_of = {0: "happy", 1: "unuse_1", 2: "sad"} if problem != "regression" else {0: "a", 1: "b", 2: "c"}
    model = small_model(cls=Emotion2VecForAudioClassification, id2label=labels_of, problem_type=problem).eval()
    values, mask = padded_pair()
    outputs = model(values, mask, labels=labels)
    losses = {
        "regression": torch.nn.functional.mse_loss,
        "single_label_classification": torch.nn.functional.cross_entropy,
        "multi_label_classification": torch.nn.functional.binary_cross_entropy_with_logits,
    }
    finite = outputs.logits.clamp(min=torch.finfo(torch.float32).min)
    torch.testing.assert_close(outputs.loss, losses[problem](finite, labels))
    assert outputs.loss.isfinite()


def test_convolutions_are_no_linear_layers_to_quantize_or_adapt():
    convolutions = small_model().feature_extractor
    assert not any(isinstance(module, torch.nn.Linear) for module in convolutions.modules())


def test_an_exported_graph_takes_any_batch_length_and_mask():
    model = small_model().eval()
    values, mask = padded_pair()
    dim = torch.export.Dim
    shapes = {0: dim("clips", min=1, max=64), 1: dim("samples", min=720, max=480_000)}
    graph = torch.export.export(
        model, (values, mask), dynamic_shapes={"input_values": shapes, "attention_mask": shapes}, strict=False
    ).module()
    longer = torch.randn(3, 9_000)
    lengths = torch.tensor([9_000, 4_321, 800])
    longer_mask = (torch.arange(9_000) < lengths[:, None]).long()
    for clips, real in ((values, mask), (longer * longer_mask, longer_mask)):
        expected, found = model(clips, real), graph(clips, real.to(mask.dtype))
        torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.pooler_output, expected.pooler_output, rtol=1e-4, atol=1e-4)


def test_dynamic_int8_stays_close_and_leaves_the_convolutions_exact():
    model = small_model().eval()
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    values, mask = padded_pair()
    expected, found = model(values, mask).last_hidden_state, quantized(values, mask).last_hidden_state
    assert 0 < (found - expected).norm() / expected.norm() < 0.1
    frames = [model.config.num_frames(4000), model.config.num_frames(2500)]
    torch.testing.assert_close(
        quantized.feature_extractor(values, frames), model.feature_extractor(values, frames), rtol=0, atol=0
    )
