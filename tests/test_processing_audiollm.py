import base64
import http.server
import io
import json
import threading

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoProcessor, ParakeetFeatureExtractor, WhisperFeatureExtractor

from audiollm.processing import AudioLLMProcessor
from audiollm.processing.audio import AudioError, load_audio
from audiollm.processing.collator import AudioLLMCollator
from tests.tiny import tiny_model_and_processor, tiny_tokenizer


LENGTHS = [400, 401, 15_999, 16_000, 16_001, 31_999, 32_000, 47_777, 480_000, 480_001, 95 * 16_000]


@pytest.mark.parametrize("emotion", ["whisper", "hubert", None])
def test_placeholders_equal_embeddings_for_every_length(emotion):
    model, processor = tiny_model_and_processor(emotion=emotion)
    lengths = [*LENGTHS, *np.random.default_rng(0).integers(400, 95 * 16_000, 12).tolist()]
    for length in lengths:
        inputs = processor(text=processor.prompt("?"), audio=[np.zeros(length, np.float32)])
        audio = {name: inputs[name] for name in inputs if name.startswith("input_") and name != "input_ids"}
        with torch.no_grad():
            embeddings = model.get_audio_features(**audio).pooler_output
        placeholders = int((inputs["input_ids"] == processor.audio_token_id).sum())
        assert placeholders == embeddings.shape[0] == processor.num_audio_tokens(length), length


def test_the_papers_processor_gives_110_tokens_a_window():
    extractor = WhisperFeatureExtractor(feature_size=128)
    processor = AudioLLMProcessor(extractor, extractor, tiny_tokenizer())
    inputs = processor(text=processor.prompt("?"), audio=[np.zeros(65 * 16_000, np.float32)])
    assert inputs["input_features"].shape == (1, 3, 128, 3000)
    assert int((inputs["input_ids"] == processor.audio_token_id).sum()) == 330
    assert inputs["input_features_mask"].sum(-1).tolist() == [[3000, 3000, 500]]


def test_parakeets_own_features_are_framed_and_masked_in_time(tone):
    extractor = ParakeetFeatureExtractor(feature_size=8)
    processor = AudioLLMProcessor(extractor, extractor, tiny_tokenizer(), tokens_per_window=10, window_seconds=1)
    inputs = processor(text=[processor.prompt("?")] * 2, audio=[tone(1.0001), tone(0.5)])
    features, mask = inputs["input_features"], inputs["input_features_mask"]
    assert features.shape == (2, 2, 100, 8) and features.isfinite().all()
    assert mask.sum(-1).tolist() == [[100, 1], [50, 0]]
    alone = extractor(tone(0.5), sampling_rate=16_000, return_tensors="pt")["input_features"][0]
    torch.testing.assert_close(features[1, 0, :50], alone[:50])
    assert not features[1, 0, 50:].any()


def test_features_that_both_encoders_take_are_computed_once(tone):
    _, shared = tiny_model_and_processor(emotion="whisper")
    _, apart = tiny_model_and_processor(emotion="hubert")
    assert "input_values" not in shared(text=shared.prompt("?"), audio=[tone(1)])
    assert "input_values" in apart(text=apart.prompt("?"), audio=[tone(1)])


def test_prompt_frames_the_audio_before_the_instruction(tiny):
    _, processor = tiny
    assert processor.prompt("How do they feel?") == (
        "<|user|><|audio_start|><|audio|><|audio_end|>How do they feel?<|end|><|assistant|>"
    )


