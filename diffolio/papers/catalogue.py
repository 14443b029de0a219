"""The bundled catalogue: the papers that Diffolio sets out to run."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paper:
    """One work. ``id`` is its arXiv id, ``also`` further ids of the same work, ``name`` the method that runs it."""

    id: str
    title: str
    authors: str | None  # None: the digest that listed it gave none
    categories: tuple[str, ...]
    submitted: str | None
    family: str
    name: str
    also: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.id}"


@functools.cache
def catalogue() -> tuple[Paper, ...]:
    """Every paper, by family and name."""
    rows = json.loads((Path(__file__).parent / "catalogue.json").read_text(encoding="utf-8"))
    return tuple(Paper(**{**row, "categories": tuple(row["categories"] or ()), "also": tuple(row["also"])}) for row in rows)


@functools.cache
def by_id() -> dict[str, Paper]:
    return {key: paper for paper in catalogue() for key in (paper.id, *paper.also)}
