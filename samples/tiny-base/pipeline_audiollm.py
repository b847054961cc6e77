# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from transformers import GenerationConfig, Pipeline

from .answering import generate_answers
from .evidence import find_quotes
from .voice_cues import voice_cues


# For each task: the question asked by default, the beginning of an answer after which labels are scored, and the
# configuration field that holds the labels.
TASKS = {
    "emotion": (
        "What emotion does the speaker show, and which words show it?",
        "The speaker sounds",
        "emotion_labels",
    ),
    "sentiment": (
        "Is the sentiment positive, negative or neutral, and which words show it?",
        "The sentiment is",
        "sentiment_labels",
    ),
}


class AudioEmotionReasoningPipeline(Pipeline):
    """What the speaker of a recording feels, and why, with the words that show it.

    Args (of the call, or of `pipeline("audio-emotion-reasoning", ...)`):
        inputs: a path, URL, bytes, array at the model's rate (16 kHz), pair `(array, rate)`, mapping with `array` and
            `sampling_rate`; or a list or generator of them.
        batch_size (`int`, *optional*, defaults to 1): clips that go through the model together.
        task (`str`, *optional*, defaults to `"emotion"`): `"emotion"` or `"sentiment"`.
        labels (`list[str]`, *optional*): label set to score; by default that of the model.
        question (`str`, *optional*): a free question. Labels are then scored only if `labels` is given.
        return_cues (`bool`, *optional*, defaults to `False`): also measure how it was said, see [`voice_cues`].
        quote_confidence (`float`, *optional*): least probability of a word that stays in a quote, 0 to 1; by default
            that of the model's configuration.
        max_new_tokens and others: as for `generate`.

    Returns:
        For each clip a mapping: `generated_text`; `reasoning`, the answer without its opening label sentence where it
        says more than the label; `quotes`, each with `text`, `start` and `end` in `reasoning`; `scores`, a probability
        for each label, from the likelihood of its words after "The speaker sounds"; `label` and `score`, the most
        likely one. `label`, `score` and `scores` are `None` where no labels are scored. With `return_cues`, `cues`:
        pitch, loudness, rate and pauses, measured on the clip, not inferred by the model; see [`VoiceCues`].

    Raises:
        AudioError: naming the clip, if its audio can't be used.
        ValueError: for an unknown task or an empty or repeated label.
    """

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=128, do_sample=False)

    def __call__(self, inputs: Any, **kwargs: Any) -> dict | list[dict] | Iterator[dict]:
        return [] if isinstance(inputs, list) and not inputs else super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        task: str | None = None,
        labels: Sequence[str] | None = None,
        question: str | None = None,
        return_cues: bool | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict, dict, dict]:
        given = {"task": task, "labels": labels, "question": question, "return_cues": return_cues}
        forward = {key: value for key, value in given.items() if value is not None}
        if task is not None and task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}.")
        if labels is not None and (len(set(labels)) < len(labels) or not labels or not all(map(str.strip, labels))):
            raise ValueError(f"labels must be different words, at least one; got {list(labels)!r}.")
        return {}, {**forward, **({"generate_kwargs": generate_kwargs} if generate_kwargs else {})}, {}

    def preprocess(self, inputs: Any) -> dict[str, list]:
        return {"clips": [self.processor.load_audio(inputs)]}

    def get_iterator(
        self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params
    ) -> Iterator[dict]:
        """Batches of clips, padded by our own processor: the base class's padding knows one feature extractor only."""
        clips = (self.preprocess(item, **preprocess_params)["clips"][0] for item in _each(inputs))
        while batch := list(islice(clips, batch_size)):
            for output in self.forward({"clips": batch}, **forward_params)["answers"]:
                yield self.postprocess({"answers": [output]}, **postprocess_params)

    def _forward(
        self,
        model_inputs: dict[str, list],
        task: str = "emotion",
        labels: Sequence[str] | None = None,
        question: str | None = None,
        return_cues: bool = False,
        generate_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[dict]]:
        clips = model_inputs["clips"]
        default_question, opening, label_field = TASKS[task]
        audio = self._encode(clips)
        prompt = self.processor.prompt(question or default_question)
        texts = self._generate(self._ask(clips, audio, prompt), generate_kwargs or {})
        if labels is None and question is None:
            labels = getattr(self.model.config, label_field)
        scores = [None] * len(texts) if labels is None else self._score(clips, audio, task, labels)
        answers = [{"text": text, "scores": row, "opening": opening} for text, row in zip(texts, scores)]
        if return_cues:
            rate = self.processor.feature_extractor.sampling_rate
            answers = [{**answer, "cues": asdict(voice_cues(clip, rate))} for answer, clip in zip(answers, clips)]
        return {"answers": answers}

    @torch.no_grad()
    def _encode(self, clips: list) -> dict[str, Any]:
        """What the model hears, which all questions about the clips share."""
        inputs = self.processor(text=[self.processor.audio_token] * len(clips), audio=clips).to(self.model.device)
        features = {name: inputs[name] for name in inputs if name not in ("input_ids", "attention_mask")}
        return {"audio": self.model.get_audio_features(**features)}

    def _ask(self, clips: list, audio: dict[str, Any], prompt: str) -> dict[str, Any]:
        """Inputs for one question about clips that are encoded."""
        token = self.processor.audio_token
        texts = [prompt.replace(token, token * self.processor.num_audio_tokens(len(clip))) for clip in clips]
        # The processor refuses placeholders that come without their audio.
        inputs = self.processor.tokenizer(texts, **self.processor.text_kwargs).to(self.model.device)
        return {**inputs, "mm_encoder_outputs": audio}

    def _generate(self, inputs: dict[str, Any], generate_kwargs: dict[str, Any]) -> list[str]:
        settings = {**self._generation_defaults, **self._generate_kwargs, **generate_kwargs}
        return generate_answers(self.model, self.processor, inputs, **settings)[0]

    def score_labels(self, clips: list, task: str = "emotion", labels: Sequence[str] = ()) -> list[dict[str, float]]:
        """Probabilities of labels alone, without generating; each label is scored with a full stop, so that none is
        the beginning of another.

        Args:
            clips: arrays at the processor's rate, which go through the model together.
            task: `"emotion"` or `"sentiment"`.
            labels: to score; by default those of the model.
        """
        return self._score(clips, self._encode(clips), task, labels)

    def _score(self, clips: list, audio: dict[str, Any], task: str, labels: Sequence[str]) -> list[dict[str, float]]:
        question, opening, label_field = TASKS[task]
        labels = labels or getattr(self.model.config, label_field)
        opening = self.processor.prompt(question) + opening
        tokenizer = self.processor.tokenizer
        alone = tokenizer(opening, add_special_tokens=False)["input_ids"]
        whole = [tokenizer(f"{opening} {label}.", add_special_tokens=False)["input_ids"] for label in labels]
        if any(ids[: len(alone)] != alone for ids in whole):
            raise ValueError("The tokenizer merges a label with the words before it; labels can't be scored.")
        continuations = [ids[len(alone) :] for ids in whole]
        likelihoods = self.model.score_continuations(continuations, **self._ask(clips, audio, opening))
        return [dict(zip(labels, row)) for row in likelihoods.softmax(-1).tolist()]

    def postprocess(self, model_outputs: dict[str, list[dict]]) -> dict[str, Any]:
        (answer,) = model_outputs["answers"]
        text, scores = answer["text"], answer["scores"]
        label = max(scores, key=scores.get) if scores else None
        reasoning = _without_label_sentence(text, answer["opening"])
        quotes = [{"text": quote.text, "start": quote.start, "end": quote.end} for quote in find_quotes(reasoning)]
        return {
            "label": label,
            "score": scores[label] if scores else None,
            "scores": scores,
            "reasoning": reasoning,
            "quotes": quotes,
            "generated_text": text,
            **({"cues": answer["cues"]} if "cues" in answer else {}),
        }

    def save_pretrained(self, save_directory: str, **kwargs: Any):
        """Save model, code and the processor, which the base class forgets (transformers 5.24)."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _without_label_sentence(text: str, opening: str) -> str:
    """What an answer says beyond "The speaker sounds LABEL."; the whole answer if it says no more."""
    first, _, rest = text.partition(". ")
    return rest if first.startswith(opening) and rest else text


def _each(inputs: Iterable) -> Iterator:
    """Items of a list, generator or dataset without `__iter__`."""
    return iter(inputs) if hasattr(inputs, "__iter__") else (inputs[index] for index in range(len(inputs)))


__all__ = ["AudioEmotionReasoningPipeline"]
