# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""How an answer is made, for pipeline, page and evaluation alike.

It is generated, without the model's thoughts, and quotes what the model is sure of. An answer that has a label tells
one story: its explanation states no other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from .emotion_lexicon import load_lexicon
from .emotion_reading import SEVERAL, Reader, reader_of
from .evidence import cut_quotes, find_quotes, heard_sureness
from .modeling_audiollm import AUDIO_INPUTS
from .replies import final_answer


# Settings of `generate` by which several tokens are proposed at once, and only then looked at by the model.
ASSISTED = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")
_SENTENCE_END = re.compile(r"[.!?\n]+[\"'\u201d\u2019)\]]*(?=\s|\Z)")


class TokenSureness(LogitsProcessor):
    """Keeps the probability of each token that was generated; changes nothing.

    A token's probability is known one step later, when it stands at the end of the input; that of the last one is
    never asked for. Unlike `output_logits=True`, it holds the logits of one step, not of all.
    """

    def __init__(self):
        self.steps: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._last is not None:
            self.steps.append(self._last.gather(-1, input_ids[:, -1:])[:, 0])
        self._last = scores.float().softmax(-1)
        return scores

    def of_tokens(self, tokens: int) -> list[list[float]]:
        """For each row, the probabilities of its first `tokens` generated tokens."""
        if not self.steps:
            return [[1.0] * tokens] * (0 if self._last is None else len(self._last))
        known = torch.stack(self.steps[:tokens], dim=1)
        return torch.nn.functional.pad(known, (0, tokens - known.shape[1]), value=1.0).tolist()


def generate_answers(
    model: Any,
    processor: Any,
    inputs: dict[str, torch.Tensor],
    quote_confidence: float | Sequence[float] | None = None,
    beginnings: Sequence[str] | None = None,
    **settings: Any,
) -> tuple[list[str], torch.Tensor]:
    """Generate, and decode without thoughts and with quotes cut to what the model is sure of.

    It is as sure of a word as of writing it or, where a speech decoder says the words first, of having heard it.

    Args:
        model, processor: an AudioLLM and its processor.
        inputs: what the processor gives.
        quote_confidence: least probability in [0, 1] of a word that stays in a quote, for all prompts or for each; 0
            leaves quotes as they are; by default that of the model's configuration.
        beginnings: of each prompt the text at its end that is the beginning of the answer already.
        settings: as for `generate`.

    Returns:
        The answers with their beginnings, and the generated tokens `[batch, tokens]`. Several sequences of a prompt
        stand beside each other.

    Raises:
        ValueError: for a beam search or assisted decoding with a confidence above 0: there, a token has no one
            probability.
    """
    least = model.config.quote_confidence if quote_confidence is None else quote_confidence
    prompts, prompt_tokens = inputs["input_ids"].shape
    leasts = list(least) if isinstance(least, Sequence) else [least] * prompts
    if any(leasts):
        _refuse_without_probabilities(model, settings)
    inputs, heard = _with_heard_words(model, processor, inputs) if any(leasts) else (inputs, [None] * prompts)
    sureness = TokenSureness() if any(leasts) else None
    if sureness:
        settings["logits_processor"] = LogitsProcessorList([*settings.get("logits_processor", []), sureness])
    tokens = model.generate(**inputs, **settings)[:, prompt_tokens:]
    each = len(tokens) // prompts
    begun = [beginning for beginning in beginnings or [""] * prompts for _ in range(each)]
    heard = [of_prompt for of_prompt in heard for _ in range(each)]
    leasts = [of_prompt for of_prompt in leasts for _ in range(each)]
    rows = tokens.tolist()
    sure = sureness.of_tokens(tokens.shape[1]) if sureness else [None] * len(rows)
    texts = [_decode(processor.tokenizer, *row) for row in zip(begun, rows, sure, heard, leasts, strict=True)]
    return [_join(beginning, final_answer(text)) for beginning, text in zip(begun, texts)], tokens


def in_effect(model: Any, settings: dict[str, Any], name: str) -> Any:
    """A setting of `generate` as that reads it: given by itself, else in a configuration, else the checkpoint's."""
    if name in settings:
        return settings[name]
    given = getattr(settings.get("generation_config"), name, None)
    return getattr(model.generation_config, name, None) if given is None else given


def _refuse_without_probabilities(model: Any, settings: dict[str, Any]):
    """Refuse ways of generating in which a token has no one probability."""
    if (in_effect(model, settings, "num_beams") or 1) > 1:
        raise ValueError("Quotes are cut by token probabilities, which beams do not have; pass quote_confidence=0.")
    assisted = [name for name in ASSISTED if in_effect(model, settings, name)]
    if assisted:
        raise ValueError(
            f"Quotes are cut by token probabilities, which {assisted[0]} leaves unknown; pass quote_confidence=0."
        )


