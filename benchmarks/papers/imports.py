"""Reading and writing digests: exactness on the real ones, round trips of made-up ones, speed, and broken files.

python benchmarks/papers/imports.py [-n 10000] [--only exact,faithful,clean,speed,broken]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.papers.common import SEEDS, row
from diffolio.errors import BadInput
from diffolio.papers import formats
from diffolio.papers.importing import import_files, original_bytes, read_issue
from diffolio.papers.record import Issue
from diffolio.papers.store import Library
from tests.papers.formats.generated import MAKERS, facts, plain_issue
from tests.papers.test_importing import FIXTURES, NAMES, RECORDS, mutated

COUNTS = {"000": 22, "001": 21, "002": 57, "003": 11, "004": 15}
FIELDS = ("id", "title", "abstract", "version", "url", "authors", "authors_cut", "categories", "date", "comments")


def seeds() -> dict[str, bytes]:
    return {path.name[:3]: path.read_bytes() for path in sorted(SEEDS.glob("00*.txt"))}


def exact() -> None:
    """The five real digests against the table of their papers."""
    data = seeds()
    if len(data) != 5:
        print("import exactness: the seed digests are absent, skipped")
        return
    issues = {name: read_issue(told) for name, told in data.items()}
    counts = {name: len(issue.entries) for name, issue in issues.items()}
    ids = [entry.id for issue in issues.values() for entry in issue.entries]
    row("entries of the five seeds", " ".join(map(str, counts.values())), "22 21 57 11 15", counts == COUNTS)
    row("ids of the five seeds", str(len(set(ids))), "126", len(set(ids)) == len(ids) == 126)
    badges = [int(issues[name].raw["count"]) == counts[name] for name in ("000", "001")]
    row("count badges agree, warnings", f"{sum(badges)} of 2, {sum(len(i.warnings) for i in issues.values())}", "2 of 2, 0",
        all(badges) and not any(issue.warnings for issue in issues.values()))  # fmt: skip
    table = SEEDS.parent / "catalog.json"
    if table.exists():
        rows = {told["id"]: told for told in json.loads(table.read_text(encoding="utf-8"))}
        wrong, cells = _against(issues, rows)
        row("fields against the table", f"{cells - wrong} of {cells}", "all", wrong == 0)
    back = sum(original_bytes(issues[name]) == told for name, told in data.items())
    row("seeds written back to the byte", f"{back} of 5", "5", back == 5)
    whole = sum("text" in entry.raw for issue in issues.values() for entry in issue.entries)
    row("entries kept whole instead of in parts", str(whole), "0", whole == 0)
    clean = sum(_same(issue, read_issue(formats.write(issue, mode="clean"))) for issue in issues.values())
    row("seeds' clean copies say the same", f"{clean} of 5", "5", clean == 5)
    _works(data)


def _against(issues: dict[str, Issue], rows: dict[str, dict]) -> tuple[int, int]:
    wrong = cells = 0
    for issue in issues.values():
        for entry in issue.entries:
            told = rows[entry.id]
            names = tuple(n for n in (told["authors"] or "").split(", ") if n and n != "et al.") or None
            pairs = [
                (entry.title, told["title"]), (entry.authors, names), (entry.date, told["submitted"]),
                (entry.authors_cut, (told["authors"] or "").endswith("et al.")),
                (entry.categories, tuple(told["categories"]) if told["categories"] else None),
            ]  # fmt: skip
            cells += len(pairs)
            wrong += sum(a != b for a, b in pairs)
    return wrong, cells


def _same(old: Issue, new: Issue) -> bool:
    pairs = zip(old.entries, new.entries, strict=True)
    return all(getattr(a, field) == getattr(b, field) for a, b in pairs for field in FIELDS)


def _works(data: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "l.sqlite") as library:
        paths = []
        for name, told in data.items():
            paths.append(Path(folder, name))
            paths[-1].write_bytes(told)
        import_files(library, paths)
        works = len(library) - sum(len(work.papers) - 1 for work in library.works("merged"))
        row("works of the five seeds", str(works), "125", works == 125)


def faithful(n: int) -> None:
    """Made-up issues: fields as made, and back to the byte."""
    for format, make in MAKERS.items():
        exact_bytes = exact_fields = entries = 0
        for seed in range(n):
            text, made = make(random.Random(f"{format} {seed}"))
            issue = formats.read(text)
            exact_bytes += formats.write(issue) == text
            exact_fields += [facts(format, e) for e in issue.entries] == [facts(format, e) for e in made]
            entries += len(made)
        told = f"{exact_bytes} of {n} ({entries} entries), fields {exact_fields}"
        row(f"faithful round trip, {format}", told, "all", exact_bytes == exact_fields == n)


def clean(n: int) -> None:
    """Made-up issues: written clean and imported again with all repairs on, field for field."""
    for format in MAKERS:
        same = 0
        for seed in range(n):
            issue = plain_issue(random.Random(f"clean {format} {seed}"), format)
            again = read_issue(formats.write(issue, mode="clean"))
            kept = [(getattr(again, name), getattr(issue, name)) for name in ("series", "topic", "first", "last")]
            same += all(a == b for a, b in kept) and [facts(format, e) for e in again.entries] == [
                facts(format, e) for e in issue.entries
            ]
        row(f"clean round trip, {format}", f"{same} of {n}", "all", same == n)


def speed() -> None:
    """Entries per second of processor time, reading from text in memory; the best of five."""
    for format, make in MAKERS.items():
        texts, entries = [], 0
        for seed in range(2000):
            text, made = make(random.Random(f"speed {seed}"))
            if made and len(text) < 100_000:
                texts.append(text)
                entries += len(made)
        best = min(_seconds(texts) for _ in range(5))
        bar = "20,000/s" if format == "topic-list" else "none"
        row(
            f"parse speed, {format}",
            f"{entries / best:,.0f} entries/s ({len(texts)} files)",
            bar,
            format != "topic-list" or entries / best >= 20_000,
        )
    data = seeds()
    if data:
        whole = [told.decode() for name, told in data.items() if name in ("000", "001")]
        best = min(_seconds(whole * 50) for _ in range(5))
        row("parse speed, topic-list, real files", f"{43 * 50 / best:,.0f} entries/s", "20,000/s", 43 * 50 / best >= 20_000)
        start = time.process_time()
        for _ in range(5):
            for told in data.values():
                read_issue(told)
        print(f"with all repairs: {126 * 5 / (time.process_time() - start):,.0f} entries/s over the five real files")


def _seconds(texts: list[str]) -> float:
    start = time.process_time()
    for text in texts:
        formats.read(text)
    return time.process_time() - start


def broken(n: int) -> None:
    """Mutated files into a library: an answer or a clear error, never half of a file. Times are of the processor: others may use it too."""
    originals = [(FIXTURES / f"{name}.md").read_bytes() for name in NAMES] + list(RECORDS.values()) + list(seeds().values())
    read = refused = crashed = half = 0
    slowest, where = 0.0, 0
    with tempfile.TemporaryDirectory() as folder, Library.open(Path(folder) / "library.sqlite") as library:
        path = Path(folder, "mutated")
        for number, data in enumerate(_mutations(originals, n)):
            path.write_bytes(data)
            before = _state(library)
            start = time.process_time()
            try:
                import_files(library, [path])
                read += 1
            except BadInput:
                refused += 1
                half += _state(library) != before
            except Exception as error:
                crashed += 1
                half += _state(library) != before
                print(f"mutation {number}: {type(error).__name__}: {error}"[:200])
            seconds = time.process_time() - start
            if seconds > slowest:
                slowest, where = seconds, number
        findings = library.doctor()
    row("mutated files without a crash", f"{n - crashed} of {n} ({read} read, {refused} refused)", "all", crashed == 0)
    row("slowest mutated file", f"{slowest:.2f} s (number {where})", "5 s", slowest <= 5)
    row("refused files that left something", str(half), "0", half == 0)
    print(f"the library afterwards: {len(findings)} findings of the doctor")


def _mutations(originals: list[bytes], n: int) -> Iterator[bytes]:
    for number in range(n):
        rng = random.Random(f"mutation {number}")
        yield mutated(rng.choice(originals), rng)


def _state(library: Library) -> tuple[int, int, int]:
    count = library.connection.execute("SELECT (SELECT count(*) FROM listing), (SELECT count(*) FROM fact)").fetchone()
    return len(library), *count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--only", default="exact,faithful,clean,speed,broken")
    given = parser.parse_args()
    parts = {"exact": exact, "faithful": lambda: faithful(given.n), "clean": lambda: clean(given.n), "speed": speed,
             "broken": lambda: broken(given.n)}  # fmt: skip
    for name in given.only.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
