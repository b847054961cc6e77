import os
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CompileConfig,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from trl.trainer.utils import add_fused_lm_head

from audiollm.modeling_audiollm import AudioLLMConfig, AudioLLMForConditionalGeneration
from audiollm.modeling_audiollm.configuration_audiollm import encoder_frames
from audiollm.modeling_audiollm.modeling_audiollm import (
    AudioLLMAdapter,
    AudioLLMBatchNorm,
    AudioLLMHead,
    AudioLLMRunningNorm,
    AudioLLMStatisticsAdapter,
    AudioLLMWhisperEncoder,
    EncodedWindows,
    Stream,
    build_part,
    encode,
    load_encoder,
)
from audiollm.processing import AudioLLMProcessor
from tests.tiny import CONV, ENCODERS, TEXT_MODELS, tiny_model_and_processor, tiny_tokenizer


CLIP_MODELS = [
    ("whisper", None, None),
    ("whisper", "emotion2vec", "sequence"),
    ("parakeet_encoder", "whisper", "feature"),
    ("wav2vec2-bert", "hubert", "sequence"),
]


def inputs_for(processor, *clips):
    return processor(text=[processor.prompt("what emotion")] * len(clips), audio=list(clips))


@pytest.mark.parametrize("text", TEXT_MODELS)
def test_every_language_model_generates_and_encodes_audio_once(text, tone):
    model, processor = tiny_model_and_processor(text=text)
    model.eval()
    calls = {"speech": 0, "emotion": 0}
    for name in calls:
        encoder = getattr(model.model, f"{name}_encoder")
        encoder.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    inputs = inputs_for(processor, tone(0.7), tone(1.6, seed=1))
    tokens = model.generate(**inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert tokens.shape[1] == inputs["input_ids"].shape[1] + 5
    assert calls == {"speech": 1, "emotion": 1}


@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_repeats_nothing_of_itself_but_may_repeat_its_prompt(beams, tone):
    model, processor = tiny_model_and_processor()
    model.eval()
    inputs = inputs_for(processor, tone(0.7), tone(1.2, seed=1))
    start = inputs["input_ids"].shape[1]
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "num_beams": beams}
    word = int(inputs["input_ids"][0, -1])
    first = torch.nn.functional.one_hot(torch.tensor(word), model.config.get_text_config().vocab_size) * 100.0
    model.lm_head.register_forward_hook(lambda module, args, logits: logits * 1e-3 + first)
    assert (model.generate(**inputs, **settings)[:, start:] == word).all()
    once = model.generate(**inputs, **settings, no_repeat_ngram_size=1)[:, start:]
    assert (once[:, 0] == word).all(), "the prompt's last token may be said"
    assert all(len(set(answer)) == 12 for answer in once.tolist())


def test_decoding_with_a_static_cache_compiles_as_one_graph(tone):
    model, processor = tiny_model_and_processor()
    model.eval()
    compiled = CompileConfig(fullgraph=True, dynamic=False, backend="eager", mode=None)
    compiled._compile_all_devices = True
    inputs = inputs_for(processor, tone(0.7), tone(1.6, seed=1))
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "cache_implementation": "static"}
    expected = model.generate(**inputs, **settings)
    with torch._dynamo.config.patch(error_on_recompile=True):
        tokens = model.generate(**inputs, **settings, compile_config=compiled)
    assert model._can_compile_fullgraph and hasattr(model, "_compiled_call")
    assert tokens.tolist() == expected.tolist()


@pytest.mark.parametrize("beams", [1, 2])
def test_encoded_audio_stands_for_audio(beams, tone):
    model, processor = tiny_model_and_processor()
    model.eval()
    inputs = inputs_for(processor, tone(0.7), tone(1.6, seed=1))
    expected = model.generate(**inputs, max_new_tokens=5, do_sample=False, num_beams=beams)
    text = {name: inputs.pop(name) for name in ("input_ids", "attention_mask")}
    audio = {"audio": model.get_audio_features(**inputs)}
    told = model.generate(**text, mm_encoder_outputs=audio, max_new_tokens=5, do_sample=False, num_beams=beams)
    assert told.tolist() == expected.tolist()
    with pytest.raises(ValueError, match="not both"):
        model(**text, **inputs, mm_encoder_outputs=audio)


@pytest.mark.parametrize("text", TEXT_MODELS)
def test_a_padded_batch_generates_what_each_clip_does_alone(text, tone):
    model, processor = tiny_model_and_processor(text=text)
    model.eval()
    clips = [tone(0.4), tone(2.3, seed=1)]
    together = model.generate(**inputs_for(processor, *clips), max_new_tokens=6, do_sample=False)[:, -6:]
    for clip, expected in zip(clips, together):
        inputs = inputs_for(processor, clip)
        alone = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert alone.tolist() == expected[: len(alone)].tolist()


@pytest.mark.parametrize("fusion", ["feature", "sequence"])
@pytest.mark.parametrize("emotion", ["whisper", "hubert", "wav2vec2", "wavlm", "emotion2vec"])
@pytest.mark.parametrize("speech", ["whisper", "parakeet_encoder", "wav2vec2-bert"])
def test_every_pair_of_encoders_fills_its_placeholders(speech, emotion, fusion, tone):
    model, processor = tiny_model_and_processor(speech=speech, emotion=emotion, fusion=fusion)
    inputs = inputs_for(processor, tone(0.5), tone(2.5))
    assert model(**inputs).logits.isfinite().all()
    per_window = {"feature": 10, "sequence": 12}[fusion]
    assert (inputs["input_ids"] == processor.audio_token_id).sum(-1).tolist() == [per_window, 3 * per_window]


def test_single_encoder_model_has_no_emotion_branch(tone):
    model, processor = tiny_model_and_processor(emotion=None)
    names = {name for name, _ in model.model.named_children()}
    assert names == {"speech_encoder", "speech_adapter", "language_model"}
    assert model(**inputs_for(processor, tone(1.2))).logits.isfinite().all()


