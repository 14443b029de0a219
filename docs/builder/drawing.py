"""The idea in one picture, as SVG in the page's own colours; its words come from a method that runs."""

from __future__ import annotations

import html

from diffolio.cli.listing import number
from docs.builder.content import Entry, entries
from docs.builder.text import bar

WIDTH, HEIGHT = 690, 440
BOX = (250, 170)
SEAMS = ("attention, features,", "denoiser, scheduler")
PLACES = {"paper": (5, 10), "method": (430, 10), "model": (430, 260), "claim": (5, 260)}


def example() -> Entry | None:
    """A technique whose claim holds, else any technique with evidence."""
    shown = [entry for entry in entries() if entry.found and entry.card.kind == "technique"]
    return next((entry for entry in shown if entry.found and entry.found["holds"]), shown[0] if shown else None)


def idea() -> str:
    """Paper, method, model and claim, in a round."""
    entry = example()
    if entry is None or entry.found is None:
        return ""
    row = entry.found["rows"][0]
    base = "" if row["baseline"] is None else f"{number(row['baseline'])} → "
    title = entry.paper.title if entry.paper else ""
    parts = [
        station("paper", "a paper", [f"arXiv {entry.card.paper}", *wrapped(title, 32)[:4]]),
        station("method", "a method: one file", source(entry), code=True),
        station("model", "your model", ["any diffusers pipeline", "reached through its seams:", *SEAMS]),
        station("claim", "a claim", [
            f"{base}{number(row['value'])}", f"ratio {number(row['ratio'])}, bar {bar(row)}:",
            "it holds" if entry.found["holds"] else "it fails", "baseline and method in one run,", "from the same seeds",
        ]),
        line(258, 95, 427, 95), words(342, 82, "is read and becomes"),
        line(500, 183, 500, 257), words(492, 224, "with method.on(model):", "end"),
        line(610, 257, 610, 183), words(618, 218, "off again,"), words(618, 236, "bit for bit"),
        line(427, 345, 258, 345), words(342, 332, "is measured by"),
    ]  # fmt: skip
    label = (
        f"A paper, {entry.card.paper}, becomes a method in one file, goes onto a model and off again, and is measured by a claim"
    )
    return (
        f'<figure class="idea"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path class="tip" d="M 0 0 L 10 5 L 0 10 z"/></marker></defs>{"".join(parts)}</svg></figure>'
    )


def source(entry: Entry) -> list[str]:
    """A method's head, as its file has it."""
    knobs = [f"    {knob.name} = {knob.default!r}" for knob in entry.card.knobs[:3]]
    return [f"class {entry.card.class_name}({entry.card.kind.capitalize()}):", *knobs, "    def on(self, model): ..."]


def station(place: str, title: str, lines: list[str], code: bool = False) -> str:
    (x, y), (width, height) = PLACES[place], BOX
    kind = "code" if code else "plain"
    told = "".join(
        f'<text class="{kind}" x="{x + 14}" y="{y + 56 + 24 * i}" xml:space="preserve">{html.escape(one)}</text>'
        for i, one in enumerate(lines)
    )
    return (
        f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
        f'<text class="title" x="{x + 14}" y="{y + 28}">{html.escape(title)}</text>{told}'
    )


def line(x: int, y: int, to_x: int, to_y: int) -> str:
    return f'<path class="line" d="M {x} {y} L {to_x} {to_y}" marker-end="url(#tip)"/>'


def words(x: int, y: int, text: str, anchor: str = "") -> str:
    anchor = anchor or ("start" if x > WIDTH - 100 else "middle")
    return f'<text class="plain" x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>'


def wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
