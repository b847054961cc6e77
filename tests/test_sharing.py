"""A run that is shared holds no word of its data, and tables and tests of it are those of the run."""

import gzip
import json
import re
from dataclasses import replace

import pytest

from audiollm.commands import main
from audiollm.eval import EvalError
from audiollm.eval.contrasts import contrast
from audiollm.eval.metrics import METRICS, find_metric, shared_as
from audiollm.eval.results import read_results, read_run
from audiollm.eval.sharing import share_run
from audiollm.eval.tables import compare_runs, folds_table, interval_table, interval_tables, overall_table
from tests.test_tables import runs  # noqa: F401


@pytest.fixture
def shared(runs, tmp_path):  # noqa: F811
    for name in ("good", "bad"):
        share_run(read_run(runs / name), tmp_path / name)
    return tmp_path


def unpacked(path):
    return json.loads(gzip.decompress(path.read_bytes()))


def packed(content):
    return gzip.compress(json.dumps(content).encode())


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
    paths = sorted(path for path in shared.rglob("*") if path.is_file())
    written = "".join(path.read_text() if path.suffix == ".json" else json.dumps(unpacked(path)) for path in paths)
    rows = read_run(runs / "good").rows
    texts = {row[column] for row in rows for column in ("transcript", "question", "answer", "prediction")} - {"ten"}
    assert len(texts) > 80 and not [text for text in texts if text in written]
    assert '"ten"' not in written and str(runs) not in written and "clip.wav" not in written
    kept = unpacked(shared / "good" / "counts.json.gz")
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
    path = shared / "bad" / "counts.json.gz"
    kept = unpacked(path)
    path.write_bytes(packed({**kept, "counts": {**kept["counts"], "wer": [None] * len(kept["rows"])}}))
    with pytest.raises(EvalError, match=r"without what 6 rows add to wer \(first: a0\)"):
        tables(shared / "good", shared / "bad")
    kept["rows"][3]["transcript"] = "sha256:00000000"
    path.write_bytes(packed(kept))
    for folder in (runs, shared):
        with pytest.raises(EvalError, match="row a3: .* differ in 'transcript'"):
            tables(folder / "good", shared / "bad")
    path.write_bytes(gzip.compress(b"{"))
    with pytest.raises(EvalError, match="counts.json.gz: not what a run adds to figures .*share it again"):
        read_run(shared / "bad", answers=False)
    with pytest.raises(EvalError, match="folds share no row"):
        folds_table([read_run(shared / "good", answers=False)] * 2)


def changed(run, rows=None, **results):
    return replace(run, rows=rows or run.rows, results={**run.results, **results})


def test_what_a_system_or_an_error_tells_and_folders_stay_at_home(runs, tmp_path):  # noqa: F811
    run = read_run(runs / "good")
    told = {
        "system": run.results["system"] | {"answers": {"sqa": "a dog"}, "spec": "majority:/home/someone/meld"},
        "settings": run.results["settings"] | {"data": "/home/someone/meld", "api_key": "sk-1"},
        "errors": [{"id": "e77", "error": "words_of_it.wav: no such file"}],
        "command": "audiollm eval --data meld",
    }
    share_run(changed(run, **told), tmp_path / "out")
    results, written = read_results(tmp_path / "out"), (tmp_path / "out" / "results.json").read_text()
    assert results["settings"]["data"] == "meld" and results["errors"] == [{"id": "e77"}]
    assert not [text for text in ("a dog", "someone", "sk-1", "words_of_it", "audiollm eval") if text in written]


def test_a_normalisers_folder_stays_at_home_and_its_runs_are_compared(runs, tmp_path):  # noqa: F811
    run = read_run(runs / "good")
    normalizer = "whisper_english:/home/someone/whisper"
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "normalizer.json").write_text("{}")
    own = changed(
        run,
        settings=run.results["settings"] | {"normalizer": f"whisper_english:{tmp_path / 'whisper'}"},
        figures=run.results["figures"] | {"asr": {"wer": 1.0, "normalizer": normalizer}},
        groups={"wording": {"s1 / words": {"asr": {"normalizer": normalizer}}}},
        judging={"judge": "llm:/home/someone/models/m@server", "failed": False},
    )
    share_run(own, tmp_path / "out")
    written = (tmp_path / "out" / "results.json").read_text()
    assert "someone" not in written and str(tmp_path) not in written and "s1 / words" in written
    shared = read_run(tmp_path / "out", answers=False)
    assert compare_runs(own, shared) and "someone" not in str(overall_table([own.results]))
    assert overall_table([own.results]).note == overall_table([shared.results]).note


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", "/home/someone/e", "is a path of this machine"),
        ("speaker", "/home/someone/s", "is a path of this machine"),
        ("transcript", "said ", "its results are grouped by transcript, a text"),
    ],
)
def test_what_can_neither_be_shared_nor_left_out_is_refused(column, value, message, runs, tmp_path):  # noqa: F811
    """Of names that are paths the last parts may be alike, and clusters would be one."""
    run = read_run(runs / "good")
    grouped = run.results["settings"] | {"group_by": [column] if column == "transcript" else []}
    rows = [row | {column: f"{value}{number}"} for number, row in enumerate(run.rows)]
    with pytest.raises(EvalError, match=message):
        share_run(changed(run, rows, settings=grouped), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(EvalError, match="holds answers of a run; share into another folder"):
        share_run(run, runs / "bad")


def test_rows_that_ask_for_other_answers_are_compared_as_before(runs, tmp_path):  # noqa: F811
    """Evidence figures are of rows that ask for it, where any do; and a cluster may be a column of one's own."""
    good, bad = (read_run(runs / name) for name in ("good", "bad"))
    mixed = [row | {"target": "label"} if number % 2 else row for number, row in enumerate(good.rows)]
    alike = [row | {"target": "label", "session": number % 5} for number, row in enumerate(bad.rows)]
    pair = changed(good, mixed), changed(bad, alike)
    for place, run in enumerate(pair):
        share_run(run, tmp_path / str(place), ["session"])
    shared = [read_run(tmp_path / str(place), answers=False) for place in (0, 1)]
    quotation = find_metric("quotation")
    for first, second in (pair, reversed(pair)):
        expected = compare_runs(first, second)
        assert [compare_runs(*some) for some in _sides(first, second, shared)] == [expected] * 3
    found = contrast([pair[1]], [pair[0]], quotation, "session")
    assert found and found.units == 5 and contrast([shared[1]], [shared[0]], quotation, "session") == found


def _sides(first, second, shared):
    one, other = (shared[int(run.name.startswith("bad"))] for run in (first, second))
    return (one, other), (one, second), (first, other)


def test_a_metric_of_later_does_not_break_what_was_shared(runs, shared):  # noqa: F811
    path = shared / "bad" / "counts.json.gz"
    kept = unpacked(path)
    path.write_bytes(packed({**kept, "counts": {"wer": kept["counts"]["wer"]}}))
    (comparison,) = compare_runs(*(read_run(shared / name, answers=False) for name in ("good", "bad")))
    assert comparison[0] == "WER"
    good, bad = ([read_run(shared / name, answers=False)] for name in ("good", "bad"))
    assert contrast(good, bad, find_metric("quotation")) is None
