"""Recordings of any length: found, answered once, kept; every output is read back by what others read it with."""

import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from praatio import textgrid

from audiollm.commands import main
from audiollm.listening import listen as listen_from_package
from audiollm.listening import segments as segments_module
from audiollm.listening.listener import JOURNAL, Heard, ListenError, listen
from audiollm.listening.outputs import as_csv, as_text_grid, as_vtt, write_outputs
from audiollm.listening.page import page, write_page
from audiollm.listening.rttm import RttmError, read_rttm
from audiollm.listening.segments import RATE, Recording
from audiollm.modeling_audiollm.voice_cues import voice_cues
from audiollm.processing.audio import AudioError, load_audio


SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """A stereo call of six sentences in turn, with the places where each is loud."""
    lines = (SAMPLES / "test.jsonl").read_text().splitlines()
    names = list(dict.fromkeys(json.loads(line)["audio"] for line in lines))[:6]
    noise = np.random.default_rng(0)
    parts, truth, at = [], [], 0
    for number, name in enumerate(names):
        gap = noise.normal(0, 0.001, (round(RATE * noise.uniform(0.6, 1.2)), 2))
        said = load_audio(SAMPLES / name)
        loud = np.flatnonzero(np.abs(said) > 0.02 * np.abs(said).max())
        at += len(gap)
        truth.append((f"channel {number % 2 + 1}", (at + loud[0]) / RATE, (at + loud[-1]) / RATE))
        both = np.zeros((len(said), 2))
        both[:, number % 2] = said
        parts += [gap, both]
        at += len(said)
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, np.concatenate(parts), RATE)
    return path, truth


class Pipe:
    """Answers by the length of a clip, and keeps what it was asked; stops where it is told to."""

    def __init__(self, stop_after=None, refuse=None, context_turns=0):
        config = SimpleNamespace(window_seconds=8.0, context_turns=context_turns)
        self.model = SimpleNamespace(config=config, name_or_path="fake")
        self.asked, self.stop_after, self.refuse = [], stop_after, refuse

    def __call__(self, clips, batch_size, question=None, **settings):
        if self.stop_after == len(self.asked):
            raise KeyboardInterrupt
        if question is None:
            self.asked.append([len(clip["array"]) for clip in clips])
        if self.refuse and any(len(clip["array"]) == self.refuse for clip in clips):
            raise ValueError("too long for the language model.")
        return [self.answer(clip, question) for clip in clips]

    def answer(self, clip, question):
        words = f"words of {len(clip['array'])}"
        if question is not None:
            return {"generated_text": words}
        before = [turn["text"] for turn in clip["context"]]
        reasoning = f'They say "{words}"' + (f' after "{before[-1]}".' if before else ".")
        spans = [(found.start(1), found.end(1)) for found in re.finditer('"([^"]+)"', reasoning)]
        quotes = [{"text": reasoning[a:b], "start": a, "end": b, "in_context": False} for a, b in spans]
        scores = {"sad": 0.75, "<angry>": 0.25}
        cues = vars(voice_cues(clip["array"], clip["sampling_rate"]))
        return {
            "label": "sad",
            "score": 0.75,
            "scores": scores,
            "reasoning": reasoning,
            "quotes": quotes,
            "cues": cues,
        }


def hear(audio, out=None, pipe=None, **settings):
    return listen(audio, pipe or Pipe(), out, progress=False, **settings)


def test_the_sides_of_a_call_are_found_where_they_speak(call):
    path, truth = call
    rows = hear(path, by_channel=True).rows
    assert [row["speaker"] for row in rows] == [speaker for speaker, *_ in truth]
    off = [
        abs(row[key] - place) for row, (_, *places) in zip(rows, truth) for key, place in zip(("start", "end"), places)
    ]
    assert np.mean(np.array(off) < 0.3) >= 0.9
    mixed = hear(path).rows
    assert len(mixed) == len(truth) and {row["speaker"] for row in mixed} == {None}


