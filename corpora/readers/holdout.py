"""A seeded share of speakers, or of clips, held out for testing: at least one, never all, the same in any order."""

from __future__ import annotations

from ..questions import draw_number
from ..rejects import CorpusError


# So many names are ranked, and an exact share of them is held out; of more, those drawn below the share.
RANKED = 10_000


class Holdout:
    """Add all names, draw, then ask of each.

    Args:
        share: of the names, as it was written: above 0, below 1.
        seed: another seed, another draw.

    Raises:
        CorpusError: if the share is none.
    """

    def __init__(self, share: str, seed: int):
        try:
            self.share = float(share)
        except ValueError:
            self.share = 0.0
        if not 0 < self.share < 1:
            raise CorpusError(f"holdout: {share!r} is no share between 0 and 1, such as 0.1.")
        self.seed = seed
        self._ranked: set[int] = set()
        self._least, self._most = 1 << 64, -1
        self._below = 0  # names drawn below this are held out

    def _draw_of(self, name: str) -> int:
        return draw_number(f"split|{self.seed}|{name}")

    def add(self, name: str):
        """Note a name; one that comes again counts once."""
        draw = self._draw_of(name)
        self._least, self._most = min(self._least, draw), max(self._most, draw)
        if len(self._ranked) <= RANKED:
            self._ranked.add(draw)

    def draw(self, corpus: str):
        """Settle who is held out.

        Raises:
            CorpusError: if there are names, but not two.
        """
        if self._most < 0:
            return
        if self._least == self._most:
            raise CorpusError(f"holdout: {corpus} holds one speaker or clip only; there is nobody to hold out.")
        if len(self._ranked) <= RANKED:
            held_out = min(max(1, round(self.share * len(self._ranked))), len(self._ranked) - 1)
            self._below = sorted(self._ranked)[held_out]
        else:
            self._below = min(max(round(self.share * (1 << 64)), self._least + 1), self._most)

    def split(self, name: str) -> str:
        """`test` for a name that is held out, else `train`."""
        return "test" if self._draw_of(name) < self._below else "train"
