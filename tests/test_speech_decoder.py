# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""Whisper's own decoder says the words that go to the language model first."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutput

from audiollm.modeling_audiollm import AudioLLMConfig, speech_decoder
from audiollm.modeling_audiollm.answering import generate_answers
from audiollm.modeling_audiollm.modeling_audiollm import _first_tokens
from audiollm.modeling_audiollm.speech_decoder import AudioLLMSpeechDecoder
from audiollm.training import sft
from audiollm.training.assemble import assemble
from audiollm.training.config import ConfigError
from audiollm.training.estimate import parts_of
from audiollm.training.heard import HeardClips
from tests.tiny import ENCODERS, TEXTS, tiny_extractor, tiny_model_and_processor, tiny_tokenizer
from tests.tiny_run import config, corpus  # noqa: F401


SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|pl|>",
    "<|transcribe|>",
    "<|notimestamps|>",
    "<|0.00|>",
]
POLISH = "zażółć gęślą jaźń"
PROMPT = {"prompt": [30, 31], "positions": 80}


def whisper_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, as Whisper's, with the special tokens behind all others."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS * 20, trainers.BpeTrainer(vocab_size=330, initial_alphabet=letters))
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[0])


def listen_closely(decoder):
    """Make random weights say several tokens, which depend on what is heard."""
    decoder.embed_tokens.weight.data *= 40
    for layer in decoder.layers:
        for part in (layer.encoder_attn.q_proj, layer.encoder_attn.v_proj, layer.encoder_attn.out_proj):
            part.weight.data *= 20


def tiny_whisper(tokenizer: PreTrainedTokenizerFast) -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    ends = {"eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": tokenizer.eos_token_id + 1}
    sizes = {**ENCODERS["whisper"], "vocab_size": len(tokenizer), "max_source_positions": 100, "decoder_layers": 2}
    whisper = WhisperForConditionalGeneration(WhisperConfig(**{**sizes, **ends})).eval()
    listen_closely(whisper.model.decoder)
    whisper.generation_config.suppress_tokens = [5, 6]
    whisper.generation_config.begin_suppress_tokens = [7, tokenizer.eos_token_id]
    return whisper


@pytest.fixture(scope="module")
def tokenizer():
    return whisper_tokenizer()


@pytest.fixture(scope="module")
def whisper(tokenizer):
    return tiny_whisper(tokenizer)


@pytest.fixture
def whisper_folder(whisper, tokenizer, tmp_path):
    whisper.save_pretrained(tmp_path / "whisper")
    tokenizer.save_pretrained(tmp_path / "whisper")
    tiny_extractor("whisper").save_pretrained(tmp_path / "whisper")
    return tmp_path / "whisper"


def saying(settings=None, **kind):
    """A tiny model whose decoder says some words of the language model."""
    model, processor = tiny_model_and_processor(words_first="decoder", speech_decoder=PROMPT, speech_tokens=20, **kind)
    decoder = model.eval().model.speech_decoder
    listen_closely(decoder.decoder)
    decoder.end = 3
    decoder.words.data[:, 0] = torch.arange(len(decoder.words)) + 40
    decoder.words.data[::3, 1] = torch.arange(0, len(decoder.words), 3) + 100
    return model, processor


def audio_of(processor, clips):
    inputs = processor(text=[processor.prompt("how")] * len(clips), audio=clips)
    return {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}


