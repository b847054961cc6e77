"""M3ED: one JSON of films, dialogues and turns.

Layout as EmoBox reads it (emo-box/EmoBox, preprocess/scripts/m3ed.py) and as users of `annotation.json` do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..dialogue import CONTEXT_OPTION, Turn, context_turns, past_turns
from ..labels import M3ED
from ..reader import (
    Published,
    Reader,
    Request,
    Utterance,
    text_lines,
)
from ..rejects import Reject
from ..tables import json_file


UNLIKE = "is missing, or not of the published form."
M3ED_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def _m3ed(request: Request) -> Iterator[Utterance | Reject]:
    listing = request.root / "splitInfo" / f"movie_list_{M3ED_SPLITS[request.split]}.txt"
    films = {item[1].strip() for item in text_lines(listing) if not isinstance(item, Reject)}
    annotation = request.root / "annotation.json"
    if not films or not annotation.is_file():
        return
    annotated = json_file(annotation)
    most = context_turns(request.options) or 0
    for film in sorted(films):
        dialogues = annotated.get(film)
        if not isinstance(dialogues, dict):
            yield Reject(f"annotation.json, {film}", None, UNLIKE)
            continue
        for dialogue, clip in dialogues.items():
            turns = clip.get("Dialog") if isinstance(clip, dict) else None
            if not isinstance(turns, dict):
                yield Reject(f"annotation.json, {dialogue}", "Dialog", UNLIKE)
                continue
            spoken = {turn: _turn(film, clip, turn, said) for turn, said in turns.items()} if most else {}
            for turn, said in turns.items():
                item = _m3ed_turn(film, dialogue, clip, turn, said)
                if most and isinstance(item, Utterance):
                    item = _in_dialogue(item, spoken, turn, most)
                yield item


def _in_dialogue(item: Utterance, spoken: dict[str, Turn | None], turn: str, most: int) -> Utterance | Reject:
    now = spoken[turn]
    if now is None:
        return Reject(
            item.where, "context", "its name does not end in a number, so its place in the dialogue is unknown."
        )
    return replace(item, before=past_turns(filter(None, spoken.values()), now, most))


def _turn(film: str, clip: dict[str, Any], turn: str, said: Any) -> Turn | None:
    number = turn.rpartition("_")[2]
    if not number.isdecimal() or not isinstance(said, dict):
        return None
    return Turn(int(number), int(number), _person(film, clip, said.get("Speaker")), said.get("Text"))


def _person(film: str, clip: dict[str, Any], letter: Any) -> str:
    return f"{film}-{clip.get('SpeakerInfo', {}).get(letter, {}).get('Name', letter)}"


def _m3ed_turn(film: str, dialogue: str, clip: dict[str, Any], turn: str, said: Any) -> Utterance | Reject:
    where = f"annotation.json, {turn}"
    try:
        letter, label = said["Speaker"], said["EmoAnnotation"]["final_main_emo"]
        speaker = _person(film, clip, letter)
    except (TypeError, KeyError, AttributeError) as error:
        return Reject(where, str(error).strip("'")[:40], UNLIKE)
    return Utterance(
        where=where,
        name=turn,
        audio=f"modality_speech/{letter}_{turn}.wav",
        transcript=said.get("Text"),
        emotion=label,
        speaker=speaker,
        dialogue=dialogue,
    )


M3ED_READER = Reader(
    name="m3ed",
    title="M3ED (Zhao et al., 2022), Mandarin",
    layout="M3ED, `annotation.json`, `splitInfo/movie_list_{train,val,test}.txt` and "
    "`modality_speech/A_FILM_D_U.wav`.",
    utterances=_m3ed,
    tasks=("er", "asr"),
    usual=("er",),
    emotions=M3ED,
    published=(
        Published("Zhao et al. 2022", "train", "er", {None: 17427}),
        Published("Zhao et al. 2022", "validation", "er", {None: 2821}),
        Published("Zhao et al. 2022", "test", "er", {None: 4201}),
        Published(
            "EmoBox, fold 1",
            "test",
            "er",
            {
                "neutral": 1853,
                "angry": 736,
                "sad": 734,
                "happy": 358,
                "surprised": 234,
                "disgusted": 218,
                "fearful": 65,
            },
            note="EmoBox drops 3 of 4,201 clips that it could not read",
        ),
    ),
    licence="research only, by request from AIM3, RUC",
    language="zh",
    options=CONTEXT_OPTION,
)
