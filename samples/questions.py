"""Questions and answers about a clip: what is said, what it tells, how the speaker feels, and what shows it."""

import re

import numpy as np
from sentences import CLASSES, Sentence


ASR_QUESTIONS = [
    "Write down what is said.",
    "What does the speaker say?",
    "Transcribe the speech.",
    "Give the exact words of the speaker.",
]
_CLASS_QUESTIONS = {
    "animal pest": ["Which animal is named?", "What animal does the speaker talk about?"],
    "kin worker": ["Which person is named?", "What person does the speaker talk about?"],
    "place": ["Which place is named?", "What place does the speaker talk about?"],
    "thing": ["Which object is named?", "What object does the speaker talk about?"],
    "vehicle": ["Which vehicle is named?", "What vehicle does the speaker talk about?"],
    "food": ["Which food or drink is named?", "What food or drink does the speaker talk about?"],
    "colour": ["Which color is named?", "What color does the speaker name?"],
    "number": ["Which number is named?", "What number does the speaker name?"],
}
_NAMED = ("animal", "kin", "worker", "place", "thing", "vehicle", "food")
_NOUNS = "|".join(word for name in _NAMED for word in CLASSES[name])
_THING = rf"((?:my|the|your|a) (?:(?:old|dear|poor|new|beautiful|{'|'.join(CLASSES['colour'])}) )*(?:{_NOUNS}))\b"
_FACTS = [
    (rf"\bi lost {_THING}", "What did the speaker lose?"),
    (rf"\bi found {_THING}", "What did the speaker find?"),
    (rf"\bwon {_THING}", "What was won?"),
    (rf"\bbroke {_THING}", "What was broken?"),
    (rf"\bstole {_THING}", "What was stolen?"),
    (rf"\bruined {_THING}", "What was ruined?"),
    (rf"\btouch {_THING}", "What must not be touched?"),
    (rf"{_THING} died", "Who died?"),
    (rf"{_THING} (?:is gone|vanished|suddenly vanished)", "Who or what is gone?"),
    (rf"\bi love {_THING}", "What does the speaker love?"),
    (rf"\bi miss {_THING}", "Who is missed?"),
    (rf"\bi hate {_THING}", "Who is hated?"),
    (rf"{_THING} (?:is rotten|is filthy|stinks|smells|tastes horrible)", "What is disgusting?"),
    (rf"{_THING} is on fire", "What is on fire?"),
    (rf"{_THING} (?:lied|broke)", "Who did it?"),
    (rf"{_THING} (?:is|are) on the table", "What is on the table?"),
    (rf"{_THING} is in the basket", "What is in the basket?"),
    (rf"\bwhere is {_THING}", "What does the speaker ask for?"),
    (rf"{_THING} (?:lives|works) ", "Who lives or works somewhere?"),
    (rf"\b(?:bring|put|take|show) {_THING}", "What should be moved or shown?"),
    (rf"\bwash {_THING}", "What should be washed?"),
    (rf"\b(?:call|visit) {_THING}", "Who or what should be called or visited?"),
]
_SAID = ["Is the word {} said?", "Does the speaker say the word {}?"]


def pick(options: list, rng: np.random.Generator):
    """One of a list."""
    return options[int(rng.integers(len(options)))]


def content_question(text: str, vocabulary: list[str], rng: np.random.Generator) -> tuple[str, str]:
    """A question the words of `text` answer, with its short answer.

    Facts and named things come before questions about the words themselves (first, last, said or not).
    """
    words = text.split()
    facts = [(question, found[1]) for shape, question in _FACTS if (found := re.search(shape, text))]
    named = []
    for names, questions in _CLASS_QUESTIONS.items():
        known = {w for name in names.split() for w in CLASSES[name]}
        found = [w for w in words if w in known]
        if len(found) == 1:
            named.append((pick(questions, rng), found[0]))
    other = pick([w for w in vocabulary if w not in words], rng)
    plain = [
        ("What is the first word?", words[0]),
        ("What is the last word?", words[-1]),
        (pick(_SAID, rng).format(pick(words, rng)), "yes"),
        (pick(_SAID, rng).format(other), "no"),
    ]
    roll = rng.uniform()
    if facts and roll < 0.4:
        return pick(facts, rng)
    if named and roll < 0.75:
        return pick(named, rng)
    return pick(plain, rng)