def test_it_says_what_transformers_generates_from_the_same_frames(whisper, tokenizer):
    decoder = AudioLLMSpeechDecoder.from_whisper(whisper, tokenizer, tiny_tokenizer())
    frames = 3 * torch.randn(5, 1, 16) + torch.randn(5, 100, 16)
    wanted = GenerationMixin.generate(
        whisper,
        encoder_outputs=BaseModelOutput(frames),
        decoder_input_ids=torch.tensor([decoder.prompt] * 5),
        max_new_tokens=25,
        do_sample=False,
        no_repeat_ngram_size=4,
        suppress_tokens=[5, 6, *range(tokenizer.eos_token_id + 1, len(tokenizer))],
        begin_suppress_tokens=[7, tokenizer.eos_token_id],
    )[:, len(decoder.prompt) :]
    with torch.no_grad():
        said, sure = decoder._greedy(frames, torch.full((5,), 25))
        prompt = torch.tensor([decoder.prompt] * 5)
        logits = whisper(
            encoder_outputs=BaseModelOutput(frames), decoder_input_ids=torch.cat([prompt, said], 1)
        ).logits
    assert len({tuple(row.tolist()) for row in said}) > 1
    logits = logits[:, len(decoder.prompt) - 1 : -1].index_fill(-1, torch.tensor([5, 6]), -torch.inf)
    logits[:, :, tokenizer.eos_token_id + 1 :] = -torch.inf
    first, later = logits[:, 0].index_fill(-1, torch.tensor([7, tokenizer.eos_token_id]), -torch.inf), logits[:, 1:]
    likely = torch.cat([first.softmax(-1)[:, None], later.softmax(-1)], 1).gather(-1, said[..., None])[..., 0]
    # Elsewhere a token takes the place of one that would repeat four, or stands behind the end.
    same = (said == torch.cat([first[:, None], later], 1).argmax(-1)) & (said != decoder.end)
    assert same.float().mean() > 0.5
    torch.testing.assert_close(sure[same], likely[same])
    for ours, theirs in zip(said.tolist(), wanted.tolist()):
        ends = [row.index(decoder.end) if decoder.end in row else len(row) for row in (ours, theirs)]
        assert ours[: ends[0]] == theirs[: ends[1]]


def test_of_a_short_window_the_rest_is_silence(whisper, tokenizer):
    decoder = AudioLLMSpeechDecoder.from_whisper(whisper, tokenizer, tiny_tokenizer())
    quiet = torch.full((1, 8, 200), decoder.SILENCE)
    silent = whisper.model.encoder(quiet).last_hidden_state
    torch.testing.assert_close(decoder.silence.data, silent[0])
    said = decoder(silent, None, torch.tensor([12]))
    torch.testing.assert_close(decoder(silent[:, :30], torch.tensor([30]), torch.tensor([12])), said)
    torch.testing.assert_close(decoder(silent[:, :60], torch.tensor([30]), torch.tensor([12])), said)


@pytest.mark.parametrize("text", [*TEXTS, "Kids are talking, by the door!", POLISH, "日本語 🙂"])
def test_tokens_of_the_language_model_say_what_whispers_say(whisper, tokenizer, text):
    """Also where a letter is in several tokens of Whisper."""
    other = tiny_tokenizer()
    words = AudioLLMSpeechDecoder.from_whisper(whisper, tokenizer, other).words
    said = words[tokenizer(text, add_special_tokens=False)["input_ids"]].flatten()
    assert other.decode(said[said >= 0]) == text


