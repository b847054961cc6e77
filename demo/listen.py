"""What the page shows, computed: everything a model and its aligner find in one recording."""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import StoppingCriteria, StoppingCriteriaList, pipeline

from ..corpora.questions import POOLS
from ..listening.listener import Heard, ListenError, listen
from ..modeling_audiollm import AudioEmotionReasoningPipeline
from ..modeling_audiollm.evidence import ground_quote
from ..modeling_audiollm.pipeline_audiollm import LONGEST_ANSWER, TASKS
from ..modeling_audiollm.speech_presence import NO_SPEECH, why_no_speech
from ..modeling_audiollm.voice_cues import VoiceCues, voice_cues
from ..processing.alignment import CTC_NAME, Aligner, AlignmentError, find_words
from ..processing.audio import AudioError, load_audio, open_audio
from ..processing.timeline import EmotionSegment, emotion_timeline
from .about import describe, model_name, read_facts


SHORTEST_SECONDS = 0.2
TIMELINE_WINDOW, TIMELINE_HOP = 4.0, 2.0
LONGEST_QUESTION = 500
SPOKEN_TOKENS = 10  # a second, in a transcript: more than the fastest speech has, in tokens shorter than words


class Unusable(ValueError):
    """A recording or question that can't be answered, with what to do about it, for the person who gave it."""


@dataclass(frozen=True)
class HeardQuote:
    """Words that the explanation quotes.

    Args:
        text, start, end: as in the explanation.
        said: whether the model's own transcript holds them.
        seconds: start and end in the recording, or None where no aligner could find them.
    """

    text: str
    start: int
    end: int
    said: bool
    seconds: tuple[float, float] | None


@dataclass(frozen=True)
class Findings:
    """What a model finds in a recording.

    `alignment_note` says why quotes have no times, if they have none; `transcript_cut` that the recording goes on
    after the transcript's end.
    """

    samples: np.ndarray
    rate: int
    label: str
    scores: dict[str, float]
    reasoning: str
    quotes: Sequence[HeardQuote]
    transcript: str
    sentiment: str
    sentiment_scores: dict[str, float]
    sentiment_reasoning: str
    cues: VoiceCues
    timeline: Sequence[EmotionSegment]
    alignment_note: str | None
    transcript_cut: bool


