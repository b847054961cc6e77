"""A study trains and evaluates its runs, goes on after a kill, and says what was seen."""

import json
import re
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from audiollm.commands import main, study
from audiollm.commands.arguments import STOPPED
from audiollm.eval.contrasts import VERDICTS, Decision, claims_plot
from audiollm.eval.metrics import METRICS
from audiollm.eval.statistics import Comparison, Interval
from audiollm.studies.description import Study
from audiollm.training.config import check_config
from audiollm.training.schedule import Plan, Round, ScheduleError, stretch
from tests.tiny_run import config, corpus  # noqa: F401


@pytest.fixture
def folder(config, corpus, tmp_path):  # noqa: F811
    """Two runs of the tiny model, with one row in four to evaluate."""
    rows = [json.loads(line) for line in (corpus / "train.jsonl").read_text().splitlines()]
    (corpus / "test.jsonl").write_text("\n".join(json.dumps({**row, "split": "test"}) for row in rows[:16]))
    folder = tmp_path / "study"
    folder.mkdir()
    training = {name: value for name, value in config["training"].items() if name not in ("output_dir", "seed")}
    shared = {
        "out": str(tmp_path / "runs"),
        "common": config | {"training": training},
        "evaluate": {name: {"data": str(corpus), "max_new_tokens": n} for name, n in (("toy", 4), ("brief", 2))},
        "seeds": [3],
        "steps": 7,
        "controls": ["majority"],
        "claims": [["short", "long"], ["long on brief", "long on toy"], ["majority on brief", "majority on toy"]],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    (folder / "short.yaml").write_text("tables: ['1:label']\nset: {data.targets: [label]}\n")
    (folder / "long.yaml").write_text(
        "after: short\nset: {model.checkpoint: '{out}/short-{seed}/model', training.learning_rate: 0.001}\n"
    )
    return folder


def test_a_study_goes_on_after_a_kill_and_skips_what_is_done(folder, tmp_path, monkeypatch, capsys):
    called = []

    def call(*words, **_):
        called.append(words)
        if len(called) == 5:  # the second run is trained, and not evaluated
            raise KeyboardInterrupt
        return main(words)

    monkeypatch.setattr(study, "_call", call)
    assert main(["study", str(folder)]) == STOPPED
    done = (tmp_path / "runs" / "short-3" / "done.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["study", str(folder)]) == 0
    assert (tmp_path / "runs" / "short-3" / "done.json").stat().st_mtime_ns == done
    two = ["eval", "eval"]
    assert [words[0] for words in called] == ["train", *two, "train", "eval", "train", *two, *two]
    facts = [json.loads((tmp_path / "runs" / name / "training.json").read_text()) for name in ("short-3", "long-3")]
    assert [fact["steps"] for fact in facts] == [7, 7]
    printed = capsys.readouterr().out
    for text in ("short, seed 3", "long, seed 3", "majority", "The paper's directions", "label, toy, seed 3", "58.1"):
        assert text in printed
    (minutes,) = re.findall(r"(?m)^\| short +\| +([\d.]+) +\| +([\d.]+) \|$", printed[printed.index("**Time**") :])
    assert [float(minute) for minute in minutes] == pytest.approx(
        [
            _minutes(tmp_path / "runs" / "short-3", *found)
            for found in (("training.json",), ("eval-toy", "eval-brief"))
        ],
        abs=0.06,
    )
    across = printed[printed.index("# Across sets") : printed.index("# Beside the paper")]
    assert "long on toy over long on brief" in across and "majority on toy over majority on brief" in across
    written = (tmp_path / "runs" / "report.md").read_text()
    assert written.strip() in printed and "(claims-toy.svg)" in written
    assert "<svg" in (tmp_path / "runs" / "claims-toy.svg").read_text()
    called.clear()
    assert main(["study", str(folder), "--tables", "--steps", "8"]) == 0
    said = capsys.readouterr()
    assert "No run is done" in said.out and "eval-toy: not in the tables: it was made with other settings" in said.err
    assert main(["study", str(folder), "--tables", "--share", str(tmp_path / "shared")]) == 0 and called == []
    assert "shared: 6 results, without words; --tables --out" in capsys.readouterr().out
    kept = {path.name for path in (tmp_path / "shared").rglob("*") if path.is_file()}
    assert kept == {"done.json", "results.json", "counts.json.gz"}
    texts = "".join(path.read_text() for path in (tmp_path / "shared").rglob("*.json"))
    assert str(tmp_path) not in texts and "dog" not in texts  # the most frequent answer of `majority`
    assert main(["study", str(folder), "--tables", "--out", str(tmp_path / "shared")]) == 0  # by them, the same tables
    assert capsys.readouterr().out.strip() == written.strip()
    assert main(["study", str(folder), "--tables", "--out", str(tmp_path / "shared"), "--steps", "8"]) == 0
    assert "it was made with other settings" in capsys.readouterr().err
    assert main(["study", str(folder), "--out", str(tmp_path / "shared"), "--steps", "8"]) == 2
    assert "holds shared results, and no model to go on with" in capsys.readouterr().err
    assert main(["study", str(folder), "--tables", "--seeds", "3", "4"]) == 0
    told = capsys.readouterr()
    assert "No run is done on all seeds yet" in told.out
    assert "toy: not in the tables until all seeds are done: short (1 of 2), long (1 of 2)" in told.err


def _minutes(folder, *places):
    """Of a training, or of answers to all sets."""
    found = [folder / place if place.endswith("json") else folder / place / "results.json" for place in places]
    told = [json.loads(path.read_text()) for path in found]
    return sum(one["time"]["answering_seconds"] if "time" in one else one["seconds"] for one in told) / 60


def test_a_run_that_fails_is_named_and_the_others_go_on(folder, monkeypatch, capsys):
    monkeypatch.setattr(study, "_call", lambda *words, **_: 2)
    assert main(["study", str(folder)]) == 1
    assert "not done: short, seed 3, long, seed 3" in capsys.readouterr().err


def test_what_would_begin_from_a_run_that_failed_is_not_begun(folder, monkeypatch, capsys):
    """Where its evaluation alone failed, the model is there."""
    called = []
    lost = ("runs/short-3/config.yaml", "runs/long-4/eval-toy")
    monkeypatch.setattr(study, "_call", lambda *words, **_: called.append(words) or 2 * _ends(words, lost))
    (folder / "longest.yaml").write_text("after: long\n")
    assert main(["study", str(folder), "--seeds", "3", "4"]) == 1
    trained = [Path(words[-1]).parent.name for words in called if words[0] == "train"]
    assert trained == ["short-3", "short-4", "long-4", "longest-4"]
    assert "not done: short, seed 3, long, seed 3, long, seed 4, longest, seed 3;" in capsys.readouterr().err


def _ends(words, places):
    return any(word.endswith(places) for word in words)


def test_runs_go_side_by_side_each_with_its_log_and_share_of_the_cores(folder, tmp_path, monkeypatch, capsys):
    begun, met = [], threading.Barrier(2, timeout=30)

    def process(command, stdout, stderr, env):
        words, run = command[3:], next(word for word in command if "-3" in word or "majority" in word)
        begun.append((words[0], run))
        if words[0] == "train" and "short" in run:
            met.wait()  # its twin runs, too
        print(words[0], "said", file=stdout)
        assert stderr is stdout and env["OMP_NUM_THREADS"] == "4"
        return subprocess.CompletedProcess(command, 2 if "long" in run else 0)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(study.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(study.subprocess, "run", process)
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    (folder / "short2.yaml").write_text((folder / "short.yaml").read_text())
    assert main(["study", str(folder), "--jobs", "2"]) == 1
    assert ["long" in run for _, run in begun] == [False] * 6 + [True] + [False] * 2  # after what it begins from
    assert (tmp_path / "runs" / "short-3" / "log.txt").read_text() == "train said\neval said\neval said\n"
    said = capsys.readouterr().err
    assert "long-3/log.txt: the command train ended with exit code 2" in said and "not done: long, seed 3" in said


def test_a_run_may_be_asked_otherwise_than_the_others(folder, monkeypatch, capsys):
    with (folder / "short.yaml").open("a") as file:
        file.write("evaluate: {toy: {ask: label}}\n")
    called = []
    monkeypatch.setattr(study, "_call", lambda *words, **_: called.append(words) or 0)
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    assert main(["study", str(folder)]) == 0
    asked = [next(Path(word).parent.name for word in words if "eval-" in word) for words in called if "--ask" in words]
    assert asked == ["short-3"]
    with (folder / "long.yaml").open("a") as file:
        file.write("evaluate: {tyo: {ask: label}}\n")
    assert main(["study", str(folder)]) == 2
    assert "long.yaml: evaluate: tyo is no set; sets are brief, toy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "place", "message"),
    [
        ({"taskz": ["er"]}, "study", "error: study.yaml: evaluate: toy: unrecognized arguments: --taskz er"),
        ({"batch_size": 0}, "short", "short.yaml, or study.yaml: evaluate: toy: argument --batch-size"),
        ({"seed": 1}, "short", "evaluate: toy: --seed belongs to --limit"),
        ({"tasks": ["er", "emotion"]}, "study", "invalid choice: 'emotion'"),
        ({"out": "elsewhere"}, "study", "evaluate: toy: system and out are given by the study"),
    ],
)
def test_options_of_an_evaluation_are_checked_before_anything_is_trained(
    options, place, message, folder, monkeypatch, capsys
):
    written = yaml.safe_load((folder / f"{place}.yaml").read_text())
    written.setdefault("evaluate", {}).setdefault("toy", {}).update(options)
    (folder / f"{place}.yaml").write_text(yaml.safe_dump(written))
    monkeypatch.setattr(study, "_call", lambda *words, **_: pytest.fail("something was run"))
    assert main(["study", str(folder)]) == 2
    assert message in capsys.readouterr().err


def test_an_option_that_is_true_is_a_flag_and_one_that_is_false_or_none_is_left_out(folder, monkeypatch):
    shared = yaml.safe_load((folder / "study.yaml").read_text())
    shared["evaluate"]["toy"] |= {"trust_remote_code": True, "replace_results": False, "context": None}
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    called = []
    monkeypatch.setattr(study, "_call", lambda *words, **_: called.append(words) or _leave(words))
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    assert main(["study", str(folder)]) == 0
    asked = [words[5:] for words in called if "eval-toy" in " ".join(words)]
    data = shared["evaluate"]["toy"]["data"]
    assert [sorted(words) for words in asked] == [
        sorted(["--data", data, "--max-new-tokens", "4", "--trust-remote-code"])
    ] * 3


def _leave(words):
    """What a command leaves where it was told to: a model, or results."""
    if words[0] == "train":
        (Path(words[-1]).parent / "model").mkdir(exist_ok=True)
    else:
        out = Path(words[words.index("--out") + 1])
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text("{}")
    return 0


def test_a_run_may_begin_from_one_that_began_from_another_and_be_evaluated_otherwise(folder, tmp_path, monkeypatch):
    """Steps of its own, adapters alone, and without an option that the others have."""
    shared = yaml.safe_load((folder / "study.yaml").read_text())
    shared["evaluate"]["toy"]["ask"] = "label"
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    given = {"after": "long", "steps": 5, "system": "parts:{model}", "evaluate": {"toy": {"ask": None}}}
    (folder / "ahead.yaml").write_text(yaml.safe_dump(given))  # by its name it would be the first
    called = []
    monkeypatch.setattr(study, "_call", lambda *words, **_: called.append(words) or _leave(words))
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    assert main(["study", str(folder), "--runs", "ahead"]) == 0
    runs = tmp_path / "runs"
    trained = [Path(words[-1]).parent.name for words in called if words[0] == "train"]
    assert trained == ["short-3", "long-3", "ahead-3"]
    steps = {name: yaml.safe_load((runs / name / "config.yaml").read_text())["stretch_to"] for name in trained}
    assert steps == {"short-3": 7, "long-3": 7, "ahead-3": 5}
    asked = {words[2]: "--ask" in words for words in called if "eval-toy" in " ".join(words)}
    models = [f"{runs}/{name}/model" for name in trained]
    assert asked == {models[0]: True, models[1]: True, f"parts:{models[2]}": False, "majority": True}
    called.clear()
    assert main(["study", str(folder), "--runs", "ahead"]) == 0 and called == []  # all of it is done
    begins = {
        name: yaml.safe_load((runs / name / "config.yaml").read_text())["model"]["checkpoint"] for name in trained
    }
    assert [begins[name] for name in trained[1:]] == models[:2] and begins["short-3"].endswith("start")
    (folder / "short.yaml").write_text("set: {data.targets: [evidence]}\n")
    assert main(["study", str(folder), "--runs", "ahead"]) == 0  # what began from another model is not done any more
    assert [Path(words[-1]).parent.name for words in called if words[0] == "train"] == trained


def test_fields_of_every_run_may_be_changed_at_once(folder, tmp_path, monkeypatch, capsys):
    """Over a run's own; and what was done with others is not what is wanted now."""
    called = []
    monkeypatch.setattr(study, "_call", lambda *words, **_: called.append(words) or _leave(words))
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    changed = ["--set", "training.learning_rate=1.0e-5", "data.targets=[evidence]"]
    for words in ([], changed, changed):
        assert main(["study", str(folder), *words]) == 0
    assert [words[0] for words in called].count("train") == 4
    for name in ("short-3", "long-3"):
        made = yaml.safe_load((tmp_path / "runs" / name / "config.yaml").read_text())
        assert (made["training"]["learning_rate"], made["data"]["targets"]) == (1e-5, ["evidence"])
    capsys.readouterr()
    refused = {"training.nothing=1": "nothing", "rate": "expected section.field=value", "stretch_to=9": "`steps`"}
    refused |= {"training=5": "training is 5", "training.run_name=2026-01-01": "date", "seed.0=1": "seed"}
    for given, message in refused.items():
        assert main(["study", str(folder), "--set", given]) == 2
        assert message in capsys.readouterr().err


def test_controls_that_would_share_a_folder_are_refused(folder, capsys):
    shared = yaml.safe_load((folder / "study.yaml").read_text())
    shared |= {"controls": ["majority:/home/a/meld", "majority:/home/b/meld"], "claims": []}
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    assert main(["study", str(folder), "--tables"]) == 2
    assert "controls: of paths only the last part names a folder, and two are alike" in capsys.readouterr().err


def test_each_set_may_have_clusters_of_its_own(folder, capsys):
    shared = yaml.safe_load((folder / "study.yaml").read_text()) | {"cluster": {"toy": "speaker"}}
    assert [Study(**shared).cluster_of(data) for data in ("toy", "brief")] == ["speaker", None]
    (folder / "study.yaml").write_text(yaml.safe_dump(shared | {"cluster": {"toys": "speaker"}}))
    assert main(["study", str(folder), "--tables"]) == 2
    assert "cluster: toys: 'speaker' is no column of a set; sets are brief, toy" in capsys.readouterr().err


def test_results_are_shared_into_another_folder(folder, tmp_path, capsys):
    assert main(["study", str(folder), "--tables", "--share", str(tmp_path / "runs")]) == 2
    assert "--share: the study's own folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("after: short\nset: {model.checkpoint: elsewhere}\n", "model.checkpoint is given by `after: short`"),
        ("steps: 0\n", "long.yaml: steps is 0; a run takes at least one"),
        ("system: majority\n", "long.yaml: system is 'majority', without {model}"),
    ],
)
def test_a_run_that_is_not_what_it_says_is_refused(written, message, folder, capsys):
    (folder / "long.yaml").write_text(written)
    assert main(["study", str(folder)]) == 2
    assert message in capsys.readouterr().err


