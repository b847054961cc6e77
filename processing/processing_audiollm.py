# This file travels to the Hub with the processor: imports of its own folder only, relative and one level deep.
from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from transformers import AutoConfig, AutoFeatureExtractor, AutoTokenizer, ProcessorMixin, WhisperFeatureExtractor

from .audio import load_audio
from .conversation import in_context, said_before


AUDIO_TOKENS = ("<|audio_start|>", "<|audio|>", "<|audio_end|>")
# Gemma's vocabulary has unused slots; taking three of them leaves the embedding matrix as it is.
UNUSED_SLOTS = ("<unused0>", "<unused1>", "<unused2>")

CONTENT_TO_TEXT = """\
{%%- set flat = namespace(messages=[]) -%%}
{%%- for message in messages -%%}
  {%%- if message['content'] is string -%%}
    {%%- set flat.messages = flat.messages + [message] -%%}
  {%%- else -%%}
    {%%- set part = namespace(text='') -%%}
    {%%- for content in message['content'] -%%}
      {%%- if content['type'] == 'audio' -%%}
        {%%- set part.text = part.text + '%s' -%%}
      {%%- elif content['type'] == 'text' -%%}
        {%%- set part.text = part.text + content['text'] -%%}
      {%%- endif -%%}
    {%%- endfor -%%}
    {%%- set flat.messages = flat.messages + [{'role': message['role'], 'content': part.text}] -%%}
  {%%- endif -%%}
{%%- endfor -%%}
{%%- set messages = flat.messages -%%}
"""


def audio_chat_template(template: str, audio_start: str, audio: str, audio_end: str) -> str:
    """A language model's chat template, taught to take audio.

    Message contents that are lists become text, with `<audio_start>{audio}<audio_end>` for each audio, before the
    model's own template sees them; so every template whose contents are strings works.
    """
    return CONTENT_TO_TEXT % f"{audio_start}{audio}{audio_end}" + template