def test_tokens_of_a_vocabulary_of_bytes_by_name_are_found(tokenizer):
    """SentencePiece with byte fallback, as Gemma and Llama 2 have it, begins a text with a space of its own."""
    letters = {"<unk>": 0, "▁": 1, "\n": 2, **{letter: 3 + n for n, letter in enumerate("abdehiklnorstxyz.")}}
    names = {**letters, **{f"<0x{byte:02X}>": len(letters) + byte for byte in range(256)}}
    backend = Tokenizer(models.BPE(names, [], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    other = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    letters = [speech_decoder.BYTE_LETTERS[byte] for byte in "h ć".encode()]
    ids = tokenizer.convert_tokens_to_ids(letters)
    pieces = speech_decoder._pieces(tokenizer, other, tokenizer.eos_token_id)
    assert [other.convert_ids_to_tokens(pieces[token]) for token in ids] == [["h"], ["▁"], ["<0xC4>"], ["<0x87>"]]


@pytest.mark.parametrize("fusion, emotion", [("none", None), ("sequence", "whisper"), ("feature", "whisper")])
@pytest.mark.parametrize("audio_tokens, aware", [("window", False), ("clip", False), ("clip", True)])
def test_its_words_go_first_and_the_adapters_tokens_behind(fusion, emotion, audio_tokens, aware, tone):
    model, processor = saying(emotion=emotion, fusion=fusion, audio_tokens=audio_tokens, speech_length_aware=aware)
    audio = audio_of(processor, [tone(0.7), tone(1.6, seed=2)])
    mask = audio["input_features_mask"]
    frames = model.model.branch_frames("speech", audio["input_features"], mask)
    words, sureness = model.model.decoded_words(frames, mask)
    given = model.get_audio_features(**audio)
    rows = given.last_hidden_state[:, : model.config.speech_tokens][_first_tokens(model.config.speech_tokens, mask)]
    clips = model.model.speech_tokens(**audio)
    for clip, said, own in zip(clips, words.split([1, 2]), rows.split([len(clip) for clip in clips])):
        said = said[said >= 0]
        assert 0 < len(said) <= len(own)
        torch.testing.assert_close(own[: len(said)], model.model.word_embeddings()[said])
        evenly = np.linspace(0, len(own) - 1, len(own) - len(said)).round().astype(int)
        torch.testing.assert_close(own[len(said) :], clip[evenly])
    assert model.hear(by="decoder", **audio)[0] == words[0][words[0] >= 0].tolist()
    assert model.hear(by="decoder", **audio)[1] == words[1:][words[1:] >= 0].tolist()
    assert [of.ids for of in given.said] == model.hear(by="decoder", **audio)
    assert given.said[1].sureness == sureness[1:][words[1:] >= 0].tolist()
    ids = processor(text=[processor.prompt("how")] * 2, audio=[tone(0.7), tone(1.6, seed=2)])["input_ids"]
    assert [of.placeholders for of in given.said] == (ids == model.config.audio_token_id).sum(-1).tolist()
    again = model.get_audio_features(**audio, speech_words=words).pooler_output
    torch.testing.assert_close(again, given.pooler_output)


def test_words_that_a_window_has_no_room_for_stand_in_the_next(tone):
    model, processor = saying(audio_tokens="clip", speech_length_aware=True)
    audio = audio_of(processor, [tone(1.3)])
    mask = audio["input_features_mask"]
    counts = _first_tokens(model.config.speech_tokens, mask).sum(-1).tolist()
    words = torch.full((2, 20), -1)
    words[1, : counts[1] + 2] = torch.arange(counts[1] + 2) + 40  # more than the second window has tokens
    given = model.get_audio_features(**audio, speech_words=words).last_hidden_state
    said = model.model.word_embeddings()[40 : 42 + counts[1]]
    torch.testing.assert_close(given[0, : len(said)], said)
    with pytest.raises(ValueError, match="how many windows a clip has"):
        frames = model.model.branch_frames("speech", audio["input_features"], mask)
        model.get_audio_features(speech_frames=frames, emotion_frames=frames, speech_words=words)


def test_a_clip_is_read_alone_as_in_a_batch(tone):
    model, processor = saying(audio_tokens="clip", speech_length_aware=True, emotion_length_aware=True)
    clips = [tone(0.3), tone(2.4, seed=1), tone(0.9, seed=2)]
    together = model.get_audio_features(**audio_of(processor, clips)).pooler_output
    alone = [model.get_audio_features(**audio_of(processor, [clip])).pooler_output for clip in clips]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_it_is_saved_with_the_model_and_answers_alike(tone, tmp_path):
    model, processor = saying()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path, trust_remote_code=True).eval()
    loaded.model.speech_decoder.end = 3
    inputs = processor(text=[processor.prompt("how")], audio=[tone(0.8)])
    kept = {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(model.generate(**inputs, **kept), loaded.generate(**inputs, **kept))


def test_a_model_without_one_says_so(tiny, tone):
    model, processor = tiny
    with pytest.raises(ValueError, match="has no speech decoder"):
        model.hear(by="decoder", **audio_of(processor, [tone(0.5)]))
    with pytest.raises(ValueError, match="by must be adapter or decoder; got .decodr."):
        model.hear(by="decodr", **audio_of(processor, [tone(0.5)]))


def test_nothing_of_it_learns_and_no_gradient_goes_through(tone):
    model, processor = saying()
    inputs = processor(text=[processor.prompt("how")], audio=[tone(0.8)])
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert all(parameter.grad is None for parameter in model.model.speech_decoder.parameters())
    assert model.model.speech_adapter.linear_1.weight.grad is not None


def test_what_is_said_of_a_clip_is_kept_with_it_and_losses_stay_the_same(config, tmp_path, monkeypatch):
    """A round in which the speech adapter learns (frames are kept), then one in which it does not (its tokens are)."""
    learns = [["speech_adapter", "lora"], ["emotion_adapter", "lora"]]
    config |= {"schedule": [{"tasks": ["er"], "train": parts} for parts in learns], "samples_per_round": 0}
    heard, losses = [], []
    forward = AudioLLMSpeechDecoder.forward
    monkeypatch.setattr(
        AudioLLMSpeechDecoder,
        "forward",
        lambda self, states, *rest: heard.append(len(states)) or forward(self, states, *rest),
    )
    for cache in (None, {"folder": str(tmp_path / "cache"), "max_gb": 1}):
        config["feature_cache"] = cache
        config["training"]["output_dir"] = str(tmp_path / f"out-{bool(cache)}")
        torch.manual_seed(0)
        model, processor = saying()
        heard.clear()
        trainer = sft.build_trainer(config, model, processor)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        assert sum(heard) == (17 if cache else 34)  # windows of 12 clips, in two rounds
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-4, atol=1e-4)


def test_reinforcement_learning_asks_it_once_for_a_clip(tone, monkeypatch):
    model, processor = saying()
    audio = audio_of(processor, [tone(0.8), tone(1.7, seed=3)])
    windows = audio["input_features_mask"].any(-1).sum(-1).tolist()
    tokens = [count * model.config.tokens_per_window for count in windows]
    for part in (model.model.speech_encoder, model.model.emotion_encoder):
        part.requires_grad_(False)
    heard = HeardClips(model.model, audio, tokens)
    first = heard.embeddings(model.model, [0, 1]).detach()
    monkeypatch.setattr(AudioLLMSpeechDecoder, "forward", None)
    torch.testing.assert_close(heard.embeddings(model.model, [0, 1]), first)


def section(folder, text, **parts):
    sizes = {"window_seconds": 1, "speech_tokens": 10}
    return {"parts": {"speech": str(folder), "text": str(text), "words_first": "decoder", **sizes, **parts}}


@pytest.fixture
def text_folder(tmp_path):
    model, processor = tiny_model_and_processor(emotion=None)
    language = AutoModelForCausalLM.from_config(model.config.text_config)
    language.save_pretrained(tmp_path / "text")
    processor.tokenizer.save_pretrained(tmp_path / "text")
    return tmp_path / "text"


def test_a_configuration_takes_it_from_the_speech_encoders_whisper(whisper, whisper_folder, text_folder, tone):
    asked = section(whisper_folder, text_folder)
    model, processor = assemble(asked)
    assert model.config.words_first == "decoder" and model.config.speech_decoder["positions"] == 100
    own = dict(model.model.speech_decoder.decoder.named_parameters())
    assert own.keys() == dict(whisper.model.decoder.named_parameters()).keys()
    for name, parameter in whisper.model.decoder.named_parameters():
        assert torch.equal(own[name], parameter)
    assert model.model.speech_encoder.max_source_positions == 50  # cut to the window
    assert "speech_decoder" in parts_of(asked)
    audio = audio_of(processor, [tone(0.5)])
    frames = model.model.branch_frames("speech", audio["input_features"], audio["input_features_mask"])
    assert (model.model.decoded_words(frames, audio["input_features_mask"])[0] >= 0).any()


def test_a_language_is_asked_for_where_whisper_knows_several(
    whisper, whisper_folder, text_folder, monkeypatch, tokenizer
):
    with pytest.raises(ValueError, match="knows English only"):
        assemble(section(whisper_folder, text_folder, speech_language="pl"))
    monkeypatch.setattr(speech_decoder, "MULTILINGUAL_WORDS", 300)
    with pytest.raises(ValueError, match="say which is spoken"):
        assemble(section(whisper_folder, text_folder))
    with pytest.raises(ValueError, match="no language 'xx'"):
        assemble(section(whisper_folder, text_folder, speech_language="xx"))
    model, _ = assemble(section(whisper_folder, text_folder, speech_language="pl"))
    said = tokenizer.convert_ids_to_tokens(model.config.speech_decoder["prompt"])
    assert said == ["<|startoftranscript|>", "<|pl|>", "<|transcribe|>", "<|notimestamps|>"]


def test_what_cannot_be_is_refused(whisper_folder, text_folder):
    bare = whisper_folder.parent / "bare"
    shutil.copytree(whisper_folder, bare, ignore=lambda _, names: [name for name in names if "tokenizer" in name])
    with pytest.raises(ConfigError, match="has no tokenizer, in which it speaks"):
        assemble(section(bare, text_folder))
    with pytest.raises(ConfigError, match="speech_language is for"):
        assemble(section(whisper_folder, text_folder, words_first="adapter", speech_language="en"))
    hubert = {"speech_config": {"model_type": "hubert"}, "speech_decoder": PROMPT}
    for settings, problem in (
        ({"words_first": "somebody"}, "words_first must be adapter, decoder or left out"),
        ({"words_first": "decoder", **hubert}, "needs a Whisper"),
        ({"words_first": "decoder"}, "belong together"),
        ({"words_first": "adapter", "speech_decoder": PROMPT}, "belong together"),
    ):
        with pytest.raises(StrictDataclassClassValidationError, match=problem):
            AudioLLMConfig(**settings)


def test_of_many_windows_each_is_read_as_alone():
    model, _ = saying()
    decoder = model.model.speech_decoder
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(size=(19, 50, 16)).astype(np.float32))
    counts = torch.from_numpy(rng.integers(5, 51, 19))
    most = torch.from_numpy(rng.integers(1, 21, 19))
    together, sure = decoder(states, counts, most)
    for index in range(19):
        (alone,), (surely,) = decoder(states[index : index + 1], counts[index : index + 1], most[index : index + 1])
        row = together[index]
        assert row[row >= 0].tolist() == alone[alone >= 0].tolist() and (row >= 0).sum() <= most[index]
        torch.testing.assert_close(sure[index][row >= 0], surely[alone >= 0])


