"""Looking a library over: what it holds, and what is damaged, missing or uncertain in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffolio.papers.identifiers import base_of
from diffolio.papers.record import SOURCES

if TYPE_CHECKING:
    from diffolio.papers.store import Library

_TABLES = {
    "papers": "paper", "issues": "issue", "listings": "listing", "links": "link", "repairs": "repair", "summaries": "summary",
    "works": "work WHERE status = 'merged'", "proposed works": "work WHERE status = 'proposed'", "likes": "mark WHERE kind = 'like'",
    "dislikes": "mark WHERE kind = 'dislike'",
}  # fmt: skip
_MISSING = ("title", "abstract", "authors", "categories", "published", "version")


@dataclass(frozen=True)
class Finding:
    """``level``: error (damaged), warning (missing or uncertain) or note; ``what`` happened, and what ``advice`` there is."""

    level: str
    what: str
    advice: str = ""


def stats(library: Library) -> dict[str, Any]:
    ask = library.connection.execute
    told: dict[str, Any] = {name: ask(f"SELECT count(*) FROM {table}").fetchone()[0] for name, table in _TABLES.items()}
    for name, day in zip(("first", "last"), ask("SELECT min(first), max(last) FROM month").fetchone(), strict=True):
        told[name] = None if day is None else f"{day:08}"[:4] + "-" + f"{day:08}"[4:6] + "-" + f"{day:08}"[6:]
    told["by year"] = dict(ask("SELECT month / 12, sum(papers) FROM month GROUP BY 1 ORDER BY 1").fetchall())
    top = "SELECT name, count(*) FROM category JOIN term ON term.id = category.term GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20"
    told["by category"] = dict(ask(top).fetchall())
    sources = ask("SELECT source, count(DISTINCT paper) FROM fact GROUP BY 1 ORDER BY 1")
    told["by source"] = {SOURCES[code]: count for code, count in sources}
    told["runnable"] = sum(id in library for id in library.methods)
    told["bytes"] = ask("PRAGMA page_count").fetchone()[0] * ask("PRAGMA page_size").fetchone()[0]
    return told


def doctor(library: Library) -> list[Finding]:
    found = [*_damage(library), *_missing(library)]
    ask = library.connection.execute
    uncertain = ask("SELECT count(DISTINCT paper) FROM repair WHERE confidence < 0.5 AND NOT undone").fetchone()[0]
    if uncertain:
        found.append(Finding("warning", f"{uncertain} papers hold a repaired text that is uncertain", "pull them from arXiv"))
    proposed = ask("SELECT count(*) FROM work WHERE status = 'proposed'").fetchone()[0]
    if proposed:
        found.append(Finding("note", f"{proposed} pairs of papers may be one work", "look at them and merge or refuse"))
    for series, last, warnings in ask("SELECT series, last, warnings FROM issue WHERE warnings <> '[]' ORDER BY 1, 2"):
        found.append(Finding("note", f"the issue {series} of {last} was odd: {warnings}"))
    return found


def _damage(library: Library) -> list[Finding]:
    ask = library.connection.execute
    found = [
        Finding("error", f"the file is damaged: {text}", "restore a copy, or import into a new library")
        for (text,) in ask("PRAGMA quick_check(5)").fetchall()
        if text != "ok"
    ]
    papers = ask("SELECT count(*) FROM paper").fetchone()[0]
    for table in ("facet", "text_docsize", "names_docsize"):
        rows = ask(f"SELECT count(*) FROM {table}").fetchone()[0]
        if rows != papers:
            found.append(Finding("error", f"{table} has {rows} rows for {papers} papers", "run Library.reindex()"))
    counted = ask("SELECT ifnull(sum(papers), 0) FROM month").fetchone()[0]
    if counted != papers:
        found.append(Finding("error", f"{counted} papers were counted by month, {papers} are there", "run Library.reindex()"))
    return found


def _missing(library: Library) -> list[Finding]:
    found = []
    for name in _MISSING:
        where = f"{name} IS NULL" + (" OR authors_cut" if name == "authors" else "")
        count, key = library.connection.execute(f"SELECT count(*), min(key) FROM paper WHERE {where}").fetchone()
        if count:
            what = "whole author list" if name == "authors" else name
            found.append(Finding("warning", f"{count} papers lack the {what}, as {base_of(key)}", "pull them from arXiv"))
    return found
