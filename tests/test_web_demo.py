import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from audiollm.commands import main
from audiollm.corpora.schema import read_rows
from audiollm.demo import listen
from audiollm.demo.about import FACTS_NAME, describe, model_name, read_facts
from audiollm.demo.listen import Listener, Unusable
from audiollm.demo.render import call, page
from audiollm.modeling_audiollm import AudioEmotionReasoningPipeline, pipeline_audiollm
from audiollm.processing.alignment import CTC_NAME, Aligner, AlignmentError, WordTime, find_words
from audiollm.processing.audio import load_audio
from audiollm.processing.ctc import CTC_CHARACTERS, ctc_labels
from tests.tiny import like_a_voice, tiny_model_and_processor


HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=2</script>${window.hacked=3}{{hacked}}"
EXPLANATION = f'They say "my old dog" and "a cat", and {HOSTILE}.'
TRANSCRIPT = f"i lost my old dog {HOSTILE}"


def says(prompt, beginning):
    """What the test wants the model to say."""
    answer = EXPLANATION if "emotion" in prompt else f"answer {HOSTILE}"
    return TRANSCRIPT if "Write down" in prompt else f"{beginning} {answer}".strip()


def script(model, processor, inputs, beginnings=None, **settings):
    """In place of `generate_answers`."""
    prompts = processor.batch_decode(inputs["input_ids"])
    return [says(*asked) for asked in zip(prompts, beginnings or [""] * len(prompts))], None


class Placed(Aligner):
    """An aligner that finds each word for a tenth of a second."""

    def __init__(self):
        pass

    def align(self, samples, transcript):
        return [WordTime(word, n / 10, n / 10 + 0.1, 1.0) for n, word in enumerate("i lost my old dog".split())]


@pytest.fixture(scope="module")
def pipe():
    """A pipeline that scores with its model, and answers by script."""
    torch.manual_seed(0)
    model, processor = tiny_model_and_processor()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_audiollm, "generate_answers", script)
        yield AudioEmotionReasoningPipeline(model=model.eval(), processor=processor)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Files: a short clip, a long one, silence, and one that is no audio."""
    folder = tmp_path_factory.mktemp("clips")
    sound = like_a_voice(20)
    for name, samples in {
        "short": sound[:19_200],
        "long": sound,
        "silent": np.zeros(16_000, np.float32),
        "noise": np.random.default_rng(0).normal(0, 0.05, 32_000).astype(np.float32),
        "tick": sound[:800],
    }.items():
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
    (folder / "notes.wav").write_text("this is no audio")
    (folder / "notes.txt").write_text("this is no audio")
    return folder


def test_findings_hold_all_that_the_page_shows(pipe, clips):
    found = Listener(pipe, Placed()).listen(str(clips / "short.wav"))
    assert found.label in found.scores and abs(sum(found.scores.values()) - 1) < 1e-4
    assert [(q.text, q.said) for q in found.quotes] == [("my old dog", True), ("a cat", False)]
    assert found.quotes[0].seconds == pytest.approx((0.2, 0.5)) and found.quotes[1].seconds is None
    assert found.cues.pitch_hz == pytest.approx(220, rel=0.05)
    assert found.timeline == [] and found.alignment_note is None


def test_without_an_aligner_the_page_says_plainly_that_times_are_left_out(pipe, clips):
    found = Listener(pipe).listen(str(clips / "short.wav"))
    assert all(quote.seconds is None for quote in found.quotes)
    assert "no aligner" in page(found) and 'class="span"' not in page(found)


def test_a_long_recording_has_a_timeline_without_gaps_and_with_the_pipeline_s_probabilities(pipe, clips):
    found = Listener(pipe).listen(str(clips / "long.wav"))
    assert found.timeline[0].start == 0 and found.timeline[-1].end == 20
    assert all(before.end == after.start for before, after in zip(found.timeline, found.timeline[1:]))
    first = soundfile.read(clips / "long.wav", dtype="float32")[0][: 4 * 16_000]
    # It sounds the same all along, so that every window, and their mean, score as the first one.
    expected = pipe.score_labels([first])[0]
    assert found.timeline[0].scores == pytest.approx(expected, abs=0.05)
    assert "Emotion over time" in page(found)


@pytest.mark.parametrize(
    "name, said",
    [
        ("silent.wav", "No speech can be heard: the recording is silent"),
        ("noise.wav", "No speech can be heard: the recording holds a steady noise"),
        ("notes.txt", "Not audio"),
        ("notes.wav", "Not audio"),
        ("tick.wav", "Too short"),
        ("long.wav", "Too long: the recording has more than 10 s"),
    ],
)
def test_what_can_not_be_answered_says_why_and_what_to_do(pipe, clips, name, said):
    with pytest.raises(Unusable, match=said):
        Listener(pipe, max_seconds=10).listen(str(clips / name))


@pytest.fixture
def reads_little(pipe, monkeypatch):
    """The pipeline's model with room for 6 s of audio beside the longest prompt and an answer."""
    listener = Listener(pipe)
    prompts = max(map(listener._tokens, listener._prompts(None)))
    text = pipe.model.config.get_text_config()
    monkeypatch.setattr(text, "max_position_embeddings", prompts + 128 + pipe.processor.num_audio_tokens(6 * 16_000))
    return listener


