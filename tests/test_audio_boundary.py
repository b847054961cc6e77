"""All audio comes through one boundary: what it gives is right, or it says why it gives nothing."""

import base64
import http.server
import io
import json
import os
import random
import socket
import threading
import time
import tracemalloc
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from audiollm.corpora.read import read_to_folder
from audiollm.corpora.reader import Request
from audiollm.corpora.schema import read_rows
from audiollm.corpora.sound_check import hear
from audiollm.processing import audio as boundary
from audiollm.processing import timeline
from audiollm.processing.audio import AudioError, at_speed, float_samples, load_audio, open_audio, resampled


RATE = 16_000
FORMATS = (
    *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16")),
    *(("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("NIST", "PCM_16")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "IMA_ADPCM")),
)
FILMS = (("mp4", "aac"), ("webm", "libopus"), ("matroska", "libopus"), ("adts", "aac"), ("avi", "pcm_s16le"))


def tone(seconds=0.5, rate=RATE):
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(form="WAV", subtype="PCM_16", samples=None, rate=RATE):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone() if samples is None else samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


class Pipe(io.RawIOBase):
    """What a muxer can't seek in."""

    def __init__(self):
        self.written = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.written += bytes(data)
        return len(data)


def film(form, codec, options=None, out=None, sides=None):
    av = pytest.importorskip("av")
    out = io.BytesIO() if out is None else out
    with av.open(out, "w", format=form, options=options or {}) as container:
        stream = container.add_stream(codec, rate=48_000 if codec == "libopus" else RATE)
        sides = tone()[None] if sides is None else sides
        stream.layout = layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sides)]
        frame = av.AudioFrame.from_ndarray((sides * 32767).astype(np.int16), format="s16p", layout=layout)
        frame.sample_rate = RATE
        resampler = av.AudioResampler(
            stream.format.name, layout, stream.rate, frame_size=stream.codec_context.frame_size or None
        )
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in stream.encode(part):
                container.mux(packet)
    return bytes(out.written) if isinstance(out, Pipe) else out.getvalue()


@pytest.mark.parametrize("form, subtype", FORMATS)
def test_a_whole_file_is_read_and_a_cut_one_is_refused_whatever_its_format(form, subtype, tmp_path):
    whole = encoded(form, subtype)
    path = tmp_path / "CLIP.bin"  # its content says what it is, not its name
    path.write_bytes(whole)
    heard = load_audio(path)
    assert abs(len(heard) - 8000) < 600 and 0.2 < np.abs(heard).max() < 0.4
    np.testing.assert_array_equal(load_audio(whole), heard)
    for share in (0.97, 0.75, 0.5, 0.2, 0.05):
        path.write_bytes(whole[: int(len(whole) * share)])
        for source in (path, path.read_bytes()):
            with pytest.raises(AudioError, match="cut off|can't be decoded"):
                load_audio(source)


