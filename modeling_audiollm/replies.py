# This file travels to the Hub with the weights, so it stands alone: standard library only, no import of ours.
"""What of a model's text is its answer: thoughts come off, answer tags are opened. Linear in the text's length."""

from __future__ import annotations

import re


_WORDS = "think|thinking|thought|thoughts|reasoning|reflection|scratchpad|planning|caption|summary"
# <think> and its kin, with a prefix as in <seed:think>; <|START_THINKING|>, <|begin_of_thought|>; Magistral's [THINK];
# Kimi's \u25c1think\u25b7; Gemma's <|channel>thought ... <channel|>.
_MARK = re.compile(
    rf"<\|?/?(?:begin_|start_|end_)?(?:of_)?(?:[a-z]{{1,20}}[:_])?({_WORDS})\s?\|?>|\u25c1/?(think)\u25b7"
    r"|<\|channel>(thought)|<channel\|>|(?-i:\[/?(THINK)\])",
    re.I,
)
# Sections inside of thoughts: a lone mark of theirs says nothing of what stands before it.
_SECTIONS = frozenset(("planning", "caption", "summary"))
# gpt-oss speaks in channels; where a decoder drops their marks as special tokens, the names are left.
_CHANNEL = re.compile(r"<\|channel\|>([^<]{0,60})(?:<\|constrain\|>[^<]{0,20})?<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_ANALYSIS, _BARE_FINAL = re.compile(r"analysis(?=[A-Z\"'])"), re.compile(r"(?:\A|assistant)final(?=[A-Z\"'\W])")
# <answer> is R1-AQA's, <RESPONSE> is Audio-Reasoner's; an answer that is cut short has no closing tag.
_ANSWER = re.compile(r"<(answer|response)>(.*?)(?:</\1>|\Z)", re.I | re.S)


def without_thoughts(text: str) -> str:
    """A reply without what the model thinks aloud, whatever marks that.

    Thoughts may stand between marks, before a lone closing mark (where the prompt has opened them), or in channels.
    Thoughts that were never closed were cut short: nothing after their opening is an answer.
    """
    text = _final_channel(text)
    kept: list[str] = []
    opened: list[str] = []
    at = 0
    for mark in _MARK.finditer(text):
        name = next((group for group in mark.groups() if group), "thought").lower()
        name = "think" if name.startswith(("think", "thought")) else name  # <think> ... </thinking>
        if "/" in mark[0] or "end_" in mark[0].lower() or mark[0] == "<channel|>":
            if name in opened:
                del opened[opened.index(name) :]
                at = at if opened else mark.end()
            elif not opened and name not in _SECTIONS:
                kept, at = [], mark.end()
        else:
            if not opened:
                kept.append(text[at : mark.start()])
            opened.append(name)
    return "".join([*kept, *([] if opened else [text[at:]])]).strip()


def whole_characters(text: str) -> str:
    """A text in which halves of character pairs, which no file can hold, are joined or replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def final_answer(text: str) -> str:
    """The last tagged answer of a text; without tags, the text without its thoughts.

    A text that was cut short within its thoughts has no answer: the result is empty.
    """
    outside = without_thoughts(text)
    answers = [match.group(2).strip() for match in _ANSWER.finditer(outside)]
    return answers[-1] if answers else outside


def _final_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if channels:
        last = channels[-1]
        return _CHANNEL_END.split(text[last.end() :], maxsplit=1)[0] if last[1].strip() == "final" else ""
    finals = list(_BARE_FINAL.finditer(text)) if _BARE_ANALYSIS.match(text) or text.startswith("final") else []
    if finals:
        return text[finals[-1].end() :]
    return "" if _BARE_ANALYSIS.match(text) else text