def test_a_recording_longer_than_the_model_reads_is_refused_with_that_length(reads_little, clips, tmp_path):
    assert reads_little.longest_seconds() == 6
    assert Listener(reads_little.pipe, max_seconds=5.5).longest_seconds() == 5.5
    for question, seconds in ((None, 6), ("why " * 100, reads_little.longest_seconds("why " * 100))):
        with pytest.raises(Unusable, match=f"more than {seconds} s, as much as this model reads at once"):
            reads_little.read(str(clips / "long.wav"), question)
    assert seconds < 6
    soundfile.write(tmp_path / "fits.wav", like_a_voice(6), 16_000)
    assert reads_little.listen(str(tmp_path / "fits.wav")).transcript == TRANSCRIPT


def test_a_transcript_may_be_as_long_as_its_recording_and_one_that_is_cut_says_so(pipe, clips, monkeypatch):
    asked, end = [], pipe.model.generation_config.eos_token_id

    def generate(model, processor, inputs, beginnings=None, max_new_tokens=None, stopping_criteria=(), **settings):
        for number in range(min(written, max_new_tokens) if stopping_criteria else 0):
            last = end if number == written - 1 else end + 1
            assert not stopping_criteria(torch.tensor([[last]]), None).any()
        asked.append((max_new_tokens, settings.get("quote_confidence")))
        return script(model, processor, inputs, beginnings)

    monkeypatch.setattr(pipeline_audiollm, "generate_answers", generate)
    listener = Listener(pipe)
    for tokens, name, most, cut in ((200, "long", 200, False), (201, "long", 200, True), (9, "short", 128, False)):
        written = tokens
        found = listener.listen(str(clips / f"{name}.wav"))
        assert (asked[-1], found.transcript_cut) == ((most, 0), cut)
        assert ("Cut: the model" in page(found)) == cut


def test_a_long_transcript_takes_the_room_that_the_model_has(reads_little, clips, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        pipeline_audiollm, "generate_answers", lambda *a, **k: asked.append(k["max_new_tokens"]) or script(*a, **k)
    )
    monkeypatch.setattr(listen, "SPOKEN_TOKENS", 1000)
    soundfile.write(tmp_path / "fits.wav", like_a_voice(6), 16_000)
    reads_little.listen(str(tmp_path / "fits.wav"))
    assert asked[:2] == [128, 128] and 128 <= asked[2] < 500


FACTS = {"corpora": [{"name": "audiollm_samples", "title": "AudioLLM samples (synthetic speech)"}]}


@pytest.mark.parametrize(
    "facts, said",
    [
        (FACTS, r"\*\*tiny\*\*, 8 M parameters\. It learnt from AudioLLM samples .* hears synthetic words only"),
        ({"corpora": [*FACTS["corpora"], {"name": "meld", "title": None}]}, "and meld; voices, words and languages"),
        ({"corpora": [{"name": "![x](https://x) <img src=x>"}]}, r"!\\\[x\\\]\(https://x\) &lt;img"),
        (None, "not recorded"),
    ],
)
def test_the_page_says_which_model_answers_and_what_it_can_hear(facts, said):
    assert re.search(said, describe("tiny", 8_040_000, facts))