def test_the_sides_of_a_call_in_m4a_are_found_where_they_speak(call, tmp_path):
    av = pytest.importorskip("av")
    path, truth = call
    two = soundfile.read(path, stop=round(truth[2][1] * RATE) - RATE // 4, dtype="float32")[0].T
    with av.open(tmp_path / "call.m4a", "w") as film:
        stream = film.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(two), format="fltp", layout="stereo")
        frame.rate = RATE
        film.mux([*stream.encode(frame), *stream.encode(None)])
    rows = hear(tmp_path / "call.m4a", by_channel=True).rows
    expected = [(speaker, pytest.approx(start, abs=0.3)) for speaker, start, _ in truth[:2]]
    assert [(row["speaker"], row["start"]) for row in rows] == expected


def test_segments_know_what_was_said_before_them_and_quotes_of_it_are_told_apart(call):
    rows = hear(call[0], by_channel=True, context=2, batch_size=4).rows
    assert [len(row["context"]) for row in rows] == [0, 1, 2, 2, 2, 2]
    assert rows[3]["context"] == [{"speaker": who, "text": row["transcript"]} for who, row in zip("AB", rows[1:3])]
    assert [quote["kind"] for quote in rows[3]["quotes"]] == ["exact", "context"]
    assert hear(call[0], by_channel=True, context=0).rows[3]["context"] == []


@pytest.mark.parametrize("learnt, told", [(0, 0), (3, 3), (12, 4)])
def test_a_model_is_told_as_much_context_as_it_learnt_with(call, learnt, told):
    rows = hear(call[0], pipe=Pipe(context_turns=learnt), by_channel=True).rows
    assert len(rows[-1]["context"]) == told


def test_killed_five_times_nothing_is_answered_twice(call, tmp_path):
    path, truth = call
    whole = hear(path, by_channel=True, batch_size=1)
    asked = []
    for _ in range(5):
        pipe = Pipe(stop_after=1)
        with pytest.raises(KeyboardInterrupt):
            hear(path, tmp_path, pipe, by_channel=True, batch_size=1)
        asked += pipe.asked
        with (tmp_path / JOURNAL).open("a") as file:
            file.write('{"id": "half-wri')
    pipe = Pipe()
    last = hear(path, tmp_path, pipe, by_channel=True, batch_size=1)
    assert len(asked) + len(pipe.asked) == len(truth) and last.answered_now == 1
    assert last.rows == whole.rows
    with pytest.raises(ListenError, match="holds answers with another context; give another folder, or delete"):
        hear(path, tmp_path, by_channel=True, context=1)


def test_a_segment_that_the_model_refuses_costs_itself_alone_and_is_asked_again(call, tmp_path):
    path, _ = call
    third = round((lambda row: row["end"] - row["start"])(hear(path).rows[2]) * RATE)
    heard = hear(path, tmp_path, Pipe(refuse=third))
    assert [row["error"] is None for row in heard.rows] == [True, True, False, True, True, True]
    assert len(heard.problems) == 1 and "too long for the language model" in heard.problems[0]
    again = hear(path, tmp_path)
    assert again.answered_now == 1 and not again.problems


@pytest.mark.parametrize("samples", [np.zeros(RATE), 0.3 * np.sin(np.arange(3 * RATE) / 8), np.zeros(1)])
def test_a_recording_without_speech_has_no_segments_and_whole_outputs(tmp_path, samples):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, samples, RATE)
    heard = hear(path, tmp_path / "out")
    assert heard.rows == [] and heard.problems == []
    write_outputs(heard, tmp_path / "out")
    assert "No speech was found" in write_page(heard, path, tmp_path / "out").read_text()
    assert len(textgrid.openTextgrid(str(tmp_path / "out" / "segments.TextGrid"), True).tiers) == 2
    assert parse_vtt((tmp_path / "out" / "segments.vtt").read_text()) == []


