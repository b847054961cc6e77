# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, Pipeline
from transformers.utils import logging

from .answering import contradicts, generate_answers, in_effect, keep_to_label
from .evidence import find_quotes, ground_quote
from .speech_presence import NO_SPEECH, why_no_speech
from .voice_cues import voice_cues


logger = logging.get_logger(__name__)
# For each task: the question asked by default, the beginning of an answer after which labels are scored, and the
# configuration field that holds the labels.
# Tokens, where neither caller nor checkpoint say how long; of commands and the page always, as in evaluations.
LONGEST_ANSWER = 128
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


MODEL_INPUTS = ("inputs", "input_ids", "inputs_embeds", "attention_mask", "input_features", "input_values")


class AudioEmotionReasoningPipeline(Pipeline):
    """What the speaker of a recording feels, and why, with the words that show it.

    Args (of the call, or of `pipeline("audio-emotion-reasoning", ...)`):
        inputs: a path, URL, bytes, array (or list of numbers) at the model's rate (16 kHz), pair `(array, rate)`,
            mapping with `array` and `sampling_rate`; or a list, generator or dataset of them. One item may be several
            recordings, `{"clips": [...]}`, which a `question` then is about.
        batch_size (`int`, *optional*, defaults to 1): clips that go through the model together.
        task (`str`, *optional*, defaults to `"emotion"`): `"emotion"` or `"sentiment"`.
        labels (`list[str]`, *optional*): label set to score; by default that of the model. Upper and lower case do
            not matter to the score; `scores` has them as they were given.
        question (`str`, *optional*): a free question. Labels are then scored only if `labels` is given.
        context (`list[dict]`, *optional*): what was said before, turns `{"speaker": "A", "text": "..."}`, oldest
            first; the same for all clips of the call. A clip that is a mapping may have its own `context`.
        speaker (`str`, *optional*): who of them speaks in the clip; or `speaker` of a clip with its own context.
        require_speech (`bool`, *optional*, defaults to `True`): leave clips in which only silence, noise, tones or
            clicks are found unanswered, see [`why_no_speech`].
        return_cues (`bool`, *optional*, defaults to `False`): also measure how it was said, see [`voice_cues`].
        quote_confidence (`float`, *optional*): least probability of a word that stays in a quote, 0 to 1; by default
            that of the model's configuration.
        max_new_tokens, generation_config and others: as for `generate`. Where neither the caller nor the checkpoint
            says how long an answer may be, it has 128 tokens at most; it is sampled only if the caller says so.

    Returns:
        For each clip a mapping, or with `num_return_sequences` above 1 a list of so many, with one label and set of
        scores: `generated_text`; `reasoning`, the answer without its opening label sentence where it
        says more than the label; `quotes`, each with `text`, `start` and `end` in `reasoning`, and with `context`
        `in_context`: whether a turn of it holds the words, which then may not be the clip's; `scores`, a probability
        for each label, from the likelihood of its words after "The speaker sounds"; `label` and `score`, the most
        likely one; `untrained_labels`, those that the model was not trained on, whose scores are a guess; `no_speech`,
        what a clip (or one of several) holds instead of speech, which then has nothing else but a text that says so.
        `label`, `score` and `scores` are `None` where no labels are scored. With `return_cues`, `cues`: pitch,
        loudness, rate and pauses, measured on the clip, not inferred by the model; see [`VoiceCues`]; of several
        clips a list.

        Label and explanation tell one story: the answer begins with the label that the scores give, goes on from
        there (`max_new_tokens` counts what follows), and ends before a sentence that states another one. The answer to
        a free question that states another label than `labels` were scored for is made anew in that way.

    Raises:
        AudioError: naming the clip, if its audio can't be used.
        ValueError: for an argument that can't be meant: an unknown task, an empty or repeated label, a batch size
            below 1; and for a clip that is too long for the language model, before anything is encoded.
    """

    # A model and a processor of this package, or copies of them that came with the weights.
    model: Any
    processor: Any

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=LONGEST_ANSWER, do_sample=False)

    def __init__(self, *args: Any, **kwargs: Any):
        _check_generation(kwargs)
        super().__init__(*args, **_without_unsaid(kwargs))

    def __call__(
        self, inputs: Any, num_workers: int | None = None, batch_size: int | None = None, **kwargs: Any
    ) -> dict | list[dict] | Iterator[dict]:
        batch_size = self._batch_size if batch_size is None else batch_size
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1 or batch_size is True):
            raise ValueError(f"batch_size must be a whole number of clips, at least 1; got {batch_size!r}.")
        if num_workers or self._num_workers:
            raise ValueError("This pipeline reads clips in its own process; leave num_workers out.")
        if isinstance(inputs, list):
            if not inputs:
                return []
            if all(_is_number(item) for item in inputs):  # the samples of one clip
                inputs = np.asarray([item.item() if hasattr(item, "item") else item for item in inputs])
            elif any(isinstance(item, dict) and "role" in item for item in inputs):
                raise ValueError("This pipeline takes clips, not messages; give the clip, and the text as `question`.")
        elif isinstance(inputs, tuple) and not (len(inputs) == 2 and _is_number(inputs[0]) != _is_number(inputs[1])):
            raise ValueError("A tuple is one clip, (array, rate); give several clips as a list.")
        answers: Any = super().__call__(inputs, num_workers=num_workers, batch_size=batch_size, **kwargs)
        return answers

    def _sanitize_parameters(
        self,
        task: str | None = None,
        labels: Sequence[str] | None = None,
        question: str | None = None,
        return_cues: bool | None = None,
        context: Sequence[dict[str, Any]] | None = None,
        speaker: str | None = None,
        require_speech: bool | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict, dict, dict]:
        labels = None if labels is None else _read_labels(labels)
        flags = {"return_cues": return_cues, "require_speech": require_speech}
        given = {"task": task, "labels": labels, "question": question, "context": context, "speaker": speaker, **flags}
        forward = {key: value for key, value in given.items() if value is not None}
        if task is not None and task not in tuple(TASKS):
            raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}.")
        if question is not None and not (isinstance(question, str) and question.strip()):
            raise ValueError(f"question must be text; got {question!r}.")
        for name, flag in flags.items():
            if not isinstance(flag, bool | None):
                raise ValueError(f"{name} must be True or False; got {flag!r}.")
        if speaker is not None and not context:
            raise ValueError("speaker says who of the context speaks in the clip; give the context too.")
        _check_generation(generate_kwargs)
        return {}, {**forward, **({"generate_kwargs": generate_kwargs} if generate_kwargs else {})}, {}

    def preprocess(self, inputs: Any) -> dict[str, list]:
        # A window more than fits, so that who is just beyond is told of tokens; who is far beyond is not decoded.
        seconds = self.model.context_seconds + self.model.config.window_seconds
        before = None
        if isinstance(inputs, dict) and inputs.get("context") is not None:
            before = {"context": inputs["context"], "speaker": inputs.get("speaker")}
            inputs = {key: value for key, value in inputs.items() if key not in before}
        several = inputs.get("clips") if isinstance(inputs, dict) else None
        if several is not None and (not isinstance(several, (list, tuple)) or not several):
            raise ValueError(f"clips must be a list of recordings that one question is about; got {several!r:.200}.")
        if several is not None and len(inputs) > 1:
            raise ValueError(f"Several clips have nothing beside them but their context; got {list(inputs)}.")
        clips = [self.processor.load_audio(clip, max_seconds=seconds) for clip in several or [inputs]]
        return {"clips": [clips], "before": [before]}

    def get_iterator(
        self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params
    ) -> Iterator[dict[str, Any] | list[dict[str, Any]]]:
        """Batches of clips, padded by our own processor: the base class's padding knows one feature extractor only."""
        items = (self.preprocess(item, **preprocess_params) for item in _each(inputs))
        while batch := list(islice(items, batch_size)):
            outputs: Any = self.forward(
                {name: [item[name][0] for item in batch] for name in ("clips", "before")}, **forward_params
            )
            for answer in outputs["answers"]:
                yield self.postprocess({"answers": [answer]}, **postprocess_params)

    def _forward(
        self,
        model_inputs: dict[str, list],
        task: str = "emotion",
        labels: Sequence[str] | None = None,
        question: str | None = None,
        return_cues: bool = False,
        context: Sequence[dict[str, Any]] | None = None,
        speaker: str | None = None,
        require_speech: bool = True,
        generate_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[dict]]:
        clips, rate = model_inputs["clips"], self.processor.feature_extractor.sampling_rate
        settings = self._generation_settings(generate_kwargs or {})
        if labels is None and question is None:
            labels = getattr(self.model.config, TASKS[task][2])
        for_all = {"context": context, "speaker": speaker} if context else {}
        before = [own or for_all for own in model_inputs["before"]]
        if any(told.get("context") for told in before) and not self.model.config.context_turns:
            logger.warning_once("The model was trained without context: what it says with it is likely to be worse.")
        if any(len(of_item) > 1 for of_item in clips) and (question is None or labels is not None):
            raise ValueError("Several clips are asked about together by a `question` of yours, without `labels`.")
        prompts = [
            self.processor.prompt(question or TASKS[task][0], **told, clips=len(of_item))
            for told, of_item in zip(before, clips)
        ]
        self._refuse_what_does_not_fit(clips, prompts, task, labels, settings)
        missing = [_missing(of_item, rate) if require_speech else None for of_item in clips]
        spoken = [place for place, reason in enumerate(missing) if reason is None]
        asked: dict[str, list] = {
            name: [of[place] for place in spoken]
            for name, of in (("clips", clips), ("prompts", prompts), ("before", before))
        }
        free = question is not None
        answered = iter(
            self._answer(**asked, task=task, labels=labels, settings=settings, free=free) if spoken else []
        )
        sequences = in_effect(self.model, settings, "num_return_sequences") or 1
        answers = [_unanswered(reason, sequences) if reason else next(answered) for reason in missing]
        answers = [{**answer, "context": told.get("context")} for answer, told in zip(answers, before)]
        if return_cues:
            cues = [[asdict(voice_cues(clip, rate)) for clip in of_item] for of_item in clips]
            answers = [
                {**answer, "cues": of_item if len(of_item) > 1 else of_item[0]}
                for answer, of_item in zip(answers, cues)
            ]
        return {"answers": answers}

    def _generation_settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """Settings of `generate`: those of the call on top of those at the start, and defaults for what nobody set."""
        # transformers keeps only those at the start whose names it knows; others are in `_forward_params`.
        given = _without_unsaid({**self._forward_params.get("generate_kwargs", {}), **given})
        said = given if "generation_config" in given else {**self._generate_kwargs, **given}
        sampled = said.get("do_sample", getattr(said.get("generation_config"), "do_sample", None))
        # A checkpoint has its own `do_sample` from its language model, which was made to chat.
        greedy = {"do_sample": False} if sampled is None else {}
        return self._prepare_generate_kwargs(given, return_dict_in_generate=False, **greedy)

    def _answer(
        self,
        clips: list[list],
        prompts: Sequence[str],
        before: Sequence[dict[str, Any]],
        task: str,
        labels: Sequence[str] | None,
        settings: dict[str, Any],
        free: bool,
    ) -> list[dict]:
        """Texts and scores of clips that hold speech; where labels are scored, of one story.

        Args:
            clips: the recordings of each item.
            before: what was said before each, as its prompt has it.
            free: whether the question is a person's own, whose answer need not begin with the label.
        """
        _, opening, label_field = TASKS[task]
        audio = self._encode(clips)
        answers = [{"scores": None, "opening": opening, "untrained_labels": []} for _ in clips]
        if labels is None:
            texts = self._generate(clips, audio, prompts, None, settings)
            return [{**answer, "texts": row} for answer, row in zip(answers, texts)]
        scores = self._score(clips, audio, task, labels, before)
        chosen = [max(row, key=row.__getitem__) for row in scores]
        beginnings = [f"{opening} {self._spell(label, label_field)}." for label in chosen]
        texts = self._generate(clips, audio, prompts, None if free else beginnings, settings)
        for place, (label, row) in enumerate(zip(chosen, texts)):
            if free and any(contradicts(text, label, labels) for text in row):
                clip, begun = [clips[place]], [beginnings[place]]
                (row,) = self._generate(clip, self._encode(clip), [prompts[place]], begun, settings)
            texts[place] = [keep_to_label(text, label, labels) or beginnings[place] for text in row]
        untrained = self._untrained(labels, label_field)
        return [
            {**answer, "texts": row, "scores": score, "untrained_labels": untrained}
            for answer, row, score in zip(answers, texts, scores)
        ]

    def _generate(
        self,
        clips: list[list],
        audio: dict[str, Any],
        prompts: Sequence[str],
        beginnings: Sequence[str] | None,
        settings: dict[str, Any],
    ) -> list[list[str]]:
        """For each clip its texts, one for each sequence."""
        inputs = self._ask(clips, audio, prompts, beginnings)
        texts, _ = generate_answers(self.model, self.processor, inputs, beginnings=beginnings, **settings)
        each = len(texts) // len(clips)  # several sequences of a clip stand beside each other
        return [texts[each * place : each * (place + 1)] for place in range(len(clips))]

    @torch.no_grad()
    def _encode(self, items: list[list]) -> dict[str, Any]:
        """What the model hears, which all questions about the clips of each item share."""
        clips = [clip for of_item in items for clip in of_item]
        inputs = self.processor(text=[self.processor.audio_token] * len(clips), audio=clips).to(self.model.device)
        features = {name: inputs[name] for name in inputs if name not in ("input_ids", "attention_mask")}
        return {"audio": self.model.get_audio_features(**features)}

    def _ask(
        self,
        clips: list[list],
        audio: dict[str, Any],
        prompts: Sequence[str],
        beginnings: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Inputs for a question about each of the clips, which are encoded, with the beginning of each answer."""
        texts = [
            self._spread(prompt, of_item) + beginning
            for of_item, prompt, beginning in zip(clips, prompts, beginnings or [""] * len(clips))
        ]
        # The processor refuses placeholders that come without their audio.
        inputs = self.processor.tokenizer(texts, **self.processor.text_kwargs).to(self.model.device)
        return {**inputs, "mm_encoder_outputs": audio}

    def _spread(self, prompt: str, clips: list) -> str:
        """A prompt with as many placeholders for each of its clips as that has tokens."""
        token = self.processor.audio_token
        before, *texts = prompt.split(token)
        counts = [self.processor.num_audio_tokens(len(clip)) for clip in clips]
        return before + "".join(token * count + text for count, text in zip(counts, texts, strict=True))

    def _refuse_what_does_not_fit(
        self,
        clips: list[list],
        prompts: Sequence[str],
        task: str,
        labels: Sequence[str] | None,
        settings: dict[str, Any],
    ):
        """Refuse a clip that would fill the language model's context, before it is encoded."""
        beginning = f"{TASKS[task][1]} {max(labels, key=len)}." if labels else ""
        texts = [prompt + beginning for prompt in prompts]
        asked = self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
        new = in_effect(self.model, settings, "max_new_tokens") or 1  # `max_length` counts the prompt, too
        for of_item, prompt in zip(clips, asked):
            heard = sum(self.processor.num_audio_tokens(len(clip)) for clip in of_item)
            self.model.refuse_beyond_context(len(prompt) + heard + new)

    def score_labels(self, clips: list, task: str = "emotion", labels: Sequence[str] = ()) -> list[dict[str, float]]:
        """Probabilities of labels alone, without generating; each label is scored with a full stop, so that none is
        the beginning of another.

        Of labels that the model was all trained on, they are the likelihoods of what it would say. If it was not
        trained on some, each likelihood is divided by that of the same words where nothing is heard: else a word that
        is rare, or of many tokens, would lose for its spelling alone.

        Args:
            clips: arrays at the processor's rate, which go through the model together.
            task: `"emotion"` or `"sentiment"`.
            labels: to score; by default those of the model.
        """
        items = [[clip] for clip in clips]
        return self._score(items, self._encode(items), task, labels, [{}] * len(items))

    def _score(
        self, clips: list[list], audio: dict[str, Any], task: str, labels: Sequence[str], before: Sequence[dict]
    ) -> list[dict[str, float]]:
        question, opening, label_field = TASKS[task]
        labels = labels or getattr(self.model.config, label_field)
        openings = [self.processor.prompt(question, **told) + opening for told in before]
        tokenizer = self.processor.tokenizer
        alone = tokenizer(openings[0], add_special_tokens=False)["input_ids"]
        spelled = [self._spell(label, label_field) for label in labels]
        whole = [tokenizer(f"{openings[0]} {label}.", add_special_tokens=False)["input_ids"] for label in spelled]
        if any(ids[: len(alone)] != alone for ids in whole):
            raise ValueError("The tokenizer merges a label with the words before it; labels can't be scored.")
        continuations = [ids[len(alone) :] for ids in whole]
        likelihoods = self.model.score_continuations(continuations, **self._ask(clips, audio, openings))
        if self._untrained(labels, label_field):
            same = openings[:1] if len(set(openings)) == 1 else openings
            texts = [opening.replace(self.processor.audio_token, "") for opening in same]
            unheard = tokenizer(texts, **self.processor.text_kwargs)
            likelihoods = likelihoods - self.model.score_continuations(continuations, **unheard.to(self.model.device))
        return [dict(zip(labels, row)) for row in likelihoods.softmax(-1).tolist()]

    def _spell(self, label: str, label_field: str) -> str:
        """A label as the model was trained on it, whatever its case; in lower case if it was not."""
        known = {trained.casefold(): trained for trained in getattr(self.model.config, label_field)}
        return known.get(label.casefold(), label.lower())

    def _untrained(self, labels: Sequence[str], label_field: str) -> list[str]:
        """The labels that the model was not trained on; says so once."""
        trained = {label.casefold() for label in getattr(self.model.config, label_field)}
        untrained = [label for label in labels if label.casefold() not in trained]
        if untrained:
            logger.warning_once(
                f"The model was not trained on {', '.join(untrained)}; it knows {', '.join(sorted(trained))}. What it "
                "says of other labels is a guess."
            )
        return untrained

    def postprocess(self, model_outputs: dict[str, list[dict]]) -> dict[str, Any] | list[dict[str, Any]]:
        (answer,) = model_outputs["answers"]
        results = [_result(text, answer) for text in answer["texts"]]
        return results if len(results) > 1 else results[0]

    def save_pretrained(self, save_directory: str, **kwargs: Any):
        """Save model, code and the processor, which the base class forgets (transformers 5.24)."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0)


def _without_unsaid(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings but those that, given as None, ask for what holds without them."""
    unsaid = ("max_new_tokens", "max_length", "do_sample", "generation_config")
    return {name: value for name, value in settings.items() if value is not None or name not in unsaid}


def _check_generation(settings: dict[str, Any]):
    """Refuse settings of `generate` that can't be meant, or that the pipeline makes itself."""
    for name in ("num_beams", "num_return_sequences", "max_new_tokens"):
        count = settings.get(name)
        if count is not None and (not isinstance(count, int) or count < 1 or count is True):
            raise ValueError(f"{name} must be a whole number, at least 1; got {count!r}.")
    least = settings.get("quote_confidence")
    if least is not None and (not isinstance(least, Real) or not 0 <= float(least) <= 1):
        raise ValueError(f"quote_confidence must be a number from 0 to 1; got {least!r}.")
    others = ("return_dict_in_generate", "streamer", "assistant_model", *MODEL_INPUTS)
    own = [name for name in others if settings.get(name) is not None]
    if own:
        raise ValueError(f"{own[0]} is not for this pipeline; use the model's `generate`.")


def _read_labels(labels: Any) -> list[str]:
    """Labels as a person gave them, one or more different words whatever their case."""
    words = None if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable) else list(labels)
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f'labels must be a list of words, such as ["happy", "sad"]; got {labels!r}.')
    words = [word.strip() for word in words]
    if len({word.casefold() for word in words}) < len(words):
        raise ValueError(f"labels must be different words, whatever their case; got {words!r}.")
    return words


