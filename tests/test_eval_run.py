"""A run answers every row once, survives being killed and broken audio, and counts honestly."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import soundfile

from audiollm.commands import main
from audiollm.commands.eval import system_folders
from audiollm.corpora.questions import draw_number
from audiollm.corpora.schema import RowError, read_rows
from audiollm.eval import EvalError
from audiollm.eval.emotion_judge.emotion_judge import mismatch
from audiollm.eval.judges import Judge, Rating, Verdict
from audiollm.eval.metrics import METRICS, cluster_names, find_metric
from audiollm.eval.report import write_report
from audiollm.eval.results import read_predictions, read_run
from audiollm.eval.run import Settings, evaluate_system
from audiollm.eval.systems import System, load_system
from audiollm.eval.systems.majority import Majority
from audiollm.eval.systems.swapped import Swapped
from audiollm.eval.systems.transcript import Transcript
from audiollm.eval.tables import class_table, compare_runs, controls_table, group_table, overall_table
from audiollm.language_models import Reply
from audiollm.language_models.journal import JournalError
from audiollm.locks import FolderInUseError
from tests.chat_server import chat_server


ROWS = [
    # id, task, transcript, label, answer, target, speaker, carrier, what the fake system says
    ("a", "er", "I lost my dog", "sad", "x", "evidence", "s1", "words", 'The speaker sounds sad: "I lost my dog".'),
    (
        "b",
        "er",
        "We won the cup",
        "happy",
        "x",
        "evidence",
        "s1",
        "words",
        'The speaker sounds sad: "we lost it all".',
    ),
    ("c", "er", "It is nine", "angry", "x", "label", "s2", "voice", "The speaker sounds angry."),
    ("d", "er", "It is ten", "angry", "x", "label", "s2", "voice", "The speaker sounds angry or sad."),
    ("e", "sr", "It is ten", "negative", "x", "label", "s2", "voice", "The sentiment is negative."),
    ("f", "asr", "It is ten", None, "It is ten", None, "s2", "voice", "it is then"),
    ("g", "sqa", "It is ten", None, "ten", None, "s2", "voice", "It is ten."),
]
ANSWERS = {row[0]: row[-1] for row in ROWS}


class Fake(System):
    """Knows the answers by the question, and keeps what it was asked."""

    name = "fake"
    fingerprint = "fake-1"

    def __init__(self):
        self.asked, self.lengths = [], []

    def answer(self, audio, question):
        raise AssertionError("batches are answered as batches")

    def answer_batch(self, audios, questions):
        self.asked += [question.rsplit(" ", 1)[1] for question in questions]
        self.lengths.append([len(audio) for audio in audios])
        return [ANSWERS[question.rsplit(" ", 1)[1]] for question in questions]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = []
    for number, (id_, task, transcript, label, answer, target, speaker, carrier, _) in enumerate(ROWS):
        soundfile.write(folder / f"{id_}.wav", np.zeros(1600 * (1 + (number * 5) % 7), np.float32), 16_000)
        lines.append(
            {
                **{"id": id_, "corpus": "toy", "split": "test", "task": task, "audio": f"{id_}.wav"},
                **{"transcript": transcript, "label": label, "question": f"What about {id_}", "answer": answer},
                **{"target": target, "speaker": speaker, "carrier": carrier},
            }
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "test.jsonl").write_text(text)
    (folder / "train.jsonl").write_text(text.replace('"split": "test"', '"split": "train"'))
    return folder


def run(corpus, out, system=None, **settings):
    settings = {"batch_size": 2, "group_by": ("carrier", "speaker"), **settings}
    return evaluate_system(
        Settings(system="fake", data=str(corpus), **settings), out, system=system or Fake(), progress=False
    )


def test_figures_of_every_task(corpus, tmp_path):
    figures = run(corpus, tmp_path / "out")["figures"]
    assert figures["er"]["weighted_average"] == pytest.approx(100 * 2 / 3)
    assert figures["sr"]["weighted_average"] == 100.0
    assert figures["asr"]["wer"] == pytest.approx(100 / 3)
    assert figures["sqa"]["squad_f1"] == pytest.approx(50.0)
    assert figures["evidence"]["evidence"]["quotation"] == 100.0
    assert figures["evidence"]["evidence"]["quotes_grounded"] == 50.0
    assert figures["evidence"]["all"]["quotation"] == pytest.approx(40.0)


def test_claims_about_the_voice_are_checked_against_the_clips(corpus, tmp_path, monkeypatch):
    for id_ in ANSWERS:
        noise = np.random.default_rng(0).standard_normal(8000)
        soundfile.write(corpus / f"{id_}.wav", (0.2 if id_ == "c" else 0.02) * noise, 16_000)
    said = {
        "c": "The speaker sounds angry, in a loud, trembling voice.",
        "a": 'Sad: "I lost my dog", and the voice is loud.',
    }
    system = Fake()
    monkeypatch.setattr(system, "answer_batch", lambda audios, asked: [said.get(q[-1], "Sad.") for q in asked])
    figures = run(corpus, tmp_path / "out", system)["figures"]["evidence"]["all"]
    assert (figures["n_claims"], figures["n_claims_checkable"], figures["n_claims_true"]) == (3, 2, 1)
    assert read_run(tmp_path / "out").claims["c"][0]["true"] is True
    page = write_report(tmp_path / "out").read_text()
    assert "voice loud: borne out" in page and "voice trembling: not checkable" in page
    measures = (tmp_path / "out" / "voice.jsonl").read_bytes()
    run(corpus, tmp_path / "out", system)
    assert (tmp_path / "out" / "voice.jsonl").read_bytes() == measures


class Parrot(System):
    """Names the emotion of the clip by its length, so that it says of another clip what that one is."""

    name, fingerprint = "parrot", "parrot-1"

    def answer(self, audio, question):
        return f"The speaker sounds {self.by_length.get(len(audio), 'calm')}."

    def meet(self, rows):
        self.by_length = {soundfile.info(row["audio"]["path"]).frames: row["label"] for row in rows if row["label"]}


class Words:
    name = "words"

    def ask(self, requests):
        for number, messages in enumerate(requests):
            yield number, Reply("The speaker sounds sad." if "lost" in messages[0]["content"] else "I can't tell.")


def test_controls_read_the_words_or_hear_another_clip_and_the_difference_is_shown(corpus, tmp_path):
    heard = run(corpus, tmp_path / "own", Parrot(), tasks=("er",))
    swapped = run(corpus, tmp_path / "swapped", Swapped(Parrot()), tasks=("er",))
    words = run(corpus, tmp_path / "words", Transcript(Words()), tasks=("er",))
    shares = [of["figures"]["er"]["if_unscored_wrong"]["weighted_average"] for of in (heard, swapped, words)]
    assert shares == [100.0, 0.0, 25.0]
    runs = [read_run(tmp_path / name) for name in ("own", "swapped", "words")]
    table = controls_table(runs[0], runs[1:])
    assert [line[:2] for line in table.rows] == [
        ("parrot, swapped", "another recording"), ("transcript+words", "the words of the data")
    ]  # fmt: skip
    assert [line[5].value for line in table.rows] == [100.0, 75.0]
    assert controls_table(runs[1], runs[:1]) is None
    assert "Controls: what parrot hears" in write_report(tmp_path / "own", compare=[tmp_path / "words"]).read_text()


def test_another_recording_is_drawn_by_the_row_without_going_through_all_of_them(monkeypatch):
    rows = [
        {"id": f"r{number}", "task": "er", "audio": f"{number // 2}.wav", "label": "angry" if number % 3 else "sad"}
        for number in range(200)
    ]
    looked_at = []
    monkeypatch.setattr(
        "audiollm.eval.systems.swapped.clip_of", lambda row: looked_at.append(row["id"]) or row["audio"]
    )
    system = Swapped(Fake())
    system.meet(rows)
    assert len(looked_at) <= 3 * len(rows)
    clips = {row["audio"]: row for row in rows}
    for row in rows:
        unlike = [o for o in clips.values() if o["label"] != row["label"] and o["audio"] != row["audio"]]
        assert system._others[row["id"]] == unlike[draw_number(row["id"]) % len(unlike)]


def test_where_words_and_voice_differ_it_is_counted_what_the_answer_follows(corpus, tmp_path):
    lines = [json.loads(line) for line in (corpus / "test.jsonl").read_text().splitlines()]
    emotions = {"a": ("sad", "angry"), "b": ("happy", "sad"), "c": ("sad", "angry"), "d": ("angry", "angry")}
    for line in lines:
        if line["id"] in emotions:
            line["words_label"], line["voice_label"] = emotions[line["id"]]
    (corpus / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    figures = run(corpus, tmp_path / "out")["figures"]["er"]["mismatch"]  # the answers: sad, sad, angry
    assert figures == {"follows_voice": pytest.approx(200 / 3), "follows_words": pytest.approx(100 / 3), "n": 3}
    told = read_run(tmp_path / "out")
    counts = find_metric("follows_voice").counts(told, told.of_task("er"))
    assert np.nansum(counts, axis=0).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("verdict", "label", "prediction", "followed"),
    [
        (Verdict(1, "", judge="llm:m"), "sad", "They sound down.", "voice"),
        (Verdict(0, "", judge="llm:m"), "sad", "The speaker sounds happy.", "words"),
        (Verdict(0, "", judge="llm:m"), "sad", "The speaker sounds angry.", "neither"),
        (Verdict(0, "", judge="llm:m"), "sad", "The speaker sounds sad.", "neither"),  # the judge does not think so
        (Verdict(None, "", judge="llm:m", failure="no_reply"), "sad", "The speaker sounds sad.", "voice"),
        (Verdict(1, "", ("happy", "sad"), "several_emotions", "llm:m"), "sad", "Happy and sad.", "voice"),
        (Verdict(0, "", ("happy", "sad"), "several_emotions", "llm:m"), "sad", "Happy and sad.", "neither"),
        (Verdict(1, "", judge="llm:m"), "happy", "They sound glad.", "words"),  # whichever of the two is the label
    ],
)
def test_what_an_answer_follows_is_told_whoever_judges(verdict, label, prediction, followed):
    row = {"label": label, "prediction": prediction, "voice_label": "sad", "words_label": "happy"}
    assert mismatch(row, verdict, ("neutral", "happy", "sad", "angry")) == followed


def test_controls_are_systems_that_a_command_names(corpus, tmp_path):
    folders = system_folders(["a/run", "swapped:a/run", "transcript:a/llm"], tmp_path)
    assert [folder.name for folder in folders.values()] == ["run", "swapped-run", "transcript-llm"]
    assert load_system("swapped:majority", str(corpus)).name == "majority, swapped"


def test_unscored_is_counted_and_is_not_zero(corpus, tmp_path):
    results = run(corpus, tmp_path / "out")
    emotion = results["figures"]["er"]
    assert (emotion["n"], emotion["n_scored"], emotion["n_unscored"]) == (4, 3, 1)
    assert emotion["special"] == {"several_emotions": 1} and results["counts"]["unscored"] == 1
    assert emotion["per_class"]["angry"]["accuracy"] == 100.0
    assert emotion["if_unscored_wrong"]["weighted_average"] == 50.0
    assert emotion["if_unscored_right"]["weighted_average"] == 75.0
    verdicts = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    assert {v["id"]: v["score"] for v in verdicts} == {"a": 1, "b": 0, "c": 1, "d": None, "e": 1}


def test_results_hold_no_login_and_no_key_of_a_server(corpus, tmp_path):
    class Served(Fake):
        def describe(self):
            return {"server": "http://me:sesame@host:8000/v1?key=sesame", "api_key": "sesame", "folder": str(corpus)}

    settings = Settings(system="fake", data=str(corpus))
    command = "audiollm eval --judge server:m@http://me:sesame@host/v1"
    results = evaluate_system(settings, tmp_path / "out", Served(), progress=False, command=command)
    text = (tmp_path / "out" / "results.json").read_text()
    assert "sesame" not in text and results == json.loads(text)
    assert results["system"]["server"] == "http://host:8000/v1" and results["system"]["folder"] == str(corpus)


def test_groups_are_given_by_column_and_by_pairs(corpus, tmp_path):
    groups = run(corpus, tmp_path / "out")["groups"]
    assert set(groups) == {"carrier", "speaker", "carrier x speaker"}
    assert groups["carrier"]["words"]["er"]["weighted_average"] == 50.0
    assert groups["carrier"]["voice"]["er"]["weighted_average"] == 100.0
    assert groups["carrier"]["voice"]["er"]["n_unscored"] == 1
    assert set(groups["carrier x speaker"]) == {"words / s1", "voice / s2"}
    assert "asr" not in groups["carrier"]["words"]


def test_rows_are_answered_by_task_and_length(corpus, tmp_path):
    system = Fake()
    run(corpus, tmp_path / "out", system)
    assert sorted(system.asked) == sorted(ANSWERS)
    tasks = {row[0]: row[1] for row in ROWS}
    order = [(tasks[id_], length) for id_, length in zip(system.asked, sum(system.lengths, []))]
    assert order == sorted(order) and [len(lengths) for lengths in system.lengths] == [2, 2, 2, 1]


def test_results_say_how_to_reproduce_them(corpus, tmp_path):
    results = run(corpus, tmp_path / "out")
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["system"]["fingerprint"] == "fake-1" and results["settings"]["normalizer"] == "whisper_english"
    assert results["label_sets"]["er"]["name"] == "emotion7" and len(results["label_sets"]["er"]["labels"]) == 7
    assert {"python", "jiwer", "transformers"} <= set(results["versions"])


def test_predictions_keep_the_row_without_its_audio(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    prediction = read_predictions(tmp_path / "out" / "predictions.jsonl")["a"]
    assert prediction["transcript"] == "I lost my dog" and prediction["carrier"] == "words"
    assert prediction["prediction"] == ANSWERS["a"] and prediction["error"] is None
    assert str(tmp_path) not in json.dumps(prediction)


def test_a_finished_run_asks_nothing_again(corpus, tmp_path):
    first, system = run(corpus, tmp_path / "out"), Fake()
    again = run(corpus, tmp_path / "out", system)
    assert system.asked == [] and again["figures"] == first["figures"] and again["groups"] == first["groups"]


def test_the_time_of_answers_is_that_of_all_calls(corpus, tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("audiollm.eval.run.time.monotonic", lambda: clock[0])

    class Slow(Fake):
        def answer_batch(self, audios, questions):
            clock[0] += len(audios)
            return super().answer_batch(audios, questions)

    def seconds():
        return run(corpus, tmp_path / "out", Slow())["time"]["answering_seconds"]

    assert seconds() == len(ROWS)
    clock[0] += 1000  # the time between two calls is nobody's
    assert seconds() == len(ROWS)
    (tmp_path / "out" / "predictions.jsonl").write_text("")
    assert seconds() == 2 * len(ROWS)


def test_a_changed_question_is_asked_again(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    path = corpus / "test.jsonl"
    path.write_text(path.read_text().replace("What about c", "And what about c"))
    system = Fake()
    run(corpus, tmp_path / "out", system)
    assert system.asked == ["c"]


def test_a_half_written_last_line_is_tolerated_and_its_row_asked_again(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    path = tmp_path / "out" / "predictions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    lost = json.loads(whole.splitlines()[-1])["id"]
    system = Fake()
    run(corpus, tmp_path / "out", system)
    assert system.asked == [lost] and len(path.read_text().splitlines()) == len(ROWS)


def test_a_broken_line_within_the_file_is_an_error_that_names_it(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    path = tmp_path / "out" / "predictions.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-9], *lines[2:]]) + "\n")
    with pytest.raises(JournalError, match="line 2"):
        run(corpus, tmp_path / "out")


def test_a_killed_run_goes_on_where_it_was(corpus, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from audiollm.eval.run import Settings, evaluate_system
            from audiollm.eval.systems import System

            class Slow(System):
                name, fingerprint = "fake", "fake-1"
                calls = 0

                def answer_batch(self, audios, questions):
                    self.calls += 1
                    if self.calls > 2:
                        time.sleep(60)
                    return ["The speaker sounds sad."] * len(audios)

            settings = Settings(system="fake", data=sys.argv[1], batch_size=1)
            evaluate_system(settings, sys.argv[2], system=Slow(), progress=False)
            """
        )
    )
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, str(script), str(corpus), str(out)])
    path, deadline = out / "predictions.jsonl", time.time() + 300
    while time.time() < deadline and not (path.exists() and path.read_text().count("\n") == 2):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = set(read_predictions(path))
    assert len(kept) == 2 and not (out / "results.json").exists()
    system = Fake()
    before = json.loads((out / "run.json").read_text())["seconds"]
    assert before > 0
    results = run(corpus, out, system, group_by=())
    assert results["time"]["answering_seconds"] > before
    assert set(system.asked) == set(ANSWERS) - kept and len(system.asked) == len(ROWS) - 2
    assert results["counts"]["answered"] == len(ROWS)


