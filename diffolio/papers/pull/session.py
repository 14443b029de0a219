"""What the pulls of all sources share: where arXiv answers, the report, and saving a page with the state that belongs to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from diffolio.errors import BadInput
from diffolio.papers.pull.polite import Polite
from diffolio.papers.record import Record

if TYPE_CHECKING:
    from diffolio.papers.store import Library

T = TypeVar("T")
OVERLAP = 7  # days that an increment looks back: late changes and bulk days are caught, repeats cost nothing
_SET = re.compile(r"[a-z]+(?:-[a-z]+)?(?:\.(?:[A-Za-z][A-Za-z-]+|\*))?")
_SPAN = re.compile(r"(\d{1,5})([dwmy])")
_DAYS = {"d": 1, "w": 7, "m": 30, "y": 365}


@dataclass(frozen=True)
class Endpoints:
    """Where the three interfaces answer; tests name a server of their own."""

    rss: str = "https://rss.arxiv.org/rss"
    api: str = "https://export.arxiv.org/api/query"
    oai: str = "https://oaipmh.arxiv.org/oai"


@dataclass
class PullReport:
    """What a pull brought. ``gaps`` are papers that arXiv announced but did not send yet; they are asked for again."""

    source: str
    sets: tuple[str, ...] = ()
    query: str | None = None
    first: str | None = None
    last: str | None = None
    resumed: bool = False
    requests: int = 0
    pages: int = 0
    received: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    deleted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    messages: list[str] = field(default_factory=list)


@dataclass
class Session:
    """One pull into one library."""

    library: Library
    polite: Polite
    endpoints: Endpoints
    report: PullReport
    progress: Callable[[str], None] | None = None

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.polite.clock.now(), UTC)

    def today(self) -> str:
        return self.now().strftime("%Y-%m-%d")

    def say(self, text: str) -> None:
        if self.progress:
            self.progress(text)

    def tell(self, text: str) -> None:
        """A remark that belongs into the report."""
        self.report.messages.append(text)
        self.say(text)

    def save(self, records: Sequence[Record], states: dict[str, Any], cached: tuple[str, bytes] | None = None) -> None:
        """A page, the state after it and its cached body: all or nothing."""
        with self.library.transaction():
            counts = self.library.add_records(records)
            for name, state in states.items():
                self.library.set_state(name, state)
            if cached:
                self.library.cache(cached[0], self.edition(), cached[1])
        report = self.report
        report.pages, report.received = report.pages + 1, report.received + len(records)
        report.new, report.changed, report.same = (
            report.new + counts.new, report.changed + counts.changed, report.same + counts.same,
        )  # fmt: skip

    def reject(self, lines: Sequence[str]) -> None:
        """Note records that cannot be read; a bounded number of them."""
        self.report.rejected = (*self.report.rejected, *lines)[:1000]

    def edition(self) -> str:
        """The day in New York: arXiv's answers change after midnight there. Winter time, so never a day too early."""
        return (self.now() - timedelta(hours=5)).strftime("%Y-%m-%d")

    def get(self, url: str, read: Callable[[bytes], T]) -> tuple[T, tuple[str, bytes] | None]:
        """The answer of today, from the cache when it was asked before; and what to cache of it, if anything."""
        if (body := self.library.cached(url, self.edition())) is not None:
            return read(body), None
        return self.polite.get(url, lambda body: (read(body), (url, body)))


def categories_of(sets: Sequence[str]) -> tuple[str, ...]:
    """The categories of ``cs.CV``, ``cs.CV+cs.GR`` or ``cs``, checked, without repeats. Raises BadInput."""
    names = [name for given in sets for name in re.split(r"[+,\s]+", given) if name]
    for name in names:
        if not _SET.fullmatch(name):
            raise BadInput(f"{name!r} is not a category of arXiv: write it like cs.CV, hep-th or cs")
    return tuple(dict.fromkeys(names))


def day_of(text: str, today: date) -> date:
    """``2024-03-19``, or ``7d`` (w, m, y) before ``today``. Raises BadInput when it is neither or does not exist."""
    if span := _SPAN.fullmatch(text.strip()):
        try:
            return today - timedelta(days=int(span[1]) * _DAYS[span[2]])
        except OverflowError as error:
            raise BadInput(f"{text!r} reaches before the calendar") from error
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d").date()
    except ValueError as error:
        raise BadInput(f"{text!r} is no date: write 2024-03-19, or 7d for the last seven days") from error


def span(session: Session, since: str | None, until: str | None, done: str | None) -> tuple[date, date | None]:
    """First and last day to ask for: as given, or from ``done`` (where the last pull ended) with an overlap."""
    today = session.now().date()
    last = day_of(until, today) if until else None
    if since:
        first = day_of(since, today)
    else:
        first = (day_of(done[:10], today) if done else today) - timedelta(days=OVERLAP)
    if last and last < first:
        raise BadInput(f"the window from {first} to {last} is empty: give --since a day before --until")
    return first, last


def state_name(source: str, *parts: object) -> str:
    """The name under which the state of one kind of pull is kept."""
    return f"pull:{source}:{sha256(json.dumps(parts).encode()).hexdigest()[:16]}"