def contradicts(text: str, label: str, labels: Sequence[str]) -> bool:
    """Whether an answer states another label than its own, another emotion that does not go with it, or several.

    Args:
        text: an answer.
        label: one of `labels`.
        labels: that could be answered.
    """
    reader, own = _reader(label, labels), load_lexicon().concept(label)
    concepts = reader.read(text, quoted=False).concepts
    if SEVERAL in concepts:
        return True
    stated = [reader.readings[concept] for concept in concepts]
    stated = [reading for reading in stated if not reading.manner] or stated  # "sad, and calm" is sad
    return any(
        label not in reading.labels and (bool(reading.labels) or _opposed(reading.concept, own)) for reading in stated
    )


def keep_to_label(text: str, label: str, labels: Sequence[str]) -> str:
    """An answer up to the sentence that contradicts its label: what comes after explains another one.

    Args:
        text, label, labels: as for [`contradicts`].

    Returns:
        The answer; nothing if its first sentence contradicts the label.
    """
    if not contradicts(text, label, labels):
        return text
    kept = ""
    for end in _sentence_ends(text):
        if contradicts(text[:end], label, labels):
            break
        kept = text[:end]
    return kept


def _reader(label: str, labels: Sequence[str]) -> Reader:
    """The reader for labels of which several may mean the same as this one."""
    concept = load_lexicon().concept
    classes = {concept(other) or other.lower(): other for other in (*labels, label)}
    return reader_of(tuple(classes.values()))


def _opposed(concept: str, own: str | None) -> bool:
    """Whether an emotion that comes near no label is of another valence than the label."""
    emotions = load_lexicon().emotions
    return own in emotions and emotions[own].get("valence") != emotions[concept].get("valence")


def _sentence_ends(text: str) -> list[int]:
    """Where sentences end, but those within quotes."""
    quotes = find_quotes(text)
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return [end for end in ends if not any(quote.start < end < quote.end for quote in quotes)]


def _join(beginning: str, rest: str) -> str:
    return beginning + rest if not beginning or not rest or rest[0] in ".,;:!?)" else f"{beginning} {rest}"


@dataclass(frozen=True)
class _Heard:
    """What a speech decoder heard of a prompt's clips, how likely each character was, and what was said before."""

    text: str
    sureness: list[float]
    told: str


def _with_heard_words(model: Any, processor: Any, inputs: Any) -> tuple[dict[str, Any], list[_Heard | None]]:
    """Inputs whose clips are encoded, and for each prompt what was heard in them, if a speech decoder says words."""
    ids, inputs = inputs["input_ids"], dict(inputs)
    if model.config.words_first == "decoder" and inputs.get("input_features") is not None:
        model.refuse_beyond_context(ids.shape[1])
        features = {name: inputs.pop(name) for name in AUDIO_INPUTS if name in inputs}
        with torch.no_grad():
            inputs["mm_encoder_outputs"] = {"audio": model.get_audio_features(**features)}
    spoken = getattr((inputs.get("mm_encoder_outputs") or {}).get("audio"), "said", None)
    if spoken is None:
        return inputs, [None] * len(ids)
    clips, heard = iter(spoken), []
    for row in ids:
        placeholders = row == model.config.audio_token_id
        places, said, sure = int(placeholders.sum()), [], []
        while places > 0 and (clip := next(clips, None)) is not None:
            said += clip.ids
            sure += clip.sureness
            places -= clip.placeholders
        text, sureness = _spell_out(processor.tokenizer, said, sure)
        heard.append(_Heard(text, sureness, processor.told(row[~placeholders])) if placeholders.any() else None)
    return inputs, heard


def _spell_out(
    tokenizer: Any, ids: Sequence[int], probabilities: Sequence[float], before: Sequence[int] = ()
) -> tuple[str, list[float]]:
    """What tokens say, and the probability of each character: that of the token that brought it.

    Args:
        tokenizer: of the tokens.
        ids, probabilities: of the tokens.
        before: tokens in front, which are not a part of it: the first token alone may lose its space.
    """
    start = len(tokenizer.decode(before, skip_special_tokens=True))
    text, sure = "", []
    for count in range(1, len(ids) + 1):
        # By prefixes: what a token adds may depend on the tokens before it.
        text = tokenizer.decode([*before, *ids[:count]], skip_special_tokens=True)[start:]
        sure = sure[: len(text)] + [probabilities[count - 1]] * (len(text) - len(sure))
    return text, sure


def _decode(
    tokenizer: Any,
    beginning: str,
    ids: Sequence[int],
    probabilities: Sequence[float] | None,
    heard: _Heard | None,
    least: float,
) -> str:
    """What tokens add to the beginning of an answer, with quotes cut if their probabilities are given."""
    begun = tokenizer(beginning, add_special_tokens=False)["input_ids"] if beginning else []
    if probabilities is None:
        start = len(tokenizer.decode(begun, skip_special_tokens=True))
        return tokenizer.decode([*begun, *ids], skip_special_tokens=True)[start:].strip()
    text, sure = _spell_out(tokenizer, ids, probabilities, begun)
    if heard is not None:
        sure = heard_sureness(text, sure, heard.text, heard.sureness, heard.told)
    return cut_quotes(text, sure, least).strip()


__all__ = ["TokenSureness", "contradicts", "generate_answers", "in_effect", "keep_to_label"]
