"""The audit page shows what was extracted, nothing from data can act in it, and its marks come back."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from audiollm.reasons.audit import (
    AuditError,
    Page,
    write_audit,
)
from audiollm.reasons.extract import Extraction
from audiollm.reasons.figures import Reservoir, distinct, overlap
from audiollm.reasons.marks import apply_marks, read_marks
from audiollm.reasons.prompts import read_prompts
from audiollm.reasons.rows import Input
from tests.reasons_rows import Teacher, good_answer, make_row, read_request, run_command, write_rows


ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&$x_1$|</style>"


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def answer(messages):
    """Good for most, good when asked again for some, never for others."""
    *_, transcript, again = read_request(messages)
    number = int("".join(filter(str.isdigit, transcript)) or 0)
    if number % 7 == 3 or (number % 7 == 2 and not again):
        return f'The speaker sounds bad: "{ATTACK}".'
    return good_answer(messages)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    (folder / "in").mkdir()
    for number in range(40):
        soundfile.write(folder / "in" / f"{number}.wav", np.zeros(3200, np.float32), 16_000)
    rows = [make_row(number, speaker=ATTACK) for number in range(40)]
    rows[5]["audio"] = f"missing {ATTACK[:9]}.wav"
    rows.append(make_row(41, label="sad<b>", id=f"x {ATTACK}", transcript=f"it is 41 {ATTACK}", audio="1.wav"))
    write_rows(folder / "in" / "train.jsonl", rows)
    teacher = Teacher(answer)
    teacher.name = f"toy {ATTACK}"
    with Extraction(Input([folder / "in"]), folder / "out", teacher, read_prompts()) as extraction:
        extraction.run()
    return folder


def make_page(folder, **options):
    path = write_audit(Input([folder / "in"]), folder / "out", folder / "page.html", Page(**options))
    return path.read_text()


def test_the_page_shows_samples_of_every_target_and_label_with_audio(folder):
    tags = Tags(make_page(folder, per_label=2, refused=5))
    cards = [attrs for attrs in tags.all("article") if attrs.get("class") != "refused"]
    shown = {(attrs["data-kind"], attrs["data-answer"].partition(".")[0]) for attrs in cards}
    assert {
        ("evidence, emotion", "The speaker sounds sad"),
        ("evidence, sentiment", "The sentiment is neutral"),
    } <= shown
    assert len([attrs for attrs in tags.all("article") if attrs.get("class") == "refused"]) == 5
    assert all(attrs["src"].startswith("data:audio/flac;base64,") for attrs in tags.all("audio"))
    assert len(tags.all("audio")) >= len(cards)
    assert "quote not said" in tags.text and "attempt 2, seed 1" in tags.text


def test_the_page_shows_rates_and_plots(folder):
    page = make_page(folder)
    tags = Tags(page)
    lines = re.findall(r'<tr><th scope="row">(.*?)</th><td>.*?</td><td>(.*?)</td></tr>', page)
    of = {name: float(value.rstrip("%")) for name, value in lines}
    assert of["jobs"] == 41 == of["accepted at once"] + of["accepted after asking again"] + of["set aside"]
    assert of["accepted after asking again"] >= 5 and of["set aside"] >= 5 and of["with a quote"] == 100
    names = {image["alt"] for image in tags.all("img")}
    assert {"Outcome by target", "Faults of answers", "Labels: emotion", "Labels: sentiment"} <= names
    assert {"Length of accepted answers", "Distinctness and repetition"} <= names
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in tags.all("img"))


def test_nothing_from_data_can_act(folder):
    page = make_page(folder, per_label=9, refused=50)
    tags = Tags(page)
    assert len(tags.all("script")) == 1
    assert not [tag for tag, attrs in tags.tags if any(name.startswith("on") for name in attrs)]
    ours = (
        "html head meta title style body header main section div h1 h2 h3 p small table thead tbody tr th td figure "
    )
    ours += (
        "figcaption img ol li span button strong code article audio blockquote em mark input details summary script"
    )
    assert {tag for tag, _ in tags.tags} <= set(ours.split())
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(attrs["content"] for attrs in tags.all("meta") if attrs.get("http-equiv"))
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert ATTACK in tags.text


def test_audio_can_be_linked_left_out_and_is_capped(folder):
    linked = Tags(make_page(folder, audio="link"))
    assert {attrs["src"] for attrs in linked.all("audio")} >= {"in/1.wav"}
    assert all(
        not attrs["src"].startswith(("/", "data:")) and "<" not in attrs["src"] for attrs in linked.all("audio")
    )
    assert Tags(make_page(folder, audio="none")).all("audio") == []
    capped = Tags(make_page(folder, audio_megabytes=0.000001))
    assert capped.all("audio") == []
    assert "has reached its size" in capped.text
    assert "The first 0.1 of 0 s." in Tags(make_page(folder, audio_seconds=0.1)).text


def test_missing_audio_is_a_note_on_its_card(folder):
    assert "no such file" in Tags(make_page(folder, per_label=20)).text


def test_the_marks_that_a_card_gives_are_read_back(folder, tmp_path):
    cards = Tags(make_page(folder, per_label=9, refused=0)).all("article")
    saved = [
        {"id": card["data-id"], "mark": "accept", "answer": card["data-answer"], "note": "",
         "provenance": json.loads(card["data-provenance"])}
        for card in cards
    ]  # fmt: skip
    path = tmp_path / "marks.json"
    path.write_text(json.dumps({"run": "x", "marks": saved}))
    assert len(read_marks(path)) == len(cards)
    source = Input([folder / "in"])
    with Extraction(
        source, tmp_path / "out", Teacher(lambda messages: "no"), read_prompts(), attempts=1
    ) as extraction:
        assert apply_marks(read_marks(path), extraction.attempts, source) == {"kept": len(cards), "stale": 0}
        extraction.run()
    page = write_audit(source, tmp_path / "out", page=Page(per_label=9)).read_text()
    assert page.count("Kept by a reviewer.") == len(cards)


def test_a_refused_answer_can_be_accepted_by_a_reviewer(folder, tmp_path):
    refused = [attrs for attrs in Tags(make_page(folder)).all("article") if attrs.get("class") == "refused"]
    card = next(attrs for attrs in refused if "evidence" in attrs["data-kind"])
    mark = {"id": card["data-id"], "mark": "accept", "answer": card["data-answer"]}
    path = tmp_path / "marks.json"
    path.write_text(json.dumps({"marks": [mark]}))
    source = Input([folder / "in"])
    with Extraction(source, tmp_path / "out", Teacher(), read_prompts(), ["evidence"]) as extraction:
        assert apply_marks(read_marks(path), extraction.attempts, source) == {"kept": 1, "stale": 0}
        extraction.run()
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert card["data-answer"] in {row["answer"] for row in rows}


def test_the_command_writes_the_page_and_names_errors(folder, tmp_path, capsys):
    assert run_command("audit", folder / "in", "--reasons", folder / "out", "--out", tmp_path / "a.html") == 0
    assert (tmp_path / "a.html").exists() and "a.html" in capsys.readouterr().out
    assert run_command("audit", folder / "in", "--reasons", tmp_path) == 2
    assert "holds no extraction" in capsys.readouterr().err
    with pytest.raises(AuditError):
        write_audit(Input([folder / "in"]), tmp_path)


def test_distinctness_and_overlap_are_what_they_say():
    assert distinct(["a b c", "a b d"], 1) == 4 / 6 and distinct(["a b c", "a b d"], 2) == 3 / 4
    assert distinct(["a"], 2) is None and overlap([]) is None
    assert overlap(["a b c d e", "a b c d e"]) == 1 and overlap(["a b c d e", "f g h i j"]) == 0
    assert overlap(["a b c d e", "x a b c d"]) == 0.5


def test_a_reservoir_gives_every_item_the_same_chance():
    counts = np.zeros(10)
    for seed in range(2000):
        reservoir = Reservoir(3, str(seed))
        for item in range(10):
            reservoir.add(item)
        counts[reservoir.items] += 1
    assert counts.sum() == 6000 and abs(counts - 600).max() < 90
