"""The fields that every run has: model, prompt, seed, steps, guidance, size, each with a place for a message beside it."""

from __future__ import annotations

from typing import Any

from diffolio.cli.running import EXAMPLES
from diffolio.web import chooser, markup
from diffolio.web.settings import Settings

NAMES = ("model", "prompt", "target", "seed", "steps", "guidance", "size")


class Form:
    """``fields`` by name in the order of NAMES; ``wrong`` the messages beside them."""

    def __init__(self, settings: Settings) -> None:
        import gradio as gr

        self.wrong: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        where = (
            "bundled, a local diffusers folder, or a hub id like owner/name" if settings.private else "one of those offered here"
        )
        self._add("model", gr.Dropdown(
            [*chooser.bundled(), *settings.models], value=(chooser.bundled() or [""])[0], label="Model", info=where,
            allow_custom_value=settings.private, interactive=True,
        ))  # fmt: skip
        self._add(
            "prompt", gr.Textbox(EXAMPLES[0], label="Prompt", info="a line is a picture", lines=2, max_lines=8, interactive=True)
        )
        self._add(
            "target",
            gr.Textbox(
                "",
                label="Target prompt",
                info="what it should become; empty: the first colour changes",
                visible=False,
                interactive=True,
            ),
        )
        with gr.Row():
            with gr.Column(min_width=120):
                self._add("seed", gr.Number(0, label="Seed", interactive=True))
            with gr.Column(min_width=120):
                self._add("steps", gr.Number(25, label="Steps", interactive=True))
        with gr.Accordion("Guidance and size", open=False):
            self._add(
                "guidance", gr.Textbox("", label="Guidance scale", placeholder="the model's own", max_lines=1, interactive=True)
            )
            self._add(
                "size",
                gr.Textbox("", label="Size in pixels", placeholder="the model's own, or 128x128", max_lines=1, interactive=True),
            )

    def _add(self, name: str, component: Any) -> None:
        import gradio as gr

        self.fields[name] = component
        self.wrong[name] = gr.HTML(elem_classes="beside")

    @property
    def inputs(self) -> list[Any]:
        return [self.fields[name] for name in NAMES]


def messages(wrong: dict[str, str], places: dict[str, Any]) -> dict[Any, Any]:
    """Updates for every message: what is wrong, and nothing where nothing is."""
    return {component: markup.problem(wrong.get(name, "")) for name, component in places.items()}
