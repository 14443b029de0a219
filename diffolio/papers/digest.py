"""What an issue is: its entries with what happened to each paper, and the header that says where it comes from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from diffolio.papers.changes import Change, first_day, submitted
from diffolio.papers.record import Author, Link
from diffolio.papers.runnable import Runnable
from diffolio.papers.shown import ShownSummary
from diffolio.papers.view import Listing, Paper

KINDS = ("new", "cross", "updated", "again")
GROUPS = ("date", "family")
EVERYTHING = "all papers"  # the topic of an issue without a query
SOURCE_NAMES = {
    "oai": "arXiv OAI-PMH", "api": "arXiv API", "rss": "arXiv RSS", "jsonl": "JSON Lines", "bibtex": "BibTeX",
    "digest": "digests", "digest-repaired": "digests, repaired",
}  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What the issues of a series have shown: ``start`` is the first day of the first, ``last`` the last day of the latest,
    ``versions`` the version of each paper that a reader saw (None: unknown)."""

    series: str
    start: str
    last: str
    versions: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class DigestEntry:
    """One paper in an issue.

    ``kind``: new; updated (from version ``since`` to ``version``); cross, an older paper cross-listed now; again, an older
    paper that a digest listed again. ``crossed`` marks new papers that reached this category as a cross-list. ``day`` is the
    day of what happened, or a month (``2024-03``) where no more is known. ``also``: ids of the same work.
    """

    paper: Paper
    kind: str
    day: str
    version: int | None
    title: str
    abstract: str | None
    since: int | None = None
    crossed: bool = False
    changes: tuple[Change, ...] = ()
    also: tuple[str, ...] = ()
    runnable: Runnable | None = None
    family: str | None = None
    summary: ShownSummary | None = None

    @property
    def id(self) -> str:
        return self.paper.id

    @property
    def versioned(self) -> str:
        """The id with its version where that is known."""
        return self.id if self.version is None else f"{self.id}v{self.version}"

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.versioned}"

    @property
    def authors(self) -> tuple[Author, ...]:
        return self.paper.authors or ()

    @property
    def categories(self) -> tuple[str, ...]:
        return self.paper.categories or ()

    @property
    def links(self) -> tuple[Link, ...]:
        return self.paper.links

    @property
    def listings(self) -> tuple[Listing, ...]:
        return self.paper.listings

    @property
    def submitted(self) -> str:
        """The day of first submission; where nobody told it, the day or month of appearance."""
        return submitted(self.paper) or first_day(self.paper)


@dataclass(frozen=True)
class Group:
    """Entries under one heading: a day or month, or a family or category."""

    name: str
    entries: tuple[DigestEntry, ...]


@dataclass(frozen=True)
class Digest:
    """One issue, ready to be written. ``now`` is when it was made, ``size`` and ``fingerprint`` say from what library."""

    topic: str
    query: str
    first: str
    last: str
    now: str
    entries: tuple[DigestEntry, ...]
    group: str = "date"
    previous: str | None = None  # the last day of the previous issue of the series
    source: tuple[tuple[str, int], ...] = ()  # (where fields came from, how many of the entries)
    size: int = 0
    fingerprint: str = ""
    strict: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many entries of each kind, how many can be run."""
        found = Counter(entry.kind for entry in self.entries)
        runs = sum(entry.runnable is not None for entry in self.entries)
        return {"papers": len(self.entries), **{kind: found[kind] for kind in KINDS}, "runs": runs}

    @property
    def groups(self) -> tuple[Group, ...]:
        """The entries under their headings, in the order of the entries."""
        found: dict[str, list[DigestEntry]] = {}
        for entry in self.entries:
            found.setdefault(group_of(entry, self.group), []).append(entry)
        return tuple(Group(name, tuple(entries)) for name, entries in found.items())


def group_of(entry: DigestEntry, group: str) -> str:
    """The heading under which an entry stands."""
    if group == "date":
        return entry.day
    return entry.family or (entry.categories[0] if entry.categories else "uncategorised")
