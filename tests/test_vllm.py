"""vLLM serves a saved folder as it is, and answers what `generate` answers: `make test-vllm`."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from openai import OpenAI
from transformers import AttentionInterface, AutoConfig, AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from audiollm.eval.judges.llm import Item, Rater
from audiollm.eval.systems.audiollm import AudioLLM
from audiollm.eval.systems.endpoint import Endpoint
from audiollm.language_models import ServerModel
from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.processing.conversation import in_context
from audiollm.training.checkpoints import save_merged
from tests import tiny
from tests.vllm_server import AUDIO_MODEL, MISSING, VLLM_PYTHON, vllm_server


needs_vllm = pytest.mark.skipif(not VLLM_PYTHON.exists(), reason=MISSING)
QUESTION = "what emotion does the speaker show"
MODELS = {
    "none": {"emotion": None, "speech": "parakeet_encoder", "speech_length_aware": True, "adapter_norm": "batch"},
    "feature": {
        "fusion": "feature",
        "text": "gemma2",
        "words_first": "decoder",
        "speech_decoder": {"prompt": [30, 31], "positions": 80},
    },
    "sequence": {
        "fusion": "sequence",
        "emotion": "emotion2vec",
        "text": "qwen3",
        "adapter_context": 1,
        "words_first": "adapter",
        "label_first": True,
        "emotion_label_ids": [[40], [50, 251], [260]],
    },
}


def wav(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    return base64.b64encode(file.getvalue()).decode()


def request(*clips, question=QUESTION):
    sounds = [{"type": "input_audio", "input_audio": {"data": clip, "format": "wav"}} for clip in clips]
    return [{"role": "user", "content": [*sounds, {"type": "text", "text": question}]}]


def say_words(model):
    """Give a random model what its `words_first` needs."""
    if model.config.words_first == "adapter":
        model.add_speech_alignment()
    if model.config.words_first == "decoder":
        words = model.model.speech_decoder.words
        words[:, 0] = torch.arange(len(words)) * 8 % 256 + 40  # of both halves, where two workers have one each


def saved(name, folder):
    """A tiny random model of one fusion in a folder, and its processor."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny.TEXT_SIZES, "head_dim", 32)  # the least that vLLM computes on a CPU
        patch.setitem(tiny.ENCODERS["whisper"], "vocab_size", 96)  # vLLM gives each worker 64 or more
        model, processor = tiny.tiny_model_and_processor(**MODELS[name])
    say_words(model)
    for part, parameter in model.named_parameters():
        if parameter.dim() > 1 and "_encoder" not in part:
            torch.nn.init.normal_(parameter, std=0.3)  # so that answers depend on what is heard
    save_merged(model.eval(), processor, folder)
    return AudioLLMForConditionalGeneration.from_pretrained(folder).eval(), processor


def serve(folder, *options):
    options = [*AUDIO_MODEL, "--max-model-len", "1024", *options]
    return vllm_server(folder, "tiny", folder.parent / "vllm.log", options)


@pytest.fixture(scope="module", params=MODELS)
def served(request, tmp_path_factory):
    """A model of [`saved`], and a vLLM server of it."""
    folder = tmp_path_factory.mktemp(request.param) / "model"
    model, processor = saved(request.param, folder)
    with serve(folder) as server:
        yield model, processor, server, folder


def ask(server, messages):
    client = OpenAI(base_url=server.url, api_key="none")
    answer = client.chat.completions.create(
        model="tiny",
        messages=messages,
        temperature=0,
        max_tokens=12,
        logprobs=True,
        top_logprobs=5,
        extra_body={"return_token_ids": True},
    )
    return answer.choices[0]


@torch.inference_mode()
def generated(model, processor, clips, question=QUESTION):
    """Greedy tokens, and the log-probabilities of the first one."""
    content = [*({"type": "audio"} for _ in clips), {"type": "text", "text": question}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=prompt, audio=list(clips))
    output = model.generate(
        **inputs, max_new_tokens=12, do_sample=False, return_dict_in_generate=True, output_logits=True
    )
    tokens = output.sequences[0, inputs["input_ids"].shape[1] :]
    return tokens.tolist(), output.logits[0][0].log_softmax(-1)


def agrees(choice, tokens, logprobs):
    given = [entry.logprob for entry in choice.logprobs.content[0].top_logprobs]
    assert given == pytest.approx(logprobs.topk(len(given)).values.tolist(), abs=1e-3)
    assert choice.token_ids == tokens


