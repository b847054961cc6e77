"""Alignment: audio tokens that stand for words of the language model, without running it."""

import math

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.modeling_audiollm.modeling_audiollm import AudioLLMAlignment, _first_tokens
from tests.tiny import TEXT_MODELS, tiny_model_and_processor


def aligned(width: int = 8) -> AudioLLMAlignment:
    alignment = AudioLLMAlignment(width, 0.02)
    torch.nn.init.normal_(alignment.blank)
    torch.nn.init.constant_(alignment.log_temperature, math.log(20))
    torch.nn.init.zeros_(alignment.blank_bias)
    return alignment


def test_the_loss_is_torchs_ctc_over_cosines():
    torch.manual_seed(0)
    alignment, words = aligned(), torch.randn(5, 8)
    clips = [torch.randn(7, 8), torch.randn(4, 8)]
    labels = torch.tensor([[0, 3, 3], [4, -100, -100]])
    losses = []
    for clip, wanted in zip(clips, ([1, 4, 4], [5])):
        vocabulary = torch.cat([alignment.blank[None], words])
        cosines = torch.nn.functional.cosine_similarity(clip[:, None], vocabulary[None], dim=-1) * 20
        log_probs = cosines.log_softmax(-1)
        loss = torch.nn.functional.ctc_loss(
            log_probs[:, None], torch.tensor([wanted]), torch.tensor([len(clip)]), torch.tensor([len(wanted)])
        )
        losses.append(loss)
    scale = torch.cat(clips).norm(dim=-1).div(words.norm(dim=-1).mean()).log().square().mean()
    torch.testing.assert_close(alignment(clips, words, labels), torch.stack(losses).mean() + 0.1 * scale)


@pytest.mark.parametrize("fusion, emotion", [("none", None), ("sequence", "whisper"), ("feature", "whisper")])
def test_a_few_steps_teach_an_adapter_to_hear_words_at_the_scale_of_embeddings(fusion, emotion, tone):
    model, processor = tiny_model_and_processor(emotion=emotion, fusion=fusion, speech_tokens=20)
    model.add_speech_alignment()
    for convolution in (model.model.speech_encoder.conv1, model.model.speech_encoder.conv2):
        convolution.weight.data *= 20  # of new weights, frames hardly depend on what is heard
    noise = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    clips = [tone(0.8), noise]
    said = [processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (" happy", " sad")]
    inputs = processor(text=[processor.prompt("how")] * 2, audio=clips)
    audio = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    words = torch.arange(len(processor.tokenizer))
    longest = max(map(len, said))
    labels = torch.tensor([[*ids, *[-100] * (longest - len(ids))] for ids in said])
    learns = [
        *model.model.get_submodule(model.model.hearing_adapter).parameters(),
        *model.model.speech_encoder.layers.parameters(),
    ]
    optimizer = torch.optim.Adam(learns, lr=0.003)
    for _ in range(200):
        loss = model(**audio, alignment_words=words, alignment_labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in learns)
    assert model.model.language_model.embed_tokens.weight.grad is None
    assert model.hear(**audio) == said
    tokens = torch.cat(model.model.speech_tokens(**audio))
    norms = tokens.norm(dim=-1) / model.get_input_embeddings().weight.norm(dim=-1).mean()
    assert 0.5 < float(norms.mean()) < 2


def test_what_a_batch_hears_each_clip_hears_alone(tone):
    model, processor = tiny_model_and_processor()
    model.eval().add_speech_alignment()
    clips = [tone(0.4), tone(2.2, seed=1), tone(1.0, seed=2)]
    together = model.hear(**processor(text=[processor.prompt("how")] * 3, audio=clips))
    alone = [model.hear(**processor(text=[processor.prompt("how")], audio=[clip]))[0] for clip in clips]
    assert together == alone