def test_the_papers_token_counts():
    whisper = AutoConfig.for_model("whisper")
    hubert = AutoConfig.for_model("hubert")
    assert encoder_frames(whisper, 30) == 1500
    assert encoder_frames(hubert, 30) == 1499
    speech = AudioLLMAdapter([Stream(1500, 8)], 100, [8, 32], 16)
    emotion = AudioLLMAdapter([Stream(1499, 8)], 10, [8, 32], 16)
    assert speech.stacks == [15] and speech(EncodedWindows(torch.randn(1, 2, 1500, 8))).shape == (2, 100, 16)
    assert emotion.stacks == [150] and emotion(EncodedWindows(torch.randn(1, 2, 1499, 8))).shape == (2, 10, 16)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("seconds", [1, 2.5])
def test_frame_arithmetic_agrees_with_the_encoders(kind, seconds):
    settings = dict(ENCODERS[kind])
    if kind == "whisper":
        settings["max_source_positions"] = round(50 * seconds)
    encoder = build_part(AutoConfig.for_model(kind, **settings))
    samples = round(16_000 * seconds)
    shape = {
        "whisper": (1, 8, samples // 160),
        "parakeet_encoder": (1, samples // 160, 8),
        # the extractor's frames of 25 ms every 10 ms, made even, two by two
        "wav2vec2-bert": (1, -(-(1 + (samples - 400) // 160) // 2), 160),
    }.get(kind, (1, samples))
    frames = encoder(torch.randn(shape)).last_hidden_state.shape[1]
    assert frames == encoder_frames(encoder.config, seconds)


def test_a_frame_rate_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="No frame count is known"):
        encoder_frames(AutoConfig.for_model("bert"), 30)


def test_windows_of_a_long_clip_are_embedded_as_clips_of_their_own(tiny, tone):
    model, processor = tiny
    clip = tone(2.6)
    whole = inputs_for(processor, clip)
    parts = inputs_for(processor, clip[:16_000], clip[16_000:32_000], clip[32_000:])
    audio = ("input_features", "input_features_mask")
    together = model.get_audio_features(**{name: whole[name] for name in audio}).pooler_output
    apart = model.get_audio_features(**{name: parts[name] for name in audio}).pooler_output
    assert together.shape[0] == 3 * model.config.tokens_per_window
    torch.testing.assert_close(together, apart)


def test_prompt_and_audio_that_do_not_match_are_named(tiny, tone):
    model, processor = tiny
    inputs = inputs_for(processor, tone(1.0))
    inputs["input_ids"] = inputs["input_ids"][:, :-12]
    inputs["input_ids"][inputs["input_ids"] == processor.audio_token_id] = 0
    with pytest.raises(ValueError, match=r"12 embeddings \(at most 12 for a window of 1 s\), the prompt holds 0"):
        model(input_ids=inputs["input_ids"], input_features=inputs["input_features"])


def test_inputs_embeds_find_the_placeholders_too(tiny, tone):
    model, processor = tiny
    inputs = inputs_for(processor, tone(1.0))
    expected = model(**inputs).logits
    embeds = model.get_input_embeddings()(inputs.pop("input_ids"))
    torch.testing.assert_close(model(inputs_embeds=embeds, **inputs).logits, expected)


@pytest.mark.parametrize("text", ["gemma2", "llama"])
def test_tied_head_survives_saving(text, tmp_path, tone):
    model, processor = tiny_model_and_processor(text=text)
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    model.save_pretrained(tmp_path)
    loaded = AudioLLMForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.lm_head.weight.data_ptr() == loaded.get_input_embeddings().weight.data_ptr()
    inputs = inputs_for(processor, tone(1.1))
    torch.testing.assert_close(loaded.eval()(**inputs).logits, model.eval()(**inputs).logits)


@pytest.mark.parametrize("text", TEXT_MODELS)
def test_trl_fused_head_gives_our_own_loss(text, tone):
    model, processor = tiny_model_and_processor(text=text)
    model.eval()
    with torch.no_grad():  # larger logits, so that Gemma-2's soft cap of 30 is at work
        model.lm_head.weight.mul_(40)
    inputs = inputs_for(processor, tone(1.0), tone(1.9, seed=1))
    labels = inputs["input_ids"].masked_fill(inputs["input_ids"] == processor.audio_token_id, -100)
    own = model(**inputs, labels=labels).loss
    add_fused_lm_head(model)
    fused = model(**inputs, labels=labels, fused_lm_head=True)
    torch.testing.assert_close(-fused.log_probs.sum() / (labels[:, 1:] != -100).sum(), own)


@pytest.mark.parametrize("length", [1, AudioLLMHead.FEW_ROWS // 3 + 1])
def test_the_head_is_a_linear_layer_for_few_rows_and_for_many(length):
    head, states = AudioLLMHead(16, 50), torch.randn(3, length, 16, requires_grad=True)
    logits = head(states)
    expected = torch.nn.functional.linear(states, head.weight)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad(value.square().sum(), (states, head.weight)) for value in (logits, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_gemma2_caps_its_logits_like_the_original(tmp_path):
    model, _ = tiny_model_and_processor(text="gemma2")
    with torch.no_grad():
        model.lm_head.weight.mul_(100)
    original = AutoModelForCausalLM.from_config(model.config.text_config).eval()
    original.model.load_state_dict(model.model.language_model.state_dict())
    ids = torch.tensor([[5, 9, 11, 40]])
    torch.testing.assert_close(model.eval()(input_ids=ids).logits, original(input_ids=ids).logits)
    assert original(input_ids=ids).logits.abs().max() <= 30


def test_a_language_model_that_scales_its_logits_is_refused():
    text = AutoConfig.for_model("cohere", logit_scale=0.0625)
    with pytest.raises(StrictDataclassClassValidationError, match="scales its logits"):
        AudioLLMConfig(text_config=text)


@pytest.mark.parametrize("fusion, emotion", [("sequence", None), ("none", {"model_type": "whisper"})])
def test_fusion_that_contradicts_the_encoders_is_refused(fusion, emotion):
    with pytest.raises(StrictDataclassClassValidationError, match="contradicts"):
        AudioLLMConfig(fusion=fusion, emotion_config=emotion)


def test_scores_of_continuations_are_those_of_whole_sequences(tiny, tone):
    model, processor = tiny
    clips = [tone(0.6), tone(2.2, seed=3)]
    continuations = [[30, 31, 32], [40], [50, 51]]
    scores = model.score_continuations(continuations, **inputs_for(processor, *clips))
    for clip, row in zip(clips, scores):
        inputs = inputs_for(processor, clip)
        for ids, score in zip(continuations, row):
            whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
            audio = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
            logits = model(input_ids=whole, **audio).logits[0, -len(ids) - 1 : -1].log_softmax(-1)
            expected = logits.gather(-1, torch.tensor(ids)[:, None]).sum()
            torch.testing.assert_close(score, expected, rtol=1e-4, atol=1e-4)


def test_frozen_parts_stay_in_eval_mode(tone):
    model, processor = tiny_model_and_processor(adapter_norm="batch")
    model.model.speech_encoder.requires_grad_(False)
    model.model.speech_adapter.requires_grad_(False)
    model.train()
    assert not model.model.speech_encoder.training and not model.model.speech_adapter.training
    assert model.model.emotion_encoder.training and model.model.language_model.training
    model(**inputs_for(processor, tone(1.0)))
    assert model.model.speech_adapter.norms[0].num_batches_tracked == 0
    assert model.model.emotion_adapter.norms[0].num_batches_tracked == 1


@pytest.mark.parametrize("fusion", ["sequence", "feature"])
def test_the_emotion_branch_may_have_a_norm_of_its_own(fusion):
    model, _ = tiny_model_and_processor(fusion=fusion, emotion_adapter_norm="batch")
    norms = [norm for name, norm in model.named_modules() if ".norms." in name and "adapter" in name]
    assert [type(norm) for norm in norms] == [nn.LayerNorm, AudioLLMBatchNorm]
    for wrong, message in (({"emotion_adapter_norm": "none"}, "must be one of"), ({"emotion_config": None}, "no emo")):
        with pytest.raises(Exception, match=message):
            type(model.config)(**{**model.config.to_dict(), **wrong, "fusion": None})


def test_batch_norm_takes_away_what_all_frames_share():
    adapter = AudioLLMAdapter([Stream(20, 8, norm="batch")], 10, [8, 32], 16).train()
    frames = torch.randn(1, 3, 20, 8)
    shifted = adapter(EncodedWindows(frames + 50 * torch.randn(8)))
    torch.testing.assert_close(shifted, adapter(EncodedWindows(frames)), rtol=1e-3, atol=1e-3)


def test_context_lets_an_adapters_token_hear_the_next_ones_and_no_others():
    adapter = AudioLLMAdapter([Stream(20, 8)], 10, [8, 32], 16, context=2).eval()
    frames = torch.randn(1, 1, 20, 8)
    other = frames.clone()
    other[..., 8:10, :] *= -1  # of token 4
    changed = (adapter(EncodedWindows(frames)) - adapter(EncodedWindows(other))).abs().amax(-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == [2, 3, 4, 5, 6]
    without = AudioLLMAdapter([Stream(20, 8)], 10, [8, 32], 16)
    assert not hasattr(without, "linear_context")


@pytest.mark.parametrize("speech_length_aware", [False, True])
def test_with_context_too_no_token_of_a_clip_hears_the_padding_behind_it(tone, speech_length_aware):
    model, processor = tiny_model_and_processor(
        audio_tokens="clip", adapter_context=1, speech_length_aware=speech_length_aware
    )
    inputs = processor(text=[processor.prompt("how")], audio=[tone(0.7)])
    mask = inputs["input_features_mask"]
    frames = model.model.branch_frames("speech", inputs["input_features"], mask)
    (heard,) = model.model.needed_frames("speech", mask)
    assert 0 < heard < frames.states.shape[2] and frames.counts.tolist() == [heard]


def test_an_adapter_drops_out_in_training_only():
    adapter = AudioLLMAdapter([Stream(20, 8)], 10, [8, 32], 16, dropout=0.5)
    frames = EncodedWindows(torch.randn(1, 2, 20, 8))
    assert not torch.equal(adapter.train()(frames), adapter(frames))
    assert torch.equal(adapter.eval()(frames), adapter(frames))


def statistics_adapter(**settings):
    settings = {"context": 1, "width": 3, "dropout": 0.0, **settings}
    return AudioLLMStatisticsAdapter(Stream(20, 8, layers=3), 10, 16, **settings)


def test_a_token_of_statistics_hears_mean_and_deviation_around_it_of_real_frames_of_every_layer():
    adapter, counts = statistics_adapter(), torch.tensor([20, 5])
    states = 3 * torch.randn(3, 2, 20, 8) + 1
    statistics, heard = adapter._statistics(EncodedWindows(states, counts))
    assert heard.sum(-1).tolist() == [10, 3]
    shorter, _ = adapter._statistics(EncodedWindows(states[:, 1:], counts[1:]))
    torch.testing.assert_close(shorter, statistics[1:, :3])
    normed = nn.functional.layer_norm(states, (8,))
    for window, token, first, end in ((0, 0, 0, 4), (0, 4, 6, 12), (0, 9, 16, 20), (1, 1, 0, 5), (1, 2, 2, 5)):
        frames = normed[:, window, first:end]
        expected = torch.cat([frames.mean(1).flatten(), frames.std(1, correction=0).flatten()])
        torch.testing.assert_close(statistics[window, token], expected, rtol=1e-3, atol=2e-3)


def test_tokens_of_statistics_are_the_same_alone_as_in_a_batch_and_equal_where_nothing_is_heard():
    adapter = statistics_adapter().eval()
    adapter.norm.running_mean.normal_()
    states = torch.randn(3, 2, 20, 8)
    tokens = adapter(EncodedWindows(states, torch.tensor([20, 5])))
    states[:, 1, 5:] = torch.nan  # which is padding
    alone = adapter(EncodedWindows(states[:, 1:, :8], torch.tensor([5])))
    assert adapter(EncodedWindows(states[:, :0])).shape == (0, 10, 16)
    assert tokens.shape == (2, 10, 16)
    torch.testing.assert_close(tokens[1:], alone)
    assert (tokens[1, 3:] == tokens[1, 3]).all() and not torch.equal(tokens[1, 2], tokens[1, 3])
    with pytest.raises(ValueError, match="21 frames for 10 tokens of 2"):
        adapter(EncodedWindows(torch.randn(3, 1, 21, 8)))


def test_the_norm_of_statistics_knows_all_rows_of_the_training_however_they_came():
    rows, norm = 3 * torch.randn(12, 5) + torch.arange(5), AudioLLMRunningNorm(5)
    for batch in rows.split(3):
        norm(batch)
    variance, mean = torch.var_mean(rows, 0, correction=0)
    torch.testing.assert_close((norm.running_mean, norm.running_var), (mean, variance))
    torch.testing.assert_close(norm.eval()(rows), (rows - mean) / variance.sqrt(), rtol=1e-3, atol=1e-4)
    assert norm.num_batches_tracked == 4
    alone = AudioLLMRunningNorm(5)
    for row in rows.split(1):
        assert alone(row).isfinite().all()
    torch.testing.assert_close((alone.running_mean, alone.running_var), (mean, variance))
    alone(rows[:0])
    (alone(rows.requires_grad_()).sum() + alone(2 * rows).sum()).backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_in_another_precision_knows_the_same_statistics_as_before(dtype):
    norm = AudioLLMRunningNorm(5)
    norm(300 + torch.randn(12, 5) / 300)
    known = norm.running_mean.clone(), norm.running_var.clone()
    torch.testing.assert_close((norm.to(dtype).running_mean, norm.running_var), known, rtol=0, atol=0)
    nowhere = norm.to("meta", dtype)
    assert nowhere.running_mean.is_meta and nowhere.running_var.dtype == torch.float32
    emptied = nowhere.to_empty(device="cpu").to(dtype)
    assert not emptied.running_mean.is_meta and emptied.running_var.dtype == torch.float32


def test_statistics_that_are_left_out_are_so_for_all_tokens_of_a_window_and_in_training_only():
    adapter = statistics_adapter(dropout=0.5, context=9).train()  # which all hear the same
    tokens = adapter(EncodedWindows(torch.randn(3, 2, 20, 8)))
    torch.testing.assert_close(tokens, tokens[:, :1].expand_as(tokens))
    frames = EncodedWindows(torch.randn(3, 2, 20, 8))
    assert not torch.equal(adapter(frames), adapter(frames))
    assert torch.equal(adapter.eval()(frames), adapter(frames))


def test_statistics_of_a_clip_are_of_its_own_frames_alone_however_few_tokens_it_has(tone):
    settings = {"context": 0, "dropout": 0.0}
    model, processor = tiny_model_and_processor(
        emotion="whisper", audio_tokens="clip", emotion_statistics=settings, emotion_tokens=1
    )
    inputs = inputs_for(processor, tone(0.3))
    mask = inputs["input_features_mask"]
    encoded = model.model.branch_frames("emotion", inputs["input_features"], mask)
    assert model.model.needed_frames("emotion", mask) == encoded.counts.tolist() == [15]  # of 50; 20 ms each
    silent = replace(encoded, states=encoded.states.clone())
    silent.states[:, :, 15:] = torch.nan
    adapter = model.model.emotion_adapter.eval()
    torch.testing.assert_close(adapter(silent), adapter(encoded))


def test_a_model_hears_feelings_by_statistics_and_survives_saving(tone, tmp_path):
    settings = {"context": 2, "dropout": 0.1}
    model, processor = tiny_model_and_processor(audio_tokens="clip", emotion_statistics=settings)
    adapter = model.model.emotion_adapter
    assert isinstance(adapter, AudioLLMStatisticsAdapter) and adapter.linear_1.out_features == 64
    assert type(adapter).__name__ in model._no_split_modules
    expected = adapter.linear_1.in_features**-0.5
    assert adapter.linear_1.weight.std().item() == pytest.approx(expected, rel=0.1)
    model.train()(**inputs_for(processor, tone(0.7)))
    inputs = inputs_for(processor, tone(1.0))
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert adapter.linear_1.weight.grad.abs().sum() > 0 and adapter.norm.num_batches_tracked == 2
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert again.config.emotion_statistics == settings
    torch.testing.assert_close(again(**inputs).logits, model.eval()(**inputs).logits)
    half = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    norm = half.model.emotion_adapter.norm
    assert half.dtype == torch.bfloat16 and norm.num_batches_tracked.dtype == torch.int64
    torch.testing.assert_close(norm.running_mean, adapter.norm.running_mean, rtol=0, atol=0)
    assert half(**inputs).logits.isfinite().all()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"emotion_statistics": {"contxt": 1}}, "contxt is unknown"),
        ({"emotion_statistics": {"context": -1}}, "from 0"),
        ({"emotion_statistics": {"context": True}}, "from 0"),
        ({"emotion_statistics": {"width": 0.5}}, "from 1"),
        ({"emotion_statistics": {"dropout": 1}}, r"must be in \[0, 1\)"),
        ({"emotion_statistics": {}, "emotion_layer_mix": True}, "leave emotion_layer_mix"),
        ({"emotion_statistics": {}, "emotion_adapter_norm": "batch"}, "leave emotion_layer_mix"),
        ({"emotion_statistics": {}, "fusion": "feature"}, "fusion 'feature' has not"),
        ({"emotion_statistics": {}, "fusion": "none", "emotion_config": None}, "fusion 'none' has not"),
    ],
)
def test_settings_of_statistics_that_cannot_be_are_refused(wrong, message):
    model, _ = tiny_model_and_processor()
    with pytest.raises(Exception, match=message):
        type(model.config)(**{**model.config.to_dict(), **wrong})


@pytest.fixture
def parts(tmp_path):
    """Checkpoints of a Whisper with two seconds of positions, a HuBERT and a Llama, as users have them on disk."""
    sizes = ENCODERS["whisper"] | {"max_source_positions": 100, "max_target_positions": 16}
    WhisperModel(WhisperConfig(**sizes)).save_pretrained(tmp_path / "whisper")
    WhisperFeatureExtractor(feature_size=8, chunk_length=2).save_pretrained(tmp_path / "whisper")
    build_part(AutoConfig.for_model("hubert", **CONV)).save_pretrained(tmp_path / "hubert")
    from transformers import Wav2Vec2FeatureExtractor

    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "hubert")
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "llama")
    text = tiny_model_and_processor()[0].config.text_config
    AutoModelForCausalLM.from_config(text).save_pretrained(tmp_path / "llama")
    return {name: str(tmp_path / name) for name in ("whisper", "hubert", "llama")}


def test_from_parts_keeps_all_pretrained_weights(parts, tone):
    sources = {"speech": parts["whisper"], "emotion": parts["hubert"], "text": parts["llama"]}
    shared = {"speech_tokens": 10, "emotion_tokens": 2, "window_seconds": 1}
    processor = AudioLLMProcessor.from_parts(**sources, **shared)
    model = AudioLLMForConditionalGeneration.from_parts(
        **sources, **shared, vocab_size=len(processor.tokenizer), audio_token_id=processor.audio_token_id
    )
    whisper = WhisperModel.from_pretrained(parts["whisper"]).encoder
    llama = AutoModelForCausalLM.from_pretrained(parts["llama"])
    assert model.config.speech_config.max_source_positions == 50
    for name, weight in whisper.state_dict().items():
        mine = model.model.speech_encoder.state_dict()[name]
        torch.testing.assert_close(mine, weight[:50] if "embed_positions" in name else weight)
    ids = torch.tensor([[5, 9, 11]])
    torch.testing.assert_close(model.eval()(input_ids=ids).logits, llama.eval()(input_ids=ids).logits)
    assert model(**inputs_for(processor, tone(1.5))).logits.isfinite().all()


def test_a_parakeet_that_recognises_gives_its_encoder_and_its_features(parts, tone, tmp_path):
    config = ParakeetCTCConfig(vocab_size=32, encoder_config={**ENCODERS["parakeet_encoder"]})
    parakeet = ParakeetForCTC(config)
    parakeet.save_pretrained(tmp_path)
    ParakeetFeatureExtractor(feature_size=8).save_pretrained(tmp_path)
    shared = {"speech_tokens": 10, "window_seconds": 1}
    processor = AudioLLMProcessor.from_parts(str(tmp_path), parts["llama"], **shared)
    model = AudioLLMForConditionalGeneration.from_parts(
        str(tmp_path), parts["llama"], **shared, speech_length_aware=True, audio_token_id=processor.audio_token_id
    )
    weights = model.model.speech_encoder.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in parakeet.encoder.state_dict().items())
    alone, together = inputs_for(processor, tone(0.3)), inputs_for(processor, tone(0.3), tone(0.9, seed=1))
    heard = [model.eval().get_audio_features(**_audio(inputs)).pooler_output for inputs in (alone, together)]
    torch.testing.assert_close(heard[1][:10], heard[0], rtol=1e-3, atol=1e-4)


def _from_language_model(kind, **sizes):
    language = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=64, pad_token_id=0, **sizes))
    speech = build_part(AutoConfig.for_model("whisper", **ENCODERS["whisper"]))
    model = AudioLLMForConditionalGeneration.from_parts(speech, language, audio_token_id=63, window_seconds=1)
    return language.eval(), model.eval()


