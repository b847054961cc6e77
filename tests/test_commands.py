import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiollm.commands import COMMANDS, main, one_line, parse


DOCS = Path(__file__).parents[1] / "docs"
COMMANDS_ROOM = DOCS.parent / "commands"
PAGES = ("corpora", "reasons")


def blocks(page, language):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


@pytest.fixture
def ravdess(tmp_path):
    for number, name in enumerate(("Actor_01/03-01-05-02-01-01-01", "Actor_17/03-01-02-01-02-01-17")):
        path = tmp_path / "ravdess" / f"{name}.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, np.random.default_rng(number).normal(0, 0.1, 800), 16_000)
    return tmp_path / "ravdess"


def test_read_verify_export_and_push_one_after_the_other(ravdess, tmp_path, capsys):
    out = str(tmp_path / "read")
    asked = ["--tasks", "er", "--style", "paper", "--label-list", "always"]
    assert main(["read", "ravdess", str(ravdess), out, *asked]) == 0
    rows = [json.loads(line) for line in (tmp_path / "read" / "rows.jsonl").read_text().splitlines()]
    assert [(row["split"], row["label"]) for row in rows] == [("train", "angry"), ("test", "calm")]
    assert "Choose from: neutral, calm, happy" in rows[0]["question"]
    assert main(["verify", out]) == 0
    assert "angry" in capsys.readouterr().out
    assert main(["export", out, str(tmp_path / "share"), "--format", "sharegpt"]) == 0
    assert main(["push", out, "me/set", "--dry-run", str(tmp_path / "dry")]) == 0
    assert (tmp_path / "dry" / "README.md").exists() and (tmp_path / "share" / "test.jsonl").exists()


def test_errors_are_one_sentence_and_code_2(ravdess, tmp_path, capsys):
    for argv, message in (
        (["read", "meld", str(ravdess), str(tmp_path / "a")], "nothing of split 'train or validation or test' found"),
        (["read", "meld", str(tmp_path / "never"), str(tmp_path / "a")], "no such folder (corpus meld)"),
        (["read", "own", str(ravdess), str(tmp_path / "a"), "--option", "x"], "'x' is not NAME=VALUE"),
        (["verify", str(ravdess)], "read a corpus first"),
        (["export", str(tmp_path / "never"), str(tmp_path / "b")], "never: no such file or folder"),
    ):
        assert main(argv) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and message in said and "Traceback" not in said


def test_verification_says_by_its_exit_code_that_something_is_wrong(ravdess, tmp_path):
    out = str(tmp_path / "read")
    main(["read", "ravdess", str(ravdess), out])
    (ravdess / "Actor_01" / "03-01-05-02-01-01-01.wav").write_bytes(b"gone bad")
    assert main(["verify", out]) == 1


