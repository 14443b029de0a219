"""Between the merged state of a paper (merge.State) and the rows of a library."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from diffolio.papers.identifiers import ARCHIVE_BITS, SERIAL_BITS
from diffolio.papers.links import links_of
from diffolio.papers.merge import BIT, FIELDS, HISTORY, Names, Said, State, Told, day_of, fold

COLUMNS = (
    "key", "title", "authors", "author_parts", "authors_cut", "abstract", "categories", "comments", "journal_ref", "doi",
    "licence", "published", "updated", "withdrawn", "extra", "version",
)  # fmt: skip
PLAIN = tuple(name for name in FIELDS if name != "authors")
KINDS = ("code", "project", "demo", "data", "doi", "other")
FLAGS = {kind: 1 << position for position, kind in enumerate(KINDS)} | {"cross": 64, "replaced": 128, "withdrawn": 256}
MONTH_BITS = SERIAL_BITS + ARCHIVE_BITS


def marks(n: int) -> str:
    """``n`` placeholders for a list in SQL."""
    return ",".join("?" * n)


def load(connection: sqlite3.Connection, keys: Sequence[int]) -> dict[int, State]:
    """The states of those of ``keys`` (at most 30,000) that are in the library."""
    among = f"IN ({marks(len(keys))})"
    states: dict[int, State] = {}
    for row in connection.execute(f"SELECT {', '.join(COLUMNS)} FROM paper WHERE key {among}", keys):
        told = dict(zip(COLUMNS, row, strict=True))
        values = {name: told[name] for name in PLAIN if told[name] is not None}
        if told["authors"] is not None:
            values["authors"] = Names(told["authors_cut"], told["authors"], told["author_parts"])
        states[row[0]] = State(row[0], values, version=told["version"])
    if not states:
        return states
    query = f"SELECT paper, source, version, retrieved, fields FROM fact WHERE paper {among}"
    for paper, source, version, retrieved, fields in connection.execute(query, keys):
        said = Said(source, version, retrieved)
        states[paper].said.update({name: said for name, bit in BIT.items() if fields & bit})
    for paper, n, *told, sources in connection.execute(
        f"SELECT paper, n, {', '.join(HISTORY)}, said FROM version WHERE paper {among}", keys
    ):
        states[paper].history[n] = {
            name: (int(code), value) for name, value, code in zip(HISTORY, told, sources, strict=True) if value is not None
        }
    query = f"SELECT paper, n, field, source, retrieved, value FROM version_text WHERE paper {among}"
    for paper, n, name, *told in connection.execute(query, keys):
        states[paper].texts[n, name] = Told(*told)
    for paper, *told in connection.execute(f"SELECT paper, day, type, version FROM announcement WHERE paper {among}", keys):
        states[paper].announced.add((told[0], told[1], told[2]))
    return states


def save(connection: sqlite3.Connection, states: Iterable[State], before: dict[int, dict[str, Any]]) -> None:
    """Write the states; ``before`` holds the values that the indexes know of papers that are already there."""
    rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    terms = dict(connection.execute("SELECT name, id FROM term"))
    for state in sorted(states, key=lambda state: state.key):  # ascending keys keep the indexes' writes together
        _collect(rows, state, before.get(state.key), terms)
    old = [(key,) for key in before]
    if old:
        for column in ("paper.key", "facet.key", "fact.paper", "link.paper", "version.paper", "version_text.paper"):
            table, name = column.split(".")
            connection.executemany(f"DELETE FROM {table} WHERE {name} = ?", old)
        connection.executemany("DELETE FROM announcement WHERE paper = ?", old)
    connection.executemany("INSERT OR IGNORE INTO term(id, name) VALUES (?, ?)", ((n, name) for name, n in terms.items()))
    for target, width in _TARGETS.items():
        if rows[target]:
            connection.executemany(f"{target} VALUES ({marks(width)})", rows[target])
    if rows["uncategory"]:
        connection.executemany("DELETE FROM category WHERE term = ? AND paper = ?", rows["uncategory"])
    if rows["category"]:
        connection.executemany("INSERT OR IGNORE INTO category(term, paper) VALUES (?, ?)", sorted(rows["category"]))
    _months(connection, rows["facet"], before)


# Statement -> number of values. A first value NULL inserts into a full-text index, 'delete' removes.
_PAPER = f"INSERT INTO paper({', '.join(COLUMNS)})"
_FACET = "INSERT INTO facet(key, published, updated, version, flags)"
_FACT = "INSERT INTO fact(paper, source, version, retrieved, fields)"
_LINK = "INSERT INTO link(paper, position, url, kind, found_in)"
_VERSION = f"INSERT INTO version(paper, n, {', '.join(HISTORY)}, said)"
_TEXT = "INSERT INTO version_text(paper, n, field, source, retrieved, value)"
_ANNOUNCED = "INSERT INTO announcement(paper, day, type, version)"
_WORDS = "INSERT INTO text(text, rowid, title, abstract)"
_NAMES = "INSERT INTO names(names, rowid, authors, comments)"
_TARGETS = {_PAPER: 16, _FACET: 5, _FACT: 5, _LINK: 5, _VERSION: 6, _TEXT: 6, _ANNOUNCED: 4, _WORDS: 4, _NAMES: 4}


def _collect(rows: dict[str, list[tuple[Any, ...]]], state: State, old: dict[str, Any] | None, terms: dict[str, int]) -> None:
    key, values = state.key, state.values
    get = values.get
    names: Names | None = get("authors")
    title, abstract, comments = get("title"), get("abstract"), get("comments")
    rows[_PAPER].append((
        key, title, names and names.names, names and names.parts, names.cut if names else 0, abstract, get("categories"),
        comments, get("journal_ref"), get("doi"), get("licence"), get("published"), get("updated"), get("withdrawn"),
        get("extra"), state.version,
    ))  # fmt: skip
    flags = (FLAGS["withdrawn"] if get("withdrawn") else 0) | (FLAGS["doi"] if get("doi") else 0)
    for position, link in enumerate(links_of(abstract, comments)):
        rows[_LINK].append((key, position, link.url, link.kind, link.found_in))
        flags |= FLAGS.get(link.kind, FLAGS["other"])
    for _, kind, _ in state.announced:
        flags |= (FLAGS["cross"] if "cross" in kind else 0) | (FLAGS["replaced"] if "replace" in kind else 0)
    if (state.version or 0) > 1:
        flags |= FLAGS["replaced"]
    facet = (key, day_of(get("published")), day_of(get("updated")), state.version, flags)
    rows[_FACET].append(facet)
    rows["facet"].append(facet)
    rows[_FACT] += [(key, *said, mask) for said, mask in _masks(state.said)]
    texts, history = fold(state)
    for n, told in history.items():
        if told or n not in (1, state.version):
            pairs = [told.get(name) for name in HISTORY]
            sources = "".join(["-" if pair is None else str(pair[0]) for pair in pairs])
            rows[_VERSION].append((key, n, *[pair and pair[1] for pair in pairs], sources))
    for place, text in texts.items():
        rows[_TEXT].append((key, *place, *text))
    rows[_ANNOUNCED] += [(key, *told) for told in state.announced]
    was = {} if old is None else old
    wrote: Names | None = was.get("authors")
    there = old is not None
    _index(rows[_WORDS], key, (title, abstract), (was.get("title"), was.get("abstract")), there)
    _index(rows[_NAMES], key, (names and names.names, comments), (wrote and wrote.names, was.get("comments")), there)
    _categorise(rows, key, get("categories"), was.get("categories"), terms)


def _masks(said: dict[str, Said]) -> list[tuple[Said, int]]:
    """Each source with the bits of the fields that it supplied."""
    fields: dict[Said, int] = {}
    for name, source in said.items():
        fields[source] = fields.get(source, 0) | BIT[name]
    return list(fields.items())


def _index(rows: list[tuple[Any, ...]], key: int, now: tuple[Any, ...], old: tuple[Any, ...], there: bool) -> None:
    if there and now == old:
        return
    if there:
        rows.append(("delete", key, *old))
    rows.append((None, key, *now))


def _categorise(rows: dict[str, list[Any]], key: int, now: str | None, old: str | None, terms: dict[str, int]) -> None:
    if now == old:
        return
    names = (now or "").split()
    if old:
        rows["uncategory"] += [(terms[name], key) for name in set(old.split()).difference(names)]
    for name in names:
        rows["category"].append((terms.setdefault(name, len(terms) + 1), key))


def _months(connection: sqlite3.Connection, facets: Iterable[tuple[Any, ...]], before: dict[int, Any]) -> None:
    """Count the new papers of each month, widen the bounds of their dates, forget the month's share of the fingerprint."""
    months: dict[int, list[int | None]] = defaultdict(lambda: [0, None, None])
    for key, published, *_ in facets:
        month = months[key >> MONTH_BITS]
        month[0] = (month[0] or 0) + (key not in before)
        if published:
            month[1] = min(month[1] or published, published)
            month[2] = max(month[2] or published, published)
    connection.executemany(
        "INSERT INTO month VALUES (?, ?, ?, ?, NULL) ON CONFLICT(month) DO UPDATE SET papers = papers + excluded.papers,"
        " first = min(ifnull(first, excluded.first), ifnull(excluded.first, first)),"
        " last = max(ifnull(last, excluded.last), ifnull(excluded.last, last)), digest = NULL",
        ((month, *told) for month, told in months.items()),
    )
