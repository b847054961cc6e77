"""The page itself, in Gradio: one recording in, findings and answers out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


# Before gradio is imported: a page that is started offline asks nobody for versions and reports to nobody.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from ..reporting.pages import STYLE
from .about import example_clips
from .listen import Listener, Unusable
from .render import EMPTY, answer, message, page


TITLE = "AudioLLM: what a voice says, and how"
WELCOME = """
# What a voice says, and how

Record a sentence or upload one. The model says what the speaker seems to feel and quotes the words that show it.

{about}

*It is often wrong, a voice is not a window on a mind, and nobody should be judged by it. Only use recordings of people
who agreed to this.* Recordings are deleted within an hour.
"""
THEME = {"primary_hue": "teal", "font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
KEPT_SECONDS = 3600


def build(listener: Listener, banner: str = "") -> gr.Blocks:
    """The page for a model, with a banner in Markdown."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as blocks:
        gr.Markdown(WELCOME.format(about=listener.about))
        if banner:
            gr.Markdown(banner, elem_id="banner")
        with gr.Row():
            with gr.Column(min_width=320):
                clip = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Recording",
                    elem_id="recording",
                    buttons=["download"],
                )
                if clips := example_clips():
                    gr.Examples(
                        examples=[[str(path)] for path in clips.values()],
                        example_labels=list(clips),
                        inputs=[clip],
                        label="Examples, synthetic speech",
                        elem_id="examples",
                    )
                listen = gr.Button("Listen", variant="primary", elem_id="listen")
                question = gr.Textbox(label="Ask something about it", placeholder="What did they lose?", max_lines=3)
                ask = gr.Button("Ask", elem_id="ask")
                answered = gr.HTML(elem_id="answered", elem_classes="findings")
            with gr.Column(min_width=320, scale=2):
                found = gr.HTML(EMPTY, elem_id="found", elem_classes="findings")
        listen.click(
            _shown(lambda path: page(listener.listen(path))), clip, found, api_name="listen", show_progress="full"
        )
        gr.on(
            [ask.click, question.submit],
            _shown(lambda path, asked: answer(asked, listener.ask(path, asked))),
            [clip, question],
            answered,
            api_name="ask",
        )
    return blocks


def serve(listener: Listener, banner: str = "", **settings: Any) -> tuple[gr.Blocks, str]:
    """Serve the page of a model; gives the page and its address.

    Args:
        listener: of the model.
        banner: in Markdown, above everything that can be done.
        settings: of Gradio's `launch`, such as `server_port`, or `prevent_thread_lock` to go on at once.
    """
    blocks = build(listener, banner).queue(default_concurrency_limit=1)
    # A second of 32-bit stereo at 48 kHz is 384 kB: the largest file that can still be short enough.
    limit = int(listener.max_seconds * 384_000) + 1_000_000
    _, address, _ = blocks.launch(
        theme=gr.themes.Base(**THEME),
        css_paths=STYLE,
        max_file_size=limit,
        ssr_mode=False,
        share=False,
        run_history=False,
        footer_links=["gradio"],
        **settings,
    )
    return blocks, address


def launch(
    checkpoint: str,
    aligner: str | Path | None = None,
    max_seconds: float = 300,
    name: str | None = None,
    banner: str = "",
    **settings: Any,
):
    """Load a checkpoint and serve its page until the process ends.

    Args:
        checkpoint, aligner, max_seconds, name: see [`Listener.load`].
        banner, settings: see [`serve`].
    """
    serve(Listener.load(checkpoint, aligner, max_seconds, name), banner, **settings)


def _shown(respond: Callable[..., str]) -> Callable[..., str]:
    """The answer of `respond`, or the message of what can't be used."""

    def shown(*arguments):
        try:
            return respond(*arguments)
        except Unusable as error:
            return message(str(error))

    return shown
