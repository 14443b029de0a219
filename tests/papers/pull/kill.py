"""Killing a pull (really: SIGKILL in a forked process) at a chosen event, and running it again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock  # noqa: F401  (children inherit what is loaded)
import httpx  # noqa: F401

from diffolio.papers.pull import pull
from diffolio.papers.pull.polite import Polite
from diffolio.papers.store import Library
from tests.papers.documents import Made, make
from tests.papers.server import Archive

SINCE = "2024-03-01"
CALLS: dict[str, dict[str, Any]] = {
    "oai": {"source": "oai", "since": SINCE},
    "api": {"source": "api", "sets": ["cs.CV"], "since": SINCE},
    "rss": {"source": "rss", "sets": ["cs.CV"]},
}


class Watched(Polite):
    """A limiter that reports what it does."""

    tick: Callable[[], None] = staticmethod(lambda: None)

    def _note(self, **told: Any) -> None:
        self.tick()
        super()._note(**told)
        self.tick()

    def _body(self, answer: Any) -> bytes:
        self.tick()
        body = super()._body(answer)
        self.tick()
        return body


def papers() -> list[Made]:
    made = make(90)
    return [*made[:80], *(replace(paper, deleted=True) for paper in made[80:83]), *made[83:]]


def archive() -> Archive:
    """Five pages of each source."""
    served = Archive(papers(), page=18)
    served.most_per_page = 18
    served.announced = [(paper, "new") for paper in served.papers[:40]]
    return served


def run(served: Archive, folder: Path, name: str, tick: Callable[[], None]) -> str:
    """The pull, with ``tick`` called at every statement to the database and every step of a request."""
    polite = Watched(folder=folder / "state", clock=served.clock, stall=10.0)
    polite.tick = tick  # type: ignore[method-assign]
    with Library.open(folder / "library.sqlite") as library:
        library.connection.set_trace_callback(lambda _: tick())
        pull(library, polite=polite, endpoints=served.endpoints, **CALLS[name])
        library.connection.set_trace_callback(None)
        return library.fingerprint()


def undisturbed(name: str, folder: Path) -> tuple[str, int]:
    """Fingerprint and number of events of a pull that nothing disturbs."""
    events = [0]

    def count() -> None:
        events[0] += 1

    with archive() as served:
        return run(served, folder / "calm", name, count), events[0]


def killed_then_resumed(name: str, folder: Path, after: int) -> tuple[str, bool]:
    """Kill the pull at event ``after``, run it again: the fingerprint, and whether the server saw good manners throughout."""
    folder.mkdir(parents=True, exist_ok=True)
    with archive() as served:
        child = os.fork()
        if not child:
            left = [after]

            def die() -> None:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                run(served, folder, name, die)
            finally:
                os._exit(1)
        _, how = os.waitpid(child, 0)
        assert os.WIFSIGNALED(how) and os.WTERMSIG(how) == signal.SIGKILL, "the pull ended before the chosen event"
        served.settle()
        print_ = run(served, folder, name, lambda: None)
        served.settle()
        try:
            served.check_manners()
        except AssertionError:
            return print_, False
        return print_, True
