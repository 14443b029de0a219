"""Paper: what a method does, its knobs, its run beside the baseline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffolio import registry
from diffolio.errors import DiffolioError
from diffolio.web import about, asked, chooser, markup, uploads
from diffolio.web.asked import Asked
from diffolio.web.form import NAMES, Form, messages
from diffolio.web.jobs import Job, Jobs
from diffolio.web.panel import Panel
from diffolio.web.settings import Settings
from diffolio.web.widgets import Knobs

FIRST = "fouriscale"
SMALL = 480  # pixels that a small picture is enlarged to for painting on it


class Tab:
    """The components of the tab."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        import gradio as gr

        self.settings = settings
        cards = list(registry.cards().values())
        first = registry.cards().get(FIRST) or cards[0]
        self.method = gr.Dropdown(about.choices(cards), value=None, label="Paper", elem_id="method", filterable=True)
        self.first = first.name
        self.about = gr.HTML(about.about(first))
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                self.form = Form(settings)
                self._pictures(gr, first)
                self.panel_place = gr.Column()
            with gr.Column(scale=6, min_width=300):
                self.panel = Panel(jobs, "The baseline and the method will stand here side by side.", f"Run {first.name}")
        self.wrong = {**self.form.wrong, "picture": self.picture_wrong, "mask": self.mask_wrong, "further": self.further_wrong}
        self.method.change(
            self.chosen, self.method, [self.about, self.form.fields["target"], self.pictures, self.mask_file, self.painter, self.further,
                                       self.form.fields["model"], self.panel.run, *self.wrong.values()],
            show_progress="hidden", concurrency_limit=None,
        )  # fmt: skip
        self.picture.change(
            self.looked_at, [self.picture, self.method], [self.painter, self.shown, self.picture_wrong], show_progress="minimal"
        )
        with self.panel_place:
            gr.render(inputs=self.method, triggers=[self.method.change], show_progress="hidden")(self.knobs)

    def _pictures(self, gr: Any, card: Any) -> None:
        with gr.Group(visible=asked.takes_picture(card), elem_id="pictures") as self.pictures:
            self.picture = gr.File(
                label="Picture (PNG, JPEG or WebP); without one, one is drawn", type="filepath", height=140, interactive=True
            )
            self.picture_wrong = gr.HTML(elem_classes="beside")
            self.shown = gr.Image(label="Your picture", visible=False, interactive=False, height=260, buttons=[])
            self.painter = gr.ImageEditor(
                label="Mask: paint where the edit may act", type="pil", sources=(), transforms=(), layers=False, visible=False,
                interactive=True, height=420,
                brush=gr.Brush(default_size=24, colors=["#d4351c"], color_mode="fixed"),
                eraser=gr.Eraser(default_size=24), elem_id="painter",
            )  # fmt: skip
            self.mask_file = gr.File(
                label="or a mask file: white where the edit may act", type="filepath", height=120, visible=False, interactive=True
            )
            self.mask_wrong = gr.HTML(elem_classes="beside")
        self.further = gr.File(
            label="Further input", type="filepath", height=120, interactive=True, visible=bool(asked.further_inputs(card))
        )
        self.further_wrong = gr.HTML(elem_classes="beside")

    def chosen(self, name: str | None) -> list[Any]:
        """The page of another method."""
        import gradio as gr

        card = registry.card(name or self.first)
        inputs = asked.further_inputs(card)
        masks = "mask" in card.takes
        return [
            about.about(card), gr.update(visible="target" in card.takes), gr.update(visible=asked.takes_picture(card)),
            gr.update(visible=masks), gr.update(visible=False, value=None),
            gr.update(visible=bool(inputs), label=f"Further input: {', '.join(inputs)}"),
            gr.update(value=chooser.default_model(card)), f"Run {card.name}", *([""] * len(self.wrong)),
        ]  # fmt: skip

    def looked_at(self, file: str | None, method: str) -> list[Any]:
        """An upload shown, or said what is wrong with it."""
        import gradio as gr

        hidden = gr.update(visible=False, value=None)
        if not file:
            return [hidden, hidden, ""]
        try:
            picture = uploads.preview(Path(file), self.settings)
        except DiffolioError as error:
            return [hidden, hidden, markup.problem(str(error))]
        if "mask" not in registry.card(method).takes:
            return [hidden, gr.update(visible=True, value=picture), ""]
        if max(picture.size) < SMALL:  # a few dozen pixels cannot be painted on
            times = SMALL // max(picture.size)
            picture = picture.resize((picture.width * times, picture.height * times), 0)
        return [gr.update(visible=True, value={"background": picture, "layers": [], "composite": picture}), hidden, ""]

    def knobs(self, name: str | None) -> None:
        """The knobs of the method and what *Run* does with them, made anew when another method is chosen."""
        import gradio as gr

        if not name:
            return
        card = registry.card(name)
        with gr.Accordion(f"Knobs of {card.name}", open=True):
            made = Knobs(card)
        wrong = {**self.wrong, **made.wrong}

        async def start(*values: Any) -> AsyncIterator[dict[Any, Any]]:
            async for update in self.run(card.name, made, wrong, values):
                yield update

        self.panel.run.click(
            start, [*self.form.inputs, self.picture, self.painter, self.mask_file, self.further, *made.fields],
            [*self.panel.outputs, *wrong.values()], show_progress="hidden", concurrency_limit=None, trigger_mode="once",
        )  # fmt: skip

    async def run(self, name: str, made: Knobs, wrong: dict[str, Any], values: tuple[Any, ...]) -> AsyncIterator[dict[Any, Any]]:
        """Check the fields, put the run into the queue, tell of it."""
        n = len(NAMES)
        fields = dict(zip(NAMES, values[:n], strict=True))
        picture, painter, mask_file, further = values[n : n + 4]
        card = registry.card(name)
        if "target" not in card.takes:
            fields["target"] = ""
        told, trouble = asked.read((name,), fields, {name: made.read(values[n + 4 :])}, self.settings)
        given = Given(picture, painter, mask_file, further) if asked.takes_picture(card) else Given(None, None, None, further)
        trouble |= given.trouble(card, self.settings)
        yield messages(trouble, wrong)
        if trouble:
            yield self.panel.refuse("Nothing was run: see the messages beside the fields.")
            return

        def place(job: Job) -> dict[Any, Any] | None:
            where = asked.place_of(job.error, job.kind, (name,), tuple(wrong))
            if where not in wrong:
                return None
            return {
                wrong[where]: markup.problem(job.error),
                **self.panel.refuse("The run ended: see the message beside the field."),
            }

        async for update in self.panel.follow(told, lambda folder: given.kept(told, folder, card, self.settings), place):
            yield update