def _result(text: str, answer: dict[str, Any]) -> dict[str, Any]:
    """What the pipeline gives for one generated text of a clip."""
    scores = answer["scores"]
    label = max(scores, key=scores.get) if scores else None
    reasoning = _without_label_sentence(text, answer["opening"])
    quotes: list[dict[str, Any]] = [asdict(quote) for quote in find_quotes(reasoning)]
    turns = [turn["text"] for turn in answer["context"] or ()]
    for quote in quotes if turns else ():
        quote["in_context"] = ground_quote(quote["text"], "", context=turns).kind == "context"
    return {
        "label": label,
        "score": scores[label] if scores else None,
        "scores": scores,
        "reasoning": reasoning,
        "quotes": quotes,
        "generated_text": text,
        "untrained_labels": answer["untrained_labels"],
        "no_speech": answer.get("no_speech"),
        **({"cues": answer["cues"]} if "cues" in answer else {}),
    }


def _missing(clips: list, rate: int) -> str | None:
    """What the first clip without speech holds instead; none if all hold speech."""
    return next((reason for clip in clips if (reason := why_no_speech(clip, rate)) is not None), None)


def _unanswered(reason: str, sequences: int) -> dict[str, Any]:
    """What `_answer` would give for a clip without speech."""
    nothing = {"scores": None, "opening": "", "untrained_labels": []}
    return {"texts": [NO_SPEECH[reason]] * sequences, "no_speech": reason, **nothing}


def _without_label_sentence(text: str, opening: str) -> str:
    """What an answer says beyond "The speaker sounds LABEL."; the whole answer if it says no more."""
    first, _, rest = text.partition(". ")
    return rest if first.startswith(opening) and rest else text


def _each(inputs: Any) -> Iterator:
    """Items of a list, generator or dataset without `__iter__`."""
    return iter(inputs) if hasattr(inputs, "__iter__") else (inputs[index] for index in range(len(inputs)))


__all__ = ["AudioEmotionReasoningPipeline"]
