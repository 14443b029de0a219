"""How the benchmarks of the papers half print: one line per measure with its bar."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

SEEDS = Path(os.environ.get("DIFFOLIO_SEEDS", Path(__file__).parents[3] / "shared" / "seeds"))
ROWS: list[tuple[str, str, str, bool]] = []


def row(measure: str, figure: str, bar: str, ok: bool) -> None:
    """Print and keep one line of the table."""
    ROWS.append((measure, figure, bar, ok))
    print(f"{measure:<44} {figure:<42} bar {bar:<28} {'ok' if ok else 'MISSED'}", flush=True)


def timed(call: Callable[[], object], repeat: int = 1) -> float:
    """Seconds of one call, the median of ``repeat``."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]


def peak_mb() -> float:
    """The largest resident size of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def interval(hits: int, n: int, draws: int = 2000) -> tuple[float, float]:
    """A 95 % bootstrap interval of a share."""
    rng = random.Random(0)
    shares = sorted(sum(rng.random() < hits / n for _ in range(n)) / n for _ in range(draws))
    return shares[int(0.025 * draws)], shares[int(0.975 * draws) - 1]