@pytest.mark.parametrize("fusion, emotion", [("none", None), ("sequence", "whisper"), ("feature", "whisper")])
@pytest.mark.parametrize("audio_tokens", ["window", "clip"])
def test_words_go_first_as_the_language_models_own_and_the_rest_behind(fusion, emotion, audio_tokens, tone):
    settings = {"emotion": emotion, "fusion": fusion, "audio_tokens": audio_tokens, "speech_tokens": 20}
    model, processor = tiny_model_and_processor(words_first="adapter", **settings)
    model.eval().add_speech_alignment()
    alignment, words = model.model.alignment, model.model.word_embeddings()
    inputs = processor(text=[processor.prompt("how")] * 2, audio=[tone(0.7), tone(1.0, seed=2)])
    audio = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    clips = model.model.speech_tokens(**audio)
    margins = torch.cat([logits[:, 1:].amax(-1) - logits[:, 0] for logits in alignment(clips, words)])
    torch.nn.init.constant_(alignment.blank_bias, margins.median().item())  # some are words, others blank
    heard, ordered = model.hear(**audio), model.get_audio_features(**audio)
    for clip, said, rows in zip(clips, heard, ordered.last_hidden_state):
        assert 0 < len(said) < len(clip)
        best = alignment([clip], words)[0].argmax(-1)
        starts = [place for place in range(len(clip)) if best[place] and (not place or best[place] != best[place - 1])]
        others = [place for place in range(len(clip)) if place not in starts]
        torch.testing.assert_close(rows[len(said) : len(clip)], clip[others])
        for place, word in zip(starts, rows):
            cosines = torch.nn.functional.cosine_similarity(clip[place], words, dim=-1)
            top = (cosines * 20).topk(16)
            expected = top.values.softmax(-1) @ words[top.indices]
            torch.testing.assert_close(
                torch.nn.functional.cosine_similarity(word, expected, dim=-1), torch.tensor(1.0)
            )
            assert 0.5 < word.norm() / words.norm(dim=-1).mean() < 2
    assert all(rows.grad_fn is not None for rows in ordered.last_hidden_state)  # the adapter learns through them


def test_words_of_all_windows_of_a_clip_go_first(tone):
    model, processor = tiny_model_and_processor(words_first="adapter", audio_tokens="clip", speech_tokens=20)
    model.eval().add_speech_alignment()
    torch.nn.init.constant_(model.model.alignment.blank_bias, -9.0)  # no token is blank
    inputs = processor(text=[processor.prompt("how")] * 2, audio=[tone(1.7), tone(0.6, seed=2)])
    audio = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    mask = audio["input_features_mask"]
    real = _first_tokens(model.config.speech_tokens, mask)
    ordered = model.get_audio_features(**audio).last_hidden_state[:, : model.config.speech_tokens][real]
    clips, heard = model.model.speech_tokens(**audio), model.hear(**audio)
    assert len(heard[0]) > int(real[0].sum())  # words of the second window stand in the first's room
    for clip, said, rows in zip(clips, heard, ordered.split([len(clip) for clip in clips])):
        kept = [bool((clip == row).all(-1).any()) for row in rows]  # words are mixed anew, other tokens are not
        assert kept == [False] * len(said) + [True] * (len(clip) - len(said))


def test_a_word_that_two_windows_share_goes_first_once(tone, monkeypatch):
    model, processor = tiny_model_and_processor(words_first="adapter", audio_tokens="clip", speech_tokens=4)
    model.eval().add_speech_alignment()
    inputs = processor(text=[processor.prompt("how")], audio=[tone(2.0)])
    audio = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
    best = torch.tensor([3, 5, 7, 9, 9, 11, 13, 15])
    words = torch.arange(16).repeat(8, 1)
    monkeypatch.setattr(model.model, "_likeliest_words", lambda *_: (best, words))
    (clip,) = model.model.speech_tokens(**audio)
    rows = model.get_audio_features(**audio).last_hidden_state[:, :4].flatten(0, 1)
    assert [bool((clip == row).all(-1).any()) for row in rows] == [False] * 7 + [True]


