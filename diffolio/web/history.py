"""History: the runs in the runs folder, whether this page made them or the command line, to look at and to run again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffolio.errors import DiffolioError
from diffolio.web import asked, markup, shown, uploads
from diffolio.web.asked import Asked
from diffolio.web.jobs import Jobs
from diffolio.web.markup import esc
from diffolio.web.panel import Panel
from diffolio.web.settings import Settings
from diffolio.web.shown import Kept

MOST = 40


def runs(folder: Path, most: int = MOST) -> list[Kept]:
    """The runs in a folder, the newest first; what is none is left out."""
    try:
        places = [
            path
            for path in folder.iterdir()
            if path.is_dir() and not path.name.startswith(".") and (path / "result.json").is_file()
        ]
    except OSError:
        return []
    places.sort(key=lambda path: ((path / "result.json").stat().st_mtime, path.name), reverse=True)
    found = []
    for path in places:
        try:
            found.append(shown.load(path))
        except DiffolioError:
            continue
        if len(found) == most:
            break
    return found


def run_named(folder: Path, name: str) -> Kept:
    """A run by the name of its folder, which lies in the runs folder and nowhere else."""
    place = (folder / Path(name).name).resolve()
    if place.parent != folder.resolve():
        raise DiffolioError(f"{name} is no run in {folder}")
    return shown.load(place)


def page(settings: Settings, jobs: Jobs) -> str:
    """The list as HTML, with what is in the queue above it."""
    folder = settings.runs
    if not folder.is_dir():
        return markup.problem(f"the runs folder {folder} is not there any more; the next run makes it again")
    found = runs(folder)
    head = (
        f'<p class="count" role="status">{len(found)} run{"s" if len(found) != 1 else ""} in {esc(asked.near(folder))}</p>'
        if found
        else markup.note("Nothing was run yet: choose a paper and run it.")
    )
    queue = [
        f"<li>{esc(job.title)}: {esc(job.state)}{f', step {job.done}' if job.state == 'running' else ''}</li>"
        for job in jobs.all()
    ]
    waiting = f'<div class="progress"><p>In the queue now</p><ol>{"".join(queue)}</ol></div>' if queue else ""
    return f'{waiting}{head}<div class="runs-list">{"".join(map(_card, found))}</div>'


def _card(kept: Kept) -> str:
    told = kept.record
    sheet = next(
        (
            path
            for path in (kept.folder / "sheet.png", *(p for batch in kept.pictures.values() for p in batch.values()))
            if path.is_file()
        ),
        None,
    )
    image = f'<img src="gradio_api/file={esc(str(sheet))}" alt="" loading="lazy">' if sheet else "<span></span>"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime((kept.folder / "result.json").stat().st_mtime))
    words = "; ".join(told.get("prompts") or [])
    try:
        asked.from_record(told, kept.folder)
        why = ""
    except DiffolioError as error:
        why = str(error)
    except (KeyError, TypeError, ValueError):
        why = "its record is not whole"
    name = esc(kept.folder.name)
    again = (
        f'<button type="button" class="act" data-act="again" data-run="{name}" aria-label="Run {name} again">Run again</button>'
    )
    if why:
        again = f'<button type="button" class="act" disabled title="{esc(why)}">Run again</button>'
    show = f'<button type="button" class="act quiet" data-act="open" data-run="{name}" aria-label="Show {name}">Show</button>'
    facts = f"on {esc(str(told.get('model')))}, seed {esc(str(told.get('seed')))}, {esc(str(told.get('steps')))} steps"
    problem = markup.note(f"cannot be run again: {why}") if why else ""
    return (
        f'<div class="run">{image}<div><p><b>{esc(str(told["method"]))}</b> {facts}</p><p>{esc(words[:160])}</p>'
        f'<p class="when">{when} · {name}</p>{problem}</div><div class="acts">{show}{again}</div></div>'
    )


def compared(before: Kept, folder: Path) -> str:
    """Whether a repeated run gave the same bytes."""
    after = shown.load(folder)
    names = [name for name in before.record.get("pictures", []) if (before.folder / Path(name).name).is_file()]
    same = [
        name
        for name in names
        if (folder / Path(name).name).is_file()
        and (folder / Path(name).name).read_bytes() == (before.folder / Path(name).name).read_bytes()
    ]
    if names and len(same) == len(names) == len(after.record.get("pictures", [])):
        return f'<p class="holds" role="status">The same bytes as before in all {len(names)} pictures.</p>'
    why = "the code, the weights or the machine differ"
    return f'<p class="stale" role="status">{len(same)} of {len(names)} pictures have the same bytes as before: {why}.</p>'


class Tab:
    """The components of the tab."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        import gradio as gr

        self.settings, self.jobs = settings, jobs
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=300):
                self.refresh = gr.Button("Look again", size="sm")
                self.list = gr.HTML(js_on_load=_ACT, elem_id="runs")
            with gr.Column(scale=5, min_width=300):
                self.panel = Panel(jobs, "A run that you show or repeat stands here.", button=None)
        self.refresh.click(self.look, None, self.list, show_progress="hidden")

    def connect(self, act: Any) -> None:
        """``act``, which must name Gradio's own event type, answers the buttons of the list."""
        self.list.select(act, None, [*self.panel.outputs, self.list], show_progress="hidden", concurrency_limit=None)

    def look(self) -> str:
        return page(self.settings, self.jobs)

    async def act(self, event: Any) -> AsyncIterator[dict[Any, Any]]:
        """Show a run, or run it again."""
        told = event._data or {}
        try:
            kept = run_named(self.settings.runs, str(told.get("run")))
            if told.get("act") == "open":
                yield {self.panel.status: "", **self.panel.view.show(kept.folder)}
                return
            again = asked.from_record(kept.record, kept.folder)
        except DiffolioError as error:
            yield self.panel.refuse(str(error))
            return
        async for update in self.panel.follow(
            again, lambda folder: carried(again, folder, self.settings), before=lambda job: compared(kept, job.folder)
        ):
            yield update
        yield {self.list: self.look()}


def carried(told: Asked, folder: Path, settings: Settings) -> Asked:
    """A run with its files copied over into the new folder."""
    if told.image is not None:
        told = replace(told, image=uploads.keep_file(told.image, folder, settings, "picture"))
    if told.mask is not None:
        told = replace(told, mask=uploads.keep_file(told.mask, folder, settings, "mask"))
    return replace(told, inputs={name: uploads.keep_file(path, folder, settings, name) for name, path in told.inputs.items()})


_ACT = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button && !button.disabled) trigger('select', { act: button.dataset.act, run: button.dataset.run });
});
"""
