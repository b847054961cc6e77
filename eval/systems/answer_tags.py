"""Answers of models that think aloud: what stands in their answer tags is the answer."""

from __future__ import annotations

import re


# <answer> is R1-AQA's, <RESPONSE> is Audio-Reasoner's; an answer that is cut short has no closing tag.
_ANSWER = re.compile(r"<(answer|response)>(.*?)(?:</\1>|\Z)", re.I | re.S)
_THOUGHT = re.compile(r"<(think|thinking|planning|caption|reasoning|summary)>.*?(?:</\1>|\Z)", re.I | re.S)


def final_answer(text: str) -> str:
    """The last tagged answer of a text; without tags, the text without its thoughts.

    A text that was cut short within its thoughts has no answer: the result is empty.
    """
    outside = _THOUGHT.sub("", text)
    answers = [match.group(2).strip() for match in _ANSWER.finditer(outside)]
    return answers[-1] if answers else outside.strip()