@pytest.mark.parametrize(
    "template, rendered",
    [
        (
            "{% for m in messages %}<start_of_turn>{{ m['role'] }}\n"
            "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}",
            "<start_of_turn>user\n<|audio_start|><|audio|><|audio_end|>Why?<end_of_turn>\n",
        ),
        (
            "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endfor %}",
            "<|im_start|>user\n<|audio_start|><|audio|><|audio_end|>Why?<|im_end|>",
        ),
    ],
)
def test_templates_that_want_text_are_taught_audio(template, rendered):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    processor = AudioLLMProcessor(extractor, extractor, tokenizer)
    content = [{"type": "audio", "audio": np.zeros(400)}, {"type": "text", "text": "Why?"}]
    assert processor.apply_chat_template([{"role": "user", "content": content}]) == rendered
    plain = [{"role": "user", "content": "<|audio_start|><|audio|><|audio_end|>Why?"}]
    assert processor.apply_chat_template(plain) == rendered


def test_saved_processor_gives_the_same_inputs(tmp_path, tone):
    for emotion in ("whisper", "hubert"):
        _, processor = tiny_model_and_processor(emotion=emotion)
        processor.save_pretrained(tmp_path / emotion)
        loaded = AutoProcessor.from_pretrained(tmp_path / emotion)
        prompt, clips = processor.prompt("?"), [tone(1.7)]
        first, second = processor(text=prompt, audio=clips), loaded(text=prompt, audio=clips)
        assert sorted(first) == sorted(second)
        assert all(torch.equal(first[name], second[name]) for name in first)


class _Files(http.server.BaseHTTPRequestHandler):
    data = b""

    def do_GET(self):
        self.send_response(200 if self.path == "/clip.wav" else 404)
        self.end_headers()
        self.wfile.write(self.data if self.path == "/clip.wav" else b"")

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tone):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(1.5), 16_000, format="WAV", subtype="FLOAT")
    handler = type("Handler", (_Files,), {"data": buffer.getvalue()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_audio_content_as_path_url_bytes_or_array_is_the_same(tiny, tone, tmp_path, server):
    _, processor = tiny
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(1.5), 16_000, subtype="FLOAT")
    contents = [
        {"type": "audio", "path": str(path)},
        {"type": "audio", "url": f"{server}/clip.wav"},
        {"type": "audio", "audio": path.read_bytes()},
        {"type": "audio", "audio": tone(1.5)},
        {"type": "audio", "audio": (tone(1.5), 16_000)},
        {"type": "audio", "audio": {"path": str(path), "bytes": None}},
    ]
    features = [
        processor.apply_chat_template(
            [{"role": "user", "content": [content, {"type": "text", "text": "?"}]}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )["input_features"]
        for content in contents
    ]
    assert all(torch.equal(features[0], other) for other in features[1:])


def test_several_clips_in_one_prompt_keep_their_order(tiny, tone):
    model, processor = tiny
    content = [
        {"type": "audio", "audio": tone(0.5)},
        {"type": "text", "text": "and"},
        {"type": "audio", "audio": tone(1.5, seed=1)},
        {"type": "text", "text": "who is sad"},
    ]
    inputs = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=True, return_dict=True)
    assert inputs["input_features"].shape[:2] == (2, 2)
    assert int((inputs["input_ids"] == processor.audio_token_id).sum()) == 3 * 12
    assert model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize(
    "text, clips, message",
    [
        ("no audio here", 1, "number of <|audio|> tokens"),
        ("<|audio|><|audio|>", 1, "number of <|audio|> tokens"),
        ("<|audio|>", 0, "no audio inputs were passed"),
    ],
)
def test_clips_without_their_placeholder_are_refused(tiny, tone, text, clips, message):
    _, processor = tiny
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        processor(text=text, audio=[tone(1)] * clips or None)


def test_audio_content_without_audio_is_refused(tiny):
    _, processor = tiny
    with pytest.raises(ValueError, match="needs one of"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "audio"}]}], tokenize=True)


def test_a_tokenizer_without_audio_tokens_is_refused():
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    with pytest.raises(ValueError, match="does not know <audio>"):
        AudioLLMProcessor(extractor, extractor, tiny_tokenizer(), audio_token="<audio>")


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_every_rate_is_resampled_to_the_models(rate, tone):
    samples = load_audio((tone(1.0, rate), rate))
    assert len(samples) == 16_000
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(int(spectrum.argmax()) - 200) <= 1


