# This file travels to the Hub with the processor: standard library only, no import of ours.
"""What was said before a recording, as it stands in front of a question: the one place that knows the form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


FIELDS = ("speaker", "text")
HEADING = "Said before the recording, oldest first:"
_END = "\n\n"  # turns are one line each, so that only the form ends a paragraph


class ContextError(ValueError):
    """A context of another form than `[{"speaker": "A", "text": "..."}]`; says which turn and what is wrong."""


def in_context(question: str, context: Sequence[Mapping[str, Any]] | None = None, speaker: str | None = None) -> str:
    """A question with what was said before the recording it is about.

    The form, which training, evaluation, pipeline and servers share:

        Said before the recording, oldest first:
        A: What did you do?
        B: Nothing.
        The recording is of A.

        How does the speaker feel?

    Turns without words are left out, white space becomes single spaces. Without turns the question is left as it is.

    Args:
        question: about the recording.
        context: turns `{"speaker", "text"}` before it, oldest first.
        speaker: who speaks in the recording, as the turns name them; left out where it is not known.

    Raises:
        ContextError: for a context of another form.
    """
    turns = [(_line(turn["speaker"] or "?"), _line(turn["text"] or "")) for turn in read_turns(context)]
    lines = [f"{name}: {text}" for name, text in turns if text]
    if not lines:
        return question
    own = [f"The recording is of {_line(speaker)}."] if speaker else []
    return "\n".join([HEADING, *lines, *own]) + _END + question


def asked(row: Mapping[str, Any]) -> str:
    """What a row of the schema asks: its question, in its context."""
    return in_context(row["question"], row.get("context"), row.get("context_speaker"))


def last_turns(row: Mapping[str, Any], most: int) -> dict[str, Any]:
    """A row of the schema with at most the last `most` turns of its context."""
    context = row.get("context")
    return {**row, "context": context[max(len(context) - most, 0) :]} if context else {**row}


def bare_question(text: str) -> str:
    """The question of a text that [`in_context`] made; any other text as it is."""
    return text.partition(_END)[2] if text.startswith(HEADING + "\n") else text


def said_before(text: str) -> str:
    """The turns within a text that [`in_context`] made, or a prompt with one; nothing of any other."""
    return text.partition(HEADING + "\n")[2].partition(_END)[0]


def read_turns(context: Any) -> list[dict[str, str | None]]:
    """Turns as `{"speaker": str or None, "text": str}`, checked.

    Raises:
        ContextError: for another form.
    """
    if context is None:
        return []
    if isinstance(context, (str, bytes, Mapping)) or not isinstance(context, Sequence):
        raise ContextError(
            f'context must be a list of turns, {{"speaker": "A", "text": "..."}}, oldest first; got {context!r:.100}.'
        )
    return [_turn(turn, number) for number, turn in enumerate(context, 1)]


def _turn(turn: Any, number: int) -> dict[str, str | None]:
    if not isinstance(turn, Mapping) or "text" not in turn:
        raise ContextError(f'context, turn {number}: must be {{"speaker": "A", "text": "..."}}; got {turn!r:.100}.')
    strange = [str(key) for key in turn if key not in FIELDS and turn[key] is not None]
    if strange:
        raise ContextError(
            f"context, turn {number}: field {strange[0][:40]!r} is not used; turns have speaker and text."
        )
    speaker, text = turn.get("speaker"), turn["text"]
    if not isinstance(text, str):
        raise ContextError(f"context, turn {number}: field 'text' must be text; got {text!r:.100}.")
    if not isinstance(speaker, str | None):
        raise ContextError(f"context, turn {number}: field 'speaker' must be text or null; got {speaker!r:.100}.")
    return {"speaker": speaker, "text": text}


def _line(text: str) -> str:
    return " ".join(text.split())


__all__ = ["ContextError", "asked", "bare_question", "in_context", "last_turns", "read_turns"]
