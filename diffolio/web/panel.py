"""A run under way: where it stands in the queue, how many steps are done, a button to cancel it, and its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from diffolio import registry
from diffolio.errors import DiffolioError
from diffolio.web import markup
from diffolio.web.asked import Asked
from diffolio.web.jobs import Job, Jobs
from diffolio.web.shown import View

PERIOD = 0.25  # seconds between looks at a run
Prepare = Callable[[Any], Asked]


def status(job: Job, ahead: list[Job]) -> str:
    """Where a run stands, in words and as a bar."""
    if job.state == "waiting" and not ahead:
        return _bar("Starting", None)
    if job.state == "waiting":
        others = "".join(f"<li>{markup.esc(_brief(other))}</li>" for other in ahead)
        return f'<div class="progress" role="status"><p>Waiting; {len(ahead)} before this one:</p><ol>{others}</ol></div>'
    if job.state == "loading":
        return _bar("Loading the model (the first run also loads the libraries)", None)
    total = job.total
    if total is not None and job.done <= total:
        return _bar(f"Step {job.done} of {total}", job.done / total)
    return _bar(f"Step {job.done}", None)


def _brief(job: Job) -> str:
    if job.state == "running":
        return f"{job.title}, step {job.done}" + (f" of {job.total}" if job.total else "")
    return f"{job.title}, {'waiting' if job.state == 'waiting' else 'loading'}"


def _bar(text: str, share: float | None) -> str:
    width = 0 if share is None else round(100 * share, 1)
    now = "" if share is None else f' aria-valuenow="{width:.0f}"'
    return (
        f'<div class="progress"><p>{markup.esc(text)}</p><div class="bar{" busy" if share is None else ""}" role="progressbar"'
        f' aria-label="{markup.esc(text)}" aria-valuemin="0" aria-valuemax="100"{now}><i style="width:{width}%"></i></div></div>'
    )


def steps_of(asked: Asked) -> int | None:
    """How many steps a run has, where that is known beforehand: techniques are sampled without and with."""
    cards = [registry.card(name) for name in asked.names]
    return 2 * asked.steps if all(card.kind == "technique" for card in cards) else None


class Panel:
    """Progress, cancel, result."""

    def __init__(self, jobs: Jobs, hint: str, button: str | None = "Run", ready: bool = True) -> None:
        import gradio as gr

        self.jobs = jobs
        if button:
            self.run = gr.Button(button, variant="primary", elem_classes="run-button", interactive=ready)
        self.job = gr.State(None)
        self.status = gr.HTML(elem_classes="beside status")
        self.cancel = gr.Button("Cancel", visible=False, size="sm")
        self.view = View(hint)
        self.cancel.click(self._cancel, self.job, self.status, show_progress="hidden", concurrency_limit=None)

    @property
    def outputs(self) -> list[Any]:
        return [self.job, self.status, self.cancel, *self.view.outputs]

    def _cancel(self, id: str | None) -> str:
        job = self.jobs.known.get(id or "")
        if job is None or job.over:
            return ""
        self.jobs.cancel(job)
        return _bar("Cancelling", None)

    def refuse(self, text: str) -> dict[Any, Any]:
        """Updates for a run that was not begun."""
        import gradio as gr

        return {self.status: markup.problem(text), self.cancel: gr.update(visible=False)}

    async def follow(
        self,
        asked: Asked,
        prepare: Prepare,
        place: Callable[[Job], dict[Any, Any] | None] = lambda job: None,
        before: Callable[[Job], str] = lambda job: "",
    ) -> AsyncIterator[dict[Any, Any]]:
        """Put a run into the queue and tell of it until it is over.

        ``prepare(folder)`` copies what was given into the run's folder and gives the run with the copies; ``place(job)`` gives the
        updates that show a failure beside the field it is about, or None; ``before(job)`` HTML above the result.
        """
        import gradio as gr

        try:
            job = await asyncio.to_thread(self._submit, asked, prepare)
        except DiffolioError as error:
            yield self.refuse(str(error))
            return
        yield {self.job: job.id, self.status: status(job, self.jobs.ahead(job)), self.cancel: gr.update(visible=True)}
        shown = ""
        while not job.over:
            told = status(job, self.jobs.ahead(job))
            if told != shown and job.wanted:
                shown = told
                yield {self.status: told}
            await asyncio.sleep(PERIOD)
        yield {self.cancel: gr.update(visible=False)} | self._outcome(job, place, before)

    def _submit(self, asked: Asked, prepare: Prepare) -> Job:
        id, part, folder = self.jobs.room(asked.name)
        try:
            ready = prepare(part)
            return self.jobs.submit(Job(id, asked.name, ready.request(part), part, folder, steps_of(asked)))
        except BaseException:
            self.jobs.discard(part)
            raise

    def _outcome(self, job: Job, place: Callable[[Job], dict[Any, Any] | None], before: Callable[[Job], str]) -> dict[Any, Any]:
        if job.state == "cancelled":
            return {self.status: '<p class="note" role="status">Cancelled; nothing of it was kept.</p>'}
        if job.state == "failed":
            return place(job) or {self.status: markup.problem(job.error)}
        try:
            notes = "".join(f'<p class="warned" role="status">{markup.esc(note)}</p>' for note in job.notes)
            shown = self.view.show(job.folder, before(job) + notes)
        except DiffolioError as error:
            return {self.status: markup.problem(str(error))}
        return {self.status: '<p class="note" role="status">Done.</p>', **shown}
