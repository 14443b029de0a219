"""Answers of arXiv's API (``export.arxiv.org/api/query``) in both shapes: Atom with the elements of opensearch and arxiv.

The shape until 2025 wraps titles and abstracts and indents them by two spaces; since 2026 they stand on one line and links
are https. An error is an entry of its own, whatever the status of the response.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.etree.ElementTree import Element

from diffolio.errors import SourceError
from diffolio.papers.identifiers import parse_id
from diffolio.papers.pull.fields import categories, is_withdrawn, line, stamp
from diffolio.papers.pull.stream import Elements, readable, root_of
from diffolio.papers.record import Author, Record

_KNOWN = {"id", "title", "summary", "published", "updated", "author", "category", "primary_category", "comment", "journal_ref",
          "doi", "link"}  # fmt: skip


@dataclass
class Page:
    """One answer: ``total`` results of the query in all, None where the answer does not say."""

    records: list[Record] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    total: int | None = None


def sniff(head: bytes) -> bool:
    """Whether a document that begins with ``head`` is an answer of the API (not an announcement feed)."""
    root = root_of(head)
    return root is not None and root[0] == "feed" and b"announce_type" not in head and b"<id>oai:" not in head


def read(data: bytes | BinaryIO, skipped: list[str] | None = None) -> Iterator[Record]:
    """The papers of an answer, in its order. Raises SourceError when it is an error entry, BadInput when it is no answer.

    An entry that cannot be read goes to ``skipped`` with the reason where that is given, else raises BadInput.
    """
    feed = Elements(data, ("entry",), ("feed",))
    return readable(feed, lambda entry: record(entry, stamp(feed.told("updated"))), skipped)


def page(data: bytes) -> Page:
    """A whole answer with its total."""
    feed, told = Elements(data, ("entry",), ("feed",)), Page()
    told.records += readable(feed, lambda entry: record(entry, stamp(feed.told("updated"))), told.rejected)
    total = feed.told("totalResults") or ""
    told.total = int(total) if total.isascii() and total.isdigit() else None
    return told


def record(entry: Element, retrieved: str | None) -> Record:
    """One entry as a record."""
    told: dict[str, str] = {}
    terms: list[str] = []
    people: list[Author] = []
    extra: dict[str, object] = {}
    primary = None
    for child in entry:
        name = child.tag.rpartition("}")[2]
        if name == "author":
            people.append(_author(child))
        elif name == "category":
            terms.append(child.get("term", ""))
        elif name == "primary_category":
            primary = child.get("term")
        elif name in _KNOWN:
            told.setdefault(name, line(child.text) or "")
        elif text := line("".join(child.itertext())):
            extra[name] = text
    where = told.get("id", "")
    if "/api/errors" in where:
        raise SourceError(f"arXiv refused the request: {told.get('summary') or where}")
    paper = parse_id(where)
    known, classes = categories(terms, primary)
    if classes:
        extra["classes"] = list(classes)
    comments = told.get("comment") or None
    return Record(
        paper.base, "api", told.get("title") or None, told.get("summary") or None, tuple(people) or None, categories=known,
        comments=comments, journal_ref=told.get("journal_ref") or None, doi=told.get("doi") or None,
        published=stamp(told.get("published")), updated=stamp(told.get("updated")), version=paper.version,
        withdrawn=is_withdrawn(comments), retrieved=retrieved, extra=extra,
    )  # fmt: skip


def _author(element: Element) -> Author:
    told: dict[str, list[str]] = {}
    for child in element:
        if text := line(child.text):
            told.setdefault(child.tag.rpartition("}")[2], []).append(text)
    return Author(" ".join(told.get("name", ())), affiliation="; ".join(told.get("affiliation", ())) or None)
