"""From an expression tree to SQL: what the full-text indexes answer, what sets of papers, what tests on single rows.

A plan is a conjunction. One part drives: it is walked from the newest paper to the oldest, the others are asked about each
paper that it gives. Sets that SQLite must gather before it can ask are gathered for one window of keys at a time.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from diffolio.papers.facets import Days, KeySet, Test, condition
from diffolio.papers.identifiers import month_key
from diffolio.papers.nodes import And, Fact, Id, Node, Not, Or, SameAuthor, Words
from diffolio.papers.rows import MONTH_BITS
from diffolio.papers.stemming import fold_name, split_words

if TYPE_CHECKING:
    from diffolio.papers.store import Library

INDEX = {"text": "text", "title": "text", "abstract": "text", "author": "names", "comment": "names"}
_COLUMN = {"title": "title : ", "abstract": "abstract : ", "author": "authors : ", "comment": "comments : "}
FEW = 2_000  # a driver with fewer papers is asked first, whatever it is
WINDOW = 60_000  # papers of the newest window; each further one is four times as large


@dataclass
class Plan:
    """``matches``: index -> full-text expression; ``sets`` and ``tests`` must hold too. Keys lie within low..high.

    ``ranking``: index -> expression whose bm25 is the score; ``windowed``: some part must be gathered first.
    """

    low: int = 0
    high: int = month_key(10_000, 1)
    matches: dict[str, str] = field(default_factory=dict)
    sets: list[KeySet] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    ranking: dict[str, str] = field(default_factory=dict)
    windowed: bool = False


def make(root: Node | None, library: Library, today: date) -> Plan:
    """The plan of a query. Raises QueryError where a fact has no meaning."""
    plan = Plan()
    parts = () if root is None else root.parts if isinstance(root, And) else (root,)
    wanted: dict[str, list[str]] = {}
    excluded: dict[str, list[tuple[Node, str]]] = {}
    for part in parts:
        index, inner = index_of(part), part.part if isinstance(part, Not) else None
        if index and (text := fts(part, index)):
            wanted.setdefault(index, []).append(text)
        elif inner and (index := index_of(inner)) and (text := fts(inner, index)):
            excluded.setdefault(index, []).append((part, text))
        elif isinstance(part, Fact) and not isinstance(found := condition(part, library, today), Test):
            if isinstance(found, KeySet):
                plan.sets.append(found)
            else:
                plan.low, plan.high = max(plan.low, found.low), min(plan.high, found.high)
                plan.tests.append(found.test)
        elif isinstance(part, Id):
            plan.low, plan.high = max(plan.low, part.key), min(plan.high, part.key)
        elif isinstance(part, Words):  # in summaries
            plan.sets.append(_summaries(part))
        else:
            plan.tests.append(test(part, library, today))
            plan.windowed |= not isinstance(part, SameAuthor | Fact)
    for index, texts in wanted.items():
        plan.matches[index] = _and(list(dict.fromkeys(texts)), [text for _, text in excluded.pop(index, [])])
    for left in excluded.values():
        plan.tests += [test(part, library, today) for part, _ in left]
        plan.windowed = True
    plan.windowed |= bool(plan.sets) or len(plan.matches) > 1
    hidden = library.connection.execute("SELECT 1 FROM mark WHERE kind = 'hidden'").fetchone()
    if hidden and not _asks_hidden(root):
        plan.tests.append(Test("f.key NOT IN (SELECT paper FROM mark WHERE kind = 'hidden')"))
    _rank(plan, root, parts)
    return plan


def index_of(node: Node) -> str | None:
    """The full-text index that can answer the whole of ``node``; None when there is none."""
    if isinstance(node, Words):
        return INDEX.get(node.field)
    if isinstance(node, Not):
        return index_of(node.part)
    if isinstance(node, And | Or):
        found = {index_of(part) for part in node.parts}
        return found.pop() if len(found) == 1 else None
    return None


def fts(node: Node, index: str) -> str | None:
    """``node`` in the language of FTS5, every word quoted; None where FTS5 has no expression for it (a lone NOT)."""
    if isinstance(node, Words):
        quoted = '"' + node.text.replace('"', '""') + '"'
        return _COLUMN.get(node.field, "") + quoted + (" *" if node.prefix else "")
    if isinstance(node, Or):
        texts = [fts(part, index) for part in node.parts]
        return "(" + " OR ".join(map(str, texts)) + ")" if all(texts) else None
    if isinstance(node, And):
        wanted = [fts(part, index) for part in node.parts if not isinstance(part, Not)]
        excluded = [fts(part.part, index) for part in node.parts if isinstance(part, Not)]
        if wanted and all(wanted) and all(excluded):
            return _and([str(text) for text in wanted], [str(text) for text in excluded])
    return None


def _and(wanted: list[str], excluded: list[str]) -> str:
    text = "(" + " AND ".join(wanted) + ")"
    return f"({text} NOT ({' OR '.join(excluded)}))" if excluded else text


def test(node: Node, library: Library, today: date) -> Test:
    """``node`` as a condition on one row; :low and :high bound the window."""
    if isinstance(node, Not):
        inner = test(node.part, library, today)
        return Test(f"NOT ({inner.sql})", inner.values)
    if isinstance(node, Id):
        return Test("f.key = ?", (node.key,))
    if isinstance(node, SameAuthor):
        sql = "one_author((SELECT authors FROM paper WHERE paper.key = f.key), ?, ?)"
        return Test(sql, ("\n".join(node.parts), "\n".join(node.prefixes)))
    if isinstance(node, Fact):
        found = condition(node, library, today)
        return _member(found) if isinstance(found, KeySet) else found.test if isinstance(found, Days) else found
    index = index_of(node)
    if index and (text := fts(node, index)):
        return Test(f"f.key IN (SELECT rowid FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN :low AND :high)", (text,))
    if isinstance(node, Words):
        return _member(_summaries(node))
    assert isinstance(node, And | Or)
    tests = [test(part, library, today) for part in node.parts]
    word = " AND " if isinstance(node, And) else " OR "
    return Test("(" + word.join(part.sql for part in tests) + ")", tuple(itertools.chain(*(part.values for part in tests))))


def _member(found: KeySet) -> Test:
    return Test(f"f.key IN (SELECT key FROM ({found.sql}) WHERE key BETWEEN :low AND :high)", found.values)


def _summaries(words: Words) -> KeySet:
    """Papers with a summary that holds the text; an index of three letters at a time cannot find shorter ones."""
    if len(words.text) < 3:
        sql = "SELECT DISTINCT paper AS key FROM summary WHERE instr(lower(text), lower(?))"
        return KeySet(sql, (words.text,))
    sql = "SELECT DISTINCT paper AS key FROM summary WHERE id IN (SELECT rowid FROM summaries WHERE summaries MATCH ?)"
    return KeySet(sql, ('"' + words.text.replace('"', '""') + '"',))


def _asks_hidden(node: Node | None) -> bool:
    if isinstance(node, And | Or):
        return any(map(_asks_hidden, node.parts))
    if isinstance(node, Not):
        return _asks_hidden(node.part)
    return isinstance(node, Fact) and node.field == "is" and node.value.lower() == "hidden"


def _positive(node: Node | None) -> Iterator[Words]:
    if isinstance(node, And | Or):
        for part in node.parts:
            yield from _positive(part)
    elif isinstance(node, Words):
        yield node


def _rank(plan: Plan, root: Node | None, parts: tuple[Node, ...]) -> None:
    """What to score: every wanted word, wherever it stands.

    Words that must all be there are scored by the expression that finds them. Of others a flat list is made, because inside
    nested expressions FTS5 leaves open whether a word that did not decide counts.
    """
    for index in ("text", "names"):
        words = dict.fromkeys(word for word in _positive(root) if INDEX.get(word.field) == index)
        needed = [part for part in parts if isinstance(part, Words) and INDEX.get(part.field) == index]
        if words and set(needed) == set(words):
            plan.ranking[index] = plan.matches[index]
        elif words:
            plan.ranking[index] = " OR ".join(filter(None, (fts(word, index) for word in words)))


def one_author(authors: str | None, parts: str, prefixes: str) -> bool:
    """Whether one of the names (a line each) holds all parts and a word with each of the beginnings."""
    wanted, begun = parts.split("\n") if parts else [], prefixes.split("\n") if prefixes else []
    for name in fold_name(authors or "").split("\n"):
        if all(part in name for part in (*wanted, *begun)):  # splitting every name would take most of the time
            words = split_words(name)
            if all(part in words for part in wanted) and all(any(word.startswith(b) for word in words) for b in begun):
                return True
    return False


def windows(plan: Plan, connection: sqlite3.Connection, newest: bool) -> Iterator[tuple[int, int]]:
    """Ranges of keys, from the newest (or oldest) on, small first so that what is common is found early."""
    if not plan.windowed:
        yield plan.low, plan.high
        return
    months = connection.execute(f"SELECT month, papers FROM month ORDER BY month {'DESC' if newest else ''}").fetchall()
    size, count, edge = WINDOW, 0, plan.high if newest else plan.low
    for month, papers in months:
        count += papers
        if count < size:
            continue
        end = max(plan.low, month << MONTH_BITS) if newest else min(plan.high, ((month + 1) << MONTH_BITS) - 1)
        if (end > edge) if newest else (end < edge):
            continue  # this month lies outside what the plan asks for
        yield (end, edge) if newest else (edge, end)
        edge, size, count = (end - 1, size * 4, 0) if newest else (end + 1, size * 4, 0)
    if (edge >= plan.low) if newest else (edge <= plan.high):
        yield (plan.low, edge) if newest else (edge, plan.high)


def run(plan: Plan, connection: sqlite3.Connection, low: int, high: int, most: int, *, newest: bool = True) -> list[int]:
    """The keys within low..high that satisfy the plan, at most ``most``, from the newest (or oldest) on."""
    driver = _driver(plan, connection, low, high)
    values: list[Any] = []
    conditions: list[str] = []
    if driver in plan.matches:
        source, key = f"{driver}", f"{driver}.rowid"
        conditions.append(f"{driver} MATCH ?")
        values.append(plan.matches[str(driver)])
    elif isinstance(driver, KeySet):
        source, key = f"({driver.sql}) AS d", "d.key"
        values = list(driver.values) + values
    else:
        source, key = "facet f", "f.key"
    conditions.append(f"{key} BETWEEN :low AND :high")
    few = isinstance(driver, KeySet) or (driver == "names" and "text" in plan.matches)
    for index, text in plan.matches.items():
        if index != driver:
            inside = f"{index} MATCH ? AND {index}.rowid"
            conditions.append(f"EXISTS (SELECT 1 FROM {index} WHERE {inside} = f.key)" if few else
                              f"f.key IN (SELECT rowid FROM {index} WHERE {inside} BETWEEN :low AND :high)")  # fmt: skip
            values.append(text)
    for part in [_member(found) for found in plan.sets if found is not driver] + plan.tests:
        conditions.append(part.sql)
        values += part.values
    if key != "f.key" and len(conditions) > (1 if isinstance(driver, KeySet) else 2):
        source += f" CROSS JOIN facet f ON f.key = {key}"
    sql = f"SELECT {key} FROM {source} WHERE {' AND '.join(conditions)} ORDER BY {key} {'DESC' if newest else ''} LIMIT ?"
    return [key for (key,) in connection.execute(*_named(sql, [*values, most], low, high))]


def _named(sql: str, values: list[Any], low: int, high: int) -> tuple[str, dict[str, Any]]:
    """Number the question marks: they cannot stand beside named parameters."""
    pieces = sql.split("?")
    text = "".join(f"{piece}:v{i}" for i, piece in enumerate(pieces[:-1])) + pieces[-1]
    return text, {f"v{i}": value for i, value in enumerate(values)} | {"low": low, "high": high}


def _driver(plan: Plan, connection: sqlite3.Connection, low: int, high: int) -> str | KeySet | None:
    """The part that gives the fewest papers, as far as counting to FEW can tell; else the text."""
    choices: list[tuple[str | KeySet, str, tuple[Any, ...]]] = [
        *((found, f"SELECT 1 FROM ({found.sql}) WHERE key BETWEEN :low AND :high", found.values) for found in plan.sets),
        *((index, f"SELECT 1 FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN :low AND :high", (text,))
          for index, text in sorted(plan.matches.items())),
    ]  # fmt: skip
    if len(choices) < 2:
        return choices[0][0] if choices else None
    counts = [
        connection.execute(*_named(f"SELECT count(*) FROM ({sql} LIMIT {FEW})", list(values), low, high)).fetchone()[0]
        for _, sql, values in choices
    ]
    if min(counts) < FEW:
        return choices[counts.index(min(counts))][0]
    return "text" if "text" in plan.matches else choices[-1][0]
