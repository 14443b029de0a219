"""What the facts of a query mean: each becomes a test on one row, a set of papers, or a range of days.

SQL here speaks of ``f``, the row of ``facet`` that is asked about.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from diffolio.errors import nearest
from diffolio.papers.identifiers import key_of
from diffolio.papers.nodes import Fact, QueryError
from diffolio.papers.rows import FLAGS, MONTH_BITS, marks
from diffolio.papers.runnable import CLAIMS, Runnable

if TYPE_CHECKING:
    from diffolio.papers.store import Library

YES, NO = ("yes", "true", "1"), ("no", "false", "0")
HAS = ("code", "project", "demo", "data", "doi", "link", "method", "summary", "note", "tag")
IS = ("new", "replaced", "cross", "withdrawn", "liked", "disliked", "read", "unread", "hidden")
FIRST_DAY, LAST_DAY = 10101, 99991231

_SPAN = re.compile(r"(\d{1,6})([dwmy])")
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")
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


def day_range(text: str, position: int, today: date) -> tuple[int, int]:
    """``2024``, ``2024-03``, ``2024-03-15``, ``a..b``, ``a..``, ``..b``, ``today``, ``7d`` as (first, last), both inclusive."""
    if ".." in text:
        low, _, high = text.partition("..")
        if not low and not high:
            raise QueryError("a range of dates needs a beginning or an end", position)
        first = _day(low, position, today)[0] if low else FIRST_DAY
        last = _day(high, position, today)[1] if high else LAST_DAY
        if first > last:
            raise QueryError(f"the range {text} ends before it begins", position)
        return first, last
    return _day(text, position, today)


def _number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


def _day(text: str, position: int, today: date) -> tuple[int, int]:
    if text in ("today", "yesterday"):
        day = _number(today - timedelta(days=text == "yesterday"))
        return day, day
    if span := _SPAN.fullmatch(text):
        return _number(_back(today, int(span[1]), span[2])), _number(today)
    match = _DATE.fullmatch(text)
    if not match:
        raise QueryError(f"{text!r} is not a date: write 2024, 2024-03, 2024-03-15, a range a..b, or 7d", position)
    year, month, day = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    try:
        first = date(year, month or 1, day or 1)
    except ValueError:
        raise QueryError(f"the date {text} does not exist", position) from None
    if day:
        return _number(first), _number(first)
    return _number(first), _number(date(year, month or 12, calendar.monthrange(year, month or 12)[1]))


def _back(today: date, n: int, unit: str) -> date:
    days = n * {"d": 1, "w": 7, "m": 30, "y": 365}[unit]
    return today - timedelta(days=min(days, today.toordinal() - 1))


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


def whole_months(first: int, last: int) -> tuple[int, int]:
    """The months that lie wholly within the days, as a half-open range of key >> MONTH_BITS.

    A paper without a date has at least its month, from its id.
    """
    low = first // 10_000 * 12 + first // 100 % 100 - 1 + (first % 100 > 1)
    year, month, day = last // 10_000, last // 100 % 100, last % 100
    high = year * 12 + month - 1 + (day == calendar.monthrange(year, month)[1])
    return low, high


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


def today_of(now: str | date | datetime | None) -> date:
    """The UTC day of a moment given as text, date or datetime; of this moment when None."""
    if now is None:
        return datetime.now(UTC).date()
    if isinstance(now, str):
        return date.fromisoformat(now[:10])
    if isinstance(now, datetime):
        return (now.astimezone(UTC) if now.tzinfo else now).date()
    return now
