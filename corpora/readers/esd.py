"""ESD: folders of speakers and emotions, with the texts in a table beside them; English or Mandarin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..reader import Published, Reader, Request, Utterance, as_posix
from ..rejects import CorpusError, Reject
from .named_files import audio_files


EMOTIONS = {"Angry": "angry", "Happy": "happy", "Neutral": "neutral", "Sad": "sad", "Surprise": "surprised"}
LANGUAGES = {"zh": range(1, 11), "en": range(11, 21)}  # numbers of the speakers
NAME = re.compile(r"(?P<speaker>\d{4})_(?P<number>\d{6})")
# Of the 350 texts of each emotion: parts as released, whether or not the folders of the release are there.
SPLITS = {"validation": range(1, 21), "test": range(21, 51), "train": range(51, 351)}


def _utterances(request: Request) -> Iterator[Utterance | Reject]:
    language = request.option("language", "en")
    if language not in LANGUAGES:
        raise CorpusError(f"esd: language={language!r} is not there; it is one of {', '.join(LANGUAGES)}.")
    texts: dict[str, tuple[str, str | None]] = {}
    for table in sorted(request.root.rglob("[0-9][0-9][0-9][0-9].txt")):
        texts |= _texts(table)
    for path in audio_files(request.root):
        where, match = as_posix(path, request.root), NAME.fullmatch(path.stem)
        emotion = next((part for part in reversed(path.parts) if part in EMOTIONS), None)
        if match is None or emotion is None:
            if request.split == "train":
                yield Reject(where, "name", "is no ESD clip, SPEAKER/EMOTION/SPEAKER_NUMBER.")
            continue
        place = (int(match["number"]) - 1) % 350 + 1
        if int(match["speaker"]) in LANGUAGES[language] and place in SPLITS[request.split]:
            text, stated = texts.get(path.stem, (None, emotion))
            if stated not in (emotion, None):
                yield Reject(where, "emotion", f"lies in the folder {emotion}, but its table says {stated[:40]!r}.")
                continue
            yield Utterance(
                where=where,
                name=path.stem,
                audio=where,
                transcript=text,
                emotion=emotion,
                speaker=match["speaker"],
            )


def _texts(table: Path) -> dict[str, tuple[str, str | None]]:
    """`{clip: (text, emotion)}` of a speaker's table; some are UTF-16, and some name emotions in Mandarin."""
    content = table.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    found = {}
    for line in content.decode(encoding, errors="replace").splitlines():
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) >= 2 and NAME.fullmatch(fields[0]):
            stated = fields[2] if len(fields) > 2 and fields[2] in EMOTIONS else None
            found[fields[0]] = (fields[1], stated)
    return found


ESD = Reader(
    name="esd",
    title="ESD, Emotional Speech Dataset (Zhou et al., 2022)",
    layout="ESD, `SPEAKER/EMOTION/[PART/]SPEAKER_NUMBER.wav` with `SPEAKER/SPEAKER.txt`, at any depth; of each "
    "emotion's 350 texts the first 20 are validation, the next 30 test, the others train, as released.",
    utterances=_utterances,
    tasks=("asr", "er"),
    emotions=EMOTIONS,
    published=tuple(
        Published(
            "Zhou et al. 2022, ten speakers of one language",
            split,
            "er",
            dict.fromkeys(EMOTIONS.values(), 10 * len(places)),
        )
        for split, places in SPLITS.items()
    ),
    licence="by request from NUS, research only",
    options={"language": "`en` (speakers 0011 to 0020, the default) or `zh` (0001 to 0010)"},
)