def test_a_tied_head_is_found_whatever_its_embedding_is_called(tmp_path):
    gpt2, model = _from_language_model("gpt2", n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    model.save_pretrained(tmp_path)
    loaded = AudioLLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
    ids = torch.tensor([[5, 9, 11]])
    torch.testing.assert_close(loaded(input_ids=ids).logits, gpt2(input_ids=ids).logits)


@pytest.mark.parametrize(
    "kind, sizes, reason",
    [
        ("phi", {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}, "a head with a bias"),
        ("mamba", {"hidden_size": 32, "state_size": 4}, "no attention"),
        ("opt", {"hidden_size": 32, "num_attention_heads": 2, "word_embed_proj_dim": 16}, "16 channels, of 32"),
    ],
)
def test_a_language_model_that_would_answer_otherwise_here_is_refused(kind, sizes, reason):
    with pytest.raises(ValueError, match=f"{kind}.*{reason}"):
        _from_language_model(kind, num_hidden_layers=1, **sizes)


def test_a_window_longer_than_whisper_hears_is_refused(parts):
    with pytest.raises(ValueError, match="needs 200 positions; the Whisper encoder has 100"):
        load_encoder(parts["whisper"], window_seconds=4)


def test_adding_an_emotion_encoder_keeps_what_was_learnt(parts, tone):
    model, processor = tiny_model_and_processor(emotion=None)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.add_emotion_encoder(parts["whisper"], emotion_tokens=2)
    after = model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert model.config.fusion == "sequence" and model.config.tokens_per_window == 12
    with pytest.raises(ValueError, match="already has an emotion encoder"):
        model.add_emotion_encoder(parts["whisper"])


@pytest.mark.parametrize("fusion", ["sequence", "feature"])
def test_a_new_adapter_was_taught_neither_labels_nor_words(parts, tone, fusion):
    model, processor = tiny_model_and_processor(emotion=None, emotion_label_ids=[[40]])
    model.add_speech_alignment()
    model.add_emotion_encoder(parts["whisper"], fusion, emotion_tokens=2)
    assert model.config.emotion_label_ids is None and model.config.speech_alignment == (fusion == "sequence")
    if fusion == "feature":
        with pytest.raises(ValueError, match="was not aligned"):
            model.hear(**processor(text=[processor.prompt("how")], audio=[tone(0.5)]))
        model.add_speech_alignment()
        assert len(model.hear(**processor(text=[processor.prompt("how")], audio=[tone(0.5)]))) == 1


def test_layer_mix_starts_as_the_mean_of_all_layers_however_long_and_learns(tone):
    model, processor = tiny_model_and_processor(emotion="hubert", emotion_layer_mix=True)
    model.eval()
    inputs = inputs_for(processor, tone(1.0))
    features = inputs["input_values"].flatten(0, 1)
    states = encode(model.model.emotion_encoder, features, all_layers=True).states
    assert len(states) == 2
    adapter = model.model.emotion_adapter
    mixed, mix = adapter(EncodedWindows(states)), adapter.mixes[0]
    mean = torch.nn.functional.layer_norm(states, states.shape[-1:]).mean(0, keepdim=True)
    adapter.mixes[0] = mix
    longer = states * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(adapter(EncodedWindows(longer)), mixed, rtol=1e-3, atol=1e-4)
    adapter.mixes[0] = torch.nn.Identity()
    torch.testing.assert_close(mixed, adapter(EncodedWindows(mean)))
    model, _ = tiny_model_and_processor(emotion="hubert", emotion_layer_mix=True)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert model.model.emotion_adapter.mixes[0].logits.grad.abs().sum() > 0


def test_frames_of_less_precision_than_their_norm_are_taken(tone):
    """As autocast gives them on a GPU: a mix of layers in bfloat16, its norm in float32."""
    model, processor = tiny_model_and_processor(emotion="hubert", emotion_layer_mix=True)
    model.eval()  # in training HuBERT leaves out layers by chance
    adapter = model.model.emotion_adapter
    adapter.mixes[0].register_forward_hook(lambda module, args, output: output.bfloat16())
    adapter.norms[0].register_forward_pre_hook(lambda module, args: args[0].float())
    assert model(**inputs_for(processor, tone(1.0))).logits.isfinite().all()


@pytest.mark.parametrize("encoder", ["hubert", "wav2vec2-bert", "parakeet_encoder"])
def test_layer_mix_has_every_layer_in_training(encoder, tone):
    model, processor = tiny_model_and_processor(emotion=encoder, emotion_layer_mix=True)
    owner = model.model.emotion_encoder
    owner.config.layerdrop = 1.0
    for module in owner.modules():
        if hasattr(module, "layerdrop"):
            module.layerdrop = 1.0
    assert model.train()(**inputs_for(processor, tone(1.0))).logits.isfinite().all()


def test_saving_leaves_the_permissions_of_files_that_are_not_its_own(tmp_path):
    modes = {".env": 0o600, "run.sh": 0o755, "other.safetensors": 0o600, "nested/adapter.safetensors": 0o600}
    outside, folder = tmp_path / "outside.safetensors", tmp_path / "folder"
    (folder / "nested").mkdir(parents=True)
    for name, mode in {**modes, "../outside.safetensors": 0o600}.items():
        (folder / name).write_text("x")
        (folder / name).chmod(mode)
    (folder / "link.safetensors").symlink_to(outside)
    model, _ = tiny_model_and_processor(emotion=None)
    before = os.umask(0o027)
    try:
        for _ in range(2):  # the second time over weights that are there
            model.save_pretrained(folder)
            assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o640
    finally:
        os.umask(before)
    assert {name: stat.S_IMODE((folder / name).stat().st_mode) for name in modes} == modes
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600


@pytest.mark.parametrize("auto_class", ["AutoModel", "AutoModelForMultimodalLM"])
def test_a_model_is_saved_for_the_pipeline_whatever_auto_class_loaded_it(auto_class, tmp_path, monkeypatch):
    monkeypatch.setattr(AudioLLMForConditionalGeneration, "_auto_class", auto_class)  # as loading remote code does
    tiny_model_and_processor(emotion=None)[0].save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    (task,) = config.custom_pipelines.values()
    assert {"AutoConfig", "AutoModel", *task["pt"]} <= config.auto_map.keys()


def test_layer_mix_survives_saving(tmp_path, tone):
    model, processor = tiny_model_and_processor(emotion="wavlm", emotion_layer_mix=True)
    torch.nn.init.normal_(model.model.emotion_adapter.mixes[0].logits)
    model.save_pretrained(tmp_path)
    loaded = AudioLLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    inputs = inputs_for(processor, tone(1.0))
    torch.testing.assert_close(loaded(**inputs).logits, model.eval()(**inputs).logits)


@pytest.mark.parametrize("emotion", ["parakeet_encoder", "wav2vec2-bert", "wav2vec2", "wavlm", "emotion2vec"])
def test_length_aware_encoder_does_not_hear_the_padding(emotion, tone):
    model, processor = tiny_model_and_processor(emotion=emotion, emotion_length_aware=True)
    model.eval()
    heard = []
    model.model.emotion_encoder.register_forward_pre_hook(
        lambda module, args: heard.append(args[0].shape[-1 if args[0].ndim == 2 else -2])
    )
    inputs = inputs_for(processor, tone(0.25))
    expected = model.get_audio_features(**_audio(inputs)).pooler_output
    name = "input_values" if "input_values" in inputs else "input_features"
    whole = inputs[name].shape[-1] if inputs[name].ndim == 3 else max(inputs[name].shape[-2:])
    assert heard[0] <= 0.3 * whole
    noise = inputs[name].clone()
    # An encoder that subsamples hears whole frames: the padding in the last one is the same whatever stands beside it.
    step = getattr(model.model.emotion_encoder.config, "subsampling_factor", 1)
    mask = inputs[f"{name}_mask"]
    mask = torch.arange(mask.shape[-1]) < (-(-mask.sum(-1, keepdim=True) // step) * step)
    mask = mask if noise.ndim == 3 else mask.unsqueeze(2 if noise.shape[-1] == mask.shape[-1] else 3)
    inputs["input_values"] = torch.where(mask, noise, torch.randn_like(noise))
    inputs["input_values_mask"] = inputs[f"{name}_mask"]
    torch.testing.assert_close(model.get_audio_features(**_audio(inputs)).pooler_output, expected)


def _audio(inputs):
    return {name: inputs[name] for name in inputs if name.startswith("input_") and name != "input_ids"}


def test_length_aware_batch_norm_counts_real_frames_only():
    adapter = AudioLLMAdapter([Stream(10, 4, norm="batch")], 5, [8, 8], 6)
    frames = torch.randn(1, 2, 10, 4)
    counts = torch.tensor([10, 3])
    tokens = adapter(EncodedWindows(frames, counts))
    noisy = frames.clone()
    noisy[0, 1, 3:] = 1e3
    torch.testing.assert_close(adapter(EncodedWindows(noisy, counts)), tokens)
    real = torch.cat([frames[0, 0], frames[0, 1, :3]])
    expected = 0.1 * real.mean(0)
    torch.testing.assert_close(adapter.norms[0].running_mean, expected + 0.9 * expected)


def test_speech_tokens_of_a_length_aware_model_do_not_depend_on_the_batch(tone):
    model, processor = tiny_model_and_processor(
        speech="parakeet_encoder", emotion="parakeet_encoder", speech_length_aware=True, adapter_norm="batch"
    )
    model.eval()
    short, long = tone(0.3), tone(0.9, seed=1)
    alone = model.get_audio_features(**_audio(inputs_for(processor, short))).pooler_output
    together = model.get_audio_features(**_audio(inputs_for(processor, long, short))).pooler_output
    torch.testing.assert_close(together[12:], alone, rtol=1e-3, atol=1e-4)


# In the tiny ones of the last three, a group norm over time would count padding.
@pytest.mark.parametrize("emotion", ["parakeet_encoder", "emotion2vec", "hubert", "wav2vec2", "wavlm"])
def test_length_aware_tokens_do_not_depend_on_the_batch(emotion, tone):
    model, processor = tiny_model_and_processor(emotion=emotion, emotion_length_aware=True)
    model.eval()
    short, long = tone(0.3), tone(0.9, seed=1)
    alone = model.get_audio_features(**_audio(inputs_for(processor, short))).pooler_output
    together = model.get_audio_features(**_audio(inputs_for(processor, long, short))).pooler_output
    torch.testing.assert_close(together[12:], alone, rtol=1e-3, atol=1e-4)


def test_a_group_normed_encoder_learns_from_windows_that_are_too_short_to_mask(tone):
    model, processor = tiny_model_and_processor(emotion="hubert", emotion_length_aware=True)
    encoder = model.model.emotion_encoder.train()
    model(**inputs_for(processor, tone(0.1), tone(0.9, seed=1))).logits.sum().backward()
    assert encoder.config.apply_spec_augment
    assert encoder.feature_projection.projection.weight.grad is not None


@pytest.fixture
def short_steps(monkeypatch):
    """Whisper hears to the next fifth of a second, not of five."""
    monkeypatch.setattr("audiollm.modeling_audiollm.modeling_audiollm.WHISPER_STEP", 20)


def test_our_whisper_encoder_gives_what_that_of_transformers_does():
    config = AutoConfig.for_model("whisper", **ENCODERS["whisper"])
    theirs = WhisperEncoder(config).eval()
    ours = AudioLLMWhisperEncoder(config).eval()
    torch.testing.assert_close(ours.embed_positions.weight, theirs.embed_positions.weight)  # without loading
    ours.load_state_dict(theirs.state_dict())
    features = torch.randn(2, config.num_mel_bins, 2 * config.max_source_positions)
    expected = theirs(features, output_hidden_states=True)
    states = ours(features, torch.ones(2, features.shape[-1]).long(), output_hidden_states=True)
    torch.testing.assert_close(states.last_hidden_state, expected.last_hidden_state)
    torch.testing.assert_close(states.hidden_states, expected.hidden_states)
    with pytest.raises(ValueError, match="expects the mel input features to be of length"):
        ours(features[..., :-2])


@pytest.mark.parametrize("mixed", [False, True])
def test_length_aware_whisper_hears_each_clip_to_its_next_step(tone, short_steps, mixed):
    model, processor = tiny_model_and_processor(
        speech_length_aware=True, emotion_length_aware=True, audio_tokens="clip", emotion_layer_mix=mixed
    )
    model.eval()
    clips = [tone(0.9, seed=1), tone(0.3), tone(0.25, seed=2), tone(1.1, seed=3)]
    heard = []
    hear = AudioLLMWhisperEncoder._hear
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            AudioLLMWhisperEncoder,
            "_hear",
            lambda self, f, layers: heard.append(f.shape[::2]) or hear(self, f, layers),
        )
        together = model.get_audio_features(**_audio(inputs_for(processor, *clips))).pooler_output
    # The last clip's second window is of 0.1 s.
    assert heard == 2 * [(1, 20), (2, 40), (2, 100)]
    alone = [model.get_audio_features(**_audio(inputs_for(processor, clip))).pooler_output for clip in clips]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-4)


def test_a_step_of_whisper_costs_only_what_is_heard(tone):
    """At its own step of 5 s, a clip of 3 s in a window of 15 s is a third of the window."""
    encoder = AudioLLMWhisperEncoder(
        AutoConfig.for_model("whisper", **{**ENCODERS["whisper"], "max_source_positions": 750})
    )
    mask = (torch.arange(1500) < torch.tensor([[300], [510]])).float()
    encoded = encode(encoder.eval(), torch.randn(2, encoder.config.num_mel_bins, 1500), mask)
    assert encoded.counts.tolist() == [250, 500]
    assert encoded.states.shape[2] == 500
    assert not encoded.states[0, 0, 250:].any()


def test_length_aware_needs_its_encoder():
    with pytest.raises(StrictDataclassClassValidationError, match="the model has no emotion encoder"):
        AudioLLMConfig(speech_config={"model_type": "whisper"}, emotion_length_aware=True)


def test_two_clips_of_a_prompt_are_heard_in_order_by_every_beam(tiny, tone):
    model, processor = tiny
    content = [{"type": "audio"}, {"type": "audio"}, {"type": "text", "text": "which is louder"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[prompt], audio=[tone(0.7, seed=1), 0.1 * tone(1.5, seed=2)])
    heard, encoded = [], []
    hooks = [
        model.model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: heard.append(kwargs["inputs_embeds"]), with_kwargs=True
        ),
        model.model.speech_encoder.register_forward_hook(lambda *_: encoded.append(1)),
    ]
    model.generate(**inputs, max_new_tokens=2, num_beams=3, do_sample=False)
    for hook in hooks:
        hook.remove()
    expected = model.model(**inputs).audio_hidden_states
    places = inputs["input_ids"][0] == model.config.audio_token_id
    assert len(encoded) == 1
    for beam in heard[0]:
        torch.testing.assert_close(beam[places], expected)


def test_no_split_modules_are_those_that_the_model_has(tiny):
    model, _ = tiny
    present = {type(module).__name__ for module in model.modules()}
    assert model._no_split_modules <= present
    assert {"AudioLLMAdapter", "WhisperEncoderLayer", "LlamaDecoderLayer"} <= model._no_split_modules


def test_return_dict_false_gives_tuples(tiny, tone):
    model, processor = tiny
    inputs = processor(text=[processor.prompt("how")], audio=[tone(0.5)])
    logits = model(**inputs).logits
    torch.testing.assert_close(model(**inputs, return_dict=False)[0], logits)
    features = {name: value for name, value in inputs.items() if name.startswith("input_features")}
    states, embeds = model.get_audio_features(**features, return_dict=False)
    torch.testing.assert_close(states.flatten(0, 1), embeds)


def test_the_heads_short_cut_leaves_other_weights_alone():
    head = AudioLLMHead(8, 16)
    states = torch.randn(2, 8)
    quantized = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(head), dtype=torch.qint8)
    torch.testing.assert_close(quantized(states), head(states), atol=0.05, rtol=0.05)


