"""EmoDB: speaker, sentence and emotion in the file name; German."""

from __future__ import annotations

import re

from ..reader import Published, Reader
from .named_files import named_files


EMOTIONS = {  # first letters of Wut, Langeweile, Ekel, Angst, Freude, Trauer; N for neutral
    "W": "angry",
    "L": "bored",
    "E": "disgusted",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
NAME = re.compile(rf"(?P<speaker>\d\d)(?P<sentence>{'|'.join(SENTENCES)})(?P<emotion>[{''.join(EMOTIONS)}])[a-z]")

EMODB = Reader(
    name="emodb",
    title="EmoDB, the Berlin database (Burkhardt et al., 2005), German",
    layout="EmoDB, `wav/SPEAKER SENTENCE EMOTION VERSION.wav` (as `03a01Fa.wav`) at any depth; no split is published: "
    "a seeded fifth of the speakers is test, and of the others an eighth validation.",
    utterances=named_files(
        NAME,
        "such as 03a01Fa",
        lambda fields: {"emotion": fields["emotion"], "transcript": SENTENCES[fields["sentence"]]},
    ),
    tasks=("asr", "er"),
    emotions=EMOTIONS,
    published=(
        Published(
            "Burkhardt et al. 2005 and the release, 10 speakers",
            None,
            "er",
            {"angry": 127, "bored": 81, "disgusted": 46, "fearful": 69, "happy": 71, "sad": 62, "neutral": 79},
        ),
    ),
    licence="free for download from TU Berlin; no licence text of its own",
    language="de",
)
