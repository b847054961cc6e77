"""Rounds that align the speech adapter with the language model's words, without running the language model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from ..modeling_audiollm import AudioLLMForConditionalGeneration
from ..modeling_audiollm.configuration_audiollm import kept_tokens
from ..processing.audio import open_audio
from ..processing.processing_audiollm import AudioLLMProcessor
from ..processing.word_targets import WordTargets
from .clips import REMOTE
from .schedule import Round, ScheduleError


MOST_TOO_DENSE = 0.05  # share of rows with more words than tokens that alignment leaves out
logger = logging.getLogger(__name__)


def prepare_alignment(
    model: AudioLLMForConditionalGeneration,
    processor: AudioLLMProcessor,
    rounds: Sequence[Round],
    rows: Dataset,
    seed: int,
) -> WordTargets | None:
    """What a schedule's alignment needs: the model's own parameters for it, and the collator's targets.

    Args:
        model: in training; gets an alignment if it has none.
        processor: of the model.
        rounds: the schedule.
        rows: of the training.
        seed: of the words that are drawn.

    Returns:
        The targets, or none if no round aligns.

    Raises:
        ScheduleError: for rows without a transcript in a round that aligns, or transcripts with more words than the
            model has audio tokens for them.
    """
    _keep_alignment(model, rounds)
    tasks = {task for round_ in rounds if round_.align for task in round_.tasks}
    if not tasks:
        if model.config.words_first == "adapter" and not model.config.speech_alignment:
            raise ScheduleError("words_first: adapter needs a round with `align`, which teaches it to hear words.")
        return None
    heard = [index for index, task in enumerate(rows["task"]) if task in tasks]
    transcripts = rows["transcript"]
    bare = [index for index in heard if not (transcripts[index] or "").strip()]
    if bare:
        raise ScheduleError(
            f"{len(bare)} of {len(heard)} rows of rounds with `align` have no transcript (first: "
            f"{rows['id'][bare[0]]!r}); leave their task out of the round, or give them one."
        )
    model.add_speech_alignment()
    targets = WordTargets(processor.tokenizer, (transcripts[index] for index in heard), seed=seed)
    fastest = max(speed for round_ in rounds if round_.align for speed in round_.speeds or [1.0])
    _refuse_too_dense(model, processor, targets, rows.select(heard), fastest)
    return targets


def _keep_alignment(model: AudioLLMForConditionalGeneration, rounds: Sequence[Round]):
    """Refuse, or say, what a loss on labels takes from the adapter that hears words: it draws all tokens to labels."""
    hearing = model.model.hearing_adapter
    for number, round_ in enumerate(rounds, 1):
        again = any(later.align for later in rounds[number:])
        if round_.weighed.get("label") != hearing or again:
            continue
        if model.config.words_first == "adapter":
            raise ScheduleError(
                f"Round {number}: label draws the {hearing}'s tokens to labels, of which words_first: adapter is to "
                "make words; align in a later round, or leave words_first out."
            )
        if model.config.speech_alignment or any(earlier.align for earlier in rounds[:number]):
            logger.warning(
                "round %d: label draws the %s to labels; it forgets words that align taught", number, hearing
            )


def _refuse_too_dense(
    model: AudioLLMForConditionalGeneration,
    processor: AudioLLMProcessor,
    targets: WordTargets,
    rows: Dataset,
    speed: float,
):
    """Refuse an adapter with too few tokens a second for what is said in it; a few rows are left out of the loss.

    Args:
        speed: the highest at which the rows are heard.
    """
    config = model.config
    lengths: dict[str, float | None] = {}
    dense = []
    row: Any
    for row in rows:
        path = str(row["audio"].get("path"))
        if path.startswith(REMOTE):
            continue
        if path not in lengths:
            with open_audio(row["audio"]) as clip:
                lengths[path] = clip.seconds
        seconds = lengths[path]
        if seconds is None:  # a header that does not say
            continue
        windows, rest = divmod(seconds / speed, config.window_seconds)
        share = round(1000 * rest / config.window_seconds)
        tokens = int(windows) * config.speech_tokens + kept_tokens(config.speech_tokens, share, 1000)
        if targets.least_tokens(row["transcript"]) > tokens:
            dense.append(row["id"])
    if len(dense) > MOST_TOO_DENSE * len(rows):
        rate = config.speech_tokens / config.window_seconds
        raise ScheduleError(
            f"{len(dense)} of {len(rows)} rows have more words than audio tokens ({rate:.1f} a second; first: "
            f"{dense[0]!r}), so that CTC cannot align them; give the model more `speech_tokens`."
        )
    if dense:
        logger.warning(
            "%d of %d rows have more words than audio tokens (first: %s); alignment learns nothing from them.",
            len(dense),
            len(rows),
            dense[0],
        )