class Given:
    """The files of a run as the page was given them."""

    def __init__(self, picture: str | None, painter: dict[str, Any] | None, mask: str | None, further: str | None) -> None:
        self.picture = Path(picture) if picture else None
        self.painted = uploads.painted(painter) if picture else None
        self.mask = Path(mask) if mask and picture else None
        self.further = Path(further) if further else None

    def trouble(self, card: Any, settings: Settings) -> dict[str, str]:
        """What is wrong by field."""
        wrong = {}
        for name, path in (("picture", self.picture), ("mask", self.mask)):
            try:
                if path is not None:
                    with uploads.opened(path, settings):
                        pass
            except DiffolioError as error:
                wrong[name] = str(error)
        inputs = asked.further_inputs(card)
        if "mask" in card.needs and self.picture is not None and self.painted is None and self.mask is None:
            wrong["mask"] = f"{card.name} needs a mask: paint on the picture where the edit may act, or give a mask file"
        missing = [name for name in inputs if name in card.needs]
        if missing and self.further is None:
            wrong["further"] = f"{card.name} needs {missing[0]}: choose its file"
        return wrong

    def kept(self, told: Asked, folder: Path, card: Any, settings: Settings) -> Asked:
        """The run with its files copied into its folder."""
        if self.picture is not None:
            image, size = uploads.keep_picture(self.picture, folder, settings)
            told = replace(told, image=image)
            if "mask" in card.takes and self.mask is not None:
                told = replace(told, mask=uploads.keep_picture(self.mask, folder, settings, "mask")[0])
            elif "mask" in card.takes and self.painted is not None:
                told = replace(told, mask=uploads.keep_mask(self.painted, size, folder))
        inputs = asked.further_inputs(card)
        if inputs and self.further is not None:
            name = next((name for name in inputs if name in card.needs), inputs[0])
            told = replace(told, inputs={name: uploads.keep_file(self.further, folder, settings, name)})
        return told
