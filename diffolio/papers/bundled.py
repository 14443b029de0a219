"""A library of the bundled catalogue, for those who have imported nothing yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from diffolio.papers.catalogue import Paper, catalogue
from diffolio.papers.record import Author, Record
from diffolio.papers.runnable import Runnable
from diffolio.papers.store import Library


def bundled_library(*, methods: Mapping[str, Runnable] | None = None) -> Library:
    """The catalogue's papers in a library that is gone when it is closed. They have no abstracts."""
    folder = tempfile.TemporaryDirectory(prefix="diffolio-")

    class Bundled(Library):
        def close(self) -> None:
            super().close()
            folder.cleanup()

    made = Bundled.open(Path(folder.name) / "library.sqlite", methods=methods)
    made.add_records(records())
    return made


def records() -> Iterator[Record]:
    """What the catalogue says, as a digest would."""
    return (_record(paper) for paper in catalogue())


def _record(paper: Paper) -> Record:
    names = [name.strip() for name in (paper.authors or "").split(",") if name.strip() and name.strip() != "et al."]
    return Record(
        paper.id, "digest", title=paper.title, authors=tuple(Author(name) for name in names) or None,
        authors_cut="et al." in (paper.authors or ""), categories=paper.categories or None, published=paper.submitted,
    )  # fmt: skip
