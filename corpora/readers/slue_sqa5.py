"""SLUE Phase-2 SQA-5: text questions about spoken documents.

Columns as in `asapp/slue-phase-2`, configuration `sqa5` (its loading script, and converters that others wrote): the
spoken document is the clip, the written question is asked about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..hub_tables import clip_of, dataset_rows
from ..reader import Published, Reader, Request, Utterance
from ..rejects import BadRow, Reject


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    config = "sqa5" if (request.root / "sqa5").is_dir() or not request.root.exists() else None
    for number, row in enumerate(dataset_rows(request.root, request.split, config)):
        where = f"sqa5, {request.split}, row {number}"
        try:
            yield _question(row, where, request.split)
        except BadRow as error:
            yield error.at(where, task="sqa")


def _question(row: dict[str, Any], where: str, split: str) -> Utterance:
    for column in ("question_id", "raw_question_text", "document_id", "document_audio", "answer_spans"):
        if row.get(column) is None:
            raise BadRow(column, "is missing.")
    answers = row["answer_spans"].get("answer") if isinstance(row["answer_spans"], dict) else None
    if not answers:
        raise BadRow("answer_spans", "holds no answer.")
    document = str(row["document_id"])
    return Utterance(
        where=where,
        name=f"{split}-{row['question_id']}",
        audio=clip_of(row["document_audio"], "document_audio", f"slue_sqa5-{document}"),
        transcript=row.get("raw_document_text"),
        question=row["raw_question_text"],
        answer=answers[0],
        task="sqa",
        speaker=row.get("document_speaker_id"),
        dialogue=document,
    )


SLUE_SQA5 = Reader(
    name="slue_sqa5",
    title="SLUE Phase-2 SQA-5 (Shon et al., 2023)",
    layout="SLUE-P2-SQA5, `sqa5/{train,validation,test,verified_test}-*.parquet`, a `datasets` folder, or its name on "
    "the Hub.",
    utterances=_utterances,
    tasks=("sqa",),
    splits=("train", "validation", "test", "verified_test"),
    published=(
        Published("Shon et al. 2023", "train", "sqa", {None: 46186}),
        Published("Shon et al. 2023", "validation", "sqa", {None: 1939}),
        Published("Shon et al. 2023", "test", "sqa", {None: 2382}),
        Published("Shon et al. 2023; AudioBench slue_p2_sqa5_test", "verified_test", "sqa", {None: 408}),
    ),
    licence="CC BY-SA 4.0 and those of its sources",
)
