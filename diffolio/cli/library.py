"""Which library a command of ``diffolio papers`` works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffolio.errors import BadInput

if TYPE_CHECKING:
    from diffolio.papers.store import Library

At = Annotated[Path | None, typer.Option("--library", help="Library file; default: DIFFOLIO_LIBRARY or the user's data folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def library(path: Path | None, *, write: bool = False) -> Library:
    """The user's library. Reading where there is none yet shows the bundled catalogue and says so."""
    from diffolio.cli.runnables import Runnables
    from diffolio.papers.store import Library, default_path

    place = path or default_path()
    if write or place.exists():
        return Library.open(place, readonly=not write, methods=Runnables())
    if path is not None:
        raise BadInput(f"there is no library at {path}: import or pull papers into it first")
    from diffolio.cli.papers_show import note
    from diffolio.papers.bundled import bundled_library

    note("no library yet: this is the bundled catalogue; `diffolio papers import` or `pull` brings your own")
    return bundled_library(methods=Runnables())


def known(source: Library, id: str) -> Any:
    """The paper of an id, an error with what to do when the library lacks it."""
    paper = source.paper(id)
    if paper is None:
        raise BadInput(f"{id} is not in this library of {len(source)} papers: import a digest that lists it, or pull it")
    return paper