def test_a_recording_that_holds_nothing_is_an_error(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(AudioError, match="empty.wav"):
        hear(tmp_path / "empty.wav")


@pytest.mark.parametrize("by_channel", [True, False])
def test_a_file_cut_in_the_middle_keeps_the_segments_before(call, tmp_path, by_channel):
    path, truth = call
    cut = tmp_path / "call.wav"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    heard = hear(cut, by_channel=by_channel)
    assert 2 <= len(heard.rows) < len(truth) and 0 < heard.seconds < truth[-1][1]
    assert len(heard.problems) == 1 and "cut off" in heard.problems[0]


def rttm(path, *turns, name="call"):
    path.write_text("".join(f"SPEAKER {name} 1 {a} {b} <NA> <NA> {who} <NA> <NA>\n" for who, a, b in turns))
    return path


def test_an_rttm_says_who_speaks_when_and_what_lies_after_the_end_is_told(call, tmp_path):
    path, truth = call
    end = soundfile.info(path).duration
    told = [("bob", 1.0, 1.0), ("ann", 1.5, 2.0), ("ann", 4.0, 12.0), ("eve", end - 0.5, 3), ("eve", end + 9, 1)]
    heard = hear(path, rttm=rttm(tmp_path / "a.rttm", *told))
    rows = [(row["speaker"], row["start"], row["end"]) for row in heard.rows]
    assert rows[:2] == [("bob", 1.0, 2.0), ("ann", 1.5, 3.5)]  # each as it sounds, though they overlap
    assert rows[2:4] == [("ann", 4.0, 10.0), ("ann", 10.0, 16.0)]  # no longer than a window, and nothing lost
    assert rows[4][0] == "eve" and rows[4][2] == pytest.approx(end, abs=0.01) and len(rows) == 5
    assert [problem.partition(": ")[0][-6:] for problem in heard.problems] == ["line 4", "line 5"]


@pytest.mark.parametrize(
    "line, message",
    [
        ("SPEAKER call 1 0.5", "line 2: has 4 fields"),
        ("SPEAKER call 1 half 1 <NA> <NA> bob", "line 2: START and SECONDS must be numbers"),
        ("SPEAKER call 1 0.5 0 <NA> <NA> bob", "line 2: START and SECONDS must be numbers"),
        ("SPEAKER call 1 nan 1 <NA> <NA> bob", "line 2: START and SECONDS must be numbers"),
        ("1\t0.5\t2\tbob", "line 2: is no line of RTTM"),
    ],
)
def test_a_line_that_is_no_rttm_is_named(tmp_path, line, message):
    (tmp_path / "a.rttm").write_text(f";; made by hand\n{line}\n")
    with pytest.raises(RttmError, match=message):
        read_rttm(tmp_path / "a.rttm", "call")


def test_an_rttm_of_several_recordings_gives_that_of_the_name(tmp_path):
    path = rttm(tmp_path / "a.rttm", ("ann", 0, 1), name="other")
    assert [turn.speaker for turn in read_rttm(path, "call")] == ["ann"]
    path.write_text(
        path.read_text() + "SPEAKER call 1 3 1 <NA> <NA> bob <NA> <NA>\nSPKR-INFO call 1 <NA> <NA> <NA> x bob\n"
    )
    assert [turn.speaker for turn in read_rttm(path, "call")] == ["bob"]
    with pytest.raises(RttmError, match="none of its 2 recordings is called 'third'"):
        read_rttm(path, "third")


def test_speech_without_pause_is_cut_where_it_is_quiet_and_nothing_is_lost(tmp_path, monkeypatch):
    class Talking:
        told = False

        def __call__(self, chunk):
            told, self.told = self.told, True
            return None if told else {"start": 0}

    monkeypatch.setattr(segments_module, "_voice_iterator", Talking)
    samples = np.random.default_rng(0).normal(0, 0.1, 10 * RATE)
    quiet = [slice(round(second * RATE), round((second + 0.15) * RATE)) for second in (2.5, 5.2)]
    for place in quiet:
        samples[place] = 0
    soundfile.write(tmp_path / "talk.wav", samples, RATE)
    found = list(Recording(tmp_path / "talk.wav", 3.0).by_voice())
    assert found[0].start == 0 and found[-1].end == 10 and all(s.end - s.start <= 3.1 for s in found)
    assert [a.end for a in found[:-1]] == [b.start for b in found[1:]]
    assert [found[0].end, found[1].end] == [pytest.approx(2.57, abs=0.1), pytest.approx(5.27, abs=0.1)]
    assert sum(len(segment.samples) for segment in found) == len(samples)


def test_what_cannot_be_meant_is_refused(call, tmp_path):
    soundfile.write(tmp_path / "mono.wav", np.zeros(RATE), RATE)
    with pytest.raises(ListenError, match="one channel"):
        hear(tmp_path / "mono.wav", by_channel=True)
    with pytest.raises(ListenError, match="not by both"):
        hear(call[0], by_channel=True, rttm=tmp_path / "a.rttm")
    assert listen_from_package is listen


TIME = r"(?:\d{2,}:)?[0-5]\d:[0-5]\d\.\d{3}"


def parse_vtt(text):
    """Cues as the WebVTT standard's grammar has them; anything else fails."""
    head, *blocks = text.rstrip("\n").split("\n\n")
    assert head.strip() == "WEBVTT"
    cues = []
    for block in blocks:
        name, times, payload = block.strip("\n").split("\n")
        assert "-->" not in name and re.fullmatch(rf"{TIME} --> {TIME}", times)
        assert re.fullmatch(r"(?:<v [^<>&\n]*(?:&(?:amp|lt|gt);[^<>&\n]*)*>)?(?:[^<>&\n]|&(?:amp|lt|gt);)+", payload)
        cues.append((times, payload))
    return cues


NASTY = 'he said "no" & <b>left</b> -->\n\nWEBVTT'


def odd_row(start, end, speaker, **more):
    row = {"id": f"{start}", "start": start, "end": end, "speaker": speaker, "transcript": NASTY, "label": "<sad>"}
    row |= {"score": 1.0, "scores": {"<sad>": 1.0}, "reasoning": f"{NASTY} </script>", "quotes": [], "cues": None}
    return row | {"context": [], "no_speech": None, "error": None} | more


def test_what_others_read_comes_back_as_it_was_said():
    rows = [odd_row(0.5, 2.0, "a>-->b"), odd_row(1.0, 3.0, None), odd_row(1.5, 3601.25, "a>-->b")]
    rows.append(
        odd_row(3.0, 3.5, None, transcript=None, label=None, scores=None, reasoning=None, error="ValueError: x")
    )
    heard = Heard(rows, 3600.0, ["no <b>such</b>"], {None: [0.1, 0.9]}, 3)
    cues = parse_vtt(as_vtt(heard))
    assert [times for times, _ in cues][2] == "00:00:01.500 --> 01:00:01.250" and len(cues) == 4
    table = list(csv.DictReader(io.StringIO(as_csv(heard))))
    assert table[0]["transcript"] == NASTY and table[3]["error"] == "ValueError: x"
    shown = page(heard, "<call>.wav", "a%20b.wav")
    for nasty in ("<b>left", "<sad>", "<b>such", "<call>", " </script>\n<", "a>-->b"):
        assert nasty not in re.sub(r"(?s)<style>.*?</style>|<script>.*?</script>", "", shown)
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(shown)
    assert sum(tag == "article" for tag, _ in tags) == 4 and sum(tag == "script" for tag, _ in tags) == 1
    anchors = [of["href"][1:] for tag, of in tags if tag == "a"]
    assert set(anchors) <= {of.get("id") for _, of in tags} and len(anchors) == 4


def test_praats_own_format_is_read_back(tmp_path):
    rows = [odd_row(0.5, 2.0, "ann"), odd_row(1.0, 3.0, "bob"), odd_row(1.5, 4.0, "ann")]
    (tmp_path / "a.TextGrid").write_text(as_text_grid(Heard(rows, 5.0, [], {}, 0)))
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True, reportingMode="error")
    assert grid.tierNames == ("ann: words", "ann: label", "bob: words", "bob: label") and grid.maxTimestamp == 5
    words = grid.getTier("ann: words").entries
    assert [(e.start, e.end) for e in words] == [(0, 0.5), (0.5, 2), (2, 4), (4, 5)]
    assert words[1].label == " ".join(NASTY.split())


