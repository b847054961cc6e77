"""Extraction of reasons: every row's targets asked of a teacher, checked, asked again, and written as rows.

A folder holds one extraction. `attempts.jsonl` is its journal, a line for every answer as it arrives; what has been
accepted, refused or set aside is read from it alone, so that a job killed at any moment goes on without losing or
repeating an answer. The rows and the rejects are written from it at the end of a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..corpora.labels import label_answer
from ..corpora.places import ClipPlaces, note_places
from ..files import naming_a_full_disk, replacing, write_whole
from ..language_models import LanguageModel, Messages, Reply
from ..language_models.journal import Journal, read_journal_at
from ..locks import folder_lock
from ..modeling_audiollm.evidence import normalised_words
from .checks import Demand, Fault, clean_answer, find_faults, one_line, without_quotes
from .prompts import Prompts
from .rows import TEACHER_TARGETS, Input, Job, Survey, Unfit, explainable, job_key


ATTEMPTS, SETTINGS, REJECTS = "attempts.jsonl", "settings.json", "rejects.jsonl"
# So many requests that fail in a row mean that the teacher is gone; asking on would only fill the log.
FAILURES_IN_A_ROW = 32
PASSES = 2

ACCEPTED, REFUSED, ERROR, REOPENED, ASIDE = "accepted", "refused", "error", "reopened", "aside"
# What a job has come to, as reports say it.
OUTCOMES = ("at once", "again", "aside", "failed", "open")
STATES = (ACCEPTED, REFUSED, ERROR, REOPENED, ASIDE)


class ExtractionError(ValueError):
    """An extraction that cannot go on; says what to do."""


class Status(NamedTuple):
    """What is remembered of a job: its state, how often it was answered, since when it is open, its journal line."""

    state: str
    asked: int
    since: int
    offset: int


@dataclass(frozen=True)
class Settings:
    """What may not change within a folder, because answers would no longer be of one kind.

    Args:
        teacher: name of the language model.
        prompts: version and digest of the prompt file.
        seed: of the first attempt; each further one adds one.
        temperature: of the teacher's sampling.
        max_new_tokens: longest answer.
    """

    teacher: str
    prompts: str
    seed: int = 0
    temperature: float = 0.0
    max_new_tokens: int = 128


class Answers:
    """What a folder's journal says, with only each job's [`Status`] in memory; it may be read while it is written."""

    def __init__(self, folder: Path):
        self.path = folder / ATTEMPTS
        if not self.path.is_file():
            raise ExtractionError(f"{folder}: holds no {ATTEMPTS}; extract into it first.")
        self.statuses = {entry["id"]: _status(entry, offset) for offset, entry in read_journal_at(self.path)}
        self._file = self.path.open("rb")

    def status(self, key: str) -> Status | None:
        return self.statuses.get(key)

    def _read(self, offset: int) -> dict[str, Any]:
        self._file.seek(offset)
        return json.loads(self._file.readline())

    def entry(self, key: str) -> dict[str, Any] | None:
        """The last line about a job."""
        status = self.status(key)
        return None if status is None else self._read(status.offset)

    def is_open(self, key: str, attempts: int) -> bool:
        """Whether a job has neither an answer nor used up its attempts."""
        status = self.status(key)
        return status is None or (status.state not in (ACCEPTED, ASIDE) and status.asked - status.since < attempts)

    def any_open(self, asked: int, attempts: int) -> bool:
        """Whether a job that was answered so many times is open."""
        return any(status.asked == asked and self.is_open(key, attempts) for key, status in self.statuses.items())

    def asked(self, key: str) -> int:
        status = self.status(key)
        return 0 if status is None else status.asked


class Attempts(Answers):
    """The journal of a folder, to be written by the one process that holds the folder."""

    def __init__(self, folder: Path):
        self.most_asked = 0
        self._explanations: Counter = Counter()
        self.journal = Journal(folder / ATTEMPTS, keep=self._keep)
        self.statuses = self.journal.entries

    def _keep(self, entry: dict[str, Any], offset: int) -> Status:
        self.most_asked = max(self.most_asked, entry["asked"])
        if entry["state"] == ACCEPTED:
            self._explanations[_explanation(entry["text"])] += 1
        return _status(entry, offset)

    def _read(self, offset: int) -> dict[str, Any]:
        return self.journal.read(offset)

    def alike(self, text: str) -> int:
        """How many answers were accepted that say the same outside their quotes."""
        return self._explanations[_explanation(text)]


def _explanation(text: str) -> int:
    words = " ".join(normalised_words(without_quotes(text)))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:7])


def _status(entry: dict[str, Any], offset: int) -> Status:
    # The five states are one object each: millions of statuses share them.
    return Status(STATES[STATES.index(entry["state"])], entry["asked"], entry.get("since", 0), offset)


@dataclass
class Report:
    """What became of the jobs of an input, per target: accepted, asked again, set aside, failed, still open.

    Of lines that make no job, `unfit` cannot be read or explained, and `left_out` ask for nothing, by reason.
    `unwanted` are the answers of an earlier run with targets that this one was not asked for.
    """

    counts: dict[str, Counter]
    unfit: int
    left_out: Counter
    files: list[Path]
    unwanted: Counter

    @property
    def unfinished(self) -> int:
        return sum(count["failed"] + count["open"] for count in self.counts.values())

    def text(self) -> str:
        """The report as a table for the terminal."""
        lines = [f"{'target':<14}{'rows':>9}{'accepted':>10}" + "".join(f"{name:>9}" for name in OUTCOMES)]
        for target, count in self.counts.items():
            rows, accepted = sum(count.values()), count["at once"] + count["again"]
            share = f"{100 * accepted / rows:.1f}%" if rows else "none"
            lines.append(f"{target:<14}{rows:>9}{share:>10}" + "".join(f"{count[name]:>9}" for name in OUTCOMES))
        lines.append(f"{self.unfit} unfit lines; see {REJECTS}.")
        lines += [f"left out: {count} {reason}" for reason, count in sorted(self.left_out.items())]
        lines += [
            f"left out: {count} answers of an earlier run with the target {target}, which this one was not asked for; "
            f"they stay in {ATTEMPTS}"
            for target, count in sorted(self.unwanted.items())
        ]
        return "\n".join([*lines, *(f"wrote {file}" for file in self.files)])


class Extraction:
    """A folder of reasons in the making.

    Use as a context manager: only one process may work on a folder.

    Args:
        source: rows to explain.
        out: folder of the journal and the results.
        teacher: language model to ask; `None` for the target `label` alone.
        prompts: what it is asked.
        targets: of `label`, `interpretive` and `evidence`; `label` needs no teacher.
        attempts: answers per target before it is set aside.
        seed: of the questions and of the teacher's first attempt.
        temperature, max_new_tokens: as the teacher was told, for the record.
        alike: one explanation is accepted at most so often, for a weak teacher says the same of everything; 0 sets no
            limit.

    Raises:
        FolderInUseError: if another process is at work in the folder.
        ExtractionError: if the folder holds answers of another teacher or other prompts, or the source.
    """

    def __init__(
        self,
        source: Input,
        out: str | Path,
        teacher: LanguageModel | None,
        prompts: Prompts,
        targets: Sequence[str] = ("label", *TEACHER_TARGETS),
        attempts: int = 3,
        seed: int = 0,
        temperature: float = 0.0,
        max_new_tokens: int = 128,
        alike: int = 3,
    ):
        self.alike = alike
        self.source, self.out, self.teacher, self.prompts = source, Path(out), teacher, prompts
        self.targets, self.max_attempts = tuple(targets), attempts
        if teacher is None and set(self.targets) & set(TEACHER_TARGETS):
            raise ExtractionError("say who is to be asked: --teacher server:MODEL@URL, or a checkpoint folder.")
        name = teacher.name if teacher else ""
        self.settings = Settings(name, f"{prompts.version} {prompts.digest}", seed, temperature, max_new_tokens)
        if inside := [str(file) for file in source.files if self.out.resolve() in file.resolve().parents]:
            raise ExtractionError(
                f"{', '.join(inside)}: lies in the output folder {out}; choose another for the output."
            )
        self._stack = ExitStack()

    def __enter__(self) -> Extraction:
        self._stack.enter_context(folder_lock(self.out, "run of extract"))
        try:
            note_places(self.out, ClipPlaces(self.source.files).roots)
            if self.teacher is not None:
                pin_settings(self.out, self.settings)
            self.attempts = Attempts(self.out)
            self._stack.enter_context(self.attempts.journal)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error):
        self._stack.close()

    def run(self, progress: Callable[[Job, str], None] = lambda job, state: None) -> Report:
        """Ask what is open, then write rows and rejects.

        Args:
            progress: told of every job and the state it is left in.

        Raises:
            ExtractionError: if the teacher fails again and again; what it answered before is kept and written.
        """
        survey = self.source.survey()
        with naming_a_full_disk(self.out):
            try:
                self._ask_all(survey, progress)
            finally:
                report = self.write(survey)
        return report

    def _ask_all(self, survey: Survey, progress: Callable[[Job, str], None]):
        tasks = [task for task in ("er", "sr") if survey.labels(task)]
        kinds = [(target, task) for target in TEACHER_TARGETS if target in self.targets for task in tasks]
        asked = 0
        while asked < self.max_attempts or asked <= self.attempts.most_asked:
            # Kind by kind: all prompts of one begin with the same words, which caches of prefixes need.
            for kind in kinds if asked == 0 or self.attempts.any_open(asked, self.max_attempts) else ():
                for _ in range(PASSES):
                    if not self._pass(kind, asked, survey, progress):
                        break
            asked += 1

    def _pass(self, kind: tuple[str, str], asked: int, survey: Survey, progress: Callable[[Job, str], None]) -> int:
        """Ask every open job of a kind that was answered so many times; returns how many failed."""
        assert self.teacher is not None  # or there were no kinds to ask
        waiting: dict[int, Job] = {}

        def requests() -> Iterator[Messages]:
            due = (job for job in self.source.jobs([kind[0]]) if job.kind == kind and self._due(job, asked))
            for number, job in enumerate(due):
                waiting[number] = job
                yield self._messages(job)

        failures = in_a_row = 0
        for number, reply in self.teacher.ask(requests(), seed=self.settings.seed + asked):
            job = waiting.pop(number)
            state = self._record(job, reply, survey)
            progress(job, state)
            failures += state == ERROR
            in_a_row = in_a_row + 1 if state == ERROR else 0
            if in_a_row >= FAILURES_IN_A_ROW:
                raise ExtractionError(
                    f"{self.teacher.name} failed {in_a_row} times in a row, last with: {reply.error} "
                    "Mend it and give the same command again; nothing is lost."
                )
        return failures

    def _due(self, job: Job, asked: int) -> bool:
        return self.attempts.asked(job.key) == asked and self.attempts.is_open(job.key, self.max_attempts)

    def _messages(self, job: Job) -> Messages:
        entry = self.attempts.entry(job.key) or {}
        faults = [Fault(**fault) for fault in (entry.get("faults") or [[]])[-1]]
        row, told = job.row, self.prompts.told(job.row)
        return self.prompts.messages(job.target, row["task"], row["label"], row["transcript"], faults, told)

    def _record(self, job: Job, reply: Reply, survey: Survey) -> str:
        status, before = self.attempts.status(job.key), self.attempts.entry(job.key) or {}
        asked = status.asked if status else 0
        entry: dict[str, Any] = {"id": job.key, "row": job.row["id"], "target": job.target}
        entry |= {"task": job.row["task"], "label": job.row["label"], "since": status.since if status else 0}
        faults, turned_down = before.get("faults", []), before.get("turned_down", [])
        if turned_down:
            entry["turned_down"] = turned_down
        if reply.text is None:
            entry |= {"state": ERROR, "asked": asked, "error": one_line(reply.error or ""), "faults": faults}
        else:
            text = clean_answer(reply.text)
            found = find_faults(text, self.demand(job, survey))
            if self.alike and self.attempts.alike(text) >= self.alike:
                found.append(Fault("generic", f"said of {self.attempts.alike(text)} others"))
            if one_line(text) in turned_down:
                found.append(Fault("reviewer", "the same answer again"))
            entry |= {"state": REFUSED if found else ACCEPTED, "asked": asked + 1, "text": one_line(text)}
            entry["faults"] = [*faults, [asdict(fault) for fault in found]] if found else faults
            entry["provenance"] = self._provenance(asked)
            entry |= {"prompt_tokens": reply.prompt_tokens, "new_tokens": reply.new_tokens}
        entry["time"] = round(time.time(), 1)
        self.attempts.journal.append(entry)
        return entry["state"]

    def demand(self, job: Job, survey: Survey) -> Demand:
        """What an answer to a job must do."""
        row, task = job.row, job.row["task"]
        words = self.prompts.words(job.target, task)
        labels, language = survey.labels(task), self.prompts.language
        examples = self.prompts.examples(job.target, task)
        told = tuple(turn["text"] for turn in self.prompts.told(row))
        return Demand(job.target, task, row["label"], row["transcript"], words, labels, examples, language, told)

    def _provenance(self, asked: int) -> dict[str, Any]:
        return {
            "teacher": self.settings.teacher,
            "prompts": self.settings.prompts,
            "seed": self.settings.seed + asked,
            "attempts": asked + 1,
        }

    def write(self, survey: Survey) -> Report:
        """Write rows, by split, and rejects from the journal; each file is replaced whole."""
        counts = {target: Counter() for target in self.targets}
        unfit, unwanted = 0, Counter()
        with ExitStack() as stack:
            names = {split: f"{split or 'rows'}.jsonl" for split in survey.splits}
            files = {split: _Lines(stack.enter_context(_replacing(self.out / name))) for split, name in names.items()}
            rejects = _Lines(stack.enter_context(_replacing(self.out / REJECTS)))
            for row in self.source:
                if isinstance(row, Unfit):
                    unfit += 1
                    rejects.write({"id": row.id, "where": row.where, "target": None, "reasons": [row.reason]})
                    continue
                for target in self.targets:
                    outcome, result = self._result(row, target)
                    counts[target][outcome] += 1
                    (files[row["split"]] if outcome in ("at once", "again") else rejects).write(result)
                for target in set(TEACHER_TARGETS) - set(self.targets):
                    entry = self.attempts.entry(job_key(row, target))
                    unwanted[target] += entry is not None and entry["state"] == ACCEPTED
        files = [*(self.out / f"{split or 'rows'}.jsonl" for split in survey.splits), self.out / REJECTS]
        return Report(counts, unfit, survey.left_out, files, +unwanted)

    def _result(self, row: dict[str, Any], target: str) -> tuple[str, dict[str, Any]]:
        """What became of a row's target, and the row or the reject it makes."""
        new = row | {"id": f"{row['id']}-{target}", "target": target}
        new["audio"] = os.path.relpath(row["audio"]["path"], self.out)
        if target == "label":
            answer = row["answer"] if row["target"] == "label" and row["answer"] else None
            return "at once", new | {"answer": answer or label_answer(row["label"], row["task"]), "provenance": None}
        reject = {"id": row["id"], "where": None, "target": target, "label": row["label"]}
        entry = self.attempts.entry(job_key(row, target))
        if entry is None:
            if not explainable(row):
                return "aside", reject | {"reasons": [f"label {row['label']!r} names nothing to explain."]}
            return "open", reject | {"reasons": ["not asked yet."]}
        if entry["state"] == ACCEPTED:
            question = self.prompts.question(target, row["task"], row["id"], self.settings.seed)
            answered = {"question": question, "answer": entry["text"], "provenance": entry["provenance"]}
            return ("at once" if entry["asked"] == 1 else "again"), new | answered
        reasons = [", ".join(describe_fault(fault) for fault in faults) for faults in entry["faults"]]
        if entry["state"] == ERROR:
            return "failed", reject | {"reasons": [*reasons, f"no answer: {entry['error']}"]}
        is_open = self.attempts.is_open(entry["id"], self.max_attempts)
        return ("open" if is_open else "aside"), reject | {"reasons": reasons, "text": entry.get("text")}


