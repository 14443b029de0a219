"""Papers of our own making for the tests of issues: plain ones, and one whose every text is an attack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffolio.papers.issue import Digest, compose
from diffolio.papers.record import Author, Entry, Issue, Record
from diffolio.papers.runnable import Runnable
from diffolio.papers.store import Library
from diffolio.papers.view import Summary

NOW = "2024-03-21T06:00:00Z"
METHODS = {
    "2403.12963": Runnable("2403.12963", "fouriscale", "resolution", "diffolio run fouriscale", "holds", "3.19 -> 1.91 (n=64)"),
    "2403.11111": Runnable("2403.11111", "slowdown", "acceleration", "diffolio run slowdown", "fails", "1.0 -> 1.2 (n=8)"),
}
EVIL = "</script><script>window.hacked=1</script><img src=x onerror='hacked=1'>"
ABSTRACT = (
    "Sampling at twice the trained size repeats objects. We trace the fault to fixed receptive fields and widen them in the "
    "frequency domain, without training. On sixteen layouts the count of objects is right twice as often."
)

SUMMARY = "We trace the fault to fixed receptive fields and widen them in the frequency domain, without training."


def records() -> list[Record]:
    people = (Author("Ana Müller", "Müller", "Ana"), Author("Bo Chen"), Author("Nguyễn Văn An"))
    plain = Record(
        "2403.12963", "oai", "Wide kernels for wide pictures", ABSTRACT, people, categories=("cs.CV", "cs.LG"),
        comments="12 pages. Code: https://github.com/example/wide-kernels", published="2024-03-19T17:59:00Z",
        updated="2024-03-19T17:59:00Z", version=1,
    )  # fmt: skip
    old = Record(
        "2312.00123", "oai", "Merging tokens by weight", "We merge tokens. It is fast.", people[:1], categories=("cs.CV",),
        published="2023-12-01T09:00:00Z", updated="2023-12-01T09:00:00Z", version=1,
    )  # fmt: skip
    revised = replace(
        old, title="Merging tokens by importance", abstract="We merge tokens by importance. It is twice as fast.", version=2,
        updated="2024-03-18T10:00:00Z", retrieved="2024-03-18",
    )  # fmt: skip
    evil = Record(
        "2403.06666", "api", f"A title {EVIL} with [brackets](javascript:alert(1)) and `ticks` & *stars* $x_1$",
        f"Abstract {EVIL} </details> ]]> --> # not a heading\n\n## nor this {{{{ 7*7 }}}} \\input{{x}} 50% a_b ‮txet", (
            Author(f"Eve {EVIL}"), Author("O'Neil, \"Bob\" <bob@example.org>")), categories=("cs.CR",),
        comments=f'{EVIL} "quoted" javascript:alert(1) https://example.org/"onmouseover="x', journal_ref="J & Sons </p>",
        doi='10.1/x"><script>hacked=1</script>', published="2024-03-16T00:00:00Z", version=1,
    )  # fmt: skip
    crowd = Record(
        "2403.11111", "oai", "Five hundred hands", "A study by many.", tuple(Author(f"Author {n:03}") for n in range(500)),
        categories=("hep-ex", "cs.LG"), published="2024-03-17T12:00:00Z", version=1,
    )  # fmt: skip
    bare = Record("2403.09999", "rss", "图像生成 بدون حدود 🙂", version=1, announced="new", retrieved="2024-03-15")
    cross = Record("2402.05555", "oai", "An older paper", "It walks slowly.", people[1:2], categories=("math.NA", "cs.LG"),
                   published="2024-02-10T00:00:00Z", version=1)  # fmt: skip
    crossed = Record("2402.05555", "rss", "An older paper", version=1, announced="cross", retrieved="2024-03-19")
    return [plain, old, revised, evil, crowd, bare, cross, crossed]


def issue() -> Issue:
    """A digest that listed an old paper again."""
    entry = Entry("2311.00007", {}, "Seen before", "An abstract of our own.", authors=("C. Duarte",), categories=("cs.CV",))
    return Issue("topic-list", "weekly-made", "diffusion", "2024-03-18", "2024-03-18", (entry,))


def library(folder: Path) -> Library:
    made = Library.open(folder / "library.sqlite", methods=METHODS)
    made.add_records(records())
    made.add_issue(issue(), sha256="0" * 64, raw=b"a digest")
    body = {"summary": SUMMARY, "takeaways": ["Counts are right three times as often.", "Made at the University of Nowhere."]}
    made.add_summary("2403.12963", Summary("en", "imported", body, 1, "weekly-made"))
    return made


def digest(made: Library, **options: object) -> Digest:
    told = {"first": "2024-03-15", "last": "2024-03-20", "now": NOW} | options
    return compose(made, str(told.pop("topic", "")), **told)  # type: ignore[arg-type]
