"""Records from BibTeX files: every entry that names an arXiv id, as its eprint, its DOI, a URL or in the journal.

Strings, ``#`` and abbreviations are resolved and TeX accents decoded. Years and months are those of a publication, not of a
submission, so they never become dates of the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from diffolio.errors import BadInput
from diffolio.papers.identifiers import PaperId, parse_id
from diffolio.papers.lines import numbered_lines
from diffolio.papers.record import Author, Record

LARGEST = 4 << 20  # characters of one entry
_START = re.compile(r"@\s*([A-Za-z]+)\s*([{(])")
_BRACES = re.compile(r"[{}()]")
_NAME = re.compile(r"[\s,]*([^\s=,{}\"#]+)\s*=\s*")
_BARE = re.compile(r"[^\s,#{}\"]+")
_ARXIV = re.compile(
    r"arxiv(?:\s+(?:preprint|e-print|eprint))?\s*[:.]?\s*(?:arxiv\s*:\s*)?(?:org/(?:abs|pdf)/)?([^\s,;\]})]+)", re.I
)
_PREPRINT = re.compile(r"(?:arxiv|corr\b|e-?prints?\b|abs/\d)", re.IGNORECASE)
_MONTHS = {m: m.capitalize() for m in ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")}
_KEPT = {"title", "author", "abstract", "eprint", "archiveprefix", "primaryclass", "doi", "journal", "booktitle", "volume",
         "number", "pages", "year", "month", "url", "note", "comment", "date"}  # fmt: skip


def sniff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is BibTeX."""
    return re.search(rb"(?:^(?:\xef\xbb\xbf)?|\n)\s*@\s*[A-Za-z]+\s*[{(]\s*[^\s,={}]*\s*[,=]", head) is not None


def read(data: bytes | BinaryIO, skipped: list[str] | None = None) -> Iterator[Record]:
    """The entries that have an arXiv id, in the file's order; of the others ``skipped`` gets a line each with the reason.

    Raises BadInput on a file that is not UTF-8 or has an entry above LARGEST.
    """
    skipped = [] if skipped is None else skipped
    strings = dict(_MONTHS)
    for number, kind, body in _blocks(data, skipped):
        if kind in ("comment", "preamble"):
            continue
        try:
            if kind == "string":
                strings.update(_fields(body, strings))
                continue
            key, _, rest = body.partition(",")
            fields = _fields(rest, strings)
            yield _record(kind, key.strip(), fields)
        except BadInput as error:
            skipped.append(f"line {number}: {error}")


def _blocks(data: bytes | BinaryIO, skipped: list[str]) -> Iterator[tuple[int, str, str]]:
    """Line number, type and inside of every ``@type{...}``. An entry that never closes ends where the next line begins one."""
    kind, close, first, depth, size = "", "}", 0, 0, 0
    parts: list[str] = []
    for number, text in numbered_lines(data):
        at = 0
        if kind and _START.match(text):
            skipped.append(f"line {first}: the {kind} is not closed before line {number}")
            kind = ""
        while True:
            if not kind:
                begin = _START.search(text, at)
                if not begin:
                    break
                kind, close, at = begin[1].lower(), "}" if begin[2] == "{" else ")", begin.end()
                first, depth, size, parts = number, 0, 0, []
            end = None
            for brace in _BRACES.finditer(text, at):
                if brace[0] == close and depth == 0:
                    end = brace
                    break
                depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if end is None:
                parts.append(text[at:])
                size += len(text) - at
                if size > LARGEST:
                    raise BadInput(f"the {kind} of line {first} is larger than {LARGEST >> 20} MB: is it closed?")
                break
            yield first, kind, "".join(parts) + text[at : end.start()]
            kind, at = "", end.end()
    if kind:
        skipped.append(f"line {first}: the {kind} is not closed")


def _fields(text: str, strings: dict[str, str]) -> dict[str, str]:
    """``name = value`` pairs, names in lower case, values as typed but joined and with abbreviations replaced."""
    fields: dict[str, str] = {}
    at = 0
    while match := _NAME.match(text, at):
        at, values = match.end(), []
        while True:
            value, at = _value(text, at, strings)
            values.append(value)
            following = re.compile(r"\s*#\s*").match(text, at)
            if not following:
                break
            at = following.end()
        fields.setdefault(match[1].lower(), "".join(values))
    if text[at:].strip(" \t\r\n,"):
        raise BadInput(f"cannot read {' '.join(text[at:].split())[:40]!r}: expected name = value")
    return fields


def _value(text: str, at: int, strings: dict[str, str]) -> tuple[str, int]:
    if text[at : at + 1] in ("{", '"'):
        closing, depth = "}" if text[at] == "{" else '"', 0
        for mark in re.compile(r'[{}"]').finditer(text, at + 1):
            if mark[0] == closing and depth == 0:
                return text[at + 1 : mark.start()], mark.end()
            depth += {"{": 1, "}": -1}.get(mark[0], 0)
        raise BadInput(f"the value {text[at : at + 40]!r} is not closed")
    if match := _BARE.match(text, at):
        return strings.get(match[0].lower(), match[0]), match.end()
    raise BadInput(f"a value is missing before {text[at : at + 20]!r}")