def test_facts_and_name_of_a_model_are_its_run_s(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    assert read_facts(tmp_path / "run" / "model") is None
    (tmp_path / "run" / FACTS_NAME).write_text(json.dumps(FACTS))
    assert read_facts(tmp_path / "run" / "model") == FACTS and model_name(tmp_path / "run" / "model") == "run"
    assert model_name("me/mine") == "mine"


def test_a_header_that_lies_about_the_length_is_not_believed(pipe, clips, tmp_path):
    """A WAV from a pipe promises 37 hours."""
    short = clips / "short.wav"
    (tmp_path / "lies.wav").write_bytes(short.read_bytes()[:40] + b"\xf0\xff\xff\x7f" + short.read_bytes()[44:])
    found = Listener(pipe, Placed(), max_seconds=10).listen(str(tmp_path / "lies.wav"))
    assert len(found.samples) == 19_200


def test_a_call_that_can_not_be_followed_says_why(pipe, clips):
    listener = Listener(pipe, max_call_seconds=10)
    for name, by_channel, said in (
        (None, False, "No recording yet"),
        ("long", False, "Too long: the recording has more than 10 s"),
        ("notes", False, "Not audio that can be used"),
        ("short", True, "the recording has one channel"),
    ):
        with pytest.raises(Unusable, match=said):
            listener.follow(name and str(clips / f"{name}.wav"), by_channel)
    heard = listener.follow(str(clips / "silent.wav"))
    assert heard.rows == [] and heard.seconds == 1
    shown = call(heard, "/tmp/a call's.wav")
    assert "No speech was found" in shown and "&#34;gradio_api/file=/tmp/a%20call%27s.wav" in shown
    assert shown.count("<iframe") == 1 and "<section" not in shown  # it is an attribute of the frame, escaped


def test_nothing_given_and_empty_or_endless_questions_are_refused(pipe, clips):
    listener = Listener(pipe)
    with pytest.raises(Unusable, match="No recording yet"):
        listener.listen(None)
    for question, said in (("  ", "No question"), ("why " * 500, "Too long a question")):
        with pytest.raises(Unusable, match=said):
            listener.ask(str(clips / "short.wav"), question)


def test_html_of_model_or_person_is_text(pipe, clips):
    shown = page(Listener(pipe, Placed()).listen(str(clips / "short.wav")))
    assert "<script" not in shown and "<img" not in shown
    assert shown.count("&lt;script&gt;") >= 2


def head_that_hears(model, text, frames):
    """Emissions `[frames, characters + 1]` in which a text's characters follow each other evenly after a pause."""
    emissions = torch.full((frames, len(CTC_CHARACTERS) + 1), -9.0)
    emissions[:, 0] = -1.0
    for number, label in enumerate(ctc_labels(text)):
        emissions[10 + 2 * number, label] = 3.0
    return emissions.log_softmax(-1)


def test_words_are_found_where_their_characters_are(tmp_path, monkeypatch):
    model, processor = tiny_model_and_processor(speech="parakeet_encoder", emotion=None)
    width = model.config.speech_config.hidden_size
    save_file(
        {"projection.weight": torch.randn(len(CTC_CHARACTERS) + 1, width), "projection.bias": torch.zeros(28 + 1)},
        tmp_path / CTC_NAME,
    )
    assert Aligner.beside(tmp_path / "nowhere", model, processor) is None
    aligner = Aligner.beside(tmp_path, model.eval(), processor)
    frames = aligner.emissions(np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32))
    assert frames.shape[1] == 29 and len(frames) * aligner.frame_seconds == pytest.approx(1.5, abs=0.1)
    assert torch.allclose(frames.exp().sum(-1), torch.ones(len(frames)), atol=1e-4)
    monkeypatch.setattr(aligner, "emissions", lambda samples: head_that_hears(model, "i lost a dog", 60))
    words = aligner.align(np.zeros(16_000, np.float32), "I lost a dog!")
    step = aligner.frame_seconds
    assert [word.word for word in words] == ["i", "lost", "a", "dog"]
    assert words[1].start == pytest.approx(14 * step) and words[1].end == pytest.approx(21 * step, abs=step)
    start, end = find_words("Lost a", words)
    assert start == words[1].start and end == words[2].end
    assert find_words("a cat", words) is None
    with pytest.raises(AlignmentError, match="no letters"):
        aligner.align(np.zeros(16_000, np.float32), "1 2 3")
    with pytest.raises(AlignmentError, match="don't fit"):
        aligner.align(np.zeros(16_000, np.float32), "far too many words " * 9)


def test_words_of_two_clips_lie_where_each_was_said():
    """With the embedded base, which cuts audio into windows of four seconds."""
    aligner = Listener.load("samples/tiny-base").aligner
    transcripts = {row["audio"]["path"]: row["transcript"] for row in read_rows("samples", "test")}
    for paths in (list(transcripts)[:2], list(transcripts)[20:22]):
        first, second = (load_audio(path) for path in paths)
        silence = np.zeros(16_000, np.float32)
        said = [transcripts[path] for path in paths]
        words = aligner.align(np.concatenate([first, silence, second]), " ".join(said))
        number = len(said[0].split())
        assert [word.word for word in words] == " ".join(said).split()
        assert words[number - 1].end == pytest.approx(len(first) / 16_000, abs=0.15)
        assert words[number].start == pytest.approx(len(first) / 16_000 + 1, abs=0.15)
        assert find_words(said[1], words) == (words[number].start, words[-1].end)


