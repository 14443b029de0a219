"""What is known, gathered once: methods with their papers and evidence, bundled models with theirs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffolio import miniatures, registry
from diffolio.claims import evidence
from diffolio.cli.listing import FAMILIES
from diffolio.papers.catalogue import Paper, by_id, catalogue

ROOT = Path(__file__).parents[2]
HUMAN = {"scene3d": "3D scenes"}


@dataclass(frozen=True)
class Entry:
    """A method as the pages need it. ``found`` is its recorded evidence, None if there is none."""

    card: registry.Card
    paper: Paper | None
    found: dict[str, Any] | None

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def page(self) -> str:
        return f"methods/{self.card.family}/{self.card.name}.md"

    @property
    def title(self) -> str:
        return self.card.class_name

    @property
    def gives(self) -> str:
        """The headline without the name before its colon."""
        before, colon, after = self.card.headline.partition(": ")
        return after if colon and " " not in before else self.card.headline

    @property
    def edits(self) -> bool:
        return "target" in self.card.takes


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Every method that runs, by family in the catalogue's order, then by name."""
    order = {family: place for place, family in enumerate(families())}
    made = [Entry(card, by_id().get(card.paper), evidence.load_evidence(card.name)) for card in registry.cards().values()]
    return tuple(sorted(made, key=lambda entry: (order[entry.card.family], entry.name)))


@functools.cache
def families() -> tuple[str, ...]:
    """The families of the catalogue, and any that a method added."""
    own = {card.family for card in registry.cards().values()} | {paper.family for paper in catalogue()}
    return (*(family for family in FAMILIES if family in own), *sorted(own - set(FAMILIES)))


def of_family(family: str) -> list[Entry]:
    return [entry for entry in entries() if entry.card.family == family]


def papers_of(family: str) -> list[Paper]:
    return [paper for paper in catalogue() if paper.family == family]


@functools.cache
def model_evidence() -> dict[str, dict[str, Any]]:
    """The recorded evidence of bundled models, by the claim's name."""
    found = {
        name: evidence.load_evidence(name) for name, about in evidence.subjects().items() if about.family == evidence.MINIATURES
    }
    return {name: one for name, one in found.items() if one is not None}


def evidence_of_model(name: str) -> dict[str, Any] | None:
    """A model's own evidence, or that of the family whose copies it is one of (``mini-clip`` for ``mini-clip-a``)."""
    key = name.replace("-", "_")
    return model_evidence().get(key.removesuffix("_a").removesuffix("_b"))


def example_model(entry: Entry) -> str:
    """The bundled pipeline on which a method is shown: its claim's where there is one."""
    known = [name for name in miniatures.available() if (miniatures.folder(name) / "model_index.json").exists()]
    known += [name for name in miniatures.available() if (miniatures.folder(name) / "base.json").exists()]
    told = entry.found["model"] if entry.found else ""
    return told if told in known else "mini-sd"


def family_title(family: str) -> str:
    return HUMAN.get(family, family.capitalize())
