"""Tables that hand-written pages ask for by a comment, and the gallery."""

from __future__ import annotations

import html
import json
from itertools import combinations
from typing import Any

from diffolio import registry
from diffolio.claims.evidence import MINIATURES, PICTURE, bars, evidence_folder, rows, subjects
from diffolio.cli.listing import number
from docs.builder.content import ROOT, entries, families, family_title, of_family, papers_of
from docs.builder.text import attribute, bar, cell, figure, table, verdict


def family_table() -> str:
    """Families with how many of their papers run."""
    body = []
    for family in families():
        own, listed = of_family(family), papers_of(family)
        links = ", ".join(f"[{entry.title}]({entry.page})" for entry in own)
        body.append((f"[{family_title(family)}](methods/index.md#{family})", len(listed), len(own), links))
    return table(("family", "papers", "run", "methods"), body)


def named(row: dict[str, Any]) -> str:
    """The subject of a claim, linked to its page if it has one."""
    if row["method"] in registry.cards():
        return f"[{row['method']}](methods/{row['family']}/{row['method']}.md)"
    return f"[{row['method']}](models/index.md)" if row["family"] == MINIATURES else row["method"]


def evidence_table() -> str:
    """Every recorded claim, failures as visible as successes; and the methods that have none."""
    found = rows()
    holds, stale = sum(row["holds"] for row in found), sum(row["stale"] for row in found)
    silent = [entry for entry in entries() if entry.found is None]
    told = f"**{len(found)} claims are recorded: {holds} hold, {len(found) - holds} fail**; {stale} of them are stale."
    if silent:
        told += " No evidence yet: " + ", ".join(f"[{entry.title}]({entry.page})" for entry in silent) + "."
    body = []
    for row in found:
        met, further = bars(row["more"])
        passed = f"{met} of {further}" if further else ""
        baseline = "" if row["baseline"] is None else number(row["baseline"])
        body.append((
            named(row), verdict(row["holds"], row["stale"]), figure(row), bar(row), baseline, number(row["value"]),
            cell(row["metric"]), cell(row["paper_says"]), passed, row["n"],
        ))  # fmt: skip
    head = ("claim", "it", "figure [95%]", "bar", "baseline", "ours", "measured", "the paper says", "further bars", "n")
    return f'{told}\n\n<div class="wide" markdown>\n\n{table(head, body)}\n\n</div>'


def together_table() -> str:
    """Which techniques stack; a place that both need for themselves forbids it."""
    held = [(entry, set(entry.card.exclusive)) for entry in entries() if entry.card.kind == "technique"]
    clashes = [
        (f"[{one.title}]({one.page})", f"[{two.title}]({two.page})", ", ".join(sorted(first & second)))
        for (one, first), (two, second) in combinations(held, 2)
        if first & second
    ]
    pairs = len(held) * (len(held) - 1) // 2
    if not clashes:
        return f"{len(held)} techniques, {pairs} pairs: no pair holds a place that the other needs."
    listed = table(("technique", "technique", "both need"), clashes)
    refused = f"{len(clashes)} {'is' if len(clashes) == 1 else 'are'} refused"
    return f"{len(held)} techniques, {pairs} pairs; {refused}, every other pair goes together:\n\n{listed}"


def gallery() -> str:
    """Every picture of the evidence, each with its verdict."""
    parts = [
        "# Gallery",
        "Every picture here was made by a claim, by the command under it, on the bundled models. Nothing is picked by hand: a claim "
        "writes one picture, of prompts that were fixed before. [What the verdicts mean](evidence.md).",
    ]
    known = {row["method"].replace("-", "_"): row for row in rows()}
    for name, about in subjects().items():
        row = known.get(name)
        path = evidence_folder() / about.family / f"{name}{PICTURE}"
        if row is None or not path.exists():
            continue
        text = f"{row['method']}: {row['metric']}"
        parts.append(
            f'<figure class="shot" markdown>\n![{attribute(text)}](pictures/{about.family}/{path.name}){{ loading=lazy }}\n'
            f"<figcaption markdown>**{named(row)}** {verdict(row['holds'], row['stale'])}<br>{cell(row['metric'])}: "
            f"{figure(row)}, bar {bar(row)}<br><code>diffolio claim {row['method']}</code></figcaption>\n</figure>"
        )
    for path in sorted((ROOT / "docs" / "pictures").glob("*.png")):
        words = html.escape(path.stem.replace("-", " "))
        shown = f"![{words}](pictures/{path.name}){{ loading=lazy }}"
        parts.append(f'<figure class="shot" markdown>\n{shown}\n<figcaption>{words}</figcaption>\n</figure>')
    return "\n\n".join(parts) + "\n"


def web_pictures() -> str:
    """Screenshots of the web page, if there are any."""
    shots = sorted((ROOT / "docs" / "pictures").glob("web-*.webp"))
    return "\n\n".join(f"![{path.stem.replace('-', ' ')}](pictures/{path.name})" for path in shots)


def edit_benchmark() -> str:
    """The recorded run of ``diffolio bench editing``: its table without intervals, and its picture."""
    from diffolio.claims.benchmark.report import table as columns

    path = evidence_folder() / "benchmarks" / "editing.json"
    if not path.exists():
        return "It is not recorded yet: `diffolio bench editing --record`."
    record = json.loads(path.read_text(encoding="utf-8"))
    head, body = columns(record, intervals=False)
    pages = {entry.card.name: f"[{entry.title}]({entry.page})" for entry in entries()}

    def named_editor(words: str) -> str:
        name, _, rest = words.partition(" ")
        return f"{pages[name]} {cell(rest)}" if name in pages else cell(words)

    shown = table(("editor", *head[1:]), [(named_editor(words), *rest) for words, *rest in body])
    told = (
        f"{record['rows'][0]['n']} edits on {record['model']}, {record['steps']} steps, recorded {record['recorded']}. Distances are in "
        "thousandths. Editors with fewer edits know fewer kinds of them; those that are given the mask have it easier."
    )
    picture = "![Sources, every editor's edits and the true twins](pictures/benchmarks/editing.webp){ loading=lazy }"
    return f'{told}\n\n<div class="wide" markdown>\n\n{shown}\n\n</div>\n\n{picture}'


FILLED = {
    "families": family_table, "evidence": evidence_table, "together": together_table, "web pictures": web_pictures,
    "edit benchmark": edit_benchmark,
}  # fmt: skip
