"""What the library gives back: a paper with all that is known of it, and where it came from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffolio.papers.identifiers import base_of, key_of
from diffolio.papers.merge import BIT, HISTORY, TEXTS, Names, authors_of
from diffolio.papers.record import SOURCES, Author, Link, Record, Repair, Version
from diffolio.papers.rows import COLUMNS, marks
from diffolio.papers.runnable import Runnable


@dataclass(frozen=True)
class Fact:
    """Where one field came from: a source of record.SOURCES, the version it described, when it was said (both may be unknown)."""

    source: str
    version: int | None
    retrieved: str | None


@dataclass(frozen=True)
class Listing:
    """A paper in an issue. ``position`` and ``lines`` (first, last) count from 1; ``first``/``last`` is the issue's window."""

    series: str
    format: str
    first: str
    last: str
    position: int
    version: int | None
    announced: str | None
    lines: tuple[int, int]
    sha256: str


@dataclass(frozen=True)
class Announcement:
    """arXiv announced the paper on ``day`` as ``type``: new, cross, replace or replace-cross."""

    day: str
    type: str
    version: int | None


@dataclass(frozen=True)
class StoredRepair(Repair):
    """A repair in the library; ``id`` is what undo and redo take."""

    id: int = 0
    paper: str | None = None
    undone: bool = False


@dataclass(frozen=True)
class Mark:
    """The user's like, dislike, tag, note, read or hidden; ``value`` is the tag or the note."""

    kind: str
    value: str
    at: str | None = None


@dataclass(frozen=True)
class Summary:
    """A summary of a paper. ``kind``: extractive, endpoint, imported. ``body`` by the schema of its kind; ``text`` is what
    search sees; ``check`` and ``verdict`` are the outcome of the fact check."""

    language: str
    kind: str
    body: dict[str, Any]
    version: int | None = None
    model: str = ""
    prompt: str = ""
    schema: int = 0
    text: str = ""
    raw: str | None = None
    check: dict[str, Any] | None = None
    verdict: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Work:
    """The same work under several ids. ``status``: merged, proposed or undone."""

    id: int
    status: str
    kind: str
    confidence: float
    reason: str
    papers: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """One paper, merged from all sources. None means that no source said it."""

    id: str
    key: int
    title: str | None = None
    abstract: str | None = None
    authors: tuple[Author, ...] | None = None
    authors_cut: bool = False
    categories: tuple[str, ...] | None = None
    comments: str | None = None
    journal_ref: str | None = None
    doi: str | None = None
    licence: str | None = None
    published: str | None = None
    updated: str | None = None
    version: int | None = None
    withdrawn: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    links: tuple[Link, ...] = ()
    listings: tuple[Listing, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    repairs: tuple[StoredRepair, ...] = ()
    marks: tuple[Mark, ...] = ()
    summaries: tuple[Summary, ...] = ()
    works: tuple[Work, ...] = ()
    runnable: Runnable | None = None

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.id}"

    @property
    def primary(self) -> str | None:
        return self.categories[0] if self.categories else None

    @property
    def uncertain(self) -> frozenset[str]:
        """Fields whose text rests on a repair of confidence below 0.5."""
        return frozenset(repair.field for repair in self.repairs if repair.confidence < 0.5 and not repair.undone)

    def marked(self, kind: str) -> tuple[str, ...]:
        """The values of the marks of one kind; ``('',)`` for a plain like."""
        return tuple(mark.value for mark in self.marks if mark.kind == kind)

    def record(self) -> Record:
        """The merged record; its source is the least trusted one that supplied a field."""
        source = max((SOURCES.index(fact.source) for fact in self.facts.values()), default=0)
        return Record(
            self.id, SOURCES[source], self.title, self.abstract, self.authors, self.authors_cut, self.categories, self.comments,
            self.journal_ref, self.doi, self.licence, self.published, self.updated, self.version, self.versions, self.withdrawn,
            extra=self.extra,
        )  # fmt: skip


def papers(connection: sqlite3.Connection, keys: Sequence[int], methods: Mapping[str, Runnable]) -> Iterator[Paper]:
    """The papers of ``keys`` (at most 30,000) in that order; those that are absent are left out."""
    among = f"IN ({marks(len(keys))})"
    rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM paper WHERE key {among}", keys)
    parts = {row[0]: _core(row) for row in rows}
    for name, read in _PARTS.items():
        for key, part in read(connection, among, keys):
            if key in parts:
                parts[key].setdefault(name, []).append(part)
    for key in keys:
        if key in parts:
            yield _paper(parts[key], methods)


def _core(row: tuple[Any, ...]) -> dict[str, Any]:
    told = dict(zip(COLUMNS, row, strict=True))
    names, parts = told.pop("authors"), told.pop("author_parts")
    told["authors"] = None if names is None else authors_of(Names(0, names, parts))
    told["authors_cut"] = bool(told["authors_cut"])
    told["withdrawn"] = bool(told["withdrawn"])
    told["categories"] = tuple(told["categories"].split()) if told["categories"] else None
    told["extra"] = json.loads(told["extra"]) if told["extra"] else {}
    return told