def _record(kind: str, key: str, fields: dict[str, str]) -> Record:
    paper = _paper(fields)
    if paper is None:
        raise BadInput(f"{kind} {key or '(no key)'} names no arXiv id")
    doi = plain(fields.get("doi", "")).removeprefix("https://doi.org/").removeprefix("http://dx.doi.org/")
    primary = plain(fields.get("primaryclass", ""))
    people, cut = _people(fields.get("author", ""))
    extra: dict[str, object] = {"bibtex_key": key} if key else {}
    extra |= {name: value for name in sorted(set(fields) - _KEPT) if (value := plain(fields[name]))}
    return Record(
        paper.base, "bibtex", plain(fields.get("title", "")) or None, plain(fields.get("abstract", "")) or None, people,
        authors_cut=cut, categories=(primary,) if primary else None, comments=_comments(fields),
        journal_ref=_journal(fields), doi=None if not doi or doi.lower().startswith("10.48550/") else doi,
        version=paper.version, extra=extra,
    )  # fmt: skip


def _paper(fields: dict[str, str]) -> PaperId | None:
    """The id: a wrong eprint of arXiv is an error, wherever else an id may stand it is only looked for."""
    eprint = plain(fields.get("eprint", ""))
    if eprint and plain(fields.get("archiveprefix", fields.get("eprinttype", "arxiv"))).lower() in ("arxiv", ""):
        prefix = plain(fields.get("primaryclass", "")) if re.fullmatch(r"\d{7}(?:v\d+)?", eprint) else ""
        return parse_id(f"{prefix}/{eprint}" if prefix else eprint)
    for name in ("doi", "url", "journal", "note", "howpublished", "volume", "number", "pages"):
        text = plain(fields.get(name, ""))
        candidates = [text] if name in ("doi", "url") else []
        candidates += [match[1] for match in _ARXIV.finditer(text)]
        candidates += re.findall(r"\babs/(\S+)", text)
        for candidate in candidates:
            try:
                return parse_id(candidate.rstrip(".,"))
            except BadInput:
                continue
    return None


def _comments(fields: dict[str, str]) -> str | None:
    """What was noted, unless it only repeats where the paper lies."""
    told = plain(fields.get("comment", "") or fields.get("note", ""))
    return None if _ARXIV.match(told) else told or None


def _journal(fields: dict[str, str]) -> str | None:
    name = plain(fields.get("journal", "") or fields.get("booktitle", ""))
    if not name or _PREPRINT.match(name):
        return None
    volume, number, pages = (plain(fields.get(part, "")).replace("--", "-") for part in ("volume", "number", "pages"))
    told = " ".join(filter(None, (name, f"{volume}({number})" if volume and number else volume or number)))
    year = plain(fields.get("year", ""))
    return ", ".join(filter(None, (told, pages))) + (f" ({year})" if year and year not in told else "")


def _people(text: str) -> tuple[tuple[Author, ...] | None, bool]:
    parts = [part for part in _outside_braces(" ".join(text.split()), r"\s+and\s+") if part.strip()]
    cut = bool(parts) and parts[-1].strip().lower() in ("others", "et al.")
    return tuple(_author(part.strip()) for part in (parts[:-1] if cut else parts)) or None, cut


def _author(text: str) -> Author:
    """``Family, Given``, ``Family, Jr, Given`` or ``Given von Family``; a name in braces is one body."""
    if text.startswith("{") and text.endswith("}") and text.find("}") == len(text) - 1:
        return Author(plain(text))
    parts = [plain(part) for part in _outside_braces(text, r"\s*,\s*")]
    if len(parts) >= 2:
        family, given = " ".join([parts[0], *parts[1:-1]]), parts[-1]
        return Author(" ".join(filter(None, (given, family))), family, given or None)
    words = [plain(word) for word in _outside_braces(text, r"\s+")]
    if len(words) < 2:
        return Author(plain(text))
    particle = next((at for at, word in enumerate(words[:-1]) if at and word[:1].islower()), len(words) - 1)
    return Author(" ".join(words), " ".join(words[particle:]), " ".join(words[:particle]))


def _outside_braces(text: str, separator: str) -> list[str]:
    """``text`` split at the separators that stand outside braces."""
    parts, start, depth = [], 0, 0
    for match in re.compile(rf"{separator}|[{{}}]").finditer(text):
        if match[0] in "{}":
            depth += 1 if match[0] == "{" else -1
        elif depth <= 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def plain(text: str) -> str:
    """A value as a reader should see it: on one line, accents decoded, without the braces that only protect letters."""
    text = " ".join(text.split())
    if "\\" in text:
        from diffolio.papers.tex import tex_to_unicode

        text = tex_to_unicode(text)
    if "{" not in text and "}" not in text:
        return text
    math = re.split(r"(?<!\\)(\$[^$]*(?<!\\)\$)", text)
    return "".join(part if at % 2 else re.sub(r"(?<!\\)[{}]", "", part) for at, part in enumerate(math)).strip()