# Where a browser is promised (.ci/run), what is missing is a failure and no reason to skip.
PROMISED = os.environ.get("AUDIOLLM_TEST_BROWSER") == "1"


def needed(name, why):
    """A module that the tests of the page need."""
    return importlib.import_module(name) if PROMISED else pytest.importorskip(name, reason=why)


@pytest.fixture(scope="module")
def gradio():
    return needed("gradio", "the page needs pip install 'audiollm[demo]'")


@pytest.fixture(scope="module")
def served(pipe, gradio):
    """The address of the page, with recordings of up to a minute."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    from audiollm.demo.app import serve

    blocks, address = serve(
        Listener(pipe, Placed(), 60, describe("it", 8, None)), prevent_thread_lock=True, quiet=True
    )
    yield address
    blocks.close()


def test_the_page_shows_its_banner(pipe, gradio):
    from audiollm.demo.app import build

    texts = [
        part["props"].get("value") for part in build(Listener(pipe), "> **It cannot hear you.**").config["components"]
    ]
    assert "> **It cannot hear you.**" in texts


def test_twenty_requests_at_once_are_all_answered(served, clips):
    from gradio_client import Client, handle_file

    client = Client(served, verbose=False)
    start = threading.Barrier(20)

    def ask(number):
        start.wait()
        return client.predict(handle_file(str(clips / "short.wav")), f"question {number}?", api_name="/ask")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert all(f"question {number}?" in answer for number, answer in enumerate(answers))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, with nothing of its own on the network."""
    sync_api = needed("playwright.sync_api", "the browser test needs pip install 'audiollm[browser]'")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None and not PROMISED:
        pytest.skip("the browser test needs chromium (Debian: apt-get install chromium)")
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    microphone = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"  # it beeps
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=chromium,
            headless=True,
            args=[*flags.split(), *microphone.split(), "--disable-component-update", "--disable-sync"],
            permissions=["microphone"],
        )
        context.set_default_timeout(90_000)
        yield context
        context.close()


@pytest.fixture
def tab(browser, served):
    """The page at the size of a desktop window; `problems` gathers what its scripts could not do."""
    tab = browser.new_page()
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.problems, tab.elsewhere = [], []
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    ours = (served, "blob:", "data:")
    tab.on("request", lambda request: request.url.startswith(ours) or tab.elsewhere.append(request.url))
    tab.goto(served)
    yield tab
    tab.close()


def listen_to(tab, path):
    tab.locator("#recording input[type=file]").first.set_input_files(str(path))
    tab.locator("#recording").get_by_label("Clear").or_(tab.locator("#recording .error")).first.wait_for()
    tab.locator("#listen").click()


def test_an_uploaded_clip_shows_label_explanation_quotes_times_and_timeline(tab, clips):
    listen_to(tab, clips / "long.wav")
    tab.locator("#found .label").wait_for()
    assert tab.locator("#found .label").inner_text().split()[0] in tab.locator("#found .bars").first.inner_text()
    assert tab.locator("#found mark.said").inner_text().startswith("my old dog")
    assert tab.locator("#found mark.unsaid").inner_text().startswith("a cat")
    assert "0.20 to 0.50 s" in tab.locator("#found .times").inner_text()
    assert tab.locator("#found .wave .span").count() == 1
    assert tab.locator("#found .strip span").count() >= 1
    assert "pitch 2" in tab.locator("#found .cues").inner_text()


def test_a_recording_from_the_microphone_is_answered(tab):
    tab.locator("#recording [data-testid=source-select] button").nth(1).click()
    tab.get_by_role("button", name="Record").first.click()
    tab.wait_for_timeout(2_000)
    with tab.expect_response(lambda response: "/upload" in response.url):  # the page does not show that it is there
        tab.get_by_role("button", name="Stop").first.click()
    tab.locator("#recording").get_by_label("Clear").wait_for()
    tab.locator("#listen").click()
    tab.locator("#found .label").or_(tab.locator("#found .problem")).wait_for()
    # A beep is no speech.
    assert re.search("my old dog|No speech can be heard", tab.locator("#found").inner_text())


