"""The file of a library: opening it, transactions, and errors in words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from diffolio.errors import BadInput, LibraryError
from diffolio.papers import schema
from diffolio.papers.identifiers import base_of, key_of, parse_id
from diffolio.papers.runnable import Runnable


def default_path() -> Path:
    """``DIFFOLIO_LIBRARY`` or ``library.sqlite`` in the user's data folder."""
    if path := os.environ.get("DIFFOLIO_LIBRARY"):
        return Path(path).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("diffolio", appauthor=False)) / "library.sqlite"


class Room:
    """An open library file; the library's parts stand on it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, readonly: bool, methods: Mapping[str, Runnable]) -> None:
        self.connection, self.path, self.readonly, self.methods = connection, path, readonly, methods
        self._depth = 0

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | None = None, *, readonly: bool = False, methods: Mapping[str, Runnable] | None = None
    ) -> Self:
        """Open the library at ``path`` (see :func:`default_path`), creating it unless ``readonly``.

        ``methods`` says which papers can be run, by arXiv id. Raises LibraryError when the file cannot be used.
        """
        place = default_path() if path is None else Path(path)
        return cls(schema.connect(place, readonly=readonly), place, readonly, methods or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside succeed together or not at all. Nested transactions join the outer one."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        if self.readonly:
            raise LibraryError(f"the library {self.path} is open read-only")
        with self._explained():
            self.connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back on its own.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LibraryError(f"the library {self.path}: {schema.explain(error)}") from error
        except UnicodeEncodeError as error:
            raise BadInput(f"the text {error.object[:40]!a} holds half a character: decode it anew") from error

    def _known(self, id: str) -> int:
        key = paper_key(id)
        if not self.connection.execute("SELECT 1 FROM paper WHERE key = ?", (key,)).fetchone():
            raise BadInput(f"{base_of(key)} is not in the library: import or pull it first")
        return key


def paper_key(id: str) -> int:
    return key_of(parse_id(id).base)
