"""Search: a query in, papers out, in a total order.

Relevance is bm25 (title 10, authors 5, abstract and comments 1) over the newest 20,000 matches, smaller scores better, cut
to 9 decimal places; ties, and every other order, go by key descending, so the newest comes first. ``oldest`` alone ascends.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from diffolio.errors import BadInput, LibraryError
from diffolio.papers import plan as planning
from diffolio.papers.days import today_of
from diffolio.papers.facets import KeySet
from diffolio.papers.nodes import QueryError
from diffolio.papers.plan import Plan
from diffolio.papers.query import Query, parse
from diffolio.papers.rows import MONTH_BITS
from diffolio.papers.schema import explain
from diffolio.papers.view import Paper

if TYPE_CHECKING:
    from diffolio.papers.store import Library

RANKED, COUNTED = 20_000, 10_000
WEIGHTS = {"text": "10.0, 1.0", "names": "5.0, 1.0"}
STEPS = 1e9  # scores are compared in these parts of one: their last bits depend on the order of additions

__all__ = ["Found", "QueryError", "matching", "search"]


@dataclass(frozen=True)
class Found:
    """One page of results. ``total`` is the number of matches, an estimate unless ``exact``; ``note`` is for the reader."""

    papers: tuple[Paper, ...]
    total: int
    exact: bool
    note: str = ""


def search(
    library: Library, query: str, *, limit: int = 20, offset: int = 0, now: str | date | datetime | None = None, all: bool = False
) -> Found:
    """The papers that ``query`` finds (see papers.query), ``limit`` of them from ``offset`` on.

    ``now`` is the moment that ``since:7d`` counts from; ``all`` ranks every match, as ``all:`` in the query does.
    Raises QueryError with a position for a query that means nothing.
    """
    if limit < 0 or offset < 0:
        raise BadInput(f"limit and offset count papers: {limit} and {offset} cannot be used")
    read = parse(query)
    try:
        keys, total, exact, note = _search(library, read, limit, offset, today_of(now), all or read.all)
        papers = library.papers(keys)
    except sqlite3.Error as error:
        raise LibraryError(f"the library {library.path} cannot be searched: {explain(error)}") from error
    return Found(tuple(papers), total, exact, "; ".join(filter(None, (*read.notes, note))))


def matching(
    library: Library, query: str, keys: Iterable[int] | None = None, *, now: str | date | datetime | None = None
) -> list[int]:
    """The keys of all papers (or of those among ``keys``) that the query finds, newest first, unranked."""
    plan = planning.make(parse(query).root, library, today_of(now))
    if keys is not None:
        plan.sets.append(KeySet.of(keys))
        plan.windowed = True
    try:
        return _walk(library, plan, None, newest=True)[0]
    except sqlite3.Error as error:
        raise LibraryError(f"the library {library.path} cannot be searched: {explain(error)}") from error


def _search(library: Library, query: Query, limit: int, offset: int, today: date, all: bool) -> tuple[list[int], int, bool, str]:
    plan = planning.make(query.root, library, today)
    end = offset + limit
    if query.sort in ("newest", "oldest") or (query.sort == "relevance" and not plan.ranking):
        keys, total, exact = _walk(library, plan, max(COUNTED, end), newest=query.sort != "oldest")
        return keys[offset:end], total, exact, ""
    most = None if all else RANKED
    if query.sort == "relevance" and _simple(plan):
        page, total, exact = _rank_simply(library, plan, most, end)
    else:
        keys, total, exact = _walk(library, plan, most, newest=True)
        order = {"relevance": _by_relevance, "listed": _by_listing, "likes": _by_likes}[query.sort]
        page = order(library, plan, keys, end)
    note = "" if exact else f"ranked among the newest {RANKED:,} of about {total:,}; write all: to rank all"
    return page[offset:end], total, exact, note


def _walk(library: Library, plan: Plan, most: int | None, *, newest: bool) -> tuple[list[int], int, bool]:
    """Matching keys from the newest (or oldest) on, at most ``most``; how many there are, and whether that is exact."""
    library.connection.create_function("one_author", 3, planning.one_author, deterministic=True)
    keys: list[int] = []
    stop = -1 if most is None else most + 1
    for low, high in planning.windows(plan, library.connection, newest):
        left = -1 if most is None else stop - len(keys)
        keys += planning.run(plan, library.connection, low, high, left, newest=newest)
        if len(keys) == stop:
            return keys[:-1], _estimate(library, plan, stop, keys[-1], newest), False
    return keys, len(keys), True


def _estimate(library: Library, plan: Plan, found: int, last: int, newest: bool) -> int:
    """About how many papers match, when so many do on this side of the key ``last``."""
    seen = _papers_between(library, *((last, plan.high) if newest else (plan.low, last)))
    return max(found, round(found * _papers_between(library, plan.low, plan.high) / max(seen, 1)))


def _papers_between(library: Library, low: int, high: int) -> float:
    """About how many papers have these keys: whole months are counted, inside a month serial numbers are taken as even."""
    months = library.connection.execute(
        "SELECT month, papers FROM month WHERE month BETWEEN ? AND ?", (low >> MONTH_BITS, high >> MONTH_BITS)
    ).fetchall()
    total = float(sum(papers for _, papers in months))
    for edge, below in ((low, True), (high, False)):
        for month, papers in months:
            if month == edge >> MONTH_BITS:
                total -= papers * _share(library, month, edge, below)
    return total


def _share(library: Library, month: int, key: int, below: bool) -> float:
    """The share of a month's papers that lie below (or above) ``key``, by serial number."""
    first, last = library.connection.execute(
        "SELECT min(key), max(key) FROM facet WHERE key BETWEEN ? AND ?", (month << MONTH_BITS, ((month + 1) << MONTH_BITS) - 1)
    ).fetchone()
    if first is None or first == last:
        return 0.0
    share: float = (key - first) / (last - first) if below else (last - key) / (last - first)
    return min(1.0, max(0.0, share))


