"""A run that is shared holds no word of its data, and tables and tests of it are those of the run."""

import json
import re

import pytest

from audiollm.commands import main
from audiollm.eval import EvalError
from audiollm.eval.metrics import METRICS, shared_as
from audiollm.eval.results import read_results, read_run
from audiollm.eval.sharing import share_run
from audiollm.eval.tables import compare_runs, folds_table, interval_table, interval_tables
from tests.test_tables import runs  # noqa: F401


@pytest.fixture
def shared(runs, tmp_path):  # noqa: F811
    for name in ("good", "bad"):
        share_run(read_run(runs / name), tmp_path / name)
    return tmp_path


def tables(good, bad):
    first, second = (read_run(path, answers=False) for path in (good, bad))
    found = [*interval_tables([first, second]), interval_table([first, second], "er", cluster="speaker")]
    # A name with a backslash looks like a path.
    return [row[1:] for table in found for row in table.rows], compare_runs(first, second)


def test_tests_of_shared_runs_are_those_of_the_runs(runs, shared):  # noqa: F811
    mine = tables(runs / "good", runs / "bad")
    assert tables(shared / "good", shared / "bad") == mine
    assert tables(shared / "good", runs / "bad") == mine  # what is published, beside a run of one's own
    assert tables(runs / "good", shared / "bad") == mine


def test_nothing_of_what_was_said_asked_or_answered_is_shared(runs, shared):  # noqa: F811
    written = "".join(path.read_text() for path in sorted(shared.rglob("*")) if path.is_file())
    rows = read_run(runs / "good").rows
    texts = {row[column] for row in rows for column in ("transcript", "question", "answer", "prediction")} - {"ten"}
    assert len(texts) > 80 and not [text for text in texts if text in written]
    assert '"ten"' not in written and str(runs) not in written and "clip.wav" not in written
    kept = json.loads((shared / "good" / "counts.json").read_text())
    assert set(kept["counts"]) <= {shared_as(metric) for metric in METRICS} and len(kept["rows"]) == len(rows)


def test_the_commands_read_shared_runs(runs, shared, capsys):  # noqa: F811
    def printed(folder, *words):
        assert main(["tables", str(folder / "good"), *words]) == 0
        return re.sub(r" +|-+", " ", capsys.readouterr().out.replace("\\\\d", "d"))

    for words in ((), ("--intervals",)):
        assert printed(shared, *words) == printed(runs, *words)
    assert main(["tables", "--paper", "2", "--row", f"ours={shared / 'good'}"]) == 0
    assert "ours: Emotion on meld" in capsys.readouterr().out


def test_answers_that_are_not_there_are_not_shown(shared, capsys):
    assert main(["report", str(shared / "good")]) == 2
    assert "was shared without words: it can be compared" in capsys.readouterr().err


def test_shared_runs_on_other_rows_or_without_a_figure_are_refused(runs, shared):  # noqa: F811
    path = shared / "bad" / "counts.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "counts": {**kept["counts"], "wer": [None] * len(kept["rows"])}}))
    with pytest.raises(EvalError, match=r"without what 6 rows add to wer \(first: a0\)"):
        tables(shared / "good", shared / "bad")
    kept["rows"][3]["transcript"] = "sha256:00000000"
    path.write_text(json.dumps(kept))
    for folder in (runs, shared):
        with pytest.raises(EvalError, match="row a3: .* differ in 'transcript'"):
            tables(folder / "good", shared / "bad")
    with pytest.raises(EvalError, match="folds share no row"):
        folds_table([read_run(shared / name, answers=False) for name in ("good", "bad")])


def test_secrets_and_folders_stay_at_home(runs, tmp_path):  # noqa: F811
    run = read_run(runs / "good")
    told = run.results | {"settings": run.results["settings"] | {"data": "/home/someone/meld", "api_key": "sk-1"}}
    share_run(type(run)(run.folder, told, run.rows, run.verdicts, run.ratings, run.claims), tmp_path / "out")
    settings = read_results(tmp_path / "out")["settings"]
    assert settings["data"] == "meld" and "sk-1" not in json.dumps(settings)
    placed = [{**row, "id": f"/home/someone/{row['id']}"} for row in run.rows]
    with pytest.raises(EvalError, match="the id of the row /home/someone/a0 is a path of this machine"):
        share_run(type(run)(run.folder, told, placed), tmp_path / "other")
    assert not (tmp_path / "other").exists()
