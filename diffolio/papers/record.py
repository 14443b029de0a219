"""What a paper and an issue are: plain data, the same for every source and every format.

None always means "this source does not say", never "empty": a digest without categories leaves them unknown. Strings are
Unicode as the reader should see them; dates are ISO 8601 in UTC (``2024-03-19`` or ``2024-03-19T17:59:58Z``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Where a field came from, most trusted first. A less trusted source never overwrites a more trusted one.
SOURCES = ("oai", "api", "rss", "jsonl", "bibtex", "digest", "digest-repaired")


@dataclass(frozen=True)
class Author:
    """One author. ``name`` as printed; ``family`` and ``given`` where the source splits them."""

    name: str
    family: str | None = None
    given: str | None = None
    affiliation: str | None = None


@dataclass(frozen=True)
class Link:
    """A link of a paper. ``kind``: code, project, demo, data, doi or other; ``found_in``: abstract, comments or source."""

    url: str
    kind: str
    found_in: str


@dataclass(frozen=True)
class Version:
    """One version, counted from 1; what the source does not tell is None. ``size`` as printed by the source (``1043kb``)."""

    n: int
    submitted: str | None = None
    title: str | None = None
    abstract: str | None = None
    source_type: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Record:
    """What one source says of one paper. ``id`` without version; ``categories`` has the primary one first."""

    id: str
    source: str  # one of SOURCES
    title: str | None = None
    abstract: str | None = None
    authors: tuple[Author, ...] | None = None
    authors_cut: bool = False  # the source prints only the first few
    categories: tuple[str, ...] | None = None
    comments: str | None = None
    journal_ref: str | None = None
    doi: str | None = None
    licence: str | None = None
    published: str | None = None  # submission of version 1
    updated: str | None = None  # submission of the latest version
    version: int | None = None  # the version that the source describes
    versions: tuple[Version, ...] = ()
    withdrawn: bool = False
    announced: str | None = None  # new, cross, replace, replace-cross: RSS only
    retrieved: str | None = None  # when the source said it (its datestamp, response or issue date), never an import's clock
    extra: dict[str, Any] = field(default_factory=dict)  # what the source says beyond this


@dataclass(frozen=True)
class Repair:
    """One correction of a text: ``kind`` charset, joined-words, spaces, entities ...; undone by putting ``before`` back.

    ``confidence`` in [0, 1]; below 0.5 the text is shown as uncertain.
    """

    field: str
    kind: str
    before: str
    after: str
    confidence: float


@dataclass(frozen=True)
class ImportedSummary:
    """The model-written text of a foreign digest: never a source of record facts. ``fields`` is its lenient reading."""

    raw: str
    language: str  # ISO 639-1
    summary: str | None = None
    takeaways: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One paper in one issue. ``raw`` holds the very strings of the file, by the grammar's own names, for writing it back;
    the other fields are the repaired ones. ``lines`` (first, last) counted from 1."""

    id: str
    raw: dict[str, str]
    title: str
    abstract: str | None = None
    version: int | None = None
    url: str | None = None
    authors: tuple[str, ...] | None = None
    authors_cut: bool = False
    categories: tuple[str, ...] | None = None
    date: str | None = None
    comments: str | None = None
    announced: str | None = None
    summary: ImportedSummary | None = None
    repairs: tuple[Repair, ...] = ()
    lines: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Issue:
    """One dated digest. ``raw`` holds the header and every other string between the entries, for writing it back.

    ``first``/``last`` are the window that the header names (equal for a dated issue). ``warnings`` are for the reader:
    what was odd and where, with a line number.
    """

    format: str  # topic-list, overview, blog
    series: str
    topic: str | None
    first: str
    last: str
    entries: tuple[Entry, ...]
    raw: dict[str, str] = field(default_factory=dict)
    repairs: tuple[Repair, ...] = ()
    warnings: tuple[str, ...] = ()
