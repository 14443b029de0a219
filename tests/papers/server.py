"""A local arXiv that misbehaves on demand: API, RSS and OAI-PMH over made-up papers, and a log of who asked when.

with Archive(papers) as archive:
    archive.faults = [status(429, retry_after="7"), html(), None]      # one per request, in order; None behaves
    pull(library, polite=archive.polite(folder), endpoints=archive.endpoints, ...)
    archive.check_manners()
"""

from __future__ import annotations

import multiprocessing
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from diffolio.papers.pull import Endpoints
from diffolio.papers.pull.polite import INTERVAL, Clock, Polite
from tests.papers import documents
from tests.papers.documents import Made

START = datetime(2024, 3, 20, 12, tzinfo=UTC).timestamp()  # a Wednesday


class FakeClock(Clock):
    """Time that passes only by sleeping; shared with forked processes."""

    def __init__(self, start: float = START) -> None:
        self._time = multiprocessing.Value("d", start)
        self.slept: list[float] = []
        self.settle: Callable[[], None] = lambda: None  # what real time would give others the time for

    def now(self) -> float:
        return float(self._time.value)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.settle()
        self.slept.append(seconds)
        self.pass_(seconds)

    def pass_(self, seconds: float) -> None:
        with self._time.get_lock():
            self._time.value += seconds


@dataclass
class Answer:
    """What the server sends. ``cut`` closes the connection after that many bytes of a longer promise."""

    body: bytes
    status: int = 200
    kind: str = "application/xml; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    stall: float = 0.0
    drip: float = 0.0


@dataclass
class Visit:
    """One request as the server saw it; times by the archive's clock, ``ended`` just before its last byte was sent."""

    arrived: float
    path: str
    query: dict[str, str]
    agent: str
    accept: str
    ended: float | None = None


Fault = Callable[[Answer], Answer] | None


def status(code: int, *, retry_after: str = "", body: bytes = b"later") -> Fault:
    headers = (("Retry-After", retry_after),) if retry_after else ()
    return lambda _: Answer(body, code, "text/plain", headers)


def html() -> Fault:
    return lambda _: Answer(b"<!DOCTYPE html><html><body><form>Please log in<br></form></body></html>", kind="text/html")


def empty(total: int) -> Fault:
    return lambda _: Answer(documents.atom([], total=total))


def cut(at: int) -> Fault:
    """The connection breaks after ``at`` bytes."""
    return lambda answer: Answer(answer.body, cut=at)


def shortened(at: int) -> Fault:
    """Only ``at`` bytes are sent, and their number is what the header says."""
    return lambda answer: Answer(answer.body[:at])


def stalled(seconds: float) -> Fault:
    return lambda answer: Answer(answer.body, stall=seconds)


def dripping(seconds: float) -> Fault:
    """A byte now and then, never silent long enough to time out."""
    return lambda answer: Answer(answer.body, drip=seconds)


def instead(body: bytes, code: int = 200, kind: str = "application/xml", headers: tuple[tuple[str, str], ...] = ()) -> Fault:
    return lambda _: Answer(body, code, kind, headers)


