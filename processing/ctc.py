"""The characters of a CTC head: what a speech encoder that learnt by it can spell, and where its head is kept."""

from __future__ import annotations


CTC_CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
CTC_NAME = "ctc_head.safetensors"  # beside a model's weights


def ctc_labels(transcript: str) -> list[int]:
    """Character ids of a transcript for CTC, blank 0; characters outside `CTC_CHARACTERS` are dropped."""
    return [CTC_CHARACTERS.index(character) + 1 for character in transcript.lower() if character in CTC_CHARACTERS]
