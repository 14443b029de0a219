"""Announcements of the day (``rss.arxiv.org/rss/...`` and ``.../atom/...``): new, cross-listed and replaced papers.

The description begins with the id and the announce type; the date is the day of the announcement, not of the submission.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree.ElementTree import Element

from diffolio.papers.identifiers import parse_id
from diffolio.papers.pull.fields import authors, categories, line, stamp
from diffolio.papers.pull.stream import Elements, readable, root_of
from diffolio.papers.record import Author, Record

TYPES = ("new", "cross", "replace", "replace-cross")
_INTRO = re.compile(r"\s*arXiv:(\S+)\s+Announce Type:\s*(\S+)\s*", re.IGNORECASE)
_ABSTRACT = re.compile(r"Abstract:\s*", re.IGNORECASE)
_TITLE_TAIL = re.compile(r"\s*\(arXiv:\S+ \[[^\]]*\](?: [A-Z -]+)?\)$")
_TAG = re.compile(r"</?(?:p|a|br|i|b)\b[^>]{0,500}>", re.IGNORECASE)
_KNOWN = {"title", "link", "description", "summary", "guid", "id", "category", "pubDate", "published", "updated",
          "announce_type", "rights", "creator", "author", "DOI", "doi", "journal_reference", "journal_ref"}  # fmt: skip


def sniff(head: bytes) -> bool:
    """Whether a document that begins with ``head`` is an announcement feed, as RSS or as Atom."""
    root = root_of(head)
    return root is not None and (root[0] == "rss" or (root[0] == "feed" and (b"announce_type" in head or b"<id>oai:" in head)))


def read(data: bytes | BinaryIO, skipped: list[str] | None = None) -> Iterator[Record]:
    """The announced papers in the feed's order; none on days without announcements. Raises BadInput when it is no feed.

    An item that cannot be read goes to ``skipped`` with the reason where that is given, else raises BadInput.
    """
    feed = Elements(data, ("item", "entry"), ("rss", "feed"))
    return readable(feed, lambda item: record(item, stamp(feed.told("pubDate") or feed.told("updated"))), skipped)


def record(item: Element, built: str | None) -> Record:
    """One item as a record; ``built`` is the feed's date for items without their own."""
    told: dict[str, str] = {}
    terms: list[str] = []
    people: list[str] = []
    extra: dict[str, object] = {}
    for child in item:
        name = child.tag.rpartition("}")[2]
        text = line("".join(child.itertext()))
        if name == "category":
            terms.append(child.get("term") or text or "")
        elif name in ("creator", "author") and text:
            people.append(_TAG.sub("", html.unescape(text)))
        elif name == "link" and child.get("href"):
            told.setdefault("link", child.get("href", ""))
        elif name in _KNOWN and text:
            told.setdefault(name, text)
        elif text:
            extra[name] = text
    body = told.get("description") or told.get("summary") or ""
    intro = _INTRO.match(body)
    where = told.get("guid") or told.get("id") or (intro[1] if intro else told.get("link", ""))
    paper = parse_id(where)
    version = paper.version or (parse_id(intro[1]).version if intro else None)
    announced = (told.get("announce_type") or (intro[2] if intro else "")).lower()
    known, classes = categories(terms)
    if classes:
        extra["classes"] = list(classes)
    if announced and announced not in TYPES:
        extra["announce_type"] = announced
    return Record(
        paper.base, "rss", line(_TITLE_TAIL.sub("", told.get("title", ""))), _abstract(body, intro), _people(people),
        categories=known, doi=told.get("DOI") or told.get("doi"),
        journal_ref=told.get("journal_reference") or told.get("journal_ref"), licence=told.get("rights"), version=version,
        announced=announced if announced in TYPES else None,
        retrieved=stamp(told.get("pubDate") or told.get("published") or told.get("updated")) or built, extra=extra,
    )  # fmt: skip


def _abstract(body: str, intro: re.Match[str] | None) -> str | None:
    rest = body[intro.end() :] if intro else _TAG.sub("", body)
    label = _ABSTRACT.match(rest)
    return line(rest[label.end() :] if label else rest)


def _people(texts: list[str]) -> tuple[Author, ...] | None:
    return tuple(author for text in texts for author in authors(text) or ()) or None
