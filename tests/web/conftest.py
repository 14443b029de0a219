"""One page served for all tests of it, and a browser to look at it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Served:
    address: str
    runs: Path
    process: subprocess.Popen[str]


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``diffolio web`` on an empty machine: no library, no runs."""
    pytest.importorskip("gradio")
    place = tmp_path_factory.mktemp("served")
    port, runs = free_port(), place / "runs"
    surroundings = os.environ | {"DIFFOLIO_LIBRARY": str(place / "none.sqlite"), "DIFFOLIO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    surroundings |= {"OMP_NUM_THREADS": "1", "GRADIO_TEMP_DIR": str(place / "uploads")}
    command = [sys.executable, "-c", "from diffolio.cli import main; main()", "web", "--port", str(port), "--runs", str(runs)]
    process = subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{port}"
    wait_for(address, process)
    yield Served(address, runs, process)
    process.terminate()
    process.wait(10)


def wait_for(address: str, process: subprocess.Popen[str], seconds: float = 240) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert process.poll() is None, "the page ended while it was starting"
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no page at {address} within {seconds} s")


class Visitor:
    """A visitor with a browser of their own. Any request to elsewhere, script error or console error is kept in ``trouble``."""

    def __init__(self, browser, served: Served, **options: object) -> None:  # type: ignore[no-untyped-def]
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(25_000)
        self.served, self.trouble = served, []
        own = (served.address, "data:", "blob:")
        self.page.on("request", lambda request: None if request.url.startswith(own) else self.trouble.append(request.url))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("console", lambda told: self.trouble.append(told.text) if told.type == "error" else None)

    def open(self, query: str = ""):  # type: ignore[no-untyped-def]
        self.page.goto(self.served.address + query)
        self.page.wait_for_selector("article.paper" if not query else ".run-button >> visible=true", state="attached")
        return self.page

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    @property
    def panel(self):  # type: ignore[no-untyped-def]
        """The tab that is shown."""
        return self.page.locator("[role=tabpanel] >> visible=true").first

    def fill(self, label: str, value: str) -> None:
        self.panel.get_by_label(re.compile(rf"^\s*{label}(\s|$)")).first.fill(value)

    def knobs(self, name: str) -> None:
        """Wait until the knobs of a method are there."""
        self.page.get_by_role("button", name=f"Knobs of {name}").wait_for()

    def search(self, text: str) -> None:
        """Type into the search box, as a person does."""
        self.page.click("#q input")
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.type(text)

    def run(self) -> None:
        self.page.locator(".run-button >> visible=true").click()

    def status(self, text: str, timeout: float = 60_000) -> None:
        """Wait until the status of the run says so."""
        self.page.locator(".block.status >> visible=true").get_by_text(text).first.wait_for(timeout=timeout)

    def runs(self) -> set[str]:
        return {path.name for path in self.served.runs.iterdir()}

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def visitor(browser, served: Served) -> Iterator[Visitor]:  # type: ignore[no-untyped-def]
    came = Visitor(browser, served)
    yield came
    came.close()
    assert came.trouble == []
