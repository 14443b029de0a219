"""One polite client of a host, shared by all processes of a user: spacing, one connection, back-off, an end to every try.

arXiv allows one request every three seconds and one connection, over its API, RSS and OAI-PMH together. A lock file keeps the
connection to one process at a time, and a note beside it keeps when the last request ended and until when arXiv wants peace.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

from diffolio.errors import BadInput, Offline, SourceError
from diffolio.papers.pull.answers import Response, accepted, retry_after, same_site, shown
from diffolio.papers.pull.fields import line

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T")
INTERVAL = 3.0  # seconds between the end of a request and the start of the next
TRIES = 5
LONGEST_WAIT = 600.0  # seconds; whoever is told to wait longer stops
PATIENCE = 1800.0  # seconds that other processes may hold the line before we give up
DAY = 86400.0
ACCEPT = "application/atom+xml, application/rss+xml, application/xml;q=0.9, text/xml;q=0.9"
THROTTLED = (406, 429, 500, 502, 503, 504)  # 406 and 503 are arXiv's other ways to say 429


class Throttled(Exception):
    """An answer that means "later": an answer is read again after a pause, a bounded number of times."""


class Empty(Throttled):
    """An empty answer where more was announced."""


class NothingMore(SourceError):
    """The answer stayed empty, try after try."""


class Clock:
    """Seconds since 1970 and sleeping; tests replace it."""

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def state_folder() -> Path:
    """Where the locks of all processes of a user lie."""
    import platformdirs

    return Path(platformdirs.user_state_dir("diffolio", appauthor=False))


@dataclass
class Polite:
    """Requests to one host by its rules. ``stall`` is the longest silence in seconds, ``largest`` a response's most bytes."""

    name: str = "arxiv.org"
    folder: Path = field(default_factory=state_folder)
    interval: float = INTERVAL
    clock: Clock = field(default_factory=Clock)
    tries: int = TRIES
    stall: float = 30.0
    largest: int = 64 << 20
    rng: random.Random = field(default_factory=random.Random)
    progress: Callable[[str], None] | None = None
    requests: int = 0

    def get(self, url: str, read: Callable[[bytes], T]) -> T:
        """What ``read`` makes of the answer. ``read`` raises BadInput or Throttled on an answer to be asked for again.

        Raises Offline, and SourceError when the host refuses or stays busy; the message says when to try again.
        """
        refuse_offline(url)
        why, asked, kind = "", 0.0, SourceError
        for attempt in range(1, self.tries + 1):
            response = None
            try:
                response = self._turn(url)
                if response.status not in THROTTLED:
                    return read(accepted(response))
                asked, why = retry_after(response, self.clock.now()), f"status {response.status}"
            except (BadInput, Throttled) as error:
                kind = NothingMore if isinstance(error, Empty) else SourceError
                asked, why = retry_after(response, self.clock.now()) if response else 0.0, str(error)
            # An upper bound of the random part keeps the longest wait.
            wait = max(asked, min(self.rng.uniform(1.0, 1.25) * 3 * 2**attempt, LONGEST_WAIT))
            if attempt == self.tries or asked > LONGEST_WAIT:
                break
            self._say(f"{self.name}: {why}; waiting {wait:.0f} s (try {attempt} of {self.tries})")
            self._rest(wait)
        self._rest(wait)
        raise kind(f"{self.name} did not answer {shown(url)} in {attempt} tries (last: {why}); try again after {self._in(wait)}")

    def _turn(self, url: str) -> Response:
        """One request and the redirects it leads to, each in its turn."""
        for _ in range(4):
            response = self._alone(url)
            if response.status not in (301, 302, 303, 307, 308):
                return response
            target = urljoin(url, response.headers.get("location", ""))
            if not same_site(url, target):
                raise SourceError(f"{shown(url)} redirects to another site ({shown(target)}): not followed")
            url = target
        raise SourceError(f"{shown(url)} redirects in circles")

    def _alone(self, url: str) -> Response:
        """Wait for our turn among all processes, then ask."""
        refuse_offline(url)
        patience = PATIENCE
        while True:
            with self._lock():
                wait = self._wait()
                if wait <= 0:
                    return self._ask(url)
            if wait > LONGEST_WAIT or patience <= 0:
                raise SourceError(f"{self.name} asked for a pause or is busy with others; try again after {self._in(wait)}")
            # Others may go first meanwhile; then this waits again, not without end.
            self.clock.sleep(wait)
            patience -= wait

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """The line to the host: one process at a time. The system frees it when its holder dies."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self._file(".lock")).acquire(timeout=PATIENCE):
                yield
        except Timeout as error:
            raise SourceError(f"another process has been using {self.name} for {PATIENCE / 60:.0f} minutes; try later") from error
        except OSError as error:
            why = error.strerror or error
            raise SourceError(
                f"the lock that keeps requests to {self.name} apart cannot be kept in {self.folder}: {why}"
            ) from error

    def _rest(self, seconds: float) -> None:
        """Nobody asks for so long."""
        with self._lock():
            self._note(rest=seconds)

    def _in(self, seconds: float) -> str:
        return datetime.fromtimestamp(self.clock.now() + seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def _ask(self, url: str) -> Response:
        # Noted before the request too: whoever dies in the middle of one leaves a start that has no end.
        self._note(open_=True)
        self.requests += 1
        try:
            return self._fetch(url)
        finally:
            self._note(open_=False)

    def _wait(self) -> float:
        """Seconds until the next request may start."""
        told, now = self._told(), self.clock.now()
        # A request that never ended (its process died), a clock that went back, an unreadable note: the interval runs anew.
        if told["open"] or told["ended"] > now:
            self._note(open_=False)
            return self.interval
        until = told["until"] if told["until"] <= now + DAY else 0.0
        return max(told["ended"] + self.interval, until) - now

    def _told(self) -> dict[str, Any]:
        try:
            told = json.loads(self._file(".json").read_text())
            return {"ended": float(told["ended"]), "until": float(told["until"]), "open": bool(told["open"])}
        except FileNotFoundError:
            return {"ended": 0.0, "until": 0.0, "open": False}
        except (ValueError, KeyError, TypeError, OSError):
            return {"ended": 0.0, "until": 0.0, "open": True}

    def _note(self, *, rest: float = 0.0, open_: bool = False) -> None:
        told, now = self._told(), self.clock.now()
        until = told["until"] if told["until"] <= now + DAY else 0.0
        # A pause is noted between requests: it does not change when the last one ended.
        fresh_state = {"ended": told["ended"] if rest else now, "until": max(until, now + min(rest, DAY)) if rest else until}
        file = self._file(".json")
        fresh = file.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps(fresh_state | {"open": open_}))
        os.replace(fresh, file)

    def _file(self, suffix: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{self.name.replace(':', '-')}{suffix}"

    def _fetch(self, url: str) -> Response:
        import httpx

        try:
            # No connection stays open between requests: other processes want one too.
            limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
            with (
                httpx.Client(headers=headers(), timeout=self.stall, limits=limits, verify=_certificates()) as client,
                client.stream("GET", url) as answer,
            ):
                return Response(answer.status_code, dict(answer.headers), self._body(answer), url)
        except httpx.HTTPError as error:
            raise Throttled(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        except httpx.InvalidURL as error:
            raise SourceError(f"{shown(url)} is not a URL: {error}") from error

    def _body(self, answer: httpx.Response) -> bytes:
        parts, size, deadline = [], 0, time.monotonic() + 10 * self.stall
        for part in answer.iter_bytes():  # a chunk size would hold drops back until they fill one, and the deadline with them
            parts.append(part)
            size += len(part)
            if size > self.largest:
                raise SourceError(f"{shown(str(answer.url))} sends more than {self.largest >> 20} MB: refused")
            if time.monotonic() > deadline:
                raise Throttled(f"the answer took longer than {10 * self.stall:.0f} s")
        return b"".join(parts)

    def _say(self, text: str) -> None:
        if self.progress:
            self.progress(text)


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust; reading them takes longer than a request."""
    import httpx

    return httpx.create_ssl_context()


def refuse_offline(url: str) -> None:
    """Raise Offline when ``DIFFOLIO_OFFLINE`` says so, before any socket is opened."""
    if os.environ.get("DIFFOLIO_OFFLINE", "").strip().lower() not in ("", "0", "no", "false", "off"):
        raise Offline(f"DIFFOLIO_OFFLINE is set, so {shown(url)} is not asked; unset it to pull (everything else works without)")


def headers() -> dict[str, str]:
    """Who asks and what for: without an ``Accept`` arXiv answers 406. ``DIFFOLIO_CONTACT`` adds an address to write to."""
    from diffolio import __version__

    contact = line(os.environ.get("DIFFOLIO_CONTACT"))
    told = "a digest of diffusion papers that you can run" + (f"; mailto:{contact}" if contact and contact.isascii() else "")
    return {"User-Agent": f"diffolio/{__version__} ({told})", "Accept": ACCEPT}
