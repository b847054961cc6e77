"""What a reader is, and what is done for all of them: rows of the schema from utterances, checks, questions."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from .clips import Clip, ClipStore
from .dialogue import Turn, anonymous, context_turns
from .labels import SENTIMENTS, find_label, itself, label_answer
from .questions import draw_number, draw_question
from .rejects import MAX_FIELD, BadRow, CorpusError, Reject


logger = logging.getLogger(__name__)


SPLITS = ("train", "validation", "test")
AUDIO_KINDS = (
    *(".wav", ".flac", ".ogg", ".mp3", ".opus", ".wave", ".oga", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"),
    *(".w64", ".rf64", ".sph"),
)
FILM_KINDS = (
    *(".mp4", ".m4a", ".m4v", ".mov", ".webm", ".weba", ".mkv", ".mka", ".avi", ".aac", ".wma", ".amr", ".3gp"),
)
HEADERLESS = (".raw", ".pcm", ".vox", ".al", ".ul")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Utterance:
    """A clip and what a corpus says about it; each task it serves becomes a row.

    Args:
        where: file and line.
        name: unique within the corpus; rows are called `{corpus}-{name}-{task}`.
        audio: path relative to the corpus, or a [`Clip`].
        transcript: what is said; gives speech recognition.
        emotion, sentiment: in the corpus' own words; give emotion and sentiment recognition.
        question, answer: of spoken question answering, or of `task`, which then brings its own question.
        task: the one task this serves; all that it has fields for when left out.
        speaker, dialogue: unique within the corpus.
        before: past turns of its dialogue, oldest first, as [`past_turns`] gives them; for rows with context.
        speaks_as: who of those turns' speakers speaks, if it is not `speaker`.
        subset: part of the corpus that is counted on its own.
        looked_in: folders in which its clip was looked for, where that is more than its path says.
    """

    where: str
    name: str
    audio: str | Clip | None
    transcript: str | None = None
    emotion: str | None = None
    sentiment: str | None = None
    question: str | None = None
    answer: str | None = None
    task: str | None = None
    speaker: str | None = None
    dialogue: str | None = None
    before: tuple[Turn, ...] = ()
    speaks_as: str | None = None
    subset: str | None = None
    looked_in: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """Row counts that were published.

    Args:
        source: who says so.
        split: of the corpus; `None` for all splits together.
        task: of the rows counted.
        counts: rows per label; or `{None: rows}` where there are no labels, or only the total is known.
        subset: part of the corpus counted.
        note: what is known about differences.
    """

    source: str
    split: str | None
    task: str
    counts: Mapping[str | None, int]
    subset: str | None = None
    note: str = ""

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def _as_text(name: str, value: Any) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise CorpusError(f"option {name} is {value!r}; it must be text or a number.")
    return str(value)


@dataclass(frozen=True)
class Request:
    """What is to be read.

    Args:
        root: folder (or file, or name on the Hub) of the corpus.
        split: `train`, `validation` or `test`, or one of the reader's own.
        tasks: those wanted; the reader's usual ones when empty.
        seed: of questions and of splits that are drawn.
        style, label_list: of questions, see [`draw_question`].
        work: folder for audio that has to be written (from Hub tables, from pieces); none may be written without it.
        check_audio: whether every clip must be there and be audio; without, rows name the path where it would be.
        options: of the reader, as text; numbers, as YAML has them, become text.

    Raises:
        CorpusError: for an option that is neither.
    """

    root: Path
    split: str
    tasks: tuple[str, ...] = ()
    seed: int = 0
    style: str = "plain"
    label_list: str = "never"
    work: Path | None = None
    check_audio: bool = True
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "options", {name: _as_text(name, value) for name, value in self.options.items()})

    @overload
    def option(self, name: str, default: str) -> str: ...

    @overload
    def option(self, name: str, default: None = None) -> str | None: ...

    def option(self, name: str, default: str | None = None) -> str | None:
        return self.options.get(name, default)

    @property
    def clip_root(self) -> Path:
        """Folder that audio paths start from and may not leave."""
        named = self.option("clips")
        return Path(named) if named else self.root.parent if self.root.is_file() else self.root


@dataclass(frozen=True)
class Reader:
    """A corpus that can be read.

    Args:
        name: as configurations and rows call it.
        title: of the corpus, with its reference.
        layout: what the folder must look like.
        utterances: gives what a split holds, as [`Utterance`] or [`Reject`].
        tasks: it can serve.
        usual: tasks that every utterance must serve when none are named; when empty, each serves what it has.
        splits: it has.
        emotions, sentiments: its labels, to those of our vocabulary; empty takes any.
        excluded: labels that are no label, with the reason.
        published: counts to compare with.
        licence: of the corpus, in short.
        language: code of the language spoken.
        options: names and meanings.
    """

    name: str
    title: str
    layout: str
    utterances: Callable[[Request], Iterator[Utterance | Reject]]
    tasks: tuple[str, ...]
    usual: tuple[str, ...] = ()
    splits: tuple[str, ...] = SPLITS
    emotions: Mapping[str, str] = field(default_factory=dict)
    sentiments: Mapping[str, str] = field(default_factory=lambda: itself(SENTIMENTS))
    excluded: Mapping[str, str] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    licence: str = ""
    language: str = "en"
    options: Mapping[str, str] = field(default_factory=dict)

    def labels(self, task: str) -> tuple[str, ...]:
        """Our labels for a task."""
        known = {"er": self.emotions, "sr": self.sentiments}.get(task, {})
        return tuple(dict.fromkeys(known.values()))

    def read(self, request: Request) -> Iterator[dict[str, Any] | Reject]:
        """Rows of the schema, and what had to be set aside, one at a time.

        Raises:
            CorpusError: for an unknown task, split or option.
        """
        return (item for _, item in self.located(request))

    def located(self, request: Request) -> Iterator[tuple[str, dict[str, Any] | Reject]]:
        """As [`read`], each with its file and line."""
        self._check(request)
        labels = request.option("labels")
        if labels and "labels" in self.options:
            named = tuple(label.strip() for label in labels.split(",") if label.strip())
            chosen = {} if labels.strip() == "any" else itself(named)
            reader, options = replace(self, emotions=chosen), {**request.options}
            del options["labels"]
            yield from reader.located(replace(request, options=options))
            return
        name = request.option("corpus", self.name)
        wanted = request.tasks or self.usual or self.tasks
        clips = ClipStore(request.clip_root, request.work, request.check_audio)
        unasked = 0
        for item in self.utterances(request):
            known = {"corpus": name, "split": request.split}
            if isinstance(item, Reject):
                item = Reject(**{**asdict(item), **{key: getattr(item, key) or known[key] for key in known}})
                yield item.where, item
                continue
            unasked += bool(str(item.question or "").strip()) and item.task is None and "sqa" not in wanted
            try:
                for row in self._rows(item, request, name, wanted, clips):
                    yield item.where, row
            except BadRow as error:
                yield item.where, error.at(item.where, **known)
        if unasked:
            other = f"; `--option task={wanted[0]}` makes it that of {wanted[0]}" if "task" in self.options else ""
            told = "%s: the question of %d rows is not asked, as sqa is not among the tasks%s."
            logger.warning(told, name, unasked, other)

    def _check(self, request: Request):
        if request.split not in self.splits:
            raise CorpusError(f"{self.name} has no split {request.split!r}; it has {', '.join(self.splits)}.")
        for task in request.tasks:
            if task not in self.tasks:
                raise CorpusError(f"{self.name} does not serve {task!r}; it serves {', '.join(self.tasks)}.")
        for option in request.options:
            if option != "corpus" and option not in self.options:
                known = ", ".join(("corpus", *self.options))
                raise CorpusError(f"{self.name} has no option {option!r}; it has {known}.")

    def _rows(
        self, item: Utterance, request: Request, name: str, wanted: tuple[str, ...], clips: ClipStore
    ) -> Iterator[dict[str, Any] | Reject]:
        served = served_tasks(item)
        tasks = [task for task in served if task in wanted]
        yield from self._lacking(item, request, name, served)
        labels = {"er": (item.emotion, self.emotions), "sr": (item.sentiment, self.sentiments)}
        clip, problem = None, None
        try:
            checked = {key: clean_text(key, getattr(item, key)) for key in TEXTS}
            if tasks:
                clip = clips.locate(item.audio, f"{name}-{item.name}")
        except BadRow as error:
            problem = error
            if item.looked_in and "no such file" in error.reason:
                problem = BadRow(error.field, f"{error.reason} Looked for in {', '.join(item.looked_in)}.")
        for task in tasks:
            known: dict[str, str | None] = {"corpus": name, "split": request.split, "task": task}
            try:
                label = self._label(task, *labels[task]) if task in labels else None
                known["label"] = label
                if problem:
                    raise problem
                yield self._row(item, request, name, task, label, checked, clip)
            except BadRow as error:
                yield error.at(item.where, **known)

    def _lacking(self, item: Utterance, request: Request, name: str, served: list[str]) -> Iterator[Reject]:
        """What an utterance must serve and does not."""
        demanded = () if item.task else request.tasks or self.usual
        for task in demanded:
            if task not in served:
                yield Reject(item.where, NEEDS[task], "is missing.", name, request.split, task)
        if not (served or demanded):
            yield Reject(item.where, None, f"has none of {', '.join(NEEDS.values())}.", name, request.split)

    def _label(self, task: str, word: str | None, known: Mapping[str, str]) -> str:
        field = "emotion" if task == "er" else "sentiment"
        word = clean_text(field, word)
        if not word:
            raise BadRow(field, "is missing.")
        if word in self.excluded:
            raise BadRow(field, self.excluded[word])
        label = find_label(word, known)
        if label is None:
            raise BadRow(field, f"label {word[:60]!r} is unknown; the label set is {', '.join(known)}.")
        return label

    def _row(
        self,
        item: Utterance,
        request: Request,
        name: str,
        task: str,
        label: str | None,
        text: dict[str, str | None],
        clip: tuple[str, float | None],
    ) -> dict[str, Any]:
        row_id = f"{name}-{item.name}-{task}"
        # A question about what is said is not one about the words or the feeling, which the same clip serves too.
        own = text["question"] is not None and (task == "sqa" or item.task is not None)
        question = text["question"] if own else None
        if task == "sqa" and not question:
            raise BadRow("question", "is missing.")
        if not question:
            labels = self.labels(task)
            question = draw_question(task, row_id, request.seed, request.style, labels, request.label_list)
        answer = text["answer"] if own else label_answer(label, task) if label else text["transcript"]
        if not answer:
            raise BadRow("answer" if own else "transcript", "is missing.")
        row = {
            "id": row_id,
            "corpus": name,
            "split": request.split,
            "task": task,
            "audio": clip[0],
            "transcript": text["transcript"],
            "label": label,
            "question": question,
            "answer": answer,
            "target": "label" if label and not own else None,
            "speaker": text["speaker"],
            "seconds": clip[1],
        }
        published = {"er": item.emotion, "sr": item.sentiment}.get(task)
        extra = {"dialogue": text["dialogue"], "subset": item.subset, "label_published": published}
        if item.before or context_turns(request.options) is not None:
            extra["context"], extra["context_speaker"] = anonymous(item.before, item.speaks_as or item.speaker)
        return row | {key: value for key, value in extra.items() if value is not None}


TEXTS = ("transcript", "question", "answer", "speaker", "dialogue")
NEEDS = {"asr": "transcript", "er": "emotion", "sr": "sentiment", "sqa": "question"}  # the field that gives a task


def served_tasks(item: Utterance) -> list[str]:
    """Tasks that an utterance has the fields for."""
    if item.task is not None:
        return [item.task]
    return [task for task, field in NEEDS.items() if getattr(item, field) is not None]


def clean_text(field: str, value: Any) -> str | None:
    """A text field without outer white space; `None` for an absent one.

    Raises:
        BadRow: if it is no text, is huge, or holds characters that no text has.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadRow(field, f"must be text; it is {type(value).__name__}.")
    if len(value) > MAX_FIELD:
        raise BadRow(field, f"is longer than {MAX_FIELD:,} characters ({len(value):,}).")
    if _CONTROL.search(value):
        raise BadRow(field, "holds control characters or half of a character pair.")
    return value.strip()


