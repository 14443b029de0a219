"""When a paper appeared, which version was out on a day, and what changed between two versions, word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from diffolio.papers.identifiers import key_of, parse_id
from diffolio.papers.merge import day_of
from diffolio.papers.record import SOURCES
from diffolio.papers.view import Paper

SAME, REMOVED, ADDED = "same", "removed", "added"
_WORDS = re.compile(r"\s+|[^\W_]+|[\W_]", re.UNICODE)
_LONGEST = 6_000  # tokens: two longer texts are compared as a whole, a word diff would take seconds


@dataclass(frozen=True)
class Change:
    """How ``field`` changed: its text in order as (SAME, REMOVED or ADDED, text)."""

    field: str
    parts: tuple[tuple[str, str], ...]

    @property
    def before(self) -> str:
        return "".join(text for kind, text in self.parts if kind != ADDED)

    @property
    def after(self) -> str:
        return "".join(text for kind, text in self.parts if kind != REMOVED)


def word_diff(field: str, before: str, after: str) -> Change:
    """The change from ``before`` to ``after``; its parts join up to exactly these two texts."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > _LONGEST:
        return Change(field, tuple((kind, text) for kind, text in ((REMOVED, before), (ADDED, after)) if text))
    parts: list[tuple[str, str]] = []
    for operation, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if operation == "equal":
            parts.append((SAME, "".join(old[a:b])))
            continue
        parts += [(kind, "".join(words)) for kind, words in ((REMOVED, old[a:b]), (ADDED, new[c:d])) if words]
    return Change(field, tuple(_merged(parts)))


def _merged(parts: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Join changes that only white space parts, so that a rewritten sentence reads as one change."""
    removed = added = ""
    for place, (kind, text) in enumerate(parts):
        if kind == SAME:
            if not text.isspace() or not (removed or added) or place + 1 == len(parts):
                yield from ((k, t) for k, t in ((REMOVED, removed), (ADDED, added)) if t)
                removed = added = ""
                yield kind, text
                continue
            removed, added = removed + text, added + text
        elif kind == REMOVED:
            removed += text
        else:
            added += text
    yield from ((k, t) for k, t in ((REMOVED, removed), (ADDED, added)) if t)


def changes(paper: Paper, since: int | None, version: int | None) -> tuple[Change, ...]:
    """What changed in title and abstract from version ``since`` to ``version``; nothing where a text is not known."""
    found = []
    for name in ("title", "abstract"):
        before, after = text_of(paper, name, since), text_of(paper, name, version)
        if before is not None and after is not None and before.split() != after.split():
            found.append(word_diff(name, " ".join(before.split()), " ".join(after.split())))
    return tuple(found)


def text_of(paper: Paper, name: str, version: int | None) -> str | None:
    """Title or abstract of one version; None where no source gave it."""
    return next((getattr(known, name) for known in paper.versions if known.n == version), None)


def first_day(paper: Paper) -> str:
    """The day a paper appeared (``2024-03-19``), or its month (``2024-03``) where only its id says so.

    In this order: announcement as new; submission of the first version; first listing, if that lies in the month of the id or
    the week after it: digests list old papers again, so a later listing says nothing. A cross-list counts as the announcement
    where it came within a week.
    """
    month = month_of(paper.id)
    published = submitted(paper)
    latest = _plus(published or bounds(month)[1], 7)
    announced = [x.day for x in paper.announcements if x.type == "new" or (x.type == "cross" and month <= x.day <= latest)]
    if announced or published:
        return min(announced, default=published or month)
    return min((x.last for x in paper.listings if month <= x.last <= latest), default=month)


def submitted(paper: Paper) -> str | None:
    """The day of first submission; None where nobody told it, or told a day that does not exist."""
    return paper.published[:10] if paper.published and day_of(paper.published) else None


def month_of(id: str) -> str:
    """``2024-03`` of ``2403.12963``."""
    year, month = divmod(key_of(parse_id(id).base) >> 24, 12)
    return f"{year:04}-{month + 1:02}"


def bounds(day: str) -> tuple[str, str]:
    """First and last day of a month; a day is its own."""
    if len(day) > 7:
        return day, day
    year, month = int(day[:4]), int(day[5:7])
    following = date(year + month // 12, month % 12 + 1, 1)
    return f"{day}-01", (following - timedelta(days=1)).isoformat()


def _plus(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def within(day: str | None, first: str, last: str) -> bool:
    """Whether a day, or the whole of a month, lies in the window (both ends included)."""
    if not day:
        return False
    begin, end = bounds(day)
    return first <= begin and end <= last


def version_day(paper: Paper, n: int) -> str | None:
    """The day on which version ``n`` was out: its submission, or the first announcement or listing that names it."""
    for known in paper.versions:
        if known.n == n and known.submitted:
            return known.submitted[:10]
    told = [x.day for x in paper.announcements if x.version == n] + [x.last for x in paper.listings if x.version == n]
    return min(told, default=None)


def version_on(paper: Paper, day: str) -> int | None:
    """The latest version that was out at the end of ``day``; a version whose day nobody told counts as old."""
    out = [known.n for known in paper.versions if (version_day(paper, known.n) or day) <= day]
    return max(out, default=None)


def sources(paper: Paper) -> tuple[str, ...]:
    """The sources that supplied fields of a paper, most trusted first."""
    return tuple(sorted({fact.source for fact in paper.facts.values()}, key=SOURCES.index))
