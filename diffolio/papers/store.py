"""The library: all papers, where each field came from, the issues that listed them and the user's marks, in one SQLite file.

    with Library.open() as library:
        library.add_records(records)
        paper = library.paper("2403.12963")

Every writing call is one transaction; :meth:`Library.transaction` joins several into one. Any order of the same imports ends
in the same library, which :meth:`Library.fingerprint` shows.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TextIO

from diffolio.errors import BadInput
from diffolio.papers import audit, export, rows, view
from diffolio.papers.identifiers import base_of, key_of, parse_id
from diffolio.papers.kept import MARKS, Kept
from diffolio.papers.merge import State, absorb, flat, unfold
from diffolio.papers.record import Author, Entry, Issue, Record
from diffolio.papers.room import default_path, paper_key
from diffolio.papers.view import Paper, Summary

__all__ = ["MARKS", "Counts", "Library", "default_path"]
BATCH = 5_000  # records merged at once: bounds memory


class Counts(NamedTuple):
    """How many papers a write found new, changed and the same."""

    new: int = 0
    changed: int = 0
    same: int = 0


class Library(Kept):
    """A library of papers; open it with :meth:`open` and use it as a context manager."""

    # Writing

    def add_records(self, records: Iterable[Record]) -> Counts:
        """Merge what sources say into the library, in one transaction. Raises BadInput on a wrong id or source."""
        new: set[int] = set()
        changed: set[int] = set()
        seen: set[int] = set()
        with self.transaction():
            iterator = iter(records)
            while batch := list(itertools.islice(iterator, BATCH)):
                self._merge(batch, new, changed, seen)
        return Counts(len(new), len(changed - new), len(seen) - len(changed | new))

    def _merge(self, records: Sequence[Record], new: set[int], changed: set[int], seen: set[int]) -> None:
        flats = [flat(record) for record in records]
        keys = {key for key, _, _ in flats}
        states = rows.load(self.connection, list(keys))
        before = {key: dict(state.values) for key, state in states.items()}
        dirty: dict[int, State] = {}
        for record, (key, said, values) in zip(records, flats, strict=True):
            state = states.get(key)
            if state is None:
                state = states[key] = dirty[key] = State(key)
                new.add(key)
            provenance = dict(state.said) if key not in dirty else None
            if absorb(state, record, said, values):
                changed.add(key)
                dirty[key] = state
            elif provenance is not None and provenance != state.said:
                dirty[key] = state
        rows.save(self.connection, dirty.values(), {key: old for key, old in before.items() if key in dirty})
        seen |= keys

    def add_issue(self, issue: Issue, *, sha256: str, raw: bytes) -> Counts:
        """Store a digest: its file as it was, its listings, repairs and summaries, and what it says of each paper.

        A file that is already there (by its hash) changes nothing.
        """
        with self.transaction():
            listed = [parse_id(entry.id) for entry in issue.entries]
            if self.connection.execute("SELECT 1 FROM issue WHERE sha256 = ?", (sha256,)).fetchone():
                return Counts(same=len({paper.base for paper in listed}))
            keys = [key_of(paper.base) for paper in listed]
            undone = self._undone(keys)
            said = [
                r for key, entry in zip(keys, issue.entries, strict=True) for r in _records(entry, issue, undone.get(key, {}))
            ]
            counts = self.add_records(said)
            number = self.connection.execute(
                "INSERT INTO issue(series, format, topic, first, last, sha256, raw, warnings) VALUES (?,?,?,?,?,?,?,?)",
                (issue.series, issue.format, issue.topic, issue.first, issue.last, sha256, zlib.compress(raw),
                 json.dumps(issue.warnings, ensure_ascii=False)),
            ).lastrowid  # fmt: skip
            self.connection.executemany(
                "INSERT INTO listing VALUES (?,?,?,?,?,?,?)",
                ((key, number, place, entry.version, entry.announced, *entry.lines)
                 for place, (key, entry) in enumerate(zip(keys, issue.entries, strict=True), start=1)),
            )  # fmt: skip
            self._stale(keys)
            self.add_repairs(None, issue.repairs, issue=number)
            for key, entry in zip(keys, issue.entries, strict=True):
                self.add_repairs(base_of(key), entry.repairs, issue=number)
                if entry.summary:
                    told = entry.summary
                    body = {"summary": told.summary, "takeaways": list(told.takeaways), "fields": told.fields}
                    self.add_summary(
                        base_of(key),
                        Summary(told.language, "imported", body, entry.version, issue.series, raw=told.raw, at=issue.last),
                    )
            return counts

    def _undone(self, keys: Sequence[int]) -> dict[int, dict[tuple[str, str], str]]:
        found: dict[int, dict[tuple[str, str], str]] = {}
        sql = "SELECT paper, field, after, before FROM repair WHERE undone AND paper IS NOT NULL ORDER BY id"
        for key, field, after, before in self.connection.execute(sql):
            found.setdefault(key, {})[field, after] = before
        return {key: found[key] for key in keys if key in found}

    def _stale(self, keys: Iterable[int]) -> None:
        """Forget the shares of the fingerprint that these papers belong to."""
        months = {(key >> rows.MONTH_BITS,) for key in keys}
        self.connection.executemany("UPDATE month SET digest = NULL WHERE month = ?", months)

    # Reading

    def __len__(self) -> int:
        return int(self.connection.execute("SELECT ifnull(sum(papers), 0) FROM month").fetchone()[0])

    def __contains__(self, id: str) -> bool:
        return self.connection.execute("SELECT 1 FROM paper WHERE key = ?", (paper_key(id),)).fetchone() is not None

    def paper(self, id: str) -> Paper | None:
        """The paper of an id in any spelling; None when it is not in the library. Raises BadInput when it is no id."""
        return next(iter(self.papers([id])), None)

    def papers(self, ids: Iterable[str | int]) -> list[Paper]:
        """The papers of these ids or keys, in that order, without those that are absent."""
        keys = [id if isinstance(id, int) else paper_key(id) for id in ids]
        with self._explained():
            parts = (keys[at : at + 1000] for at in range(0, len(keys), 1000))
            return [paper for part in parts for paper in view.papers(self.connection, part, self.methods)]

    def summaries(self, id: str) -> tuple[view.Summary, ...]:
        """The summaries of a paper; none when it is not in the library."""
        paper = self.paper(id)
        return paper.summaries if paper else ()

    def keys(self) -> list[int]:
        """The keys of all papers, ascending."""
        return [key for (key,) in self.connection.execute("SELECT key FROM facet ORDER BY key")]

    def records(self) -> Iterator[Record]:
        """Every merged record, by ascending key."""
        keys = self.keys()
        for at in range(0, len(keys), 1000):
            yield from (paper.record() for paper in self.papers(keys[at : at + 1000]))

    def texts(self) -> Iterator[tuple[int, str, str]]:
        """Key, title and abstract of every paper, by ascending key: the quick way to read all words."""
        for key, title, abstract in self.connection.execute("SELECT key, title, abstract FROM paper ORDER BY key"):
            yield key, title or "", abstract or ""

    def raw(self, sha256: str) -> bytes:
        """The file of an imported issue as it was."""
        row = self.connection.execute("SELECT raw FROM issue WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            raise BadInput(f"no issue with the hash {sha256!r} was imported")
        return zlib.decompress(row[0])

    def issues(self) -> list[dict[str, Any]]:
        """Every imported issue: series, format, topic, first, last, sha256, warnings; by series and date."""
        names = ("series", "format", "topic", "first", "last", "sha256", "warnings")
        found = self.connection.execute(f"SELECT {', '.join(names)} FROM issue ORDER BY series, last, sha256").fetchall()
        return [dict(zip(names, row, strict=True)) | {"warnings": json.loads(row[-1])} for row in found]

    # The whole

    def fingerprint(self) -> str:
        """64 hex digits, equal for equal contents: papers, provenance, versions and listings; not marks, nor times of imports."""
        with self._explained():
            return export.fingerprint(self)

    def export_jsonl(self, stream: TextIO) -> int:
        """Write every paper as one JSON line, sorted by key; the number of lines."""
        with self._explained():
            return export.write(self, stream)

    def stats(self) -> dict[str, Any]:
        """Counts of everything, the range of dates, the size in bytes."""
        with self._explained():
            return audit.stats(self)

    def reindex(self) -> None:
        """Build the indexes, filters and counts anew from the papers: what ``doctor`` advises where they do not agree."""
        with self.transaction():
            for index in ("text", "names", "summaries"):
                self.connection.execute(f"INSERT INTO {index}({index}) VALUES ('rebuild')")
            keys = [key for (key,) in self.connection.execute("SELECT key FROM paper ORDER BY key")]
            self.connection.execute("DELETE FROM facet")
            for at in range(0, len(keys), BATCH):
                states = rows.load(self.connection, keys[at : at + BATCH])
                for state in states.values():
                    unfold(state)
                rows.save(self.connection, states.values(), {key: dict(state.values) for key, state in states.items()})
            self.connection.execute("DELETE FROM month")
            self.connection.execute(
                f"INSERT INTO month SELECT key >> {rows.MONTH_BITS}, count(*), min(published), max(published), NULL"
                " FROM facet GROUP BY 1"
            )

    def doctor(self) -> list[audit.Finding]:
        """What is damaged, missing or uncertain, and what to do; an empty list when all is well."""
        with self._explained():
            return audit.doctor(self)


def _records(entry: Entry, issue: Issue, undone: Mapping[tuple[str, str], str]) -> list[Record]:
    """What a digest says of one paper. Repaired fields are less trusted, so they come as a record of their own."""
    told: dict[str, Any] = {
        "title": entry.title,
        "abstract": entry.abstract,
        "authors": tuple(Author(name) for name in entry.authors) if entry.authors else None,
        "categories": entry.categories,
        "comments": entry.comments,
        "published": entry.date,
    }
    for name, value in told.items():
        while isinstance(value, str) and (name, value) in undone:
            told[name] = value = undone[name, value]
    repaired = {repair.field for repair in entry.repairs}
    base = Record(entry.id, "digest", authors_cut=entry.authors_cut, version=entry.version, retrieved=issue.last)
    parts = {
        "digest": {name: value for name, value in told.items() if name not in repaired},
        "digest-repaired": {name: value for name, value in told.items() if name in repaired},
    }
    return [replace(base, source=source, **part) for source, part in parts.items() if part]
