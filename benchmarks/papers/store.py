"""How fast the library takes papers in, how much room it needs, and that the order of imports does not matter.

python benchmarks/papers/store.py [-n 100000] [--large] [--folder DIR] [--keep]

Made-up papers come in parts of 10,000, a transaction each; making them is not counted. Speed is told by the clock, which the
bar is on, and by processor time, which other work on the machine lengthens less. Text is title, abstract and authors in UTF-8.
The made-up abstracts hold 137 different stems in 1,113 characters, real ones about 113 in 1,340: their index is larger.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from common import SEEDS, peak_mb, row  # noqa: E402
from generate import records  # noqa: E402

from diffolio.papers.record import Record  # noqa: E402
from diffolio.papers.store import Library  # noqa: E402

PART = 10_000


def text_of(record: Record) -> int:
    """Bytes of title, abstract and authors."""
    names = "\n".join(author.name for author in record.authors or ())
    return sum(len(text.encode()) for text in (record.title or "", record.abstract or "", names))


def fill(path: Path, n: int, report: bool = True) -> tuple[float, float, int]:
    """Add ``n`` papers: seconds by the clock, seconds of the processor, bytes of text."""
    wall = cpu = 0.0
    text = 0
    stream = records(n)
    with Library.open(path) as library:
        for done in itertools.count(1):
            part = list(itertools.islice(stream, PART))
            if not part:
                break
            text += sum(map(text_of, part))
            start, begun = time.perf_counter(), time.process_time()
            library.add_records(part)
            wall, cpu = wall + time.perf_counter() - start, cpu + time.process_time() - begun
            if report and done % 10 == 0:
                print(f"  {done * PART:,} papers, {done * PART / wall:,.0f}/s by the clock", file=sys.stderr, flush=True)
    return wall, cpu, text


def increment(path: Path, n: int) -> float:
    """Seconds for a day: 500 papers that were not there and 500 whose next version has another title."""
    fresh = [replace(r, id=f"2501.{i:05}") for i, r in enumerate(records(500, seed=1), start=1)]
    with Library.open(path) as library:
        known = random.Random(0).sample(library.keys(), 500)
        changed = [
            Record(p.id, "oai", f"{p.title} anew", p.abstract, p.authors, categories=p.categories, version=(p.version or 0) + 1)
            for p in library.papers(known)
        ]
        start = time.perf_counter()
        counts = library.add_records(fresh + changed)
        seconds = time.perf_counter() - start
        assert (counts.new, counts.changed) == (500, 500), counts
    return seconds


def same_in_any_order(folder: Path) -> bool:
    """Whether the seeds' digests, or where they are absent five made-up parts that overlap, commute."""
    prints = set()
    files = sorted(SEEDS.glob("00*.txt"))
    parts = [
        [replace(r, source=source, version=v, title=f"{r.title} {v}", retrieved=f"2024-01-0{v}") for r in records(300)][v * 20 :]
        for v, source in enumerate(("oai", "api", "rss", "digest", "digest-repaired"), start=1)
    ]
    for turn, order in enumerate(itertools.islice(itertools.permutations(range(5)), 0, 120, 17)):
        with Library.open(folder / f"order-{turn}.sqlite") as library:
            for i in order:
                if files:
                    from diffolio.papers.importing import import_files

                    import_files(library, [files[i]])
                library.add_records(parts[i])
            prints.add(library.fingerprint())
    return len(prints) == 1


def measure(folder: Path, n: int) -> Path:
    path = folder / f"library-{n}.sqlite"
    wall, cpu, text = fill(path, n)
    bar = 8_000 if n <= 100_000 else 3_000
    row(f"store speed, {n:,} papers", f"{n / wall:,.0f}/s by the clock, {n / cpu:,.0f}/s of processor", f">= {bar:,}/s",
        n / wall >= bar)  # fmt: skip
    size = path.stat().st_size / text
    row(f"size, {n:,} papers", f"{size:.2f} x text ({path.stat().st_size / 1e9:.2f} GB)", "<= 1.8 x text", size <= 1.8)
    row("memory while storing", f"{peak_mb():.0f} MB", "< 1000 MB", peak_mb() < 1000)
    seconds = increment(path, n)
    row(f"daily increment of 1,000 into {n:,}", f"{seconds:.2f} s", "< 2 s", seconds < 2)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=100_000)
    parser.add_argument("--large", action="store_true", help="2,000,000 papers")
    parser.add_argument("--folder", type=Path, help="where the library is written (a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the library, for benchmarks/papers/search.py --library")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        same = same_in_any_order(Path(temporary))
        row("same fingerprint in any order of imports", "7 orders" if same else "orders differ", "equal", same)
        measure(given.folder if given.keep and given.folder else Path(temporary), 2_000_000 if given.large else given.n)


if __name__ == "__main__":
    main()
