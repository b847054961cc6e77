"""The texts of the embedded corpus: word classes, templates, free sentences and the splits they fall into.

Everything here was written for this project. A template is a line of words with slots: `{animal}` takes a word of that
class, `(a|b)` one of the alternatives; `<...>` marks the words that carry the emotion. Which combination of slot words
belongs to which split depends on nothing but the sentence (`split_of`), so corpora made at different times agree:
no sentence is ever heard in training and asked in a test.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass


EMOTIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")

CLASSES = {
    "animal": "dog cat horse rabbit parrot".split(),
    "kin": "mother father sister uncle friend".split(),
    "worker": "teacher doctor driver neighbor boss".split(),
    "place": "garden kitchen market hospital office forest village bridge".split(),
    "thing": "letter necklace window lamp piano bicycle picture phone ticket".split(),
    "vehicle": "train bus boat truck".split(),
    "food": "soup bread cheese cake sandwich coffee milk".split(),
    "colour": "yellow green black white purple".split(),
    "pest": "spider snake worm wolf".split(),
    "number": "three seven eleven twenty".split(),
    "past": ["today", "yesterday", "this morning", "on sunday"],
    "soon": ["tomorrow", "tonight", "on friday", "this evening"],
}

# {emotion: {topic: templates}}; "everyday" holds the sentences whose words carry no emotion.
TEMPLATES = {
    "happy": {
        "win": """
            <we won the final game> {past}
            {past} <i won a new {thing}>
            <my {kin} won first prize>
            hooray <my {kin} won the game>
            {past} <we won the final game>
            <i won the final game> {past}
            <first prize for my {kin}> hooray
            hooray <everybody won the game> {past}
            in the {place} <we won first prize>
            <we won the game> and {number} dollars
        """,
        "gift": """
            <thank you for the beautiful {thing}>
            <what a beautiful {colour} {thing}>
            <this {thing} is a wonderful present>
            a {colour} {thing} <what a wonderful present>
            {past} my {kin} gave <a wonderful present>
            <i love the {colour} {thing}> you gave my {kin}
            <the beautiful {animal} is mine> now
            the {colour} {thing} <thank you so much>
            my {kin} has <a beautiful new {animal}>
        """,
        "reunion": """
            <my {kin} is home again> {past}
            <my {kin} is coming home> {soon}
            {soon} <we celebrate with my {kin}>
            <the baby laughed with my {kin}>
            <we danced and laughed> in the {place}
            at the {place} <everybody laughed and danced>
            <i love my {kin} so much>
            my {kin} laughed <everything is perfect>
            <hooray my {kin} is back> from the {place}
            <i found my beautiful {animal}> again
        """,
        "joy": """
            <this {food} tastes wonderful>
            <what a wonderful evening> in the {place}
            <everything is perfect> in the {place} {soon}
            how beautiful <i love this {place}>
            <we are so lucky> with this {animal}
            {past} <the {place} was so beautiful>
            <i am so lucky> {past}
            <delicious {food} for everybody> {past}
            lucky you <the {food} is delicious>
            <delicious {food} and a perfect evening>
        """,
    },
    "sad": {
        "loss": """
            <i lost my dear old {animal}> {past}
            {past} <my dear {animal} died>
            <my poor old {animal} died>
            <the poor {animal} died> in the {place}
            <my poor {animal} died> and i cried
            my {kin} cried <the {animal} is gone>
            <my {kin} died> in the hospital {past}
            gone forever <my dear old {animal}>
            <i lost the {thing}> from my dear {kin}
            <nobody can save the {animal}>
            <the dear old {thing} is gone>
        """,
        "goodbye": """
            <my {kin} left forever> {past}
            {past} <my {kin} waved goodbye>
            <goodbye my dear {kin}> goodbye
            <we will leave the {place} forever>
            <my dear {kin} is gone> {past}
            <my {kin} never came back>
            from the {vehicle} <my {kin} waved goodbye>
            <it was the final goodbye> for my {kin}
            <you will leave forever> {soon}
        """,
        "alone": """
            <i am so alone> without my {kin}
            <nobody will visit> my old {kin}
            without you <the {place} is empty>
            <i miss my {kin} so much>
            {soon} <i am alone again>
            <my {kin} forgot my birthday> again
            <i cried in the {place}> {past}
            alone and sick <the baby cried> in the {place}
            <nobody remembered my poor {kin}>
            <my poor {kin} is sick>
            <there is no hope> for my {animal}
        """,
    },
    "angry": {
        "damage": """
            <you broke my {thing}> again
            <who stole my {colour} {thing}>
            <the {worker} ruined my {thing}>
            {past} <somebody stole my {thing}>
            <your stupid {animal} ruined my {thing}>
            now <you ruined the whole {place}>
            why <you broke my {colour} {thing}>
            <that idiot broke the {thing}> {past}
            my {colour} {thing} <you stole it>
            <bring back my {thing} now>
        """,
        "unfair": """
            <that {worker} lied to my {kin}>
            <you lied to my {kin}> again
            <how dare you touch> my {kin}
            <it is not fair> the {worker} lied
            <i hate that stupid {worker}>
            <the {worker} ruined everything> {past}
            {past} <the {worker} lied again>
            <you never help my {kin}>
            never again <will i help that {worker}>
            <the stupid {vehicle} left again>
        """,
        "quarrel": """
            <get out of my {place}>
            <shut the {thing} and leave> now
            <stop screaming at my {kin}>
            <do not touch my {thing}>
            <leave my {kin} alone> you idiot
            <enough of this stupid {thing}>
            <take your stupid {animal} out>
            out of the {place} <i hate you>
            <i am furious> with the {worker}
            enough now <shut that stupid {thing}>
            stop it <i am so furious> with my {kin}
        """,
    },
    "fearful": {
        "animal": """
            help <there is a {pest}> in the {place}
            <a {pest} is under the {thing}>
            careful <the {pest} is behind you>
            <the {pest} will bite my {kin}>
            <i am scared of the {pest}>
            do not touch <the {pest} is near>
            <that {pest} can bite> run
            run <a black {pest} is coming> now
            oh no <a {pest} will bite> the {animal}
        """,
        "dark": """
            <somebody is hiding> in the dark {place}
            <a stranger followed my {kin}> {past}
            in the dark <somebody is screaming>
            <there is a stranger> at the window
            behind the {thing} <a stranger is hiding>
            <i am scared of the dark> {place}
            {soon} <the stranger is coming back>
            who is there <i am so scared>
            <do not open> there is a stranger
            <my hands are shaking> in the dark
            <i am scared> in this {place}
        """,
        "danger": """
            <the {place} is on fire> run
            help <the {vehicle} will crash>
            careful <the {vehicle} will crash> run
            <the {vehicle} can not stop> help
            please help <the stranger has a knife>
            <we are trapped> in the {vehicle}
            please help <i am trapped> in the {place}
            run <the {place} will crash>
            <a storm is coming> to the {place}
            <please save my {kin}> from the fire
            <my {kin} is trapped> please help
            <fire fire there is smoke> in the {place}
        """,
    },
    "disgusted": {
        "food": """
            <this {food} is rotten>
            yuck <the {food} tastes horrible>
            <there is a worm> in my {food}
            <a slimy worm in the {food}>
            <the {food} is full of hair>
            i found <hair in the {food}> yuck
            <the rotten slimy {food}> is for my {kin}
            who will eat <this rotten slimy {food}>
            <rotten {food} and rotten eggs> yuck
            {past} <we found rotten {food}>
            <your {food} smells of vomit>
        """,
        "dirt": """
            <the {thing} is full of vomit>
            <what a filthy {place}> yuck
            yuck <your {thing} is filthy>
            <the toilet is filthy> in the {place}
            <do not eat that slimy {food}>
            under the {thing} <everything is slimy>
            <filthy socks are on> the {food}
            <the {animal} is full of garbage>
            <filthy water and garbage> in the {place}
            in the {place} <the toilet is disgusting>
            <a disgusting worm> in the {place} yuck
        """,
        "smell": """
            <the {place} smells of garbage>
            yuck <that {animal} stinks>
            <your {kin} smells of garbage>
            <the {vehicle} stinks of the toilet>
            {past} <the whole {place} stinks>
            <it smells so horrible> in the {vehicle}
            <the filthy {worker} stinks> of vomit
            <disgusting socks in the {thing}> yuck
            <my {animal} will eat vomit> yuck
        """,
    },
    "surprised": {
        "good": """
            wow <a {thing} for my {kin}>
            <i never expected a present> wow
            oh <you really came back> {past}
            <is that {thing} really mine>
            wow <you really won that {thing}>
            what <my {kin} won the {thing}>
            <a party for my {kin}> really
            oh wow <you remembered my birthday>
            really <a whole {place}> for my {kin}
            <suddenly my {kin} is a doctor> wow
        """,
        "strange": """
            wow <the {animal} can really talk>
            what <the {animal} is {colour}>
            <suddenly the {thing} was {colour}>
            <can this {animal} talk> impossible
            <why is the {animal} flying> wow
            <suddenly {number} chairs vanished> wow
            oh <your hair is {colour}> now
            <i never expected this> from my {kin}
            impossible <the {thing} is back>
            wow <the {place} is suddenly {colour}>
            really <you married the {worker}>
            <the {worker} married your {kin}> what
            <a {animal} on the {vehicle}> impossible
            impossible <a {colour} flying {animal}>
            <suddenly a {animal} came out> of the {thing}
            oh <i never expected you> {past}
            really <the whole {place} is mine>
            <a flying {animal}> that is impossible
            oh what <the {thing} vanished>
            <the whole {place} suddenly vanished>
        """,
    },
    "neutral": {
        "ordinary": """
            <there was nothing new> {past}
            <it was a normal morning> in the {place}
            <the {place} is the same> as usual
            {past} <everything was as usual>
            as usual <the {vehicle} left at {number}>
            <my {kin} works as usual> {soon}
            <there is nothing new> at the {place}
            <the {worker} works as usual> in the {place}
            <it is a normal {thing}> i think
            <the {food} is normal> as usual
            <the normal {vehicle} will stop> {soon}
            <my {kin} is the same> as usual
            <this is a normal {thing}>
            <nothing new from the {worker}> {past}
            <the usual {vehicle} is here>
            at {number} <the usual {worker} came>
        """,
    },
}

EVERYDAY = """
    the {vehicle} will leave at {number}
    the {vehicle} to the {place} will leave {soon}
    at {number} the {vehicle} will stop here
    the {thing} is on the table
    my {kin} works in the {place}
    {past} i walked to the {place}
    the {worker} lives near the {place}
    a {colour} {thing} is on the table
    the {colour} {vehicle} will stop near the {place}
    we eat {food} in the {place}
    they drink coffee at {number}
    there are {number} chairs in the {place}
    the {animal} is in the {place}
    the {worker} has a {colour} {thing}
    the meeting is at {number} {soon}
    {soon} the {worker} will visit the {place}
    under the table is a {thing}
    my {kin} painted the {thing} {colour}
    i bring the {thing} to the {place}
    the {place} will open at {number}
    near the {place} is a {colour} door
    the {food} is in the basket
    they walked from the {place} to the {place}
    the {worker} wrote a letter {past}
    we have {number} chairs in the {vehicle}
    she will cook {food} {soon}
    the {thing} is {number} dollars
    behind the {thing} is a basket
    on friday the {place} will open at {number}
    he wrote a letter {past}
    she put the {thing} in the basket
    the {worker} walked to the {vehicle}
    the table in the {place} is {colour}
    there is {food} on the table
    i think the {thing} is {colour}
    they bring {number} chairs to the {place}
    in the basket are {number} eggs
    the {animal} lives with my {kin}
    is the {thing} on the table
    when will the {vehicle} leave {soon}
    where is the {colour} {thing}
    who walked to the {place} {past}
    what did the {worker} read {past}
    who has the ticket for the {vehicle}
    is there {food} in the kitchen
    can you wash the {vehicle} {soon}
    where is the {vehicle} to the {place}
    did the {animal} drink the milk
    what is the color of the {thing}
    how many chairs are in the {place}
    will the {worker} visit the {place} {soon}
    do you want {food} or coffee
    where is the {place} please
    did your {kin} read the letter
    when will the {place} open {soon}
    when will your {kin} visit the {worker}
    are the {number} eggs on the table
    is the {vehicle} at the {place}
    what time is the meeting {soon}
    who painted the {thing} {colour}
    please put the {thing} on the table
    please bring the {thing} to the {place}
    open the window of the {place} please
    please open the {colour} door
    read the {thing} to the {worker} please
    bring {number} chairs to the {place}
    please buy {food} at the market
    wait in the {place} at {number}
    please cook the {food} for my {kin}
    put {number} eggs in the basket
    please wait near the {vehicle}
    call the {worker} at {number} please
    take the {vehicle} to the {place}
    read the letter to your {kin} please
    please cook {food} at {number}
    {soon} please bring the {thing}
    take the {animal} to the {place}
    please wash the {colour} {vehicle}
    take {number} dollars to the {worker}
    show the {thing} to the {worker}
