"""The limiter: over processes, over deaths and clocks that go back, and never online when told not to."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import filelock  # noqa: F401  (children inherit what is loaded)
import httpx  # noqa: F401
import pytest

from diffolio.errors import BadInput, Offline, SourceError
from diffolio.papers.pull import pull
from diffolio.papers.pull.answers import Response, retry_after
from diffolio.papers.pull.polite import INTERVAL, Polite
from diffolio.papers.store import Library
from tests.papers.documents import make
from tests.papers.server import START, Archive, FakeClock, RealClock


def test_the_default_is_arxivs_rule() -> None:
    assert INTERVAL == 3.0 and Polite.interval == 3.0 and Polite.name == "arxiv.org"


def _ask(url: str, folder: Path, times: int) -> None:
    polite = Polite(folder=folder, interval=0.15)
    for _ in range(times):
        polite.get(url, len)


def test_processes_share_one_line(tmp_path: Path) -> None:
    with Archive(make(3), clock=RealClock()) as archive:
        url = f"{archive.endpoints.api}?id_list=2403.00001"
        fork = multiprocessing.get_context("fork")
        workers = [fork.Process(target=_ask, args=(url, tmp_path, 3)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert len(archive.visits) == 9
        archive.check_manners(0.15)


def test_a_process_that_died_in_a_request_still_counts(tmp_path: Path) -> None:
    with Archive(make(3)) as archive:
        archive.before = lambda _: os.kill(child, signal.SIGKILL) if child else None
        url = f"{archive.endpoints.api}?id_list=2403.00001"
        child = os.fork()
        if not child:
            archive.polite(tmp_path).get(url, len)
            os._exit(0)
        os.waitpid(child, 0)
        child = 0
        assert json.loads((tmp_path / "arxiv.org.json").read_text())["open"] is True
        archive.settle()
        archive.polite(tmp_path).get(url, len)
        archive.check_manners()
        assert len(archive.visits) == 2


@pytest.mark.parametrize("told", ['{"ended": 9e12, "until": 9e12}', "{", "[]", '{"ended": "x"}'])
def test_a_clock_that_went_back_or_a_broken_note_costs_one_interval(tmp_path: Path, told: str) -> None:
    (tmp_path / "arxiv.org.json").write_text(told)
    with Archive(make(3)) as archive:
        archive.polite(tmp_path).get(f"{archive.endpoints.api}?id_list=2403.00001", len)
        assert sum(archive.clock.slept) <= 2 * INTERVAL  # type: ignore[attr-defined]


def test_waits_grow_are_bounded_and_differ(tmp_path: Path) -> None:
    def unreadable(_: bytes) -> int:
        raise BadInput("no document")

    first = set()
    for seed in range(3):
        clock = FakeClock()
        with Archive(clock=clock) as archive, pytest.raises(SourceError, match="no document"):
            archive.polite(tmp_path / str(seed), rng=random.Random(seed)).get(archive.endpoints.rss, unreadable)
        assert len(clock.slept) == 4
        assert all(3 * 2**n <= wait <= 1.25 * 3 * 2**n for n, wait in enumerate(clock.slept, start=1))
        first.add(clock.slept[0])
    assert len(first) == 3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "Wed, 20 Mar 2024 12:02:00 GMT"}, 120.0),
        ({"retry-after": "Wed, 20 Mar 2024 12:02:00 GMT", "date": "Wed, 20 Mar 2024 12:01:00 GMT"}, 60.0),
        ({"retry-after": "Wed, 20 Mar 2024 11:02:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(Response(429, headers, b"", ""), START) == seconds


@pytest.mark.parametrize("source", ["rss", "api", "oai"])
def test_offline_refuses_before_any_socket(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFOLIO_OFFLINE", "1")

    def no(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no)
    monkeypatch.setattr(socket, "getaddrinfo", no)
    with Library.open(tmp_path / "library.sqlite") as library, pytest.raises(Offline, match="DIFFOLIO_OFFLINE"):
        pull(library, source=source, sets=["cs.CV"], polite=Polite(folder=tmp_path / "state"))
    assert not (tmp_path / "state").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be kept in"):
        Polite(folder=tmp_path / "file", clock=FakeClock()).get("http://127.0.0.1:9/", len)


def test_the_client_loads_no_network_code_before_it_is_needed() -> None:
    code = "import sys, diffolio.papers.pull, diffolio.papers.bibtex, diffolio.papers.jsonl; print('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
