"""Papers from arXiv: three readers (atom, rss, oai), one polite limiter, pulls that resume, and gaps that are noticed.

    with Library.open() as library:
        report = pull(library, source="rss", sets=["cs.CV", "cs.GR"])

A pull may be stopped at any moment; the same call goes on where it was and ends in the same library as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from diffolio.errors import BadInput, Offline, SourceError, choose
from diffolio.papers.pull.session import Endpoints, PullReport, Session

if TYPE_CHECKING:
    from diffolio.papers.pull.polite import Polite
    from diffolio.papers.store import Library

__all__ = ["SOURCES", "Endpoints", "PullReport", "pull"]

SOURCES = ("rss", "api", "oai")


def pull(
    library: Library,
    *,
    source: str = "rss",
    sets: Sequence[str] = (),
    query: str | None = None,
    ids: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
    prefix: str = "arXivRaw",
    complete: bool = True,
    progress: Callable[[str], None] | None = None,
    polite: Polite | None = None,
    endpoints: Endpoints | None = None,
) -> PullReport:
    """Fetch papers into the library.

    ``rss``: today's announcements of ``sets`` (categories as cs.CV). ``api``: what ``query`` (arXiv's notation) finds in
    ``sets``, or ``ids``. ``oai``: every record of ``sets`` (all when empty) that changed. ``since``/``until`` are days, or a
    span as 7d; by default a pull goes on where the last of its kind ended, seven days earlier. ``complete`` also asks for the
    full records of what was only announced. Raises SourceError when arXiv refuses or stays busy: everything received until
    then is kept and the same call goes on from there; Offline when ``DIFFOLIO_OFFLINE`` is set.
    """
    from diffolio.papers.identifiers import parse_id
    from diffolio.papers.pull import announcements, api, harvest
    from diffolio.papers.pull.polite import Polite, refuse_offline

    choose("source", source, SOURCES)
    if source == "rss" and (query or ids or since or until):
        raise BadInput("rss has only today's announcements: for a query, ids or dates use the source api or oai")
    if source == "oai" and (query or ids):
        raise BadInput("oai takes sets and dates only: for a query or ids use the source api")
    report = PullReport(source, tuple(sets), query)
    session = Session(library, polite or Polite(progress=progress), endpoints or Endpoints(), report, progress)
    refuse_offline(getattr(session.endpoints, source))
    before = session.polite.requests
    try:
        if source == "rss":
            announcements.pull_feed(session, sets, complete)
        elif source == "oai":
            harvest.pull_sets(session, sets, since, until, harvest.format_of(prefix), complete)
        elif ids:
            api.pull_ids(session, list(dict.fromkeys(parse_id(id).base for id in ids)))
        else:
            api.pull_query(session, sets, query, since, until)
    except Offline:
        raise
    except SourceError as error:
        kept = f"{report.received} records of this pull are kept; the same call goes on from there"
        raise SourceError(f"{error}. {kept}" if report.received else str(error)) from error
    finally:
        report.requests = session.polite.requests - before
    return report
