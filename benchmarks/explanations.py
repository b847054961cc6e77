"""Figures of explanations that no reward of `audiollm rl` pays for: `python benchmarks/explanations.py build/eval/*`.

For folders of `audiollm eval`, on rows that ask for evidence: how long quotes are, whether they hold the words that
the reference quotes, or all that was said, how many answers differ, and whether claims about the voice are true.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from audiollm.corpora.schema import read_rows
from audiollm.modeling_audiollm.evidence import find_quotes, normalised_words
from audiollm.processing.audio import load_audio
from audiollm.voice_claims.claims import check_cues
from audiollm.voice_claims.measures import measure_clip
from audiollm.voice_claims.norms import norms_by_speaker


def voices(rows: list[dict[str, Any]]) -> dict[str, tuple[dict, Any]]:
    """The measures and norms of the clip of each row."""
    clips = {str(row["audio"]): row for row in rows}
    measured = {
        key: measure_clip(load_audio(row["audio"]), transcript=row["transcript"]) for key, row in clips.items()
    }
    norms = norms_by_speaker(list(measured.values()), [row["speaker"] for row in clips.values()])
    usual = dict(zip(clips, norms))
    return {row["id"]: (measured[str(row["audio"])], usual[str(row["audio"])]) for row in rows}


def quoted_words(text: str) -> list[str]:
    return [word for quote in find_quotes(text) for word in normalised_words(quote.text)]


def figures(folder: Path, rows: dict[str, dict[str, Any]], heard: dict[str, tuple[dict, Any]]) -> dict[str, Any]:
    """The figures of one folder, in percent but for counts and words."""
    lines = map(json.loads, (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
    said = {line["id"]: line["prediction"] for line in lines if line["id"] in rows}
    quotes = [normalised_words(quote.text) for text in said.values() for quote in find_quotes(text)]
    pairs = [(quoted_words(text), rows[row]) for row, text in said.items()]
    whole = [len(words) >= len(normalised_words(row["transcript"])) for words, row in pairs if words]
    wanted = [(set(words), set(quoted_words(row["answer"]))) for words, row in pairs]
    claims = [check_cues(text, *heard[row]) for row, text in said.items()]
    checkable = sum(found.checkable for found in claims)
    return {
        "answers": len(said),
        "distinct": 100 * len(set(said.values())) / len(said),
        "words of a quote": fmean(map(len, quotes)),
        "quotes of one word": 100 * fmean(len(words) == 1 for words in quotes),
        "quote everything": 100 * fmean(whole),
        "relevance by words": 100 * fmean(len(words & held) / len(held) for words, held in wanted if held),
        "claims about the voice": sum(found.claimed for found in claims),
        "checkable": checkable,
        "true": 100 * sum(found.true for found in claims) / checkable if checkable else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--data", default="samples")
    options = parser.parse_args()
    rows = [row for row in read_rows(options.data, "test") if row["target"] == "evidence"]
    heard, by_id = voices(rows), {row["id"]: row for row in rows}
    for folder in options.folders:
        print(folder.name)
        for name, value in figures(folder, by_id, heard).items():
            print(f"  {name:24}{value:8.1f}" if isinstance(value, float) else f"  {name:24}{value!s:>8}")


if __name__ == "__main__":
    main()