def test_figures_of_another_system_are_not_in_the_tables(folder, monkeypatch, capsys):
    monkeypatch.setattr(study, "_call", lambda *words, **_: 0)
    (folder / "long.yaml").write_text('system: "parts:{model}"\n')
    assert main(["study", str(folder)]) == 0
    for data in ("toy", "brief"):
        results = folder.parent / "runs" / "long-3" / f"eval-{data}" / "results.json"
        results.parent.mkdir()
        results.write_text("{}")
    (folder / "long.yaml").write_text("{}")
    capsys.readouterr()
    assert main(["study", str(folder), "--tables"]) == 0
    assert "eval-toy: not in the tables: it was made with other settings" in capsys.readouterr().err


def test_runs_that_begin_from_each_other_are_refused(folder, capsys):
    (folder / "short.yaml").write_text("after: long\n")
    assert main(["study", str(folder)]) == 2
    assert "long.yaml: after: long after short after long has no beginning" in capsys.readouterr().err


@pytest.mark.parametrize("killed", ["1", "2"])
def test_after_a_kill_the_run_beside_ends_and_no_other_begins(folder, monkeypatch, killed):
    begun, ended, both = [], [], threading.Barrier(2)
    go_on = threading.Event()

    def call(*words, folder, **_):
        begun.append(folder.name)
        both.wait(60)
        if folder.name.endswith(killed):
            threading.Timer(0.2, go_on.set).start()
            raise KeyboardInterrupt
        go_on.wait(60)
        ended.append(folder.name)
        return 2

    monkeypatch.setattr(study, "_call", call)
    words = ["study", str(folder), "--runs", "short", "--jobs", "2", "--seeds", "1", "2", "3", "4"]
    assert main(words) == STOPPED
    assert sorted(begun) == ["short-1", "short-2"] and len(ended) == 1


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("code", [130, -9])
def test_a_command_that_was_stopped_or_killed_stops_the_study(folder, monkeypatch, code, jobs):
    """A terminal's Ctrl-C reaches the command too, which then ends with 130."""
    begun = []

    def process(command, **_):
        begun.append(command)
        return subprocess.CompletedProcess(command, code if "eval" in command else 0)

    monkeypatch.setattr(study.subprocess, "run", process)
    assert main(["study", str(folder), "--runs", "short", "--jobs", jobs, "--seeds", "1"]) == STOPPED
    assert len(begun) == 2


