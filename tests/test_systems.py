"""Systems: each is a real class with tiny random weights, or a real server on loopback."""

import base64
import io
import json
import threading

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    ImageProcessingMixin,
    LlamaConfig,
    LlamaForCausalLM,
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    Phi4MultimodalProcessor,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)

from audiollm.corpora.questions import STYLES
from audiollm.eval import EvalError
from audiollm.eval.run import Settings, evaluate_system
from audiollm.eval.systems import PRESETS, load_system
from audiollm.eval.systems.cascade import Cascade
from audiollm.eval.systems.endpoint import Endpoint
from audiollm.eval.systems.serve import make_server
from audiollm.eval.systems.transcript import Transcript, asks_for_transcript
from audiollm.language_models import Reply
from audiollm.language_models.base import split_server
from audiollm.modeling_audiollm import Emotion2VecConfig, Emotion2VecForAudioClassification
from audiollm.modeling_audiollm.replies import final_answer
from audiollm.training.checkpoints import save_merged
from tests.chat_server import chat_server
from tests.tiny import ENCODERS, tiny_model_and_processor, tiny_tokenizer


def clips(*sizes):
    return [np.random.default_rng(size).normal(0, 0.1, size).astype(np.float32) for size in sizes]


def test_emotion2vec_answers_with_its_likeliest_emotion_and_the_sentiment_of_it(tmp_path):
    model = Emotion2VecForAudioClassification(Emotion2VecConfig(**ENCODERS["emotion2vec"]))
    with torch.no_grad():  # "<unk>" is likeliest, then "happy": only the emotion may be answered
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 0, 0, 5, 0, 0, 0, 0, 9]))
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False).save_pretrained(tmp_path)
    system = load_system(f"emotion2vec:{tmp_path}")
    audios = clips(8_000, 12_345)
    answers = system.answer_batch(audios, ["How does the speaker feel?", "Name the sentiment of the speaker."])
    assert answers == ["The speaker sounds happy.", "The sentiment is positive."]
    assert system.answer(audios[0], "How does the speaker feel?") == answers[0]
    rows = [{"task": task, "question": "What attitude does it convey?"} for task in ("er", "asr", "sr", "sqa")]
    told = system.answer_rows(rows, clips(8_000, 8_000, 12_345, 9_000))
    assert (told[0], told[2]) == (answers[0], answers[1])  # by the task, whatever words ask
    assert all(isinstance(answer, ValueError) for answer in told[1::2])


def test_parts_answer_with_what_adapters_hear_and_feel(tmp_path, monkeypatch):
    """As `hear` and `feel` say; what a model was not taught is said in each row, and the language model never runs."""
    model, processor = tiny_model_and_processor(emotion="whisper")
    model.add_speech_alignment()
    model.config.emotion_labels = ["happy", "sad", "neutral"]
    model.config.emotion_label_ids = processor.label_ids(model.config.emotion_labels)
    words = processor.tokenizer(" sad", add_special_tokens=False)["input_ids"]
    toward = model.model.word_embeddings()[words].mean(0)
    with torch.no_grad():
        model.model.emotion_adapter.linear_3.weight.zero_()
        model.model.emotion_adapter.linear_3.bias.copy_(toward)
    save_merged(model, processor, tmp_path / "run" / "model")
    system = load_system(f"parts:{tmp_path / 'run' / 'model'}")
    assert system.name == "run, parts" and system.describe()["labels"] == ["happy", "sad", "neutral"]
    monkeypatch.setattr(type(system.whole.model.model.language_model), "forward", None)
    audios = clips(8_000, 12_345, 9_000, 8_000)
    rows = [{"task": task} for task in ("er", "asr", "sr", "sqa")]
    felt, heard, tone, asked = system.answer_rows(rows, audios)
    assert (felt, tone) == ("The speaker sounds sad.", "The sentiment is negative.")
    inputs = processor(text=[processor.prompt("")], audio=[audios[1]])
    assert heard == processor.batch_decode(model.hear(**inputs))[0].strip()
    assert isinstance(asked, ValueError) and "no questions" in str(asked)
    bare, processor = tiny_model_and_processor(emotion=None)
    save_merged(bare, processor, tmp_path / "bare")
    errors = load_system(f"parts:{tmp_path / 'bare'}").answer_rows(rows[:2], audios[:2])
    assert "its speech_adapter was taught labels" in str(errors[0]) and "speech decoder" in str(errors[1])


TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT |= {"num_key_value_heads": 1, "max_position_embeddings": 512, "bos_token_id": None}


def special_ids(tokenizer):
    return {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}


def save_qwen2_audio(folder):
    tokenizer = tiny_tokenizer()
    added = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    config = Qwen2AudioConfig(
        audio_config={
            **{"model_type": "qwen2_audio_encoder", "d_model": 16, "encoder_layers": 1, "num_mel_bins": 8},
            **{"encoder_attention_heads": 2, "encoder_ffn_dim": 32, "max_source_positions": 50},
        },
        text_config={"model_type": "qwen2", "vocab_size": len(tokenizer), **TEXT, **special_ids(tokenizer)},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = Qwen2AudioForConditionalGeneration(config)
    model.generation_config.update(**special_ids(tokenizer))
    model.save_pretrained(folder)
    Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=8, chunk_length=1), tokenizer).save_pretrained(folder)


def save_phi4_multimodal(folder):
    tokenizer = tiny_tokenizer()
    added = ["<|user|>", "<|end|>", "<|assistant|>", "<|audio|>", "<|image|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": added})
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        pad_token=tokenizer.pad_token,
        eos_token=tokenizer.eos_token,
        extra_special_tokens={"audio_token": "<|audio|>", "image_token": "<|image|>"},
    )
    config = Phi4MultimodalConfig(
        vocab_size=len(tokenizer),
        **TEXT,
        **special_ids(tokenizer),
        original_max_position_embeddings=512,
        audio_config={
            **{"hidden_size": 16, "intermediate_size": 32, "num_blocks": 1, "num_attention_heads": 2},
            **{"ext_pw_out_channel": 16, "depthwise_separable_out_channel": 16, "nemo_conv_channels": 8},
            "audio_token_id": tokenizer.convert_tokens_to_ids("<|audio|>"),
        },
        vision_config={
            **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"image_size": 28, "patch_size": 14, "crop_size": 28},
            "image_token_id": tokenizer.convert_tokens_to_ids("<|image|>"),
        },
    )
    model = Phi4MultimodalForCausalLM(config)
    model.generation_config.update(**special_ids(tokenizer))
    model.save_pretrained(folder)
    processor = Phi4MultimodalProcessor(ImageProcessingMixin(), Phi4MultimodalFeatureExtractor(), tokenizer)
    processor.save_pretrained(folder)


FAMILIES = {"qwen2_audio": (save_qwen2_audio, "<|AUDIO|>"), "phi4_multimodal": (save_phi4_multimodal, "<|audio|>")}


@pytest.mark.parametrize("family", FAMILIES)
def test_audio_chat_models_hear_and_answer_in_batches_as_they_do_alone(family, tmp_path, monkeypatch):
    save, audio_token = FAMILIES[family]
    save(tmp_path)
    system = load_system(str(tmp_path), max_new_tokens=5)
    system.model.generation_config.update(num_beams=2, repetition_penalty=1.3)
    monkeypatch.setattr(type(system.model), "_beam_search", lambda *_, **__: pytest.fail("searched by beams"))
    audios, questions = clips(5_000, 14_345, 9_000), ["How?", "What emotion does the speaker show?", "Name it."]
    given = []
    generate = system.model.generate
    monkeypatch.setattr(system.model, "generate", lambda **inputs: given.append(inputs) or generate(**inputs))
    together = system.answer_batch(audios, questions)
    assert together == [system.answer(audio, question) for audio, question in zip(audios, questions)]
    tokens = (given[0]["input_ids"] == system.tokenizer.convert_tokens_to_ids(audio_token)).sum(1).tolist()
    assert 0 < tokens[0] < tokens[2] < tokens[1]
    assert system.counted()["answers_given"] == 6 and system.describe()["parameters"] > 0
    assert system.describe()["checkpoint_generation"] == {"repetition_penalty": 1.3}


