"""Records from JSON Lines: Diffolio's own canonical export, arXiv's metadata snapshot, and objects with the usual names.

In the last kind ``id`` is required and of the rest what is there is taken: title, abstract or summary, authors (a list or one
string), categories, comments or comment, doi, journal_ref, published, updated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from diffolio.errors import BadInput
from diffolio.papers.identifiers import parse_id
from diffolio.papers.lines import numbered_lines
from diffolio.papers.pull.fields import authors, categories, is_withdrawn, line, stamp
from diffolio.papers.record import Author, Record, Version


def sniff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is JSON Lines."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def read(data: bytes | BinaryIO, skipped: list[str] | None = None) -> Iterator[Record]:
    """The papers of a file, in its order; a line of our export gives a record for each source that it was merged from.

    A line that is no object, has no id or a wrong one goes to ``skipped`` with the reason where that is given, else raises
    BadInput.
    """
    for number, text in numbered_lines(data):
        if not text.strip():
            continue
        try:
            found = _line(number, text)
        except BadInput as error:
            if skipped is None:
                raise
            skipped.append(str(error))
        else:
            yield from found


def _line(number: int, text: str) -> list[Record]:
    try:
        told = json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"line {number} is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise BadInput(f"line {number} is a {type(told).__name__}, not an object with the fields of a paper")
    try:
        return records(told)
    except BadInput as error:
        raise BadInput(f"line {number}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise BadInput(f"line {number}: a field has an unexpected form ({error})") from error


def records(told: Mapping[str, Any]) -> list[Record]:
    """The records of one object."""
    if not isinstance(told.get("id"), str):
        raise BadInput(f"no id among the fields {', '.join(sorted(map(str, told))[:8])}")
    if isinstance(told.get("sources"), dict):
        from diffolio.papers.export import records_of

        parse_id(told["id"])
        return records_of(told)
    if "authors_parsed" in told or "update_date" in told:
        return [_snapshot(told)]
    return [_usual(told)]


def _snapshot(told: Mapping[str, Any]) -> Record:
    """A line of arXiv's metadata snapshot: names split, dates of all versions."""
    people = tuple(_parsed(*parts) for parts in told.get("authors_parsed") or ()) or authors(_text(told, "authors"))
    history = [
        Version(int(str(v["version"]).lstrip("v")), stamp(_text(v, "created"))) for v in told.get("versions") or ()
    ]  # fmt: skip
    history.sort(key=lambda version: version.n)
    known, classes = categories((_text(told, "categories") or "").split())
    comments = _text(told, "comments")
    extra: dict[str, Any] = {name: text for name in ("submitter", "report-no") if (text := _text(told, name))}
    return Record(
        parse_id(told["id"]).base, "jsonl", _text(told, "title"), _text(told, "abstract"), people, categories=known,
        comments=comments, journal_ref=_text(told, "journal-ref"), doi=_text(told, "doi"), licence=_text(told, "license"),
        published=history[0].submitted if history and history[0].n == 1 else None,
        updated=history[-1].submitted if history else None, version=history[-1].n if history else None,
        versions=tuple(history), withdrawn=is_withdrawn(comments), retrieved=stamp(_text(told, "update_date")),
        extra=extra | ({"classes": list(classes)} if classes else {}),
    )  # fmt: skip


def _parsed(family: str, given: str = "", suffix: str = "", *rest: str) -> Author:
    family = " ".join(filter(None, (family, suffix)))
    return Author(" ".join(filter(None, (given, family))), family or None, given or None, "; ".join(filter(None, rest)) or None)


def _usual(told: Mapping[str, Any]) -> Record:
    paper = parse_id(told["id"])
    terms = told.get("categories") or ()
    known, classes = categories(terms.split() if isinstance(terms, str) else [str(term) for term in terms])
    comments = _text(told, "comments", "comment")
    version = told.get("version") or paper.version
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        raise BadInput(f"version {version!r} is not a number from 1")
    return Record(
        paper.base, "jsonl", _text(told, "title"), _text(told, "abstract", "summary"), _people(told.get("authors")),
        authors_cut=told.get("authors_cut") is True, categories=known, comments=comments,
        journal_ref=_text(told, "journal_ref", "journal-ref"), doi=_text(told, "doi"), licence=_text(told, "licence", "license"),
        published=stamp(_text(told, "published")), updated=stamp(_text(told, "updated")), version=version,
        withdrawn=told.get("withdrawn") is True or is_withdrawn(comments), retrieved=stamp(_text(told, "retrieved")),
        extra={"classes": list(classes)} if classes else {},
    )  # fmt: skip


def _people(told: Any) -> tuple[Author, ...] | None:
    if isinstance(told, str):
        return authors(told)
    people = []
    for author in told or ():
        if isinstance(author, str):
            people.append(Author(line(author) or ""))
        else:
            people.append(Author(_text(author, "name") or "", *(_text(author, n) for n in ("family", "given", "affiliation"))))
    return tuple(author for author in people if author.name) or None


def _text(told: Mapping[str, Any], *names: str) -> str | None:
    """The first of these fields that is there, on one line."""
    for name in names:
        value = told.get(name)
        if value is not None and not isinstance(value, str):
            raise BadInput(f"{name} is a {type(value).__name__}, not a text")
        if text := line(value):
            return text
    return None


def _integer(digits: str) -> int:
    """Numbers of a paper are small; thousands of digits would only cost time."""
    return int(digits) if len(digits) < 20 else 0