def asr_row(sentence: Sentence, rng: np.random.Generator) -> dict:
    """The transcription task."""
    return {
        "task": "asr",
        "question": pick(ASR_QUESTIONS, rng),
        "answer": sentence.text,
        "label": None,
        "target": None,
    }


def sqa_row(sentence: Sentence, vocabulary: list[str], rng: np.random.Generator) -> dict:
    """A question about what the words tell."""
    question, answer = content_question(sentence.text, vocabulary, rng)
    return {"task": "sqa", "question": question, "answer": answer, "label": None, "target": None}


EMOTION_QUESTIONS = {
    "label": [
        "Which emotion does the speaker show? Answer with the label.",
        "Name the emotion of the speaker.",
        "What is the emotion of the speaker? Answer with the label.",
    ],
    "interpretive": [
        "How does the speaker feel, and what lies behind it?",
        "Describe the feeling of the speaker and the reason for it.",
        "What does the speaker feel, and why?",
    ],
    "evidence": [
        "What emotion does the speaker show, and which words show it?",
        "Which emotion is heard? Quote the words that show it.",
        "Name the emotion and give the evidence with a quote.",
        "How does the speaker sound? Quote the words as evidence.",
    ],
}
SENTIMENT_QUESTIONS = {
    "label": [
        "What is the sentiment of the speaker? Answer with the label.",
        "Name the sentiment of the speaker.",
        "Is the sentiment positive, negative or neutral? Answer with the label.",
    ],
    "evidence": [
        "What is the sentiment, and which words show it?",
        "Which sentiment is heard? Quote the words that show it.",
        "Name the sentiment and give the evidence with a quote.",
    ],
}
# Below this strength of the prosody nobody can be asked to hear it, so the evidence names the words alone.
AUDIBLE = 0.4
VOICE_WORDS = {
    "neutral": ["even and calm"],
    "happy": ["high and lively", "bright and lively"],
    "sad": ["low and slow", "quiet and slow"],
    "angry": ["loud and hard", "loud and fast"],
    "fearful": ["high and shaky", "fast and shaky"],
    "disgusted": ["low and creaky", "slow and creaky"],
    "surprised": ["rising at the end", "wide and rising"],
}
READINGS = {
    ("happy", "win"): ["They won something and are proud.", "A win makes them proud."],
    ("happy", "gift"): ["They got something they like a lot.", "A gift makes them glad."],
    ("happy", "reunion"): ["Somebody dear is with them.", "They are glad to be with somebody dear."],
    ("happy", "joy"): ["They enjoy a good time.", "Something good is there to enjoy."],
    ("sad", "loss"): ["Something dear to them is gone and they miss it.", "They have lost something dear."],
    ("sad", "goodbye"): ["They have to part from somebody dear.", "A parting hurts them."],
    ("sad", "alone"): ["They are alone or without help.", "Nobody is there to help them."],
    ("angry", "damage"): ["Somebody damaged or took what is theirs.", "They want their things back and whole."],
    ("angry", "unfair"): ["They were treated in an unfair way.", "Somebody was not fair to them."],
    ("angry", "quarrel"): ["They quarrel and want it to stop.", "They want the other person to stop."],
    ("fearful", "animal"): ["An animal near them is a danger.", "They want to be safe from an animal."],
    ("fearful", "dark"): ["They do not feel safe from a stranger in the dark.", "Somebody unknown may be near."],
    ("fearful", "danger"): ["Something bad may happen at once.", "They are in danger and need help."],
    ("disgusted", "food"): ["The food is too bad to eat.", "They would never eat that."],
    ("disgusted", "dirt"): ["Something is so dirty that they turn away.", "The dirt is too much for them."],
    ("disgusted", "smell"): ["Something smells so bad that they turn away.", "The bad smell is too much for them."],
    ("surprised", "good"): ["Something good came that they did not expect.", "They did not expect such luck."],
    ("surprised", "strange"): ["Something strange came that they did not expect.", "They can hardly believe it."],
    ("neutral", "ordinary"): ["Everything is as it always is.", "They tell of a normal day."],
    ("neutral", "everyday"): ["They talk of plain things.", "It is plain talk of every day."],
    ("happy", "everyday"): ["The words are plain, so something good must be on their mind."],
    ("sad", "everyday"): ["The words are plain, so something must weigh on their mind."],
    ("angry", "everyday"): ["The words are plain, so something must have made them cross."],
    ("fearful", "everyday"): ["The words are plain, so they must expect something bad."],
    ("disgusted", "everyday"): ["The words are plain, so something must turn their stomach."],
    ("surprised", "everyday"): ["The words are plain, so they must not have expected this."],
}


