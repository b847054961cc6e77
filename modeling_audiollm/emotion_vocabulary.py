# This file travels to the Hub with the weights, so it stands alone: standard library only, no import of ours.
"""What words say of a speaker, as data for `emotion_lexicon.py` and `emotion_reading.py`.

`labels`: the adjective that stands for a concept in our label sets, and other words for it that corpora use as labels.
`emotions`: per concept its words, every inflection written out, a hyphen as a space. A concept that is a class of the
label set counts as that class. Else it counts as the one class of its `is` list in the set (two such classes:
between_classes), else it is out of the set, near the classes of its `near` list. For a set with positive and negative
it counts as its `valence`. `manner`: a way of speaking, which yields to any emotion named beside it.

It is JSON inside a module because of a checkpoint's folder on the Hub only its modules are fetched with the code.
"""

import json
from typing import Any


VOCABULARY: dict[str, Any] = json.loads("""
{
  "label_sets": {
    "emotion7": ["neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised"],
    "ravdess8": ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"],
    "iemocap10": [
      "angry", "excited", "fear", "frustrated", "happy", "neutral", "sad", "surprised", "disgust", "other"
    ],
    "sentiment": ["positive", "negative", "neutral"]
  },
  "labels": {
    "neutral": ["neutral", "neutrality"],
    "calm": ["calm", "calmness"],
    "happiness": ["happy", "happiness", "joy", "joyful"],
    "excitement": ["excited", "excitement"],
    "sadness": ["sad", "sadness"],
    "anger": ["angry", "anger"],
    "frustration": ["frustrated", "frustration"],
    "fear": ["fearful", "fear", "afraid", "scared"],
    "disgust": ["disgusted", "disgust"],
    "contempt": ["contemptuous", "contempt"],
    "surprise": ["surprised", "surprise"],
    "boredom": ["bored", "boredom"],
    "anxiety": ["anxious", "anxiety"]
  },
  "emotions": {
    "neutral": {
      "valence": "neutral",
      "words": [
        "neutral", "neutrally", "neutrality", "emotionless", "emotionlessly", "unemotional", "unemotionally",
        "matter of fact", "matter of factly", "impassive", "dispassionate", "expressionless", "emotionally flat",
        "flat affect", "neither positive nor negative", "neither negative nor positive", "not positive or negative",
        "nonchalant", "impartial"
      ]
    },
    "calm": {
      "valence": "neutral",
      "is": ["neutral"],
      "manner": true,
      "words": [
        "calm", "calmly", "calmer", "calmness", "composed", "composure", "serene", "serenely", "serenity",
        "tranquil", "tranquility", "tranquillity", "peaceful", "peacefully", "peacefulness", "relaxed", "at ease",
        "even tempered", "level headed", "unruffled", "placid", "mellow", "laid back"
      ]
    },
    "happiness": {
      "valence": "positive",
      "words": [
        "happy", "happier", "happiest", "happily", "happiness", "joy", "joys", "joyful", "joyfully", "joyfulness",
        "joyous", "joyously", "glad", "gladly", "gladness", "cheerful", "cheerfully", "cheerfulness", "cheery",
        "cheer", "delighted", "delight", "delightedly", "delightful", "pleased", "pleasure", "elated", "elation",
        "overjoyed", "gleeful", "gleefully", "glee", "jolly", "jovial", "merry", "merrily", "merriment", "blissful",
        "bliss", "ecstatic", "ecstatically", "ecstasy", "upbeat", "good mood", "high spirits", "in good spirits",
        "over the moon", "on cloud nine", "jubilant", "jubilation", "euphoric", "euphoria", "rejoicing", "beaming",
        "light hearted", "lighthearted"
      ]
    },
    "elation": {
      "valence": "positive",
      "is": ["happiness", "excitement"],
      "words": [
        "thrilled", "exhilarated", "exhilaration", "exuberant", "exuberance", "exuberantly", "pumped up", "stoked"
      ]
    },
    "excitement": {
      "valence": "positive",
      "near": ["happiness"],
      "words": [
        "excited", "excitedly", "excitement", "exciting", "enthusiastic", "enthusiastically", "enthusiasm", "eager",
        "eagerly", "eagerness", "animated", "energetic", "energized", "anticipation", "looking forward"
      ]
    },
    "amusement": {
      "valence": "positive",
      "near": ["happiness"],
      "words": [
        "amused", "amusement", "amusedly", "playful", "playfully", "playfulness", "laughing", "giggling", "joking",
        "jokingly", "humorous", "humor", "humour", "mirth", "teasing", "teasingly"
      ]
    },
    "contentment": {
      "valence": "positive",
      "near": ["happiness", "calm"],
      "words": [
        "contented", "contentment", "satisfied", "satisfaction", "gratified", "fulfilled", "fulfilment",
        "fulfillment", "sounds content", "feels content", "is content", "seems content", "feeling content"
      ]
    },
    "affection": {
      "valence": "positive",
      "near": ["happiness"],
      "words": [
        "affectionate", "affectionately", "affection", "loving", "lovingly", "tender", "tenderness", "fond",
        "fondness", "adoring", "adoration", "admiration", "admiring"
      ]
    },
    "pride": {
      "valence": "positive",
      "near": ["happiness"],
      "words": ["proud", "proudly", "pride", "triumphant", "triumph", "triumphantly"]
    },
    "gratitude": {
      "valence": "positive",
      "near": ["happiness"],
      "words": [
        "grateful", "gratefully", "gratitude", "thankful", "thankfully", "thankfulness", "appreciative",
        "appreciation"
      ]
    },
    "relief": {
      "valence": "positive",
      "near": ["happiness", "calm"],
      "words": ["relieved", "relief"]
    },
    "hope": {
      "valence": "positive",
      "near": ["happiness"],
      "words": [
        "hopeful", "hopefulness", "optimistic", "optimism", "optimistically", "encouraged"
      ]
    },
    "sadness": {
      "valence": "negative",
      "words": [
        "sad", "sadder", "saddest", "sadly", "sadness", "saddened", "unhappy", "unhappily", "unhappiness", "sorrow",
        "sorrows", "sorrowful", "sorrowfully", "grief", "grieving", "grieved", "grief stricken", "mournful",
        "mournfully", "mourning", "melancholy", "melancholic", "depressed", "depression", "depressive", "dejected",
        "dejection", "despondent", "despondency", "gloomy", "gloom", "gloomily", "heartbroken", "heartbreak",
        "heartsick", "miserable", "miserably", "misery", "tearful", "tearfully", "crying", "weeping", "sobbing",
        "in tears", "downcast", "downhearted", "crestfallen", "forlorn", "woeful", "anguish", "anguished", "despair",
        "despairing", "devastated", "devastation", "feeling down", "sounds down", "feels down", "feeling low",
        "blue mood", "down in the dumps", "crushed", "somber", "sombre", "bereaved", "inconsolable"
      ]
    },
    "disappointment": {
      "valence": "negative",
      "near": ["sadness"],
      "words": [
        "disappointed", "disappointedly", "disappointment", "disappointing", "let down", "disheartened",
        "discouraged", "disillusioned", "dismayed", "dismay"
      ]
    },
    "hurt": {
      "valence": "negative",
      "near": ["sadness", "anger"],
      "words": ["hurt", "wounded", "rejected", "betrayed", "betrayal", "heartache"]
    },
    "loneliness": {
      "valence": "negative",
      "near": ["sadness"],
      "words": ["lonely", "loneliness", "abandoned", "isolated", "homesick"]
    },
    "regret": {
      "valence": "negative",
      "near": ["sadness"],
      "words": [
        "regret", "regrets", "regretful", "regretfully", "remorse", "remorseful", "guilt", "guilty", "guiltily",
        "ashamed", "shame", "embarrassed", "embarrassment", "apologetic", "apologetically", "humiliated",
        "humiliation", "sounds sorry", "feels sorry"
      ]
    },
    "resignation": {
      "valence": "negative",
      "near": ["sadness"],
      "words": [
        "resigned", "resignation", "hopeless", "hopelessness", "hopelessly", "defeated", "helpless", "helplessness",
        "weary", "wearily", "weariness", "tired", "exhausted", "exhaustion", "pessimistic", "pessimism"
      ]
    },
    "longing": {
      "valence": null,
      "near": ["sadness", "happiness"],
      "words": [
        "longing", "wistful", "wistfully", "wistfulness", "yearning", "nostalgic", "nostalgia"
      ]
    },
    "sympathy": {
      "valence": null,
      "near": ["sadness"],
      "words": [
        "sympathetic", "sympathetically", "sympathy", "compassion", "compassionate", "pity"
      ]
    },
    "bittersweet": {
      "valence": null,
      "near": ["happiness", "sadness"],
      "words": ["bittersweet"]
    },
    "upset": {
      "valence": "negative",
      "near": ["sadness", "anger", "fear"],
      "words": [
        "upset", "distressed", "distress", "distraught", "troubled", "agonized", "pained", "suffering", "disturbed",
        "unsettled", "emotional turmoil", "turmoil"
      ]
    },
    "anger": {
      "valence": "negative",
      "words": [
        "angry", "angrier", "angriest", "angrily", "anger", "angered", "mad", "furious", "furiously", "fury", "rage",
        "rages", "raged", "raging", "enraged", "irate", "irately", "livid", "outraged", "outrage", "wrath",
        "wrathful", "hostile", "hostility", "incensed", "infuriated", "fuming", "seething", "indignant",
        "indignantly", "indignation", "heated", "temper", "resentful", "resentment", "aggressive", "aggressively",
        "aggression", "pissed off", "pissed", "hateful", "hatred"
      ]
    },
    "annoyance": {
      "valence": "negative",
      "is": ["anger", "frustration"],
      "words": [
        "annoyed", "annoyedly", "annoyance", "irritated", "irritatedly", "irritation", "irritable", "irritably",
        "aggravated", "aggravation", "exasperated", "exasperation", "exasperatedly", "vexed", "irked", "fed up",
        "displeased", "displeasure", "grumpy", "cranky", "impatient", "impatience", "impatiently"
      ]
    },
    "frustration": {
      "valence": "negative",
      "near": ["anger", "sadness"],
      "words": ["frustrated", "frustratedly", "frustration", "frustrations", "frustrating"]
    },
    "dissatisfaction": {
      "valence": "negative",
      "near": ["anger", "frustration", "disgust"],
      "words": [
        "dissatisfied", "dissatisfaction", "discontent", "discontented", "complaining", "disapproving",
        "disapproval", "disapprovingly", "bitter", "bitterly", "bitterness", "defensive", "accusatory",
        "confrontational", "jealous", "jealousy", "envious"
      ]
    },
    "fear": {
      "valence": "negative",
      "words": [
        "fear", "fears", "fearful", "fearfully", "fearfulness", "afraid", "scared", "frightened", "fright",
        "frightful", "terrified", "terror", "terrifying", "panicked", "panicky", "panic", "panicking", "petrified",
        "dread", "dreading", "horror", "spooked", "trembling with fear", "fearing", "scary"
      ]
    },
    "anxiety": {
      "valence": "negative",
      "near": ["fear"],
      "words": [
        "anxious", "anxiously", "anxiety", "anxieties", "nervous", "nervously", "nervousness", "worried",
        "worriedly", "worry", "worries", "worrying", "uneasy", "uneasily", "uneasiness", "unease", "apprehensive",
        "apprehensively", "apprehension", "tense", "tension", "stressed", "stress", "concerned", "jittery",
        "on edge", "insecure", "insecurity", "trepidation", "alarmed", "alarm"
      ]
    },
    "horrified": {
      "valence": "negative",
      "near": ["fear", "disgust", "surprise"],
      "words": ["horrified", "appalled", "aghast"]
    },
    "disgust": {
      "valence": "negative",
      "words": [
        "disgust", "disgusted", "disgustedly", "disgusting", "revolted", "revolting", "revulsion", "repulsed",
        "repulsion", "repulsive", "repelled", "repugnance", "repugnant", "nauseated", "nausea", "sickened",
        "grossed out", "gross", "distaste", "distasteful", "abhorrence", "loathing", "aversion", "ick"
      ]
    },
    "contempt": {
      "valence": "negative",
      "near": ["disgust", "anger"],
      "words": [
        "contempt", "contemptuous", "contemptuously", "scorn", "scornful", "scornfully", "disdain", "disdainful",
        "disdainfully", "derision", "mocking", "mockingly", "dismissive", "dismissively", "sneering"
      ]
    },
    "surprise": {
      "valence": null,
      "words": [
        "surprise", "surprised", "surprisedly", "surprising", "astonished", "astonishment", "astonishing", "amazed",
        "amazement", "startled", "shocked", "shock", "stunned", "astounded", "taken aback", "dumbfounded",
        "flabbergasted", "caught off guard", "wonderment", "awe", "awestruck", "thunderstruck"
      ]
    },
    "disbelief": {
      "valence": null,
      "near": ["surprise"],
      "words": [
        "disbelief", "incredulous", "incredulously", "incredulity", "unbelieving", "bewildered", "bewilderment"
      ]
    },
    "confusion": {
      "valence": null,
      "manner": true,
      "words": [
        "confused", "confusedly", "confusion", "puzzled", "puzzlement", "perplexed", "baffled", "uncertain",
        "uncertainty", "unsure", "doubtful", "doubt", "skeptical", "skepticism", "sceptical", "hesitant",
        "hesitantly", "hesitation"
      ]
    },
    "boredom": {
      "valence": null,
      "near": ["neutral", "sadness"],
      "words": [
        "bored", "boredom", "uninterested", "disinterested", "indifferent", "indifference", "apathetic", "apathy",
        "listless", "monotone", "monotonous", "flat tone", "flat voice", "detached"
      ]
    },
    "sarcasm": {
      "valence": null,
      "manner": true,
      "words": ["sarcastic", "sarcastically", "sarcasm", "ironic", "ironically", "irony"]
    },
    "demeanour": {
      "valence": null,
      "near": ["neutral"],
      "manner": true,
      "words": [
        "serious", "seriously", "formal", "casual", "casually", "conversational", "informative", "informational",
        "friendly", "polite", "politely", "professional", "businesslike", "curious", "curiously", "curiosity",
        "interested", "interest", "thoughtful", "thoughtfully", "reflective", "pensive", "contemplative",
        "confident", "confidently", "confidence", "determined", "determination", "assertive", "firm", "sincere",
        "earnest", "gentle", "gently", "warm", "warmth", "steady", "measured", "straightforward", "objective",
        "factual", "practical", "attentive"
      ]
    },
    "positive": {
      "valence": "positive",
      "near": ["happiness", "excitement"],
      "words": [
        "positive", "positively", "positivity", "favorable", "favourable", "favorably", "favourably", "good feeling",
        "pleasant"
      ]
    },
    "negative": {
      "valence": "negative",
      "near": ["sadness", "anger", "fear", "disgust", "frustration"],
      "words": [
        "negative", "negatively", "negativity", "unfavorable", "unfavourable", "unfavorably", "unpleasant",
        "bad mood"
      ]
    },
    "other": {
      "valence": null,
      "words": ["something else", "none of the above", "none of these"]
    }
  },
  "several_emotions": [
    "mixed emotions", "mix of emotions", "mixture of emotions", "mixed feelings", "mixed sentiment",
    "mixed sentiments", "mixed", "ambivalent", "ambivalence", "conflicted", "conflicting emotions",
    "range of emotions", "various emotions", "multiple emotions"
  ],
  "emotion_nouns": ["emotion", "emotions", "emotional", "feeling", "feelings", "sentiment", "affect"],
  "not_emotions": [
    "happy birthday", "happy new year", "happy holidays", "happy hour", "happy ending", "merry christmas",
    "surprise party", "birthday surprise", "surprisingly", "unsurprisingly", "not surprisingly", "i'm afraid",
    "i am afraid", "i'm sorry", "i am sorry", "in fear that", "at first", "at times", "at the beginning",
    "at the start", "at the end", "at once", "by the end", "over time", "no doubt", "without a doubt",
    "without doubt", "without question", "no wonder", "no question", "can't help but", "cannot help but",
    "could not help but", "couldn't help but", "nothing but", "not without", "not to mention", "nothing less than",
    "none other than", "no less", "the fear factor", "anger management", "mad at the same time", "not only",
    "not just", "not merely", "not simply", "not solely", "isn't only", "isn't just", "isn't merely", "stress on",
    "stress the", "alarm clock", "shock absorber", "cheer up", "interest rate", "interest rates", "joy to the world",
    "feeling that", "gross domestic", "good feeling about", "a good deal", "a little", "a little bit", "can't hide",
    "cannot hide", "couldn't hide", "doesn't hide", "does not hide", "didn't hide", "not hiding", "unable to hide",
    "can't conceal", "cannot conceal", "doesn't conceal", "does not conceal", "barely concealed", "barely hidden",
    "barely contained"
  ],
  "negators": [
    "not", "isn't", "aren't", "wasn't", "weren't", "ain't", "doesn't", "don't", "didn't", "no", "never", "neither",
    "nor", "none", "without", "lacks", "lack", "lacking", "lack of", "absence of", "devoid of", "free of",
    "free from", "hardly", "barely", "scarcely", "rather than", "instead of", "as opposed to", "opposed to",
    "far from", "anything but", "nothing", "cannot", "can't", "couldn't", "wouldn't", "won't", "unlike", "absent",
    "little", "fails to", "fail to", "failing to", "failed to", "excludes", "excluding", "rules out", "ruling out",
    "no longer", "used to be", "used to feel", "used to sound", "used to seem", "stopped being", "stopped feeling",
    "stops being", "no more", "overcame", "overcomes", "got over", "gets over", "minus", "nowhere near", "neither of"
  ],
  "negation_lists": [
    "or", "nor", "and", "any", "even", "particularly", "especially", "very", "too", "a", "an", "the", "of", "in",
    "sign", "signs", "hint", "hints", "trace", "traces", "sense", "overly", "really", "either", "strong", "strongly",
    "overt", "overtly", "clear", "clearly", "much", "particular", "kind", "hint of", "feel", "feeling", "sound",
    "sounding", "tone"
  ],
  "negation_ends": [
    "but", "however", "though", "although", "yet", "while", "whereas", "instead", "rather", "just", "only", "simply",
    "other than", "except", "except for", "besides", "apart from", "beyond", "and sounds", "and seems", "and is",
    "it's more", "more like", "more of"
  ],
  "exceptions": ["other than", "except", "except for", "besides", "apart from", "beyond", "but"],
  "reasons": [
    "because", "since", "due to", "given", "owing to", "thanks to", "after", "before", "when", "whenever", "that",
    "about", "over", "at", "by", "in response to", "towards", "toward", "upon", "if", "so that", "as he", "as she",
    "as they", "as it", "as the", "as there", "as her", "as his",
    "as their", "as evidenced", "as indicated", "as shown", "as seen", "as reflected",
    "as suggested", "who", "whose", "to see", "to hear", "to be", "to have", "to get", "to know", "to find",
    "to learn", "to meet", "to finally", "for", "despite", "in spite of", "based on"
  ],
  "resets": [
    "but", "however", "yet", "although", "though", "whereas", "while", "nevertheless", "nonetheless",
    "on the other hand", "at the same time", "and also", "as well as", "along with", "together with", "followed by",
    "and then", "then", "later", "mixed with", "combined with", "tinged with", "and sounds", "and seems",
    "and feels", "accompanied by"
  ],
  "statements": [
    "speaker", "speaker's", "speakers", "voice", "tone", "person", "person's", "man", "man's", "woman", "woman's",
    "emotion", "emotions", "emotional", "feeling", "feelings", "mood", "sentiment", "attitude", "state", "delivery",
    "utterance", "speech", "audio", "clip", "recording", "speaking", "spoken", "inflection", "intonation", "sounds",
    "sound", "sounding", "sounded", "seems", "seem", "seeming", "seemed", "appears", "appear", "appearing",
    "appeared", "feels", "feel", "felt", "expresses", "express", "expressing", "expressed", "conveys", "convey",
    "conveying", "conveyed", "shows", "show", "showing", "showed", "shown", "indicates", "indicate", "indicating",
    "indicated", "suggests", "suggest", "suggesting", "suggested", "reflects", "reflect", "reflecting", "reflected",
    "reveals", "reveal", "revealing", "displays", "display", "displaying", "demonstrates", "demonstrate",
    "demonstrating", "exhibits", "exhibit", "exhibiting", "implies", "imply", "implying", "carries", "carry",
    "carrying", "betrays", "betray", "sense", "hint", "hints", "tinge", "undertone", "undertones", "expression",
    "likely", "probably", "classified", "classify", "detected", "identified", "identify", "labeled", "labelled",
    "recognized", "perceived", "comes across", "coming across", "come across", "best described",
    "hint at", "hints at", "hinting at", "point to", "points to", "pointing to",
    "touch of", "note of", "mostly", "mainly", "predominantly", "largely", "slightly", "somewhat", "possibly",
    "perhaps", "maybe", "she's", "he's",
    "they're", "she", "he", "they", "is", "was", "are", "it's", "could be", "might be", "may be", "would be",
    "must be", "became", "becomes", "label", "answer", "category", "class", "says", "said", "prediction", "detect",
    "hear", "think", "believe", "guess", "say", "interpreted", "choose", "select", "pick", "go with", "it's more",
    "more like", "and sounds", "and seems", "and feels", "and is"
  ],
  "questions": [
    "is", "are", "was", "were", "does", "do", "did", "can", "could", "would", "should", "will", "has", "have", "what",
    "which", "who", "whose", "how", "why", "where", "when"
  ],
  "first_person": [
    "i am", "i'm", "i was", "i feel", "i felt", "i've been", "we are", "we're", "we were", "makes me", "made me",
    "make me", "i get", "i got", "i'll be", "i would be", "i'd be", "i look", "you are", "you're", "you make me",
    "you look", "are you", "let's be", "my", "your", "our"
  ],
  "subjects": [
    "speaker", "speaker's", "speakers", "person", "man", "woman", "voice", "tone", "she", "he", "they", "she's",
    "he's", "they're", "emotion", "answer", "guess", "audio", "label", "sentiment", "mood", "sounds", "individual",
    "caller", "narrator", "feeling is"
  ],
  "refusals": [
    "cannot determine", "can't determine", "cannot be determined", "can't be determined", "could not determine",
    "couldn't determine", "unable to", "not able to", "cannot tell", "can't tell", "could not tell", "couldn't tell",
    "cannot identify", "can't identify", "cannot be identified", "cannot say", "can't say", "cannot infer",
    "can't infer", "cannot be inferred", "cannot assess", "cannot answer", "can't answer", "cannot analyze",
    "cannot analyse", "can't analyze", "cannot detect", "can't detect", "cannot recognize", "cannot process",
    "can't process", "cannot hear", "can't hear", "cannot access", "can't access", "cannot listen", "can't listen",
    "don't have access", "do not have access", "don't have the ability", "do not have the ability", "do not know",
    "don't know", "does not know", "i'm not sure", "i am not sure", "not sure", "not clear", "unclear",
    "hard to tell", "hard to say", "difficult to tell", "difficult to say", "difficult to determine",
    "hard to determine", "difficult to identify", "impossible to tell", "impossible to determine",
    "impossible to say", "not possible to", "not enough information", "insufficient information",
    "insufficient context", "not enough context", "as an ai", "as a language model", "as an artificial intelligence",
    "no audio", "not provided", "need more context", "more context is needed", "undetermined", "undeterminable",
    "indeterminate", "inconclusive", "cannot provide", "can't provide", "can't help with", "cannot help with",
    "cannot assist", "can't assist", "isn't possible", "no way to know", "not evident", "unknown", "not discernible",
    "cannot be discerned", "not apparent", "ambiguous", "open to interpretation", "could be anything"
  ],
  "model_refusals": [
    "i cannot", "i can't", "i can not", "i am unable", "i'm unable", "i won't", "i will not", "i'm sorry",
    "i am sorry", "i apologize", "i apologise", "as an ai", "language model", "unable to determine",
    "i don't have enough", "i do not have enough"
  ],
  "bare_answers": {
    "other": "other",
    "others": "other",
    "content": "contentment",
    "something else": "other",
    "none of the above": "other",
    "no emotion": "neutral",
    "down": "sadness",
    "flat": "boredom"
  },
  "overlapping": [["happiness", "excitement"], ["anger", "frustration"]]
}
""")