@pytest.mark.parametrize("run, field", [("long", "model={checkpoint: x}"), ("short", "data={train: [x]}")])
def test_what_a_run_sets_is_not_undone_by_a_section_of_it(folder, capsys, run, field):
    assert main(["study", str(folder), "--runs", run, "--set", field, "--tables"]) == 2
    said = capsys.readouterr().err
    assert f"{run}.yaml, or --set: {field.partition('=')[0]} would undo " in said and "set single fields of it" in said


def test_nothing_is_run_without_what_all_begin_from(folder, tmp_path, monkeypatch, capsys):
    shared = yaml.safe_load((folder / "study.yaml").read_text())
    shared["base"] = {"config": "base.yaml", "model": str(tmp_path / "base")}
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    called = []
    monkeypatch.setattr(study, "_call", lambda *words, **_: called.append(words) or 2)
    assert main(["study", str(folder)]) == 2
    assert called == [("train", "--config", "base.yaml")] and "is not trained" in capsys.readouterr().err


def test_what_was_evaluated_is_asked_again_only_about_other_rows(folder, monkeypatch):
    """A set whose options changed, one that is new, one whose results are gone; all, where the model is gone."""
    called = []
    monkeypatch.setattr(study, "_call", lambda *words, **_: called.append(words) or _leave(words))
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    shared = yaml.safe_load((folder / "study.yaml").read_text())
    sets, out = shared["evaluate"], Path(shared["out"])
    systems = [f"{out}/{name}-3/model" for name in ("short", "long")] + ["majority"]

    def asked():
        called.clear()
        (folder / "study.yaml").write_text(yaml.safe_dump(shared))
        assert main(["study", str(folder)]) == 0
        words = [words for words in called if words[0] == "eval"]
        assert len(set(words)) == len(words)
        return {(words[2], Path(words[words.index("--out") + 1]).name) for words in words}

    assert len(asked()) == 6 and not asked() and not called
    for change in ({"toy": sets["toy"] | {"max_new_tokens": 5}}, {"new": sets["toy"] | {"max_new_tokens": 6}}):
        sets |= change
        assert asked() == {(system, f"eval-{data}") for system in systems for data in change}
    (out / "short-3" / "eval-brief" / "results.json").unlink()
    assert asked() == {(systems[0], "eval-brief")}
    (out / "short-3" / "eval-brief" / "results.json").unlink()
    (out / "short-3" / "model").rmdir()
    assert asked() == {(systems[0], f"eval-{data}") for data in sets}