def test_words_first_needs_an_aligned_adapter(tone):
    model, processor = tiny_model_and_processor(words_first="adapter")
    with pytest.raises(ValueError, match="give a round of its training `align`"):
        model(**processor(text=[processor.prompt("how")], audio=[tone(0.5)]))


def test_alignment_is_saved_with_the_model(tmp_path):
    model, _ = tiny_model_and_processor()
    model.add_speech_alignment()
    torch.nn.init.constant_(model.model.speech_adapter.alignment.blank_bias, 0.5)
    model.save_pretrained(tmp_path)
    loaded = AudioLLMForConditionalGeneration.from_pretrained(tmp_path)
    assert float(loaded.model.speech_adapter.alignment.blank_bias) == 0.5


def test_a_model_that_was_not_aligned_says_so(tiny, tone):
    model, processor = tiny
    with pytest.raises(ValueError, match="was not aligned"):
        model.hear(**processor(text=[processor.prompt("how")], audio=[tone(0.5)]))


def test_what_an_emotion_adapter_feels_is_how_near_its_tokens_come_to_labels(tone):
    model, processor = tiny_model_and_processor(audio_tokens="clip", emotion_tokens=5)
    clips, labels = [tone(0.4), tone(1.7, seed=1)], [[40, 41], [50], [60]]
    inputs = [
        processor(text=[processor.prompt("how")] * len(some), audio=some) for some in (clips, *([c] for c in clips))
    ]
    near, *alone = (model.eval().feel(labels, **audio) for audio in inputs)
    torch.testing.assert_close(near, torch.cat(alone))
    tokens = model.model.embed_branch("emotion", inputs[2]["input_features"], inputs[2]["input_features_mask"])
    heard = torch.cat([tokens[0], tokens[1, :4]])  # 0.7 of the second window, of five tokens
    words = torch.stack([model.model.word_embeddings()[label].mean(0) for label in labels])
    cosines = torch.nn.functional.cosine_similarity(heard[:, None], words[None], dim=-1)
    torch.testing.assert_close(near[1], cosines.mean(0))


@pytest.mark.parametrize("text", TEXT_MODELS)
def test_words_in_a_prompt_are_as_the_language_model_reads_its_own(text):
    """Gemma 3 makes its embeddings longer when it looks them up, and takes what it is given as it is."""
    model, _ = tiny_model_and_processor(text)
    read = model.get_input_embeddings()(torch.tensor([40, 50]))
    torch.testing.assert_close(model.model.word_embeddings()[[40, 50]], read)


