"""Take the pictures of the web page that the documentation shows: python -m docs.builder.screenshots [--out FOLDER]

It serves the page, runs one paper, and looks at each tab in Chromium, as the page's tests do.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browsers import ARGS, FOUND
from tests.web.conftest import Served, Visitor, free_port, wait_for

OUT = Path(__file__).parents[1] / "pictures"
LOADED = """() => [...document.querySelectorAll('img')].filter(i => i.checkVisibility() && i.getBoundingClientRect().top < innerHeight)
    .every(i => i.complete && i.naturalWidth > 0)"""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=Path, default=OUT)
    out = asked.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        runs, port = Path(place) / "runs", free_port()
        command = [sys.executable, "-c", "from diffolio.cli import main; main()", "web", "--port", str(port), "--runs", str(runs)]
        process = subprocess.Popen(
            command, env=os.environ | {"DIFFOLIO_LIBRARY": f"{place}/none.sqlite"}, stdout=subprocess.DEVNULL
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address, process)
            with sync_playwright() as playing:
                browser = playing.chromium.launch(executable_path=FOUND, args=ARGS)
                look(browser, Served(address, runs, process), out)
                browser.close()
        finally:
            process.terminate()
            process.wait(20)


def look(browser: Any, served: Served, out: Path) -> None:
    for scheme in ("light", "dark"):
        came = Visitor(browser, served, color_scheme=scheme)
        came.page.set_default_timeout(120_000)
        page, tail = came.open(), "" if scheme == "light" else "-dark"
        keep(page, out, f"web-digest{tail}")
        if scheme == "light":
            result(came, out)
            came.tab("Evidence")
            page.wait_for_selector("#evidence tbody tr")
            keep(page, out, "web-evidence")
        else:
            came.tab("Stack")
            page.locator("#pick-fouriscale input").check()
            page.get_by_text("not with fouriscale").first.wait_for()
            page.locator("#pick-importance_tome input").check()
            came.knobs("importance_tome")
            keep(page, out, "web-stack-dark")
        came.close()
    phone = Visitor(browser, served, viewport={"width": 390, "height": 844})
    keep(phone.open(), out, "web-phone")
    phone.close()


def result(came: Visitor, out: Path) -> None:
    """A paper with its knobs, then run, with the line between baseline and method."""
    came.page.goto(f"{came.served.address}?method=fouriscale")
    came.knobs("fouriscale")
    keep(came.page, out, "web-paper")
    came.fill("Prompt", "a red circle left of a blue star")
    came.run()
    came.status("Done.", timeout=300_000)
    came.page.locator(".pixels img >> visible=true").first.wait_for()
    came.page.locator(".run-button >> visible=true").scroll_into_view_if_needed()
    keep(came.page, out, "web-result")


def keep(page: Any, out: Path, name: str) -> None:
    page.wait_for_function(LOADED)
    page.wait_for_timeout(1500)  # for what slides into place
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        shot.convert("RGB").save(out / f"{name}.webp", quality=85, method=6)


if __name__ == "__main__":
    main()
