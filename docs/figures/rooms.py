"""Draws rooms.svg from the imports that the code has: `python docs/figures/rooms.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Template


ROOT = Path(__file__).parents[2]
FIGURE = Path(__file__).with_name("rooms.svg")
# From the ground up, what each room is for. A room imports from floors below its own and from services.
FLOORS = (
    {"modeling_audiollm": "travels to the Hub: models, pipeline, evidence"},
    {"processing": "clip and question to tensors"},
    {"corpora": "published corpora to rows"},
    {"reasons": "rows to explained rows"},
    {"eval": "metrics, judges, systems, tables", "training": "when which part learns"},
    {"rewards": "what of an answer can be verified", "listening": "long recordings, segment by segment"},
    {"demo": "the web page", "studies": "many runs: what is done, what they show"},
    {"hub": "publishes models, and the web page of one"},
)
# Services know no floor but the ground, and each other in no circle.
SERVICES = {
    "reporting": "templates, plots, quotes, players",
    "language_models": "asked locally or served",
    "voice_claims": "said of a voice, and measured",
    "redact": "what may leave the machine",
    "locks": "one job in a folder",
    "files": "whole or not there; full disks",
}
# Where one comes in; these reach every floor and nothing imports them.
DOORS = ("commands", "__main__", "train_sft")
# The package's own front: names that load when asked for, and their registration with transformers.
FRONT = ("__init__", "registration")


def room_of(path: Path) -> str:
    """The room that a file of the package is in; a module at the top is one by itself."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def imports(root: Path = ROOT) -> dict[str, set[str]]:
    """The rooms that each room imports from, wherever in its files the import stands."""
    folders = [path.parent.name for path in root.glob("*/__init__.py") if path.parent.name not in ("tests", "samples")]
    files = [*root.glob("*.py"), *(path for folder in folders for path in (root / folder).rglob("*.py"))]
    found: dict[str, set[str]] = {}
    for path in files:
        here = path.relative_to(root)
        targets = {room_of(Path(*target)) for target in _targets(here, ast.parse(path.read_text(encoding="utf-8")))}
        found.setdefault(room_of(here), set()).update(targets - {room_of(here), *FRONT})
    return {room: rooms for room, rooms in found.items() if room not in FRONT}


def _targets(here: Path, tree: ast.Module) -> Iterator[list[str]]:
    """Paths inside the package that a module imports; of the package itself the names that are asked of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            named = (node.module or "").split(".") if node.module else []
            if node.level:
                base = [*here.parent.parts][: len(here.parent.parts) - node.level + 1] + named
            elif named[:1] == ["audiollm"]:
                base = named[1:]
            else:
                continue
            yield base or ["__init__"]
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "audiollm":
                    yield name.name.split(".")[1:] or ["__init__"]


def floor_of(room: str) -> int | None:
    """The floor of a room, from 0; None for services and doors."""
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def wrong_ways(found: dict[str, set[str]]) -> list[str]:
    """Imports that go up, along a floor, or from a service to a floor above the ground."""
    wrong = []
    for room, targets in found.items():
        if room in DOORS:
            continue
        floor = floor_of(room)
        for target in targets:
            below = floor_of(target)
            if room in SERVICES:
                allowed = below == 0 or (target in SERVICES and room not in found.get(target, ()))
            else:
                allowed = target in SERVICES or (below is not None and floor is not None and below < floor)
            if not allowed:
                wrong.append(f"{room} -> {target}")
    return sorted(wrong)


WIDTH, LEFT, BOX, GAP, HIGH, STEP, TOP = 1150, 56, 388, 16, 92, 106, 58
TEMPLATE = Template(
    """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" \
font-family="system-ui, sans-serif" font-size="15" fill="#1c2430">
<title>Rooms and their imports</title>
<rect width="{{ width }}" height="{{ height }}" fill="#ffffff"/>
<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">\
<path d="M0 0 8 4 0 8z" fill="#0b7a75"/></marker></defs>
<text x="{{ left }}" y="38" font-size="13" fill="#56606f">doors to all floors: {{ doors }}</text>
<text x="{{ side }}" y="38" font-size="13" fill="#56606f">services for all floors</text>
<path d="M28 {{ top }}V{{ height - 24 }}" stroke="#0b7a75" stroke-width="3" marker-end="url(#a)"/>
<text x="18" y="{{ height / 2 }}" font-size="13" fill="#0b7a75" text-anchor="middle" \
transform="rotate(-90 18 {{ height / 2 }})">imports run down</text>
{% for b in boxes %}<rect x="{{ b.x }}" y="{{ b.y }}" width="{{ b.wide }}" height="{{ high }}" rx="10" \
fill="{{ b.fill }}" stroke="{{ b.line }}"/>
<text x="{{ b.x + 12 }}" y="{{ b.y + 24 }}" font-weight="650">{{ b.name }}</text>\
<text x="{{ b.x + 12 }}" y="{{ b.y + 45 }}" font-size="12.5">{{ b.what }}</text>\
{% for line in b.uses %}<text x="{{ b.x + 12 }}" y="{{ b.y + 65 + 16 * loop.index0 }}" font-size="11" \
fill="#56606f">{{ line }}</text>{% endfor %}

{% endfor %}</svg>
""",
    autoescape=True,
    trim_blocks=True,
)


def draw(found: dict[str, set[str]]) -> str:
    """The figure: a box for each room, which says what it is for and what it imports."""
    side = LEFT + 2 * (BOX + GAP) + GAP
    height = TOP + STEP * max(len(FLOORS), len(SERVICES))
    boxes = []
    for number, rooms in enumerate(reversed(FLOORS)):
        wide = BOX if len(rooms) > 1 else 2 * BOX + GAP
        looks = {"wide": wide, "fill": "#e8f3f2", "line": "#5fa8a2", "y": TOP + number * STEP}
        boxes += [{**looks, "x": LEFT + column * (BOX + GAP), "name": room} for column, room in enumerate(rooms)]
    looks = {"wide": WIDTH - side - 16, "fill": "#fbe9d9", "line": "#d99a5b", "x": side}
    boxes += [{**looks, "y": TOP + number * STEP, "name": room} for number, room in enumerate(SERVICES)]
    purposes = {room: what for rooms in (*FLOORS, SERVICES) for room, what in rooms.items()}
    for box in boxes:
        used = sorted(found.get(box["name"], ()))
        lines = [", ".join(room for room in used if (room in SERVICES) == service) for service in (False, True)]
        lines = [f"{'and' if number else 'imports'} {line}" for number, line in enumerate(filter(None, lines))]
        box |= {"what": purposes[box["name"]], "uses": lines or ["imports no room"]}
    sizes = {"width": WIDTH, "height": height, "left": LEFT, "side": side, "top": TOP, "high": HIGH}
    return TEMPLATE.render(sizes, boxes=boxes, doors=", ".join(DOORS)) + "\n"


if __name__ == "__main__":
    FIGURE.write_text(draw(imports()), encoding="utf-8")