def test_a_call_is_followed_turn_by_turn_and_can_be_heard_and_taken_along(tab, served, clips, tmp_path):
    turns = np.concatenate([like_a_voice(3), np.zeros(32_000, np.float32), like_a_voice(4)])
    soundfile.write(tmp_path / "call.wav", np.stack([turns, np.roll(turns, 80_000)], 1), 16_000)
    tab.locator("#long").get_by_text("A call, a meeting").click()
    tab.locator("#call input[type=file]").set_input_files(str(tmp_path / "call.wav"))
    tab.locator("#channels input").check()
    tab.locator("#call .file-preview").wait_for()
    tab.locator("#follow").click()
    page = tab.frame_locator("#followed iframe.call")
    page.locator("#segments").wait_for()
    assert page.locator("svg.over").count() >= 2 and not tab.problems
    page.locator("#sound").evaluate("sound => new Promise(done => { sound.oncanplay = done; sound.load(); })")
    assert tab.locator("#tables").get_by_text("TextGrid").count() >= 1
    assert not tab.elsewhere


def test_an_example_can_be_chosen_and_the_page_says_who_answers(tab):
    tab.get_by_text("What it learnt from is not recorded").wait_for()
    tab.get_by_role("button", name="happy").first.click()
    tab.locator("#recording").get_by_label("Clear").wait_for()
    tab.locator("#listen").click()
    tab.locator("#found .label").wait_for()


def test_html_is_shown_and_not_run(tab, clips):
    listen_to(tab, clips / "short.wav")
    tab.locator("#found .label").wait_for()
    assert "<script>window.hacked=2</script>" in tab.locator("#found blockquote").inner_text()
    assert "${window.hacked=3}{{hacked}}" in tab.locator("#found .reasoning").inner_text()
    tab.get_by_label("Ask something about it").fill(f"what is {HOSTILE}?")
    tab.locator("#ask").click()
    tab.locator("#answered .free").wait_for()
    assert "what is <img" in tab.locator("#answered").inner_text()
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("#found img, #found script, #answered img, #answered script").count() == 0


def test_a_text_file_gives_the_error(tab, clips):
    tab.locator("#recording input[type=file]").first.set_input_files(str(clips / "notes.txt"))
    tab.get_by_text("Invalid file type: notes.txt").first.wait_for()
    tab.locator("#listen").click()
    tab.locator("#found .problem").wait_for()
    assert "No recording yet" in tab.locator("#found .problem").inner_text()


def test_a_text_file_in_disguise_gives_the_error(tab, clips):
    listen_to(tab, clips / "notes.wav")
    tab.locator("#found .problem").wait_for()
    assert "Not audio" in tab.locator("#found .problem").inner_text()


def test_the_page_fits_a_phone_and_asks_no_other_server(tab, clips):
    tab.set_viewport_size({"width": 390, "height": 844})
    listen_to(tab, clips / "long.wav")
    tab.locator("#found .label").wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    box = tab.locator("#found .wave").bounding_box()
    assert 260 < box["width"] <= 390
    assert tab.elsewhere == [] and tab.problems == []


SPACE = textwrap.dedent("""
    import os, runpy, sys
    folder, clip = sys.argv[1:]
    sys.path.insert(0, folder)
    import audiollm
    assert audiollm.__file__.startswith(folder), audiollm.__file__
    from audiollm.demo.listen import Listener
    app = runpy.run_path(os.path.join(folder, "app.py"))
    print(Listener.load(app["MODEL"]).ask(clip, "Who?") is not None)
    """)


def test_a_space_folder_holds_all_that_its_page_needs(gradio, clips, tmp_path):
    model, processor = tiny_model_and_processor()
    model.save_pretrained(tmp_path / "run <b>![x]")
    processor.save_pretrained(tmp_path / "run <b>![x]")
    assert main(["space", str(tmp_path / "run <b>![x]"), "--out", str(tmp_path / "space")]) == 0
    card = (tmp_path / "space" / "README.md").read_text()
    assert "<b>" not in card.split("---")[2] and "&lt;b&gt;!\\[x\\]" in card
    assert "sdk: gradio" in card and f"sdk_version: {gradio.__version__}" in card and "app_file: app.py" in card
    assert any(line.startswith("torch") for line in (tmp_path / "space" / "requirements.txt").read_text().splitlines())
    process = subprocess.run(
        [sys.executable, "-I", "-c", SPACE, str(tmp_path / "space"), str(clips / "short.wav")],
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": "", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.splitlines()[-1] == "True"
