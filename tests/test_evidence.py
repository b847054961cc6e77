"""Quotes are found where a reader sees them, and grounded only where the transcript holds them."""

import pytest

from audiollm.modeling_audiollm.evidence import cut_quotes, find_quotes, ground_quote, heard_sureness


def texts(source):
    return [quote.text for quote in find_quotes(source)]


@pytest.mark.parametrize(
    "source, expected",
    [
        ("", []),
        ("The speaker sounds sad.", []),
        ('They say "I lost my dog", which hurts.', ["I lost my dog"]),
        ('"I lost it" and "I miss it"', ["I lost it", "I miss it"]),
        ("They say \u201cI lost my dog\u201d today.", ["I lost my dog"]),
        ("\u201eIch bin m\u00fcde\u201c sagt er, \u00abtant pis\u00bb dit-elle.", ["Ich bin m\u00fcde", "tant pis"]),
        ("\u4ed6\u8bf4\u201c\u6211\u5f88\u7d2f\u201d\uff0c\u5f88\u4f24\u5fc3\u3002", ["\u6211\u5f88\u7d2f"]),
        ("The words 'never again' show anger.", ["never again"]),
        ("The words \u2018never again\u2019 show anger.", ["never again"]),
        ("It's the speaker's mood, and they don't hide it.", []),
        ("The boys' voices and the girls' laughter aren't sad.", []),
        ("'I don't know what you're doing' sounds lost.", ["I don't know what you're doing"]),
        ("\u2018I don\u2019t know\u2019 sounds lost.", ["I don\u2019t know"]),
        ("The phrase 'the boys' room is a mess' is angry.", ["the boys' room is a mess"]),
        ("They keep sayin' it 'cause they're mad.", []),
        ("Back in the '90s they'd go 'round singin' all day.", []),
        ("The word 'cause' matters.", ["cause"]),
        ("He said \"she told me 'go away' and left\" twice.", ["she told me 'go away' and left"]),
        ("He said \u201cshe told me \u2018go\u2019 and left\u201d.", ["she told me \u2018go\u2019 and left"]),
        ("He said 'she told me \"go\" and left'.", ['she told me "go" and left']),
        ('The words "he said "go" to me" hurt.', ['he said "go" to me']),
        ('They say "I lost my', []),
        ('They say "I lost my dog" and "I am', ["I lost my dog"]),
        ('They say "I lost my and then "I am so sad".', ["I am so sad"]),
        ("They say 'I lost my and then 'I am so sad'.", ["I am so sad"]),
        ('A closing mark alone" quotes nothing.', []),
        ('Empty "" and " " and "..." quote nothing.', []),
        ('Marks with spaces " I am here " are trimmed.', ["I am here"]),
        ('It ends with a stop: "I am done."', ["I am done."]),
        ('(see "this one") and **"that one"**', ["this one", "that one"]),
        ('A board of 6" by 4" is no quote', []),
        ("She says 'I'm fine', 'leave me' and 'go'.", ["I'm fine", "leave me", "go"]),
        ("The dogs' owner says 'it is gone'.", ["it is gone"]),
        ("'Leave us', she said, 'it's the dogs' dinner'.", ["Leave us", "it's the dogs' dinner"]),
        ("'I was goin' home' is what the speaker said.", ["I was goin' home"]),
        ('emotion:"sad",words:"I cried"', ["sad", "I cried"]),
        ('Reason:\n"I can\'t\nbelieve it"', ["I can't\nbelieve it"]),
    ],
)
def test_quotes_are_found_as_a_reader_sees_them(source, expected):
    assert texts(source) == expected


def test_spans_point_at_the_quoted_text():
    source = "A \u201cfirst one\u201d, then 'a second', then \" a third \"."
    quotes = find_quotes(source)
    assert [q.text for q in quotes] == ["first one", "a second", "a third"]
    assert all(source[q.start : q.end] == q.text for q in quotes)


def test_spans_hold_and_never_overlap_for_any_mix_of_marks():
    alphabet = ['"', "'", "\u201c", "\u201d", "\u2018", "\u2019", "a", "s", " ", ",", "\u00ab", "\u00bb"]
    state = 1
    for _ in range(3000):
        pieces = []
        for _ in range(14):
            state = (state * 1103515245 + 12345) % 2**31
            pieces.append(alphabet[(state >> 16) % len(alphabet)])
        source = "".join(pieces)
        end = 0
        for quote in find_quotes(source):
            assert source[quote.start : quote.end] == quote.text and quote.start >= end
            end = quote.end


TRANSCRIPT = "I can't believe it's over. We waited all day long, and nobody called us back."


@pytest.mark.parametrize(
    "quote, kind",
    [
        ("I can't believe it's over", "exact"),
        ("nobody called us back.", "exact"),
        ("I CAN\u2019T BELIEVE IT\u2019S OVER!", "normalised"),
        ("all day long and nobody", "normalised"),
        ("We waited   all\nday", "normalised"),
        ("We waited ... nobody called", "normalised"),
        ("nobody called \u2026 We waited", None),
        ("we waited all night long", "fuzzy"),
        ("waited all the day long", "fuzzy"),
        ("we waited all night", None),
        ("body called", None),
        ("it", None),
        ("I am so happy", None),
        ("...", None),
        ("", None),
    ],
)
def test_a_quote_is_grounded_by_the_strictest_rule_that_holds(quote, kind):
    assert ground_quote(quote, TRANSCRIPT).kind == kind