def _simple(plan: Plan) -> bool:
    """Whether one expression of one index both finds and ranks, with nothing else to ask."""
    return len(plan.matches) == 1 and plan.matches == plan.ranking and not plan.sets and not plan.tests


def _rank_simply(library: Library, plan: Plan, most: int | None, end: int) -> tuple[list[int], int, bool]:
    """The commonest kind of query without carrying 20,000 keys around: only how far down the newest ones reach."""
    index, text = next(iter(plan.matches.items()))
    count, last = library.connection.execute(
        f"SELECT count(*), min(rowid) FROM (SELECT rowid FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN ? AND ?"
        " ORDER BY rowid DESC LIMIT ?)",
        (text, plan.low, plan.high, -1 if most is None else most + 1),
    ).fetchone()
    exact = most is None or count <= most
    total = count if exact else _estimate(library, plan, count, last, newest=True)
    keys = [] if not count else [plan.high, last if exact else last + 1]
    return _by_relevance(library, plan, keys, end), total, exact


def _by_relevance(library: Library, plan: Plan, keys: Sequence[int], end: int) -> list[int]:
    if not keys:
        return []
    if len(plan.ranking) == 1 and plan.ranking.keys() <= plan.matches.keys():
        # Every match has a score of this one index, so that the database can sort them.
        score, source, values = _scores(plan, next(iter(plan.ranking)), keys)
        sql = f"SELECT rowid {source} ORDER BY CAST({score} * {STEPS} AS INTEGER), rowid DESC LIMIT {int(end)}"
        return [key for (key,) in library.connection.execute(sql, values)]
    scores = dict.fromkeys(keys, 0.0)
    for index in plan.ranking:
        score, source, values = _scores(plan, index, keys)
        for key, value in library.connection.execute(f"SELECT rowid, {score} {source}", values):
            if key in scores:
                scores[key] += value
    return heapq.nsmallest(end, keys, key=lambda key: (int(scores[key] * STEPS), -key))


def _scores(plan: Plan, index: str, keys: Sequence[int]) -> tuple[str, str, tuple[object, ...]]:
    """The score of a row of one index, from where it comes, and the values for that."""
    source = f"FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN ? AND ?"
    values = (plan.ranking[index], min(keys[0], keys[-1]), max(keys[0], keys[-1]))
    score = f"bm25({index}, {WEIGHTS[index]})"
    if _simple(plan):
        return score, source, values
    # Only the candidates are scored: bm25 costs more than asking whether a row is one.
    return score, source + " AND +rowid IN (SELECT value FROM json_each(?))", (*values, json.dumps(keys))


def _by_listing(library: Library, plan: Plan, keys: Sequence[int], end: int) -> list[int]:
    """Last listed or announced first; what was never listed comes last."""
    days = dict(
        library.connection.execute(
            "SELECT paper, max(day) FROM (SELECT paper, issue.last AS day FROM listing JOIN issue ON issue.id = listing.issue"
            " UNION ALL SELECT paper, day FROM announcement) WHERE paper IN (SELECT value FROM json_each(?)) GROUP BY paper",
            (json.dumps(keys),),
        )
    )
    return sorted(sorted(keys, reverse=True), key=lambda key: days.get(key, ""), reverse=True)[:end]


def _by_likes(library: Library, plan: Plan, keys: Sequence[int], end: int) -> list[int]:
    """What the user's likes rank highest first; papers without words come last."""
    from diffolio.papers import taste
    from diffolio.papers.features import features_of
    from diffolio.papers.likes import ratings_of

    if not library.marked("like"):
        raise BadInput("sort:likes orders by what you like, and no paper is liked yet: like a few first")
    features = features_of(library)
    scores = features.matrix @ taste.taste_of(features, ratings_of(library, features))
    found = {key: float(scores[row]) for key, row in zip(keys, features.rows(keys).tolist(), strict=True) if row >= 0}
    return heapq.nsmallest(end, keys, key=lambda key: (-int(found.get(key, -1e9) * STEPS), -key))
