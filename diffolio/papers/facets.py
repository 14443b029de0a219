"""What the facts of a query mean: each becomes a test on one row, a set of papers, or a range of days.

SQL here speaks of ``f``, the row of ``facet`` that is asked about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from diffolio.errors import nearest
from diffolio.papers.days import LAST_DAY, day_range, whole_months
from diffolio.papers.identifiers import key_of
from diffolio.papers.nodes import Fact, QueryError
from diffolio.papers.rows import FLAGS, MONTH_BITS, marks
from diffolio.papers.runnable import CLAIMS, Runnable

if TYPE_CHECKING:
    from diffolio.papers.store import Library

YES, NO = ("yes", "true", "1"), ("no", "false", "0")
HAS = ("code", "project", "demo", "data", "doi", "link", "method", "summary", "note", "tag")
IS = ("new", "replaced", "cross", "withdrawn", "liked", "disliked", "read", "unread", "hidden")

_VERSION = re.compile(r"(>=|<=|>|<|=)?(\d{1,4})|(\d{1,4})\.\.(\d{1,4})")


@dataclass(frozen=True)
class Test:
    """A condition on the row ``f``."""

    sql: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class KeySet:
    """Papers by a query that gives their keys in the column ``key``."""

    sql: str
    values: tuple[Any, ...] = ()

    @staticmethod
    def of(keys: Iterable[int]) -> KeySet:
        return KeySet("SELECT value AS key FROM json_each(?)", (json.dumps(sorted(keys)),))


@dataclass(frozen=True)
class Days:
    """Submitted first on a day within first..last (20240319); ``test`` says it exactly, the keys bound where to look."""

    test: Test
    low: int
    high: int


Condition = Test | KeySet | Days


def condition(fact: Fact, library: Library, today: date) -> Condition:
    """What a fact asks of a paper. Raises QueryError with its position for a value without meaning."""
    return _READERS[fact.field](fact, library, today)


def _fail(fact: Fact, known: Sequence[str], what: str = "") -> QueryError:
    near = nearest(fact.value, known, n=1)
    advice = f"Did you mean {fact.field}:{near[0]}?" if near else f"Known: {', '.join(known)}"
    return QueryError(f"{fact.field}: knows no {what or 'value'} {fact.value!r}. {advice}", fact.position)


def _category(fact: Fact, library: Library, today: date) -> Condition:
    wanted = fact.value.lower()
    stem = wanted.removesuffix("*").removesuffix(".")
    deep = wanted.endswith("*") or "." not in wanted
    terms = library.connection.execute("SELECT id, name FROM term").fetchall()
    if wanted.endswith("*") and not wanted.endswith(".*"):
        found = [number for number, name in terms if name.lower().startswith(stem)]
    else:
        found = [number for number, name in terms if name.lower() == stem or (deep and name.lower().startswith(stem + "."))]
    return KeySet(f"SELECT DISTINCT paper AS key FROM category WHERE term IN ({marks(len(found))})", tuple(found))


def _date(fact: Fact, library: Library, today: date) -> Condition:
    first, last = day_range(fact.value.lower(), fact.position, today)
    return _submitted(library, first, last)


def _since(fact: Fact, library: Library, today: date) -> Condition:
    return _submitted(library, day_range(fact.value.lower(), fact.position, today)[0], LAST_DAY)


def _submitted(library: Library, first: int, last: int) -> Days:
    low, high = whole_months(first, last)
    test = Test(
        "(f.published BETWEEN ? AND ? OR f.published IS NULL AND f.key >= ? AND f.key < ?)",
        (first, last, low << MONTH_BITS, high << MONTH_BITS),
    )
    found = library.connection.execute(
        "SELECT min(month), max(month) FROM month WHERE first <= ? AND last >= ? OR month >= ? AND month < ?",
        (last, first, low, high),
    ).fetchone()
    if found[0] is None:
        return Days(test, 0, -1)
    return Days(test, found[0] << MONTH_BITS, ((found[1] + 1) << MONTH_BITS) - 1)


def _updated(fact: Fact, library: Library, today: date) -> Condition:
    return Test("f.updated BETWEEN ? AND ?", day_range(fact.value.lower(), fact.position, today))


def _listed(fact: Fact, library: Library, today: date) -> Condition:
    first, last = (f"{day // 10_000:04}-{day // 100 % 100:02}-{day % 100:02}"
                   for day in day_range(fact.value.lower(), fact.position, today))  # fmt: skip
    return KeySet(
        "SELECT paper AS key FROM listing JOIN issue ON issue.id = listing.issue WHERE issue.last >= ? AND issue.first <= ?"
        " UNION SELECT paper FROM announcement WHERE day BETWEEN ? AND ?",
        (first, last, first, last),
    )


def _in(fact: Fact, library: Library, today: date) -> Condition:
    wanted = fact.value.casefold()
    series = sorted({name for (name,) in library.connection.execute("SELECT DISTINCT series FROM issue")})
    found = [name for name in series if name.casefold() == wanted] or [name for name in series if wanted in name.casefold()]
    if series and not found:
        raise _fail(fact, series, "series")
    return KeySet(
        "SELECT DISTINCT paper AS key FROM listing JOIN issue ON issue.id = listing.issue"
        f" WHERE issue.series IN ({marks(len(found))})",
        tuple(found),
    )


def _has(fact: Fact, library: Library, today: date) -> Condition:
    value = fact.value.lower()
    if value in FLAGS and value in HAS:
        return Test("f.flags & ?", (FLAGS[value],))
    if value == "link":
        return Test("f.flags & ?", (sum(FLAGS[kind] for kind in ("code", "project", "demo", "data", "other")),))
    if value == "method":
        return _runs(library, lambda method: True)
    if value == "summary":
        return KeySet("SELECT DISTINCT paper AS key FROM summary")
    if value in ("note", "tag"):
        return KeySet("SELECT DISTINCT paper AS key FROM mark WHERE kind = ?", (value,))
    raise _fail(fact, HAS)


def _is(fact: Fact, library: Library, today: date) -> Condition:
    value = fact.value.lower()
    if value not in IS:
        raise _fail(fact, IS)
    if value in ("replaced", "cross", "withdrawn"):
        return Test("f.flags & ?", (FLAGS[value],))
    if value == "new":
        return Test("NOT f.flags & ?", (FLAGS["replaced"],))
    if value == "unread":
        return _unmarked("read")
    return _marked({"liked": "like", "disliked": "dislike"}.get(value, value))


def _marked(kind: str, value: str | None = None) -> KeySet:
    sql = "SELECT DISTINCT paper AS key FROM mark WHERE kind = ?"
    return KeySet(sql, (kind,)) if value is None else KeySet(sql + " AND lower(value) = lower(?)", (kind, value))


def _unmarked(*kinds: str) -> Test:
    return Test(f"f.key NOT IN (SELECT paper FROM mark WHERE kind IN ({marks(len(kinds))}))", kinds)


def _version(fact: Fact, library: Library, today: date) -> Condition:
    match = _VERSION.fullmatch(fact.value)
    if not match:
        raise QueryError(f"{fact.value!r} is no version: write 2, >1, <=3 or 2..4", fact.position)
    if match[3]:
        return Test("f.version BETWEEN ? AND ?", (int(match[3]), int(match[4])))
    return Test(f"f.version {match[1] or '='} ?", (int(match[2]),))


def _switch(fact: Fact) -> bool:
    if fact.value.lower() not in YES + NO:
        raise _fail(fact, ("yes", "no"))
    return fact.value.lower() in YES


def _runs(library: Library, test: Callable[[Runnable], bool]) -> KeySet:
    return KeySet.of(key_of(id) for id, method in library.methods.items() if test(method))


def _runnable(fact: Fact, library: Library, today: date) -> Condition:
    found = _runs(library, lambda method: True)
    return found if _switch(fact) else Test(f"f.key NOT IN ({found.sql})", found.values)


def _family(fact: Fact, library: Library, today: date) -> Condition:
    families = sorted({method.family for method in library.methods.values()})
    if families and fact.value.lower() not in families:
        raise _fail(fact, families, "family")
    return _runs(library, lambda method: method.family == fact.value.lower())


def _claim(fact: Fact, library: Library, today: date) -> Condition:
    wanted = fact.value.lower()
    if wanted not in (*CLAIMS, "none"):
        raise _fail(fact, (*CLAIMS, "none"), "state")
    return _runs(library, lambda method: (method.claim or "none") == wanted)


def _tag(fact: Fact, library: Library, today: date) -> Condition:
    return _marked("tag", fact.value)


def _note(fact: Fact, library: Library, today: date) -> Condition:
    sql = "SELECT DISTINCT paper AS key FROM mark WHERE kind = 'note' AND instr(lower(value), lower(?))"
    return KeySet(sql, (fact.value,))


def _like(fact: Fact, library: Library, today: date) -> Condition:
    if fact.value.lower() == "none":
        return _unmarked("like", "dislike")
    return _marked("like" if _switch(fact) else "dislike")


def _read(fact: Fact, library: Library, today: date) -> Condition:
    return _marked("read") if _switch(fact) else _unmarked("read")


_READERS: dict[str, Callable[[Fact, Library, date], Condition]] = {
    "cat": _category, "date": _date, "since": _since, "updated": _updated, "listed": _listed, "in": _in, "has": _has, "is": _is,
    "version": _version, "runnable": _runnable, "family": _family, "claim": _claim, "tag": _tag, "note": _note, "like": _like,
    "read": _read,
}  # fmt: skip
