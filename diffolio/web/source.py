"""The library that the page reads: the user's, or the bundled catalogue where there is none yet."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffolio.cli.runnables import Runnables
from diffolio.errors import BadInput
from diffolio.papers.store import Library, default_path


class Source:
    """Opens the library anew for every question, so that an import or pull beside the page is seen at once."""

    def __init__(self, path: Path | None) -> None:
        if path is not None and not path.exists():
            raise BadInput(f"there is no library at {path}: import or pull papers into it first")
        self.path = path

    @property
    def place(self) -> Path:
        return self.path or default_path()

    @property
    def bundled(self) -> bool:
        return not self.place.exists()

    @contextmanager
    def open(self) -> Iterator[Library]:
        place = _catalogue() if self.bundled else self.place
        with Library.open(place, readonly=True, methods=runnables()) as library:
            yield library


@functools.cache
def runnables() -> Runnables:
    return Runnables()


@functools.cache
def _catalogue() -> Path:
    """The bundled catalogue as a library file, made once."""
    from diffolio.papers.bundled import bundled_library

    made = bundled_library(methods=runnables())
    atexit.register(made.close)
    return made.path