class AudioLLMProcessor(ProcessorMixin):
    """Audio and text to model inputs, and token ids to text.

    Args:
        feature_extractor: of the speech encoder.
        emotion_feature_extractor: of the emotion encoder; equal to `feature_extractor` when both encoders take the
            same features (or there is only one encoder), which are then computed once.
        tokenizer: of the language model; it must know the three audio tokens.
        chat_template (`str`, *optional*): a template that takes audio; by default made of the tokenizer's own.
        tokens_per_window (`int`): placeholders for one window of audio, as `AudioLLMConfig.tokens_per_window`.
        emotion_tokens (`int`): those of them that are the emotion branch's; 0 without a branch of its own.
        audio_tokens (`str`): `"window"` or `"clip"`, as in `AudioLLMConfig`.
        window_seconds (`float`): length of a window, as in `AudioLLMConfig`.
        audio_token, audio_start_token, audio_end_token (`str`): the placeholder and its frame.

    Raises:
        ValueError: if the tokenizer does not know an audio token, or has no chat template.
    """

    # What the base class sets by the names of the arguments.
    feature_extractor: Any
    emotion_feature_extractor: Any
    tokenizer: Any

    audio_kwargs = {"sampling_rate": 16_000}
    # The chat template writes all special tokens, so the tokenizer must not add a second BOS; generation pads left.
    text_kwargs = {"padding": True, "padding_side": "left", "add_special_tokens": False, "return_tensors": "pt"}

    def __init__(
        self,
        feature_extractor,
        emotion_feature_extractor,
        tokenizer,
        chat_template: str | None = None,
        tokens_per_window: int = 110,
        window_seconds: float = 30.0,
        emotion_tokens: int = 0,
        audio_tokens: str = "window",
        audio_token: str = "<|audio|>",
        audio_start_token: str = "<|audio_start|>",
        audio_end_token: str = "<|audio_end|>",
    ):
        self.tokens_per_window = tokens_per_window
        self.window_seconds = window_seconds
        self.emotion_tokens, self.audio_tokens = emotion_tokens, audio_tokens
        self.audio_token, self.audio_start_token, self.audio_end_token = (
            audio_token,
            audio_start_token,
            audio_end_token,
        )
        ids = tokenizer.convert_tokens_to_ids([audio_token, audio_start_token, audio_end_token])
        if None in ids or tokenizer.unk_token_id in ids or len(set(ids)) < 3:
            raise ValueError(
                f"The tokenizer does not know {audio_token}, {audio_start_token} and {audio_end_token}; add them with "
                "`tokenizer.add_special_tokens`, or use AudioLLMProcessor.from_parts."
            )
        self.audio_token_id = ids[0]
        if chat_template is None:
            if tokenizer.chat_template is None:
                raise ValueError("The tokenizer has no chat template; give one as `tokenizer.chat_template`.")
            chat_template = audio_chat_template(
                tokenizer.chat_template, audio_start_token, audio_token, audio_end_token
            )
        self._feature_times: dict[int, int] = {}
        super().__init__(feature_extractor, emotion_feature_extractor, tokenizer, chat_template=chat_template)

    @classmethod
    def from_parts(
        cls,
        speech: str,
        text: str,
        emotion: str | None = None,
        fusion: str | None = None,
        speech_tokens: int = 100,
        emotion_tokens: int = 10,
        window_seconds: float = 30.0,
        audio_tokens: str = "window",
        revisions: dict[str, str | None] | None = None,
    ) -> AudioLLMProcessor:
        """Assemble the processor that goes with `AudioLLMForConditionalGeneration.from_parts`.

        Audio tokens are three unused slots of the vocabulary if it has them (Gemma), else three new tokens.

        Args:
            speech, text, emotion: checkpoints (folders or Hub ids) of the parts.
            fusion, speech_tokens, emotion_tokens, window_seconds, audio_tokens: as in `AudioLLMConfig`.
            revisions: of the checkpoints on the Hub, by `speech`, `text` and `emotion`.
        """
        revisions = revisions or {}
        tokenizer = AutoTokenizer.from_pretrained(text, revision=revisions.get("text") or "main")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        vocabulary = tokenizer.get_vocab()
        tokens = UNUSED_SLOTS if all(slot in vocabulary for slot in UNUSED_SLOTS) else AUDIO_TOKENS
        tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
        start, audio, end = tokens
        two_branches = emotion is not None and fusion in (None, "sequence")
        extractor = cls._load_extractor(speech, window_seconds, revisions.get("speech"))
        emotion_tokens = emotion_tokens if two_branches else 0
        return cls(
            extractor,
            extractor if emotion is None else cls._load_extractor(emotion, window_seconds, revisions.get("emotion")),
            tokenizer,
            tokens_per_window=speech_tokens + emotion_tokens,
            window_seconds=window_seconds,
            emotion_tokens=emotion_tokens,
            audio_tokens=audio_tokens,
            audio_token=audio,
            audio_start_token=start,
            audio_end_token=end,
        )

    @staticmethod
    def _load_extractor(source: str, window_seconds: float, revision: str | None = None):
        hub = {"revision": revision or "main"}
        extractor = AutoFeatureExtractor.from_pretrained(source, **hub)
        kind = AutoConfig.from_pretrained(source, **hub).model_type
        if kind == "whisper" and extractor.chunk_length != window_seconds:
            seconds = int(window_seconds) if window_seconds == int(window_seconds) else window_seconds
            extractor = type(extractor)(**(extractor.to_dict() | {"chunk_length": seconds}))
        return extractor

    @property
    def model_input_names(self) -> list[str]:
        names = ["input_ids", "attention_mask", "input_features", "input_features_mask"]
        return names if self.shares_features else [*names, "input_values", "input_values_mask"]

    @property
    def shares_features(self) -> bool:
        """Whether both encoders take the same features, which then come once, as `input_features`."""
        return self.feature_extractor.to_dict() == self.emotion_feature_extractor.to_dict()

    @property
    def window_samples(self) -> int:
        return round(self.window_seconds * self.feature_extractor.sampling_rate)

    def num_windows(self, samples: int) -> int:
        """Windows that a clip of `samples` samples is cut into: nothing is left out, the last window is padded."""
        return max(1, math.ceil(samples / self.window_samples))

    def num_audio_tokens(self, samples: int) -> int:
        """Placeholders of a clip of `samples` samples: as many as the model gives embeddings."""
        whole = self.num_windows(samples) * self.tokens_per_window
        if self.audio_tokens == "window":
            return whole
        last = samples - (self.num_windows(samples) - 1) * self.window_samples
        kept = self._kept_of_window(self.feature_extractor, self.tokens_per_window - self.emotion_tokens, last)
        if self.emotion_tokens:
            kept += self._kept_of_window(self.emotion_feature_extractor, self.emotion_tokens, last)
        return whole - self.tokens_per_window + kept

    def _kept_of_window(self, extractor, tokens: int, samples: int) -> int:
        """Tokens of a branch that a window of `samples` real samples keeps: `kept_tokens` of the model's code."""
        time = self._feature_time(extractor)
        return (tokens * _real_features(samples, time, self.window_samples) + time - 1) // time

    def _feature_time(self, extractor) -> int:
        """Features of a whole window."""
        if extractor.model_input_names[0] == "input_values":
            return self.window_samples
        if hasattr(extractor, "n_fft"):
            return self.window_samples // extractor.hop_length
        key = id(extractor)
        if key not in self._feature_times:
            silence = np.zeros(self.window_samples, np.float32)
            features = extractor(silence, sampling_rate=extractor.sampling_rate, return_tensors="np")["input_features"]
            self._feature_times[key] = features.shape[1]
        return self._feature_times[key]

    def load_audio(self, audio: Any, **settings: Any) -> np.ndarray:
        """One clip as mono float32 samples at the extractor's rate; takes and raises what [`load_audio`] does.

        Args:
            audio, settings: as for [`load_audio`]; `max_seconds` is by default what the tokenizer's limit holds.
        """
        # A very large number where the tokenizer knows no limit.
        fits = (self.tokenizer.model_max_length // self.tokens_per_window + 1) * self.window_seconds
        return load_audio(audio, self.feature_extractor.sampling_rate, **{"max_seconds": fits, **settings})

    def prompt(
        self,
        question: str,
        context: Sequence[Mapping[str, Any]] | None = None,
        speaker: str | None = None,
        clips: int = 1,
    ) -> str:
        """The prompt for one question about one clip: the same in training, evaluation and pipeline.

        Args:
            question: what is asked.
            context, speaker: what was said before the clip, and who of them speaks in it; see [`in_context`].
            clips: how many the question is about, which stand before it.

        Templates of models that may think aloud (Qwen3) are told not to: then the empty block that they write before
        an answer belongs to the prompt, not to what is learnt and generated.
        """
        content = [{"type": "audio"}] * clips + [{"type": "text", "text": in_context(question, context, speaker)}]
        silent = {"enable_thinking": False} if "enable_thinking" in str(self.chat_template) else {}
        return self.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, **silent)

    def apply_chat_template(self, conversation, *args, **kwargs):
        """As transformers', for contents in OpenAI's forms too (`input_audio`, `audio_url`, `input_text`).

        Special tokens of the tokenizer that stand in a text are broken up: they are text there. Only in a message
        whose content is one string may the placeholders of audio stand for audio.

        Raises:
            ValueError: for a content that is neither text nor audio, and for messages of another form.
        """
        if not isinstance(conversation, (list, tuple)) or not conversation:
            raise ValueError(f"A conversation is a list of messages; got {conversation!r:.200}.")
        many = isinstance(conversation[0], (list, tuple))
        chats = [
            [self._plain_message(message) for message in chat] for chat in (conversation if many else [conversation])
        ]
        return super().apply_chat_template(chats if many else chats[0], *args, **kwargs)

    def _plain_message(self, message: dict) -> dict:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError(f'A message is {{"role": "user", "content": ...}}; got {message!r:.200}.')
        content = message.get("content")
        if isinstance(content, str):
            own = (self.audio_token, self.audio_start_token, self.audio_end_token)
            return {**message, "content": self.plain_text(content, but=own)}
        if not isinstance(content, (list, tuple, type(None))):
            raise ValueError(f"The content of a message is text or a list of contents; got {content!r:.200}.")
        return {**message, "content": [self._plain_content(part) for part in content or ()]}

    def _plain_content(self, content: dict) -> dict:
        if not isinstance(content, dict):
            raise ValueError(f'A content is {{"type": "text", "text": ...}} or of type audio; got {content!r:.200}.')
        kind = content.get("type")
        if kind in ("text", "input_text"):
            if not isinstance(content.get("text"), str):
                raise ValueError(f"Content of type {kind!r} needs `text`, a string; got {content.get('text')!r:.200}.")
            return {"type": "text", "text": self.plain_text(content["text"])}
        if kind in ("input_audio", "audio_url"):
            return {"type": "audio", "audio": _openai_audio(kind, content.get(kind))}
        if kind != "audio":
            raise ValueError(f"Content of type {kind!r} is not understood; use text, audio, input_audio or audio_url.")
        return content

    def plain_text(self, text: str, but: Collection[str] = ()) -> str:
        """Text in which no special token of the tokenizer is read as one, except those in `but`."""
        for token in sorted(self._special_tokens - set(but), key=len, reverse=True):
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def told(self, ids: Sequence[int]) -> str:
        """What was said before a recording, of the token ids of a prompt that tells it."""
        tokenizer: Any = self.tokenizer
        return said_before(tokenizer.decode(ids, skip_special_tokens=True))

    def label_ids(self, labels: Sequence[str]) -> list[list[int]]:
        """Token ids of labels as they stand within an answer, for `model.feel` and `model.score_continuations`."""
        tokenizer: Any = self.tokenizer
        return [tokenizer(f" {label}", add_special_tokens=False)["input_ids"] for label in labels]

    @property
    def _special_tokens(self) -> set[str]:
        added = {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        own = {self.audio_token, self.audio_start_token, self.audio_end_token}
        return {token for token in {*added, *own} if len(token) > 1}

    def prepare_inputs_layout(self, images=None, text=None, videos=None, audio=None, **kwargs):
        """Load audio with our own reader, which needs neither torchcodec nor librosa and says what is wrong."""
        if text is not None:
            text = [text] if isinstance(text, str) else list(text)
        if audio is not None:
            rate = kwargs.get("sampling_rate") or kwargs.get("audio_kwargs", {}).get("sampling_rate")
            clips = list(audio) if _is_list_of_clips(audio) else [audio]
            audio = [self.load_audio(clip, array_rate=rate) for clip in clips]
        return images, text, videos, audio

    def _multimodal_inputs_from_conversations(
        self,
        conversations: list[list[dict[str, Any]]],
        audio_loading_params: dict[str, Any],
        load_audio_from_video: bool = False,
    ):
        clips = [
            _source_of(content)
            for conversation in conversations
            for message in conversation
            if not isinstance(message.get("content") or "", str)
            for content in message["content"]
            if content["type"] == "audio"
        ]
        rate = self.feature_extractor.sampling_rate
        clips = [self.load_audio(clip, array_rate=audio_loading_params["sampling_rate"]) for clip in clips]
        # Everything is at the extractor's rate from here on, whatever rate the caller named for bare arrays.
        audio_loading_params["sampling_rate"] = rate
        return [], [], clips, {}

    def _process_audio(self, audio: list[np.ndarray], **kwargs) -> tuple[dict[str, Any], list[str]]:
        size = self.window_samples
        windows = [[clip[i * size : (i + 1) * size] for i in range(self.num_windows(len(clip)))] for clip in audio]
        features: dict[str, Any] = {}
        features["input_features"], features["input_features_mask"] = self._extract(self.feature_extractor, windows)
        if not self.shares_features:
            values = self._extract(self.emotion_feature_extractor, windows)
            features["input_values"], features["input_values_mask"] = values
        replacements = [self.audio_token * self.num_audio_tokens(len(clip)) for clip in audio]
        return features, replacements

    def _extract(self, extractor, windows: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Features `[clips, windows, ...]` padded to whole and equally many windows, and the mask of real time."""
        flat = [window for clip in windows for window in clip]
        rate, size = extractor.sampling_rate, self.window_samples
        raw = extractor.model_input_names[0] == "input_values"
        if raw or isinstance(extractor, WhisperFeatureExtractor):
            # Extractors of raw audio and Whisper's pad samples; a wav2vec2-type one normalises before it pads.
            values = extractor(
                flat, sampling_rate=rate, padding="max_length", max_length=size, truncation=True, return_tensors="np"
            )[extractor.model_input_names[0]]
            axis = -1
        else:
            frames = self._feature_time(extractor)
            # Of frames in time: wav2vec2-BERT's and Parakeet's. A last window of a few samples is no frame of 25 ms,
            # of which they take at least two.
            least = [np.pad(window, (0, max(0, rate // 20 - len(window)))) for window in flat]
            values = extractor(least, sampling_rate=rate, return_tensors="np")["input_features"]
            values = np.pad(values, ((0, 0), (0, max(frames - values.shape[1], 0)), (0, 0)))[:, :frames]
            axis = 1
        time = values.shape[axis]
        lengths = np.array([_real_features(len(window), time, size) for window in flat])
        mask = np.arange(time) < lengths[:, None]
        return _by_clip(values.astype(np.float32), windows), _by_clip(mask, windows)

    def batch_decode(self, *args, **kwargs) -> list[str]:
        return self.tokenizer.batch_decode(*args, **kwargs)

    def decode(self, *args, **kwargs) -> str:
        return self.tokenizer.decode(*args, **kwargs)


def _real_features(samples: int, time: int, window: int) -> int:
    """Features of real audio among `time` of a window of `window` samples, of which `samples` are real."""
    return max(1, -(-samples * time // window))


def _is_list_of_clips(audio: Any) -> bool:
    """Whether `audio` is a list (or tuple) of clips, and not one clip of numbers or an (array, rate) pair."""
    if isinstance(audio, tuple):
        return not (len(audio) == 2 and _is_number(audio[0]) != _is_number(audio[1]))
    return isinstance(audio, list) and not (audio and _is_number(audio[0]))


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) or getattr(value, "ndim", None) == 0


def _openai_audio(kind: str, value: Any) -> Any:
    """The audio of OpenAI's `{"type": kind, kind: value}`: bytes from base64, or the URL."""
    if kind == "audio_url":
        url = value.get("url") if isinstance(value, dict) else value
        if not isinstance(url, str):
            raise ValueError('Content of type "audio_url" needs `{"url": "https://..."}`.')
        return url
    try:
        return base64.b64decode(value["data"], validate=True)
    except (TypeError, KeyError, binascii.Error) as error:
        raise ValueError('Content of type "input_audio" needs `{"data": BASE64, "format": "wav"}`.') from error


def _source_of(content: dict) -> Any:
    """The audio of one `{"type": "audio", ...}` content."""
    for key in ("audio", "url", "path", "bytes"):
        if content.get(key) is not None:
            return content[key]
    raise ValueError('Content of type "audio" needs one of `audio`, `url`, `path` or `bytes`.')


def _by_clip(rows: np.ndarray, windows: list[list]) -> np.ndarray:
    """Rows of windows regrouped as `[clips, most windows, ...]`, zeros where a clip has fewer windows."""
    grouped = np.zeros((len(windows), max(map(len, windows)), *rows.shape[1:]), rows.dtype)
    start = 0
    for index, clip in enumerate(windows):
        grouped[index, : len(clip)] = rows[start : start + len(clip)]
        start += len(clip)
    return grouped


__all__ = ["AudioLLMProcessor"]