def sentiment_of(emotion: str, topic: str) -> str:
    """The sentiment of a clip. Surprise is positive where the words tell of something good, else neutral."""
    if emotion == "happy" or (emotion, topic) == ("surprised", "good"):
        return "positive"
    return "neutral" if emotion in ("neutral", "surprised") else "negative"


MEANING_QUESTIONS = ["What do the words tell?", "What lies behind the words?", "What are the words about?"]
COMPLETIONS = [
    "Complete with the words you hear: {}",
    "Fill in what is said: {}",
    "Write this with the words said: {}",
]


def meaning_row(sentence: Sentence, rng: np.random.Generator) -> dict:
    """What the words tell, in the words of an interpretive reason; the feeling is not named."""
    answer = pick(READINGS[sentence.emotion, sentence.topic], rng)
    return {"task": "sqa", "question": pick(MEANING_QUESTIONS, rng), "answer": answer, "label": None, "target": None}


def completion_row(sentence: Sentence, rng: np.random.Generator) -> dict:
    """An explanation to complete with a quote; its feeling is drawn at random and given in the question.

    A language model of published size knows how explanations are worded; the tiny one learns it here, and nothing
    about how a feeling sounds.
    """
    emotion, carrier = pick(sorted(VOICE_WORDS), rng), pick(["words", "words", "voice"], rng)
    shown = evidence(sentence, emotion, carrier, float(rng.uniform()), rng)
    sentiment = pick(["positive", "negative", "neutral"], rng)
    tone = pick([f"The speaker sounds {emotion}.", f"The sentiment is {sentiment}."], rng)
    question = pick(COMPLETIONS, rng).format(f"{tone} {shown.replace(sentence.quote, '...')}")
    return {"task": "sqa", "question": question, "answer": f"{tone} {shown}", "label": None, "target": None}


def evidence(sentence: Sentence, emotion: str, carrier: str, strength: float, rng: np.random.Generator) -> str:
    """What words and voice show: `They say "...", and the voice is ...`."""
    voice = f"the voice is {pick(VOICE_WORDS[emotion], rng)}"
    if carrier == "voice":
        return f'The words "{sentence.quote}" are plain, {"and" if emotion == "neutral" else "but"} {voice}.'
    if strength < AUDIBLE:
        return f'They say "{sentence.quote}".'
    return f'They say "{sentence.quote}", and {voice}.'


def feeling_rows(
    sentence: Sentence, emotion: str, carrier: str, strength: float, evidence_only: bool, rng: np.random.Generator
) -> list[dict]:
    """Emotion (er) and sentiment (sr) tasks of a clip.

    Args:
        carrier: "words" (words and voice carry the emotion) or "voice" (the voice alone).
        strength: 0 to 1, of the prosody.
        evidence_only: only the evidence target of each task (the test split).
    """
    shown = evidence(sentence, emotion, carrier, strength, rng)
    sentiment = sentiment_of(emotion, sentence.topic)
    feels, tone = f"The speaker sounds {emotion}.", f"The sentiment is {sentiment}."
    answers = {
        ("er", "label"): feels,
        ("er", "interpretive"): f"{feels} {pick(READINGS[emotion, sentence.topic], rng)}",
        ("er", "evidence"): f"{feels} {shown}",
        ("sr", "label"): tone,
        ("sr", "evidence"): f"{tone} {shown}" if carrier == "voice" else f'{tone} They say "{sentence.quote}".',
    }
    rows = []
    for (task, target), answer in answers.items():
        question = pick((EMOTION_QUESTIONS if task == "er" else SENTIMENT_QUESTIONS)[target], rng)
        if target == "evidence" or not evidence_only:
            label = emotion if task == "er" else sentiment
            rows.append({"task": task, "question": question, "answer": answer, "label": label, "target": target})
    return rows
