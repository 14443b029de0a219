"""What the digest is told about papers that run here: from the methods' cards and the recorded evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from diffolio import registry
from diffolio.claims.evidence import load_evidence
from diffolio.papers.catalogue import by_id
from diffolio.papers.runnable import Runnable


class Runnables(Mapping[str, Runnable]):
    """From the arXiv id of a paper (any of its ids) to its runnable form; evidence is read when an entry is asked for."""

    def __init__(self) -> None:
        self._cards: dict[str, registry.Card] = {}
        self._made: dict[str, Runnable] = {}
        for card in registry.cards().values():
            paper = by_id().get(card.paper)
            for key in (paper.id, *paper.also) if paper else (card.paper,):
                self._cards[key] = card

    def __getitem__(self, key: str) -> Runnable:
        if key not in self._made:
            self._made[key] = runnable(key, self._cards[key])
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)


def runnable(key: str, card: registry.Card) -> Runnable:
    """One paper's entry: its command, the state of its claim and the headline figure."""
    found = load_evidence(card.name)
    claim = figure = None
    if found:
        head = found["rows"][0]
        claim = "stale" if found["stale"] else "holds" if found["holds"] else "fails"
        if head["baseline"] is not None:
            figure = f"{head['baseline']:.3g} -> {head['value']:.3g} (n={head['n']})"
        else:
            figure = f"{head['value']:.3g} (n={head['n']})"
    return Runnable(key, card.name, card.family, f"diffolio run {card.name}", claim, figure)
