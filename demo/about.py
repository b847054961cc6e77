"""Which model speaks on the page, what it can hear, and clips to try it with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import audiollm

from ..reporting.markdown import plain


FACTS_NAME = "training.json"  # what training writes beside a model
# Clips of the embedded corpus that travel with the package: short, of one voice, of three emotions.
EXAMPLES = {
    "sad": "samples/audio/test/te657-6f94.ogg",
    "happy": "samples/audio/test/te638-df3f.ogg",
    "angry": "samples/audio/test/te670-8a61.ogg",
}


# The models of the repository that the page can start with: what we trained on real weights, and a whole tiny one.
SMALL, TINY = "samples/small", "samples/tiny-base"
BANNER = (
    "> **This is the tiny demonstration model. It cannot hear you:** it knows some synthetic voices, and no person's. "
    "Try the examples below. {instead}"
)
INSTEAD = "The model that hears people needs public weights that are not on this machine yet: {command}."


def describe(name: str, parameters: int, facts: Mapping[str, Any] | None) -> str:
    """The model and what it can hear, in Markdown.

    Args:
        name: of the model.
        parameters: how many it has.
        facts: of its training, or none; `hears` in them is what people who measured it say.
    """
    who = f"The model that answers here is **{plain(name)}**, {parameters / 1e6:,.0f} M parameters."
    if facts and facts.get("hears"):
        return f"{who} {plain(facts['hears'])}"
    corpora = [str(corpus.get("title") or corpus.get("name")) for corpus in (facts or {}).get("corpora", ())]
    if not corpora:
        return f"{who} What it learnt from is not recorded, so nobody knows which voices it can hear."
    learnt = f"It learnt from {plain(' and '.join(corpora))}"
    if all("synthetic" in corpus.lower() for corpus in corpora):
        return f"{who} {learnt} and hears synthetic words only: try an example; your own voice it will not understand."
    return f"{who} {learnt}; voices, words and languages unlike those it hears badly."


def read_facts(checkpoint: str | Path) -> dict[str, Any] | None:
    """What is known of a checkpoint's training, from beside its folder or from the Hub; None if nothing is."""
    if Path(checkpoint).is_dir():
        places = [Path(checkpoint) / FACTS_NAME, Path(checkpoint).resolve().parent / FACTS_NAME]
        path = next((place for place in places if place.is_file()), None)
    else:
        from transformers.utils import cached_file

        path = cached_file(str(checkpoint), FACTS_NAME, _raise_exceptions_for_missing_entries=False)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def model_name(checkpoint: str | Path) -> str:
    """What to call a checkpoint: a folder `RUN/model` by its run, one on the Hub without its owner."""
    if Path(checkpoint).is_dir():
        folder = Path(checkpoint).resolve()
        return folder.parent.name if folder.name == "model" else folder.name
    return str(checkpoint).rpartition("/")[-1]


def own_model(name: str) -> Path:
    """The folder of [`SMALL`] or [`TINY`], which a checkout has and an installed package does not."""
    return Path(audiollm.__file__).parent / name


def tiny_banner() -> str:
    """What the page says, in Markdown, when the tiny model stands in for the small one."""
    small = own_model(SMALL)
    command = f"`audiollm merge {SMALL} --out build/small`, then `audiollm demo build/small`"
    return BANNER.format(instead=INSTEAD.format(command=command) if small.is_dir() else "").rstrip()


def example_clips() -> dict[str, Path]:
    """Clips by label, as far as they are there."""
    package = Path(audiollm.__file__).parent
    return {label: package / name for label, name in EXAMPLES.items() if (package / name).is_file()}