def test_a_set_counts_as_done_when_its_results_were_written(folder, monkeypatch, capsys):
    """An error that nobody expected ends with the exit code of rows that are left; what was done stays."""
    lost = ["eval-toy"]

    def call(*words, **_):
        return 1 if any(one in " ".join(words) for one in lost) else _leave(words)

    monkeypatch.setattr(study, "_call", call)
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    assert main(["study", str(folder)]) == 1
    assert "not done: short, seed 3, long, seed 3, majority" in capsys.readouterr().err
    shared = yaml.safe_load((folder / "study.yaml").read_text())
    stamp = Path(shared["out"]) / "short-3" / "done.json"
    assert list(json.loads(stamp.read_text())["evaluate"]) == ["brief"]
    lost.clear()
    assert main(["study", str(folder)]) == 0 and len(json.loads(stamp.read_text())["evaluate"]) == 2
    lost.append("eval-toy")
    shared["evaluate"]["toy"]["max_new_tokens"] = 5
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    assert main(["study", str(folder)]) == 1  # with the results of before, which are of four tokens
    assert "eval-toy: is of before; delete it to answer anew" in capsys.readouterr().err
    assert json.loads(stamp.read_text())["evaluate"]["toy"]["max_new_tokens"] == 4


def test_a_set_with_rows_that_may_be_answered_yet_is_not_done(folder, monkeypatch, capsys):
    """Those that a system refuses would not be answered by asking again."""
    counts, judging = {"rows": 4, "answered": 0, "refused": 0}, {"failed": False}

    def call(*words, **_):
        _leave(words)
        if "majority" not in words or "eval-toy" not in " ".join(words):
            return 0
        results = Path(words[words.index("--out") + 1]) / "results.json"
        found = dict.fromkeys(("system", "settings", "label_sets", "figures", "groups"), {})
        results.write_text(json.dumps(found | {"counts": counts, "judging": judging}))
        return 1

    monkeypatch.setattr(study, "_call", call)
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    folder_of = Path(yaml.safe_load((folder / "study.yaml").read_text())["out"]) / "majority"

    def done():
        code = main(["study", str(folder)])
        assert ("toy" in json.loads((folder_of / "done.json").read_text())["evaluate"]) == (code == 0)
        return code, capsys.readouterr().err

    code, said = done()
    assert code == 1 and "eval-toy: not done: 4 of 4 rows have no answer; the same command" in said
    counts.update(answered=3, refused=1)
    judging["failed"] = True
    assert "too many of the judge's verdicts failed" in done()[1]
    judging["failed"] = False
    assert done()[0] == 0
    (folder_of / "eval-toy" / "results.json").unlink()
    counts.update(refused=0)
    assert done()[0] == 1 and done()[0] == 1