def test_a_part_without_the_wanted_attention_takes_its_own(tmp_path):
    model, _ = tiny_model_and_processor(emotion="emotion2vec")
    model.save_pretrained(tmp_path)
    loaded = AudioLLMForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="flex_attention")
    assert loaded.model.language_model.config._attn_implementation == "flex_attention"
    assert loaded.model.emotion_encoder.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("speech, emotion, fusion", CLIP_MODELS)
def test_tokens_by_length_agree_for_every_length(speech, emotion, fusion):
    model, processor = tiny_model_and_processor(speech=speech, emotion=emotion, fusion=fusion, audio_tokens="clip")
    model.eval()
    random = np.random.default_rng(0)
    for length in [400, 401, 1599, 8000, 15_999, 16_000, 16_001, 31_999, 32_000, *random.integers(400, 48_000, 8)]:
        clip = random.normal(0, 0.1, length).astype(np.float32)
        inputs = inputs_for(processor, clip)
        found = int((inputs["input_ids"] == model.config.audio_token_id).sum())
        assert found == processor.num_audio_tokens(length)
        assert model.model(**inputs).audio_hidden_states.shape[0] == found, length
    assert processor.num_audio_tokens(1600) < processor.num_audio_tokens(16_000) == processor.tokens_per_window
    assert processor.num_audio_tokens(17_600) < 2 * processor.tokens_per_window


