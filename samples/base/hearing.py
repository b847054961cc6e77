"""Training that teaches a model to hear from nothing: characters by CTC, changed voices, gaps of positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from audiollm.modeling_audiollm.saving import open_to_readers
from audiollm.processing.collator import IGNORED, AudioLLMCollator, pad
from audiollm.processing.ctc import CTC_CHARACTERS, CTC_NAME, ctc_labels
from audiollm.samples.base.augmentation import Augmentation
from audiollm.training.encoder_losses import EncoderLossTrainer, real_frames
from audiollm.training.schedule import Round


@dataclass(frozen=True)
class HearingRound(Round):
    """A round that may weigh a character CTC loss on the speech encoder.

    Args:
        ctc: its weight (0: none).
    """

    ctc: float = 0.0
    encoder_losses: ClassVar[dict[str, str]] = {**Round.encoder_losses, "ctc": "speech_encoder"}


class CTCHead(nn.Module):
    """Character CTC on a speech encoder's frames: teaches a new encoder to hear.

    Args:
        width: channels of the encoder's frames.
        steps: time steps of its features for one frame.
    """

    def __init__(self, width: int, steps: int):
        super().__init__()
        self.steps = steps
        self.projection = nn.Linear(width, len(CTC_CHARACTERS) + 1)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean CTC loss per character.

        Args:
            frames: `[windows, time, width]`, clip after clip.
            mask: which features are real audio, `[clips, windows, feature time]`.
            labels: character ids `[clips, longest]`, padded with -100.
        """
        clips = real_frames(frames, mask, self.steps)
        log_probs = self.projection(nn.utils.rnn.pad_sequence(clips)).float().log_softmax(-1)
        real = labels != IGNORED
        lengths = torch.tensor([len(clip) for clip in clips])
        return nn.functional.ctc_loss(log_probs, labels.clamp(min=0), lengths, real.sum(-1), zero_infinity=True)


class HearingCollator(AudioLLMCollator):
    """Batches of changed clips with characters to hear.

    What is random about a row depends on `seed` and on its `place` in the run alone, so that neither workers nor a
    resumed run change it.

    Args:
        processor, classes: as for [`AudioLLMCollator`].
        keys: refused: what is kept of a clip would be that of one change of it.
        augment: changes each clip's samples (16 kHz), or none.
        position_gap: most positions by which what follows a row's audio is moved away from it. A small language model
            that learns from nothing else remembers where in the prompt its words stand, and hears badly once more
            audio tokens come between.
        seed: of all that is random.
    """

    def __init__(
        self,
        processor: Any,
        classes: Sequence[tuple[str, str]] = (),
        keys: bool = False,
        augment: Augmentation | None = None,
        position_gap: int = 0,
        seed: int = 0,
    ):
        if keys:
            raise ValueError("feature_cache needs clips to be the same each time; leave it out.")
        super().__init__(processor, classes)
        self.augment, self.position_gap, self.seed = augment, position_gap, seed

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = super().__call__(rows)
        batch["ctc_labels"] = pad([ctc_labels(row["transcript"]) for row in rows], IGNORED)
        if self.position_gap:
            batch["position_ids"] = torch.stack(
                [self._positions(row, ids) for row, ids in zip(rows, batch["input_ids"])]
            )
        return batch

    def clip(self, row: dict[str, Any]) -> np.ndarray:
        samples = super().clip(row)
        if self.augment is None:
            return samples
        return self.augment(samples, np.random.default_rng([self.seed, row["place"]]))

    def _positions(self, row: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
        """Positions of a row's tokens, with a gap behind its last audio placeholder."""
        audio = (ids == self.processor.audio_token_id).flip(0).cumsum(0).flip(0)
        random = np.random.default_rng([self.seed, row["place"], self.position_gap])
        gap = int(random.integers(self.position_gap + 1))
        return torch.arange(len(ids)) + gap * (audio == 0)


class HearingTrainer(EncoderLossTrainer):
    """A trainer with a CTC head, which goes on where the training of its checkpoint left it."""

    round_type = HearingRound

    def build_head(self, name: str, width: int, steps: int) -> nn.Module:
        if name != "ctc":
            return super().build_head(name, width, steps)
        head, first = CTCHead(width, steps), Path(self.audio_model.name_or_path) / CTC_NAME
        if first.is_file():
            head.load_state_dict(load_file(first))
        return head

    def save_merged(self, folder: str | Path):
        """As for any model, with the CTC head, which finds words in time."""
        super().save_merged(folder)
        if "ctc" in self.heads:
            save_file(self.heads["ctc"].state_dict(), Path(folder) / CTC_NAME)
            open_to_readers(Path(folder) / CTC_NAME)