class Archive:
    """The server. ``papers`` may change between requests; ``before`` is called with each visit before it is answered."""

    def __init__(self, papers: Sequence[Made] = (), *, clock: Clock | None = None, shape: str = "2026", page: int = 100) -> None:
        self.papers, self.shape, self.page = list(papers), shape, page
        self.announced: list[tuple[Made, str]] = []
        self.day = "2024-03-20"
        self.clock = clock or FakeClock()
        self.faults: list[Fault] = []
        self.visits: list[Visit] = []
        self.before: Callable[[Visit], None] | None = None
        self.withheld: set[str] = set()  # ids that the API and OAI leave out
        self.most_per_page = 2000
        self.overstated = 0  # papers that totals count and pages lack
        self.generation = 0  # tokens of earlier ones have run out
        self.most_together = 0
        self._together = multiprocessing.Value("i", 0)
        self._lock = threading.Lock()
        if isinstance(self.clock, FakeClock):
            self.clock.settle = self.settle

    def __enter__(self) -> Self:
        archive = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                archive._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(f"{self.url}/rss", f"{self.url}/api/query", f"{self.url}/oai")

    def polite(self, folder: Path, **options: Any) -> Polite:
        return Polite(**{"folder": folder, "clock": self.clock, "stall": 10.0, "rng": random.Random(0)} | options)

    def check_manners(self, interval: float = INTERVAL, slack: float = 1e-6) -> None:
        """The rules of the house, from this side of the wire: spacing, one connection, who asks and for what."""
        for before, after in zip(self.visits, self.visits[1:], strict=False):
            ended = before.arrived if before.ended is None else before.ended
            assert after.arrived - ended >= interval - slack, f"{after.arrived - ended:.3f} s after the last request"
        assert self.most_together <= 1
        assert all(visit.agent.startswith("diffolio/") and "xml" in visit.accept for visit in self.visits)

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        agent, accept = request.headers.get("User-Agent", ""), request.headers.get("Accept", "")
        visit = Visit(self.clock.now(), parts.path, query, agent, accept)
        with self._lock:
            self.visits.append(visit)
            self._together.value += 1
            self.most_together = max(self.most_together, self._together.value)
            fault = self.faults.pop(0) if self.faults else None
        try:
            if self.before:
                self.before(visit)
            answer = self._answer(visit)
            self._send(request, visit, fault(answer) if fault else answer)
        except OSError:
            pass  # the client went away
        finally:
            with self._lock:
                visit.ended = visit.ended or self.clock.now()
                self._together.value -= 1
            request.close_connection = True

    def settle(self) -> None:
        """Wait until this side has seen the end of every request: with a fake clock no time passes for that by itself."""
        for _ in range(2000):
            if not self._together.value:
                return
            time.sleep(0.001)
        raise AssertionError("a request never ended")

    def _send(self, request: BaseHTTPRequestHandler, visit: Visit, answer: Answer) -> None:
        # A client that gave up may be back before this thread wakes: the wait ends when it leaves.
        if answer.stall and _gone(request.connection, answer.stall):
            return
        request.send_response(answer.status)
        for name, value in (("Content-Type", answer.kind), ("Content-Length", str(len(answer.body))), *answer.headers):
            request.send_header(name, value)
        request.end_headers()
        if answer.drip:
            for byte in answer.body:
                request.wfile.write(bytes([byte]))
                if _gone(request.connection, answer.drip):
                    return
        else:
            visit.ended = self.clock.now()
            request.wfile.write(answer.body[: answer.cut])
        request.wfile.flush()

    def _answer(self, visit: Visit) -> Answer:
        if "xml" not in visit.accept:
            return Answer(b"Not Acceptable", 406, "text/plain")
        if visit.path.startswith("/api/"):
            return self._api(visit.query)
        if visit.path.startswith("/oai"):
            return Answer(self._oai(visit.query))
        write = documents.announcements_atom if visit.path.startswith("/atom") else documents.rss
        return Answer(write(self.announced, day=self.day), kind="text/xml; charset=ascii")  # a wrong header, as seen

    def _api(self, query: dict[str, str]) -> Answer:
        start, most = int(query.get("start", 0)), int(query.get("max_results", 10))
        if most > 2000 or start + most > 32_000:
            return Answer(documents.atom_error("max results must be at most 2000"), 400)
        shown = [paper for paper in self.papers if paper.id not in self.withheld and not paper.deleted]
        if "id_list" in query:
            wanted = query["id_list"].split(",")
            found = [paper for id in wanted for paper in shown if paper.id == id]
        else:
            search = query.get("search_query", "")
            window = re.search(r"submittedDate:\[(\d{12}) TO (\d{12})\]", search)
            low, high = window.groups() if window else ("0", "9")
            found = [paper for paper in shown if low <= re.sub(r"\D", "", paper.published)[:12] <= high]
            if categories := re.findall(r"cat:([\w.*-]+)", search):
                found = [p for p in found if any(c.startswith(k.rstrip(".*")) for k in categories for c in p.categories)]
            found.sort(key=lambda paper: (paper.published, paper.id))
        return Answer(
            documents.atom(
                found[start : start + min(most, self.most_per_page)],
                total=len(found) + self.overstated,
                start=start,
                shape=self.shape,
            )
        )

    def _oai(self, query: dict[str, str]) -> bytes:
        now = datetime.fromtimestamp(self.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if token := query.get("resumptionToken"):
            generation, begin, until, prefix, at = (*token.split("|"), "", "", "", "")[:5]
            if generation != str(self.generation):
                return documents.oai([], error="badResumptionToken", responded=now)
        else:
            begin, until, prefix, at = query["from"], query.get("until", "9999"), query["metadataPrefix"], "0"
        found = [paper for paper in self.papers if begin <= paper.changed <= until and paper.id not in self.withheld]
        found.sort(key=lambda paper: (paper.changed, paper.id))
        if not found:
            return documents.oai([], error="noRecordsMatch", responded=now)
        place = int(at)
        more = place + self.page < len(found)
        after = f"{self.generation}|{begin}|{until}|{prefix}|{place + self.page}" if more else ("" if place else None)
        return documents.oai(found[place : place + self.page], token=after, prefix=prefix, responded=now)


def _gone(connection: socket.socket, seconds: float) -> bool:
    """Wait, at most until the other side closes; whether it did."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    finally:
        connection.settimeout(None)


class RealClock(Clock):
    """The real time, for tests across processes with a scaled interval."""

    def now(self) -> float:
        return time.time()