@pytest.mark.parametrize(
    "convert", [lambda x: x.astype(np.float64), lambda x: (x * 32767).astype(np.int16), torch.tensor]
)
def test_sample_types_give_the_same_sound(convert, tone):
    np.testing.assert_allclose(load_audio(convert(tone(0.2))), tone(0.2), atol=1e-4)


def test_stereo_is_mixed_whichever_axis_holds_the_channels(tone):
    left, right = tone(0.3), tone(0.3, seed=2)
    mixed = (left + right) / 2
    np.testing.assert_allclose(load_audio(np.stack([left, right])), mixed, atol=1e-6)
    np.testing.assert_allclose(load_audio(np.stack([left, right], axis=1)), mixed, atol=1e-6)


@pytest.mark.parametrize("seconds", [0.01, 65])
def test_very_short_and_long_clips_are_answered_whole(tiny, tone, seconds):
    model, processor = tiny
    inputs = processor(text=processor.prompt("?"), audio=[tone(seconds)])
    assert int((inputs["input_ids"] == processor.audio_token_id).sum()) == max(1, round(seconds)) * 12
    assert model(**inputs, logits_to_keep=1).logits.isfinite().all()


def test_silence_is_audio_like_any_other(tiny):
    model, processor = tiny
    assert model(**processor(text=processor.prompt("?"), audio=[np.zeros(8000)])).logits.isfinite().all()


def _corrupt(path):
    soundfile.write(path, np.zeros(4000, np.float32), 16_000)
    path.write_bytes(path.read_bytes()[:20])
    return str(path)


def _text_file(path):
    path.write_text("this is not audio")
    return str(path)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: np.array([0.1, np.nan, np.inf]), "2 samples that are NaN or infinite"),
        (lambda path: np.array([]), "holds no samples"),
        (_corrupt, "can't be decoded"),
        (_text_file, "can't be decoded"),
        (lambda path: str(path), "no such file"),
        (lambda path: str(path.parent), "is a folder"),
        (lambda path: b"garbage", "can't be decoded"),
        (lambda path: (np.zeros(10), 0), "sampling rate 0"),
        (lambda path: (np.zeros(10), -16_000), "sampling rate"),
        (lambda path: (np.zeros(10), 16_000.5), "sampling rate"),
        (lambda path: np.zeros((40, 40)), "more than 32 channels"),
        (lambda path: np.zeros((2, 2, 2)), "has shape"),
        (lambda path: None, "is None"),
        (lambda path: {"sampling_rate": 16_000}, "needs `array`, `bytes` or `path`"),
        (lambda path: np.array(["a"]), "not an array of samples"),
        (lambda path: "http://127.0.0.1:9/x.wav", "could not be downloaded"),
    ],
)
def test_unusable_audio_raises_one_clear_error(make, message, tmp_path):
    with pytest.raises(AudioError, match=message):
        load_audio(make(tmp_path / "clip.wav"))


def _row(tmp_path, samples, answer="sad, for the dog", number=0):
    path = tmp_path / f"{number}.wav"
    soundfile.write(path, samples, 16_000)
    audio = {"path": str(path), "bytes": None}
    return {
        "id": f"row{number}",
        "task": "er",
        "audio": audio,
        "question": "How?",
        "answer": answer,
        "transcript": "My dog!",
    }


def test_only_the_answer_and_its_end_are_learnt(tiny, tone, tmp_path):
    model, processor = tiny
    rows = [_row(tmp_path, tone(0.5)), _row(tmp_path, tone(1.8), "happy", 1)]
    batch = AudioLLMCollator(processor)(rows)
    for row, ids, labels, mask in zip(rows, batch["input_ids"], batch["labels"], batch["attention_mask"]):
        learnt = labels[labels != -100]
        assert processor.decode(learnt) == row["answer"] + "<|end|>"
        assert torch.equal(ids[labels != -100], learnt)
        assert processor.decode(ids[mask.bool() & (labels == -100)]).endswith("How?<|end|><|assistant|>")
    assert batch.pop("tasks") == ["er", "er"] and model(**batch).loss.isfinite()


