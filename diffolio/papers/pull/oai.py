"""Harvests by OAI-PMH (``oaipmh.arxiv.org/oai``) in the formats ``arXiv`` (names split) and ``arXivRaw`` (all versions).

The datestamp is the last change of a record, not its submission. A token that ran out and a window without records come as
error elements with status 200.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.etree.ElementTree import Element

from diffolio.errors import BadInput
from diffolio.papers.identifiers import parse_id
from diffolio.papers.pull.fields import authors, categories, is_withdrawn, line, stamp
from diffolio.papers.pull.stream import Elements, readable, root_of
from diffolio.papers.record import Author, Record, Version

ROOTS = ("OAI-PMH", "ListRecords", "GetRecord", "record")
_KNOWN = {"id", "created", "updated", "title", "categories", "comments", "journal-ref", "doi", "license", "abstract", "authors",
          "version"}  # fmt: skip


@dataclass
class Page:
    """One answer. ``token`` None or empty after the last page; ``responded`` is the server's clock (UTC)."""

    records: list[Record] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    token: str | None = None
    responded: str | None = None
    error: str | None = None  # the code, as noRecordsMatch
    message: str = ""
    total: int | None = None


def sniff(head: bytes) -> bool:
    """Whether a document that begins with ``head`` is an OAI-PMH answer or a record of one."""
    root = root_of(head)
    return root is not None and root[0] in ROOTS


def read(data: bytes | BinaryIO, skipped: list[str] | None = None) -> Iterator[Record]:
    """The records of an answer, in its order, without deleted ones. Raises BadInput when it is no answer.

    A record that cannot be read goes to ``skipped`` with the reason where that is given, else raises BadInput.
    """
    answer = Elements(data, ("record",), ROOTS)
    return (found for found in readable(answer, record, skipped) if isinstance(found, Record))


def page(data: bytes) -> Page:
    """A whole answer with its token and errors."""
    answer = Elements(data, ("record",), ROOTS)
    told = Page()
    for found in readable(answer, record, told.rejected):
        if isinstance(found, Record):
            told.records.append(found)
        else:
            told.deleted.append(found)
    told.responded = stamp(answer.told("responseDate"))
    if errors := answer.head.get("error"):
        attributes, told.message = errors[0]
        told.error = attributes.get("code", "unknown")
    if tokens := answer.head.get("resumptionToken"):
        attributes, token = tokens[-1]
        told.token = token or None
        size = attributes.get("completeListSize", "")
        told.total = int(size) if size.isascii() and size.isdigit() else None
    if "ListRecords" not in answer.head and told.error is None:
        raise BadInput("an OAI-PMH answer without records and without an error")
    return told


def record(element: Element) -> Record | str:
    """One record, or its id when it was deleted."""
    header: dict[str, str] = {}
    metadata = None
    deleted = False
    for part in element:
        name = part.tag.rpartition("}")[2]
        if name == "header":
            deleted = part.get("status") == "deleted"
            header = {child.tag.rpartition("}")[2]: child.text or "" for child in part}
        elif name == "metadata" and len(part):
            metadata = part[0]
    if deleted or metadata is None:
        return parse_id(header.get("identifier", "")).base
    return _described(metadata, header)


def _described(metadata: Element, header: dict[str, str]) -> Record:
    told: dict[str, str] = {}
    extra: dict[str, object] = {}
    people: tuple[Author, ...] | None = None
    versions: list[Version] = []
    for child in metadata:
        name = child.tag.rpartition("}")[2]
        if name == "version":
            versions.append(_version(child))
        elif name == "authors" and len(child):
            people = tuple([_author(author) for author in child])
        elif text := line(child.text):
            if name in _KNOWN:
                told[name] = text
            else:
                extra[name] = text
    get = told.get
    if people is None and "authors" in told:
        people = authors(_accents(told["authors"]))
    known, classes = categories(get("categories", "").split())
    if classes:
        extra["classes"] = list(classes)
    versions.sort(key=lambda version: version.n)
    published, updated, latest = stamp(get("created")), stamp(get("updated")), None
    if versions:
        first, last = versions[0], versions[-1]
        published, updated, latest = first.submitted if first.n == 1 else published, last.submitted, last.n
    elif published and not updated:
        updated, latest = published, 1  # the element is there from version 2 on
    comments = get("comments")
    withdrawn = is_withdrawn(comments) or bool(versions and "I" in (versions[-1].source_type or ""))
    return Record(
        parse_id(get("id") or header.get("identifier", "")).base, "oai", get("title"), get("abstract"), people,
        categories=known, comments=comments, journal_ref=get("journal-ref"), doi=get("doi"), licence=get("license"),
        published=published, updated=updated, version=latest, versions=tuple(versions), withdrawn=withdrawn,
        retrieved=stamp(header.get("datestamp")), extra=extra,
    )  # fmt: skip


def _author(element: Element) -> Author:
    told: dict[str, str] = {}
    for child in element:
        if text := line(child.text):
            name = child.tag.rpartition("}")[2]
            told[name] = f"{told[name]}; {text}" if name in told else text
    family, given = told.get("keyname"), told.get("forenames")
    if "suffix" in told:
        family = f"{family or ''} {told['suffix']}".strip()
    return Author(f"{given} {family}" if given and family else given or family or "", family, given, told.get("affiliation"))


def _version(element: Element) -> Version:
    told: dict[str, str | None] = {}
    for child in element:
        told[child.tag.rpartition("}")[2]] = child.text
    number = element.get("version", "").lstrip("v")
    if not (number.isascii() and number.isdigit()):
        raise BadInput(f"a version called {element.get('version')!r}: expected one like v2")
    return Version(int(number), stamp(told.get("date")), None, None, told.get("source_type") or None, told.get("size") or None)


def _accents(text: str) -> str:
    """Authors of arXivRaw are as typed: ``Bal\\'azs``. The other formats print them decoded."""
    if "\\" not in text:
        return text
    from diffolio.papers.tex import tex_to_unicode

    return tex_to_unicode(text)
