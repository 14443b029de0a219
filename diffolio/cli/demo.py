"""``diffolio demo``: the digest, then a technique, a tool and an edit on the bundled model, on one page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from diffolio.errors import BadInput

console = Console()


@dataclass(frozen=True)
class Station:
    """One stop of the tour: what is run, and what to look for."""

    method: str
    look_for: str
    prompts: tuple[str, ...]
    knobs: tuple[tuple[str, str], ...] = ()
    target: str = ""
    width: int | None = None
    height: int | None = None
    steps: int = 25


TOUR = (
    Station(
        "fouriscale",
        "Twice the trained size: the plain model repeats objects, FouriScale keeps the number that was asked for.",
        ("a red circle", "a blue star", "a green tree", "a purple house"), width=128, height=128,
    ),
    Station(
        "ovam",
        "Where each word sits in the picture, read from the network's attention while it drew.",
        ("a yellow star above a blue house", "a red fish left of a green tree"),
    ),
    Station(
        "spdinv",
        "A picture is inverted and one word of its caption changed; everything else should stay.",
        ("a red house",), target="a blue house",
    ),
)  # fmt: skip


def demo(out: Path) -> None:
    """Run the tour and write ``out/index.html``."""
    from diffolio import registry
    from diffolio.cli import listing
    from diffolio.models import load
    from diffolio.results import Job

    started = time.perf_counter()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write to {out} ({error.strerror}): name another folder with --out") from error
    table = listing.papers()
    running = [row for row in table if row["state"] == "runs"]
    console.print(f"Diffolio's catalogue: {len(table)} papers, {len(running)} run here.")
    listing.show_methods(listing.methods())

    model = load("mini-sd")
    sections = []
    for station in TOUR:
        method = registry.make(station.method, dict(station.knobs))
        console.print(f"[bold]{station.method}[/] {station.look_for}")
        job = Job(model, list(station.prompts), steps=station.steps, width=station.width, height=station.height,
                  target=station.target)  # fmt: skip
        result = method.run(job)
        folder = out / station.method
        result.save(folder, {"method": station.method, "knobs": method.knobs(), "prompts": job.prompts, "seed": job.seed})
        sections.append((station, registry.card(station.method), result.numbers))
    page = out / "index.html"
    page.write_text(render_page(table, sections), encoding="utf-8")
    console.print(f"[green]{page}[/] holds the pictures side by side ({time.perf_counter() - started:.0f} s)")


def render_page(table: list[dict[str, Any]], sections: list[tuple[Station, Any, dict[str, float]]]) -> str:
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(PAGE)
    return template.render(table=table, sections=sections, running=sum(r["state"] == "runs" for r in table))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Diffolio demo</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
img { width: 100%; max-width: 56rem; image-rendering: pixelated; border: 1px solid #8885; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td, th { text-align: left; padding: .2rem .5rem; border-bottom: 1px solid #8883; vertical-align: top; }
code { background: #8882; padding: .1rem .3rem; }
.runs { color: #1a7f37; font-weight: 600; }
</style></head><body>
<h1>Diffolio: papers that you can run</h1>
<p>{{ table|length }} papers in the catalogue, {{ running }} run here. Everything below was made on this machine by a model of
6 million parameters that comes with the package.</p>
{% for station, card, numbers in sections %}
<section><h2>{{ card.class_name }} <small>{{ card.family }}, {{ card.kind }}</small></h2>
<p>{{ station.look_for }}</p>
<p>Paper: <a href="https://arxiv.org/abs/{{ card.paper }}">{{ card.paper }}</a>.
Run it: <code>diffolio run {{ station.method }} --prompt "{{ station.prompts[0] }}"
{%- if station.width %} --size {{ station.width }}x{{ station.height }}{% endif %}
{%- if station.target %} --set target="{{ station.target }}"{% endif %}
{%- for key, value in station.knobs %} --set {{ key }}="{{ value }}"{% endfor %}</code></p>
<img src="{{ station.method }}/sheet.png" alt="Pictures of {{ station.method }}: baseline and method">
<p>{% for key, value in numbers.items() %}{{ key }} {{ "%.3g"|format(value) }}{{ ", " if not loop.last }}{% endfor %}</p></section>
{% endfor %}
<h2>The catalogue</h2>
<table><tr><th>paper</th><th>title</th><th>family</th><th>method</th><th>state</th></tr>
{% for row in table %}<tr><td><a href="https://arxiv.org/abs/{{ row.paper }}">{{ row.paper }}</a></td><td>{{ row.title }}</td>
<td>{{ row.family }}</td><td><code>{{ row.name }}</code></td>
<td class="{{ row.state }}">{{ row.state }}</td></tr>
{% endfor %}</table></body></html>
"""
