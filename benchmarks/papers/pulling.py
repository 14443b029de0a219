"""Pulling against a server that misbehaves: every scenario, 200 kills at random points, and how fast a harvest is read.

python -m benchmarks.papers.pulling [--kills 200]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.papers.common import row
from diffolio.papers.pull import oai
from tests.papers import documents
from tests.papers.pull.kill import CALLS, killed_then_resumed, undisturbed
from tests.papers.pull.scenarios import SCENARIOS


def scenarios(folder: Path) -> None:
    """Each asserts its library, the spacing of three seconds and the one connection from the server's side."""
    failed = []
    start = time.perf_counter()
    for name, run in SCENARIOS.items():
        (folder / name).mkdir()
        try:
            run(folder / name)
        except Exception as error:
            failed.append(name)
            print(f"  {name}: {type(error).__name__}: {error}")
    figure = f"{len(SCENARIOS) - len(failed)} of {len(SCENARIOS)} in {time.perf_counter() - start:.0f} s, all ended"
    row("scenarios: library, >= 3 s, <= 1 connection", figure, "all", not failed)


def kills(folder: Path, times: int) -> None:
    """Half of the points are uniform over the events of a pull; SIGKILL, then the same call again."""
    rng = random.Random(0)
    equal = mannered = done = 0
    whole = {name: undisturbed(name, folder / name) for name in CALLS}
    for number in range(times):
        name = list(CALLS)[number % len(CALLS)]
        wanted, events = whole[name]
        got, manners = killed_then_resumed(name, folder / f"{number}", after=rng.randint(1, events - 1))
        done, equal, mannered = done + 1, equal + (got == wanted), mannered + manners
    points = sum(events for _, events in whole.values())
    row("killed at random points, then resumed", f"{equal} of {done} same library ({points} points)", "all of 200", equal == done)
    row("the same, seen from the server", f"{mannered} of {done} with >= 3 s and one connection", "all of 200", mannered == done)


def speed() -> None:
    """CPU seconds, the best of five: other processes share the machine."""
    for prefix in ("arXiv", "arXivRaw"):
        data = documents.oai(documents.make(5000), prefix=prefix)
        best = min(_seconds(data) for _ in range(5))
        row(
            f"OAI-PMH {prefix} parse speed",
            f"{5000 / best:,.0f} entries/s ({len(data) / 5e6:.1f} kB each)",
            ">= 20,000/s",
            5000 / best >= 20_000,
        )


def _seconds(data: bytes) -> float:
    start = time.process_time()
    assert sum(1 for _ in oai.read(data)) == 5000
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    speed()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        scenarios(Path(folder))
        kills(Path(folder), options.kills)


if __name__ == "__main__":
    main()
