"""Recordings inside a page, as far as the page may grow."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import soundfile


# How a page has its recordings: inside, linked to where they lie, or not at all.
AUDIO_MODES = ("embed", "link", "none")


@dataclass(frozen=True)
class Player:
    """What the macro `player` shows: a source to play if there is one, and a note."""

    source: str | None
    note: str = ""


class Embedder:
    """Recordings as FLAC inside the page.

    Args:
        rate: of the samples, in Hz.
        megabytes: so much FLAC at most (base64 makes it a third longer); later recordings are left without sound.
        seconds: of a longer recording its beginning.
        errors: what loading may raise; the player then says it.
    """

    def __init__(self, rate: int, megabytes: float, seconds: float, errors: tuple[type[Exception], ...] = ()):
        self.rate, self.seconds, self.errors = rate, seconds, errors
        self.left, self.silent = round(megabytes * 1e6), 0
        self._made: dict[Hashable, Player] = {}

    def player(self, key: Hashable, load: Callable[[], np.ndarray]) -> Player:
        """A recording's player, encoded once for all who show it.

        Args:
            key: of the recording.
            load: gives its samples.
        """
        if key not in self._made:
            self._made[key] = self._embed(load)
        return self._made[key]

    def _embed(self, load: Callable[[], np.ndarray]) -> Player:
        if self.left <= 0:
            return self._left_out()
        try:
            samples = load()
        except self.errors as error:
            return Player(None, getattr(error, "reason", str(error)))  # the path of a recording is not for a page
        encoded, most = io.BytesIO(), round(self.seconds * self.rate)
        soundfile.write(encoded, samples[:most], self.rate, format="FLAC")
        if len(encoded.getvalue()) > self.left:
            self.left = 0
            return self._left_out()
        self.left -= len(encoded.getvalue())
        seconds = len(samples) / self.rate
        note = f"The first {self.seconds:g} of {seconds:.0f} s." if len(samples) > most else ""
        return Player(f"data:audio/flac;base64,{base64.b64encode(encoded.getvalue()).decode()}", note)

    def _left_out(self) -> Player:
        self.silent += 1
        return Player(None, "Left without sound: the page has reached its size.")