def test_tokens_by_length_are_the_first_of_the_windows_and_batches_change_nothing(tone):
    model, processor = tiny_model_and_processor(audio_tokens="clip")
    model.eval()
    clips = [tone(0.35), tone(1.6, seed=1), tone(1.0, seed=2)]
    together = model.generate(**inputs_for(processor, *clips), max_new_tokens=5, do_sample=False)[:, -5:]
    for clip, expected in zip(clips, together):
        alone = model.generate(**inputs_for(processor, clip), max_new_tokens=5, do_sample=False)[0, -5:]
        assert alone.tolist() == expected.tolist()
    features = {k: v for k, v in inputs_for(processor, clips[0]).items() if k.startswith("input_features")}
    outputs = model.get_audio_features(**features)
    speech, emotion = processor.num_audio_tokens(len(clips[0])) - 1, 1
    torch.testing.assert_close(outputs.pooler_output[:speech], outputs.last_hidden_state[0, :speech])
    torch.testing.assert_close(outputs.pooler_output[speech:], outputs.last_hidden_state[0, 10 : 10 + emotion])


def test_tokens_by_length_are_told_by_the_saved_folder(tmp_path, tone):
    model, processor = tiny_model_and_processor(audio_tokens="clip")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert AudioLLMConfig.from_pretrained(tmp_path).audio_tokens == "clip"
    loaded = AudioLLMProcessor.from_pretrained(tmp_path)
    assert loaded.num_audio_tokens(5000) == processor.num_audio_tokens(5000) < processor.tokens_per_window
    with pytest.raises(StrictDataclassClassValidationError, match="audio_tokens must be one of window, clip"):
        tiny_model_and_processor(audio_tokens="frame")


