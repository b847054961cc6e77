"""The rooms import one way, and the figure of them is what the code has."""

import ast
import graphlib
import importlib.util
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "figures" / "rooms.py")
rooms = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(rooms)
KNOWN = {*rooms.SERVICES, *rooms.DOORS, *(room for floor in rooms.FLOORS for room in floor)}


def test_every_room_has_a_place_in_the_figure():
    assert rooms.imports().keys() == KNOWN


def test_imports_run_down_the_floors_and_services_know_none():
    assert rooms.wrong_ways(rooms.imports()) == []


def test_no_room_imports_itself_by_way_of_others():
    graphlib.TopologicalSorter({room: used - {room} for room, used in rooms.imports().items()}).prepare()


def test_evaluation_does_not_know_training():
    found = rooms.imports()
    assert "training" not in found["eval"] and "eval" not in found["training"]


def test_a_wrong_way_is_found_wherever_the_import_stands(tmp_path):
    for room, code in {
        "modeling_audiollm": "def late():\n    from ..eval.run import evaluate\n",
        "reporting": "import audiollm.corpora.schema\n",
        "eval": "from ..training import plan\nfrom audiollm.hub.card import plain\nfrom . import run\n",
        "hub": "from ..eval import run\nfrom ..reporting import pages\n",
    }.items():
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(code)
    assert rooms.wrong_ways(rooms.imports(tmp_path)) == [
        "eval -> hub",
        "eval -> training",
        "modeling_audiollm -> eval",
        "reporting -> corpora",
    ]


def test_the_figure_is_drawn_from_the_imports():
    assert rooms.FIGURE.read_text() == rooms.draw(rooms.imports()), "run python docs/figures/rooms.py"


def travelling():
    return [*(ROOT / "modeling_audiollm").glob("*.py"), ROOT / "processing" / "processing_audiollm.py"]


@pytest.mark.parametrize("path", [path for path in travelling() if path.name != "__init__.py"], ids=lambda p: p.name)
def test_what_travels_to_the_hub_imports_only_files_beside_it(path):
    """As dynamic modules they know no package, only files of one folder by `from .name import ...`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    relative = [node for node in names if isinstance(node, ast.ImportFrom) and node.level]
    assert all(node.level == 1 and node.module and "." not in node.module for node in relative)
    assert all((path.parent / f"{node.module}.py").is_file() for node in relative)
    absolute = [name.name for node in names if isinstance(node, ast.Import) for name in node.names]
    absolute += [node.module for node in names if isinstance(node, ast.ImportFrom) and not node.level]
    assert not [name for name in absolute if name.split(".")[0] == "audiollm"]


def test_what_travels_to_the_hub_has_names_of_its_own():
    names = [path.name for path in travelling() if path.name != "__init__.py"]
    assert len(set(names)) == len(names)
