"""Templates show text as text, whatever it is; quotes are marked where they stand."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from audiollm.eval.statistics import Interval
from audiollm.reporting.markdown import plain
from audiollm.reporting.pages import TEMPLATES, environment, render, render_page
from audiollm.reporting.players import Embedder
from audiollm.reporting.plots import bar_plot, count_plot, interval_plot, loss_plot, parts_plot, stacked_plot
from audiollm.reporting.quotes import Mark, cut, mark_quoted, mark_quotes


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% include 'base.html' %}",
    "![pixel](https://example.org/x.png)",
]


def show(template):
    """HTML of a template in the room's environment, with its macros at hand."""
    head = '{% from "parts.html" import card, table, facts, marked, player, plot, tags %}'
    return environment().from_string(head + template).render


@pytest.mark.parametrize("text", HOSTILE)
def test_every_macro_shows_text_as_text(text):
    shown = {"title": text, "columns": [text, text], "rows": [[text, (text, text)]], "note": text}
    page = show(
        "{{ card(t, none, t) }}{{ table(shown) }}{{ facts(t, {t: t, 'list': [t]}) }}{{ marked(segments) }}"
        "{{ player({'source': none, 'note': t}) }}{{ plot('<svg/>', t) }}{{ tags(t, [t]) }}"
    )(t=text, shown=shown, segments=cut(text, [Mark(0, 3, "said", text, 1)]))
    parsed = HTMLParser()
    tags = []
    parsed.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parsed.feed(page)
    ours = "div h3 p table thead tbody tr th td small section details summary mark sup img span".split()
    assert {tag for tag, _ in tags} <= set(ours)
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert all(attributes["src"].startswith("data:") for _, attributes in tags if "src" in attributes)
    assert "49" not in page


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_data_is_markup_in_markdown(text):
    shown = plain(text + "\n# heading\n| a | b |")
    assert "\n" not in shown and "<" not in shown
    assert not re.search(r"(?<!\\)[\[\]|`*]", shown)


def test_templates_escape_and_never_forget_a_value():
    with pytest.raises(UndefinedError):
        render("message.html")
    assert "&lt;b&gt;" in render("message.html", text="<b>")
    trusted = re.compile(r"\|\s*safe\b|autoescape|Markup")
    assert not [path.name for path in TEMPLATES.glob("*.html") if trusted.search(path.read_text())]


def test_a_page_allows_its_own_script_and_no_other():
    values = {"run": "x", "jobs": 0, "made": "", "cards": [], "plots": {}, "openings": {}, "kinds": [], "making": {}}
    values |= {"accepted": [], "refused": [], "figures": {"title": "", "columns": [], "rows": [], "note": ""}}
    page = render_page("audit.html", "audit.js", media="'none'", **values)
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = Markup(re.search(r'Policy" content="(.*?)"', page).group(1)).unescape()
    assert f"script-src 'sha256-{digest}'" in policy and "media-src 'none'" in policy and "unsafe-eval" not in policy


def test_quotes_are_marked_as_said_or_not():
    html = show("{{ marked(s) }}")(s=mark_quotes('Sad: "I lost it" and "<b>never</b>".', "i lost it"))
    assert '<mark class="said" title="said (normalised)">I lost it</mark>' in html
    assert '<mark class="unsaid" title="not in the transcript">&lt;b&gt;never&lt;/b&gt;</mark>' in html


def test_without_a_transcript_quotes_are_not_marked():
    assert show("{{ marked(s) }}")(s=mark_quotes('Sad: "I <lost> it"', None)) == "Sad: &#34;I &lt;lost&gt; it&#34;"


def test_where_quotes_must_be_verbatim_a_slip_counts_as_not_said():
    said = "one two three four five six seven eight nine ten"
    text = '"one two three for five six seven eight nine ten"'
    kinds = [[s.kind for s in mark_quotes(text, said, fuzzy) if s.kind] for fuzzy in (True, False)]
    assert kinds == [["said"], ["unsaid"]]


@pytest.mark.parametrize(
    ("transcript", "answer", "marked"),
    [
        ("Oh, my <dog> is gone!", 'They say "my dog is gone" twice.', ["my <dog> is gone"]),
        ("I can\u2019t go. I CAN'T!", "They say 'can't go'.", ["can\u2019t go"]),
        ("one two three four five", 'They say "one two ... five".', ["one two", "five"]),
        ("one two three", 'They say "two four".', []),
        ("\u6211\u5f88\u9ad8\u5174\u3002", "\u201c\u9ad8\u5174\u201d", ["\u9ad8\u5174"]),
        ("one two one two", 'Both "one two" and "two one" are said.', ["one two"]),
        ("", "They say nothing.", []),
    ],
)
def test_the_quoted_words_are_marked_in_the_transcript(transcript, answer, marked):
    segments = mark_quoted(transcript, answer)
    assert "".join(segment.text for segment in segments) == transcript
    assert [segment.text for segment in segments if segment.kind == "said"] == marked


def test_a_recording_is_encoded_once_cut_and_left_out_beyond_the_budget():
    embedder = Embedder(16_000, 0.01, 0.5, (ValueError,))
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    calm = np.zeros(16_000, np.float32)

    def broken():
        raise ValueError("cannot be read")

    first = embedder.player("a", lambda: calm)
    assert base64.b64decode(first.source.partition(",")[2])[:4] == b"fLaC" and first.note == "The first 0.5 of 1 s."
    assert embedder.player("a", broken) is first
    assert embedder.player("b", broken).note == "cannot be read"
    assert embedder.player("c", lambda: noise).source is None and embedder.silent == 1


def test_the_smoothed_loss_does_not_look_across_the_border_of_a_round():
    def curve(losses):
        """Paths of an SVG whose second round is always the same."""
        entries = [{"step": step, "loss": loss, "round": 1} for step, loss in enumerate(losses)]
        entries += [{"step": 10 + step, "loss": 1.0, "round": 2} for step in range(10)]
        svg = loss_plot([*entries, {"step": 0, "loss": 9.0, "round": 0}, {"step": 0, "loss": 0.0, "round": 0}])
        return re.findall(r'<path d="([^"]+)"[^>]*stroke: #d97a2b', svg)

    level = curve([1.0] * 10)
    assert level and level == curve([9.0] * 10)


def test_an_interval_that_goes_on_beyond_the_axis_ends_in_an_arrow_and_makes_no_dots_of_the_others():
    def drawn(low, high):
        lines = [("narrow", Interval(5.0, 4.0, 6.0), "seen")] * 9 + [("wide", Interval(1.0, low, high), "open")]
        svg = interval_plot({"figure": lines}, {"seen": "#0000aa", "open": "#aa0000"}, "points") or ""
        return re.findall(r'<path d="([^"]+)"[^>]*stroke: #0000aa', svg), svg.count("<use")

    (far, both), (farther, again), (near, none), (_, one) = map(drawn, (-90, -9000, -3, -3), (90, 90, 3, 90))
    assert far and far == farther and far != near  # an axis is as narrow as its intervals let it be
    assert both == again
    assert both > one > none


def test_plots_without_figures_are_none_and_names_from_data_are_no_formulas():
    assert bar_plot({}, ["a"], "%") is None and parts_plot({"a": []}, [], "%") is None
    assert count_plot({"a": {}}, "x", "y") is None
    assert "<svg" in stacked_plot({"$x_1$": {"a": 1.0}}, {"a": "#000000"}, "%")
    assert "<svg" in bar_plot({"$\\frac$": [1.0]}, ["$x_1$ ${}"], "%")
