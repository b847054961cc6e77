import json

import numpy as np
import pytest
import soundfile

from audiollm.processing.__main__ import main


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