"""

# {emotion: {topic: sentences}} outside every template; the third in turn goes to train, validation, test.
FREE = {
    "happy": {
        "win": """
            now <the final prize is mine>
            <first prize for sister> and everybody laughed
            <perfect we won> the game with uncle
        """,
        "gift": """
            <the present from father is beautiful> and new
            for my birthday <i have a wonderful horse>
            <a beautiful present for everybody> on the table
        """,
        "reunion": """
            hooray <the doctor can save mother> and father
            <uncle laughed and danced> with the baby
            on friday <my dear friend is coming back>
        """,
        "joy": """
            <the baby laughed so much> this evening
            <i love coffee and delicious bread> this morning
            wonderful <tomorrow we visit> the beautiful village
            <so lucky we celebrate> with cake
            in the green forest <we danced and celebrate>
            <wonderful bread and delicious cheese> what a party
        """,
    },
    "sad": {
        "loss": """
            <i lost the final picture> of my old friend
            poor old parrot <nobody can save you>
            <the fire ruined everything> and mother died
            <father is gone forever> and i am alone
            <the horse was so sick> it died today
        """,
        "goodbye": """
            <my dear friend vanished> without a goodbye
            she cried and <waved from the boat> forever gone
            <he left and never came back> to the village
            the final letter is <goodbye forever my dear>
            this evening is empty <now you leave forever>
        """,
        "alone": """
            <there is nobody here> and i cried this evening
            <old and sick he lives> in the empty kitchen
            on my birthday <i was so alone>
            my poor sister <has no hope> and no friend
            <nobody remembered the old teacher> in the hospital
        """,
    },
    "angry": {
        "damage": """
            idiot <the piano is ruined> and you laughed
            <you broke the window> of my new truck
            bring the ticket back <you stole it from mother>
            <they ruined my whole evening> with that phone
            stop now <who broke my lamp>
        """,
        "unfair": """
            <my boss lied again> and i have nothing
            you lied today and <you lied on sunday>
            <that is not fair> you never help
            <i hate the stupid bus driver> he lied to father
            <how dare they touch> my new bicycle
        """,
        "quarrel": """
            <stop that now> i am furious
            <take your hands out> from my bicycle
            <shut the door and get out>
            enough <i will not wait> for that idiot
            <never touch my letter again> you idiot
        """,
    },
    "fearful": {
        "animal": """
            <the wolf is at the door> save the baby
            help <a green snake is coming> from the basket
            <careful that dog can bite> and it is near
            <the spider is coming> from under the piano
            i am shaking <the wolf is so near>
        """,
        "dark": """
            <somebody is behind the window> with a knife
            it is dark and <i am so scared>
            <somebody is screaming in the forest> and coming
            <please do not leave> i am scared in here
            the stranger <is coming to the kitchen> run
        """,
        "danger": """
            <i am so scared> the truck can not stop
            <smoke is coming> out of the hospital run
            oh no <the boat will crash> save the baby
            <run the storm is here> and there is fire
            <we will crash> please stop the truck now
        """,
    },
    "disgusted": {
        "food": """
            yuck <there is vomit> in the soup
            <the milk is slimy> and full of hair
            <he put a slimy worm> and vomit on bread
            <rotten eggs and filthy cheese> for my sister
            they cook <eggs full of filthy hair>
        """,
        "dirt": """
            <there is vomit> on the table of the bus
            <your filthy hands touch> the cake yuck
            <a slimy hair is on> my sandwich
            <the kitchen is disgusting> with garbage and hair
            filthy water and <a worm in the toilet>
        """,
        "smell": """
            <the old basket stinks> of rotten cheese
            <the garbage smells so horrible> this morning
            yuck <he never will wash> and he stinks
            <what is that disgusting vomit> in your hair
            the poor rabbit <smells horrible and rotten>
        """,
    },
    "surprised": {
        "good": """
            what <the horse is really mine> wow
            oh <a whole party for everybody> wow
            wow <you came from the hospital> so suddenly
            <i never expected the prize> really
            impossible <a whole boat for father>
        """,
        "strange": """
            <the horse is in the kitchen> impossible
            wow <the piano can suddenly talk>
            really <you have eleven dollars> in your hair
            <a snake on the bus> impossible
            <suddenly he is flying> and nobody is scared
            what <the whole bridge is purple>
            <my neighbor is your sister> oh really
            oh <the doctor vanished> from the train
            <you married a driver> without a party
            impossible <it was never the same letter>
        """,
    },
    "neutral": {
        "ordinary": """
            <everything is normal> and nothing is new
            <it is the usual train> at the usual time
            the morning was normal <i think as usual>
            <nothing new at the meeting> as usual
            <same table same chairs> as yesterday
            as usual <i am at the office> at seven
            today and yesterday <everything is the same>
            <the meeting is as usual> and coffee is normal
            at the office <it is a normal friday>
        """,
    },
}

FREE_EVERYDAY = """
    the ticket for the truck is in the basket
    from the meeting we walked to the bus
    is your uncle a teacher or a doctor
    i want bread and milk please
    the door of the office is green
    on sunday the market will open at eleven
    please show my neighbor the ticket
    they have a garden in the village
    twenty chairs and seven eggs are here
    my friend will read in the garden
    when do you drink coffee
    put the white lamp near the window
    this letter is for the driver
    he wrote to the boss on friday
    the black horse walked to the bridge
    how many eggs are in the cake
    we walked to the hospital with mother
    put the picture near the piano please
    the time of the meeting is in the letter
    mother and father have coffee in the market
    do not open the window this evening
    the boss has three eggs on the table
    where can i buy a yellow bicycle
    the water is in the kitchen
    she came with a basket of cheese and bread
    please call my sister at seven
    will you take the bus or the boat
    the cat and the rabbit eat and drink
    the water is for the white horse
    my sister painted three chairs
    where is the door for the teacher
    the purple necklace is eleven dollars
    wait here and read the letter
    the driver lives in a white village
    tomorrow i will cook soup for twenty
    near the market there is a white door
    did the doctor call this morning
    your ticket is under the green lamp
    the bus from the village will stop on friday
    open the letter and read it please
    who has the black truck on friday
    the parrot lives in the kitchen
    bring the ticket and the phone to my uncle
    this morning the train is at the bridge
    the baby walked with the dog
    we wash the window on sunday
    what do you want to eat tonight
    the table is twenty dollars i think
    the piano is near the door
    they visit the office at three
    please take a picture tomorrow
    the forest is behind the village
    my neighbor has a new phone
    did this train stop at the market
    put the bread and the cheese here please
    the teacher wrote to my mother and father
    do you want the table or the chairs
    there is coffee for the driver
    the boat is white and purple
    i walked and my sister will take the bus
    show your ticket at the door
    are there eleven or twenty dollars
    the meeting is not in this office
    he wrote a letter in the bus
    take water to the garden
    is the hospital near the bridge
