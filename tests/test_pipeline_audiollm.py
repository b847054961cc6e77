import copy
import io
import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import soundfile
import torch
from transformers import GenerationConfig, LogitsProcessorList, pipeline

from audiollm.modeling_audiollm import AudioEmotionReasoningPipeline
from audiollm.modeling_audiollm.answering import TokenSureness, generate_answers, keep_to_label
from audiollm.modeling_audiollm.configuration_audiollm import EMOTION_LABELS
from audiollm.processing.audio import AudioError
from tests.tiny import like_a_voice, tiny_model_and_processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with the encoder whose code is ours, so that this code too must travel."""
    model, processor = tiny_model_and_processor(emotion="emotion2vec")
    path = tmp_path_factory.mktemp("saved")
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def pipe(folder):
    """With the package at hand: its own classes, without remote code."""
    return pipeline(
        "audio-emotion-reasoning",
        model=folder,
        pipeline_class=AudioEmotionReasoningPipeline,
        max_new_tokens=6,
        require_speech=False,
    )


def same(first, second):
    scores = [first.pop("scores"), second.pop("scores")]
    score = [first.pop("score"), second.pop("score")]
    assert first == second
    assert scores[0].keys() == scores[1].keys()
    np.testing.assert_allclose(list(scores[0].values()), list(scores[1].values()), atol=1e-5)
    np.testing.assert_allclose(*score, atol=1e-5)


def test_an_answer_has_label_probabilities_reasoning_and_quotes(pipe, tone):
    answer = pipe(tone(1.2))
    shown = {"label", "score", "scores", "reasoning", "quotes", "generated_text", "untrained_labels", "no_speech"}
    assert set(answer) == shown
    assert list(answer["scores"]) == list(pipe.model.config.emotion_labels)
    assert abs(sum(answer["scores"].values()) - 1) < 1e-5
    assert answer["score"] == max(answer["scores"].values()) == answer["scores"][answer["label"]]


def test_every_kind_of_input_gives_the_same_answer(pipe, tone, tmp_path):
    clip = tone(0.8)
    path = tmp_path / "clip.wav"
    soundfile.write(path, clip, 16_000, subtype="FLOAT")
    expected = pipe(clip)
    for given in (str(path), path.read_bytes(), (clip, 16_000), {"array": clip, "sampling_rate": 16_000}):
        same(dict(pipe(given)), dict(expected))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_question_about_several_clips_is_answered_in_batches_as_alone_and_as_the_model_does(pipe, tone, beams):
    pairs = [[tone(0.4), tone(1.9, 300)], [tone(1.7, 150), tone(0.3)], [tone(0.5)]]
    question, settings = "which is angrier", {"num_beams": beams, "max_new_tokens": 5}
    items = [{"clips": pair} for pair in pairs]
    together = pipe(items, question=question, batch_size=3, **settings)
    assert [pipe(item, question=question, **settings) for item in items] == together
    assert together[0]["label"] is None and together[2] == pipe(pairs[2][0], question=question, **settings)
    content = [{"type": "audio"}, {"type": "audio"}, {"type": "text", "text": question}]
    prompt = pipe.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = pipe.processor(text=prompt, audio=pairs[0])
    ids = pipe.model.generate(**inputs, do_sample=False, **settings)[0, inputs["input_ids"].shape[1] :]
    assert together[0]["generated_text"] == pipe.processor.decode(ids, skip_special_tokens=True).strip()


def test_what_several_clips_cannot_have_is_refused(pipe, tone):
    pair = {"clips": [tone(0.4), tone(0.5)]}
    for settings in ({}, {"question": "which", "labels": ["happy", "sad"]}):
        with pytest.raises(ValueError, match="by a `question` of yours, without `labels`"):
            pipe(pair, **settings)
    for empty in ([], "a.wav"):
        with pytest.raises(ValueError, match="a list of recordings that one question is about"):
            pipe({"clips": empty}, question="which")
    with pytest.raises(ValueError, match="nothing beside them but"):
        pipe({**pair, "sampling_rate": 8_000}, question="which")
    silent = pipe({"clips": [like_a_voice(1.0), np.zeros(16_000, np.float32)]}, question="which", require_speech=True)
    assert silent["no_speech"] == "silence"
    cues = pipe(pair, question="which", return_cues=True)["cues"]
    assert len(cues) == 2 and cues[0] != cues[1]


def test_answer_and_labels_hear_a_clip_once(pipe, tone):
    calls = []
    hooks = [
        getattr(pipe.model.model, f"{name}_encoder").register_forward_hook(lambda *_, name=name: calls.append(name))
        for name in ("speech", "emotion")
    ]
    answer = pipe([tone(2.4), tone(0.6, seed=1)], batch_size=2)
    for hook in hooks:
        hook.remove()
    assert calls == ["speech", "emotion"]
    assert answer[1]["scores"] == pytest.approx(pipe.score_labels([tone(0.6, seed=1)])[0], abs=1e-5)


def test_lists_and_generators_in_batches_give_what_each_clip_gives(pipe, tone):
    clips = [tone(seconds, seed=number) for number, seconds in enumerate((0.3, 2.4, 1.0, 0.6, 1.7))]
    alone = [pipe(clip) for clip in clips]
    for batched in (pipe(clips, batch_size=2), list(pipe((clip for clip in clips), batch_size=3))):
        assert len(batched) == len(clips)
        for one, many in zip(alone, batched):
            same(dict(one), dict(many))
    assert pipe([]) == []


def test_generators_are_read_as_they_are_needed(pipe, tone):
    drawn = []

    def clips():
        for number in range(100):
            drawn.append(number)
            yield tone(0.3)

    answers = pipe(clips(), batch_size=2)
    next(iter(answers))
    assert len(drawn) <= 3


def test_sentiment_custom_labels_and_free_questions(pipe, tone):
    clip = tone(0.9)
    assert set(pipe(clip, task="sentiment")["scores"]) == {"positive", "negative", "neutral"}
    assert set(pipe(clip, labels=["bored", "excited"])["scores"]) == {"bored", "excited"}
    free = pipe(clip, question="Who is it?")
    assert free["label"] is None and free["scores"] is None
    assert set(pipe(clip, question="Who is it?", labels=["a", "b"])["scores"]) == {"a", "b"}


@pytest.mark.parametrize(
    "name, values",
    {
        "task": ["mood", ["emotion"], 3],
        "labels": [[], "sad", b"sad", ["a", "a"], ["Sad", "sad "], [" "], ["sad", 1], [None], 7],
        "batch_size": [0, -1, 2.5, True, "2"],
        "question": ["", "  ", 5],
        "return_cues": ["yes", 1],
        "require_speech": ["yes", 0],
        "num_workers": [2],
        "temprature": [0.5],
    }.items(),
)
def test_settings_that_make_no_sense_are_refused(pipe, tone, name, values):
    for value in values:
        with pytest.raises(ValueError, match=name):
            pipe([tone(0.5)], **{name: value})


def test_a_list_of_numbers_is_one_clip_and_other_shapes_are_refused(pipe, tone):
    clip = tone(0.5)
    same(pipe(clip.tolist()), pipe(clip))
    assert pipe([]) == []
    for wrong in ((), (clip,), (clip, clip, clip)):
        with pytest.raises(ValueError, match="several clips as a list"):
            pipe(wrong)
    for wrong in (None, {}, {"text": "hello"}):
        with pytest.raises(AudioError):
            pipe(wrong)
    with pytest.raises(ValueError, match="not messages"):
        pipe([{"role": "user", "content": "hello"}])


def test_case_does_not_decide_a_labels_score(pipe, tone):
    clip = tone(0.8)
    small, large = (pipe(clip, labels=labels)["scores"] for labels in (["happy", "bored"], ["HAPPY", "Bored"]))
    assert list(large) == ["HAPPY", "Bored"]
    np.testing.assert_allclose(list(small.values()), list(large.values()), atol=1e-6)


@pytest.mark.parametrize("search", [{"num_beams": 2}, {"do_sample": True}])
def test_several_sequences_stay_with_their_clip(pipe, tone, search):
    clips = [tone(0.5), tone(1.3, seed=1), tone(0.9, seed=2)]
    alone = [pipe(clip) for clip in clips]
    together = pipe(clips, batch_size=2, num_return_sequences=2, **search)
    assert [len(sequences) for sequences in together] == [2, 2, 2]
    for sequences, expected in zip(together, alone):
        for answer in sequences:
            assert answer["label"] == expected["label"]
            np.testing.assert_allclose(list(answer["scores"].values()), list(expected["scores"].values()), atol=1e-5)
    if "num_beams" in search:
        one_by_one = [
            [answer["generated_text"] for answer in pipe(clip, num_return_sequences=2, **search)] for clip in clips
        ]
        assert [[answer["generated_text"] for answer in sequences] for sequences in together] == one_by_one


def test_a_clip_beyond_the_context_is_refused_before_it_is_encoded(pipe, tone, monkeypatch):
    monkeypatch.setattr(pipe.model.model, "get_audio_features", lambda *_, **__: pytest.fail("was encoded"))
    context = pipe.model.config.get_text_config().max_position_embeddings
    seconds = context // pipe.processor.tokens_per_window
    with pytest.raises(ValueError, match=rf"reads at most {context}, about {seconds} s of audio.*emotion_timeline"):
        pipe(np.tile(tone(1), seconds))


def test_bad_audio_is_one_clear_error(pipe, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("not audio")
    with pytest.raises(AudioError, match="notes.wav: can't be decoded as audio"):
        pipe(str(path))


OTHER = {"opening": "The speaker sounds", "untrained_labels": [], "context": None}


def test_reasoning_is_what_follows_the_label_and_quotes_point_into_it(pipe):
    text = 'The speaker sounds sad. They say "I lost my dog" and the voice is low.'
    answer = pipe.postprocess({"answers": [{"texts": [text], "scores": None, **OTHER}]})
    assert answer["reasoning"] == 'They say "I lost my dog" and the voice is low.'
    assert answer["quotes"] == [{"text": "I lost my dog", "start": 10, "end": 23}]
    assert answer["reasoning"][10:23] == "I lost my dog"
    bare = pipe.postprocess({"answers": [{"texts": ["The speaker sounds sad."], "scores": None, **OTHER}]})
    assert bare["reasoning"] == "The speaker sounds sad."


REMOTE = textwrap.dedent("""
    import importlib.util, io, json, sys
    import numpy as np, soundfile
    folder, clip = sys.argv[1:]
    if importlib.util.find_spec("audiollm") is not None:
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "audiollm":
                    raise ImportError("the package is not to be used here")
        sys.meta_path.insert(0, Refuse())
    from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, AutoProcessor, pipeline
    trust = {"trust_remote_code": True}
    config = AutoConfig.from_pretrained(folder, **trust)
    models = [auto.from_pretrained(folder, **trust).eval() for auto in (AutoModel, AutoModelForMultimodalLM)]
    processor = AutoProcessor.from_pretrained(folder, **trust)
    inputs = processor(text=processor.prompt("?"), audio=[clip])
    tokens = [model.generate(**inputs, max_new_tokens=5, do_sample=False).tolist() for model in models]
    pipe = pipeline("audio-emotion-reasoning", model=folder, max_new_tokens=6, require_speech=False, **trust)
    again = folder + "-again"
    pipe.save_pretrained(again)
    resaved = pipeline("audio-emotion-reasoning", model=again, max_new_tokens=6, require_speech=False, **trust)
    assert "audiollm" not in sys.modules
    print(json.dumps({"type": config.model_type, "tokens": tokens, "answer": pipe(clip), "resaved": resaved(clip)}))
    """)


def test_a_saved_folder_alone_serves_auto_classes_and_pipeline(folder, pipe, tone, tmp_path):
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, tone(1.3), 16_000, subtype="FLOAT")
    run = subprocess.run(
        [sys.executable, "-I", "-c", REMOTE, folder, str(clip)],
        cwd=tmp_path,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    result = json.loads(run.stdout.splitlines()[-1])
    processor = pipe.processor
    inputs = processor(text=processor.prompt("?"), audio=[str(clip)])
    tokens = pipe.model.generate(**inputs, max_new_tokens=5, do_sample=False).tolist()
    assert result["type"] == "audiollm"
    assert result["tokens"] == [tokens, tokens]
    same(result["answer"], dict(pipe(str(clip))))
    same(result["resaved"], dict(pipe(str(clip))))


def test_encoded_bytes_of_other_rates_are_understood(pipe, tone):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone(0.5, 44_100)] * 2, axis=1), 44_100, format="FLAC")
    assert pipe(buffer.getvalue())["label"] in pipe.model.config.emotion_labels


def test_token_probabilities_are_those_of_the_logits(pipe, tone):
    model, processor = pipe.model, pipe.processor
    inputs = processor(text=[processor.prompt("Why?")] * 2, audio=[tone(0.7), tone(1.4)])
    settings = {"max_new_tokens": 7, "do_sample": False}
    whole = model.generate(**inputs, **settings, output_logits=True, return_dict_in_generate=True)
    tokens = whole.sequences[:, inputs["input_ids"].shape[1] :]
    expected = torch.stack(whole.logits, 1).softmax(-1).gather(-1, tokens[:, :, None])[:, :, 0]
    sureness = TokenSureness()
    model.generate(**inputs, **settings, logits_processor=LogitsProcessorList([sureness]))
    found = torch.tensor(sureness.of_tokens(tokens.shape[1]))
    torch.testing.assert_close(found[:, :-1], expected[:, :-1])


def test_quotes_are_cut_where_the_model_is_unsure(pipe, tone, monkeypatch):
    tokenizer = pipe.processor.tokenizer
    answer = tokenizer('They say "my dog died today".', add_special_tokens=False)["input_ids"]
    unsure = len(tokenizer('They say "my dog', add_special_tokens=False)["input_ids"])

    def generate(input_ids, logits_processor=(), **settings):
        for place, token in enumerate([*answer, tokenizer.eos_token_id]):
            logits = torch.full((1, len(tokenizer)), 0.0)
            logits[0, token] = 1.0 if place in (unsure, unsure + 1) else 100.0
            for processor in logits_processor:
                processor(input_ids, logits)
            input_ids = torch.cat([input_ids, torch.tensor([[token]])], dim=1)
        return input_ids

    monkeypatch.setattr(pipe.model, "generate", generate)
    inputs = pipe.processor(text=pipe.processor.prompt("Why?"), audio=[tone(0.5)])
    for least, expected in ((0.0, "my dog died today"), (0.9, "my dog")):
        (text,), _ = generate_answers(pipe.model, pipe.processor, dict(inputs), least)
        assert text == f'They say "{expected}".'
    own = copy.deepcopy(pipe.model.generation_config)
    monkeypatch.setattr(pipe.model, "generation_config", own)
    for way in ({"num_beams": 2}, {"prompt_lookup_num_tokens": 3}, {"assistant_early_exit": 1}):
        for settings in (way, {"generation_config": GenerationConfig(**way)}):
            with pytest.raises(ValueError, match=r"probabilities, which .*quote_confidence=0"):
                generate_answers(pipe.model, pipe.processor, dict(inputs), 0.9, **settings)
            generate_answers(pipe.model, pipe.processor, dict(inputs), 0, **settings)
    own.num_beams = 2
    with pytest.raises(ValueError, match="beams do not have"):
        generate_answers(pipe.model, pipe.processor, dict(inputs), 0.9, generation_config=GenerationConfig())
    generate_answers(pipe.model, pipe.processor, dict(inputs), 0.9, num_beams=1)


@pytest.mark.parametrize(
    "at_start, of_checkpoint, given, expected",
    [
        ({}, {}, {}, (128, None, False)),
        ({}, {}, {"max_new_tokens": None, "do_sample": None}, (128, None, False)),
        ({}, {}, {"generation_config": GenerationConfig(max_new_tokens=5, do_sample=True)}, (5, None, True)),
        ({}, {}, {"generation_config": GenerationConfig(do_sample=True), "max_new_tokens": 5}, (5, None, True)),
        ({}, {}, {"generation_config": GenerationConfig()}, (128, None, False)),
        ({}, {}, {"max_length": 300}, (None, 300, False)),
        ({}, {"max_new_tokens": 7, "do_sample": True}, {}, (7, None, False)),
        ({}, {"max_new_tokens": 7, "do_sample": True}, {"generation_config": GenerationConfig()}, (7, None, False)),
        ({}, {"max_new_tokens": 7}, {"max_new_tokens": 5, "do_sample": True}, (5, None, True)),
        ({"max_new_tokens": None}, {}, {}, (128, None, False)),
        ({"max_new_tokens": 6, "do_sample": True}, {}, {"max_new_tokens": None}, (6, None, True)),
        ({"max_new_tokens": 6}, {}, {"generation_config": GenerationConfig(max_new_tokens=5)}, (5, None, False)),
    ],
)
def test_defaults_of_the_pipeline_count_where_neither_caller_nor_checkpoint_say(
    pipe, tone, monkeypatch, at_start, of_checkpoint, given, expected
):
    model, found = pipe.model, []

    def generate(input_ids, generation_config=None, attention_mask=None, mm_encoder_outputs=None, **settings):
        config, unknown = model._prepare_generation_config(generation_config, **settings)
        assert not unknown
        found.append((config.max_new_tokens, config.max_length, config.do_sample))
        return torch.cat([input_ids, input_ids[:, :1]], dim=1)

    monkeypatch.setattr(model, "generate", generate)
    monkeypatch.setattr(model, "generation_config", GenerationConfig(**of_checkpoint))
    asked = AudioEmotionReasoningPipeline(model=model, processor=pipe.processor, require_speech=False, **at_start)
    asked(tone(0.3), **given)
    assert [(new, whole if new is None else None, sampled) for new, whole, sampled in found] == [expected]


def test_settings_at_the_start_hold_beside_those_of_a_call(pipe, tone, monkeypatch):
    found = []
    asked = AudioEmotionReasoningPipeline(
        model=pipe.model, processor=pipe.processor, require_speech=False, quote_confidence=0.5
    )
    monkeypatch.setattr(
        sys.modules[AudioEmotionReasoningPipeline.__module__],
        "generate_answers",
        lambda model, processor, inputs, beginnings, **settings: found.append(settings) or (["It is."], None),
    )
    asked(tone(0.3), max_new_tokens=3)
    assert (found[0]["quote_confidence"], found[0]["max_new_tokens"]) == (0.5, 3)


def test_an_assistant_is_refused_at_once(pipe, tone):
    with pytest.raises(ValueError, match="assistant_model is not for this pipeline"):
        AudioEmotionReasoningPipeline(model=pipe.model, processor=pipe.processor, assistant_model=pipe.model)
    with pytest.raises(ValueError, match="assistant_model is not for this pipeline"):
        pipe(tone(0.3), assistant_model=pipe.model)


@pytest.mark.parametrize(
    "name, values",
    {
        "num_beams": [0, -1, 1.5, True],
        "num_return_sequences": [0, "2"],
        "max_new_tokens": [0, -1, 2.5],
        "quote_confidence": [2, -0.1, "high"],
        "return_dict_in_generate": [True],
        "input_ids": [torch.tensor([[1]])],
    }.items(),
)
def test_settings_of_generate_that_make_no_sense_are_refused(pipe, tone, name, values):
    for value in values:
        with pytest.raises(ValueError, match=name):
            pipe(tone(0.5), **{name: value})


def test_numbers_of_every_library_and_both_orders_of_a_pair_are_one_clip(pipe, tone):
    clip = tone(0.3)
    for given in (list(clip), list(torch.tensor(clip)), (16_000, clip), ((clip * 32767).round().astype(int).tolist())):
        scores = pipe(given)["scores"]
        np.testing.assert_allclose(list(scores.values()), list(pipe(clip)["scores"].values()), atol=1e-3)


def test_a_file_far_beyond_the_context_is_not_decoded(pipe, tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(16_000 * (int(pipe.model.context_seconds) + 60), np.int16), 16_000)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("was decoded"))
    with pytest.raises(AudioError, match="long.wav: is longer than .*emotion_timeline"):
        pipe(str(path))


def speak(pipe, monkeypatch, *said):
    """Let the model generate these texts, one call of `generate` after the other, whatever it hears."""
    texts = iter(said)

    def generate(input_ids, **settings):
        tokens = pipe.processor.tokenizer(next(texts), add_special_tokens=False, return_tensors="pt")["input_ids"]
        return torch.cat([input_ids, tokens.expand(len(input_ids), -1)], dim=1)

    monkeypatch.setattr(pipe.model, "generate", generate)


@pytest.mark.parametrize("search", [{}, {"num_beams": 2, "num_return_sequences": 2}, {"quote_confidence": 0.5}])
def test_every_answer_states_the_label_that_the_scores_give(pipe, tone, search):
    clips = [tone(0.5 + 0.4 * number, seed=number) for number in range(3)]
    for task, opening in (("emotion", "The speaker sounds"), ("sentiment", "The sentiment is")):
        for answers in pipe(clips, task=task, batch_size=2, **search):
            for answer in answers if isinstance(answers, list) else [answers]:
                assert answer["label"] == max(answer["scores"], key=answer["scores"].get)
                assert answer["generated_text"].startswith(f"{opening} {answer['label']}.")


def test_an_explanation_ends_where_it_tells_of_another_emotion(pipe, tone, monkeypatch):
    label = pipe(tone(0.6))["label"]
    other = "happy" if label != "happy" else "sad"
    speak(pipe, monkeypatch, f'They say "i am {other}". The voice is low. The speaker sounds {other}. They shout.')
    answer = pipe(tone(0.6))
    assert answer["generated_text"] == f'The speaker sounds {label}. They say "i am {other}". The voice is low.'
    assert [quote["text"] for quote in answer["quotes"]] == [f"i am {other}"]


def test_a_free_answer_that_states_another_label_is_made_anew(pipe, tone, monkeypatch):
    asked = {"question": "Is it a good or a bad mood?", "labels": ["happy", "sad"]}
    label = pipe(tone(0.6), **asked)["label"]
    other = {"happy": "sad", "sad": "happy"}[label]
    speak(pipe, monkeypatch, f"The speaker is {other}.", "The voice shows it.")
    assert pipe(tone(0.6), **asked)["generated_text"] == f"The speaker sounds {label}. The voice shows it."
    speak(pipe, monkeypatch, f"The speaker is {label}, and talks of a dog.")
    assert pipe(tone(0.6), **asked)["generated_text"] == f"The speaker is {label}, and talks of a dog."


@pytest.mark.parametrize(
    "text, kept",
    {
        'The speaker sounds sad. They say "i was happy". It is gloomy.': 3,
        "The speaker sounds sad. The voice is calm, not angry.": 2,
        "The speaker sounds sad. Before, they were in a good mood. They used to be happy.": 1,
        "The speaker sounds sad. They sound angry too. It is sad.": 1,
        'The speaker sounds sad. They say "What? I am angry!" in a low voice. They seem delighted.': 2,
        "The speaker sounds sad. There are mixed feelings.": 1,
        "The speaker sounds sad and happy.": 0,
    }.items(),
)
def test_an_answer_keeps_the_sentences_of_one_story(text, kept):
    sentences = re.split(r"(?<=[.])(?<!\w\.\") ", text)
    assert keep_to_label(text, "sad", EMOTION_LABELS) == " ".join(sentences[:kept])


def test_what_a_model_thinks_aloud_is_no_part_of_its_answer(pipe, tone, monkeypatch):
    speak(pipe, monkeypatch, "<think>is it a cat?</think> It is a dog.")
    assert pipe(tone(0.5), question="What is it?")["generated_text"] == "It is a dog."
    speak(pipe, monkeypatch, "<think>is it a cat, or")
    assert pipe(tone(0.5), question="What is it?")["generated_text"] == ""
    speak(pipe, monkeypatch, "<think>why?</think>They say so.")
    answer = pipe(tone(0.5))
    assert answer["generated_text"] == f"The speaker sounds {answer['label']}. They say so."


def test_a_clip_without_speech_is_told_and_costs_the_others_nothing(pipe, tone):
    clips = [np.zeros(16_000, np.float32), like_a_voice(1.5), np.random.default_rng(0).normal(0, 0.1, 32_000)]
    silent, voice, noise = pipe(clips, batch_size=3, require_speech=True)
    same(dict(voice), dict(pipe(clips[1])))
    assert (silent["no_speech"], voice["no_speech"], noise["no_speech"]) == ("silence", None, "noise")
    for answer in (silent, noise):
        assert answer["generated_text"].startswith("No speech can be heard: the recording")
        assert answer["label"] is answer["scores"] is answer["score"] is None and answer["quotes"] == []
    assert [len(answers) for answers in pipe(clips, require_speech=True, num_beams=2, num_return_sequences=2)] == [
        2
    ] * 3
    assert pipe(clips[0], require_speech=True, return_cues=True)["cues"]["loudness_db"] is None


def test_labels_that_the_model_was_not_trained_on_are_named(pipe, tone):
    assert pipe(tone(0.5))["untrained_labels"] == []
    assert pipe(tone(0.5), labels=["Happy", "Bored"])["untrained_labels"] == ["Bored"]


def test_a_label_of_many_tokens_does_not_lose_by_its_length(pipe, tone):
    """A random model knows no label: where lengths counted, the longest would have next to no probability."""
    labels = ["bored", "full of the dullest boredom that anybody has ever heard of"]
    tokens = [len(pipe.processor.tokenizer(label)["input_ids"]) for label in labels]
    assert tokens[1] > 4 * tokens[0]
    for seed in range(3):
        assert max(pipe(tone(0.5, seed=seed), labels=labels)["scores"].values()) < 0.9
