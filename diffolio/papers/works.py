"""One paper under two ids: found by title and abstract, merged only where nothing speaks against it.

Two papers are one work when their folded titles and abstracts are equal and their authors do not differ. What is nearly so is
proposed for the user to decide; nothing is merged that was proposed or undone before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

from diffolio.papers.identifiers import base_of, key_of
from diffolio.papers.record import Author
from diffolio.papers.text import fold, squeeze

if TYPE_CHECKING:
    from diffolio.papers.store import Library
    from diffolio.papers.view import Work

SHORT = 200  # letters of an abstract below which equal ones prove nothing: "This paper has been withdrawn"
HEAD = 60  # letters at the start or end of an abstract that bring two papers together for a closer look
FEW = 1_000  # papers up to which the text index is asked instead of reading all texts
CROWD = 20  # papers that share a key and yet are not works: errata, replies, reports of one series
ALIKE = 0.8  # share of common word triples above which abstracts are nearly equal
TITLES = 0.6  # likeness of titles that goes with it
_WORD = re.compile(r"[^\W_]+")
_WITHDRAWN = re.compile(r"withdrawn|retracted|duplicate submission", re.IGNORECASE)


class Row(Protocol):
    """What is looked at: a Paper of the library or a Record."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str | None: ...
    @property
    def abstract(self) -> str | None: ...
    @property
    def authors(self) -> Sequence[Author] | None: ...


@dataclass(frozen=True)
class Proposal:
    """Ids that are one work (``merged``) or may be. ``kind``: same, title, abstract, near; ``confidence`` in [0, 1]."""

    ids: tuple[str, ...]
    kind: str
    confidence: float
    reason: str
    merged: bool


@dataclass(frozen=True)
class _Text:
    id: str
    title: str
    abstract: str
    words: str
    raw: str
    names: frozenset[str]


def propose(rows: Iterable[Row], among: Iterable[str] | None = None) -> list[Proposal]:
    """The works in ``rows``, surest first; only those that touch an id of ``among`` where it is given."""
    texts = {row.id: _text(row) for row in rows}
    wanted = set(texts) if among is None else set(among)
    found: dict[tuple[str, str], Proposal] = {}
    for one, two in _pairs(texts, wanted):
        proposal = compare(texts[one], texts[two])
        if proposal:
            found[proposal.ids[0], proposal.ids[1]] = proposal
    merged = _together([proposal for proposal in found.values() if proposal.merged])
    rest = [proposal for proposal in found.values() if not proposal.merged]
    return sorted([*merged, *rest], key=lambda p: (not p.merged, -p.confidence, p.ids))


def find_works(library: Library, among: Sequence[str] | None = None) -> list[Work]:
    """Look through a library, or only at what touches ``among``, and store the works; known ones stay as decided."""
    few = among is not None and len(among) <= FEW
    ids = _beside(library, among or ()) if few else _candidates(library)
    return store(library, propose(library.papers(ids), among))


def _candidates(library: Library) -> list[str]:
    """The ids of papers whose title, or the beginning or end of whose abstract, occurs twice."""
    blocks: dict[int, list[int]] = defaultdict(list)
    for key, title, abstract in library.texts():
        for block in _blocks(squeeze(title), squeeze(abstract[: 3 * HEAD]), squeeze(abstract[-3 * HEAD :])):
            blocks[hash(block)].append(key)
    keys = {key for block in blocks.values() if 1 < len(block) <= CROWD for key in block}
    return [base_of(key) for key in sorted(keys)]


def _beside(library: Library, among: Sequence[str]) -> list[str]:
    """``among`` and the papers whose title or abstract begins with the same words, by the text index."""
    keys = {key_of(id) for id in among}
    sql = "SELECT rowid FROM text WHERE text MATCH ? ORDER BY rowid DESC LIMIT ?"
    for paper in library.papers(list(among)):
        for column, text in (("title", paper.title), ("abstract", paper.abstract)):
            words = _WORD.findall((text or "")[: 2 * HEAD])[:8]
            if len("".join(words)) >= 8:
                phrase = f'{column} : "{" ".join(words)}"'
                keys.update(row[0] for row in library.connection.execute(sql, (phrase, CROWD)))
    return [base_of(key) for key in sorted(keys)]


