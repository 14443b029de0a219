"""Tables of methods, papers and claims."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from diffolio import registry
from diffolio.cards import parts_of
from diffolio.claims.evidence import load_evidence
from diffolio.errors import choose
from diffolio.papers.catalogue import by_id, catalogue

FAMILIES = (
    "acceleration", "resolution", "restoration", "editing", "control", "personalization", "perception", "safety",
    "evaluation", "video", "scene3d", "humans", "robotics", "science",
)  # fmt: skip
console = Console()


def methods(family: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
    _check(family, kind)
    return [_row(card) for card in registry.cards().values() if family in (None, card.family) and kind in (None, card.kind)]


def _row(card: registry.Card) -> dict[str, Any]:
    found = load_evidence(card.name)
    evidence = None
    if found:
        head = found["rows"][0]
        kept = {key: found[key] for key in ("holds", "recorded", "bars_met", "bars")}
        evidence = {"ratio": head["ratio"], "bar": head["bar"], **kept}
    paper = by_id().get(card.paper)
    return {
        "name": card.name, "paper": card.paper, "title": paper.title if paper else card.headline, "family": card.family,
        "kind": card.kind, "works_on": list(card.works_on), "knobs": {k.name: k.default for k in card.knobs},
        "evidence": evidence,
    }  # fmt: skip


def papers(family: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
    """Every paper of the catalogue; ``state`` is "runs" or "planned"."""
    _check(family, kind)
    running = registry.cards()
    table = []
    for paper in catalogue():
        card = running.get(paper.name)
        if family in (None, paper.family) and (kind is None or (card is not None and card.kind == kind)):
            table.append({
                "name": paper.name, "paper": paper.id, "title": paper.title, "authors": paper.authors, "family": paper.family,
                "state": "runs" if card else "planned", "kind": card.kind if card else None,
            })  # fmt: skip
    return table


def _check(family: str | None, kind: str | None) -> None:
    if family is not None:
        choose("family", family, FAMILIES)
    if kind is not None:
        choose("kind", kind, ("technique", "tool", "recipe"))


def show_methods(rows: list[dict[str, Any]]) -> None:
    table = Table("method", "family", "kind", "paper", "title", "claim (bars met)", title=f"{len(rows)} methods that run")
    for row in rows:
        table.add_row(row["name"], row["family"], row["kind"], row["paper"], row["title"], verdict(row["evidence"]))
    console.print(table)


def verdict(evidence: dict[str, Any] | None) -> str:
    if evidence is None:
        return "not recorded"
    mark = "[green]holds[/]" if evidence["holds"] else "[red]fails[/]"
    return f"{mark}{share(evidence)}, headline {number(evidence['ratio'])} ({evidence['bar']})"


def share(evidence: dict[str, Any]) -> str:
    """How many of a failing claim's bars are met, where it has more than one: " (3 of 4)"."""
    several = evidence["bars"] > 1 and not evidence["holds"]
    return f" ({evidence['bars_met']} of {evidence['bars']})" if several else ""


def show_papers(rows: list[dict[str, Any]]) -> None:
    runs = sum(row["state"] == "runs" for row in rows)
    table = Table("paper", "method", "family", "title", "state", title=f"{len(rows)} papers, {runs} run")
    for row in rows:
        state = f"[green]runs[/] ({row['kind']})" if row["state"] == "runs" else "[dim]planned[/]"
        table.add_row(row["paper"], row["name"], row["family"], row["title"], state)
    console.print(table)


def details(name: str) -> dict[str, Any]:
    card = registry.card(name)
    paper = by_id().get(card.paper)
    knobs = [
        {"name": k.name, "type": k.type, "default": k.default, "range": str(k.range), "means": k.range.means} for k in card.knobs
    ]
    return {
        **_row(card), "authors": paper.authors if paper else None, "url": f"https://arxiv.org/abs/{card.paper}",
        "idea": card.idea, "summary": card.summary, "knobs": knobs, "claim": load_evidence(card.name),
    }  # fmt: skip


def show_details(found: dict[str, Any]) -> None:
    console.rule(f"{found['name']} ({found['kind']}, {found['family']})")
    console.print(f"[bold]{found['title']}[/]\n{found['authors'] or ''}\n{found['url']}\n", highlight=False)
    console.print(reflowed(found["idea"]), markup=False, highlight=False)
    console.print(f"\n{reflowed(found['summary'])}\n", markup=False, highlight=False)
    table = Table("knob", "type", "default", "range", "meaning", title="knobs")
    for item in found["knobs"]:
        table.add_row(item["name"], item["type"], str(item["default"]), item["range"], item["means"])
    console.print(table)
    console.print("attaches to: " + (", ".join(found["works_on"]) or "any model or none"))
    if found["claim"]:
        show_claim(found["claim"], [Path(p) for p in [found["claim"].get("picture_path")] if p])
    else:
        console.print("claim: not recorded")


def reflowed(text: str) -> str:
    """A docstring for a screen of any width: paragraphs in one line each, indented blocks (equations, code) as they are."""
    return "\n\n".join(("\n" if inside else " ").join(lines) for inside, lines in parts_of(inspect.cleandoc(text)))


def show_claim(found: dict[str, Any], paths: list[Path]) -> None:
    console.print(f"\n[bold]{found['method']}[/] on {found['world']}, {found['model']}. The paper: {found['paper_says']}")
    table = Table("metric", "baseline", "value", "ratio", "95% interval", "bar", "holds", "n")
    for row in found["rows"]:
        baseline = "" if row["baseline"] is None else number(row["baseline"])
        table.add_row(row["metric"], baseline, number(row["value"]), number(row["ratio"]),
                      f"{number(row['interval'][0])} .. {number(row['interval'][1])}", row["bar"] or "reported",
                      "" if row["holds"] is None else "yes" if row["holds"] else "no", str(row["n"]))  # fmt: skip
    console.print(table)
    stale = " (stale: code or weights changed since)" if found.get("stale") else ""
    console.print(f"claim {'[green]holds[/]' if found['holds'] else '[red]fails[/]'}{stale}, {found['seconds']:.0f} s")
    if found.get("notes"):
        console.print(found["notes"], markup=False, highlight=False)
    for path in paths:
        console.print(str(path))


def show_claims(rows: list[dict[str, Any]]) -> None:
    table = Table(
        "method", "metric", "paper says", "baseline", "ours", "ratio", "interval", "bar", "holds (bars met)", title="claims"
    )
    for row in rows:
        holds = ("[green]yes[/]" if row["holds"] else f"[red]no[/]{share(row)}") + (" [yellow]stale[/]" if row["stale"] else "")
        table.add_row(row["method"], row["metric"], row["paper_says"], number(row["baseline"]), number(row["value"]),
                      number(row["ratio"]), f"{number(row['interval'][0])} .. {number(row['interval'][1])}", row["bar"], holds)  # fmt: skip
    console.print(table)


def number(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.3g}"
