"""IEMOCAP: session folders as released (Busso et al., 2008)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..dialogue import CONTEXT_OPTION, Turn, context_turns, past_turns
from ..labels import IEMOCAP
from ..reader import (
    Published,
    Reader,
    Request,
    Utterance,
    as_posix,
    corpus_folder,
    drawn_share,
    text_lines,
    visible,
)
from ..rejects import CorpusError, Reject


IEMOCAP_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(?P<turn>\S+)\t(?P<label>\w+)\t\[")
IEMOCAP_TURN = re.compile(r"Ses0[1-5][FM]_(?:impro|script)\w+_(?P<who>[FM])\w*$")
IEMOCAP_TEXT = re.compile(r"(?P<turn>Ses\S+) \[(?P<start>\d[\d.]*)-(?P<end>\d[\d.]*)\]: ?(?P<text>.*)$")
_SOUND = re.compile(r"\[[^\]]*\]")  # [LAUGHTER], [BREATHING]: no words
NO_AGREEMENT = {"xxx": "the annotators agreed on no label (`xxx`)."}


def _iemocap(request: Request) -> Iterator[Utterance | Reject]:
    top = corpus_folder(request.root, "Session[1-5]/dialog/EmoEvaluation")
    held_out = _iemocap_held_out(request, top)
    most = context_turns(request.options) or 0
    if most and request.option("test_session") is None:
        raise CorpusError(
            "iemocap: a seeded tenth of the turns is test, so that turns of one dialogue lie in both splits and would "
            "be each other's context; hold out a session instead: test_session=5."
        )
    for session in range(1, 6):
        dialog = top / f"Session{session}" / "dialog"
        for listing in visible((dialog / "EmoEvaluation").glob("Ses*.txt")):
            texts, worded = None, []
            for item in _iemocap_turns(listing):
                if isinstance(item, Reject):
                    if request.split == "train":  # a line that names no turn belongs to no split: told once
                        yield item
                    continue
                where, turn, label, who = item
                if (turn in held_out) != (request.split == "test"):
                    continue
                if texts is None:
                    texts = _iemocap_texts(dialog / "transcriptions" / listing.name)
                    worded = [said for said in texts.values() if any(map(str.isalnum, _SOUND.sub("", said.text)))]
                if most and turn not in texts:
                    yield Reject(where, "context", "is not in the transcription, which tells what was said before.")
                    continue
                yield Utterance(
                    where=where,
                    name=turn,
                    audio=as_posix(top / f"Session{session}/sentences/wav/{listing.stem}/{turn}.wav", request.root),
                    transcript=texts[turn].text if turn in texts else None,
                    emotion=label,
                    speaker=f"{turn[:5]}{who}",
                    dialogue=listing.stem,
                    before=past_turns(worded, texts[turn], most) if most else (),
                )


def _iemocap_turns(listing: Path) -> Iterator[tuple[str, str, str, str] | Reject]:
    for item in text_lines(listing):
        if isinstance(item, Reject):
            yield item
            continue
        where, line = item
        if not line.startswith("["):
            continue
        fields = IEMOCAP_LINE.match(line)
        turn = fields and IEMOCAP_TURN.match(fields["turn"])
        if fields and turn:
            yield where, fields["turn"], fields["label"], turn["who"]
        elif "TURN_NAME" not in line and not line.startswith("% ["):
            yield Reject(where, None, "is no evaluation line, `[START - END]<tab>TURN<tab>LABEL<tab>[V, A, D]`.")


def _iemocap_texts(path: Path) -> dict[str, Turn]:
    lines = (item for item in text_lines(path) if not isinstance(item, Reject))
    found = (IEMOCAP_TEXT.match(line) for _, line in lines)
    return {match["turn"]: _iemocap_turn(match) for match in found if match}


def _iemocap_turn(match: re.Match[str]) -> Turn:
    name = IEMOCAP_TURN.match(match["turn"])
    speaker = f"{match['turn'][:5]}{name['who']}" if name else None
    return Turn(float(match["start"]), float(match["end"]), speaker, match["text"])


def _iemocap_held_out(request: Request, top: Path) -> set[str]:
    """Turns of the test split: a session, or a seeded tenth of all turns with a label."""
    session = request.option("test_session")
    names = [
        item[1]
        for number in range(1, 6)
        for listing in visible((top / f"Session{number}" / "dialog" / "EmoEvaluation").glob("Ses*.txt"))
        for item in _iemocap_turns(listing)
        if not isinstance(item, Reject) and (session is not None or item[2] in IEMOCAP)
    ]
    if session is None:
        return drawn_share(names, 0.1, request.seed)
    if session not in "12345" or len(session) != 1:
        raise CorpusError(f"iemocap: test_session={session!r} is no session; it is one of 1 to 5.")
    return {name for name in names if name.startswith(f"Ses0{session}")}


IEMOCAP_COUNTS: dict[str | None, int] = {
    "angry": 1103,
    "disgusted": 2,
    "excited": 1041,
    "fearful": 40,
    "frustrated": 1849,
    "happy": 595,
    "neutral": 1708,
    "other": 3,
    "sad": 1084,
    "surprised": 107,
}
IEMOCAP_READER = Reader(
    name="iemocap",
    title="IEMOCAP (Busso et al., 2008)",
    layout="IEMOCAP as released, `Session{1..5}/dialog/EmoEvaluation/Ses*.txt`, `dialog/transcriptions/Ses*.txt` and "
    "`sentences/wav/DIALOGUE/TURN.wav`; a seeded tenth is test.",
    utterances=_iemocap,
    tasks=("er", "asr"),
    usual=("er",),
    splits=("train", "test"),
    emotions=IEMOCAP,
    excluded=NO_AGREEMENT,
    published=(
        Published(
            "the release, all sessions (5,531 of them EmoBox's four classes)",
            None,
            "er",
            IEMOCAP_COUNTS,
            note="2,507 further turns have no agreed label",
        ),
        Published(
            "AudioBench iemocap_emotion_test",
            "test",
            "er",
            {None: 1004},
            note="that is a tenth of all 10,039 turns; ours is a tenth of the 7,532 with one of the 10 labels, drawn "
            "by our seed",
        ),
    ),
    licence="by request from USC SAIL, research only",
    options={
        "test_session": "hold out a session (1 to 5) instead of a seeded tenth: no speaker in both splits",
        **CONTEXT_OPTION,
    },
)