@needs_vllm
def test_answers_and_probabilities_are_those_of_generate(served, tone):
    model, processor, server, _ = served
    clips = [tone(seconds, seed=seed) for seed, seconds in enumerate((0.4, 1.0, 1.7, 3.2, 0.05, 2.0))]
    with ThreadPoolExecutor(len(clips)) as pool:
        answers = list(pool.map(lambda clip: ask(server, request(wav(clip))), clips))
    for clip, answer in zip(clips, answers):
        agrees(answer, *generated(model, processor, [clip]))
    firsts = {round(answer.logprobs.content[0].logprob, 6) for answer in answers}
    assert len(firsts) == len(clips)  # what is heard makes a difference


@needs_vllm
@pytest.mark.parametrize("way", ["tensor", "data"])
@pytest.mark.parametrize("name", ["feature", "sequence"])  # which put words into the prompt
def test_two_workers_answer_as_one_does(name, way, tmp_path, tone):
    model, processor = saved(name, tmp_path / "model")
    with serve(tmp_path / "model", f"--{way}-parallel-size", "2") as server:
        for seed, seconds in enumerate((0.4, 1.7, 3.2)):
            clip = tone(seconds, seed=seed)
            agrees(ask(server, request(wav(clip))), *generated(model, processor, [clip]))


@needs_vllm
def test_clips_of_different_length_in_one_question_are_all_heard(served, tone):
    model, processor, server, _ = served
    clips = [tone(0.5, seed=1), tone(2.5, seed=2)]
    alone = [tone(0.7, seed=3)]
    with ThreadPoolExecutor(2) as pool:  # so that vLLM may encode the clips of both together
        both = list(pool.map(lambda group: ask(server, request(*map(wav, group))), (clips, alone)))
    for group, answer in zip((clips, alone), both):
        agrees(answer, *generated(model, processor, group))


