"""The questions put to a teacher, kept as versioned data (prompts_v1.yaml)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from ..language_models import Messages
from .checks import CONTEXT_FAULTS, FAULTS, LANGUAGES, Fault, one_line


DEFAULT_PROMPTS = Path(__file__).with_name("prompts_v1.yaml")
CONTEXT_PROMPTS = Path(__file__).with_name("context_v1.yaml")
# Angle brackets open the fence and most chat templates' special tokens; these look alike and do neither.
_HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a"})


class PromptError(ValueError):
    """A prompt file that lacks something; names the file and the field."""


@dataclass(frozen=True)
class Prompts:
    """A prompt file, checked.

    Args:
        version: its name for itself.
        digest: of the file's content; two files of one version differ in it.
        language: of the explanations.
        turns: so many earlier turns of a row the teacher is told, at most.
    """

    version: str
    digest: str
    language: str
    _data: dict[str, Any]
    turns: int = 0

    def told(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The earlier turns of a row that the teacher is told."""
        turns = [turn for turn in row.get("context") or () if turn["text"].strip()]
        return turns[-self.turns :] if self.turns else []

    def messages(
        self,
        target: str,
        task: str,
        label: str,
        transcript: str,
        faults: Sequence[Fault] = (),
        context: Sequence[Mapping[str, Any]] = (),
    ) -> Messages:
        """The chat that asks for a target.

        Args:
            target: `interpretive` or `evidence`.
            task: `er` or `sr`.
            label: to be explained.
            transcript: what was said; it is fenced and can't close its fence.
            faults: of the last answer, when it is asked again.
            context: earlier turns, as [`told`] gives them; fenced too.
        """
        kind = self._data["targets"][target][task]
        messages: Messages = []
        for example in kind.get("examples", ()):
            messages.append({"role": "user", "content": self._row(task, example["label"], example["transcript"])})
            messages.append({"role": "assistant", "content": example["answer"]})
        content = self._earlier(context) + self._row(task, label, transcript)
        if faults:
            content += f"\n{self._again(label, faults)}"
        messages.append({"role": "user", "content": content})
        # Not a turn of its own: Gemma's chat template has no system role.
        messages[0]["content"] = f"{self._data['about']}\n\n{kind['ask']}\n\n{messages[0]['content']}"
        return messages

    def words(self, target: str, task: str) -> tuple[int, int]:
        """Least and most words of a target."""
        least, most = self._data["targets"][target][task]["words"]
        return least, most

    def examples(self, target: str, task: str) -> tuple[str, ...]:
        """Answers that the teacher is shown, which it must not copy."""
        return tuple(example["answer"] for example in self._data["targets"][target][task].get("examples", ()))

    def question(self, target: str, task: str, row_id: str, seed: int) -> str:
        """The question that the new row asks; the same for the same row and seed, on every machine."""
        pool = self._data["questions"][target][task]
        digest = hashlib.sha256(f"{seed}|{target}|{task}|{row_id}".encode()).digest()
        return pool[int.from_bytes(digest[:8], "big") % len(pool)]

    def _earlier(self, context: Sequence[Mapping[str, Any]]) -> str:
        lines = [f"{fenced(turn['speaker'] or '?')}: {fenced(turn['text'])}" for turn in context]
        return Template(self._data["earlier"]).substitute(earlier="\n".join(lines)) + "\n" if lines else ""

    def _row(self, task: str, label: str, transcript: str) -> str:
        return Template(self._data["row"]).substitute(
            kind=self._data["kinds"][task],
            label=fenced(label),
            transcript=fenced(transcript) or self._data["silence"],
        )

    def _again(self, label: str, faults: Sequence[Fault]) -> str:
        hints = (Template(self._data["hints"][code]).substitute(label=fenced(label)) for code in _codes(faults))
        return Template(self._data["again"]).substitute(faults=" ".join(hints))


def fenced(text: str) -> str:
    """A text from data in one line and without angle brackets."""
    return one_line(text.translate(_HARMLESS))


def read_prompts(path: str | Path | None = None, turns: int = 0) -> Prompts:
    """Read a prompt file; the package's own when left out.

    Args:
        path: of the file.
        turns: of its context, so many are told with each row, at most, as `context_v1.yaml` says.

    Raises:
        PromptError: if it lacks a field.
    """
    path = Path(path or DEFAULT_PROMPTS)
    if not path.is_file():
        raise PromptError(f"{path}: no such prompt file.")
    content = path.read_bytes()
    try:
        data = yaml.safe_load(content)
        digest = hashlib.sha256(content).hexdigest()[:12]
        prompts = Prompts(str(data["version"]), digest, data.get("language", "en"), data)
        prompts = _with_context(prompts, turns) if turns else prompts
        for target, tasks in data["targets"].items():
            for task in tasks:
                codes = FAULTS + (CONTEXT_FAULTS if turns else ())
                prompts.messages(target, task, "x", "x", [Fault(code) for code in codes])
                least, most = prompts.words(target, task)
                prompts.question(target, task, "x", 0)
    except KeyError as error:
        raise PromptError(f"{path}: field {error} is missing; compare it with {DEFAULT_PROMPTS.name}.") from error
    except (yaml.YAMLError, TypeError, ValueError, AttributeError) as error:
        raise PromptError(f"{path}: {one_line(str(error))}; compare it with {DEFAULT_PROMPTS.name}.") from error
    if prompts.language not in LANGUAGES:
        raise PromptError(f"{path}: language {prompts.language!r} is not one of {', '.join(LANGUAGES)}.")
    return prompts


def _with_context(prompts: Prompts, turns: int) -> Prompts:
    content = CONTEXT_PROMPTS.read_bytes()
    more, data = yaml.safe_load(content), dict(prompts._data)
    data |= {"about": f"{data['about']} {more['about']}", "earlier": more["row"]}
    data["hints"] = {**more["hints"], **data["hints"]}
    version, digest = f"{prompts.version}+{more['version']}", hashlib.sha256(content).hexdigest()[:12]
    return Prompts(f"{version}, {turns} turns", f"{prompts.digest}+{digest}", prompts.language, data, turns)


def _codes(faults: Sequence[Fault]) -> list[str]:
    return list(dict.fromkeys(fault.code for fault in faults))