def test_the_command_writes_everything_and_goes_on(call, tmp_path, capsys):
    path, truth = call
    command = ["listen", str(path), "--model", str(SAMPLES / "tiny-base"), "--out", str(tmp_path), "--channels"]
    command += ["--max-new-tokens", "4", "--quiet"]
    assert main(command) == 0
    assert f"{len(truth)} segments" in (first := capsys.readouterr().out) and f"{len(truth)} answered now" in first
    rows = [json.loads(line) for line in (tmp_path / "segments.jsonl").read_text().splitlines()]
    assert len(rows) == len(truth) and all(row["scores"] and row["cues"] for row in rows)
    for name in ("segments.csv", "segments.TextGrid", "segments.vtt", "listen.html", JOURNAL):
        assert (tmp_path / name).stat().st_size
    cut = path.read_bytes()
    assert main(command) == 0 and " 0 answered now" in capsys.readouterr().out
    short = tmp_path / "short.wav"
    short.write_bytes(cut[: len(cut) // 2])
    command[1], command[5] = str(short), str(tmp_path / "short")
    assert main(command) == 1 and "cut off" in capsys.readouterr().err


def test_a_browser_shows_plays_and_reads_the_subtitles(call, tmp_path):
    """Chromium opens the page, plays a segment and no further, and parses the WebVTT with its own parser."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the browser test needs chromium (Debian: apt-get install chromium)")
    path, truth = call
    heard = hear(path, by_channel=True, context=4)
    write_outputs(heard, tmp_path)
    shown, problems = write_page(heard, path, tmp_path), []
    subtitles = (tmp_path / "segments.vtt").read_text()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
        )
        tab = browser.new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        tab.goto(shown.as_uri())
        assert tab.locator("article").count() == len(truth) == tab.locator(".track a").count()
        assert tab.locator("mark.said").count() and tab.locator("mark.before").count()
        sound = tab.locator("#sound")

        def until(condition):
            for _ in range(200):  # the page's policy forbids what playwright would wait with
                if sound.evaluate(f"sound => {condition}"):
                    return
                tab.wait_for_timeout(50)
            raise AssertionError(condition)

        until("sound.readyState >= 1")
        tab.locator("article button").nth(2).click()
        until(f"sound.currentTime > {heard.rows[2]['start']}")
        until("sound.paused")
        assert sound.evaluate("sound => sound.currentTime") == pytest.approx(heard.rows[2]["end"], abs=0.8)
        assert problems == []
        tab.goto("about:blank")
        cues = tab.evaluate(
            """text => new Promise((done, fail) => {
                const video = document.createElement("video"), track = document.createElement("track");
                track.default = true;
                track.src = URL.createObjectURL(new Blob([text], {type: "text/vtt"}));
                const read = cue => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent];
                track.onload = () => done([...track.track.cues].map(read));
                track.onerror = fail;
                video.append(track);
                document.body.append(video);
                track.track.mode = "showing";
            })""",
            subtitles,
        )
        browser.close()
    assert [cue[:2] for cue in cues] == [[row["start"], row["end"]] for row in heard.rows]
    assert [cue[2] for cue in cues] == [f"[sad] {row['transcript']}" for row in heard.rows]