def describe_fault(fault: dict[str, str]) -> str:
    """A fault as the reject file says it: "quote not said (my cat)"."""
    name = fault["code"].replace("_", " ")
    return f"{name} ({fault['detail']})" if fault["detail"] else name


def _replacing(path: Path) -> AbstractContextManager[IO]:
    # Half of a character pair in a field that nobody reads must not stop a corpus: it becomes "?".
    return replacing(path, errors="replace")


class _Lines:
    """A JSON-lines file."""

    def __init__(self, file: IO):
        self.file = file

    def write(self, entry: dict[str, Any]):
        self.file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def pin_settings(folder: Path, settings: Settings):
    """Note a folder's settings, or compare with those noted before.

    Raises:
        ExtractionError: if they differ.
    """
    path = folder / SETTINGS
    if not path.exists():
        if (folder / ATTEMPTS).exists() and (folder / ATTEMPTS).stat().st_size:
            raise ExtractionError(f"{folder}: has answers but no {SETTINGS}; restore it or choose another folder.")
        write_whole(path, json.dumps(asdict(settings), indent=1) + "\n")
        return
    noted, now = json.loads(path.read_text(encoding="utf-8")), asdict(settings)
    changed = [f"{name} was {noted.get(name)!r} and is {now[name]!r}" for name in now if noted.get(name) != now[name]]
    if changed:
        raise ExtractionError(
            f"{folder}: holds answers made otherwise ({'; '.join(changed)}). Choose another output folder; "
            "answers that a reviewer accepted can be taken along with --marks."
        )
