"""HTML from the templates of this room. Every value is escaped, and a whole page runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


TEMPLATES = Path(__file__).parent / "templates"
STYLE = TEMPLATES / "style.css"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, with autoescape on for all of them and an error for a name that nobody gave."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"image": image_source, "fact": _fact, "percent": percent}
    return made


def render(template: str, **values: Any) -> str:
    """A piece of HTML.

    Args:
        template: name of a file in `templates/`.
        values: what it shows; text is escaped.
    """
    return environment().get_template(template).render(values)


def render_page(template: str, script: str, media: str = "data:", **values: Any) -> str:
    """A whole page that needs no other file, under a policy that lets it load and run nothing else.

    Args:
        template: name of a file in `templates/` that extends `base.html`.
        script: name of its script there.
        media: where the policy lets recordings come from.
        values: what the template shows; text is escaped.
    """
    code = (TEMPLATES / script).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src {media}; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    style = STYLE.read_text(encoding="utf-8")
    return render(template, policy=policy, style=Markup(style), script=Markup(code), **values) + "\n"


def percent(value: float | None) -> str:
    """A figure in percent with one decimal, or that there is none."""
    return "none" if value is None else f"{value:.1f}%"


def image_source(svg: str) -> str:
    """A plot as the source of an image of its own, so that its ids meet no others and nothing in it can run."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8')).decode()}"


def _fact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