class CutOverWorkers(torch.nn.Embedding):
    """As vLLM's tensor parallel leaves one: the weight is a worker's part, and a look-up is of all workers."""

    tp_size = 2

    def __init__(self, whole):
        half = whole.weight[: len(whole.weight) // 2]
        super().__init__(*half.shape, _weight=half.detach().clone())
        self.whole = whole

    def forward(self, ids):
        return self.whole(ids)


def test_words_are_whole_where_each_worker_has_a_part_of_them():
    model, _ = tiny_model_and_processor(
        "gemma3_text", words_first="decoder", speech_decoder={"prompt": [30, 31], "positions": 50}
    )
    inner, ids = model.model, torch.tensor([40, 300])
    table, some, head = inner.word_embeddings(), inner.word_embeddings(ids), inner.speech_decoder._head()
    inner.set_input_embeddings(CutOverWorkers(inner.get_input_embeddings()))
    inner.speech_decoder.decoder.embed_tokens = CutOverWorkers(inner.speech_decoder.decoder.embed_tokens)
    torch.testing.assert_close(inner.word_embeddings(), table)
    torch.testing.assert_close(inner.word_embeddings(ids), some)
    torch.testing.assert_close(inner.speech_decoder._head(), head)


LABELS = [[40, 41], [50], [60]]


@pytest.mark.parametrize(
    "settings",
    [
        {"speech_alignment": True, "words_first": "adapter"},
        {"words_first": "decoder", "speech_decoder": {"prompt": [30, 31], "positions": 50}},
        {"label_first": True, "emotion_label_ids": LABELS},
    ],
)
def test_a_model_whose_weights_are_offloaded_answers_as_it_does_with_all_in_place(settings, tone):
    torch.manual_seed(0)
    model, processor = tiny_model_and_processor(**settings)
    inputs = processor(text=[processor.prompt("how")], audio=[tone(0.7)])
    expected = model.eval()(**inputs).logits, model.score_continuations(LABELS, **inputs)
    cpu_offload(model, torch.device("cpu"))
    found = model(**inputs).logits, model.score_continuations(LABELS, **inputs)
    torch.testing.assert_close(found, expected)


def test_the_word_for_what_a_clip_feels_stands_in_place_of_its_first_emotion_token(tone, tmp_path):
    torch.manual_seed(0)
    model, processor = tiny_model_and_processor(
        audio_tokens="clip", emotion_tokens=5, label_first=True, emotion_label_ids=LABELS
    )
    clips = [tone(0.4), tone(1.7, seed=1)]
    audio = processor(text=[processor.prompt("how")] * 2, audio=clips)
    features, mask = audio["input_features"], audio["input_features_mask"]
    near = model.eval().feel(LABELS, **audio)
    words = torch.stack([model.model.word_embeddings()[label].mean(0) for label in LABELS])
    expected = (20 * near).softmax(-1) @ words

    def read(label_first):
        model.config.label_first = label_first
        return model.get_audio_features(features, mask).pooler_output

    put, plain = read(True), read(False)
    changed = (put != plain).any(-1).nonzero().flatten().tolist()
    assert changed == [4, 16]  # behind 4 of speech; and, 2 of emotion and 10 of speech later, in a first window
    torch.testing.assert_close(put[changed], expected)
    model.config.label_first = True
    put = model.get_audio_features(features, mask).pooler_output
    put[changed].sum().backward()
    assert sum(p.grad.abs().sum() for p in model.model.emotion_adapter.parameters()) > 0
    model.save_pretrained(tmp_path)
    again = AudioLLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again.get_audio_features(features, mask).pooler_output, put)
    one_by_one = [
        again.get_audio_features(inputs["input_features"], inputs["input_features_mask"]).pooler_output
        for inputs in (processor(text=[processor.prompt("how")], audio=[clip]) for clip in clips)
    ]
    torch.testing.assert_close(torch.cat(one_by_one), put)


def test_a_label_is_put_first_only_where_there_are_labels_and_who_feels_them(tone):
    model, processor = tiny_model_and_processor(label_first=True)
    with pytest.raises(ValueError, match="needs emotion_label_ids"):
        model(**processor(text=[processor.prompt("how")], audio=[tone(0.5)]))
    with pytest.raises(Exception, match="which fusion 'none' has not"):
        tiny_model_and_processor(label_first=True, emotion=None)


@pytest.mark.parametrize(("fusion", "emotion"), [("none", None), ("feature", "whisper"), ("feature", "wav2vec2")])
def test_without_an_emotion_adapter_the_one_that_hears_feelings_is_asked(tone, fusion, emotion):
    model, processor = tiny_model_and_processor(fusion=fusion, emotion=emotion, audio_tokens="clip")
    audio = processor(text=[processor.prompt("how")] * 2, audio=[tone(0.4), tone(1.7, seed=1)])
    near = model.eval().feel(LABELS, **audio)
    words = torch.stack([model.model.word_embeddings()[label].mean(0) for label in LABELS])
    heard = model.get_audio_features(
        **{name: audio[name] for name in audio if name.startswith("input_f")}
        | {name: audio[name] for name in audio if name.startswith("input_v")}
    ).pooler_output
    for own, cosines in zip(heard.split([4, 17]), near):  # of ten tokens a second
        expected = torch.nn.functional.cosine_similarity(own[:, None], words[None], dim=-1).mean(0)
        torch.testing.assert_close(cosines, expected)
