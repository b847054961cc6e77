"""The report shows what the results say, and nothing from data can act in it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from audiollm.commands import main
from audiollm.eval.report import choose_clips, write_report
from audiollm.eval.run import Settings, evaluate_system
from audiollm.eval.systems import System
from audiollm.reporting.plots import class_plot, confusion_plot, loss_plot


ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&$x_1$|</style>"


class Fake(System):
    name, fingerprint = f"fake {ATTACK}", "fake-1"

    def answer_batch(self, audios, questions):
        answers = {
            "right": 'The speaker sounds sad: "I lost it".',
            "wrong": f'The speaker sounds happy: "never said" {ATTACK}',
            "open": "The speaker sounds sad or angry.",
        }
        return [answers[question.split()[0]] for question in questions]


class Other(System):
    name, fingerprint = f"other {ATTACK}", "other-1"

    def answer_batch(self, audios, questions):
        return [f"The speaker sounds sad. {ATTACK}"] * len(questions)


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rows = []
    for kind in ("right", "wrong", "open"):
        soundfile.write(folder / f"{kind}.wav", np.zeros(800, np.float32), 16_000)
        row = {"id": f"{kind} {ATTACK}", "corpus": "toy", "split": "test", "task": "er", "audio": f"{kind}.wav"}
        row |= {"transcript": f"I lost it {ATTACK}", "label": "sad", "question": f"{kind} {ATTACK}", "answer": "x"}
        rows.append(row | {"target": "evidence", "speaker": ATTACK, "carrier": ATTACK})
    rows.append(rows[0] | {"id": f"broken {ATTACK}", "audio": "missing.wav"})
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = Settings(system="fake", data=str(folder), group_by=("carrier",))
    evaluate_system(settings, folder / "run", system=Fake(), progress=False, command=ATTACK)
    log = {"log_history": [{"step": s, "loss": 3 / s, "round": ATTACK, "train": [ATTACK]} for s in range(1, 9)]}
    (folder / "trainer_state.json").write_text(json.dumps(log))
    evaluate_system(settings, folder / "other", system=Other(), progress=False)
    write_report(folder / "run", train_log=folder / "trainer_state.json", compare=[folder / "other"])
    return folder / "run"


def test_nothing_from_data_becomes_markup(run_folder):
    page = (run_folder / "report.html").read_text()
    parsed = Tags(page)
    assert "<script>alert" not in page and "<img src=x" not in page
    assert [tag for tag, _ in parsed.tags].count("script") == 1 and [t for t, _ in parsed.tags].count("style") == 1
    assert all(not name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert parsed.text.count("<script>alert(1)</script>") > 10


def test_plots_hold_no_markup_from_data_either(run_folder):
    page = (run_folder / "report.html").read_text()
    plots = [base64.b64decode(data).decode() for data in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)]
    assert len(plots) == 4 and all(
        "<script" not in plot and "onerror=" not in re.sub("<!--.*?-->", "", plot) for plot in plots
    )


def test_the_page_needs_no_other_file_and_allows_no_other_script(run_folder):
    parsed = Tags((run_folder / "report.html").read_text())
    policy = next(a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "unsafe-eval" not in policy
    sources = [a[name] for _, a in parsed.tags for name in ("src", "href") if name in a]
    assert sources and all(source.startswith(("data:", "#")) for source in sources)


def test_the_scripts_hash_is_that_of_the_policy(run_folder):

    page = (run_folder / "report.html").read_text()
    script = re.search(r"<script>(.*?)</script>\n</body>", page, re.S).group(1)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in page


def test_recordings_can_be_heard_and_filtered_by_outcome(run_folder):
    parsed = Tags((run_folder / "report.html").read_text())
    outcomes = [attributes["data-outcome"] for tag, attributes in parsed.tags if tag == "article"]
    assert sorted(outcomes) == ["right", "unscored", "wrong"]
    sounds = [attributes["src"] for tag, attributes in parsed.tags if tag == "audio"]
    assert len(sounds) == 3 and base64.b64decode(sounds[0].split(",")[1])[:4] == b"fLaC"


def test_every_answer_says_what_the_filters_look_for(run_folder):
    parsed = Tags((run_folder / "report.html").read_text())
    questions = [attributes for tag, attributes in parsed.tags if attributes.get("class") == "question"]
    assert {q["data-result"] for q in questions} == {"right", "wrong", "unscored"}
    assert {(q["data-task"], q["data-label"]) for q in questions} == {("er", "sad")}
    filters = {(a["data-filter"], a["data-value"]) for tag, a in parsed.tags if tag == "button"}
    assert filters == {("outcome", name) for name in ("all", "right", "wrong", "unscored", "differ")}


def test_systems_answer_side_by_side_and_differences_are_marked(run_folder):
    parsed = Tags((run_folder / "report.html").read_text())
    assert [attributes.get("class") for _, attributes in parsed.tags].count("answer") == 6
    differ = {a["data-result"] for _, a in parsed.tags if "data-differ" in a}
    assert differ == {"wrong", "unscored"}
    assert parsed.text.count(Other.name) >= 3 and "Paired tests" in parsed.text


def test_a_system_that_was_not_asked_is_shown_as_such(run_folder, tmp_path):
    settings = Settings(system="other", data=str(run_folder.parent), limit=2)
    evaluate_system(settings, tmp_path / "few", system=Other(), progress=False)
    page = write_report(run_folder, tmp_path / "page.html", compare=[tmp_path / "few"]).read_text()
    assert "was not asked" in page


def test_recordings_beyond_the_budget_are_shown_without_sound(run_folder, tmp_path):
    page = write_report(run_folder, tmp_path / "page.html", audio_megabytes=0).read_text()
    assert "<audio" not in page and "3 recordings are without sound" in page and page.count("<article") == 3


def test_bars_have_intervals_and_tables_too(run_folder):
    text = Tags((run_folder / "report.html").read_text()).text
    assert "50.0" in text and "0.0, 100.0" in text


def test_runs_of_other_data_are_refused(run_folder, tmp_path, capsys):
    row = json.loads((run_folder.parent / "test.jsonl").read_text().splitlines()[0])
    row |= {"label": "happy", "audio": str(run_folder.parent / "right.wav")}
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n")
    evaluate_system(Settings(system="o", data=str(tmp_path)), tmp_path / "run", system=Other(), progress=False)
    assert main(["report", str(run_folder), "--compare", str(tmp_path / "run")]) == 2
    assert "differ in 'label'" in capsys.readouterr().err


def test_the_page_counts_unscored_and_failed_rows(run_folder):
    text = Tags((run_folder / "report.html").read_text()).text
    assert "of 2 scored answers; 1 unscored, 33.3% if those are wrong" in text
    assert "Rows without an answer: 1" in text and "missing.wav" in text


def test_clips_are_drawn_from_every_outcome_and_label_and_the_same_each_time():
    rows, verdicts = [], {}
    for number in range(60):
        rows.append(
            {
                "id": str(number),
                "task": "er",
                "label": "sad" if number % 2 else "happy",
                "audio": {"path": str(number)},
            }
        )
        verdicts[str(number)] = {"score": 0 if number < 2 else None if number < 4 else 1}
    clips = choose_clips(rows, verdicts, 8)
    seen = {(verdicts[clip[0]["id"]]["score"], clip[0]["label"]) for clip in clips}
    assert len(clips) == 8 and len(seen) == 6 and clips == choose_clips(rows, verdicts, 8)


def test_rows_of_one_recording_share_a_card():
    rows = [{"id": str(n), "task": t, "label": "sad", "audio": {"path": "a"}} for n, t in enumerate(("er", "asr"))]
    assert [len(clip) for clip in choose_clips(rows, {}, 5)] == [2]


def test_a_log_without_losses_gives_no_plot():
    assert loss_plot([]) is None and loss_plot([{"step": 1, "eval_loss": 2}]) is None
    assert loss_plot([{"step": 1, "loss": 2.0}]).lstrip().startswith("<?xml")


def test_the_contents_lead_to_every_section_and_recordings_come_before_tests(run_folder):
    parsed = Tags((run_folder / "report.html").read_text())
    links = [a["href"].removeprefix("#") for tag, a in parsed.tags if tag == "a"]
    sections = [a["id"] for tag, a in parsed.tags if tag == "section"]
    assert links == sections and sections.index("recordings") < sections.index("tests")


def test_plots_are_drawn_for_classes_without_scored_answers():
    assert "<svg" in class_plot([("a", {"sad": {"accuracy": None, "n_scored": 0}}, {}), ("b", {}, {})])
    assert "<svg" in confusion_plot({"rows": ["sad"], "columns": ["sad", "unscored"], "counts": [[0, 0]]})
