import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiollm.__main__ import build_parser, main


DOCS = Path(__file__).parents[1] / "docs"
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
    assert (
        main(["read", "ravdess", str(ravdess), out, "--task", "er", "--style", "paper", "--label-list", "always"]) == 0
    )
    rows = [json.loads(line) for line in (tmp_path / "read" / "rows.jsonl").read_text().splitlines()]
    assert [(row["split"], row["label"]) for row in rows] == [("train", "angry"), ("test", "calm")]
    assert "Choose from: neutral, calm, happy" in rows[0]["question"]
    assert main(["verify", out, "--strict"]) == 0
    assert "angry" in capsys.readouterr().out
    assert main(["export", out, str(tmp_path / "share"), "--format", "sharegpt"]) == 0
    assert main(["push", out, "me/set", "--dry-run", str(tmp_path / "dry")]) == 0
    assert (tmp_path / "dry" / "README.md").exists() and (tmp_path / "share" / "test.jsonl").exists()


def test_errors_are_one_sentence_and_code_2(ravdess, tmp_path, capsys):
    for argv, message in (
        (["read", "meld", str(ravdess), str(tmp_path / "a")], "nothing of split 'train or validation or test' found"),
        (["read", "meld", str(tmp_path / "never"), str(tmp_path / "a")], "no such folder (corpus meld)"),
        (["read", "own", str(ravdess), str(tmp_path / "a"), "--option", "x"], "expected NAME=VALUE"),
        (["verify", str(ravdess)], "read a corpus first"),
        (["export", str(tmp_path / "never"), str(tmp_path / "b")], "never: no rows"),
    ):
        assert main(argv) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and message in said and "Traceback" not in said


def test_strict_verification_fails_on_problems(ravdess, tmp_path):
    out = str(tmp_path / "read")
    main(["read", "ravdess", str(ravdess), out])
    (ravdess / "Actor_01" / "03-01-05-02-01-01-01.wav").write_bytes(b"gone bad")
    assert main(["verify", out]) == 0 and main(["verify", out, "--strict"]) == 1


def test_help_names_all_commands(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in ("read", "verify", "extract", "audit", "export", "push"))


def test_help_of_read_shows_layouts_and_options(capsys):
    with pytest.raises(SystemExit):
        main(["read", "--help"])
    text = capsys.readouterr().out
    assert "EmoEvaluation" in text and "--option test_session=..." in text and "slue_sqa5" in text


def documented_commands():
    for page in PAGES:
        for line in "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:3] == ["python", "-m", "audiollm.processing"]:
                yield pytest.param(words[3:], id=f"{page}: {' '.join(words[3:])}")


@pytest.mark.parametrize("words", documented_commands())
def test_the_commands_of_the_docs_are_understood(words):
    build_parser().parse_args(words)


def test_the_examples_of_the_docs_run():
    examples = blocks("reasons", "python")
    assert examples
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"docs/reasons.md, example {number}", "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_docs_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", (DOCS / f"{page}.md").read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (DOCS / link).exists()] == []