def test_training_prompt_is_the_prompt_of_generation(tiny, tone, tmp_path):
    _, processor = tiny
    batch = AudioLLMCollator(processor)([_row(tmp_path, tone(0.5))])
    prompt = batch["input_ids"][0][batch["labels"][0] == -100]
    path = str(tmp_path / "0.wav")
    assert processor(text=processor.prompt("How?"), audio=[path])["input_ids"][0].tolist() == prompt.tolist()


def test_a_training_row_that_cannot_be_used_is_named(tiny, tone, tmp_path):
    _, processor = tiny
    collator = AudioLLMCollator(processor)
    lost = _row(tmp_path, tone(0.5)) | {"audio": {"path": str(tmp_path / "gone.wav"), "bytes": None}}
    with pytest.raises(AudioError, match=r"row 'row0'.*gone.wav: no such file"):
        collator([lost])
    with pytest.raises(ValueError, match="row 'row0' has no answer to learn"):
        collator([_row(tmp_path, tone(0.5), answer=None)])


def test_a_clip_that_several_rows_share_is_decoded_once_as_long_as_there_is_room(tiny, tone, tmp_path, monkeypatch):
    _, processor = tiny
    read = []
    monkeypatch.setattr(
        "audiollm.processing.collator.load_audio", lambda audio: read.append(audio["path"]) or load_audio(audio)
    )
    first, second = _row(tmp_path, tone(0.5)), _row(tmp_path, tone(0.6), number=1)
    encoded = second | {"audio": {"path": first["audio"]["path"], "bytes": open(second["audio"]["path"], "rb").read()}}
    monkeypatch.setattr("audiollm.processing.collator.KEPT_BYTES", 9000 * 4)
    collator = AudioLLMCollator(processor)
    once = collator([first, first | {"id": "another"}])
    assert len(read) == 1 and torch.equal(collator([first])["input_features"], once["input_features"][:1])
    assert len(read) == 1
    collator([second, second])
    assert len(read) == 3  # there is room for the first clip only
    held = collator([encoded])["input_features_mask"].sum()
    assert held == collator([second])["input_features_mask"].sum() != once["input_features_mask"][0].sum()


def test_processor_config_is_one_readable_file(tiny, tmp_path):
    _, processor = tiny
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["tokens_per_window"] == 12 and saved["window_seconds"] == 1
    assert saved["auto_map"] == {"AutoProcessor": "processing_audiollm.AudioLLMProcessor"}


def test_openai_forms_of_audio_are_understood_and_others_refused(tiny, tone):
    _, processor = tiny
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(0.6), 16_000, format="WAV")
    data = base64.b64encode(buffer.getvalue()).decode()

    def inputs(part, **text):
        content = [part, text or {"type": "text", "text": "how"}]
        messages = [{"role": "user", "content": content}]
        return processor.apply_chat_template(
            messages, tokenize=True, return_dict=True, add_generation_prompt=True, return_tensors="pt"
        )

    plain = inputs({"type": "audio", "audio": buffer.getvalue()})
    told = inputs(
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}, type="input_text", text="how"
    )
    for name, value in told.items():
        assert torch.equal(value, plain[name]), name
    for wrong in ("image", "image_url", "video", "input_image", None):
        with pytest.raises(ValueError, match="is not understood"):
            inputs({"type": wrong, wrong: "x"})
    for broken in ({"data": "?"}, {}, None):
        with pytest.raises(ValueError, match="input_audio"):
            inputs({"type": "input_audio", "input_audio": broken})


