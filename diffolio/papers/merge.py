"""Merging what several sources say of one paper, so that any order of arrival ends in the same state.

Of every field the statement with the highest rank is kept: trust first, then completeness, the version it describes, when
the source said it, and as a last resort the value itself. A maximum under a total order does not depend on the order of its
arguments; that is why imports commute.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from diffolio.errors import unknown
from diffolio.papers.identifiers import key_of, parse_id
from diffolio.papers.record import SOURCES, Author, Record, Version

# The position is a bit in the table ``fact``: append, never reorder.
FIELDS = (
    "title", "abstract", "authors", "categories", "comments", "journal_ref", "doi", "licence", "published", "updated",
    "withdrawn", "extra",
)  # fmt: skip
BIT = {name: 1 << position for position, name in enumerate(FIELDS)}
_SOURCE = {source: code for code, source in enumerate(SOURCES)}
# arXiv's two complete interfaces are trusted alike: of them the later version speaks.
_TRUST = tuple(-max(code, 1) for code in range(len(SOURCES)))
TEXTS = ("title", "abstract")
HISTORY = ("submitted", "source_type", "size")

_HALF = re.compile("[\ud800-\udfff]")


class Said(NamedTuple):
    """Who said a field: the position in SOURCES, the version it described (0 unknown), when ('' unknown)."""

    source: int
    version: int
    retrieved: str


class Told(NamedTuple):
    """The text of one version: who said it, when, and what."""

    source: int
    retrieved: str
    value: str


class Names(NamedTuple):
    """Authors as stored: one name a line; ``parts`` is JSON of [family, given, affiliation], None where nobody has any."""

    cut: int
    names: str
    parts: str | None


@dataclass
class State:
    """One paper as stored. ``values`` by field; ``history`` version -> {attribute: (source, value)};
    ``texts`` (version, field) -> what the title or abstract of that version was."""

    key: int
    values: dict[str, Any] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)
    version: int | None = None
    history: dict[int, dict[str, tuple[int, str]]] = field(default_factory=dict)
    texts: dict[tuple[int, str], Told] = field(default_factory=dict)
    announced: set[tuple[str, str, int]] = field(default_factory=set)


def rank(said: Said, value: Any) -> tuple[int, int, int, str, int, str]:
    """The order in which statements win; larger wins."""
    whole = 1 - value.cut if isinstance(value, Names) else 1
    return _TRUST[said.source], whole, said.version, said.retrieved, -said.source, str(value)


def flat(record: Record) -> tuple[int, Said, dict[str, Any]]:
    """The key, the provenance and the values that ``record`` states. Raises BadInput on a wrong id or source."""
    paper = parse_id(record.id)
    source = _SOURCE.get(record.source)
    if source is None:
        raise unknown("source", record.source, SOURCES)
    version = record.version or paper.version or 0
    values: dict[str, Any] = {}
    for name, value in (
        ("title", record.title), ("abstract", record.abstract), ("comments", record.comments),
        ("journal_ref", record.journal_ref), ("doi", record.doi), ("licence", record.licence),
        ("published", record.published), ("updated", record.updated),
    ):  # fmt: skip
        if value:
            values[name] = value if value.isascii() else whole(value)
    if record.authors:
        values["authors"] = _names(record.authors, record.authors_cut)
    if record.categories:
        values["categories"] = " ".join(record.categories)
    if record.withdrawn or source < 2:  # only arXiv's complete records can say that a paper is not withdrawn
        values["withdrawn"] = int(record.withdrawn)
    if record.extra:
        values["extra"] = whole(json.dumps(record.extra, ensure_ascii=False, sort_keys=True, default=str))
    return key_of(paper.base), Said(source, version, record.retrieved or ""), values


def whole(text: str) -> str:
    """``text`` with U+FFFD for halves of characters (lone surrogates), which no file can hold."""
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def _names(authors: Iterable[Author], cut: bool) -> Names:
    names = whole("\n".join([" ".join(author.name.split()) for author in authors]))
    if any(author.family or author.given or author.affiliation for author in authors):
        parts = [[author.family, author.given, author.affiliation] for author in authors]
        return Names(int(cut), names, whole(json.dumps(parts, ensure_ascii=False)))
    return Names(int(cut), names, None)


def authors_of(value: Names) -> tuple[Author, ...]:
    """The inverse of the stored form."""
    names = value.names.split("\n")
    if value.parts is None:
        return tuple(Author(name) for name in names)
    return tuple(Author(name, *part) for name, part in zip(names, json.loads(value.parts), strict=True))


def absorb(state: State, record: Record, said: Said, values: dict[str, Any]) -> bool:
    """Merge one record (as :func:`flat` gave it) into ``state``; True when anything but provenance changed."""
    if not state.said:
        state.values, state.said, changed = values, dict.fromkeys(values, said), True
    else:
        unfold(state)
        changed = _contest(state, said, values)
    for version in record.versions:
        changed |= _version(state, version, said)
    changed |= _seen(state, said.version)
    if record.announced:
        told = (said.retrieved[:10], record.announced, said.version)
        changed |= told not in state.announced
        state.announced.add(told)
    return changed


def _contest(state: State, said: Said, values: dict[str, Any]) -> bool:
    changed = False
    for name, value in values.items():
        old = state.said.get(name)
        if old is None:
            state.values[name], state.said[name], changed = value, said, True
        elif rank(said, value) > rank(old, state.values[name]):
            changed |= value != state.values[name]
            state.values[name], state.said[name] = value, said
    for place, told in _implied_texts(said, values):
        changed |= _text(state, place, told)
    for n, value in _implied_dates(said.version, values):
        changed |= _attribute(state, n, "submitted", said.source, value)
    return changed


def unfold(state: State) -> None:
    """Add what the shown fields imply of single versions: their texts and dates, which are not stored twice."""
    for name in ("title", "abstract", "published", "updated"):
        if said := state.said.get(name):
            values = {name: state.values[name]}
            for place, told in _implied_texts(said, values):
                _text(state, place, told)
            for n, value in _implied_dates(said.version, values):
                _attribute(state, n, "submitted", said.source, value)


def fold(state: State) -> tuple[dict[tuple[int, str], Told], dict[int, dict[str, tuple[int, str]]]]:
    """The texts and the history without what :func:`unfold` would add."""
    texts, history = dict(state.texts), {n: dict(known) for n, known in state.history.items()}
    for name in ("title", "abstract", "published", "updated"):
        if said := state.said.get(name):
            values = {name: state.values[name]}
            for place, told in _implied_texts(said, values):
                if texts.get(place) == told:
                    del texts[place]
            for n, value in _implied_dates(said.version, values):
                if history.get(n, {}).get("submitted") == (said.source, value):
                    del history[n]["submitted"]
    return texts, history


def _implied_texts(said: Said, values: dict[str, Any]) -> list[tuple[tuple[int, str], Told]]:
    if not said.version:
        return []
    return [((said.version, name), Told(said.source, said.retrieved, values[name])) for name in TEXTS if name in values]


def _implied_dates(version: int, values: dict[str, Any]) -> list[tuple[int, str]]:
    """``published`` is when version 1 was submitted, ``updated`` when the described version was."""
    first = [(1, values["published"])] if "published" in values else []
    return first + ([(version, values["updated"])] if version and "updated" in values else [])


def _seen(state: State, n: int) -> bool:
    """Note that version ``n`` exists. The first and the latest need no note: they always do."""
    latest = state.version or 0
    if n < 1 or n == latest:
        return False
    fresh = n > latest or (n > 1 and n not in state.history)
    noted = min(n, latest)
    state.version = max(n, latest)
    if noted > 1:
        state.history.setdefault(noted, {})
    return fresh


def _text(state: State, place: tuple[int, str], told: Told) -> bool:
    old = state.texts.get(place)
    if old is not None and (_TRUST[told.source], told.retrieved, -told.source, told.value) <= (
        _TRUST[old.source], old.retrieved, -old.source, old.value,
    ):  # fmt: skip
        return False
    state.texts[place] = told
    return old is None or old.value != told.value


def _attribute(state: State, n: int, name: str, source: int, value: str) -> bool:
    known = state.history.setdefault(n, {})
    old = known.get(name)
    if old is not None and (_TRUST[source], -source, value) <= (_TRUST[old[0]], -old[0], old[1]):
        return False
    known[name] = (source, value)
    return old is None or old[1] != value


def _version(state: State, version: Version, said: Said) -> bool:
    changed = _seen(state, version.n)
    for name in HISTORY:
        if value := getattr(version, name):
            changed |= _attribute(state, version.n, name, said.source, whole(value))
    for name in TEXTS:
        if value := getattr(version, name):
            changed |= _text(state, (version.n, name), Told(said.source, said.retrieved, whole(value)))
    return changed


def day_of(stamp: str | None) -> int | None:
    """``2024-03-19T17:59:58Z`` as 20240319; None where there is no date or it does not exist."""
    return _day(stamp[:10]) if stamp else None


@lru_cache(maxsize=20_000)
def _day(text: str) -> int | None:
    try:
        return int(date.fromisoformat(text).strftime("%Y%m%d"))
    except ValueError:
        return None
