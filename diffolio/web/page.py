"""The page as a whole. Gradio is imported here at the top: import this module only after ``server.quiet``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from diffolio import registry
from diffolio.web import digest, evidence, history, paper, stack
from diffolio.web.jobs import Jobs
from diffolio.web.settings import Settings
from diffolio.web.source import Source


def build(settings: Settings, jobs: Jobs) -> Any:
    """The page as Gradio blocks."""
    source = Source(settings.library)
    with gr.Blocks(title="Diffolio", analytics_enabled=False, fill_width=False) as page:
        gr.HTML('<header class="mast"><h1>Diffolio</h1><p>A digest of diffusion papers that you can run.</p></header>')
        with gr.Tabs(selected="digest") as tabs:
            with gr.Tab("Digest", id="digest"):
                read = digest.Tab(source)
            with gr.Tab("Paper", id="paper"):
                run = paper.Tab(settings, jobs)
            with gr.Tab("Stack", id="stack"):
                stack.Tab(settings, jobs)
            with gr.Tab("Evidence", id="evidence") as evidence_tab:
                shown = gr.HTML(js_on_load=evidence.SORT, elem_id="evidence")
            with gr.Tab("History", id="history") as history_tab:
                past = history.Tab(settings, jobs)

        def choose(event: gr.EventData) -> list[Any]:
            return [gr.Tabs(selected="paper"), event._data["value"]]

        async def act(event: gr.EventData) -> AsyncIterator[dict[Any, Any]]:
            async for update in past.act(event):
                yield update

        read.found.select(choose, None, [tabs, run.method], show_progress="hidden")
        past.connect(act)
        evidence_tab.select(evidence.page, None, shown, show_progress="hidden")
        history_tab.select(past.look, None, past.list, show_progress="hidden")

        def begin(request: gr.Request) -> list[Any]:
            """Set the paper, ``/?method=NAME`` or the first; that makes its knobs, which a value from the beginning would make twice."""
            name = str(request.query_params.get("method", "")).replace("-", "_")
            return [gr.Tabs(selected="paper"), name] if name in registry.cards() else [gr.skip(), run.first]

        page.load(begin, None, [tabs, run.method], show_progress="hidden")
    page.queue(default_concurrency_limit=8, max_size=200)
    return page