def test_quotes_are_cut_to_what_the_decoder_is_sure_to_have_heard(tone, monkeypatch):
    model, processor = saying(audio_tokens="clip")
    clips, tokenizer = [tone(0.7), tone(1.6, seed=2), tone(0.9, seed=3)], processor.tokenizer
    turns = {"context": [{"speaker": "A", "text": "nobody told me"}]}
    prompts = [processor.prompt("how", **turns), processor.prompt("so", clips=2)]
    inputs = processor(text=prompts, audio=clips)
    encoded = model.get_audio_features(**audio_of(processor, clips))
    words = tokenizer("my dog died today", add_special_tokens=False)["input_ids"]
    first = len(tokenizer("my dog", add_special_tokens=False)["input_ids"])
    sureness = [0.9] * first + [0.2] * (len(words) - first)
    said = [replace(encoded.said[0], ids=[], sureness=[]), replace(encoded.said[1], ids=[], sureness=[])]
    encoded.said = [*said, replace(encoded.said[2], ids=words, sureness=sureness)]
    answers = ['They say "nobody told me".', 'They say "my dog died today".']
    monkeypatch.setattr(model.model, "get_audio_features", lambda **_: encoded)

    def generate(input_ids, mm_encoder_outputs, logits_processor=(), **_):
        assert mm_encoder_outputs["audio"] is encoded
        rows = tokenizer(answers, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
        for tokens in rows["input_ids"].T:
            logits = torch.zeros(2, len(tokenizer)).scatter(1, tokens[:, None], 100.0)
            for processor in logits_processor:
                processor(input_ids, logits)
            input_ids = torch.cat([input_ids, tokens[:, None]], dim=1)
        return input_ids

    monkeypatch.setattr(model, "generate", generate)
    texts, _ = generate_answers(model, processor, dict(inputs), 0.5)
    assert texts == ['They say "nobody told me".', 'They say "my dog".']  # an earlier turn may be quoted
    for all_or_each in (0.1, [0.9, 0.0]):
        texts, _ = generate_answers(model, processor, dict(inputs), all_or_each)
        assert texts == answers
    answers[0] = 'They say "so nobody".'  # a word of the question and one of the turn
    texts, _ = generate_answers(model, processor, dict(inputs), 0.5)
    assert texts[0] == 'They say "so".'


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_heard(tone, monkeypatch):
    model, processor = saying(audio_tokens="clip")
    inputs = processor(text=[processor.prompt("how")], audio=[tone(0.7)])
    model.config.get_text_config().max_position_embeddings = inputs["input_ids"].shape[1] - 1
    monkeypatch.setattr(model.model.speech_decoder, "forward", lambda *_: pytest.fail("it was heard"))
    for least in (0.0, 0.5):
        with pytest.raises(ValueError, match="the language model reads at most"):
            generate_answers(model, processor, dict(inputs), least, max_new_tokens=2)
