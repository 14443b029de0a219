"""Stack: several techniques on one model; what cannot stand together is greyed out with the reason before anything runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from diffolio import registry
from diffolio.cards import Card
from diffolio.web import asked, chooser, markup
from diffolio.web.form import NAMES, Form, messages
from diffolio.web.jobs import Job, Jobs
from diffolio.web.panel import Panel
from diffolio.web.settings import Settings
from diffolio.web.widgets import Knobs


def techniques() -> list[Card]:
    """All techniques, by family and name."""
    return sorted(
        (card for card in registry.cards().values() if card.kind == "technique"), key=lambda card: (card.family, card.name)
    )


def reason(card: Card, chosen: list[str], model: str) -> str:
    """Why a technique cannot join the chosen ones on a model; "" if it can."""
    if card.name in chosen:
        return ""
    if unfit := chooser.fits(card, model):
        return unfit
    for name in chosen:
        other = registry.card(name)
        if both := sorted(set(card.exclusive) & set(other.exclusive)):
            return f"not with {name}: both change the {both[0]}"
        if card.works_on and other.works_on and not set(card.works_on) & set(other.works_on):
            return f"not with {name}: it works on {', '.join(other.works_on)}, this on {', '.join(card.works_on)}"
    return ""


class Tab:
    """The components of the tab."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        import gradio as gr

        self.settings, self.cards = settings, techniques()
        gr.HTML('<div class="about"><h2>Several techniques at once</h2><p>They act in the order in which you pick them. Two that change the'
                ' same place'
                " of a model are refused together, as on the command line and in Python.</p></div>")  # fmt: skip
        self.chosen = gr.State([])
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=300):
                self.boxes = [
                    gr.Checkbox(
                        label=card.name,
                        info=card.headline,
                        value=False,
                        interactive=True,
                        elem_classes="technique",
                        elem_id=f"pick-{card.name}",
                    )
                    for card in self.cards
                ]
                self.order = gr.HTML(elem_classes="beside")
                self.form = Form(settings)
                place = gr.Column()
            with gr.Column(scale=6, min_width=300):
                self.panel = Panel(
                    jobs, "The plain model and the stack will stand here side by side.", "Run the stack", ready=False
                )
        everything = [self.chosen, self.form.fields["model"], *self.boxes]
        outputs = [self.chosen, self.order, self.panel.run, *self.boxes]
        gr.on(
            [*(box.input for box in self.boxes), self.form.fields["model"].change], self.pick, everything, outputs,
            show_progress="hidden", concurrency_limit=None, trigger_mode="always_last",
        )  # fmt: skip
        with place:
            gr.render(inputs=self.chosen, show_progress="hidden")(self.knobs)

    def pick(self, chosen: list[str], model: str, *ticked: bool) -> list[Any]:
        """The new order, and every technique as it can now be chosen."""
        import gradio as gr

        now = [card.name for card, on in zip(self.cards, ticked, strict=True) if on]
        chosen = [name for name in chosen if name in now] + [name for name in now if name not in chosen]
        # What was chosen before a conflict arose (another model, two visitors' haste) is let go, the latest first.
        kept: list[str] = []
        for name in chosen:
            if not reason(registry.card(name), kept, model or ""):
                kept.append(name)
        updates = []
        for card in self.cards:
            why = reason(card, kept, model or "")
            updates.append(gr.update(
                value=card.name in kept, interactive=not why, info=why or card.headline,
                elem_classes="technique off" if why else "technique",
            ))  # fmt: skip
        button = gr.update(value=f"Run {' + '.join(kept)}" if kept else "Run the stack", interactive=bool(kept))
        return [kept, self._told(kept, chosen), button, *updates]

    def _told(self, kept: list[str], chosen: list[str]) -> str:
        gone = [name for name in chosen if name not in kept]
        told = f'<p class="note" role="status">Order: {markup.esc(" → ".join(kept))}</p>' if kept else ""
        return told + (markup.problem(f"left out: {', '.join(gone)}, see the reason there") if gone else "")

    def knobs(self, chosen: list[str]) -> None:
        """The knobs of the chosen techniques and what *Run* does with them."""
        import gradio as gr

        if not chosen:
            gr.HTML(markup.note("Pick techniques above; their knobs come here."))
            return
        made = []
        for name in chosen:
            with gr.Accordion(f"Knobs of {name}", open=False):
                made.append(Knobs(registry.card(name)))
        wrong = {name: html for name, html in self.form.wrong.items() if name != "target"}
        for one in made:
            wrong |= one.wrong

        async def start(*values: Any) -> AsyncIterator[dict[Any, Any]]:
            async for update in self.run(chosen, made, wrong, values):
                yield update

        fields = [field for one in made for field in one.fields]
        self.panel.run.click(
            start, [*self.form.inputs, *fields], [*self.panel.outputs, *wrong.values()], show_progress="hidden", concurrency_limit=None,
            trigger_mode="once",
        )  # fmt: skip

    async def run(
        self, chosen: list[str], made: list[Knobs], wrong: dict[str, Any], values: tuple[Any, ...]
    ) -> AsyncIterator[dict[Any, Any]]:
        """Check the fields, put the run into the queue, tell of it."""
        fields = dict(zip(NAMES, values[: len(NAMES)], strict=True)) | {"target": ""}
        rest = list(values[len(NAMES) :])
        knobs = {}
        for one in made:
            knobs[one.card.name] = one.read(rest[: len(one.fields)])
            rest = rest[len(one.fields) :]
        told, trouble = asked.read(tuple(chosen), fields, knobs, self.settings)
        yield messages(trouble, wrong)
        if trouble:
            yield self.panel.refuse("Nothing was run: see the messages beside the fields.")
            return

        def place(job: Job) -> dict[Any, Any] | None:
            where = asked.place_of(job.error, job.kind, tuple(chosen), tuple(wrong))
            return (
                {wrong[where]: markup.problem(job.error), **self.panel.refuse("The run ended: see the message beside the field.")}
                if where in wrong
                else None
            )

        async for update in self.panel.follow(told, lambda folder: told, place):
            yield update