def test_similarity_counts_word_edits_against_the_best_run_of_words():
    assert ground_quote("we waited all night long", TRANSCRIPT).similarity == pytest.approx(0.8)
    assert ground_quote("we waited all night", TRANSCRIPT).similarity == pytest.approx(0.75)
    assert ground_quote("purple elephants", TRANSCRIPT).similarity == 0.0


def test_the_threshold_decides_what_is_fuzzy():
    assert ground_quote("we waited all night", TRANSCRIPT, threshold=0.75).kind == "fuzzy"
    assert not ground_quote("we waited all night long", TRANSCRIPT, threshold=0.9).grounded


def test_nothing_is_grounded_in_an_empty_transcript():
    assert not ground_quote("anything", "").grounded


def test_chinese_is_compared_by_character():
    assert ground_quote("\u6211\u5f88\u7d2f", "\u4eca\u5929\u6211\u5f88\u7d2f\u3002").grounded
    assert not ground_quote("\u6211\u5f88\u5f00\u5fc3", "\u4eca\u5929\u6211\u5f88\u7d2f\u3002").grounded


@pytest.mark.parametrize(
    ("words", "least", "expected"),
    [
        ([0.9, 0.9, 0.9, 0.9], 0.8, "i lost my dog"),
        ([0.9, 0.9, 0.2, 0.9], 0.8, "i lost"),
        ([0.2, 0.9, 0.9, 0.9], 0.8, "lost my dog"),
        ([0.9, 0.2, 0.9, 0.9], 0.8, "my dog"),
        ([0.1, 0.3, 0.2, 0.1], 0.8, "lost"),
        ([0.1, 0.3, 0.2, 0.1], 0.0, "i lost my dog"),
    ],
)
def test_a_quote_keeps_its_longest_run_of_sure_words(words, least, expected):
    source = 'Sad. They say "i lost my dog", and cry.'
    sureness = [0.0] * len(source)
    start = source.index("i lost")
    for word, sure in zip("i lost my dog".split(), words, strict=True):
        at = source.index(word, start)
        sureness[at : at + len(word)] = [sure] * len(word)
        start = at + len(word)
    assert cut_quotes(source, sureness, least) == source.replace("i lost my dog", expected)


@pytest.mark.parametrize(
    ("quoted", "expected"),
    [
        ("dog barked", {"dog": 0.9, "barked": 0.4}),  # the first place, though another dog was surer
        ("DOG, barked!", {"DOG": 0.9, "barked": 0.4}),
        ("barked late dog", {"barked": 0.0, "late": 0.7, "dog": 0.95}),  # no more of it was heard in a row
        ("my cat", {"my": 0.0, "cat": 0.0}),
        ("it\u2019s late", {"it\u2019s": 0.3, "late": 0.7}),
        ("nobody told me", {"nobody": 0.6, "told": 0.6, "me": 0.6}),  # in an earlier turn: as it was written
    ],
)
def test_a_quoted_word_is_as_sure_as_it_was_heard(quoted, expected):
    heard, sure = "A dog barked. It's late, dog; the end", [0.0] * 37
    for word, value in (("A", 0.5), ("dog", 0.9), ("barked", 0.4), ("It's", 0.3), ("late", 0.7)):
        at = heard.index(word)
        sure[at : at + len(word)] = [value] * len(word)
    for at, word, value in ((heard.rindex("dog"), "dog", 0.95), (heard.index("the"), "the", 0.8)):
        sure[at : at + len(word)] = [value] * len(word)
    text = f'Sad: they say "{quoted}".'
    found = heard_sureness(text, [0.6] * len(text), heard, sure, told="user: nobody told me")
    for word, value in expected.items():
        at = text.index(word, text.index('"'))
        assert found[at : at + len(word)] == [value] * len(word)
    assert set(found[: text.index('"') + 1] + found[text.rindex('"') :]) == {0.6}


def test_signs_between_words_are_not_heard_and_cut_nothing():
    text = 'They say "oh, my twenty-one dogs - died!".'
    found = heard_sureness(text, [0.1] * len(text), "Oh my twenty one dogs died", [0.9] * 26)
    assert cut_quotes(text, found, 0.8) == text


def test_text_outside_quotes_is_never_cut():
    source = 'They say "no", "never again" and leave, don\'t they?'
    assert cut_quotes(source, [0.0] * len(source), 0.5) == source.replace("never again", "never")
    assert cut_quotes("nothing quoted", [0.0] * 14, 0.5) == "nothing quoted"


@pytest.mark.parametrize(
    "text",
    ["She says \x93I don\x92t know\x94.", "She says \uff02I don\uff07t know\uff02.", "\uff62I don\u2019t know\uff63"],
)
def test_quotes_that_a_wrong_decoding_or_a_wide_font_marked_are_found_and_grounded(text):
    (quote,) = find_quotes(text)
    assert text[quote.start : quote.end] == quote.text and ground_quote(quote.text, "i don't know").grounded


@pytest.mark.parametrize("mark", "\u2018\u2019\u201b\u02bb\u02bc\u2032\u00b4`\uff07\uff40\x92")
def test_every_way_to_write_an_apostrophe_is_one(mark):
    assert ground_quote(f"I don{mark}t know", "i don't know").kind == "normalised"
    assert ground_quote("I don't know", f"i don{mark}t know").kind == "normalised"
