"""An issue as a feed: RSS 2.0, Atom 1.0 and JSON Feed 1.1. An updated paper is a new item: its address carries the version."""

from __future__ import annotations

import json
import uuid
from email.utils import format_datetime
from typing import Any
from xml.etree import ElementTree

from diffolio.papers.digest import Digest, DigestEntry
from diffolio.papers.render import common
from diffolio.papers.render.html import fragment

_ATOM, _DC, _CONTENT = (
    "http://www.w3.org/2005/Atom",
    "http://purl.org/dc/elements/1.1/",
    "http://purl.org/rss/1.0/modules/content/",
)
_HOME = "https://arxiv.org/"


def rss(digest: Digest, *, url: str | None = None) -> str:
    """The issue as RSS 2.0; ``url`` is where the feed will be found, if that is known."""
    root = ElementTree.Element("rss", {"version": "2.0", "xmlns:dc": _DC, "xmlns:content": _CONTENT, "xmlns:atom": _ATOM})
    channel = ElementTree.SubElement(root, "channel")
    _add(channel, "title", _name(digest))
    _add(channel, "link", url or _HOME)
    _add(channel, "description", _about(digest))
    _add(channel, "lastBuildDate", format_datetime(common.moment(digest.now)))
    _add(channel, "generator", "Diffolio")
    if url:
        ElementTree.SubElement(channel, "atom:link", {"href": url, "rel": "self", "type": "application/rss+xml"})
    for entry in digest.entries:
        item = ElementTree.SubElement(channel, "item")
        _add(item, "title", _title(entry))
        _add(item, "link", entry.url)
        _add(item, "guid", _identity(entry), isPermaLink="false")
        _add(item, "pubDate", format_datetime(common.moment(entry.day)))
        for author in entry.authors:
            _add(item, "dc:creator", author.name)
        for category in _tags(entry):
            _add(item, "category", category)
        _add(item, "description", _lead(entry))
        _add(item, "content:encoded", fragment(entry))
    return _document(root)


def atom(digest: Digest, *, url: str | None = None) -> str:
    """The issue as Atom 1.0; ``url`` is where the feed will be found, if that is known."""
    root = ElementTree.Element("feed", {"xmlns": _ATOM})
    _add(root, "id", _urn(digest.topic))
    _add(root, "title", _name(digest))
    _add(root, "subtitle", _about(digest))
    _add(root, "updated", _stamp(digest.now))
    _add(root, "generator", "Diffolio")
    _add(ElementTree.SubElement(root, "author"), "name", "Diffolio")
    if url:
        ElementTree.SubElement(root, "link", {"rel": "self", "href": url})
    for entry in digest.entries:
        item = ElementTree.SubElement(root, "entry")
        _add(item, "id", _urn(_identity(entry)))
        _add(item, "title", _title(entry))
        ElementTree.SubElement(item, "link", {"rel": "alternate", "href": entry.url})
        _add(item, "updated", _stamp(entry.day))
        _add(item, "published", _stamp(entry.submitted))
        for author in entry.authors or ():
            _add(ElementTree.SubElement(item, "author"), "name", author.name)
        for category in _tags(entry):
            ElementTree.SubElement(item, "category", {"term": common.clean(category)})
        _add(item, "summary", _lead(entry))
        _add(item, "content", fragment(entry), type="html")
    return _document(root)


def json_feed(digest: Digest, *, url: str | None = None) -> str:
    """The issue as JSON Feed 1.1; what the standard lacks is under ``_diffolio``."""
    told: dict[str, Any] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": _name(digest),
        "home_page_url": _HOME,
        "feed_url": url,
        "description": _about(digest),
        "language": "en",
        "_diffolio": {name.lower(): text for name, text in common.facts(digest)} | {"counts": digest.counts},
        "items": [_item(entry) for entry in digest.entries],
    }
    return json.dumps({name: value for name, value in told.items() if value is not None}, ensure_ascii=False, indent=1) + "\n"


def _item(entry: DigestEntry) -> dict[str, Any]:
    extra: dict[str, Any] = {"kind": entry.kind, "version": entry.version, "since": entry.since, "family": entry.family}
    if entry.runnable:
        extra["runs"] = {"command": entry.runnable.command, "claim": entry.runnable.claim, "figure": entry.runnable.figure}
    return {
        "id": _identity(entry),
        "url": entry.url,
        "title": _title(entry),
        "content_html": fragment(entry),
        "summary": _lead(entry),
        "date_published": _stamp(entry.submitted),
        "date_modified": _stamp(entry.day),
        "authors": [{"name": common.clean(author.name)} for author in entry.authors],
        "tags": _tags(entry),
        "_diffolio": {name: value for name, value in extra.items() if value is not None},
    }


def _name(digest: Digest) -> str:
    return f"Diffolio: {common.subject(digest)}"


def _about(digest: Digest) -> str:
    return ". ".join([common.counted(digest).rstrip("."), *(f"{name}: {text}" for name, text in common.facts(digest))])


def _title(entry: DigestEntry) -> str:
    told = common.readable(entry.title)
    return told if entry.kind == "new" else f"{told} ({common.news(entry).lower()})"


def _lead(entry: DigestEntry) -> str:
    """What happened, what runs, and the abstract, as text."""
    runs = f"Runs here: {entry.runnable.command}, {common.evidence(entry)}." if entry.runnable else ""
    return " ".join(part for part in (f"{common.news(entry)}.", runs, common.readable(entry.abstract)) if part)


def _tags(entry: DigestEntry) -> list[str]:
    return [
        *map(common.clean, entry.categories),
        *([entry.family] if entry.family else []),
        *(["runs here"] if entry.runnable else []),
    ]


def _identity(entry: DigestEntry) -> str:
    return f"oai:arXiv.org:{entry.versioned}"


def _urn(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"diffolio:{name}").urn


def _stamp(day: str) -> str:
    return common.moment(day).strftime("%Y-%m-%dT%H:%M:%SZ")


def _add(parent: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    # A fragment keeps its line ends; it holds only characters that XML can carry.
    ElementTree.SubElement(parent, tag, attributes).text = text if tag.startswith("content") else common.clean(text)


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
