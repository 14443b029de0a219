"""Pulling today's announcements: one request for any number of categories, then the full records of what is new."""

from __future__ import annotations

from collections.abc import Sequence

from diffolio.errors import BadInput
from diffolio.papers.pull import gaps, rss
from diffolio.papers.pull.session import Session, categories_of
from diffolio.papers.record import Record

STATE = "pull:rss"
MOST = 2000  # items of one feed; what is more is left out


def pull_feed(session: Session, sets: Sequence[str], complete: bool) -> None:
    """Pull the feed of the categories (of the last time when none are named); an empty one is a day without announcements."""
    state = session.library.get_state(STATE, {})
    categories = categories_of(sets) or tuple(state.get("sets", ()))
    if not categories:
        raise BadInput("name the categories to follow once, as --set cs.CV --set cs.GR")
    session.report.sets = categories
    session.library.set_state(STATE, {"sets": list(categories), "day": session.today()})
    if _feed(session, categories, complete) >= MOST:
        for category in categories:
            if len(categories) == 1 or _feed(session, (category,), complete) >= MOST:
                session.tell(f"the feed of {category} is cut at {MOST} papers: use --source oai for this day")
    if not session.report.received:
        session.tell("the feed is empty: no announcements today (weekends and holidays have none)")
    if complete:
        gaps.ask(session)


def _feed(session: Session, categories: Sequence[str], complete: bool) -> int:
    """One feed; the number of its papers. What it announces is a gap until it is received in full."""
    url = f"{session.endpoints.rss}/{'+'.join(categories)}"
    (records, rejected), cached = session.get(url, _read)
    days = sorted({record.retrieved[:10] for record in records if record.retrieved})
    session.report.first, session.report.last = (days[0], days[-1]) if days else (session.today(), session.today())
    # Until tonight's edition is out the feed is yesterday's; only today's is kept for the rest of the day.
    fresh = bool(days) and days[-1] >= session.edition()
    with session.library.transaction():
        session.save(records, {}, cached if fresh else None)
        if complete:
            gaps.note(session, (record.id for record in records), "announced")
    session.reject(rejected)
    return len(records) + len(rejected)


def _read(body: bytes) -> tuple[list[Record], list[str]]:
    rejected: list[str] = []
    return list(rss.read(body, rejected)), rejected