"""

SPLITS = ("train", "validation", "test")
_SLOT = re.compile(r"\{(\w+)\}|\(([^()]*)\)")


@dataclass(frozen=True)
class Sentence:
    """A text to be said.

    Attributes:
        text: lower-case words.
        emotion: the emotion the words carry ("neutral" for everyday and ordinary ones).
        topic: what it is about; "everyday" where the words carry nothing.
        quote: the 3 to 6 words that show the emotion (for everyday sentences: all or the first five).
        wording: "template" or "free" ("string" for random words, base corpus only).
        template: number of the template, -1 without one.
    """

    text: str
    emotion: str
    topic: str
    quote: str
    wording: str
    template: int = -1


def lines_of(block: str) -> list[str]:
    """The non-empty lines of an indented block."""
    return [line.strip() for line in block.splitlines() if line.strip()]


def all_templates() -> list[tuple[str, str, str]]:
    """Every template as (emotion, topic, line)."""
    marked = [
        (e, t, line) for e, topics in TEMPLATES.items() for t, block in topics.items() for line in lines_of(block)
    ]
    return marked + [("neutral", "everyday", line) for line in lines_of(EVERYDAY)]


def slots(line: str) -> list[list[str]]:
    """The alternatives of each slot of a template, in order."""
    return [CLASSES[name] if name else inline.split("|") for name, inline in _SLOT.findall(line)]


def fill(line: str, choice: tuple[str, ...]) -> str:
    """A template with one word (or phrase) put into each slot."""
    words = iter(choice)
    return _SLOT.sub(lambda _: next(words), line)


def pattern(line: str) -> re.Pattern:
    """A regular expression that matches every sentence of a template and no other."""
    plain = re.sub(r"[<>]", "", line)
    parts = (
        "(?:" + "|".join(CLASSES[m[1]] if m[1] else m[2].split("|")) + ")" if m else re.escape(text)
        for text, m in _split_slots(plain)
    )
    return re.compile("".join(parts))


def _split_slots(line: str):
    end = 0
    for match in _SLOT.finditer(line):
        yield line[end : match.start()], None
        yield "", match
        end = match.end()
    yield line[end:], None


def parse(marked: str, emotion: str, topic: str, wording: str, template: int = -1) -> Sentence:
    """Read one marked line without slots."""
    text = re.sub(r"[<>]", "", marked)
    found = re.search(r"<(.*)>", marked)
    words = text.split()
    quote = found[1] if found else text if len(words) <= 6 else " ".join(words[:5])
    return Sentence(text, emotion, topic, quote, wording, template)


def split_of(text: str) -> str:
    """The split of a filled template: 6 in 8 train, 1 in 8 validation and test each, by a hash of the text."""
    place = hashlib.sha256(text.encode()).digest()[0] % 8
    return {0: "validation", 1: "test"}.get(place, "train")


def template_sentences() -> dict[str, list[list[Sentence]]]:
    """For each split, the sentences of each template (one inner list per template, possibly empty).

    Templates with fewer than four sentences are used in train only, so that the words around the slots of any
    validation or test sentence have been heard in training.
    """
    out = {split: [] for split in SPLITS}
    for number, (emotion, topic, line) in enumerate(all_templates()):
        sentences = [
            parse(fill(line, choice), emotion, topic, "template", number) for choice in itertools.product(*slots(line))
        ]
        for split in SPLITS:
            if len(sentences) < 4:
                mine = sentences if split == "train" else []
            else:
                mine = [s for s in sentences if split_of(s.text) == split]
            out[split].append(mine)
    return out


def free_sentences(split: str) -> list[Sentence]:
    """The free sentences of one split: every third of each emotion's."""
    out = []
    for emotion, topics in FREE.items():
        found = [parse(line, emotion, topic, "free") for topic, block in topics.items() for line in lines_of(block)]
        out += found[SPLITS.index(split) :: 3]
    everyday = [parse(line, "neutral", "everyday", "free") for line in lines_of(FREE_EVERYDAY)]
    return out + everyday[SPLITS.index(split) :: 3]


def vocabulary() -> list[str]:
    """All words of the corpora, sorted."""
    lines = [re.sub(r"[<>]", "", line) for _, _, line in all_templates()]
    words = {w for line in lines for part in _SLOT.sub(" ", line).split() for w in part.split()}
    words |= {w for line in lines for options in slots(line) for option in options for w in option.split()}
    words |= {w for split in SPLITS for s in free_sentences(split) for w in s.text.split()}
    return sorted(words)