def test_help_names_all_commands(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {name} " in text or f"    {name}\n" in text for name in COMMANDS) and "exit codes: 0 done" in text


def test_every_module_of_the_room_is_a_command():
    modules = {path.stem.replace("_", "-") for path in COMMANDS_ROOM.glob("*.py")}
    assert modules - {"--init--", "arguments"} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_no_library_that_takes_seconds(command):
    code = f"""
import sys
from audiollm.commands import main
try:
    main([{command!r}, "--help"])
except SystemExit:
    print("loaded", *({{"torch", "transformers", "datasets", "matplotlib", "evaluate"}} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"usage: audiollm {command}") and said.endswith("loaded\n")


def test_the_script_for_accelerate_is_the_command_train():
    script = [sys.executable, str(DOCS.parent / "train_sft.py"), "--config", "nowhere.yaml"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == "error: [Errno 2] No such file or directory: 'nowhere.yaml'\n"


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "--config"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "--confg", "x"], "--config"),
        (["eval", "--system", "majority", "--data", "nowhere", "--out", "o"], "nowhere"),
        (["eval", "--system", "majority", "--data", "d", "--out", "o", "--batch-size", "0"], "must be at least 1"),
        (["eval", "--system", "majority", "--data", "d", "--out", "o", "--batch-size", "two"], "invalid whole number"),
        (["eval", "--system", "majority", "--data", "d", "--out", "o", "--tasks", "er", "emotion"], "'emotion'"),
        (
            ["eval", "--system", "majority", "--data", "d", "--out", "o", "--judge-timeout", "3"],
            "--judge-timeout belongs to a judge at a server",
        ),
        (
            ["eval", "--system", "majority", "--data", "d", "--out", "o", "--max-unscored=0"],
            "--max-unscored belongs to",
        ),
        (["eval", "--system", "majority", "--data", "d", "--out", "o", "--train-log", "l"], "belongs to --report"),
        (["eval", "--system", "majority", "--data", "d", "--out", "o", "--seed", "1"], "--seed belongs to --limit"),
        (["extract", "d", "--out", "o", "--targets", "label", "--probe", "5"], "--probe belongs to --dry-run"),
        (["extract", "d", "--out", "o", "--dry-run", "--marks", "m"], "--marks belongs to an extraction"),
        (["extract", "d", "--out", "o", "--rejected", "aside"], "--rejected belongs to --marks"),
        (["extract", "d", "--out", "o", "--targets", "label", "--teacher", "t"], "--teacher belongs to targets that"),
        (
            ["extract", "d", "--out", "o", "--teacher", "t", "--timeout", "9"],
            "--timeout belongs to a teacher at a serv",
        ),
        (["extract", "d", "--out", "o", "--teacher", "server:t", "--batch-size", "9"], "belongs to a local teacher"),
        (["train", "--config", "configs/tiny.yaml", "--gpus", "4"], "--gpus belongs to --plan"),
        (["rl", "--config", "configs/rl.yaml", "--gpus", "4"], "--gpus belongs to --plan"),
        (["answer", "m", "clip.wav", "--question", "why?", "--task", "emotion"], "--task belongs to"),
        (["publish", "m", "--audio-root", "d"], "--audio-root belongs to --samples"),
        (["study", "configs/tiny_study", "--tables", "--jobs", "2"], "--jobs belongs to"),
        (["tables", "nowhere"], "nowhere"),
        (["tables", "run", "--paper", "2"], "--row"),
        (["report", "nowhere"], "nowhere"),
        (["judge-study", "score", "sheet.csv", "--key", "nowhere.json"], "nowhere.json"),
        (["audiobench", "scores", "nowhere_wer_score.json"], "nowhere_wer_score.json"),
        (["merge", "nowhere", "out"], "nowhere"),
        (["answer", "nowhere", "clip.wav"], "nowhere"),
        (["publish", "nowhere"], "nowhere"),
        (["extract", "nowhere.jsonl", "--out", "o"], "nowhere.jsonl"),
        (["extract", "nowhere.jsonl", "--out", "o", "--targets", "lable"], "'lable'"),
        (["audit", "nowhere.jsonl", "--reasons", "o"], "nowhere.jsonl"),
        (["read", "emobx", "a", "b"], "'emobx'"),
        (["read", "own", "nowhere", "b", "--option", "holdout=0.1", "holdout=0.2"], "--option holdout is given twice"),
        (["convert-emotion2vec", "nowhere.pt", "out"], "nowhere.pt"),
    ],
)
def test_slips_are_one_line_and_code_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and message in said


def test_a_package_that_is_not_installed_is_named_with_its_extra():
    assert "pip install 'audiollm[demo]'" in one_line(ModuleNotFoundError("No module named 'gradio'", name="gradio"))


def test_lists_take_spaces_and_add_up():
    options = parse(["train", "--config", "c", "--set", "a=1", "b=2", "--set", "c=3"])
    assert options.set == ["a=1", "b=2", "c=3"]
    options = parse(["read", "own", "root", "out", "--option", "a=x=y", "b=2", "--option", "c=3", "--splits", "train"])
    assert options.option == [("a", "x=y"), ("b", "2"), ("c", "3")] and options.splits == ["train"]


def test_help_of_read_shows_layouts_and_options(capsys):
    with pytest.raises(SystemExit):
        main(["read", "--help"])
    text = capsys.readouterr().out
    assert "EmoEvaluation" in text and "--option test_session=..." in text and "slue_sqa5" in text


def test_the_examples_of_the_docs_run():
    examples = blocks("reasons", "python")
    assert examples
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"docs/reasons.md, example {number}", "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_docs_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", (DOCS / f"{page}.md").read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (DOCS / link).exists()] == []
