"""What it costs to write an issue of 10,000 papers in every format, and whether the page stays quick in a browser.

python benchmarks/papers/render.py [-n 10000] [--browser /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.papers import generate
from benchmarks.papers.common import peak_mb, row
from diffolio.papers.issue import Digest, compose
from diffolio.papers.render import FORMATS, render
from diffolio.papers.runnable import Runnable
from diffolio.papers.store import Library

SEARCHED = 5_000  # papers on the page whose search is timed
LAUNCH = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"
# One state of the search box, until the frame that shows the answer.
TYPE = """async (text) => {
  const q = document.getElementById("q"), frame = () => new Promise(requestAnimationFrame), start = performance.now();
  q.value = text;
  q.dispatchEvent(new Event("input", { bubbles: true }));
  await frame();
  await frame();
  return performance.now() - start;
}"""


def clock() -> float:
    """Seconds of this process's own work: other programs on the machine do not count."""
    return time.process_time()


def made(n: int, folder: Path) -> Digest:
    """An issue of ``n`` papers out of a made library; every fiftieth runs."""
    records = list(generate.records(n))
    runs = {r.id: Runnable(r.id, f"method{i}", "resolution", f"diffolio run method{i}", "holds", "3 -> 2 (n=8)")
            for i, r in enumerate(records) if i % 50 == 0}  # fmt: skip
    with Library.open(folder / "library.sqlite", methods=runs) as library:
        library.add_records(records)
        start = clock()
        digest = compose(library, first="1991-01-01", last="2030-01-01", now="2030-01-02T00:00:00Z")
        seconds = clock() - start
        row(f"compose an issue of {len(digest.entries):,} papers", f"{seconds:.1f} s", "<= 20 s", seconds <= 20)
    return digest


def written(digest: Digest) -> None:
    for format in FORMATS:
        start = clock()
        text = render(digest, format)
        seconds = clock() - start
        size = len(text.encode()) / 2**20
        same = render(digest, format) == text
        figure = f"{seconds:.1f} s, {size:.1f} MiB, {'same' if same else 'OTHER'} bytes twice"
        row(f"{format}, {len(digest.entries):,} papers", figure, "<= 10 s, same bytes", seconds <= 10 and same)


def searched(digest: Digest, browser: str, folder: Path) -> None:
    """Open the page and type a word letter by letter and back. Work is CPU time of the page's main thread, as the browser
    counts it; the waits beside it also hold what other programs on the machine take."""
    from playwright.sync_api import sync_playwright

    page_file = folder / "page.html"
    page_file.write_text(render(replace(digest, entries=digest.entries[:SEARCHED]), "html"), encoding="utf-8")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=LAUNCH.split())
        page = running.new_page(viewport={"width": 1280, "height": 900})
        counter = page.context.new_cdp_session(page)
        counter.send("Performance.enable", {"timeDomain": "threadTicks"})

        def work() -> float:
            told = {each["name"]: each["value"] for each in counter.send("Performance.getMetrics")["metrics"]}
            return 1000 * float(told["TaskDuration"])

        start, begun = time.perf_counter(), work()
        page.goto(page_file.as_uri())
        wall, ms = time.perf_counter() - start, work() - begun
        row(f"open the page of {SEARCHED:,} papers", f"work {ms / 1000:.1f} s (wait {wall:.1f} s)", "work <= 3 s", ms <= 3000)
        page.wait_for_timeout(5000)  # the search is indexed in idle time
        words = ["diffusion"[:n] for n in range(1, 10)]
        spent, waits = [], []
        for text in [*words, *words[-2::-1], ""]:
            begun = work()
            waits.append(page.evaluate(TYPE, text))
            spent.append(work() - begun)
        spent.sort()
        median, worst = spent[len(spent) // 2], spent[-1]
        load = f"wait {sorted(waits)[len(waits) // 2]:.0f} ms, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
        figure = f"work median {median:.0f}, worst {worst:.0f} ms ({load})"
        row(f"search as you type, {SEARCHED:,} papers", figure, "median 100, worst 400 ms", median <= 100 and worst <= 400)
        running.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("-n", type=int, default=10_000)
    arguments.add_argument("--browser", default="/usr/bin/chromium")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        digest = made(given.n, Path(folder))
        written(digest)
        if Path(given.browser).exists():
            searched(digest, given.browser, Path(folder))
        else:
            print(f"no browser at {given.browser}: the page's search is not timed")
    row("peak memory", f"{peak_mb():.0f} MB", "<= 1,000 MB", peak_mb() <= 1000)


if __name__ == "__main__":
    main()
