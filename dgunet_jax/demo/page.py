"""The page, made with Gradio."""

import contextlib
import dataclasses
import html
import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.themes import Default, Font

from dgunet_jax.demo.examples import Example, write_examples
from dgunet_jax.demo.networks import Network
from dgunet_jax.demo.session import Restoration, read_picture, view
from dgunet_jax.system.errors import UserError, listed
from dgunet_jax.system.terminal import of_the_system

_MOST_BYTES = 200 * 2**20  # of a file that is uploaded
_PATIENCE = 1  # seconds that open pages get to take leave
# Browsers ask no other server, whatever Gradio puts into the page.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval';"
    " style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
_DAY = 24 * 60 * 60
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_STYLE = """
.gradio-container { max-width: 1320px !important; margin: 0 auto; }
#title, #title .html-container { padding: 0 !important; }
#title h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
#title p, #title p * { margin: 0; color: var(--body-text-color-subdued); }
#picture .icon-wrap, #clean .icon-wrap { display: none; }
#compared .empty { min-height: 520px; }
"""
_STEPS = "0 is the input, then v₁, x₁, v₂, x₂, …"
_GREY = "of the difference from the input, around grey"
_TITLE = """<h1>Restoration, stage by stage</h1>
<p>From x<sub>0</sub> = y, the input, each stage takes a gradient step, v<sub>k</sub> =
x<sub>k−1</sub> − ρ<sub>k</sub> Φ<sub>k</sub><sup>T</sup>(Φ<sub>k</sub>(x<sub>k−1</sub>) − y), and
a proximal step, x<sub>k</sub> = prox<sub>k</sub>(v<sub>k</sub>). Pictures stay on this machine.</p>
"""


def server(networks: Mapping[str, Network], folder: Path) -> uvicorn.Server:
    """Return what serves the page.

    Args:
      networks: of `read_networks`; the first one is chosen at the beginning.
      folder: for all files, with those that Gradio keeps.
    """
    application = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        _page(networks, folder),
        path="/",
        max_file_size=_MOST_BYTES,
        theme=Default(
            primary_hue="blue",
            neutral_hue="slate",
            font=[Font("sans-serif")],
            font_mono=[Font("monospace")],
        ),
        css=_STYLE,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
    )
    return _Server(
        uvicorn.Config(
            application,
            log_level="warning",
            headers=[("Content-Security-Policy", _POLICY)],
            timeout_graceful_shutdown=_PATIENCE,
        )
    )


