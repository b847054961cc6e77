"""Segments of a recording, each answered with those before it as context; kept as they are answered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import Pipeline, pipeline

from ..corpora.dialogue import Turn, anonymous, past_turns
from ..corpora.questions import POOLS
from ..files import naming_a_full_disk
from ..language_models.journal import Journal
from ..locks import folder_lock
from ..modeling_audiollm import AudioEmotionReasoningPipeline
from ..modeling_audiollm.evidence import ground_quote
from .rttm import read_rttm
from .segments import RATE, Recording, Segment, recording_name


JOURNAL = "answers.jsonl"
SETTINGS = "settings"  # the key of the journal's first line
USUAL_CONTEXT = 4
REMEMBERED = 200  # turns that may become context


class ListenError(ValueError):
    """A recording or folder that cannot be listened to as asked; says what to do."""


@dataclass(frozen=True)
class Heard:
    """What was found in a recording.

    Args:
        rows: of the segments, by start: `id`, `speaker`, `start` and `end` in seconds, `transcript` (by the model),
            `label`, `score`, `scores`, `reasoning`, `quotes` (each with `text`, its place in `reasoning`, and `kind`,
            as [`Grounding`] has it against the model's transcript and the turns before), `cues`, `context` (the turns
            that the model was told), `no_speech` (what the pipeline found in place of speech) and `error`, None for a
            segment that was answered.
        seconds: that were read.
        problems: what was wrong, in words; what was before it is in `rows`.
        peaks: of each track, ten times a second, 0 to 1.
        answered_now: segments that this call asked the model about.
    """

    rows: list[dict[str, Any]]
    seconds: float
    problems: list[str]
    peaks: Mapping[str | None, Sequence[float]]
    answered_now: int


def listen(
    audio: Any,
    model: str | Path | Pipeline,
    out: str | Path | None = None,
    by_channel: bool = False,
    rttm: str | Path | None = None,
    context: int | None = None,
    task: str = "emotion",
    labels: Sequence[str] | None = None,
    longest: float | None = None,
    batch_size: int = 8,
    max_new_tokens: int = 128,
    progress: bool = True,
) -> Heard:
    """Listen to a recording of any length, in memory that does not grow with it.

    Speech is found by voice activity (silero-vad), or told by an RTTM. Each segment is transcribed, then asked about,
    with the transcripts of the segments before it as context.

    Args:
        audio: a path, or what else [`open_audio`] takes.
        model: an AudioLLM folder or name on the Hub, or a pipeline that is loaded.
        out: folder that keeps answers as they come; called again with it, nothing is answered twice.
        by_channel: each channel is a speaker.
        rttm: who speaks when, instead of voice activity.
        context: so many segments before each are told, at most; 0 for none. By default as many turns as the model was
            trained with, up to 4: one that learnt without any is worse with them.
        task, labels: as for the pipeline.
        longest: seconds of a segment, at most; by default a window of the model.
        batch_size: segments answered together.
        max_new_tokens: longest transcript and answer.
        progress: show a bar.

    Raises:
        AudioError: if the recording cannot be opened. One that is damaged later on is answered up to there.
        ListenError: if both `by_channel` and `rttm` are given, a recording has one channel only, or the folder holds
            answers of another recording, model or other settings.
        RttmError: for an RTTM that cannot be read.
    """
    if by_channel and rttm is not None:
        raise ListenError("speakers are told by channels or by an RTTM, not by both; leave one out.")
    if (context or 0) < 0 or batch_size < 1:
        raise ListenError(f"context is 0 or more, batch_size 1 or more; got {context} and {batch_size}.")
    turns = None if rttm is None else read_rttm(rttm, recording_name(audio))
    pipe = _load(model)
    context = min(USUAL_CONTEXT, pipe.model.config.context_turns) if context is None else context
    longest = float(pipe.model.config.window_seconds) if longest is None else longest
    if longest < 1:
        raise ListenError(f"a segment's longest length is at least 1 s; got {longest:g}.")
    recording = Recording(audio, longest)
    if by_channel and recording.channels < 2:
        raise ListenError("the recording has one channel; leave out the option that makes channels speakers.")
    segments = recording.by_turns(turns) if turns is not None else recording.by_voice(by_channel)
    settings = {
        "recording": _state(audio),
        "rttm": None if rttm is None else hashlib.sha256(Path(rttm).read_bytes()).hexdigest()[:16],
        "model": str(model) if isinstance(model, (str, Path)) else pipe.model.name_or_path,
        "weights": _state(Path(str(pipe.model.name_or_path)) / "model.safetensors"),
        "by_channel": by_channel,
        "context": context,
        "task": task,
        "labels": list(labels) if labels else None,
        "longest": longest,
        "max_new_tokens": max_new_tokens,
    }
    asking = _Asking(pipe, context, {"task": task, **({"labels": list(labels)} if labels else {})}, max_new_tokens)
    with contextlib.ExitStack() as stack:
        kept = _Kept(None)
        if out is not None:
            stack.enter_context(folder_lock(out, "run of `audiollm listen`"))
            stack.enter_context(naming_a_full_disk(Path(out)))
            kept = _Kept(stack.enter_context(Journal(Path(out) / JOURNAL)))
            kept.claim(settings, Path(out))
        bar = stack.enter_context(tqdm(total=recording.promised, unit="s", unit_scale=True, disable=not progress))
        now = 0
        for batch in _batches(segments, batch_size):
            new = [segment for segment in batch if not kept.has(segment)]
            for segment in batch:
                if kept.has(segment):
                    asking.remember(segment, kept.rows[segment.id]["transcript"])
            for row in asking.answer(new) if new else ():
                kept.add(row)
                now += 1
            bar.update(min(recording.seconds, recording.promised or recording.seconds) - bar.n)
    problems = [*recording.problems, *([str(recording.fault)] if recording.fault else [])]
    problems += [f"{row['start']:.2f} s: {row['error']}" for row in kept.rows.values() if row["error"]]
    rows = sorted(kept.rows.values(), key=lambda row: (row["start"], row["end"], row["speaker"] or ""))
    return Heard(rows, recording.seconds, problems, recording.peaks, now)


class _Kept:
    """Rows that are answered, in a journal if there is one."""

    def __init__(self, journal: Journal | None):
        self.journal = journal
        entries = journal.entries if journal is not None else {}
        self.rows = {key: row for key, row in entries.items() if key != SETTINGS}

    def claim(self, settings: dict[str, Any], out: Path):
        assert self.journal is not None
        before = self.journal.entries.get(SETTINGS)
        if before is None:
            self.journal.append({"id": SETTINGS, **settings})
            return
        plain = json.loads(json.dumps(settings))
        others = [name for name in plain if plain[name] != before.get(name)]
        if others:
            raise ListenError(
                f"{out} holds answers with another {', '.join(others)}; give another folder, or delete "
                f"{out / JOURNAL}."
            )

    def has(self, segment: Segment) -> bool:
        return segment.id in self.rows and self.rows[segment.id]["error"] is None

    def add(self, row: dict[str, Any]):
        if self.journal is not None:
            self.journal.append(row)
        self.rows[row["id"]] = row


class _Asking:
    """What was said so far, and how the model is asked about what comes."""

    def __init__(self, pipe: Any, context: int, task: dict[str, Any], max_new_tokens: int):
        self.pipe, self.context, self.task, self.max_new_tokens = pipe, context, task, max_new_tokens
        self.said: deque[Turn] = deque(maxlen=REMEMBERED)

    def remember(self, segment: Segment, transcript: str | None):
        self.said.append(_turn(segment, transcript))

    def answer(self, segments: Sequence[Segment]) -> Iterator[dict[str, Any]]:
        """Rows of new segments; one that the model refuses has its error."""
        clips = [{"array": segment.samples, "sampling_rate": RATE} for segment in segments]
        asr = {"question": POOLS["asr"][0], "quote_confidence": 0}
        heard = self._ask(clips, **asr)
        words = [found if isinstance(found, ValueError) else _words(found) for found in heard]
        for segment, text in zip(segments, words):
            self.remember(segment, text if isinstance(text, str) else None)
        told = [self._before(segment) for segment in segments]
        clips = [{**clip, "context": turns, "speaker": who} for clip, (turns, who) in zip(clips, told)]
        answers = self._ask(clips, return_cues=True, **self.task)
        for segment, text, (turns, _), answer in zip(segments, words, told, answers):
            yield _row(segment, text, turns, answer)

    def _before(self, segment: Segment) -> tuple[list[dict], str | None]:
        return anonymous(past_turns(self.said, _turn(segment, None), self.context), segment.speaker)

    def _ask(self, clips: list[dict], **settings: Any) -> list[dict[str, Any] | ValueError]:
        settings |= {"max_new_tokens": self.max_new_tokens}
        try:
            return list(self.pipe(clips, batch_size=len(clips), **settings))
        except ValueError as error:
            if len(clips) == 1:
                return [error]
            return [answer for clip in clips for answer in self._ask([clip], **settings)]


def _turn(segment: Segment, text: str | None) -> Turn:
    return Turn(segment.start, segment.end, segment.speaker, text)


def _row(segment: Segment, text: str | ValueError, turns: list[dict], answer: dict | ValueError) -> dict[str, Any]:
    row: dict[str, Any] = {"id": segment.id, "speaker": segment.speaker}
    row |= {"start": round(segment.start, 3), "end": round(segment.end, 3)}
    row |= dict.fromkeys(("transcript", "label", "score", "scores", "reasoning", "quotes", "cues"))
    row |= {"no_speech": None, "context": turns, "error": None}
    for found in (text, answer):
        if isinstance(found, ValueError):
            return row | {"error": f"{type(found).__name__}: {found}"}
    assert isinstance(text, str) and isinstance(answer, dict)
    before = [turn["text"] for turn in turns]
    quotes = [
        {key: quote[key] for key in ("text", "start", "end")}
        | {"kind": ground_quote(quote["text"], text, context=before).kind}
        for quote in answer["quotes"]
    ]
    found = {key: answer[key] for key in ("label", "score", "scores", "reasoning", "cues")}
    return row | {"transcript": text, **found, "quotes": quotes, "no_speech": answer.get("no_speech")}


def _words(heard: dict[str, Any]) -> str:
    """A transcript; nothing of a clip in which the pipeline finds no speech, of which its text says so."""
    return "" if heard.get("no_speech") else heard["generated_text"]


def _load(model: Any) -> Any:
    if not isinstance(model, (str, Path)):
        return model
    task: Any = "audio-emotion-reasoning"  # a name of ours, which transformers' overloads lack
    return pipeline(task, model=str(model), pipeline_class=AudioEmotionReasoningPipeline)


def _batches(segments: Iterator[Segment], size: int) -> Iterator[list[Segment]]:
    while batch := list(islice(segments, size)):
        yield batch


def _state(audio: Any) -> Any:
    """What tells a file from another one of its name, without reading it all."""
    if not isinstance(audio, (str, Path)) or not os.path.isfile(audio):
        return str(audio) if isinstance(audio, str) else type(audio).__name__
    found = os.stat(audio)
    return [os.path.basename(audio), found.st_size, found.st_mtime_ns]


__all__ = ["Heard", "ListenError", "listen"]