@pytest.mark.parametrize("form, codec", FILMS)
def test_films_and_aac_are_read_whole_or_refused(form, codec):
    whole = film(form, codec)
    assert abs(len(load_audio(whole)) - 8000) < 2500
    for share in (0.9, 0.5, 0.2):
        with pytest.raises(AudioError, match="cut off|can't be decoded|no sound"):
            load_audio(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("form, codec", FILMS)
def test_the_channels_of_films_and_aac_are_apart_where_they_are_asked_for(form, codec):
    raw = film(form, codec, sides=np.stack([tone(), 0 * tone()]))
    with open_audio(raw) as clip:
        assert clip.channels == 1
        apart = clip.by_channel()
        loud, silent = np.abs(np.concatenate(list(apart.blocks()))).max(axis=0)
        assert (apart.channels, apart.rate, apart.seconds) == (2, clip.rate, clip.seconds)
        assert 0.25 < loud < 0.4 and silent < 0.01
    assert 0.12 < np.abs(load_audio(raw)).max() < 0.2
    with open_audio(film(form, codec)) as clip:
        assert clip.by_channel().channels == 1


def test_a_cut_film_is_refused_with_its_channels_apart_too():
    raw = film("matroska", "libopus", sides=np.stack([tone(2), tone(2)]))
    with open_audio(raw[: len(raw) * 9 // 10], whole=False) as clip, pytest.raises(AudioError, match="cut off"):
        list(clip.by_channel().blocks())


def test_the_six_channels_of_a_film_are_mixed_by_their_places_and_apart_in_their_order():
    sides = np.zeros((6, 8000), np.float32)
    sides[3] = tone()  # the low frequencies, which a mix leaves out
    raw = film("avi", "pcm_s16le", sides=sides)
    with open_audio(raw) as clip:
        levels = np.abs(np.concatenate(list(clip.by_channel().blocks()))).max(axis=0)
    np.testing.assert_allclose(levels, [0, 0, 0, 0.3, 0, 0], atol=1e-3)
    assert np.abs(load_audio(raw)).max() < 0.05


def test_films_without_pyav_are_refused_with_advice(monkeypatch):
    raw = film("mp4", "aac")
    monkeypatch.setattr(boundary, "av", None)
    with pytest.raises(AudioError, match="pip install av"):
        load_audio(raw)


def test_audio_of_unknown_length_is_read_to_its_end():
    flac = film("flac", "flac", out=Pipe())
    with open_audio(flac) as clip:
        assert clip.seconds is None
    np.testing.assert_allclose(load_audio(flac), tone(), atol=1e-3)
    wav = bytearray(encoded())
    wav[4:8] = wav[40:44] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe
    np.testing.assert_allclose(load_audio(bytes(wav)), tone(), atol=1e-3)


def test_an_mp3_without_a_length_is_read_and_half_of_it_refused():
    raw = film("mp3", "libmp3lame", {"write_xing": "0"})
    assert abs(len(load_audio(raw)) - 8000) < 2500
    with pytest.raises(AudioError, match="cut off"):
        load_audio(raw[: len(raw) // 2])


def lying(offset, value, width=4):
    raw = bytearray(encoded())
    raw[offset : offset + width] = value.to_bytes(width, "little")
    return bytes(raw)


@pytest.mark.parametrize(
    "raw, message",
    [
        (lying(40, 1_500_000_000), "cut off"),  # bytes of samples
        (lying(24, 0), "decoded|sampling rate"),
        (lying(24, 1), "sampling rate 1;"),
        (lying(24, 0xFFFFFFFF), "decoded|sampling rate"),
        (lying(22, 0, 2), "decoded|channels"),
        (lying(22, 500, 2), "decoded|channels|samples"),
        (encoded()[44:], "can't be decoded"),  # no header
        (encoded()[:40], "decoded|samples|cut"),
        (encoded(samples=tone()[:0]), "no samples"),
        (encoded("VOC"), "is a VOC file"),
        (b"", "empty"),
        (b"#EXTM3U\n/etc/passwd\n", "can't be decoded"),
        (b"hello " * 100, "can't be decoded"),
    ],
)
def test_headers_that_lie_or_are_missing_are_one_error_and_no_memory(raw, message):
    tracemalloc.start()
    with pytest.raises(AudioError, match=message):
        load_audio(raw)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_few_hundred_damaged_files_give_audio_or_one_error():
    draw = random.Random(0)
    whole = [encoded(*form, samples=tone(0.1)) for form in FORMATS]
    tracemalloc.start()
    start, heard = time.process_time(), 0
    for _ in range(400):
        raw = bytearray(draw.choice(whole))
        for _ in range(draw.choice((1, 1, 4, 12))):
            place = draw.randrange(min(len(raw), draw.choice((64, 200, len(raw)))))
            raw[place] = draw.choice((0, 255, raw[place] ^ 1 << draw.randrange(8)))
        if draw.random() < 0.3:
            del raw[draw.randrange(len(raw)) :]
        try:
            samples = load_audio(bytes(raw))
        except AudioError:
            continue
        heard += 1
        assert samples.dtype == np.float32 and len(samples) and np.isfinite(samples).all()
    assert 20 < heard < 300 and tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert time.process_time() - start < 30


@pytest.mark.parametrize("kind", ["fifo", "socket", "/dev/zero", "folder", "empty", "/proc/self/environ"])
def test_what_is_no_plain_file_is_refused_without_waiting(kind, tmp_path):
    path = tmp_path / "clip.wav"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            server.bind(os.path.relpath(path))
        elif kind == "folder":
            path.mkdir()
        elif kind == "empty":
            path.touch()
        else:
            path = kind
        with pytest.raises(AudioError, match="is a pipe, socket or device|is a folder|is empty"):
            load_audio(path)


def test_an_unreadable_file_is_said_as_such(tmp_path, monkeypatch):
    (tmp_path / "clip.wav").write_bytes(encoded())

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(boundary.os, "open", refuse)
    with pytest.raises(AudioError, match="clip.wav: can't be read: permission denied"):
        load_audio(tmp_path / "clip.wav")


@pytest.mark.parametrize("rate", [0, 1, -16_000, float("nan"), float("inf"), "16000", None, True, 16_000.5, 10**9])
def test_impossible_rates_are_refused(rate):
    for audio in ((tone(), rate), {"array": tone(), "sampling_rate": rate}):
        with pytest.raises(AudioError, match="sampling rate|sampling_rate"):
            load_audio(audio)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_usual_rates_are_resampled_as_torchaudio_does(rate):
    samples = tone(1.3, rate) + np.random.default_rng(0).normal(0, 0.05, round(1.3 * rate)).astype(np.float32)
    expected = torchaudio.functional.resample(torch.from_numpy(samples).double(), rate, RATE).numpy()
    np.testing.assert_allclose(load_audio((samples, rate)), expected, atol=1e-6)
    pieces = np.concatenate([*resampled(iter(np.array_split(samples, 17)), rate, RATE)])
    np.testing.assert_array_equal(pieces, load_audio((samples, rate)))


def test_speed_moves_pitch_and_length_together():
    seconds = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 400 * seconds).astype(np.float32)
    for speed in (0.5, 0.9, 1.25, 2):
        heard = at_speed(tone, speed)
        assert heard.dtype == np.float32 and len(heard) == pytest.approx(RATE / speed, abs=1)
        peak = np.abs(np.fft.rfft(heard)).argmax() * RATE / len(heard)
        assert peak == pytest.approx(400 * speed, abs=2)
    assert np.array_equal(at_speed(tone, 1.0), tone)


@pytest.mark.parametrize("rate", [22_051, 15_999, 44_101, 767_999])
def test_rates_without_a_common_divisor_take_little_memory_and_stay_exact(rate):
    samples = tone(2.0, rate)
    tracemalloc.start()
    heard = load_audio((samples, rate))
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
    np.testing.assert_allclose(heard[100:-100], tone(2.0)[100:-100], atol=2e-3)
    assert len(heard) == 32_000


def test_a_recording_without_end_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(boundary, "MAX_SECONDS", 1)
    with pytest.raises(AudioError, match="longer than"):
        load_audio(encoded("FLAC", samples=np.zeros(20_000)))


SIXTEEN = (tone() * 32767).astype(np.int16)


@pytest.mark.parametrize(
    "samples",
    [
        SIXTEEN,
        SIXTEEN.astype(np.int32),
        SIXTEEN.astype(np.int64),
        SIXTEEN.astype(np.int32) << 16,
        SIXTEEN.astype(np.float32),
        SIXTEEN.astype(np.float64),
        SIXTEEN.tolist(),
        SIXTEEN.astype(float).tolist(),
        tone().tolist(),
        tone().astype(np.float64),
        torch.from_numpy(SIXTEEN),
        torch.from_numpy(SIXTEEN).long(),
        torch.from_numpy(tone()).double().requires_grad_(),
        torch.from_numpy(tone()).bfloat16(),
        torch.from_numpy(tone()).half(),
        (tone() * 127).astype(np.int8),
        torch.from_numpy((tone() * 127).astype(np.int8)),
        (tone() * 127 + 128).astype(np.uint8),
        encoded("WAV", "FLOAT", SIXTEEN.astype(np.float32)),  # a float file of 16-bit values
    ],
)
def test_samples_of_every_type_that_tells_their_scale_sound_the_same(samples):
    np.testing.assert_allclose(load_audio(samples), tone(), atol=0.02)


@pytest.mark.parametrize(
    "samples",
    [
        np.array([0, 3, -2, 100]),  # 8 bits, or quiet 16
        [0, 1, 0, -1],
        np.array([0, 70_001, -5]),  # 24 bits, or quiet 32
        np.array([1, 2**40]),
        SIXTEEN.astype(np.float32) + 0.5,
        tone() * 100,
        tone() * 1e38,
        np.array([1e300, -1e300]),
        np.array([0.0, np.nan]),
        np.array([0.0, np.inf]),
        np.array([True, False]),
        np.array([1j]),
        np.array(["a"]),
        [[0.1], [0.1, 0.2]],
        [None, 1.0],
        np.zeros((2, 2, 2)),
        np.zeros((50, 60)),
        np.zeros(0),
        torch.zeros(3, device="meta"),
        np.frombuffer(encoded(), np.uint8),
        encoded("WAV", "FLOAT", tone() * 1e38),
        encoded("WAV", "FLOAT", np.array([0, np.nan], np.float32)),
        encoded("AIFF", "DOUBLE", tone().astype(np.float64) * 1e300),
    ],
    ids=lambda samples: type(samples).__name__,  # not bytes: a file of floats holds the second in which it was made
)
def test_levels_and_types_that_nobody_can_tell_are_refused(samples):
    with pytest.raises(AudioError):
        load_audio(samples)


def test_silence_and_mild_overshoot_are_taken_as_they_are():
    assert not load_audio(np.zeros(100, np.int64)).any()
    np.testing.assert_array_equal(float_samples([1.5, -2.0]), np.array([1.5, -2.0], np.float32))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda raw, path: {"bytes": raw, "path": None},
        lambda raw, path: {"bytes": None, "path": str(path)},
        lambda raw, path: {"array": tone(), "sampling_rate": RATE, "path": "gone.wav"},
        lambda raw, path: {"raw": tone(), "sampling_rate": RATE},
        lambda raw, path: {"data": base64.b64encode(raw).decode(), "format": "wav"},
        lambda raw, path: {"url": path.as_uri()},
        lambda raw, path: f"data:audio/wav;base64,{base64.b64encode(raw).decode()}",
        lambda raw, path: base64.b64encode(raw).decode(),
        lambda raw, path: path.as_uri(),
        lambda raw, path: (RATE, tone()),
        lambda raw, path: (tone(), np.int64(RATE)),
        lambda raw, path: tuple(tone().tolist()),
        lambda raw, path: np.stack([tone(), tone()]),
        lambda raw, path: memoryview(raw),
        lambda raw, path: io.BytesIO(raw),
        lambda raw, path: path.open("rb"),
    ],
)
def test_every_form_gives_the_same_audio(wrap, tmp_path):
    path = tmp_path / "ein Wörtchen.wav"
    path.write_bytes(encoded())
    np.testing.assert_allclose(load_audio(wrap(encoded(), path)), tone(), atol=1e-3)


@pytest.mark.parametrize(
    "audio",
    [
        *(None, {}, {"array": tone()}, {"bytes": "text"}, {"data": "%%%"}, 5, "data:audio/wav;base64,%%", "s3://a/b"),
        *("gone.wav", "a\x00b", "x" * 5000, io.StringIO("text"), object(), (tone(), RATE, 3), "https://["),
    ],
)
def test_what_is_no_audio_at_all_is_one_error(audio):
    with pytest.raises(AudioError):
        load_audio(audio)


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        raw, path = encoded(), unquote(self.path)
        if path.startswith("/drip-header"):
            for _ in range(100):
                self.wfile.write(b"H")
                time.sleep(0.1)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if path.startswith("/drip"):
            for byte in raw[:100]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
        elif path.startswith(("/ein Wörtchen.wav", "/plain")):
            self.wfile.write(raw)
        else:
            self.wfile.write(raw[: len(raw) // 2])

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as found:
        found.daemon_threads, found.block_on_close = True, False
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{found.server_port}"
        found.shutdown()


def test_urls_with_spaces_and_accents_are_downloaded(server):
    for url in ("ein Wörtchen.wav", "ein%20W%C3%B6rtchen.wav", "plain?a=b c#d"):
        np.testing.assert_allclose(load_audio(f"http://{server}/{url}"), tone(), atol=1e-3)


@pytest.mark.parametrize("path", ["drip", "drip-header"])
def test_a_download_of_a_byte_now_and_then_is_given_up(server, monkeypatch, path):
    monkeypatch.setattr(boundary, "DOWNLOAD_SECONDS", 0.6)
    start = time.monotonic()
    with pytest.raises(AudioError, match="could not be downloaded"):
        load_audio(f"http://{server}/{path}")
    assert time.monotonic() - start < 5


def test_a_download_cut_short_is_said_as_such_without_the_login(server):
    with pytest.raises(AudioError) as caught:
        load_audio(f"http://{server}/half.wav?token=secret")
    assert "cut short" in str(caught.value) and "secret" not in str(caught.value)
    with pytest.raises(AudioError) as caught:
        load_audio("http://me:secret@127.0.0.1:9/x.wav?token=secret")
    assert "secret" not in str(caught.value)


def test_every_file_of_an_audio_folder_is_read_or_set_aside_with_the_reason(tmp_path):
    sad = tmp_path / "corpus" / "sad"
    sad.mkdir(parents=True)
    forms = {"a.WAVE": "WAV", "b.aiff": "AIFF", "c.au": "AU", "d.caf": "CAF", "e.w64": "W64", "f.Flac": "FLAC"}
    for number, (name, form) in enumerate(forms.items()):
        (sad / name).write_bytes(encoded(form, samples=tone(0.1 + number / 100)))
    for name, form in {"g.m4a": "mp4", "h.webm": "webm", "i.aac": "adts"}.items():
        (sad / name).write_bytes(film(form, "libopus" if form == "webm" else "aac"))
    (sad / "j.dat").write_bytes(encoded(samples=tone(0.3)))  # audio by its content
    (sad / "k.ogg").write_bytes(encoded("FLAC", samples=tone(0.35)))  # and of another kind than it says
    (sad / "a.txt").write_text("said")
    (sad / "l.raw").write_bytes(tone().tobytes())
    (sad / "m.wav").write_bytes(encoded()[:9000])
    (sad / "n.pdf").write_text("no audio")
    (sad / "o.txt").write_text("words of no clip")
    (tmp_path / "corpus" / "README.md").write_text("a corpus")
    summary = read_to_folder("own", Request(tmp_path / "corpus", "train"), tmp_path / "rows", splits=["train"])
    rows = read_rows(tmp_path / "rows", "train")
    assert {row["id"].split("-")[1] for row in rows if row["task"] == "er"} == {
        f"sad/{name}" for name in "abcdefghijk"
    }
    assert all(len(load_audio(row["audio"])) for row in rows)
    rejects = (tmp_path / "rows" / "rejects.jsonl").read_text().splitlines()
    aside = {reject["where"]: reject["reason"] for reject in map(json.loads, rejects)}
    assert aside.keys() == {"sad/l.raw", "sad/m.wav", "sad/n.pdf", "sad/o.txt"}
    assert "without a header" in aside["sad/l.raw"] and "cut off" in aside["sad/m.wav"]
    assert sum(summary.rejects.values()) == 4


def test_files_beside_the_folders_of_splits_are_told_once(tmp_path):
    for part in ("train", "test", "more"):
        (tmp_path / "c" / part / "sad").mkdir(parents=True)
        (tmp_path / "c" / part / "sad" / "1.wav").write_bytes(encoded())
    summary = read_to_folder("own", Request(tmp_path / "c", "train"), tmp_path / "rows")
    assert summary.rows["train", "er"] == summary.rows["test", "er"] == 1
    (reject,) = map(json.loads, (tmp_path / "rows" / "rejects.jsonl").read_text().splitlines())
    assert reject["where"] == "more/sad/1.wav" and "outside of the folders of the splits" in reject["reason"]


@pytest.mark.parametrize("form, subtype", FORMATS)
def test_verify_hears_whole_files_and_tells_cut_ones(form, subtype, tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(encoded(form, subtype))
    assert hear(str(path)).problem is None
    path.write_bytes(encoded(form, subtype)[: len(encoded(form, subtype)) // 2])
    assert hear(str(path)).problem[0] == "unreadable"


@pytest.mark.parametrize("rate", [16_000, 44_100, 22_051])
def test_windows_of_a_timeline_are_the_samples_of_the_whole(rate, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(7.3, rate), rate)
    whole = load_audio(path)
    windows = list(timeline._windows(path, RATE, 2 * RATE, RATE))
    assert [start for start, _ in windows] == [0, RATE, 2 * RATE, 3 * RATE, 4 * RATE, 5 * RATE, len(whole) - 2 * RATE]
    for start, samples in windows:
        np.testing.assert_array_equal(samples, whole[start : start + 2 * RATE])


def test_a_timeline_of_a_cut_file_is_refused(tmp_path):
    (tmp_path / "clip.wav").write_bytes(encoded()[:9000])
    with pytest.raises(AudioError, match="cut off"):
        next(timeline._windows(tmp_path / "clip.wav", RATE, 1600, 800))
