"""The expression tree of a query, and the error of one that cannot be understood."""

from __future__ import annotations

from dataclasses import dataclass

from diffolio.errors import BadInput


class QueryError(BadInput):
    """A query that cannot be understood; ``position`` counts characters from 1."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(f"{what} (position {position})")
        self.position = position


@dataclass(frozen=True)
class Words:
    """A word or phrase. ``field``: text (title or abstract) or one of TEXT_FIELDS."""

    field: str
    text: str
    prefix: bool = False


@dataclass(frozen=True)
class SameAuthor:
    """All parts in the name of one author; ``prefixes`` are the parts of which only the beginning is given."""

    parts: tuple[str, ...]
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """A fact about a paper, as ``cat:cs.CV``; what values mean is read by papers.facets."""

    field: str
    value: str
    position: int


@dataclass(frozen=True)
class Id:
    key: int


@dataclass(frozen=True)
class Not:
    part: Node


@dataclass(frozen=True)
class And:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Node, ...]


Node = Words | SameAuthor | Fact | Id | Not | And | Or
