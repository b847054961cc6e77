"""From transcripts to what an aligned adapter is to hear: words of the language model's tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch


IGNORED = -100


def spoken_words(transcript: str) -> str:
    """A transcript as it sounds: in lower case and without punctuation, but for apostrophes within words."""
    plain = unicodedata.normalize("NFC", transcript).replace("\u2019", "'").casefold()
    kept = (c if c == "'" or c.isalnum() or unicodedata.category(c) == "Mn" else " " for c in plain)
    return " ".join(word.strip("'") for word in "".join(kept).split() if word.strip("'"))


class WordTargets:
    """The words of a batch's transcripts, and others among which they have to be found.

    A softmax over all words of a tokenizer would cost more than the adapter. Half of the others are words of the
    training's transcripts, which sound like those that are said; half are any words of the tokenizer. They are drawn
    by the place of a batch's first row in the run, so that neither workers nor a resumed run change them.

    Args:
        tokenizer: of the language model.
        transcripts: of the training.
        others: how many to draw.
        seed: of the draw.
    """

    def __init__(self, tokenizer: Any, transcripts: Iterable[str], others: int = 1000, seed: int = 0):
        self.tokenizer, self.others, self.seed = tokenizer, others, seed
        self.said = np.array(sorted({token for text in transcripts for token in self.ids(text)}), dtype=np.int64)
        special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self.any = np.array([i for i in range(len(tokenizer)) if i not in special], dtype=np.int64)

    def ids(self, transcript: str | None) -> list[int]:
        """Tokens of a transcript, the first with the space that stands before a word."""
        words = spoken_words(transcript or "")
        return self.tokenizer(f" {words}", add_special_tokens=False)["input_ids"] if words else []

    def least_tokens(self, transcript: str | None) -> int:
        """Audio tokens that CTC needs for a transcript: one a word, and a blank between equal ones."""
        ids = self.ids(transcript)
        return len(ids) + sum(one == other for one, other in zip(ids, ids[1:]))

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """`alignment_words`, ids `[words]`, and `alignment_labels`, places in them `[rows, longest]`, padded -100."""
        targets = [self.ids(row.get("transcript")) for row in rows]
        random = np.random.default_rng([self.seed, int(rows[0].get("place", 0))])
        drawn = [random.choice(pool, self.others // 2) for pool in (self.said, self.any) if len(pool)]
        wanted = np.array([token for ids in targets for token in ids], dtype=np.int64)
        words = np.unique(np.concatenate([wanted, *drawn]))
        labels = np.full((len(rows), max(1, *map(len, targets))), IGNORED)
        for row, ids in zip(labels, targets):
            row[: len(ids)] = np.searchsorted(words, ids)
        return {"alignment_words": torch.from_numpy(words), "alignment_labels": torch.from_numpy(labels)}
