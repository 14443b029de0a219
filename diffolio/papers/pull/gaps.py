"""What arXiv announced but did not send: found, kept, and asked for again after 1, 2 and 7 days.

A paper counts as received when the API or OAI-PMH has described the announced version: announcements lack dates, comments and
the history. Every so often arXiv leaves out a range of ids for a day; such a range shows as missing serial numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from diffolio.papers.identifiers import ARCHIVE_BITS, SERIAL_BITS, base_of, month_key
from diffolio.papers.pull import api

if TYPE_CHECKING:
    from diffolio.papers.pull.session import Session
    from diffolio.papers.store import Library

STATE = "pull:gaps"
MOST = 1000  # ids asked for in one pull; above, OAI-PMH is the way
COMPLETE = ("oai", "api")
MONTH_BITS = SERIAL_BITS + ARCHIVE_BITS


def note(session: Session, ids: Iterable[str], found: str) -> list[str]:
    """Keep those of ``ids`` that the library lacks in full; they are due at once. ``found`` says how they were noticed."""
    missing = incomplete(session.library, ids)
    with session.library.transaction():
        kept = session.library.get_state(STATE, {})
        for id in missing:
            if id not in kept or kept[id]["next"] is None:
                kept[id] = {"found": found, "since": session.today(), "asked": 0, "next": session.today()}
        session.library.set_state(STATE, kept or None)
    return missing


def ask(session: Session) -> None:
    """Ask the API for every gap that is due, in batches; what does not come is due again later, and after the last time lost."""
    today = session.today()
    kept = session.library.get_state(STATE, {})
    due = sorted(id for id, gap in kept.items() if gap["next"] and gap["next"] <= today)
    if len(due) > MOST:
        session.tell(f"{len(due)} papers were announced but not received; the first {MOST} are asked for, OAI-PMH brings all")
    for at in range(0, min(len(due), MOST), api.BATCH):
        batch = due[at : min(at + api.BATCH, MOST)]
        page = api.by_ids(session, batch)
        kept = session.library.get_state(STATE, {})
        came = {record.id for record in page.records}
        for id in batch:
            if id in came:
                kept.pop(id, None)
            elif id in kept:
                kept[id] = _later(kept[id])
        session.save(page.records, {STATE: kept or None})
        session.reject(page.rejected)
        session.report.filled += tuple(id for id in batch if id in came)
    session.report.gaps = tuple(sorted(kept))
    if lost := [id for id, gap in kept.items() if gap["next"] is None]:
        session.tell(f"{len(lost)} announced papers never came and are not asked for again: {', '.join(lost[:5])}")


def _later(gap: dict[str, Any]) -> dict[str, Any]:
    asked = gap["asked"] + 1
    again = date.fromisoformat(gap["since"]) + timedelta(days=api.AGAIN[asked - 1]) if asked <= len(api.AGAIN) else None
    return gap | {"asked": asked, "next": again and again.isoformat()}


def incomplete(library: Library, ids: Iterable[str]) -> list[str]:
    """Those of ``ids`` that neither the API nor OAI-PMH has described in the version that was announced last."""
    wanted = list(dict.fromkeys(ids))
    held = {paper.id: paper for paper in library.papers(wanted)}
    missing = []
    for id in wanted:
        paper = held.get(id)
        told = [fact.version or 0 for fact in paper.facts.values() if fact.source in COMPLETE] if paper else []
        announced = max((a.version or 0 for a in paper.announcements), default=0) if paper else 0
        # A description without a version number is as new as its harvest.
        if not told or (max(told) and max(told) < announced):
            missing.append(id)
    return missing


def announced(library: Library, first: str, last: str, categories: Sequence[str]) -> list[str]:
    """The papers that the feeds pulled so far announced from ``first`` to ``last`` in these categories (all when empty)."""
    sql = "SELECT DISTINCT paper FROM announcement WHERE day BETWEEN ? AND ? ORDER BY paper"
    found = [base_of(key) for (key,) in library.connection.execute(sql, (first, last))]
    return [paper.id for paper in library.papers(found) if not categories or _in(paper.categories or (), categories)]


def _in(terms: Sequence[str], categories: Sequence[str]) -> bool:
    wanted = [name.removesuffix(".*") for name in categories]
    return any(term == name or term.startswith(f"{name}.") for term in terms for name in wanted)


def missing_runs(keys: Iterable[int], at_least: int = 10) -> list[tuple[int, int]]:
    """Runs of absent serial numbers before present ones of the same month, as (first, last) keys, ``at_least`` long.

    Single numbers are often given out and never announced. Only new-style ids have serial numbers over all archives.
    """
    runs = []
    for month, group in itertools.groupby(sorted(keys), key=lambda key: key >> MONTH_BITS):
        before = month << MONTH_BITS
        for key in group:
            if key - before > at_least and key - (month << MONTH_BITS) < 1 << SERIAL_BITS:
                runs.append((before + 1, key - 1))
            before = key
    return runs


def runs_of(session: Session, first: date, last: date) -> None:
    """After a harvest of everything since ``first``: report missing serial numbers, keep short runs as gaps.

    Only months that lie between the two days as a whole are complete in such a harvest.
    """
    begin = first if first.day == 1 else (first.replace(day=1) + timedelta(days=32)).replace(day=1)
    bounds = (month_key(begin.year, begin.month), month_key(last.year, last.month))
    found = session.library.connection.execute("SELECT key FROM facet WHERE key >= ? AND key < ?", bounds)
    for low, high in missing_runs(key for (key,) in found):
        session.tell(f"the numbers {base_of(low)} to {base_of(high)} are absent ({high - low + 1})")
        if high - low < api.BATCH:
            note(session, [base_of(key) for key in range(low, high + 1)], "serial numbers")
