"""What a method is, for its page: plain words, the equation, its paper, and what was measured."""

from __future__ import annotations

import re

from diffolio.cards import Card
from diffolio.papers.catalogue import by_id
from diffolio.web import markup, recorded
from diffolio.web.markup import chip, esc, link

STATES = {True: '<span class="holds">holds</span>', False: '<span class="fails">fails</span>'}


def choices(cards: list[Card]) -> list[tuple[str, str]]:
    """Label and name of each method for a chooser."""
    return [(f"{card.name}: {_title(card)}", card.name) for card in cards]


def _title(card: Card) -> str:
    paper = by_id().get(card.paper)
    return paper.title if paper else card.headline


def about(card: Card) -> str:
    """Title, paper, what kind of method it is, its idea up to the first equation, the rest folded."""
    paper = by_id().get(card.paper)
    authors = f" {esc(paper.authors)}." if paper and paper.authors else ""
    kinds = [chip(card.family), chip(card.kind)]
    kinds += [chip(f"works on {', '.join(card.works_on)}")] if card.works_on else [chip("works on any model")]
    kinds += [chip(f"takes {', '.join(card.takes)}")] if card.takes else []
    first, rest = split(card.idea)
    more = (
        f"<details><summary>All of it, with what differs from the paper</summary>{markup.prose(rest)}</details>" if rest else ""
    )
    return (
        f'<div class="about"><h2>{esc(card.headline)}</h2><p>{link(f"https://arxiv.org/abs/{card.paper}", _title(card))}.{authors}</p>'
        f'<div class="chips">{"".join(kinds)}</div>{markup.prose(card.summary)}{markup.prose(first)}{more}{claim(card)}</div>'
    )


def split(idea: str) -> tuple[str, str]:
    """A module's docstring without its headline: up to the end of the first equation, and the rest."""
    text = idea.partition("\n")[2].strip("\n")
    match = re.search(r"(?:^|\n)(?: {4}[^\n]*\n(?:[ \t]*\n(?= {4}))?)+", text + "\n")
    if match is None:
        first, _, rest = text.partition("\n\n")
        return first, rest
    return text[: match.end()].rstrip(), text[match.end() :].strip("\n")


def claim(card: Card) -> str:
    """What was measured of it, in one line."""
    found = recorded.evidence(card.name)
    if not found:
        return markup.note("No claim is recorded for it yet.")
    row = found["rows"][0]
    numbers = (
        f"{markup.figure(row['baseline'])} → {markup.figure(row['value'])}"
        if row["baseline"] is not None
        else markup.figure(row["value"])
    )
    low, high = row["interval"]
    stale = ' <span class="stale">(recorded before the code or the weights changed last)</span>' if found["stale"] else ""
    return (
        f"<p><b>Measured here:</b> {esc(row['metric'])}: {numbers} (n={row['n']}, 95% {markup.figure(low)} to {markup.figure(high)}, bar"
        f" {markup.bar(row['bar'])}). The claim {STATES[bool(found['holds'])]}{stale}.</p>"
    )
