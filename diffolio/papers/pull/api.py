"""Pulling by the API: searches in windows of submission dates, and ids in batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from diffolio.errors import BadInput
from diffolio.papers.pull import atom
from diffolio.papers.pull.polite import Empty, NothingMore
from diffolio.papers.pull.session import Session, categories_of, span, state_name

BATCH = 100  # ids of one request
PAGE = 1000  # results of one request; arXiv sends at most 2,000
MOST = 30_000  # results of one query; above, arXiv answers 400
SINGLE = ("gr-qc", "hep-ex", "hep-lat", "hep-ph", "hep-th", "math-ph", "nucl-ex", "nucl-th", "quant-ph")  # archives of one
AGAIN = (1, 2, 7)  # days after which missing papers are asked for again
WALKS = 3  # times that a window is paged through when papers are missing


def by_ids(session: Session, ids: Sequence[str]) -> atom.Page:
    """At most BATCH papers by id. ``max_results`` must be named: arXiv's default is 10 for lists of ids too."""
    if not 1 <= len(ids) <= BATCH:
        raise BadInput(f"{len(ids)} ids: 1 to {BATCH} fit into one request")
    url = f"{session.endpoints.api}?{urlencode({'id_list': ','.join(ids), 'start': 0, 'max_results': len(ids)}, safe=',')}"
    return session.polite.get(url, lambda body: _whole(atom.page(body), 0))


def pull_ids(session: Session, ids: Sequence[str]) -> None:
    """Pull papers by their ids, in batches; those that do not come are named in the report."""
    came: set[str] = set()
    for at in range(0, len(ids), BATCH):
        page = by_ids(session, ids[at : at + BATCH])
        session.save(page.records, {})
        session.reject(page.rejected)
        came.update(record.id for record in page.records)
    if absent := [id for id in ids if id not in came]:
        session.tell(f"arXiv does not know {', '.join(absent[:10])}{' …' if len(absent) > 10 else ''}")


def pull_query(session: Session, sets: Sequence[str], query: str | None, since: str | None, until: str | None) -> None:
    """Pull what a query finds among the papers submitted in a window of days; goes on where an earlier call stopped."""
    text = query_text(sets, query)
    name = state_name("api", text)
    state = session.library.get_state(name, {})
    asked = [since, until]
    if state.get("windows") and asked in (state["asked"], [None, None]):
        session.report.resumed = True
    else:
        first, last = span(session, since, until, state.get("done"))
        # Up to the end of the day, so that a repeated call asks the same and is answered from the cache.
        end = f"{last or session.now().date():%Y%m%d}2359"
        windows = [[f"{first:%Y%m%d}0000", end], *_due(state, session.today())]
        state = {"query": text, "asked": asked, "windows": windows, "short": state.get("short", []), "end": end, "start": 0,
                 "begin": None, "total": 0, "unread": 0, "walks": 1, "seen": []}  # fmt: skip
    session.report.first, session.report.last = _day(state["windows"][0][0]), _day(state["end"])
    while state["windows"]:
        state = _step(session, name, text, state)
    if session.report.resumed and state["done"] < session.today():
        session.tell(f"this ended the pull up to {state['done']}; the same call again brings what is newer")


def query_text(sets: Sequence[str], query: str | None) -> str:
    """arXiv's notation for papers in any of the categories that the query finds. Raises BadInput when neither is given."""
    text = " ".join((query or "").split())
    names = categories_of(sets)
    if not text and not names:
        raise BadInput("say what to pull: a query (as cat:cs.CV AND abs:diffusion) or categories")
    within = " OR ".join(f"cat:{name}" if "." in name or name in SINGLE else f"cat:{name}.*" for name in names)
    return " AND ".join(f"({part})" for part in (within, text) if part)


def _step(session: Session, name: str, text: str, state: dict[str, Any]) -> dict[str, Any]:
    """One page of the first window, and the state after it."""
    first, last = state["windows"][0]
    begin, start = state["begin"] or first, state["start"]
    told = {"search_query": f"{text} AND submittedDate:[{begin} TO {last}]", "start": start, "max_results": PAGE}
    url = f"{session.endpoints.api}?{urlencode(told | {'sortBy': 'submittedDate', 'sortOrder': 'ascending'})}"
    try:
        page, cached = session.get(url, lambda body: _whole(atom.page(body), start))
    except NothingMore:
        if not state["seen"]:
            raise
        # What came is kept; what was announced beyond it is reported and asked for again in a day.
        page, cached, state = atom.Page(), None, state | {"walks": WALKS}
    got = len(page.records) + len(page.rejected)
    total = page.total if page.total is not None else start + got + (got == PAGE)
    seen = sorted({*state["seen"], *(record.id for record in page.records)})
    state = state | {"seen": seen, "total": state["total"] if state["begin"] or start else total}
    state["unread"] += len(page.rejected)
    if got and start + got < min(total, MOST):
        # Going on from the date of the last result is safe when results shift meanwhile, going on from its number is not.
        cut = _last_minute(page, begin, last)
        state = state | ({"begin": cut, "start": 0} if cut else {"start": start + got})
    else:
        state = _finished(session, state)
    if not state["windows"]:
        state = {"query": text, "windows": [], "short": state["short"], "done": _day(state["end"])}
    session.save(page.records, {name: state}, cached)
    session.reject(page.rejected)
    session.say(f"{session.report.received} records")
    return state


def _last_minute(page: atom.Page, begin: str, last: str) -> str | None:
    """The minute of the last result, where it gets us further and the results stand in order."""
    dates = [record.published or "" for record in page.records]
    if page.rejected or not dates or dates != sorted(dates):
        return None
    minute = "".join(part for part in dates[-1][:16] if part.isdigit())
    return minute if begin < minute <= last else None


def _finished(session: Session, state: dict[str, Any]) -> dict[str, Any]:
    """The state after the last page of the first window: the next one, or the same anew when papers are missing."""
    window = state["windows"][0]
    fresh = {"start": 0, "begin": None, "total": 0, "unread": 0}
    missing = state["total"] - len(state["seen"]) - state["unread"]
    if missing > 0 and state["walks"] < WALKS:
        return state | fresh | {"walks": state["walks"] + 1}
    short = [other for other in state["short"] if other["window"] != window]
    if missing > 0:
        session.tell(
            f"arXiv announced {state['total']} papers from {_day(window[0])} to {_day(window[1])} but sent {len(state['seen'])}"
        )
        asked = next((other["asked"] + 1 for other in state["short"] if other["window"] == window), 0)
        if asked < len(AGAIN):
            again = session.now() + timedelta(days=AGAIN[asked])
            short.append({"window": window, "missing": missing, "asked": asked, "next": again.strftime("%Y-%m-%d")})
    return state | fresh | {"windows": state["windows"][1:], "walks": 1, "seen": [], "short": short}


def _due(state: dict[str, Any], today: str) -> list[list[str]]:
    """The windows of earlier pulls in which papers were missing and that are to be asked for again."""
    return [short["window"] for short in state.get("short", []) if short["next"] <= today]


def _whole(page: atom.Page, start: int) -> atom.Page:
    """``page``, unless it is empty although more was announced: arXiv's silent way to say later."""
    if not page.records and not page.rejected and page.total and start < page.total:
        raise Empty(f"an empty page at {start} of {page.total} announced results")
    return page


def _day(minute: Any) -> str:
    return f"{minute[:4]}-{minute[4:6]}-{minute[6:8]}"
