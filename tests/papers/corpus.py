"""A small library of made-up papers on three subjects whose words hardly overlap."""

from __future__ import annotations

import random
from pathlib import Path

from diffolio.papers.record import Author, Record
from diffolio.papers.store import Library

SUBJECTS = ("sails", "bread", "owls")
_USUAL = [f"usual{i}" for i in range(40)]
_OWN = {subject: [f"{subject[:3]}word{i}" for i in range(30)] for subject in SUBJECTS}


def paper(number: int, subject: str, rng: random.Random) -> Record:
    words = rng.choices(_USUAL, k=40) + rng.choices(_OWN[subject], k=12)
    rng.shuffle(words)
    return Record(
        id=f"2401.{number:05}",
        source="api",
        title=f"On {subject} {number}",
        abstract=" ".join(words) + ".",
        authors=(Author("Ada Example"),),
        categories=("cs.CV",),
        published="2024-01-02T00:00:00Z",
    )


def papers(n: int = 180, seed: int = 0) -> list[Record]:
    """Paper i is about ``SUBJECTS[i % 3]``; numbers begin at 1."""
    rng = random.Random(seed)
    return [paper(i, SUBJECTS[i % 3], rng) for i in range(1, n + 1)]


def subject_of(id: str) -> str:
    return SUBJECTS[int(id[-5:]) % 3]


def ids_about(subject: str, n: int = 180) -> list[str]:
    return [f"2401.{i:05}" for i in range(1, n + 1) if SUBJECTS[i % 3] == subject]


def library_at(folder: Path, records: list[Record] | None = None) -> Library:
    library = Library.open(folder / "library.sqlite")
    library.add_records(papers() if records is None else records)
    return library