def test_a_claim_is_decided_by_which_way_its_figure_is_better():
    by_name = {metric.name: metric for metric in METRICS}
    found = Comparison("", 30.0, 20.0, 0.01, 9, 9, Interval(-10.0, -15.0, -5.0))
    wrong_words, right = (Decision("b over a", by_name[name], found, 1, 1) for name in ("wer", "emotion_accuracy"))
    assert (wrong_words.verdict, wrong_words.gain) == ("seen", Interval(10.0, 5.0, 15.0))
    assert (right.verdict, right.gain.estimate) == ("the contrary", -10.0)
    open_ = Decision("b over a", by_name["wer"], replace(found, p_value=0.05), 1, 1)
    assert open_.verdict == "undecided"
    pictured = claims_plot([wrong_words, right, open_])
    assert pictured and all(colour in pictured for colour in VERDICTS.values())
    assert "+99.9" not in pictured
    far = replace(found, difference=Interval(99.9, 99.6, 100.0))
    pictured = claims_plot([wrong_words] * 20 + [Decision("c over a", by_name["emotion_accuracy"], far, 1, 1)])
    assert pictured and "+99.9" in pictured  # as a number at the edge: the others stay as wide as they were


def test_a_run_that_is_not_there_is_refused(folder, capsys):
    assert main(["study", str(folder), "--runs", "none"]) == 2
    assert "has no run 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (["short", "lang"], "'lang' is neither a run"),
        (["short on toy", "short on nothing"], "'short on nothing' is neither"),
        (["short", "majority"], "'majority' is neither a run nor RUN on SET"),
        (["short on toy", "long"], "compares no pair"),
        (["short"], "compares no pair"),
        (["majority on toy", "short on toy"], "have one run where there are several seeds"),
    ],
)
def test_a_claim_about_what_is_not_in_the_study_is_refused_before_a_run(claim, message, folder, monkeypatch, capsys):
    shared = yaml.safe_load((folder / "study.yaml").read_text()) | {"claims": [claim], "seeds": [1, 2]}
    (folder / "study.yaml").write_text(yaml.safe_dump(shared))
    monkeypatch.setattr(study, "_call", lambda *words, **_: pytest.fail("a run began"))
    assert main(["study", str(folder)]) == 2
    assert message in capsys.readouterr().err


