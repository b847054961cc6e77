"""The examples of the documentation run, its commands parse, and its links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import pytest
import soundfile
import torch

from audiollm.commands import parse
from audiollm.training.checkpoints import save_merged
from audiollm.training.config import read_config
from audiollm.training.estimate import parts_of
from audiollm.training.schedule import read_schedule
from tests.tiny import like_a_voice, tiny_model_and_processor


DOCS = Path(__file__).parents[1] / "docs"
PAPER_TABLES = Path(__file__).parents[1] / "eval" / "paper_tables.json"
# Pages whose examples run here; the others are tested by their owners.
PAGES = ("quick_start", "your_data", "choosing_encoders", "publishing", "web_demo", "how_it_works")


def blocks(page, language):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with what the examples speak of: a trained model and a recording."""
    folder = tmp_path_factory.mktemp("docs")
    torch.manual_seed(0)
    model, processor = tiny_model_and_processor()
    model.generation_config.max_new_tokens = 8
    save_merged(model, processor, folder / "build" / "demo" / "model")
    soundfile.write(folder / "recording.wav", like_a_voice(1), 16_000)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_python_examples_of_a_page_run_one_after_the_other(page, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    names = {"__name__": page}
    examples = blocks(page, "python")
    assert examples
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"docs/{page}.md, example {number}", "exec"), names)


def lines(page):
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True)


def commands():
    for page in sorted(path.stem for path in DOCS.glob("*.md")):
        for words in lines(page):
            if words[:1] == ["audiollm"] and not any("..." in word or word.startswith("[") for word in words):
                yield pytest.param(words[1:], id=f"{page}: {' '.join(words)}")


@pytest.mark.parametrize("words", commands())
def test_the_commands_of_the_docs_are_understood(words):
    parse(words)


@pytest.mark.parametrize("words", [words[2:] for words in lines("reproducing") if words[1:2] == ["train"]])
def test_the_runs_of_the_paper_s_tables_are_configurations_that_build(words, tmp_path, monkeypatch):
    tiny_model_and_processor(emotion=None)[0].save_pretrained(tmp_path / "build" / "single" / "model")
    assert words[:2] == ["--config", "configs/paper.yaml"] and words[2] == "--set"
    config = read_config(DOCS.parent / words[1], words[3:])
    monkeypatch.chdir(tmp_path)
    rounds = read_schedule(config["schedule"], [*parts_of(config["model"]), "lora"])
    assert rounds and config["training"]["output_dir"] != "build/paper"


def test_the_rows_of_the_paper_s_tables_are_theirs():
    tables = {table["number"]: table for table in json.loads(PAPER_TABLES.read_text(encoding="utf-8"))["tables"]}
    shown = set()
    for words in lines("reproducing"):
        if words[:2] == ["audiollm", "tables"]:
            number, *rows = int(words[3]), *(row.partition("=")[0] for row in words[5::2])
            table = tables[number]
            names = {row if isinstance(row, str) else row["name"] for row in table["rows"]}
            assert set(rows) <= names
            shown.add(number)
    assert shown == set(tables)


ROOT = DOCS.parent
TEXTS = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "samples").glob("*.md")]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_between_the_pages_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target and "{" not in target]
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []


def test_every_page_is_in_the_index():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCS.glob("*.md") if path.stem != "index" and f"({path.name})" not in index] == []


def test_nothing_points_at_notes_that_readers_do_not_have():
    notes = re.compile(r"\banchors?(\.md|[,:] *P?\d)|DESIGN\.md")
    code = [path for room in ROOT.glob("*/__init__.py") for path in room.parent.rglob("*.py")]
    files = [*TEXTS, *ROOT.glob("*.py"), *ROOT.glob("configs/*.yaml"), *code]
    assert [path.name for path in files if notes.search(path.read_text(encoding="utf-8"))] == []


def test_the_places_that_the_architecture_names_are_there():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`([\w./]+)`", text) if "/" in name or name.endswith((".py", ".md"))]
    named = [
        name if "/" in name else f"reporting/templates/{name}" if name.endswith(".html") else name for name in named
    ]
    assert named and [name for name in named if not (ROOT / name).exists()] == []