def store(library: Library, proposals: Iterable[Proposal]) -> list[Work]:
    """Keep proposals in the library, in one transaction. A work that the user undid stays undone."""
    with library.transaction():
        return [
            library.add_work(p.ids, kind=p.kind, confidence=p.confidence, reason=p.reason, merged=p.merged) for p in proposals
        ]


def _text(row: Row) -> _Text:
    names = frozenset(fold(author.family or author.name).split(" ")[-1] for author in row.authors or ())
    words = fold(row.abstract or "")
    return _Text(row.id, squeeze(row.title or ""), words.replace(" ", ""), words, row.abstract or "", names - {""})


def _pairs(texts: dict[str, _Text], wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs worth a closer look: same title, or abstracts that begin or end alike."""
    blocks: dict[tuple[str, str], list[str]] = defaultdict(list)
    for id, text in texts.items():
        for block in _blocks(text.title, text.abstract, text.abstract):
            blocks[block].append(id)
    seen = set()
    for ids in blocks.values():
        if not 1 < len(ids) <= CROWD or wanted.isdisjoint(ids):
            continue
        for pair in combinations(sorted(ids), 2):
            if pair not in seen and not wanted.isdisjoint(pair):
                seen.add(pair)
                yield pair


def _blocks(title: str, head: str, tail: str) -> Iterator[tuple[str, str]]:
    if len(title) >= 8:
        yield "title", title
    if len(head) >= HEAD:
        yield "head", head[:HEAD]
        yield "tail", tail[-HEAD:]


def compare(one: _Text, two: _Text) -> Proposal | None:
    """What two papers have to do with each other; None when nothing."""
    ids = tuple(sorted((one.id, two.id)))
    known = bool(one.names and two.names)
    shared = bool(one.names & two.names)
    same_title = one.title == two.title and len(one.title) >= 8
    same_abstract = one.abstract == two.abstract and bool(one.abstract)
    long = min(len(one.abstract), len(two.abstract)) >= SHORT
    withdrawn = bool(_WITHDRAWN.search(one.raw) or _WITHDRAWN.search(two.raw))
    if same_title and same_abstract and long and not withdrawn:
        if shared or not known:
            told = "same title, abstract and authors" if shared else "same title and abstract"
            return Proposal(ids, "same", 0.99 if shared else 0.9, told, merged=shared or not known)
        return Proposal(ids, "same", 0.6, "same title and abstract, other authors", merged=False)
    if known and not shared:
        return None
    if same_abstract and long:
        return Proposal(ids, "abstract", 0.8, "same abstract, other title", merged=False)
    if same_title and (not one.abstract or not two.abstract):
        return Proposal(ids, "title", 0.5, "same title, an abstract is unknown", merged=False) if shared else None
    if not long:
        return None
    alike = _alike(one.words, two.words)
    if same_title and alike >= 0.3:
        return Proposal(ids, "title", round(0.5 + 0.4 * alike, 2), f"same title, {alike:.0%} of the abstract", merged=False)
    if alike >= ALIKE and SequenceMatcher(None, one.title, two.title, autojunk=False).ratio() >= TITLES:
        return Proposal(ids, "near", round(0.8 * alike, 2), f"title alike, {alike:.0%} of the abstract", merged=False)
    return None


def _alike(one: str, two: str) -> float:
    """The share of the letter eights that two texts have in common: joined words do not matter."""
    first, second = _shingles(one.replace(" ", "")), _shingles(two.replace(" ", ""))
    return len(first & second) / max(1, len(first | second))


def _shingles(text: str, size: int = 8) -> set[str]:
    return {text[i : i + size] for i in range(max(1, len(text) - size + 1))}


def _together(pairs: Sequence[Proposal]) -> list[Proposal]:
    """Pairs that share a paper become one work, as sure as the least sure of them."""
    groups: list[tuple[set[str], list[Proposal]]] = []
    for pair in pairs:
        touching = [group for group in groups if not group[0].isdisjoint(pair.ids)]
        ids = set(pair.ids).union(*(group[0] for group in touching))
        members = [pair, *(member for group in touching for member in group[1])]
        groups = [group for group in groups if group not in touching] + [(ids, members)]
    return [
        Proposal(tuple(sorted(ids)), members[0].kind, min(m.confidence for m in members), members[0].reason, merged=True)
        for ids, members in groups
    ]
