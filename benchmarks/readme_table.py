"""Put the families, the methods that run, the bundled models and their recorded claims into the README's tables.

python benchmarks/readme_table.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from diffolio import miniatures, registry
from diffolio.claims import evidence, rows
from diffolio.claims.evidence import MINIATURES
from diffolio.cli.listing import FAMILIES, number, share
from diffolio.papers.catalogue import catalogue

README = Path(__file__).parents[1] / "README.md"
sys.path.insert(0, str(README.parent))  # the documentation's builder knows the bundled models
from docs.builder import content, models  # noqa: E402

HEAD = [
    "| method | measured | paper says | baseline | ours | ratio [95%] | bar | holds (bars met) |",
    "|---|---|---|---|---|---|---|---|",
]


FAMILY_HEAD = ["| family | papers | run | methods |", "|---|---|---|---|"]


def family_lines() -> list[str]:
    """One row a family: how many papers of the catalogue, how many run, which."""
    running, papers = registry.cards().values(), catalogue()
    known = {paper.family for paper in papers} | {card.family for card in running}
    lines, runs = [], 0
    for family in (*FAMILIES, *sorted(known - set(FAMILIES))):
        own = [card for card in running if card.family == family]
        runs += len(own)
        names = ", ".join(f"[`{card.name}`](diffolio/methods/{family}/{card.name}.py)" for card in own)
        lines.append(f"| {family} | {sum(paper.family == family for paper in papers)} | {len(own)} | {names} |")
    return [*lines, f"| **all** | **{len(papers)}** | **{runs}** | |"]


MODEL_HEAD = ["| miniature | class | parameters | measured | bar | met |", "|---|---|---|---|---|---|"]


def model_lines() -> list[str]:
    """One row a bundled model; two copies of one net are told together."""
    together: dict[str, list[str]] = {}
    for name in models.names():
        together.setdefault(name.removesuffix("-a").removesuffix("-b"), []).append(name)
    lines = []
    for names in together.values():
        folder, found = miniatures.folder(names[0]), content.evidence_of_model(names[0])
        count = sum(part[2] for part in models.parts(folder)) / 1e6
        cells = [", ".join(f"`{name}`" for name in names), models.what(folder), f"{count:.1f} M"]
        if found:
            head = found["rows"][0]
            low, high = head["interval"]
            measured = f"{head['metric']}: {number(head['ratio'])}" + (
                f" [{number(low)}, {number(high)}]" if low is not None else ""
            )
            bar = head["bar"].replace("<=", "≤").replace(">=", "≥")
            cells += [measured, bar, ("yes" if head["holds"] else "no") + (" (stale)" if found["stale"] else "")]
        else:
            using = ", ".join(f"`{name}`" for name in claims_with(names[0]))
            cells += [f"in the claims of {using}" if using else "", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def claims_with(name: str) -> list[str]:
    """The methods whose claims read a miniature's weights."""
    found = ((entry.name, evidence.claim_of(entry.name)) for entry in content.entries())
    return [method for method, claim in found if claim and name in (claim.model, *claim.weights)]


def line(row: dict) -> str:
    """One claim as a row of the table."""
    low, high = row["interval"]
    interval = f" [{number(low)}, {number(high)}]" if low is not None else ""
    holds = ("yes" if row["holds"] else "no" + share(row)) + (" (stale)" if row["stale"] else "")
    bar = row["bar"].replace("<=", "≤").replace(">=", "≥")
    metric = row["metric"].replace("|", "&#124;")
    baseline = "" if row["baseline"] is None else number(row["baseline"])
    cells = (f"`{row['method']}`", metric, row["paper_says"], baseline, number(row["value"]),
             number(row["ratio"]) + interval, bar, holds)  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    text = replaced(text, r"\| family \| papers.*?\n\n", [*FAMILY_HEAD, *family_lines()])
    text = replaced(text, r"\| method \| measured.*?\n\n", [*HEAD, *(line(row) for row in rows() if row["family"] != MINIATURES)])
    text = replaced(text, r"\| miniature \|.*?\n\n", [*MODEL_HEAD, *model_lines()])
    README.write_text(text, encoding="utf-8")


def replaced(text: str, pattern: str, lines: list[str]) -> str:
    """The text with the one table that the pattern finds written anew."""
    fresh, found = re.subn(pattern, lambda _: "\n".join(lines) + "\n\n", text, flags=re.S)
    if found != 1:
        raise SystemExit(f"the README has {found} tables that begin like {lines[0]}: there must be one")
    return fresh


if __name__ == "__main__":
    main()
