"""What a training changed, as a folder to publish: without the public weights that it began with, with a card."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import audiollm

from ..files import new_folder, write_whole
from ..training.delta import DTYPES, WrittenDelta, write_delta
from ..training.facts import FACTS_NAME
from . import PublishError
from .card import CardFacts, model_card
from .publish import LICENCE, README


NON_COMMERCIAL = re.compile(r"(?<![a-z])nc(?![a-z])|non-?commercial", re.I)


def publish_delta(
    checkpoint: str | Path,
    folder: str | Path,
    licence: str,
    public: Mapping[str, str] | None = None,
    hears: str | None = None,
    name: str | None = None,
    dtype: str = "bfloat16",
) -> WrittenDelta:
    """Write the delta of a checkpoint with card and licence, whole or not at all.

    Args:
        checkpoint: a `checkpoint-*` folder of a training.
        folder: to write; new or empty.
        licence: of what was trained, as the Hub names it (`apache-2.0`, `cc-by-nc-4.0`).
        public: names on the Hub of what the run had from folders, see [`write_delta`].
        hears: one sentence on what the model can hear, for card and web page.
        name: heading of the card; by default the folder's.
        dtype: to round the weights to, one of [`DTYPES`].

    Raises:
        PublishError: if a corpus that the model learnt from forbids commercial use, and the licence does not; or if
            the checkpoint does not say what it learnt from.
    """
    folder = Path(folder)
    stated = {"licence": licence} | ({"hears": hears} if hears else {})
    with new_folder(folder) as new:
        written = write_delta(checkpoint, new, public or {}, stated, DTYPES[dtype])
        _refuse_licence(licence, written.facts)
        facts = CardFacts(
            name=name or folder.resolve().name,
            model_id=folder.name if folder.is_absolute() else folder.as_posix(),
            config=written.config,
            parameters=written.parameters,
            training=written.facts,
            trained=written.trained,
        )
        write_whole(new / README, str(model_card(facts)).rstrip() + "\n")
        shutil.copy(Path(audiollm.__file__).parent / LICENCE, new)
    return written


def _refuse_licence(licence: str, facts: Mapping[str, Any]):
    if "corpora" not in facts:
        raise PublishError(
            f"the checkpoint does not say which corpora it learnt from, so nobody knows what {licence} may allow: put "
            f"the {FACTS_NAME} of its run into it."
        )
    for corpus in facts["corpora"]:
        theirs = str(corpus["licence"] or "")
        if NON_COMMERCIAL.search(theirs) and not NON_COMMERCIAL.search(licence):
            raise PublishError(
                f"the model learnt from {corpus['title'] or corpus['name']} ({theirs}), which forbids commercial use; "
                f"{licence} allows it. Give a licence that does not, such as cc-by-nc-4.0."
            )
