"""The canonical form of a library: JSON lines sorted by key, and its fingerprint.

A line holds what the sources said, no time of any import and nothing of the user's. The fingerprint is the SHA-256 over the
digests of the months, each the SHA-256 over the month's lines: a day's changes touch few months, so it stays quick to know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from diffolio.papers import view
from diffolio.papers.identifiers import month_key
from diffolio.papers.record import SOURCES, Author, Record, Version

if TYPE_CHECKING:
    from diffolio.papers.store import Library

_FIELDS = (
    "id", "title", "abstract", "authors_cut", "categories", "comments", "journal_ref", "doi", "licence", "published", "updated",
    "version", "withdrawn", "extra",
)  # fmt: skip
_CHUNK = 1000


def line(paper: view.Paper) -> str:
    """One paper in canonical form: sorted fields, absent ones left out."""
    told: dict[str, Any] = {name: value for name in _FIELDS if (value := getattr(paper, name))}
    told["authors"] = [_bare(asdict(author)) for author in paper.authors or ()]
    told["versions"] = [_bare(asdict(version)) for version in paper.versions]
    told["sources"] = {name: _bare({"source": f.source, "version": f.version}) for name, f in paper.facts.items()}
    told["announced"] = [_bare(asdict(announcement)) for announcement in paper.announcements]
    told["listed"] = sorted(
        ([x.series, x.first, x.last, x.position, x.version, x.announced, x.sha256] for x in paper.listings), key=repr
    )
    return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False, sort_keys=True)


def _bare(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}


def records_of(told: Mapping[str, Any]) -> list[Record]:
    """The records that a line (decoded) was merged from, one for each source and version, so that re-import restores trust."""
    groups: dict[tuple[str, int | None], dict[str, Any]] = {}
    for name, fact in told.get("sources", {}).items():
        value = told.get(name, False if name == "withdrawn" else None)
        if name == "authors":
            value = tuple(Author(**author) for author in value)
        elif name == "categories":
            value = tuple(value)
        source = fact["source"] if fact["source"] in SOURCES else "jsonl"
        groups.setdefault((source, fact.get("version")), {})[name] = value
    versions = tuple(Version(**version) for version in told.get("versions", ()))
    records = []
    for (source, version), values in sorted(groups.items(), key=lambda group: SOURCES.index(group[0][0])):
        cut = "authors" in values and told.get("authors_cut", False)
        records.append(Record(told["id"], source, **values, authors_cut=cut, version=version, versions=versions))
        versions = ()
    return records or [Record(told["id"], "jsonl", versions=versions)]


def lines(library: Library, first: int, last: int) -> Iterator[str]:
    """The lines of the papers with first <= key < last."""
    keys = [
        k for (k,) in library.connection.execute("SELECT key FROM facet WHERE key >= ? AND key < ? ORDER BY key", (first, last))
    ]
    for at in range(0, len(keys), _CHUNK):
        for paper in view.papers(library.connection, keys[at : at + _CHUNK], {}):
            yield line(paper)


def write(library: Library, stream: TextIO) -> int:
    return sum(1 for text in lines(library, 0, month_key(10_000, 1)) if stream.write(text + "\n"))


def fingerprint(library: Library) -> str:
    whole, fresh = hashlib.sha256(), []
    months = library.connection.execute("SELECT month, digest FROM month ORDER BY month").fetchall()
    for month, digest in months:
        if digest is None:
            part = hashlib.sha256()
            for text in lines(library, month_key(0, month + 1), month_key(0, month + 2)):
                part.update(text.encode("utf-8", "surrogatepass") + b"\n")
            digest = part.digest()
            fresh.append((digest, month))
        whole.update(digest)
    if fresh and not library.readonly:
        with library.transaction():
            library.connection.executemany("UPDATE month SET digest = ? WHERE month = ?", fresh)
    return whole.hexdigest()
