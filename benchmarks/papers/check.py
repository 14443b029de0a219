"""The fact check and the summaries against their bars.

python benchmarks/papers/check.py [-n 1000]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.papers.common import SEEDS, row
from benchmarks.papers.corruption import FINDINGS, KINDS, Case, corrupted, languages, made, real, untouched
from diffolio.papers.formats import read
from diffolio.papers.record import Author, Record
from diffolio.papers.summaries import SUPPORTED, check, extract

TESTS = Path(__file__).parents[2] / "tests" / "papers" / "summaries"
HONEST = 1000


def seed_records() -> list[Record]:
    """The records of the real digests, as their importers read them; none where they are not at hand."""
    found = []
    for path in sorted(SEEDS.glob("00[0-4]_*.txt")):
        for entry in read(path.read_text(encoding="utf-8")).entries:
            people = tuple(map(Author, entry.authors)) if entry.authors is not None else None
            found.append(Record(entry.id, "digest", entry.title, entry.abstract, people, entry.authors_cut, entry.categories,
                                entry.comments, version=entry.version))  # fmt: skip
    return found


def gold_rows() -> None:
    from tests.papers.summaries.gold import caught, gold, reports

    paths = sorted(SEEDS.glob("003_*.txt"))
    if not paths:
        row("gold set", "the seed is not at hand", "all marked errors", False)
        return
    found = reports(paths[0].read_text(encoding="utf-8"))
    hits: Counter[tuple[str, bool]] = Counter()
    all_of: Counter[tuple[str, bool]] = Counter()
    for error in gold():
        all_of[error.kind, error.marked] += 1
        hits[error.kind, error.marked] += caught(error, found[error.paper])
    for kind, name in zip("CLUF", ("contradicts", "loses", "not in the record", "form"), strict=True):
        n, of = hits[kind, True], all_of[kind, True]
        row(f"gold set, marked, {name}", f"{n} of {of} caught", "all", n == of)
    n, of = sum(v for (_, marked), v in hits.items() if not marked), sum(v for (_, marked), v in all_of.items() if not marked)
    row("gold set, unmarked", f"{n} of {of} caught", "reported (for a reader)", True)


def is_caught(case: Case) -> bool:
    a, b = case.touched
    assert case.kind
    found = check(case.text, case.record).findings
    return any(
        f.kind in FINDINGS[case.kind] and f.verdict != SUPPORTED and f.span[0] < b + 1 and a < f.span[1] + 1 for f in found
    )


def corruption_rows(n: int, records: list[Record], misses: list[Case] | None = None, seed: int = 2024) -> None:
    """``n`` corrupted summaries, evenly over the kinds: half of made-up records in nine languages, half of real ones."""
    rng = random.Random(seed)
    told = [record for record in records if record.abstract]
    for kind in KINDS:
        want, hit, got, tries = -(-n // len(KINDS)), 0, 0, 0
        while got < want and tries < 40 * want:
            tries += 1
            if told and tries % 2:
                case = real(rng.choice(told), rng.choice(told), kind, languages(rng), rng)
            else:
                case = corrupted(made(rng), made(rng), kind, languages(rng), rng)
            if case is None:
                continue
            got += 1
            ok = is_caught(case)
            hit += ok
            if not ok and misses is not None:
                misses.append(case)
        bar = 1.0 if kind in ("id", "author", "code") else 0.98
        row(f"planted errors found: {kind}", f"{hit / got:.3f} ({hit} of {got})", f">= {bar}", hit / got >= bar)


def untouched_rows(n: int, records: list[Record], alarms: list[tuple[str, str]] | None = None) -> None:
    """False alarms: extractive summaries of real and made-up records, and honest translations of made-up ones."""
    rng = random.Random(7)
    texts = records + [made(rng).record for _ in range(max(0, n - len(records)))]
    verbatim = alarm = statements = 0
    for record in texts[:n]:
        summary = extract(record)
        report = check(summary, record)
        statements += len(report.statements)
        verbatim += sum(b.span is not None and (record.abstract or "")[slice(*b.span)] == b.text for b in summary.bullets)
        wrong = [f for f in report.findings if f.verdict != SUPPORTED and f.kind != "form"]
        alarm += bool(wrong) or any(s.verdict != SUPPORTED for s in report.statements)
        if alarms is not None:
            alarms += [(record.id, f"{report.text[slice(*f.span)]}: {f.why}") for f in wrong]
    row("extractive summaries: verbatim", f"{verbatim} of {statements} sentences", "all", verbatim == statements)
    row("false alarms on untouched extractive ones", f"{alarm / n:.4f} ({alarm} of {n})", "<= 0.01", alarm / n <= 0.01)
    wrong = 0
    for _ in range(n):
        case = untouched(made(rng), languages(rng))
        bad = [f for f in check(case.text, case.record).findings if f.verdict != SUPPORTED and f.kind != "form"]
        wrong += bool(bad)
        if alarms is not None:
            alarms += [(case.record.id, f"{case.text[slice(*f.span)]}: {f.why}") for f in bad]
    row("false alarms on honest ones, nine languages", f"{wrong / n:.4f} ({wrong} of {n})", "<= 0.01", wrong / n <= 0.01)


def proposal_row(records: list[Record]) -> None:
    """The hand-marked sentence that says what the paper offers, known by the characters other than space before it."""
    marked = json.loads((TESTS / "proposals.json").read_text(encoding="utf-8"))
    known = [record for record in records if record.id in marked]
    if not known:
        row("proposal sentence in the summary", "the seeds are not at hand", ">= 0.90 of 126", False)
        return
    hit = 0
    for record in known:
        places = {len("".join((record.abstract or "")[: b.span[0]].split())) for b in extract(record).bullets if b.span}
        hit += any(abs(place - there) <= 3 for place in places for there in marked[record.id])
    row(
        "proposal sentence in the summary",
        f"{hit / len(known):.3f} ({hit} of {len(known)})",
        ">= 0.90 of 126",
        hit / len(known) >= 0.9,
    )


def speed_row(records: list[Record]) -> None:
    texts = records or [made(random.Random(i)).record for i in range(126)]
    check(extract(texts[0]), texts[0])
    begun = time.process_time()
    summaries = [extract(record) for record in texts]
    extracting = (time.process_time() - begun) / len(texts) * 1e3
    begun = time.process_time()
    for summary, record in zip(summaries, texts, strict=True):
        check(summary, record)
    checking = (time.process_time() - begun) / len(texts) * 1e3
    row("CPU time of an extractive summary", f"{extracting:.2f} ms, its check {checking:.2f} ms", "< 1 ms", extracting < 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=HONEST, help="how many corrupted and how many untouched summaries")
    parser.add_argument("--seed", type=int, default=2024, help="of the planted errors")
    parser.add_argument("--show", action="store_true", help="print what was missed and what was a false alarm")
    args = parser.parse_args()
    records, misses, alarms = seed_records(), [], []
    gold_rows()
    corruption_rows(args.n, records, misses, args.seed)
    untouched_rows(args.n, records, alarms)
    proposal_row(records)
    speed_row(records)
    if args.show:
        for case in misses:
            print(case.kind, case.record.id, repr(case.text[max(0, case.touched[0] - 60) : case.touched[1] + 40]))
        for alarm in alarms:
            print(*alarm)


if __name__ == "__main__":
    main()