def test_the_studys_own_runs_are_configurations(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_call", lambda *words, **_: 0)
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    assert main(["study", "configs/study", "--out", str(tmp_path / "out"), "--seeds", "1"]) == 0
    configs = sorted((tmp_path / "out").glob("*/config.yaml"))
    hear = [path for path in configs if path.parent.name.startswith("hear-")]
    assert (len(configs), len(hear)) == (22, 8)
    for path in configs:
        checked = check_config(yaml.safe_load(path.read_text()))
        assert checked.model and ((checked.stretch_to in (500, 1000)) if path in hear else checked.stretch_to == 120)


def test_the_study_on_the_embedded_samples_trains_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_call", lambda *words, **_: 0)
    monkeypatch.setattr("audiollm.studies.report.study_report", lambda *_: ("", {}))
    assert main(["study", "configs/tiny_study", "--out", str(tmp_path / "out"), "--seeds", "1"]) == 0
    checked = [check_config(yaml.safe_load(path.read_text())) for path in (tmp_path / "out").glob("*/config.yaml")]
    models = {run.model.checkpoint for run in checked if run.model}
    assert models == {"samples/tiny-base", f"{tmp_path / 'out'}/evidence-1/model"}
    assert {(run.stretch_to, *run.data.train) for run in checked} == {(1400, "samples")}


def test_what_earlier_turns_add_is_a_study_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_call", lambda *words, **_: 2)
    assert main(["study", "configs/conversations", "--out", str(tmp_path / "out"), "--seeds", "1"]) == 1
    checked = check_config(yaml.safe_load((tmp_path / "out" / "told-1" / "config.yaml").read_text()))
    assert checked.data.turns == [0, 3, 12] and checked.stretch_to == 929


@pytest.mark.parametrize(("steps", "lengths"), [(10, [1, 2, 7]), (100, [9, 18, 73]), (3, [1, 1, 1])])
def test_a_schedule_is_stretched_in_proportion(steps, lengths):
    rounds = [Round(("asr",), ("lora",), 1), Round(("er",), ("lora",), 1), Round(("asr", "er"), ("lora",), 2.7)]
    tasks = ["asr"] * 20 + ["er"] * 40
    plan = Plan.of(stretch(rounds, tasks, 2, steps), tasks, 2)
    assert [stop - plan.start_of(index) for index, stop in enumerate(plan.stops)] == lengths
    with pytest.raises(ScheduleError, match="3 rounds"):
        stretch(rounds, tasks, 2, 2)


def test_the_folder_is_found_in_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "_call", lambda *words, **_: 2)
    assert main(["study", "configs/study", "--out", str(tmp_path / "out"), "--tables"]) == 0
    assert not (tmp_path / "out").exists()


def test_what_the_study_gives_to_all_runs_is_refused_in_one(folder, capsys):
    (folder / "short.yaml").write_text("set: {stretch_to: 300}\n")
    assert main(["study", str(folder)]) == 2
    assert "short.yaml, or common: stretch_to is given by the study's `steps`" in capsys.readouterr().err