def drawn_share(names: list[str], share: float, seed: int) -> set[str]:
    """A seeded share of names, rounded, at least one and (of several) never all; the same whatever their order."""
    ordered = sorted(names, key=lambda name: draw_number(f"split|{seed}|{name}"))
    return set(ordered[: max(1, min(round(share * len(ordered)), len(ordered) - 1))])


def text_lines(path: Path) -> Iterator[tuple[str, str] | Reject]:
    """Lines of a text file with `where`; those that are not UTF-8 are set aside."""
    if not path.is_file():
        yield Reject(str(path), None, "no such file.")
        return
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name}, line {number}"
            if _CONTROL.search(line):
                yield Reject(where, None, "bytes that are not UTF-8, or control characters.")
            elif line.strip():
                yield where, line.rstrip("\n")


def visible(paths: Iterator[Path]) -> list[Path]:
    """Paths in order, without the `._` twins that macOS leaves in archives."""
    return sorted(path for path in paths if not path.name.startswith("."))


def corpus_folder(root: Path, *marks: str) -> Path:
    """The corpus' own folder: that one, or the first below it (by up to three levels) that holds a mark.

    Args:
        root: the folder that was given; archives unpack into folders of their own, some of them twice.
        marks: patterns of paths inside the corpus' own folder, any of which tells it.
    """
    level = [root]
    for _ in range(4):
        for folder in level:
            if any(next(folder.glob(mark), None) for mark in marks):
                return folder
        level = [path for folder in level for path in visible(folder.iterdir()) if path.is_dir()]
    return root


def as_posix(path: Path, root: Path) -> str:
    """A path below root, as rows write it."""
    return Path(os.path.relpath(path, root)).as_posix()