def _paper(told: dict[str, Any], methods: Mapping[str, Runnable]) -> Paper:
    base = base_of(told["key"])
    facts = {name: fact for fields, fact in told.pop("facts", []) for name, bit in BIT.items() if fields & bit}
    texts = told.pop("texts", [])
    lists: dict[str, Any] = {name: tuple(told.pop(name, ())) for name in _PARTS if name not in ("facts", "texts", "versions")}
    versions = _versions(told, facts, texts)
    return Paper(id=base, facts=facts, versions=versions, runnable=methods.get(base), **told, **lists)


def _versions(told: dict[str, Any], facts: dict[str, Fact], texts: Iterable[tuple[int, str, str]]) -> tuple[Version, ...]:
    """Every version that was seen, with what is known of it; the dates of the record belong to its first and last version."""
    found: dict[int, dict[str, str]] = {n: dict(known) for n, known in told.pop("versions", [])}
    for n, name, value in texts:
        found.setdefault(n, {})[name] = value
    for name in TEXTS:
        if name in facts and (shown := facts[name].version):
            found.setdefault(shown, {}).setdefault(name, told[name])
    if told["version"]:
        found.setdefault(told["version"], {})
    if found:
        found.setdefault(1, {})
    if told["published"] and found:
        found[1].setdefault("submitted", told["published"])
    if "updated" in facts and (latest := facts["updated"].version):
        found.setdefault(latest, {}).setdefault("submitted", told["updated"])
    return tuple(Version(n, **found[n]) for n in sorted(found))


def _facts(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Any]]:
    sql = f"SELECT paper, fields, source, version, retrieved FROM fact WHERE paper {among}"
    for key, fields, source, version, retrieved in connection.execute(sql, keys):
        yield key, (fields, Fact(SOURCES[source], version or None, retrieved or None))


def _history(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Any]]:
    sql = f"SELECT paper, n, {', '.join(HISTORY)} FROM version WHERE paper {among}"
    for key, n, *told in connection.execute(sql, keys):
        yield key, (n, {name: value for name, value in zip(HISTORY, told, strict=True) if value is not None})


def _texts(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Any]]:
    for key, *told in connection.execute(f"SELECT paper, n, field, value FROM version_text WHERE paper {among}", keys):
        yield key, told


def _links(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Link]]:
    sql = f"SELECT paper, url, kind, found_in FROM link WHERE paper {among} ORDER BY paper, position"
    for key, *told in connection.execute(sql, keys):
        yield key, Link(*told)


def _listings(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Listing]]:
    sql = (
        "SELECT paper, series, format, first, last, position, version, announced, first_line, last_line, sha256 FROM listing"
        f" JOIN issue ON issue.id = listing.issue WHERE paper {among} ORDER BY paper, last, series, sha256, position"
    )
    for key, series, kind, first, last, place, version, announced, begin, end, sha256 in connection.execute(sql, keys):
        yield key, Listing(series, kind, first, last, place, version, announced, (begin, end), sha256)


def _announced(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Announcement]]:
    sql = f"SELECT paper, day, type, version FROM announcement WHERE paper {among} ORDER BY paper, day, type, version"
    for key, day, kind, version in connection.execute(sql, keys):
        yield key, Announcement(day, kind, version or None)


def _repairs(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, StoredRepair]]:
    for repair in stored_repairs(connection, f"WHERE paper {among}", keys):
        yield key_of(repair.paper or ""), repair


def stored_repairs(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> Iterator[StoredRepair]:
    """Repairs in the order they were made."""
    sql = f"SELECT field, kind, before, after, confidence, id, paper, undone FROM repair {where} ORDER BY id"
    for name, kind, before, after, confidence, number, paper, undone in connection.execute(sql, values):
        base = None if paper is None else base_of(paper)
        yield StoredRepair(name, kind, before, after, confidence, number, base, bool(undone))


def _marks(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Mark]]:
    sql = f"SELECT paper, kind, value, at FROM mark WHERE paper {among} ORDER BY paper, kind, value"
    for key, *told in connection.execute(sql, keys):
        yield key, Mark(*told)


def _summaries(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Summary]]:
    sql = (
        "SELECT paper, language, kind, body, version, model, prompt, schema, text, raw, checked, verdict, at FROM summary"
        f" WHERE paper {among} ORDER BY paper, kind, language, id"
    )
    for key, language, kind, body, version, model, prompt, schema, text, raw, checked, verdict, at in connection.execute(
        sql, keys
    ):
        check = json.loads(checked) if checked else None
        yield key, Summary(language, kind, json.loads(body), version, model, prompt, schema, text, raw, check, verdict, at)


def _works(connection: sqlite3.Connection, among: str, keys: Sequence[int]) -> Iterator[tuple[int, Work]]:
    sql = f"SELECT paper, work FROM work_paper WHERE paper {among} ORDER BY paper, work"
    for key, work in connection.execute(sql, keys).fetchall():
        yield key, stored_work(connection, work)


def stored_work(connection: sqlite3.Connection, work: int) -> Work:
    sql = "SELECT id, status, kind, confidence, reason FROM work WHERE id = ?"
    number, status, kind, confidence, reason = connection.execute(sql, (work,)).fetchone()
    members = connection.execute("SELECT paper FROM work_paper WHERE work = ? ORDER BY paper", (work,))
    return Work(number, status, kind, confidence, reason, tuple(base_of(key) for (key,) in members))


_PARTS = {
    "facts": _facts, "versions": _history, "texts": _texts, "links": _links, "listings": _listings, "announcements": _announced,
    "repairs": _repairs, "marks": _marks, "summaries": _summaries, "works": _works,
}  # fmt: skip