class Listener:
    """A model that listens to recordings, one at a time.

    Args:
        pipe: of the model.
        aligner: finds words in time, or none.
        max_seconds: longest recording taken whole, if the model reads as much at once.
        about: which model it is and what it can hear, in Markdown.
        max_call_seconds: longest recording that is followed in segments.
    """

    def __init__(
        self,
        pipe: AudioEmotionReasoningPipeline,
        aligner: Aligner | None = None,
        max_seconds: float = 300,
        about: str = "",
        max_call_seconds: float = 7200,
    ):
        self.pipe: Any = pipe  # gives one answer for one clip
        self.aligner, self.max_seconds, self.about = aligner, max_seconds, about
        self.max_call_seconds = max_call_seconds
        # Answers do not get faster by sharing the same cores, and long ones would slow all others down.
        self._turn = threading.Lock()

    @classmethod
    def load(
        cls,
        checkpoint: str,
        aligner: str | Path | None = None,
        max_seconds: float = 300,
        name: str | None = None,
        max_call_seconds: float = 7200,
    ) -> Listener:
        """Load a checkpoint, and its aligner if there is one.

        Args:
            checkpoint: folder, or name on the Hub.
            aligner: CTC head of the speech encoder; by default that of the folder.
            max_seconds: longest recording taken whole, if the model reads as much at once.
            name: what to call the model; by default as its run or repository is called.
            max_call_seconds: longest recording that is followed in segments.
        """
        # Our own classes, so that the code beside the weights need not be trusted.
        task: Any = "audio-emotion-reasoning"  # a name of ours, which transformers' overloads lack
        pipe: Any = pipeline(
            task, model=checkpoint, pipeline_class=AudioEmotionReasoningPipeline, max_new_tokens=LONGEST_ANSWER
        )
        if aligner is not None:
            found = Aligner(pipe.model, pipe.processor, load_file(aligner))
        elif Path(checkpoint).is_dir():
            found = Aligner.beside(checkpoint, pipe.model, pipe.processor)
        else:
            found = _aligner_on_hub(checkpoint, pipe)
        about = describe(name or model_name(checkpoint), pipe.model.num_parameters(), read_facts(checkpoint))
        return cls(pipe, found, max_seconds, about, max_call_seconds)

    @property
    def rate(self) -> int:
        return self.pipe.processor.feature_extractor.sampling_rate

    def longest_seconds(self, question: str | None = None) -> float:
        """Longest recording taken whole: as it was set, or what the model reads beside a question and its answer.

        Args:
            question: a free one; by default those of the page.
        """
        model = self.pipe.model
        context, beyond = model.model.context_tokens, model.context_seconds + model.config.window_seconds
        if context is None:
            return self.max_seconds
        room = context - max(map(self._tokens, self._prompts(question))) - LONGEST_ANSWER
        heard = self.pipe.processor.num_audio_tokens
        whole = range(1, math.ceil(min(self.max_seconds, beyond)) + 1)
        fitting = bisect_right(whole, room, key=lambda seconds: heard(seconds * self.rate))
        return self.max_seconds if fitting == len(whole) else fitting

    def _prompts(self, question: str | None) -> list[str]:
        """Everything in front of an answer but what is heard."""
        prompt, config = self.pipe.processor.prompt, self.pipe.model.config
        if question is not None:
            return [prompt(question)]
        about_labels = [
            f"{prompt(asked)}{opening} {max(getattr(config, labels), key=len)}."
            for asked, opening, labels in TASKS.values()
        ]
        return [prompt(POOLS["asr"][0]), *about_labels]

    def _tokens(self, text: str) -> int:
        return len(self.pipe.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def read(self, path: str | None, question: str | None = None) -> np.ndarray:
        """The samples of a recording.

        Args:
            path: of it.
            question: a free one that is to be asked about it.

        Raises:
            Unusable: if there is none, it is no audio, too long, too short, or holds no speech.
        """
        if not path:
            raise Unusable("No recording yet: record one or upload a file.")
        try:
            most = self.longest_seconds(question)
            self._check_length(path, most, "" if most == self.max_seconds else ", as much as this model reads at once")
            samples = load_audio(path, self.rate)
        except AudioError as error:
            raise Unusable(
                f"Not audio that can be used: {error.reason} Upload a whole WAV, FLAC, OGG or MP3 file."
            ) from error
        if len(samples) < SHORTEST_SECONDS * self.rate:
            raise Unusable(f"Too short: less than {SHORTEST_SECONDS} s. Say a whole sentence.")
        if reason := why_no_speech(samples, self.rate):
            raise Unusable(f"{NO_SPEECH[reason]} Check the microphone, and that it is not muted.")
        return samples

    def _check_length(self, path: str, most: float, why: str = "") -> None:
        """Count what is there, whatever the header says, and no more than may be heard."""
        heard = 0
        with open_audio(path) as clip:
            for block in clip.blocks():
                heard += len(block)
                if heard > most * clip.rate:
                    raise Unusable(
                        f"Too long: the recording has more than {most:g} s{why}. Cut out the part that matters."
                    )

    def listen(self, path: str | None) -> Findings:
        """Everything about a recording; raises what [`read`] does."""
        samples = self.read(path)
        with self._turn:
            emotion = self.pipe(samples)
            sentiment = self.pipe(samples, task="sentiment")
            transcript, cut = self._transcript(samples)
            words, note = self._word_times(samples, transcript)
            timeline = self._timeline(samples)
        quotes = [
            HeardQuote(
                **quote,
                said=ground_quote(quote["text"], transcript).grounded,
                seconds=find_words(quote["text"], words),
            )
            for quote in emotion["quotes"]
        ]
        return Findings(
            samples=samples,
            rate=self.rate,
            label=emotion["label"],
            scores=emotion["scores"],
            reasoning=emotion["reasoning"],
            quotes=quotes,
            transcript=transcript,
            sentiment=sentiment["label"],
            sentiment_scores=sentiment["scores"],
            sentiment_reasoning=sentiment["reasoning"],
            cues=voice_cues(samples, self.rate),
            timeline=timeline,
            alignment_note=note,
            transcript_cut=cut,
        )

    def ask(self, path: str | None, question: str) -> str:
        """The answer to a free question about a recording.

        Raises:
            Unusable: if the question is empty or too long, and as [`read`] does.
        """
        question = (question or "").strip()
        if not question:
            raise Unusable("No question yet: type one.")
        if len(question) > LONGEST_QUESTION:
            raise Unusable(f"Too long a question: at most {LONGEST_QUESTION} characters.")
        samples = self.read(path, question)
        with self._turn:
            return self.pipe(samples, question=question)["generated_text"]

    def follow(self, path: str | None, by_channel: bool = False) -> Heard:
        """A recording of many turns in segments, each answered by itself.

        Args:
            path: of the recording.
            by_channel: each channel is a speaker.

        Raises:
            Unusable: if there is none, it is no audio or too long, or has no channels to tell speakers by.
        """
        if not path:
            raise Unusable("No recording yet: upload a file.")
        try:
            self._check_length(path, self.max_call_seconds)
            with self._turn:
                return listen(path, self.pipe, by_channel=by_channel)
        except AudioError as error:
            raise Unusable(f"Not audio that can be used: {error.reason} Upload a whole file.") from error
        except ListenError as error:
            raise Unusable(str(error)) from error

    def _transcript(self, samples: np.ndarray) -> tuple[str, bool]:
        """What is said, in as many tokens as that may need and the model has room for; and whether it needs more."""
        question, model = POOLS["asr"][0], self.pipe.model
        longest = max(LONGEST_ANSWER, math.ceil(SPOKEN_TOKENS * len(samples) / self.rate))
        if model.model.context_tokens is not None:
            heard = self.pipe.processor.num_audio_tokens(len(samples))
            (prompt,) = self._prompts(question)
            longest = min(longest, model.model.context_tokens - self._tokens(prompt) - heard)
        last = _Last()
        settings = {"max_new_tokens": longest, "stopping_criteria": StoppingCriteriaList([last])}
        text = self.pipe(samples, question=question, quote_confidence=0, **settings)["generated_text"]
        ends = model.generation_config.eos_token_id
        return text, last.count >= longest and last.token not in (ends if isinstance(ends, list) else [ends])

    def _word_times(self, samples: np.ndarray, transcript: str) -> tuple[list, str | None]:
        if self.aligner is None:
            return [], f"this checkpoint has no aligner ({CTC_NAME}), so where a quote was said is left out."
        try:
            return self.aligner.align(samples, transcript), None
        except AlignmentError as error:
            return [], f"the words could not be found in time: {error}"

    def _timeline(self, samples: np.ndarray) -> list[EmotionSegment]:
        """Emotion over time, of recordings longer than two windows."""
        if len(samples) <= 2 * TIMELINE_WINDOW * self.rate:
            return []
        classifier = _LabelClassifier(self.pipe)
        return list(emotion_timeline(classifier, samples, TIMELINE_WINDOW, TIMELINE_HOP, sampling_rate=self.rate))


class _Last(StoppingCriteria):
    """Stops nothing; keeps the last token of an answer, and how many it has."""

    def __init__(self):
        self.token: int | None = None
        self.count = 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.token, self.count = int(input_ids[0, -1]), self.count + 1
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class _LabelClassifier:
    """The model's label probabilities in the form that timelines are made of."""

    def __init__(self, pipe: AudioEmotionReasoningPipeline):
        self.pipe, self.device, self.dtype = pipe, torch.device("cpu"), torch.float32
        self.labels = list(pipe.model.config.emotion_labels)
        self.config = SimpleNamespace(id2label=dict(enumerate(self.labels)))

    def __call__(self, windows: torch.Tensor) -> Any:
        scores = self.pipe.score_labels(list(windows.numpy()), labels=self.labels)
        return SimpleNamespace(logits=torch.tensor([[row[label] for label in self.labels] for row in scores]).log())


def _aligner_on_hub(name: str, pipe: AudioEmotionReasoningPipeline) -> Aligner | None:
    from transformers.utils import cached_file

    path = cached_file(name, CTC_NAME, _raise_exceptions_for_missing_entries=False)
    return None if path is None else Aligner(pipe.model, pipe.processor, load_file(path))