class _Server(uvicorn.Server):
    """Takes leave of open pages without a word: that they are cut short is no error."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def _page(networks: Mapping[str, Network], folder: Path) -> gr.Blocks:
    """Lay out the page, and say what happens when."""
    examples = write_examples(folder)
    handlers = _Handlers(networks, folder, examples)
    first = next(iter(networks))
    with gr.Blocks(
        title="dgunet demo",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(_DAY // 24, _DAY),
    ) as page:
        made = gr.State()
        gr.HTML(_TITLE, padding=False, elem_id="title")
        with gr.Row():
            with gr.Column(scale=1, min_width=360):
                picture = gr.File(label="Picture", height=130, elem_id="picture")
                samples = gr.Dataset(
                    label=f"Examples: {listed([each.label for each in examples])}",
                    components=[gr.Image(render=False)],
                    samples=[[str(each.picture)] for each in examples],
                    type="index",
                    elem_id="samples",
                )
                model = gr.Radio(list(networks), value=first, label="Model", elem_id="model")
                strength = gr.Slider(0, 1, 1, step=0.05, label="Strength", elem_id="strength")
                clean = gr.File(label="Clean picture, for PSNR", height=130, elem_id="clean")
                button = gr.Button("Restore", variant="primary", elem_id="restore")
            with gr.Column(scale=3, min_width=480):
                compared = gr.ImageSlider(
                    label="Before and after",
                    format="png",
                    interactive=False,
                    max_height=640,
                    buttons=["fullscreen"],
                    elem_id="compared",
                )
                with gr.Row():
                    scores = gr.Markdown(elem_id="scores")
                    download = gr.DownloadButton("Download PNG", visible=False, elem_id="download")
        with gr.Column(visible=False) as steps:
            with gr.Row():
                stage = gr.Slider(0, 2, step=1, label="Step", info=_STEPS, elem_id="stage")
                factor = gr.Slider(1, 20, 5, step=1, label="Factor", info=_GREY, elem_id="factor")
            text = gr.Markdown(elem_id="text")
            with gr.Row():
                shown, difference = (
                    gr.Image(format="png", interactive=False, buttons=["fullscreen"], elem_id=name)
                    for name in ("shown", "difference")
                )

        private: dict[str, Any] = {"api_visibility": "private"}
        quiet = {**private, "show_progress": "hidden", "trigger_mode": "always_last"}
        finished, looks = [compared, scores, download], [text, shown, difference]
        everything = [made, *finished, steps, stage, *looks]
        gr.on([page.load, model.change], handlers.describe, model, model, **quiet)
        samples.click(handlers.example, samples, [picture, clean, model], **private)
        picture.change(handlers.choose, [picture, model], everything, **quiet)
        button.click(
            handlers.restore,
            [picture, clean, model, strength, factor],
            everything,
            show_progress_on=compared,
            concurrency_limit=1,
            **private,
        )
        strength.input(_result, [made, strength], finished, **quiet)
        gr.on([stage.input, factor.input], _look, [made, stage, factor], looks, **quiet)
    return page


@dataclasses.dataclass(frozen=True)
class _Handlers:
    """What the page does with pictures; returns what its components show then."""

    networks: Mapping[str, Network]
    folder: Path
    examples: Sequence[Example]

    def describe(self, model: str) -> Any:
        return gr.Radio(info=self.networks[model].task)

    def example(self, index: int) -> tuple[str, str, str]:
        chosen = self.examples[index]
        return str(chosen.picture), str(chosen.clean), chosen.model

    def choose(self, file: str | None, model: str) -> tuple[Any, ...]:
        """Show a picture that was chosen, and forget what was made of the one before it."""
        compared = None
        if file is not None:
            try:
                with _in_one_line():
                    shown = view(read_picture(Path(file), self.networks[model]).colours())
                compared = shown, shown
            except gr.Error as error:
                gr.Warning(error.message, title=error.title)
        hidden = gr.DownloadButton(visible=False), gr.Column(visible=False)
        return None, compared, "", *hidden, *[gr.skip()] * 4

    def restore(
        self, file: str | None, clean: str | None, model: str, strength: float, factor: float
    ) -> tuple[Any, ...]:
        with _in_one_line():
            if file is None:
                raise UserError("there is no picture; choose one, or an example")
            target = None if clean is None else Path(clean)
            made = Restoration(Path(file), target, self.networks[model], self.folder)
        stage = gr.Slider(maximum=made.last, value=made.last)
        steps = gr.Column(visible=True), stage, *_look(made, made.last, factor)
        return made, *_result(made, strength), *steps


def _result(made: Restoration | None, strength: float) -> tuple[Any, ...]:
    """Show and write what a strength makes of the last step."""
    if made is None:
        return gr.skip(), gr.skip(), gr.skip()
    with _in_one_line():
        given, restored = made.step(0), made.restored(strength)
        image = restored.colours()
        scores = _decibel("PSNR: input", made.psnr(given)) + _decibel(", result", made.psnr(image))
        download = gr.DownloadButton(value=made.write(restored), visible=True)
    return (view(given), view(image)), scores, download


def _look(made: Restoration | None, place: int, factor: float) -> tuple[Any, ...]:
    """Show a step, and how it differs from the input."""
    if made is None:
        return gr.skip(), gr.skip(), gr.skip()
    with _in_one_line():
        image, difference = made.step(place), made.difference(place, factor)
        name, what = _named(place, made.last)
        score = _decibel("; PSNR", made.psnr(image))
    return (
        f"**{name}**, {what}{score}",
        gr.Image(view(image), label=name),
        gr.Image(view(difference), label=f"{factor:g} · ({name} − input)"),
    )


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    """Let the page show a user's mistake, and what the system refuses, in one line."""
    try:
        yield
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = of_the_system(error)
    else:
        return
    # Gradio shows messages as HTML, and prints a traceback unless it is told not to.
    raise gr.Error(html.escape(message), title="Not restored", print_exception=False)


def _named(place: int, last: int) -> tuple[str, str]:
    """Return the name of a step and what it is."""
    stage = (place + 1) // 2
    k, before = (str(each).translate(_SUBSCRIPTS) for each in (stage, stage - 1))
    if place == 0:
        return "input", "x₀ = y, with which the first stage begins"
    if place % 2:
        return f"v{k}", f"gradient step of stage {stage} of {last // 2}, from x{before}"
    return f"x{k}", f"proximal step of stage {stage} of {last // 2}, from v{k}"


def _decibel(name: str, psnr: float | None) -> str:
    return "" if psnr is None else f"{name} {psnr:.2f} dB"
