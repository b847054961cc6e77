"""An installed wheel has all that its commands need."""

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from audiollm.demo.about import EXAMPLES
from tests.tiny import tiny_model_and_processor


ROOT = Path(__file__).parents[1]
SKIPPED = (".*", "__pycache__", "build", "*.egg-info", "*.safetensors", "benchmarks", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Of a copy, since a build writes beside what it reads.
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*SKIPPED))
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    flags = ["--no-deps", "--no-index", "--no-build-isolation"]
    made = [*pip, "wheel", *flags, "--wheel-dir", str(folder), str(folder / "source")]
    process = subprocess.run(made, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel):
    """The folder that the wheel is unpacked into, as an installation does."""
    folder = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_else(wheel):
    """What a room holds in the checkout and the page's three examples, and no tests, samples or benchmarks."""
    rooms = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name not in ("tests", "samples")]
    paths = [path for room in rooms for path in room.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    paths += [*ROOT.glob("*.py"), *ROOT.glob("configs/**/*.yaml"), ROOT / "py.typed", ROOT / "model_card.md"]
    paths += [ROOT / name for name in EXAMPLES.values()]
    expected = {f"audiollm/{path.relative_to(ROOT).as_posix()}" for path in paths} | {"audiollm/LICENSE"}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected


COMMANDS = textwrap.dedent("""
    import contextlib, io, sys
    import audiollm
    folder, model, out = sys.argv[1:]
    assert audiollm.__file__.startswith(folder), audiollm.__file__
    from audiollm.commands import COMMANDS, main
    for command in COMMANDS:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            try:
                assert not main([command, "--help"])
            except SystemExit as end:
                assert not end.code
        assert f"usage: audiollm {command}" in shown.getvalue(), shown.getvalue()
    assert main(["publish", model, "--out", out]) == 0
    from audiollm.training.config import read_config
    assert read_config("configs/paper.yaml")["model"]["parts"]
    from audiollm.reasons.prompts import read_prompts
    assert read_prompts()
    from audiollm.reporting.pages import render
    print(render("message.html", text="ready"))
    """)


def test_commands_run_from_the_installed_wheel_alone(installed, tmp_path):
    model, processor = tiny_model_and_processor()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    process = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(installed), str(tmp_path / "model"), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "ready" in process.stdout and "How it was trained" in (tmp_path / "out" / "README.md").read_text()
    assert (tmp_path / "out" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
