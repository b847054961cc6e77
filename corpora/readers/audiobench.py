"""AudioBench's Hub datasets, flat and nested, and those in the same form: MNSC and CPQA.

Flat rows are `context` (audio), `instruction`, `answer`; nested ones `context.audio`, `instruction.text`,
`answer.text` (AudioLLMs/AudioBench, `dataset_src/iemocap_emotion_test.py` and `spoken_squad_test.py`). MNSC is
`MERaLiON/Multitask-National-Speech-Corpus-v1` with a folder for each task, part and split, as AudioBench loads it
(`data_dir="ASR-PART3-Test"`), flat by its card; CPQA is `MERaLiON/CPQA-Evaluation-Set`, a `save_to_disk` folder. We
have seen the files of neither and read both forms in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..clips import Clip
from ..hub_tables import clip_of, dataset_rows, open_dataset, usual_split
from ..labels import EMOTIONS, SENTIMENTS, SYNONYMS, itself, label_in_answer
from ..reader import SPLITS, Published, Reader, Request, Utterance, visible
from ..rejects import BadRow, CorpusError, Reject


TASK_WORDS = {
    "asr": "asr",
    "librispeech": "asr",
    "sentiment": "sr",
    "sr": "sr",
    "emotion": "er",
    "er": "er",
    "sqa": "sqa",
    "sqa5": "sqa",
    "qa": "sqa",
    "squad": "sqa",
    "listen": "sqa",
}
EMOTION_WORDS = {**itself(EMOTIONS), **SYNONYMS}
SENTIMENT_WORDS = itself(SENTIMENTS)


def _audiobench(request: Request) -> Iterator[Utterance | Reject]:
    task = request.option("task") or _task_of(request.root.name)
    if task is None:
        raise CorpusError(f"{request.root}: its name does not tell the task; give --option task=asr|sqa|er|sr.")
    config, said = request.option("config"), _split_of(request.root.name)
    if said and not open_dataset(request.root, config).divided:  # `meld_emotion_test`, saved in one piece
        if said == request.split:
            yield from _utterances(request, request.root, request.root.name, task, config, any_split=True)
        return
    yield from _utterances(request, request.root, request.root.name, task, config)


def _split_of(name: str) -> str | None:
    """The split that a name says."""
    return next((split for word in name.lower().split("_") if (split := usual_split(word)) in SPLITS), None)


def _task_of(name: str) -> str | None:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((TASK_WORDS[word] for word in words if word in TASK_WORDS), None)


def _utterances(
    request: Request,
    folder: Path,
    name: str,
    task: str,
    config: str | None = None,
    any_split: bool = False,
    subset: str | None = None,
) -> Iterator[Utterance | Reject]:
    rows = dataset_rows(folder, request.split, config, any_split)
    yield from _read_rows(rows, name, request.split, task, subset or name)


def _read_rows(
    rows: Iterator[dict[str, Any]], name: str, split: str, task: str, subset: str
) -> Iterator[Utterance | Reject]:
    for number, row in enumerate(rows):
        where = f"{name}, {split}, row {number}"
        try:
            yield _utterance(row, where, f"{subset}-{split}-{number:07d}", task, subset)
        except BadRow as error:
            yield error.at(where, task=task)


def _utterance(row: dict[str, Any], where: str, name: str, task: str, subset: str) -> Utterance:
    audio, question, answer = audiobench_row(row)
    words = {"er": EMOTION_WORDS, "sr": SENTIMENT_WORDS}.get(task)
    label = label_in_answer(answer, words) if words else None
    if words and label is None:
        raise BadRow("answer", f"states no known label, or several: {answer[:60]!r}.")
    if task == "sqa" and question is None:
        raise BadRow("instruction", "is missing.")
    return Utterance(
        where=where,
        name=name,
        audio=audio,
        transcript=answer if task == "asr" else _text(row.get("context")),
        emotion=label if task == "er" else None,
        sentiment=label if task == "sr" else None,
        question=question,
        answer=answer if question is not None else None,
        task=task,
        subset=subset,
        speaker=_speaker(row),
    )


def _speaker(row: dict[str, Any]) -> str | None:
    details = row.get("other_attributes")
    speaker = (details.get("speaker_id") or details.get("speaker")) if isinstance(details, dict) else None
    return speaker if isinstance(speaker, str) else None


def audiobench_row(row: dict[str, Any]) -> tuple[Clip, str | None, str]:
    """Audio, question and answer of a row, flat or nested.

    Raises:
        BadRow: if one of them is not there.
    """
    context = row.get("context")
    if context is None:
        raise BadRow("context", f"is missing; the row has {', '.join(map(str, row))[:200]}.")
    audio = context.get("audio", context) if isinstance(context, dict) else context
    answer = _text(row.get("answer"))
    if not answer:
        raise BadRow("answer", "is missing.")
    return clip_of(audio, "context"), _text(row.get("instruction")) or None, answer


def _text(value: Any) -> str | None:
    return value.get("text") if isinstance(value, dict) else value


MNSC_CARD = "dataset card MERaLiON/Multitask-National-Speech-Corpus-v1"
MNSC_FOLDER = re.compile(r"(ASR|SQA)-PART([3-6])(?:-(Train|Test))?$", re.IGNORECASE)


def _mnsc(request: Request) -> Iterator[Utterance | Reject]:
    parts = request.option("parts", "3456")
    if not request.root.exists():
        yield from _mnsc_on_hub(request, parts)
        return
    for folder in visible(request.root.iterdir()) if request.root.is_dir() else ():
        match = MNSC_FOLDER.match(folder.name)
        if match is None or match[2] not in parts:
            continue
        task, said = match[1].lower(), (match[3] or "").lower()
        if (not request.tasks or task in request.tasks) and said in ("", request.split):
            subset = f"{match[1].upper()}-PART{match[2]}"
            yield from _utterances(request, folder, folder.name, task, any_split=bool(said), subset=subset)


def _mnsc_on_hub(request: Request, parts: str) -> Iterator[Utterance | Reject]:
    """A configuration for each task, part and split, whose one split the Hub calls `train`."""
    for task in request.tasks or MNSC.tasks:
        for part in parts:
            subset = f"{task.upper()}-PART{part}"
            config = f"{subset}-{request.split.title()}"
            rows = dataset_rows(request.root, "train", config)
            yield from _read_rows(rows, config, request.split, task, subset)


def _cpqa(request: Request) -> Iterator[Utterance | Reject]:
    task = request.option("task") or ("er" if "ER" in re.split(r"[^A-Za-z]+", request.root.name) else "sqa")
    yield from _utterances(request, request.root, "cpqa", task, any_split=request.split == "test")


QUESTION_TASKS = ("asr", "sqa", "er", "sr")
AUDIOBENCH = Reader(
    name="audiobench",
    title="A dataset of AudioBench (Wang et al., 2024)",
    layout="a dataset of AudioBench: a `datasets` folder, a folder of Parquet files, or its name on the Hub, with "
    "`context`, `instruction`, `answer` (flat or nested).",
    utterances=_audiobench,
    tasks=QUESTION_TASKS,
    published=(
        Published("AudioBench", "test", "er", {None: 1004}, subset="iemocap_emotion_test"),
        Published("AudioBench", "test", "er", {None: 2610}, subset="meld_emotion_test"),
        Published("AudioBench", "test", "sr", {None: 2610}, subset="meld_sentiment_test"),
        Published("AudioBench", "test", "sqa", {None: 408}, subset="slue_p2_sqa5_test"),
        Published("AudioBench", "test", "sqa", {None: 5351}, subset="spoken_squad_test"),
    ),
    licence="of the corpus it was made of",
    options={"task": "asr, sqa, er or sr, where the name does not tell it", "config": "of the dataset"},
)
MNSC = Reader(
    name="mnsc",
    title="MNSC, the Multitask National Speech Corpus (Wang et al., 2025), ASR and SQA, parts 3 to 6",
    layout="MNSC, `{ASR,SQA}-PART{3..6}-{Train,Test}/*.parquet` (or a `datasets` folder each), or its name on "
    "the Hub.",
    utterances=_mnsc,
    tasks=("asr", "sqa"),
    splits=("train", "test"),
    published=(
        Published(MNSC_CARD, "test", "asr", {None: 1000}, subset="ASR-PART3"),
        Published(MNSC_CARD, "test", "sqa", {None: 100}, subset="SQA-PART5"),
        Published(MNSC_CARD, "test", "sqa", {None: 100}, subset="SQA-PART6"),
    ),
    licence="Singapore Open Data Licence (NSC)",
    options={"parts": "digits of the parts to read (3456)"},
)
CPQA = Reader(
    name="cpqa",
    title="CPQA (Wang et al., 2025), contextual paralinguistic questions",
    layout="CPQA, a `datasets` folder or Parquet files in AudioBench's form.",
    utterances=_cpqa,
    tasks=QUESTION_TASKS,
    splits=("test",),
    licence="see MERaLiON/CPQA-Evaluation-Set",
    options={"task": "sqa (usual), or er for CPQA-ER"},
)