def test_unreadable_audio_is_recorded_and_the_run_goes_on(corpus, tmp_path):
    (corpus / "a.wav").write_text("this is no audio")
    (corpus / "g.wav").unlink()
    results = run(corpus, tmp_path / "out")
    assert [error["id"] for error in results["errors"]] == ["a", "g"]
    assert results["counts"]["errors"] == 2 and results["counts"]["answered"] == len(ROWS) - 2
    assert results["counts"]["refused"] == 2
    assert "a.wav" in results["errors"][0]["error"] and results["figures"]["er"]["n"] == 3
    assert "sqa" not in results["figures"]


class Counting(Fake):
    def counted(self):
        return {"answers_given": len(self.asked), "answers_cut": sum(id_ in "ab" for id_ in self.asked)}


def test_what_a_system_counts_is_added_up_over_the_processes_of_a_run(corpus, tmp_path):
    good, out = (corpus / "a.wav").read_bytes(), tmp_path / "out"
    (corpus / "a.wav").write_text("this is no audio")

    def told(system):
        results = run(corpus, out, system)["system"]
        return results["answers_given"], results["answers_cut"]

    system = Counting()
    assert told(system) == (len(ROWS) - 1, 1) == told(system)  # the second time nothing is asked
    (corpus / "a.wav").write_bytes(good)
    assert told(Counting()) == (len(ROWS), 2)
    kept = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({name: kept[name] for name in ("name", "fingerprint", "seconds")}))
    assert "answers_given" not in run(corpus, out, Counting())["system"]  # of a run from before it was kept