@needs_vllm
def test_a_data_url_is_audio_too_and_text_alone_is_answered(served, tone):
    model, processor, server, _ = served
    clip = tone(0.6)
    url = {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{wav(clip)}"}}
    answer = ask(server, [{"role": "user", "content": [url, {"type": "text", "text": QUESTION}]}])
    agrees(answer, *generated(model, processor, [clip]))
    assert ask(server, request(question="i lost my old dog")).token_ids


@needs_vllm
def test_a_question_that_holds_placeholders_harms_nobody(served, tone):
    from openai import BadRequestError

    model, processor, server, _ = served
    clip = tone(0.6)
    for question in ("<|audio|>", "<|audio|>" * 40, "<|audio_end|><|audio_start|>"):
        try:
            ask(server, request(wav(clip), question=question))
        except BadRequestError:
            pass
    agrees(ask(server, request(wav(clip))), *generated(model, processor, [clip]))


@needs_vllm
def test_bad_audio_in_the_middle_gets_an_error_and_disturbs_nobody(served, tone):
    from openai import BadRequestError

    model, processor, server, _ = served
    clips = [tone(0.3 + 0.1 * seed, seed=seed) for seed in range(8)]
    data = [wav(clip) for clip in clips]
    bad = {1: "no base64!", 3: base64.b64encode(b"RIFF no sound").decode(), 5: wav(np.zeros(0, np.float32))}
    bad[6] = wav(tone(120))  # more tokens than the context holds: refused, not cut

    def answer(number):
        try:
            return ask(server, request(bad.get(number, data[number])))
        except BadRequestError as error:
            return error

    with ThreadPoolExecutor(len(clips)) as pool:
        answers = list(pool.map(answer, range(len(clips))))
    assert {number for number, said in enumerate(answers) if isinstance(said, BadRequestError)} == set(bad)
    for number, said in enumerate(answers):
        if number not in bad:
            agrees(said, *generated(model, processor, [clips[number]]))


@needs_vllm
def test_the_endpoint_system_answers_as_the_folder_does(served, tone):
    _, _, server, folder = served
    clips = [(tone(0.2 + 0.3 * seed, seed=seed) * 32767).astype(np.int16) / np.float32(32768) for seed in range(8)]
    turns = [{"speaker": "A", "text": "i lost my old dog"}, {"speaker": "B", "text": "the speaker sounds sad"}]
    questions = [in_context(f"{QUESTION} {number}", turns[: number % 3], "A") for number in range(8)]
    remote = Endpoint("tiny", server.url, max_new_tokens=12, concurrency=4).answer_batch(clips, questions)
    local = AudioLLM(str(folder), max_new_tokens=12, quote_confidence=0)
    answers = [local.answer(clip, question) for clip, question in zip(clips, questions)]
    # A random model may end within a character, which vLLM leaves out, or say nothing but special tokens.
    remote = ["" if isinstance(said, ValueError) and "spent before" in str(said) else said for said in remote]
    assert [text.rstrip("\ufffd").strip() for text in remote] == [text.rstrip("\ufffd").strip() for text in answers]


@needs_vllm
def test_a_judge_is_held_to_its_schema_and_slow_replies_are_counted(served):
    _, _, server, _ = served
    shown = {"question": "q", "labels": "sad, happy", "reference": "sad", "answer": "sad"}
    items = [Item(str(number), {**shown, "question": f"q {number}"}) for number in range(6)]
    held = Rater(ServerModel("tiny", server.url, max_new_tokens=64))
    ratings = held.rate("emotion", items)
    assert "response_format" not in held.model.refused
    assert all(rating.raw.lstrip().startswith("{") for rating in ratings)
    assert sum(rating.score is None for rating in ratings) == held.tallies["emotion"].failures.total()
    hasty = Rater(ServerModel("tiny", server.url, timeout=0.001, retries=0))
    assert {rating.failure for rating in hasty.rate("emotion", items)} == {"no_reply"}


@pytest.mark.parametrize("implementation, generates", [("sdpa", True), ("vllm", False)])
def test_a_person_gets_the_model_that_generates_and_vllm_the_one_without_a_head(
    implementation, generates, tiny, tmp_path, monkeypatch
):
    save_merged(*tiny, tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    monkeypatch.setitem(AttentionInterface._global_mapping, "vllm", sdpa_attention_forward)
    config.get_text_config()._attn_implementation = implementation  # where vLLM says who asks
    model = AutoModel.from_config(config)
    assert (model.get_output_embeddings() is not None) == generates
    assert model.can_generate() == generates
    assert isinstance(AutoModel.from_pretrained(tmp_path), AudioLLMForConditionalGeneration)


@pytest.mark.parametrize(
    "words_first",
    [
        {},
        {"words_first": "adapter"},
        {"words_first": "decoder"},
        {"label_first": True, "emotion_label_ids": [[40], [50]]},
    ],
)
def test_clips_batched_as_a_list_give_the_tokens_of_the_padded_batch(words_first, tone):
    if words_first.get("words_first") == "decoder":
        words_first = words_first | {"speech_decoder": MODELS["feature"]["speech_decoder"]}
    model, processor = tiny.tiny_model_and_processor(**words_first)
    say_words(model.eval())
    prompt = processor.prompt(QUESTION)
    inputs = processor(text=[prompt] * 3, audio=[tone(0.5), tone(2.2, seed=1), tone(1.0, seed=2)])
    features, mask = inputs["input_features"], inputs["input_features_mask"]
    windows = mask.bool().any(-1).sum(-1)
    short, short_mask = ([clip[:n] for clip, n in zip(field, windows)] for field in (features, mask))
    with torch.inference_mode():
        padded = model.get_audio_features(features, mask).pooler_output
        # vLLM gives a list of one kind of features and a tensor of the other, if only one of them differs in shape.
        listed = model.get_audio_features(short, short_mask).pooler_output
        mixed = model.get_audio_features(features, mask, list(features), list(mask)).pooler_output
    assert windows.tolist() == [1, 3, 1]
    torch.testing.assert_close(listed, padded)
    torch.testing.assert_close(mixed, padded)


@pytest.mark.parametrize("hundredths", [5, 39, 41, 43, 50])
def test_what_is_heard_does_not_depend_on_a_longer_clip_beside_it(hundredths, tone):
    model, processor = tiny.tiny_model_and_processor(speech="parakeet_encoder", emotion=None, speech_length_aware=True)
    clip = tone(hundredths / 100)

    @torch.inference_mode()
    def heard(*clips):
        inputs = processor(text=[processor.prompt(QUESTION)] * len(clips), audio=list(clips))
        return model.eval().get_audio_features(inputs["input_features"], inputs["input_features_mask"])[0][0]

    torch.testing.assert_close(heard(clip, tone(1.0)), heard(clip))