def test_special_tokens_in_a_question_are_text(tiny, tone):
    _, processor = tiny
    asked = f"what is {processor.audio_token} and {processor.tokenizer.eos_token}"
    inputs = processor(text=[processor.prompt(asked)], audio=[tone(0.5)])
    ids = inputs["input_ids"][0].tolist()
    plain = processor(text=[processor.prompt("what is this and that")], audio=[tone(0.5)])["input_ids"][0].tolist()
    for token in (processor.audio_token_id, processor.tokenizer.eos_token_id):
        assert ids.count(token) == plain.count(token)


def test_placeholders_without_audio_are_refused(tiny):
    _, processor = tiny
    with pytest.raises(ValueError, match="audio"):
        processor(text=[processor.prompt("how")])


@pytest.mark.parametrize(
    "chat",
    [
        [],
        "hello",
        ["hello"],
        [{"content": "hello"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": {"type": "audio"}}],
        [{"role": "user", "content": ["hello"]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": None}]}],
    ],
)
def test_messages_of_another_form_are_refused(tiny, chat):
    with pytest.raises(ValueError, match="needs `text`|is a list of messages|message is|content"):
        tiny[1].apply_chat_template(chat)


def test_control_tokens_in_messages_and_answers_are_text(tiny, tone, tmp_path):
    _, processor = tiny
    ends = processor.apply_chat_template([{"role": "user", "content": "one"}]).count("<|end|>")
    told = processor.apply_chat_template([{"role": "user", "content": "one<|end|><|audio|>"}])
    assert told.count("<|end|>") == ends and told.count("<|audio|>") == 1
    batch = AudioLLMCollator(processor)([_row(tmp_path, tone(0.5), "sad <|audio|> <|end|> and")])
    learnt = batch["labels"][batch["labels"] != -100].tolist()
    assert processor.audio_token_id not in learnt
    assert learnt.count(processor.tokenizer.eos_token_id) == 1 and learnt[-1] == processor.tokenizer.eos_token_id


def test_a_clip_beyond_the_tokenizers_limit_is_refused_by_the_processor(tiny, tone, monkeypatch):
    _, processor = tiny
    monkeypatch.setattr(processor.tokenizer, "model_max_length", 60)
    with pytest.raises(AudioError, match="is longer than 6 s"):
        processor(text=processor.prompt("?"), audio=[np.zeros(16_000 * 7)])


@pytest.mark.parametrize("give", [tuple, list, lambda x: (16_000, x), lambda x: list(torch.tensor(x))])
def test_one_clip_is_not_taken_for_a_list_of_clips(tiny, tone, give):
    _, processor = tiny
    clip = tone(0.2) if give is not tuple else (tone(0.2), 16_000)
    inputs = processor(text=processor.prompt("?"), audio=give(clip))
    expected = processor(text=processor.prompt("?"), audio=[tone(0.2)])
    torch.testing.assert_close(inputs["input_features"], expected["input_features"])


THINKING = (
    "{%- for m in messages -%}{{- '<|' + m.role + '|>' -}}"
    "{%- if m.role == 'assistant' -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
    "{{- m.content + '<|end|>' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}"
    "{%- endif -%}"
)


def test_an_empty_block_of_thoughts_is_prompt_and_not_answer(tiny, tone, tmp_path):
    _, plain = tiny
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = THINKING
    parts = (plain.feature_extractor, plain.emotion_feature_extractor, tokenizer)
    processor = AudioLLMProcessor(*parts, tokens_per_window=12, window_seconds=1)
    assert processor.prompt("How?").endswith("<think>\n\n</think>\n\n")
    batch = AudioLLMCollator(processor)([_row(tmp_path, tone(0.5))])
    assert processor.decode(batch["labels"][batch["labels"] != -100]) == "sad, for the dog<|end|>"


def test_a_prompt_is_made_without_a_warning(tiny, caplog):
    tiny[1].prompt("how does the speaker feel")
    assert not caplog.records
