"""When words were said: forced alignment with the character CTC head that a speech encoder learnt to hear by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torchaudio.functional import forced_align, merge_tokens

from ..modeling_audiollm.configuration_audiollm import encoder_frames, feature_length
from ..modeling_audiollm.evidence import normalised_words
from ..modeling_audiollm.modeling_audiollm import AudioLLMForConditionalGeneration, encode
from .ctc import CTC_NAME, ctc_labels
from .processing_audiollm import AudioLLMProcessor


class AlignmentError(ValueError):
    """Words that can't be found in a clip, with the reason."""


@dataclass(frozen=True)
class WordTime:
    """A word and when it was said, in seconds; `score` is the mean probability of its characters there."""

    word: str
    start: float
    end: float
    score: float


class Aligner:
    """Finds words in time, with a model's own speech encoder.

    Args:
        model, processor: of a checkpoint.
        head: weights of the CTC head, `projection.weight` `[characters + 1, width]` and `projection.bias`.
    """

    def __init__(
        self, model: AudioLLMForConditionalGeneration, processor: AudioLLMProcessor, head: dict[str, torch.Tensor]
    ):
        self.model, self.processor = model, processor
        self.weight, self.bias = (head[f"projection.{name}"].to(model.device) for name in ("weight", "bias"))
        encoder, seconds = model.config.speech_config, model.config.window_seconds
        self.steps = round(feature_length(encoder, seconds) / encoder_frames(encoder, seconds))
        self.frame_seconds = seconds / encoder_frames(encoder, seconds)

    @classmethod
    def beside(
        cls, folder: str | Path, model: AudioLLMForConditionalGeneration, processor: AudioLLMProcessor
    ) -> Aligner | None:
        """The aligner of a checkpoint folder; none if the folder has no CTC head."""
        path = Path(folder) / CTC_NAME
        return cls(model, processor, load_file(path)) if path.is_file() else None

    @torch.inference_mode()
    def emissions(self, samples: np.ndarray) -> torch.Tensor:
        """Log-probabilities of blank and characters for each frame of a clip, `[frames, characters + 1]`.

        Args:
            samples: mono at the processor's rate.
        """
        inputs = self.processor(text=self.processor.prompt(""), audio=[samples]).to(self.model.device)
        mask = inputs["input_features_mask"][0].bool()
        windows = inputs["input_features"][0][mask.any(-1)]
        real = mask[mask.any(-1)]
        heard = real if self.model.config.speech_length_aware else None
        frames = encode(self.model.model.speech_encoder, windows, heard).states[-1]
        counts = (-(-real.sum(-1) // self.steps)).tolist()
        frames = torch.cat([window[:count] for window, count in zip(frames, counts)])
        return (frames.float() @ self.weight.T + self.bias).log_softmax(-1)

    def align(self, samples: np.ndarray, transcript: str) -> list[WordTime]:
        """When each word of a transcript was said.

        Args:
            samples: mono at the processor's rate.
            transcript: what is said in it.

        Raises:
            AlignmentError: if it has no letters, or more of them than the clip has room for.
        """
        words = [word for word in normalised_words(transcript) if ctc_labels(word)]
        targets = ctc_labels(" ".join(words))
        if not targets:
            raise AlignmentError("the transcript has no letters that the aligner knows.")
        emissions = self.emissions(samples)
        repeats = sum(first == second for first, second in zip(targets, targets[1:]))
        if len(emissions) < len(targets) + repeats:
            raise AlignmentError(f"{len(targets)} characters don't fit into {len(emissions)} frames of audio.")
        path, scores = forced_align(emissions.unsqueeze(0).cpu(), torch.tensor([targets]))
        spans = merge_tokens(path[0], scores[0].exp())
        times, start = [], 0
        for word in words:
            of_word = spans[start : start + len(ctc_labels(word))]
            start += len(of_word) + 1  # and the space
            score = sum(span.score for span in of_word) / len(of_word)
            times.append(
                WordTime(word, of_word[0].start * self.frame_seconds, of_word[-1].end * self.frame_seconds, score)
            )
        return times


def find_words(quote: str, words: Sequence[WordTime]) -> tuple[float, float] | None:
    """Start and end, in seconds, of the first place where a quote's words follow each other; None if they do nowhere.

    Args:
        quote: quoted words.
        words: of the clip, with their times.
    """
    wanted = [word for word in normalised_words(quote) if ctc_labels(word)]
    said = [word.word for word in words]
    for first in range(len(said) - len(wanted) + 1):
        if wanted and said[first : first + len(wanted)] == wanted:
            return words[first].start, words[first + len(wanted) - 1].end
    return None
