"""Composing an issue: what is new, what changed and what runs, from a library, a query and a window of days.

    digest = compose(library, "diffusion", first="2024-03-15", last="2024-03-20", now="2024-03-21T06:00:00Z")

The same library and the same call give the same digest: the clock is an argument. A series remembers what its issues showed
(:func:`remember`), so that ``since=last_issue(library, series)`` gives exactly what no issue of it has shown: a paper comes
back only when its version changed. A window in which nothing happened gives a digest without entries; its header says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from diffolio.errors import BadInput, choose
from diffolio.papers.catalogue import by_id
from diffolio.papers.changes import bounds, changes, first_day, sources, text_of, version_day, version_on, within
from diffolio.papers.digest import EVERYTHING, GROUPS, KINDS, SOURCE_NAMES, Digest, DigestEntry, Group, Shown, group_of
from diffolio.papers.shown import shown_summary
from diffolio.papers.view import Paper

if TYPE_CHECKING:
    from diffolio.papers.store import Library

__all__ = [
    "EVERYTHING", "GROUPS", "KINDS", "Digest", "DigestEntry", "Group", "Shown", "compose", "group_of", "last_issue", "newest_day",
    "remember",
]  # fmt: skip


def compose(
    library: Library,
    topic: str = "",
    *,
    first: str,
    last: str,
    now: str,
    since: Shown | None = None,
    group: str = "date",
    cross: bool = True,
    strict: bool = False,
) -> Digest:
    """The issue of ``topic`` (the name of one, or a query; '' is everything) for the days ``first`` to ``last``, inclusive.

    ``now``: ISO time that the issue carries. ``since``: show only what the series has not shown; ``first`` is then ignored.
    ``cross=False`` leaves out what is only here as a cross-list. ``strict`` drops statements of summaries that are not in the
    record. Raises BadInput for a wrong date or query.
    """
    _check(first, last, now)
    choose("grouping", group, GROUPS)
    name, query = _query(library, topic)
    begin = since.start if since else first
    keys = _matching(library, query, _candidates(library, begin, last, since), now)
    found: dict[str, DigestEntry] = {}
    for at in range(0, len(keys), 1000):
        for paper in library.papers(keys[at : at + 1000]):
            entry = _entry(library, paper, begin, last, since, strict)
            if entry is None or (not cross and (entry.crossed or entry.kind == "cross")):
                continue
            if query or not paper.marked("hidden"):  # a query leaves hidden papers out itself, unless it asks for them
                found[paper.id] = entry
    entries = sorted(_one_per_work(found), key=lambda entry: _order(entry, group))
    if since:
        first = min((date.fromisoformat(since.last) + timedelta(days=1)).isoformat(), last)
    told = Counter(source for entry in entries for source in sources(entry.paper))
    return Digest(
        name, query, first, last, now, tuple(entries), group, since.last if since else None,
        tuple((SOURCE_NAMES[source], told[source]) for source in SOURCE_NAMES if told[source]),
        len(library), library.fingerprint(), strict,
    )  # fmt: skip


def last_issue(library: Library, series: str) -> Shown | None:
    """What the issues of a series have shown so far; None before its first."""
    told = library.get_state(f"issue:{series}")
    return None if told is None else Shown(series, told["start"], told["last"], told["versions"])


def remember(library: Library, series: str, digest: Digest) -> Shown:
    """Note that ``digest`` is out as an issue of ``series``; call it after the file is written."""
    before = last_issue(library, series) or Shown(series, digest.first, digest.last)
    versions = dict(before.versions)
    for entry in digest.entries:
        versions |= dict.fromkeys((entry.id, *entry.also), entry.version)
    shown = Shown(series, min(before.start, digest.first), max(before.last, digest.last), versions)
    library.set_state(f"issue:{series}", {"start": shown.start, "last": shown.last, "versions": versions})
    return shown


def newest_day(library: Library) -> str | None:
    """The latest day of which the library knows anything; None when it is empty."""
    sql = (
        "SELECT max(day) FROM (SELECT max(last) AS day FROM issue UNION ALL SELECT max(day) FROM announcement"
        " UNION ALL SELECT max(published) FROM facet UNION ALL SELECT max(updated) FROM facet)"
    )
    days = [str(day) for (day,) in library.connection.execute(sql.replace("max(day) FROM (", "day FROM (")) if day]
    return max((day if "-" in day else f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in days), default=None)


def _check(first: str, last: str, now: str) -> None:
    for name, day in (("first", first), ("last", last), ("now", now[:10])):
        try:
            fine = date.fromisoformat(day).isoformat() == day
        except ValueError:
            fine = False
        if not fine:
            raise BadInput(f"{name} is {day!r}: needed is a day that exists, as 2024-03-20")
    if first > last:
        raise BadInput(f"the window {first} to {last} ends before it begins: give the earlier day first")


def _query(library: Library, topic: str) -> tuple[str, str]:
    from diffolio.papers.topics import topics

    known = {each.name: each.query for each in topics(library)}
    return topic.strip() or EVERYTHING, known.get(topic, topic.strip())


def _candidates(library: Library, first: str, last: str, since: Shown | None) -> list[int]:
    """The keys of all papers to which something may have happened in the window, ascending; more than needed is fine."""
    begin, end, months = int(first.replace("-", "")), int(last.replace("-", "")), _months(first, last)
    after = (date.fromisoformat(last) + timedelta(days=1)).isoformat()
    found: set[int] = set()
    for sql, values in (
        ("SELECT key FROM facet WHERE published BETWEEN ? AND ?", (begin, end)),
        ("SELECT key FROM facet WHERE updated BETWEEN ? AND ?", (begin, end)),
        ("SELECT key FROM facet WHERE published IS NULL AND key BETWEEN ? AND ?", months),
        ("SELECT paper FROM version WHERE submitted >= ? AND submitted < ?", (first, after)),
        ("SELECT paper FROM announcement WHERE day BETWEEN ? AND ?", (first, last)),
        ("SELECT paper FROM listing JOIN issue ON issue.id = listing.issue WHERE last BETWEEN ? AND ?", (first, last)),
    ):
        found.update(key for (key,) in library.connection.execute(sql, values))
    if since:
        from diffolio.papers.identifiers import key_of

        found.update(map(key_of, since.versions))
    return sorted(found)


def _months(first: str, last: str) -> tuple[int, int]:
    from diffolio.papers.identifiers import month_key

    return month_key(int(first[:4]), int(first[5:7])), month_key(int(last[:4]), int(last[5:7]) + 1) - 1


def _matching(library: Library, query: str, keys: Sequence[int], now: str) -> list[int]:
    """Those of ``keys`` that the query finds."""
    if not query or not keys:
        return list(keys)
    from diffolio.papers.search import matching

    return matching(library, query, keys, now=now)


def _entry(library: Library, paper: Paper, first: str, last: str, since: Shown | None, strict: bool) -> DigestEntry | None:
    version, appeared = version_on(paper, last), first_day(paper)
    works = [id for work in paper.works if work.status == "merged" for id in work.papers if id != paper.id]
    seen = [id for id in (paper.id, *works) if since and id in since.versions]
    if since and seen:
        told = _returned(paper, since.versions.get(paper.id, None), paper.id in seen, version, since)
    else:
        told = _happened(paper, appeared, version, first, last)
    if told is None or bounds(appeared)[0] > last:
        return None
    kind, day, old = told
    types = {x.type for x in paper.announcements if first <= x.day <= last}
    crossed = kind == "new" and "cross" in types and "new" not in types
    family = by_id()[paper.id].family if paper.id in by_id() else None
    runs = next((library.methods[id] for id in (paper.id, *works) if id in library.methods), None)
    return DigestEntry(
        paper, kind, day, version, text_of(paper, "title", version) or paper.title or paper.id,
        text_of(paper, "abstract", version) or paper.abstract, old, crossed,
        changes(paper, old, version) if kind == "updated" else (), tuple(works), runs, runs.family if runs else family,
        shown_summary(paper, strict=strict),
    )  # fmt: skip


def _happened(paper: Paper, appeared: str, version: int | None, first: str, last: str) -> tuple[str, str, int | None] | None:
    """Kind, day and the version before, for a paper in a window."""
    if within(appeared, first, last):
        return "new", appeared, None
    newest = version_day(paper, version) if version else None
    if version and version > 1 and within(newest, first, last) and newest:
        before = (date.fromisoformat(first) - timedelta(days=1)).isoformat()
        return "updated", newest, min(version_on(paper, before) or version - 1, version - 1)
    for types, kind in ((("replace", "replace-cross"), "updated"), (("cross",), "cross")):
        days = [x.day for x in paper.announcements if x.type in types and first <= x.day <= last]
        if days:
            return kind, max(days), None
    listed = [x.last for x in paper.listings if first <= x.last <= last]
    return ("again", max(listed), None) if listed else None


def _returned(
    paper: Paper, old: int | None, itself: bool, version: int | None, since: Shown
) -> tuple[str, str, int | None] | None:
    """The same for a paper that the series has shown: it returns only with another version."""
    day = version_day(paper, version) if version else None
    if not itself or version is None or version <= (old or 1):
        return None
    if old is None and (day is None or day <= since.last):
        return None  # the reader may have seen this version: the first issue did not know it
    return "updated", day or since.last, old


def _one_per_work(found: dict[str, DigestEntry]) -> Iterable[DigestEntry]:
    """Of papers that are one work, the one with the newest id."""
    from diffolio.papers.identifiers import key_of

    for entry in found.values():
        if all(key_of(other) < entry.paper.key for other in entry.also if other in found):
            yield entry


def _order(entry: DigestEntry, group: str) -> tuple[object, ...]:
    """A total order: groups (days backwards, families by name before categories), kinds, what runs first, newest first."""
    heading = group_of(entry, group)
    place: tuple[object, ...] = (entry.family is None, heading)
    if group == "date":
        place = (-int(heading.replace("-", "").ljust(8, "0")),)
    return *place, KINDS.index(entry.kind), entry.runnable is None, -entry.paper.key