def test_different_recordings_of_one_file_name_have_different_names_without_the_machines_folders(corpus, tmp_path):
    (corpus / "one").mkdir()
    (tmp_path / "elsewhere").mkdir()
    names = {"a": "a.wav", "b": "one/a.wav", "c": "../elsewhere/a.wav", "d": str(tmp_path / "elsewhere" / "a.wav")}
    for name in names.values():
        shutil.copy(corpus / "a.wav", corpus / name) if not (corpus / name).exists() else None
    lines = [json.loads(line) for line in (corpus / "test.jsonl").read_text().splitlines()]
    lines = [line | {"audio": names.get(line["id"], line["audio"])} for line in lines]
    (corpus / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(corpus, tmp_path / "out")
    rows = {row["id"]: row for row in read_run(tmp_path / "out").of_task("er")}
    assert (rows["a"]["audio"], rows["b"]["audio"]) == ("a.wav", "one/a.wav")
    assert re.fullmatch(r"[0-9a-f]{8}/a\.wav", rows["c"]["audio"]) and rows["c"]["audio"] == rows["d"]["audio"]
    assert len(set(cluster_names(list(rows.values()), "audio"))) == 3


def test_rows_with_errors_are_tried_again(corpus, tmp_path):
    good = (corpus / "a.wav").read_bytes()
    (corpus / "a.wav").write_text("this is no audio")
    run(corpus, tmp_path / "out")
    (corpus / "a.wav").write_bytes(good)
    system = Fake()
    results = run(corpus, tmp_path / "out", system)
    assert system.asked == ["a"] and results["counts"]["errors"] == 0


def test_a_row_the_system_refuses_does_not_take_its_batch_along(corpus, tmp_path):
    class Picky(Fake):
        def answer_batch(self, audios, questions):
            if any(question.endswith(" b") for question in questions):
                raise ValueError("no b, please")
            return super().answer_batch(audios, questions)

    results = run(corpus, tmp_path / "out", Picky())
    assert [error["id"] for error in results["errors"]] == ["b"] and "no b, please" in results["errors"][0]["error"]
    assert results["counts"]["answered"] == len(ROWS) - 1 and results["counts"]["refused"] == 1


def test_a_fault_of_the_system_stops_the_run_and_keeps_what_was_answered(corpus, tmp_path):
    class Faulty(Fake):
        def answer_batch(self, audios, questions):
            if self.asked:
                raise RuntimeError("out of memory")
            return super().answer_batch(audios, questions)

    with pytest.raises(RuntimeError, match="out of memory"):
        run(corpus, tmp_path / "out", Faulty())
    assert len(read_predictions(tmp_path / "out" / "predictions.jsonl")) == 2


def test_another_systems_answers_are_not_gone_on_with(corpus, tmp_path):
    class Other(Fake):
        fingerprint = "fake-2"

    run(corpus, tmp_path / "out")
    with pytest.raises(EvalError, match="fake-1.*--overwrite"):
        run(corpus, tmp_path / "out", Other())
    settings = Settings(system="fake", data=str(corpus))
    system = Other()
    evaluate_system(settings, tmp_path / "out", system=system, overwrite=True, progress=False)
    assert len(system.asked) == len(ROWS)


@pytest.mark.parametrize(
    "change, message",
    [
        (('"label": "sad"', '"label": null'), "row a.*'label'"),
        (('"label": "sad"', '"label": "calm"'), None),
        (('"id": "b"', '"id": "a"'), "more than once.*a"),
        (('"transcript": "It is ten", "label": null', '"label": null'), "row f.*'transcript'"),
    ],
)
def test_rows_without_what_their_task_needs_are_named(corpus, tmp_path, change, message):
    path = corpus / "test.jsonl"
    path.write_text(path.read_text().replace(*change))
    if message is None:
        assert run(corpus, tmp_path / "out")["label_sets"]["er"]["name"] == "ravdess8"
        return
    with pytest.raises((EvalError, RowError), match=message):
        run(corpus, tmp_path / "out")


def test_a_label_outside_the_chosen_set_is_an_error(corpus, tmp_path):
    with pytest.raises(EvalError, match="'sad' is not in the label set"):
        run(corpus, tmp_path / "out", label_set="happy,angry")
    with pytest.raises(EvalError, match="mood"):
        run(corpus, tmp_path / "out", group_by=("mood",))


def test_rows_are_asked_for_another_kind_of_answer_as_training_rows_are(corpus, tmp_path):
    lines = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    for line in lines:
        if line["task"] in ("er", "sr"):
            line |= {"target": "label", "question": f"Only the {line['task']} of {line['id']}"}
    (corpus / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = {line["question"] for line in lines if line["target"] == "label"}

    class Listening(Fake):
        def answer_batch(self, audios, questions):
            self.asked += questions
            return ["The speaker sounds sad."] * len(questions)

    system, out = Listening(), tmp_path / "out"
    results = run(corpus, out, system, ask="label", tasks=("er", "sr", "asr"))
    told = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    emotional = [row for row in told if row["task"] in ("er", "sr")]
    assert {row["target"] for row in emotional} == {"label"} and {row["question"] for row in emotional} <= asked
    assert all(row["question"].startswith(f"Only the {row['task']}") for row in emotional)
    assert all(row["question"].startswith("What about") for row in told if row["task"] == "asr")
    assert results["settings"]["ask"] == "label" and set(system.asked) >= {row["question"] for row in emotional}
    run(corpus, tmp_path / "own", tasks=("er", "sr", "asr"))
    whole, own = (read_run(folder) for folder in (out, tmp_path / "own"))
    assert "emotion" in {name for name, _ in compare_runs(own, whole)}  # row by row, whatever they were asked
    with pytest.raises(EvalError, match="ask label there, nothing here"):
        run(corpus, out, Listening(), tasks=("er", "sr", "asr"))
    again = run(corpus, tmp_path / "again", Listening(), ask=f"label:{corpus}", tasks=("er", "sr", "asr"))
    assert again["figures"] == results["figures"]
    with pytest.raises(EvalError, match="no training row of .* asks er and sr for interpretive"):
        run(corpus, tmp_path / "no", Listening(), ask="interpretive")
    with pytest.raises(EvalError, match="the targets are label, interpretive, evidence"):
        run(corpus, tmp_path / "no", Listening(), ask="lable")


def test_a_limit_takes_the_same_random_rows_each_time(corpus, tmp_path):
    asked = []
    for number in range(2):
        system = Fake()
        run(corpus, tmp_path / str(number), system, limit=3, seed=5, group_by=())
        asked.append(sorted(system.asked))
    assert asked[0] == asked[1] and len(asked[0]) == 3


def test_tasks_can_be_chosen(corpus, tmp_path):
    assert set(run(corpus, tmp_path / "out", tasks=("asr",), group_by=())["figures"]) == {"asr", "evidence"}


def test_the_majority_answers_without_listening(corpus):
    system = load_system("majority", corpus)
    audio = np.zeros(160, np.float32)
    questions = ["What about a", "What about e", "What about f", "What about g", "Which sentiment?", "Which mood?"]
    assert system.answer_batch([audio] * 6, questions) == [
        "The speaker sounds angry.",
        "The speaker sounds negative.",
        "",
        "ten",
        "The speaker sounds negative.",
        "The speaker sounds angry.",
    ]


def test_the_majority_answers_rows_by_their_task_whatever_they_ask(corpus):
    rows = [{"task": task, "question": "A question of nobody"} for task in ("er", "sr", "asr", "sqa")]
    answers = load_system("majority", corpus).answer_rows(rows, [None] * 4)
    assert answers == ["The speaker sounds angry.", "The speaker sounds negative.", "", "ten"]


def test_the_majority_does_not_depend_on_the_order_of_rows(corpus):
    rows = read_rows(corpus, "train")
    assert Majority(rows).fingerprint == Majority(rows[::-1]).fingerprint


def test_an_unknown_system_and_a_majority_without_training_rows_are_refused(tmp_path, corpus):
    with pytest.raises(EvalError, match="no system 'nothing'"):
        load_system("nothing")
    with pytest.raises(EvalError, match="train.jsonl"):
        load_system("majority", tmp_path)
    with pytest.raises(EvalError, match="config.json"):
        load_system(str(corpus))


def test_the_command_evaluates_prints_tables_and_can_be_repeated(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["eval", "--system", "majority", "--data", str(corpus), "--out", str(out), "--group-by", "carrier"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "**Results**" in printed and f"audiollm tables {out}" in printed and printed.count("\n| ---") == 1
    results = json.loads((out / "results.json").read_text())
    assert results["command"].startswith("audiollm eval --system majority --data")
    assert results["system"]["answers"]["er"] == "The speaker sounds angry."
    assert results["figures"]["er"]["weighted_average"] == 50.0 and results["figures"]["asr"]["wer"] == 100.0


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    data, out = str(tmp_path / "none.jsonl"), str(tmp_path / "o")
    assert main(["eval", "--system", "majority", "--data", data, "--out", out]) == 2
    assert "none.jsonl" in capsys.readouterr().err


def test_tables_set_systems_side_by_side_and_leave_missing_figures_empty(corpus, tmp_path):
    whole = run(corpus, tmp_path / "whole")
    only_asr = run(corpus, tmp_path / "asr", tasks=("asr",), group_by=())
    only_asr["system"]["name"] = "pipe|name"
    lines = overall_table([whole, only_asr]).markdown().splitlines()
    assert lines[0] == "**Overall**" and len({len(line) for line in lines[2:6]}) == 1
    cells = [cell.strip() for cell in lines[5].replace("\\|", "/").strip("|").split("|")]
    assert cells[0] == "pipe/name" and cells[1] == "" and cells[4:] and "33.3" in cells
    assert "Emotion classes: neutral" in lines[-1] and "whisper_english" in lines[-1]
    by_class = class_table([whole, only_asr], "er")
    assert len(by_class.rows) == 1 and dict(zip(by_class.columns, by_class.rows[0]))["surprised"] is None
    assert [row[0] for row in group_table(whole, "carrier").rows] == ["voice", "words"]


def reply_by(text):
    """A judge's reply that depends on what it rates."""
    rating = 1 if "angry or sad" in text else 0 if "we lost it all" in text else 2
    return json.dumps({"reasoning": "as it is", "rating": rating})


def test_a_hybrid_asks_about_special_cases_and_rates_answers_and_evidence(corpus, tmp_path):
    with chat_server(lambda body: reply_by(body["messages"][0]["content"])) as server:
        settings = {"judge": f"hybrid:server:j@{server.url}", "group_by": ("carrier",)}
        results = run(corpus, tmp_path / "out", **settings)
        judging, asked = results["judging"], len(server.requests)
        assert judging["asked"] == {"emotion": 1, "sqa": 1, "groundedness": 5, "relevance": 5} and asked == 12
        assert (judging["judge"], judging["share_unscored"], judging["failed"]) == ("hybrid:j@server", 0.0, False)
        assert judging["model"]["name"] == "j@server" and judging["model"]["temperature"] == 0
        assert len(judging["rubrics"]) == 4
        wording = judging["rubrics"]["emotion"]["wording"].replace("{nonce}", judging["nonce"])
        before, after = wording.split("{question}")[0], wording.split("{answer}")[1]
        asked_first = server.requests[0]["messages"][0]["content"]
        assert asked_first.startswith(before) and asked_first.endswith(after)
        figures = results["figures"]
        assert figures["er"]["n_unscored"] == 0 and figures["er"]["weighted_average"] == 75.0
        assert figures["sqa"]["judge_score"] == 40.0 and figures["sqa"]["squad_f1"] == pytest.approx(50.0)
        assert figures["evidence"]["evidence"]["groundedness"] == 50.0
        assert figures["evidence"]["evidence"]["quotes_grounded"] == 50.0
        assert results["groups"]["carrier"]["voice"]["evidence"]["all"]["relevance"] == pytest.approx(100 * 5 / 6)
        verdicts = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
        assert {v["id"]: v["judge"] for v in verdicts}["d"] == "llm:j@server" and verdicts[0]["judge"] == "rule"
        finished = read_run(tmp_path / "out")
        judged = {"SQA judged": 40.0, "relevance": figures["evidence"]["evidence"]["relevance"]}
        for metric in METRICS:
            if metric.heading in judged:
                counts = metric.counts(finished, metric.rows(finished.rows))
                assert metric.statistic(counts.sum(0)) == pytest.approx(judged.pop(metric.heading))
        assert not judged and "SQA judged" in {name for name, _ in compare_runs(finished, finished)}
        page = write_report(tmp_path / "out").read_text()
        assert 'title="as it is">answer 2 of 5<' in page and "groundedness 0 of 2" in page
        again = run(corpus, tmp_path / "out", **settings)
        assert len(server.requests) == asked and again["figures"] == figures
        assert again["judging"]["answered_before"] == judging["asked"]


class Strict(Judge):
    """Finds every emotion wrong, and gives spoken answers three."""

    name = "strict"

    def judge(self, cases):
        return [Verdict(0, "no.", judge=self.name) for _ in cases]

    def rate(self, what, items):
        return [Rating(3, "so so.") for _ in items] if what == "sqa" else None


def test_a_judge_of_ones_own_decides_and_rates(corpus, tmp_path):
    settings = Settings(system="fake", data=str(corpus))
    results = evaluate_system(settings, tmp_path / "out", Fake(), progress=False, judge=Strict())
    figures = results["figures"]
    assert figures["er"]["n_scored"] == 4 and figures["er"]["weighted_average"] == 0
    assert figures["sqa"]["judge_score"] == 60 and "groundedness" not in figures["evidence"]["all"]
    assert results["judging"]["judge"] == "strict" and not results["judging"]["failed"]
    assert "judge: strict" in overall_table([results]).note


@pytest.mark.parametrize(
    "given, message",
    [
        (type("Bare", (), {"judge": lambda self, cases: []})(), "Bare has no name, rate, describe: subclass"),
        (type("Short", (Strict,), {"judge": lambda self, cases: []})(), "strict gave 0 verdicts on 5 answers"),
        (type("High", (Strict,), {"rate": lambda self, what, items: [Rating(9, "")] * len(items)})(), "row g: 9 is"),
    ],
)
def test_a_judge_that_is_none_is_refused(corpus, tmp_path, given, message):
    with pytest.raises(EvalError, match=message):
        evaluate_system(
            Settings(system="fake", data=str(corpus)), tmp_path / "out", Fake(), progress=False, judge=given
        )
    assert "Bare" not in message or not (tmp_path / "out").exists()


def test_a_run_fails_when_too_many_verdicts_do_but_keeps_its_results(corpus, tmp_path, capsys):
    broken = {"now": True}

    def answer(body):
        text = body["messages"][0]["content"]
        return "I would rather not." if broken["now"] and "sounds angry." in text else reply_by(text)

    with chat_server(answer) as server:
        arguments = ["eval", "--system", "majority", "--data", str(corpus), "--judge", f"llm:server:j@{server.url}"]
        arguments += ["--tasks", "er", "--out", str(tmp_path / "out")]
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert "verdicts failed" in said.err and "**" in said.out
        assert "asked: emotion 4 (and 0 before)" in said.out and "unscored: 12" in said.out
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert results["judging"]["failures"] == {"no_verdict": 12} and results["judging"]["share_unscored"] == 1.0
        assert results["figures"]["er"]["weighted_average"] is None and results["figures"]["er"]["n_unscored"] == 4
        assert main([*arguments, "--max-unscored", "1"]) == 0
        broken["now"] = False
        assert (
            main([*arguments, "--judge-prompts", "audiobench", "--replace-results"]) == 1
        )  # its evidence rubrics are the same
        assert "unscored" in capsys.readouterr().out


def test_a_system_that_answers_nothing_is_a_failure(corpus, tmp_path, capsys):
    for wav in corpus.glob("*.wav"):
        wav.unlink()
    assert main(["eval", "--system", "majority", "--data", str(corpus), "--out", str(tmp_path / "out")]) == 1
    assert "answered none of 7 rows" in capsys.readouterr().err


def test_several_systems_are_evaluated_by_one_command(corpus, checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    systems = [str(checkpoint), str(tmp_path / "nowhere"), "majority"]
    assert main(["eval", "--system", *systems, "--data", str(corpus), "--out", str(out), "--report"]) == 1
    said = capsys.readouterr()
    assert f"error: {systems[1]}: " in said.err
    assert {path.parent.name for path in out.rglob("results.json")} == {"tiny-model", "majority"}
    assert "tiny-model" in said.out and "majority" in said.out and "nowhere" not in said.out
    page = (out / "tiny-model" / "report.html").read_text()
    assert "majority" in page


def test_folders_are_named_after_all_of_a_system(tmp_path):
    systems = ["cascade:/m/asr+server:llm@http://a/v1", "endpoint:salmonn@http://a:8000/v1", "chat:org/model@abc"]
    folders = system_folders(systems, tmp_path)
    assert [folder.name for folder in folders.values()] == ["asr+server-llm", "endpoint-salmonn", "model"]


def test_trainings_are_named_by_their_run(tmp_path):
    systems = [tmp_path / "slow" / "model", tmp_path / "fast" / "model", tmp_path / "fast" / "checkpoint-40"]
    systems += [tmp_path / "again" / "fast" / "model"]
    for system in systems:
        system.mkdir(parents=True)
    folders = system_folders([str(system) for system in systems], tmp_path)
    assert [folder.name for folder in folders.values()] == ["slow", "fast", "fast-checkpoint-40", "again-fast"]


def test_the_same_system_twice_is_refused(corpus, tmp_path, capsys):
    systems = ["cascade:a/asr+llm", "cascade:b/asr+llm"]
    assert main(["eval", "--system", *systems, "--data", str(corpus), "--out", str(tmp_path / "out")]) == 2
    assert systems[0] in (said := capsys.readouterr().err) and systems[1] in said


def test_systems_of_one_name_are_told_apart_by_their_folders(corpus, tmp_path, capsys):
    for name in ("one", "two"):
        run(corpus, tmp_path / name, group_by=())
    assert main(["tables", str(tmp_path / "one"), str(tmp_path / "two" / "results.json")]) == 0
    assert "fake (one)" in (said := capsys.readouterr().out) and "fake (two)" in said
    assert main(["tables", str(tmp_path / "one"), str(tmp_path / "two"), "--intervals"]) == 0
    assert "Paired tests: fake (one) and fake (two)" in capsys.readouterr().out


# Nothing is replaced in silence


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"limit": 4}, "3 of its rows are not among the 4 here; limit all there, 4 here"),
        ({"tasks": ("er", "sr")}, "tasks all there, er, sr here"),
        ({"label_set": "happy,sad,angry"}, "emotion classes .* there, happy, sad, angry here"),
        ({"normalizer": "none"}, "normalizer whisper_english there, none here"),
        ({"group_by": ("speaker",)}, "group_by carrier, speaker there, speaker here"),
    ],
)
def test_results_of_other_settings_are_not_replaced(corpus, tmp_path, changed, message):
    out = tmp_path / "out"
    run(corpus, out)
    before = {path: path.read_bytes() for path in out.glob("*.json*")}
    system = Fake()
    with pytest.raises(EvalError, match=message):
        run(corpus, out, system, **changed)
    assert system.asked == [] and all(path.read_bytes() == held for path, held in before.items())


def test_results_of_another_judge_are_not_replaced(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    settings = Settings(system="fake", data=str(corpus), group_by=("carrier", "speaker"))
    with pytest.raises(EvalError, match="judge rule there, strict here"):
        evaluate_system(settings, tmp_path / "out", Fake(), progress=False, judge=Strict())


def test_other_data_of_the_same_ids_is_not_mixed_in(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    other = shutil.copytree(corpus, tmp_path / "other")
    path = other / "test.jsonl"
    path.write_text((text := path.read_text()).replace("I lost my dog", "I lost my cat"))
    with pytest.raises(EvalError, match="1 rows are others .first: a.; data .*corpus there, .*other here"):
        run(other, tmp_path / "out")
    path.write_text(text)
    run(other, tmp_path / "out")  # the same corpus in another place


def test_results_are_replaced_when_asked_and_answers_stay(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    write_report(tmp_path / "out")
    system = Fake()
    settings = Settings(system="fake", data=str(corpus), normalizer="none")
    results = evaluate_system(settings, tmp_path / "out", system, replace_results=True, progress=False)
    assert system.asked == [] and results["figures"]["asr"]["normalizer"] == "none"
    assert not (tmp_path / "out" / "report.html").exists()  # it showed the other figures
    with pytest.raises(EvalError, match="3 of its rows are not among .* or --overwrite"):
        evaluate_system(
            Settings(system="fake", data=str(corpus), limit=4), tmp_path / "out", system, replace_results=True
        )


def test_more_groups_are_added_without_being_asked_for_twice(corpus, tmp_path):
    run(corpus, tmp_path / "out", group_by=("carrier",))
    system = Fake()
    assert "speaker" in run(corpus, tmp_path / "out", system, group_by=("speaker", "carrier"))["groups"]
    assert system.asked == []


def test_a_label_put_right_counts_in_results_and_tables_alike(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    path = corpus / "test.jsonl"
    path.write_text(path.read_text().replace('"label": "happy"', '"label": "sad"'))
    system = Fake()
    figures = run(corpus, tmp_path / "out", system)["figures"]
    finished = read_run(tmp_path / "out")
    metric = find_metric("emotion_accuracy")
    assert system.asked == [] and metric.value(figures) == 100.0
    assert metric.statistic(np.nansum(metric.counts(finished, metric.rows(finished.rows)), 0)) == 100.0


def test_a_column_to_group_by_that_is_not_there_is_named_before_anything_is_answered(corpus, tmp_path):
    for settings in ({"group_by": ("mood",)}, {"normalizer": "klingon"}):
        system = Fake()
        with pytest.raises(EvalError, match="mood|klingon"):
            run(corpus, tmp_path / "out", system, **settings)
        assert system.asked == []


def test_two_evaluations_of_one_folder_are_refused_until_the_first_ends(corpus, tmp_path):
    class Nosy(Fake):
        def answer_batch(self, audios, questions):
            with pytest.raises(FolderInUseError, match="in use by a run of `audiollm eval`"):
                run(corpus, tmp_path / "out")
            return super().answer_batch(audios, questions)

    assert run(corpus, tmp_path / "out", Nosy())["counts"]["answered"] == len(ROWS)
    run(corpus, tmp_path / "out")


def test_an_overwritten_run_that_is_killed_goes_on_as_the_new_one(corpus, tmp_path):
    run(corpus, tmp_path / "out")

    class Faulty(Fake):
        def answer_batch(self, audios, questions):
            raise RuntimeError("killed")

    settings = Settings(system="fake", data=str(corpus), limit=4)
    with pytest.raises(RuntimeError):
        evaluate_system(settings, tmp_path / "out", Faulty(), overwrite=True, progress=False)
    assert evaluate_system(settings, tmp_path / "out", Fake(), progress=False)["counts"]["rows"] == 4
    assert len(read_run(tmp_path / "out").rows) == 4


# What the data holds


@pytest.mark.parametrize(
    "field, value",
    [
        ("transcript", 911),
        ("transcript", float("nan")),
        ("transcript", ["I lost", "my dog"]),
        ("label", 3),
        ("question", 5),
        ("question", {"text": "what?"}),
        ("answer", 1.5),
        ("answer", True),
        ("seconds", "2.1"),
        ("speaker", ["s1"]),
    ],
)
def test_a_value_of_another_kind_is_named_before_anything_is_answered(corpus, tmp_path, field, value, capsys):
    path = corpus / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2][field] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["eval", "--system", "majority", "--data", str(corpus), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "test.jsonl, line 3" in said and field in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# Runs of before


def test_results_of_an_earlier_version_are_read(corpus, tmp_path, capsys):
    run(corpus, tmp_path / "out", group_by=("carrier",))
    path = tmp_path / "out" / "results.json"
    results = json.loads(path.read_text())
    results["judging"] = {"judge": "rule", "failed": False}
    for figures in (results["figures"], *results["groups"]["carrier"].values()):
        for task in ("er", "sr"):
            for name in ("overlapping", "n_overlapping"):
                figures.get(task, {}).pop(name, None)
    path.write_text(json.dumps(results))
    (tmp_path / "out" / "rated.jsonl").unlink()
    assert main(["tables", str(tmp_path / "out")]) == 0
    assert "fake by carrier" in capsys.readouterr().out
    assert main(["tables", str(tmp_path / "out"), "--intervals"]) == 0
    assert main(["report", str(tmp_path / "out")]) == 0
    run(corpus, tmp_path / "out", group_by=("carrier",))


@pytest.mark.parametrize("content", ['{"figures": {}}', "[]", "{", '"text"'])
def test_what_are_no_results_is_refused_in_one_line(tmp_path, content, capsys):
    (tmp_path / "results.json").write_text(content)
    assert main(["tables", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'results.json'}: not ") and said.count("\n") == 1


# Data as training takes it


def test_a_corpus_is_named_as_in_a_training(corpus, tmp_path):
    source = f"{{reader: own, path: {corpus / 'test.jsonl'}, tasks: [er]}}"
    system = load_system("majority:" + str(corpus))
    results = evaluate_system(Settings(system="majority", data=source), tmp_path / "out", system, progress=False)
    assert results["counts"]["rows_by_task"] == {"er": 4}
    mapping = {"reader": "own", "path": str(corpus / "test.jsonl"), "tasks": ["er"]}
    again = evaluate_system(Settings(system="majority", data=mapping), tmp_path / "too", system, progress=False)
    assert again["figures"] == results["figures"]
    with pytest.raises(EvalError, match="no mapping"):
        run("{reader", tmp_path / "no")


def test_the_majority_of_a_folder_that_read_wrote(corpus, tmp_path):
    folder = tmp_path / "read"
    folder.mkdir()
    lines = [
        (corpus / f"{split}.jsonl").read_text().replace('"audio": "', f'"audio": "{corpus}/')
        for split in ("train", "test")
    ]
    (folder / "rows.jsonl").write_text(lines[0].replace('"id": "', '"id": "t-') + lines[1])
    assert main(["eval", "--system", "majority", "--data", str(folder), "--out", str(tmp_path / "out")]) == 0
    (folder / "rows.jsonl").write_text(lines[1])
    with pytest.raises(EvalError, match="training rows: .*--split train test.*majority:FOLDER"):
        load_system("majority", folder)
    assert load_system(f"majority:{corpus}", folder).name == "majority"


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-model"
    for part in tiny:
        part.save_pretrained(folder)
    return folder


def test_a_checkpoint_is_evaluated_end_to_end(corpus, tmp_path, checkpoint):
    settings = Settings(system=str(checkpoint), data=str(corpus), batch_size=3, max_new_tokens=6)
    results = evaluate_system(settings, tmp_path / "out", progress=False)
    assert results["counts"]["answered"] == len(ROWS) and results["system"]["name"] == "tiny-model"
    assert results["system"]["parameters"] > 0 and results["system"]["max_new_tokens"] == 6
    assert results["system"]["answers_given"] == len(ROWS) >= results["system"]["answers_cut"]


def test_a_checkpoint_answers_in_batches_as_it_does_alone(checkpoint, tone):
    system = load_system(str(checkpoint), max_new_tokens=6)
    audios = [tone(0.3), tone(1.7, seed=1), tone(0.9, seed=2)]
    questions = ["What emotion does the speaker show?", "What?", "Write down what is said, please."]
    alone = [system.answer(audio, question) for audio, question in zip(audios, questions)]
    assert system.answer_batch(audios, questions) == alone


def test_a_retrained_checkpoint_in_the_same_folder_is_another_system(checkpoint):
    before = load_system(str(checkpoint))
    assert load_system(str(checkpoint)).fingerprint == before.fingerprint
    assert load_system(str(checkpoint), max_new_tokens=9).fingerprint != before.fingerprint
    weights = checkpoint / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    assert load_system(str(checkpoint)).fingerprint != before.fingerprint