def test_audio_inputs_that_do_not_belong_together_are_named(tone):
    model, processor = tiny_model_and_processor(emotion="hubert")
    inputs = dict(inputs_for(processor, tone(0.5), tone(0.8)))
    for name in ("input_features", "input_features_mask", "input_values", "input_values_mask"):
        with pytest.raises(ValueError, match=rf"same clips.*{name} \[1, "):
            model(**{**inputs, name: inputs[name][:1]})
    with pytest.raises(ValueError, match="differ in time"):
        model(**{**inputs, "input_values": inputs["input_values"][..., :-7]})
    inputs.pop("input_features")
    with pytest.raises(ValueError, match="input_values come with input_features"):
        model(**inputs)


@pytest.mark.parametrize("beams", [1, 2])
def test_generate_refuses_what_does_not_fit_before_it_encodes(beams, tone, monkeypatch):
    model, processor = tiny_model_and_processor()
    inputs = inputs_for(processor, tone(0.5))
    monkeypatch.setattr(model.config.get_text_config(), "max_position_embeddings", 10)
    monkeypatch.setattr(model.model, "get_audio_features", lambda *_, **__: pytest.fail("was encoded"))
    with pytest.raises(ValueError, match="reads at most 10"):
        model.generate(**inputs, max_new_tokens=2, num_beams=beams)


def test_empty_windows_of_one_branch_change_nothing(tone):
    model, processor = tiny_model_and_processor(emotion="emotion2vec")
    inputs = inputs_for(processor, tone(0.7))
    expected = model.eval()(**inputs).logits
    for name in ("input_values", "input_values_mask"):
        inputs[name] = torch.cat([inputs[name], torch.zeros_like(inputs[name])], dim=1)
    torch.testing.assert_close(model(**inputs).logits, expected)
