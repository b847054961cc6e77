"""The way from a person's table to an evaluated model, command by command as its page has it."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from audiollm.commands import main


ROOT = Path(__file__).parents[1]
FEW_STEPS = ["--set", "training.max_steps=2", "training.save_strategy=no", "samples_per_round=0"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A person's table and clips: 16 of our own, of 4 speakers."""
    (tmp_path / "calls").mkdir()
    rows = [json.loads(line) for line in (ROOT / "samples" / "train.jsonl").read_text().splitlines()]
    spoken = {}
    for row in rows:
        if row["task"] == "er":
            spoken.setdefault(row["speaker"], {}).setdefault(row["audio"], row)
    with (tmp_path / "calls" / "calls.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["recording", "mood", "words", "speaker"])
        for speaker in sorted(spoken)[:4]:
            for audio, row in list(spoken[speaker].items())[:4]:
                shutil.copy(ROOT / "samples" / audio, tmp_path / "calls")
                table.writerow([Path(audio).name, row["label"].title(), row["transcript"], speaker])
    first = next((tmp_path / "calls").glob("*.ogg"))
    shutil.copy(first, tmp_path / "calls" / "c01.wav")  # a container is known by its content
    for name in ("samples", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_lead_to_an_evaluated_model(workplace, capsys):
    page = (ROOT / "docs" / "from_a_table.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```", page, flags=re.M | re.S):
        words = shlex.split(block.replace("\\\n", " "))
        assert words.pop(0) == "audiollm"
        assert main(words + (FEW_STEPS if words[0] == "train" else [])) == 0, words
    said = capsys.readouterr().out
    assert "test er: 4 rows" in said and "c01.wav" in said
    results = json.loads((workplace / "build" / "calls-eval" / "mine" / "results.json").read_text())
    assert results["counts"]["answered"] == results["counts"]["rows"] == 8
    assert {path.name for path in (workplace / "build" / "calls-eval").iterdir()} == {"mine", "majority"}
    assert (workplace / "build" / "calls-eval" / "mine" / "report.html").is_file()