REMOTE_CODE = """
import torch
from transformers import BatchFeature, LlamaConfig, LlamaForCausalLM, ProcessorMixin


class SpeechConfig(LlamaConfig):
    model_type = "meralion2"


class SpeechModel(LlamaForCausalLM):
    config_class = SpeechConfig

    def forward(self, input_ids=None, input_features=None, **kwargs):
        return super().forward(input_ids=input_ids, **kwargs)

    def generate(self, input_ids, input_features, **kwargs):
        assert len(input_features) == len(input_ids)
        return super().generate(input_ids=input_ids, **kwargs)


class SpeechProcessor(ProcessorMixin):
    def __init__(self, feature_extractor=None, tokenizer=None):
        super().__init__(feature_extractor, tokenizer)

    def __call__(self, text, audios, sampling_rate=None, padding=True, return_tensors="pt"):
        assert all(prompt.count("<SpeechHere>") == 1 for prompt in text)
        features = self.feature_extractor(audios, sampling_rate=sampling_rate, return_tensors="pt")
        return BatchFeature({**self.tokenizer(text, padding=padding, return_tensors="pt"), **features})
"""


def test_a_models_own_code_runs_only_when_it_is_trusted(tmp_path, monkeypatch):
    """MERaLiON's interface, by a stand-in: its published code is not here."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    tokenizer = tiny_tokenizer()
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **TEXT, **special_ids(tokenizer))).save_pretrained(
        tmp_path
    )
    tokenizer.save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(tmp_path)
    (tmp_path / "own_code.py").write_text(REMOTE_CODE)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "meralion2"}
    config["auto_map"] = {
        "AutoConfig": "own_code.SpeechConfig",
        "AutoModelForSpeechSeq2Seq": "own_code.SpeechModel",
        "AutoProcessor": "own_code.SpeechProcessor",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EvalError, match="--trust-remote-code"):
        load_system(str(tmp_path))
    system = load_system(str(tmp_path), max_new_tokens=3, trust_remote_code=True)
    audios, questions = clips(5_000, 9_000), ["How?", "What emotion does the speaker show?"]
    answers = system.answer_batch(audios, questions)
    assert answers == [system.answer(audio, question) for audio, question in zip(audios, questions)]


def test_prompts_and_settings_make_another_system(tmp_path):
    save_qwen2_audio(tmp_path)
    plain = load_system(f"chat:{tmp_path}")
    tagged = load_system(
        f"chat:{tmp_path}", question_format="{question} Put it in <answer></answer>.", system_prompt="Think first."
    )
    assert plain.fingerprint != tagged.fingerprint
    prompt = tagged._prompt(tagged.settings["question_format"].format(question="How?"))
    assert "Think first." in prompt and "How? Put it in <answer></answer>." in prompt
    assert prompt.index("Think first.") < prompt.index("<|AUDIO|>") < prompt.index("How?")
    with pytest.raises(EvalError, match="needs {question}"):
        load_system(f"chat:{tmp_path}", question_format="Answer!")


def test_clips_longer_than_a_model_hears_are_counted(tmp_path):
    save_qwen2_audio(tmp_path)
    system = load_system(str(tmp_path), max_new_tokens=2)
    system.answer_batch(clips(8_000, 20_000), ["How?", "How?"])  # it hears one second
    assert system.counted()["clips_cut"] == 1


def test_a_model_that_does_not_load_is_an_error_that_points_to_the_endpoint(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen_audio_of_old", "auto_map": {"AutoConfig": "a.B"}}')
    with pytest.raises(EvalError, match="does not load with transformers .*endpoint:MODEL@URL"):
        load_system(f"chat:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("They sound sad.", "They sound sad."),
        ("<think>happy?</think><answer>sad</answer>", "sad"),
        ("<answer> sad </answer>", "sad"),
        ("<THINK><PLANNING>p</PLANNING><CAPTION>c</CAPTION></THINK>\n<RESPONSE>It is sad.</RESPONSE>", "It is sad."),
        ("<think>in <answer>this</answer> form</think><answer>that</answer>", "that"),
        ("<answer>one</answer> or rather <answer>two</answer>", "two"),
        ("<think>done</think> They are angry.", "They are angry."),
        ("<RESPONSE>They are ang", "They are ang"),
        ("<think>I wonder whether they are happ", ""),
    ],
)
def test_what_stands_in_answer_tags_is_the_answer(text, answer):
    assert final_answer(text) == answer


class Reader:
    """A language model that remembers what it was asked."""

    name = "reader"

    def __init__(self, fail=""):
        self.asked, self.fail = [], fail

    def ask(self, requests, seed=0, schema=None):
        for number, messages in reversed(list(enumerate(requests))):  # replies may come in any order
            self.asked.append(messages[0]["content"])
            question = messages[0]["content"].rsplit("\n", 1)[1]
            failed = self.fail and self.fail in question
            yield number, Reply(None, "APITimeoutError") if failed else Reply(f"<answer>{question}!</answer>")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("asr") / "tiny-whisper"
    words = tmp_path_factory.mktemp("words") / "tokenizer.json"
    tiny_tokenizer().backend_tokenizer.save(str(words))
    tokenizer = WhisperTokenizerFast(tokenizer_file=str(words))
    sizes = {**ENCODERS["whisper"], "vocab_size": len(tokenizer), **special_ids(tokenizer)}
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, decoder_start_token_id=1, bos_token_id=1))
    model.generation_config.update(
        **special_ids(tokenizer), decoder_start_token_id=1, max_length=6, no_timestamps_token_id=2
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)
    return str(folder)


def test_a_cascade_reads_the_transcript_and_answers_each_question(whisper):
    reader = Reader()
    system = Cascade(whisper, reader, question_format="Well: {question}")
    audios = clips(8_000, 12_000, 8_000)
    transcripts = system.transcribe(audios)
    answers = system.answer_batch(audios, ["How?", "Transcribe the speech.", "Who?"])
    assert answers == ["Well: How?!", transcripts[1], "Well: Who?!"]
    assert len(reader.asked) == 2 and all(transcripts[0] in text for text in reader.asked)
    assert system.name == "tiny-whisper+reader" and system.describe()["prompt"]


def test_a_cascade_hears_in_batches_as_alone_and_each_clip_once(whisper, monkeypatch):
    system = Cascade(whisper, Reader())
    audios = clips(8_000, 12_000, 5_000)
    together = system.transcribe(audios)
    assert [Cascade(whisper, Reader()).transcribe([audio])[0] for audio in audios] == together
    monkeypatch.setattr(system, "recogniser", None)
    assert system.transcribe(audios[::-1]) == together[::-1]


def test_a_cascade_hears_greedily_as_every_system_answers(whisper, monkeypatch):
    system = Cascade(whisper, Reader())
    monkeypatch.setattr(
        type(system.recogniser.model), "_beam_search", lambda *_, **__: pytest.fail("searched by beams")
    )
    assert len(system.transcribe(clips(8_000, 12_000))) == 2
    assert system.describe()["recogniser_decoding"] == {"generate_kwargs": {"num_beams": 1}}


@pytest.mark.parametrize(
    "named", [{}, {"task": "translate"}, {"language": "en"}, {"forced_decoder_ids": [[1, 4], [2, 6]]}]
)
def test_a_whisper_of_several_tasks_that_names_none_is_told_to_transcribe(whisper, named):
    system = Cascade(whisper, Reader())
    model = system.recogniser.model
    tasks = {"task_to_id": {"transcribe": 5, "translate": 6}, "lang_to_id": {"<|en|>": 4}, "is_multilingual": True}
    for name, value in {**tasks, **named}.items():
        setattr(model.generation_config, name, value)
    prompts = []
    model.model.decoder.register_forward_pre_hook(
        lambda _, __, inputs: prompts.append(inputs["input_ids"][0].tolist()), with_kwargs=True
    )
    system.transcribe(clips(8_000))
    first = next(prompt for prompt in prompts if len(prompt) > 1)  # the language is asked for with one token
    assert first[:3] == [1, 4, 6 if "task" in named or "forced_decoder_ids" in named else 5]


def test_a_reader_that_fails_costs_its_own_rows_only(whisper):
    answers = Cascade(whisper, Reader(fail="Who")).answer_batch(clips(8_000, 9_000), ["Who?", "How?"])
    assert isinstance(answers[0], ValueError) and "APITimeoutError" in str(answers[0]) and answers[1] == "How?!"


def test_a_cascade_is_built_from_two_folders(whisper, tmp_path):
    tokenizer = tiny_tokenizer()
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **TEXT)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    system = load_system(f"cascade:{whisper}+{tmp_path}", max_new_tokens=4)
    assert isinstance(system.answer(clips(8_000)[0], "How?"), str)
    assert system.fingerprint == load_system(f"cascade:{whisper}+{tmp_path}", max_new_tokens=4).fingerprint
    other = tmp_path / "other" / tmp_path.name
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **TEXT)).save_pretrained(other)
    tokenizer.save_pretrained(other)
    namesake = load_system(f"cascade:{whisper}+{other}", max_new_tokens=4)
    assert namesake.name == system.name and namesake.fingerprint != system.fingerprint
    with pytest.raises(EvalError, match="two parts"):
        load_system(f"cascade:{whisper}")


def test_questions_for_the_transcript_are_known():
    asked = ["Transcribe the speech.", "What does the speaker say?", "Please give the transcript.", "What is said?"]
    assert all(asks_for_transcript(question) for question in asked)
    others = ["What does the speaker say about dogs in the story and why?", "How do they feel?", "What is sad?"]
    assert not any(asks_for_transcript(question) for question in others[1:])
    assert all(asks_for_transcript(question) for pools in STYLES.values() for question in pools["asr"])


def test_rows_get_the_transcript_by_their_task_whatever_words_ask_for_it(whisper):
    said, spoken = "They lost the cup.", "What did the speaker say about the cup?"
    rows = [{"task": "asr", "question": "Now, in letters:"}, {"task": "sqa", "question": spoken}]
    assert Transcript(Reader()).answer_rows([row | {"transcript": said} for row in rows], [None] * 2) == [
        said,
        f"{spoken}!",
    ]
    system = Cascade(whisper, Reader())
    audios = clips(8_000, 12_000)
    assert system.answer_rows(rows, audios) == [system.transcribe(audios)[0], f"{spoken}!"]


def test_presets_name_every_baseline_of_the_paper():
    assert {"whisper+llama3", "whisper+sea-lion", "qwen2-audio", "audio-reasoner", "r1-aqa"} < PRESETS.keys()
    assert all(spec.partition(":")[0] in ("cascade", "chat") for spec in PRESETS.values())


def heard(body):
    """`(samples, question)` of a request to an audio endpoint."""
    sound, text = body["messages"][-1]["content"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound["input_audio"]["data"])))
    assert rate == 16_000 and sound["input_audio"]["format"] == "wav"
    return samples, text["text"]


def test_an_endpoint_gets_the_sound_and_the_question_concurrently():
    def answer(body):
        samples, question = heard(body)
        return f"<think>hm</think><answer>{len(samples)} {question}</answer>"

    audios = clips(*range(1000, 1012))
    with chat_server(answer, delay=0.05) as server:
        system = load_system(f"endpoint:m@{server.url}", question_format="Q: {question}", system_prompt="Be brief.")
        answers = system.answer_batch(audios, [f"q{number}" for number in range(12)])
    assert answers == [f"{1000 + number} Q: q{number}" for number in range(12)]
    assert server.most_at_once > 3 and server.requests[0]["messages"][0]["content"] == "Be brief."
    assert server.requests[0]["temperature"] == 0


def test_braces_of_a_question_format_and_a_question_stay_as_they_are():
    form = 'Answer as {"emotion": "..."}: {question} {}'
    with chat_server(lambda body: heard(body)[1]) as server:
        system = load_system(f"endpoint:org/m@v2@{server.url}", question_format=form)
        answers = system.answer_batch(clips(1000), ["{what} {0} now?"])
    assert answers == ['Answer as {"emotion": "..."}: {what} {0} now? {}']
    assert server.requests[0]["model"] == "org/m@v2"


@pytest.mark.parametrize(
    ("text", "model", "url"),
    [
        ("m", "m", None),
        ("m@v2", "m@v2", None),
        ("org/m@v2@http://a:8000/v1", "org/m@v2", "http://a:8000/v1"),
        ("m@https://user:key@host/v1", "m", "https://user:key@host/v1"),
    ],
)
def test_a_servers_model_may_have_an_at_in_its_name(text, model, url):
    assert split_server(text) == (model, url)


def test_an_address_without_a_scheme_is_refused():
    for text in ("m@localhost:8000/v1", "m@10.0.0.1:8000", "m@localhost"):
        with pytest.raises(ValueError, match="write the address with http"):
            split_server(text)


def test_an_endpoints_failures_are_recorded_and_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *args, **kwargs: 0.01)
    rows = []
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.wav", clips(1000 + number)[0], 16_000)
        rows.append({"id": str(number), "task": "er", "audio": f"{number}.wav", "question": "How?", "label": "sad"})
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    broken = {"now": True}

    def answer(body):
        samples, _ = heard(body)
        return (500, "{}") if broken["now"] and len(samples) in (1001, 1004) else "The speaker sounds sad."

    with chat_server(answer) as server:
        system = Endpoint("m", server.url, retries=1)
        settings = Settings(system="endpoint", data=str(tmp_path), batch_size=4)
        results = evaluate_system(settings, tmp_path / "out", system=system, progress=False)
        assert [error["id"] for error in results["errors"]] == ["1", "4"]
        assert "InternalServerError" in results["errors"][0]["error"] and results["counts"]["refused"] == 0
        assert results["figures"]["er"]["n"] == 4 and results["figures"]["er"]["weighted_average"] == 100.0
        broken["now"], asked = False, len(server.requests)
        results = evaluate_system(settings, tmp_path / "out", system=system, progress=False)
        assert len(server.requests) - asked == 2 and results["counts"] == results["counts"] | {"errors": 0}


def test_an_endpoints_password_does_not_reach_the_results():
    with pytest.raises(EvalError, match="leave its user and password out"):
        load_system("endpoint:m@http://me:secret@localhost:1/v1")


def test_a_model_of_another_environment_is_served_by_one_file():
    def answer(path, question):
        if question == "Fail.":
            raise RuntimeError("out of memory")
        return f"{len(soundfile.read(path)[0])} {question}"

    server = make_server(answer, "salmonn", port=0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        system = Endpoint("salmonn", f"http://127.0.0.1:{server.server_port}/v1", retries=0)
        answers = system.answer_batch(clips(1500, 2500, 100), ["How?", "Who?", "Fail."])
        assert answers[:2] == ["1500 How?", "2500 Who?"] and "out of memory" in str(answers[2])
        empty = next(iter(dict(system.server.ask([[{"role": "user", "content": "no sound"}]])).values()))
        assert "input_audio" in empty.error
    finally:
        server.shutdown()
        server.server_close()


def test_an_unknown_system_is_refused_with_the_choices():
    with pytest.raises(EvalError, match="cascade:ASR.LLM.*endpoint:NAME@URL"):
        load_system("salmonn")
