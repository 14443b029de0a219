"""How fast the worlds draw on one core.

    OMP_NUM_THREADS=1 python benchmarks/worlds.py

Bars: tabletop 1,000 pictures/s, a solids view of 64x64 in under 10 ms, 300 frames/s of tabletop clips.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from diffolio.worlds import solids, tabletop
from diffolio.worlds.motion import render_clips, sample_scripts


def median(call: Callable[[], object], repeat: int = 7) -> float:
    """Seconds of one call, after one that warms up."""
    call()
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    scenes = tabletop.sample_scenes(256, 0)
    print(f"tabletop   {len(scenes) / median(lambda: tabletop.render(scenes, 64)):8.0f} pictures/s at 64x64 (bar 1000)")
    views = solids.sample_scenes(64, 0)
    for samples in (1, 2, 3):
        taken = median(lambda n=samples: solids.render(views, samples=n)) / len(views)  # type: ignore[misc]
        print(f"solids     {taken * 1e3:8.2f} ms a view at 64x64, {samples}x{samples} rays a pixel on edges (bar 10 ms)")
    scripts = sample_scripts(24, 0)
    print(f"motion     {24 * 8 / median(lambda: render_clips(scripts)):8.0f} frames/s at 64x64 (bar 300)")


if __name__ == "__main__":
    main()
