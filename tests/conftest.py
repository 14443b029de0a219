"""What tests of several floors share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browsers import ARGS, FOUND


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """Chromium, for one module of tests: while Playwright runs, nothing else in the process may run an event loop of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    if FOUND is None:
        pytest.skip("no chromium is installed (DIFFOLIO_CHROMIUM names one)")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=FOUND, args=ARGS)
        yield chromium
        chromium.close()
