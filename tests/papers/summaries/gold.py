"""The errors that one real issue makes, annotated by hand, and whether the check finds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diffolio.papers.formats import blog
from diffolio.papers.summaries import SUPPORTED, Report, check_imported

GOLD = Path(__file__).parents[1] / "gold_003.json"


@dataclass(frozen=True)
class Error:
    """``kind`` C contradicts, L loses, U is not in the record, F form; ``marked``: the check must find it.

    Each of ``needles`` must be touched by ``times`` findings of a kind in ``expect``.
    """

    paper: str
    kind: str
    marked: bool
    what: str
    needles: tuple[str, ...]
    expect: tuple[str, ...]
    times: int


def gold() -> list[Error]:
    told = json.loads(GOLD.read_text(encoding="utf-8"))
    return [Error(**{**one, "needles": tuple(one["needles"]), "expect": tuple(one["expect"])}) for one in told]


def reports(text: str) -> dict[str, Report]:
    """The check of every entry of a blog issue."""
    issue = blog.read(text)
    return {entry.id: check_imported(entry.summary, entry) for entry in issue.entries if entry.summary}


def caught(error: Error, report: Report) -> bool:
    return all(_touched(error, report, needle) >= error.times for needle in error.needles)


def _touched(error: Error, report: Report, needle: str) -> int:
    """How many findings of the expected kinds touch the needle: inside it, or around it."""
    places = list(_places(report.text, needle))
    found = [f for f in report.findings if f.kind in error.expect and f.verdict != SUPPORTED]
    return sum(any(a < f.span[1] and f.span[0] < b for a, b in places) for f in found)


def _places(text: str, needle: str) -> Iterator[tuple[int, int]]:
    start = text.find(needle)
    while start >= 0:
        yield start, start + len(needle)
        start = text.find(needle, start + 1)
