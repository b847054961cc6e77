"""The web demo of a model as a Space: a folder that runs with Gradio alone."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData
from huggingface_hub.utils import validate_repo_id

import audiollm

from ..demo.about import example_clips, model_name
from ..reporting.markdown import plain
from . import PublishError
from .card import CODE_LICENCE
from .publish import Publication, model_publication


# Where the page begins; what it imports, and what files that code names, goes along, and nothing else.
ENTRIES = ("__init__.py", "demo/app.py")
MODEL_FOLDER = "model"
APP = '''"""The page of a Space: `python app.py`."""

from pathlib import Path

from audiollm.demo.app import launch


MODEL = {model}

if __name__ == "__main__":
    launch(MODEL, name={name!r})
'''
TEXT = """
# {title}

Speak, and see what the speaker feels, why, and which words show it: the web demo of AudioLLM for {model}.
Recordings are used to answer and are not kept. See the model's card for what it must not be used for.
"""


def space_publication(model: str, called: str | None = None) -> Publication:
    """What a Space of a model publishes: `app.py`, requirements, card, and the code of the demo.

    Args:
        model: `OWNER/NAME` on the Hub; or a folder, whose files then go along in `model/`.
        called: what to call it; by default as its run or repository is called.

    Raises:
        PublishError: if it is neither, or Gradio, whose version a Space states, is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise PublishError("A Space states a version of Gradio, which is not installed: pip install 'audiollm[demo]'.")
    files: dict[str, Path | bytes] = {}
    left_out = []
    if Path(model).is_dir():
        published = model_publication(model)
        files |= {f"{MODEL_FOLDER}/{name}": content for name, content in published.files.items()}
        left_out = list(published.left_out)
        source, name = f'str(Path(__file__).parent / "{MODEL_FOLDER}")', called or model_name(model)
    else:
        source, name = repr(_hub_id(model)), called or model
    package = Path(audiollm.__file__).parent
    files |= {f"audiollm/{path.relative_to(package).as_posix()}": path for path in page_files(package)}
    files |= {f"audiollm/{path.relative_to(package).as_posix()}": path for path in example_clips().values()}
    files["app.py"] = APP.format(model=source, name=name.rpartition("/")[-1]).encode()
    files["requirements.txt"] = "".join(f"{line}\n" for line in requirements()).encode()
    title = f"AudioLLM: {name.rpartition('/')[-1]}"
    metadata = SpaceCardData(
        title=title,
        sdk="gradio",
        sdk_version=importlib.metadata.version("gradio"),
        app_file="app.py",
        license=CODE_LICENCE,
        models=None if Path(model).is_dir() else [model],
    )
    card = SpaceCard(f"---\n{metadata.to_yaml()}\n---\n{TEXT.format(title=plain(title), model=plain(name))}")
    files["README.md"] = (str(card).rstrip() + "\n").encode()
    return Publication(dict(sorted(files.items())), left_out)


def page_files(package: Path) -> list[Path]:
    """The files of the package that its web page needs.

    Args:
        package: its folder.
    """
    waiting, code = [package / name for name in ENTRIES], {}
    while waiting:
        path = waiting.pop()
        if path in code or not path.is_file():
            continue
        code[path] = ast.parse(path.read_text(encoding="utf-8"))
        waiting += _imported(path, code[path], package)
    constants = (node for tree in code.values() for node in ast.walk(tree) if isinstance(node, ast.Constant))
    texts = {node.value for node in constants if isinstance(node.value, str)}
    rooms = {path.parent for path in code} - {package}
    data = {path.name: path for room in rooms for path in room.rglob("*") if path.is_file() and path.suffix != ".py"}
    waiting, named = [data[text] for text in texts if text in data], set()
    while waiting:
        path = waiting.pop()
        if path not in named:
            named.add(path)
            found = re.findall(r"""["']([\w.-]+\.\w+)["']""", path.read_text(encoding="utf-8"))
            waiting += [data[name] for name in found if name in data]  # templates name others
    return sorted({*code, *named})


def _imported(path: Path, tree: ast.Module, package: Path) -> Iterator[Path]:
    """Files that a module imports from the package, wherever in it, with the `__init__.py` on the way."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split(".") if node.module else ())
        for target in (base, *(base / alias.name for alias in node.names)):
            yield target.with_suffix(".py")
            yield target / "__init__.py"
        yield from (folder / "__init__.py" for folder in base.parents if package in (folder, *folder.parents))


def requirements() -> list[str]:
    """What the demo needs, as this package states it: its dependencies and those of the extra `demo`."""
    lines = []
    for requirement in importlib.metadata.requires("audiollm") or ():
        name, _, condition = requirement.partition(";")
        if not condition or re.search(r"extra\s*==\s*.demo.", condition):
            lines.append(name.strip())
    return lines


def _hub_id(model: str) -> str:
    try:
        validate_repo_id(model)
    except ValueError as error:
        raise PublishError(f"{model!r} is neither a folder nor OWNER/NAME on the Hub ({error}).") from error
    return model
