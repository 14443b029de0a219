"""Days as queries write them and as rows keep them: whole numbers, 20240319."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

from diffolio.papers.nodes import QueryError

FIRST_DAY, LAST_DAY = 10101, 99991231

_SPAN = re.compile(r"(\d{1,6})([dwmy])")
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")


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


def whole_months(first: int, last: int) -> tuple[int, int]:
    """The months that lie wholly within the days, as a half-open range of key >> MONTH_BITS.

    A paper without a date has at least its month, from its id.
    """
    low = first // 10_000 * 12 + first // 100 % 100 - 1 + (first % 100 > 1)
    year, month, day = last // 10_000, last // 100 % 100, last % 100
    high = year * 12 + month - 1 + (day == calendar.monthrange(year, month)[1])
    return low, high


def today_of(now: str | date | datetime | None) -> date:
    """The UTC day of a moment given as text, date or datetime; of this moment when None."""
    if now is None:
        return datetime.now(UTC).date()
    if isinstance(now, str):
        return date.fromisoformat(now[:10])
    if isinstance(now, datetime):
        return (now.astimezone(UTC) if now.tzinfo else now).date()
    return now
