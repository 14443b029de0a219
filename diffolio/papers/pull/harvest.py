"""Pulling by OAI-PMH: everything of a set that changed since a day, page by page, as the way to fill and to keep a library."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from diffolio.errors import BadInput, SourceError
from diffolio.papers.pull import gaps, oai
from diffolio.papers.pull.polite import Throttled
from diffolio.papers.pull.session import Session, categories_of, span, state_name

FORMATS = ("arXivRaw", "arXiv")
RESTARTS = 5  # times that a harvest begins anew without getting further
PHYSICS = {
    "astro-ph", "cond-mat", "gr-qc", "hep-ex", "hep-lat", "hep-ph", "hep-th", "math-ph", "nlin", "nucl-ex", "nucl-th", "physics",
    "quant-ph",
}  # fmt: skip


def set_of(category: str) -> str:
    """arXiv's name of the set of a category: ``cs``, ``cs:cs:CV``, ``physics:hep-th``, ``physics:cond-mat:mtrl-sci``."""
    archive, _, subject = category.removesuffix(".*").partition(".")
    if archive in PHYSICS:
        return ":".join(filter(None, ("physics", archive, subject)))
    return f"{archive}:{archive}:{subject}" if subject else archive


def pull_sets(session: Session, sets: Sequence[str], since: str | None, until: str | None, prefix: str, complete: bool) -> None:
    """Harvest each set, or everything when none is named, and compare with what was announced meanwhile."""
    categories = categories_of(sets)
    begun = [_harvest(session, category, since, until, prefix) for category in categories or (None,)]
    first, responded = min(day for day, _ in begun), min(day for _, day in begun)
    # What is announced today may reach the harvest tomorrow.
    last = min(responded, date.fromisoformat(session.report.last or responded.isoformat())) - timedelta(days=1)
    missing = gaps.note(session, gaps.announced(session.library, first.isoformat(), last.isoformat(), categories), "announced")
    if missing:
        session.tell(f"{len(missing)} papers were announced from {first} to {last} but are not in the harvest")
    if not categories and not until:
        gaps.runs_of(session, first, responded)
    if complete:
        gaps.ask(session)


def _harvest(session: Session, category: str | None, since: str | None, until: str | None, prefix: str) -> tuple[date, date]:
    """One set from its first page, or from where an earlier call stopped, to its last: first day and the server's day."""
    name = state_name("oai", category, prefix)
    state = session.library.get_state(name, {})
    asked = [since, until]
    if "from" in state and asked in (state["asked"], [None, None]):
        session.report.resumed = True
    else:
        first, last = span(session, since, until, state.get("done"))
        state = {"set": category, "asked": asked, "first": first.isoformat(), "from": first.isoformat(), "token": None,
                 "until": last and last.isoformat(), "done": state.get("done"), "responded": None, "newest": None,
                 "sorted": True, "restarts": 0}  # fmt: skip
    session.report.first, session.report.last = state["first"], state["until"]
    tokens: set[str] = set()
    while "from" in state:
        if state["token"] in tokens:
            raise SourceError("OAI-PMH leads in circles: the same continuation came twice; try again tomorrow")
        tokens.add(state["token"] or "")
        state = _step(session, name, state, category, prefix)
        tokens = tokens if state.get("token") else set()
    return date.fromisoformat(state["first"]), date.fromisoformat(state["done"])


def _step(session: Session, name: str, state: dict[str, Any], category: str | None, prefix: str) -> dict[str, Any]:
    """One page, and the state after it."""
    told = {"verb": "ListRecords"}
    if state["token"]:
        told |= {"resumptionToken": state["token"]}
    else:
        told |= {"metadataPrefix": prefix, "from": state["from"]}
        told |= {"until": state["until"]} if state["until"] else {}
        told |= {"set": set_of(category)} if category else {}
    page = session.polite.get(f"{session.endpoints.oai}?{urlencode(told, safe=':|')}", _whole)
    if page.error == "badResumptionToken" and state["token"]:
        state = _restarted(state)
        session.say(f"the continuation ran out; starting again from {state['from']}")
        session.save([], {name: state})
        return state
    if page.error and page.error != "noRecordsMatch":
        raise SourceError(f"OAI-PMH refused the request: {page.error}: {page.message or 'no reason given'}")
    stamps = [record.retrieved[:10] for record in page.records if record.retrieved]
    newest = max([state["newest"] or "", *stamps]) or None
    in_order = state["sorted"] and [state["newest"] or "", *stamps] == sorted([state["newest"] or "", *stamps])
    responded = state["responded"] or (page.responded or session.today())[:10]
    state = state | {"token": page.token, "newest": newest, "sorted": in_order, "responded": responded}
    if not page.token:
        state = {"set": category, "first": state["first"], "done": min(responded, state["until"] or responded)}
    session.save(page.records, {name: state})
    session.report.deleted += tuple(page.deleted)
    session.reject(page.rejected)
    session.say(f"{session.report.received} records" + (f", up to {newest}" if newest else ""))
    return state


def _restarted(state: dict[str, Any]) -> dict[str, Any]:
    """The state that goes on without the token: from the last datestamp, or from the start where they were not in order."""
    begin = state["newest"] if state["sorted"] and state["newest"] else state["first"]
    restarts = state["restarts"] + 1 if begin == state["from"] else 0
    if restarts > RESTARTS:
        raise SourceError(f"OAI-PMH refuses every continuation from {begin} on; try again tomorrow")
    return state | {"from": begin, "token": None, "restarts": restarts}


def _whole(body: bytes) -> oai.Page:
    page = oai.page(body)
    if not page.records and not page.deleted and not page.rejected and page.error is None:
        raise Throttled("an empty list of records")
    return page


def format_of(prefix: str) -> str:
    if prefix not in FORMATS:
        raise BadInput(f"metadata format {prefix!r} is not one of {', '.join(FORMATS)}")
    return prefix
