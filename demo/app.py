"""The page itself, in Gradio: one recording in, findings and answers out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


# Before gradio is imported: a page that is started offline asks nobody for versions and reports to nobody.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from ..listening.outputs import write_outputs
from ..reporting.pages import STYLE
from .about import example_clips
from .listen import Listener, Unusable
from .render import EMPTY, answer, call, message, page


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
        with gr.Accordion("A call, a meeting: every turn by itself", open=False, elem_id="long"):
            recording = gr.File(label="Long recording", type="filepath", elem_id="call")
            channels = gr.Checkbox(label="Each channel is a speaker", elem_id="channels")
            follow = gr.Button("Follow it", elem_id="follow")
            followed = gr.HTML(elem_id="followed", elem_classes="findings")
            tables = gr.File(label="Tables and subtitles", file_count="multiple", interactive=False, elem_id="tables")
        follow.click(_following(listener), [recording, channels], [followed, tables], api_name="follow")
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
    limit = int(max(listener.max_seconds, listener.max_call_seconds) * 384_000) + 1_000_000
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
    max_call_seconds: float = 7200,
    **settings: Any,
):
    """Load a checkpoint and serve its page until the process ends.

    Args:
        checkpoint, aligner, max_seconds, name, max_call_seconds: see [`Listener.load`].
        banner, settings: see [`serve`].
    """
    serve(Listener.load(checkpoint, aligner, max_seconds, name, max_call_seconds), banner, **settings)


def _following(listener: Listener) -> Callable[..., tuple[str, list[str] | None]]:
    """What is shown of a long recording, and its tables, which lie beside the upload and are deleted with it."""

    def follow(path: str | None, by_channel: bool, progress: gr.Progress = gr.Progress(track_tqdm=True)):  # noqa: B008
        try:
            heard = listener.follow(path, by_channel)
        except Unusable as error:
            return message(str(error)), None
        assert path is not None
        return call(heard, path), list(map(str, write_outputs(heard, Path(path).parent)))

    return follow


def _shown(respond: Callable[..., str]) -> Callable[..., str]:
    """The answer of `respond`, or the message of what can't be used."""

    def shown(*arguments):
        try:
            return respond(*arguments)
        except Unusable as error:
            return message(str(error))

    return shown
