"""Facts of the record that a summary repeats: ids, links, code, people, title, affiliation. The record is always right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from diffolio.errors import BadInput
from diffolio.papers.identifiers import parse_id
from diffolio.papers.summaries import scan, words
from diffolio.papers.summaries.parts import Part
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, SUPPORTED, UNCHECKED, Finding
from diffolio.papers.summaries.source import Source, kind_of_url, normal_url, url_spans
from diffolio.papers.summaries.words import bounded

_ARXIV = re.compile(
    r"(?:arxiv(?:\.org/(?:abs|pdf|html)/|\s*[:：]\s*)|(?<![\w./-]))(?P<new>\d{4}\.\d{4,5})(?:v\d{1,3})?(?![\d])"
    r"|(?:arxiv(?:\.org/(?:abs|pdf|html)/|\s*[:：]\s*))(?P<old>[a-z-]+(?:\.[A-Z]{2})?/\d{7})",
    re.IGNORECASE,
)
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s,;，；。、)\]<>\"']+")


def ids(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """Every arXiv id and DOI is this paper's, or one that the record mentions."""
    own = {source.id.lower()} | {_base(m) for m in _ARXIV.finditer(source.text)}
    for match in _ARXIV.finditer(text, *span):
        base = _base(match)
        if not base or (base not in own and not match[0].lower().startswith("arxiv") and not _plausible(text, match)):
            continue
        if base in own:
            yield Finding("ids", SUPPORTED, match.span(), "the record's own id")
        else:
            yield Finding("ids", CONTRADICTED, match.span(), f"this paper is {source.id}, not {base}", source.id)
    for match in _DOI.finditer(text, *span):
        doi = match[0].rstrip(".").lower()
        if doi.startswith("10.48550/arxiv.") and doi.removeprefix("10.48550/arxiv.").split("v")[0] in own:
            continue
        if doi not in source.text.lower():
            yield Finding("ids", CONTRADICTED, match.span(), f"the record has {source.doi or 'no DOI'}, not {doi}", source.doi)


def _base(match: re.Match[str]) -> str:
    try:
        return parse_id(match["new"] or match["old"].lower()).base.lower()
    except BadInput:
        return (match["new"] or match["old"]).lower()


def _plausible(text: str, match: re.Match[str]) -> bool:
    """A bare number is an id when it could be one and stands alone in its field."""
    try:
        parse_id(match["new"] or "")
    except BadInput:
        return False
    return len(match["new"]) == 10


def links(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """Every address stands in the record; arXiv and DOI ones are the ids' matter."""
    part = text[span[0] : span[1]]
    for a, b in url_spans(part):
        url, place = part[a:b], (span[0] + a, span[0] + b)
        kind = kind_of_url(url, part)
        if kind in ("arxiv", "doi") or _ARXIV.search(url) or _DOI.search(url):
            continue
        if normal_url(url) in source.urls:
            yield Finding("links", SUPPORTED, place, "the record's own link")
            continue
        own = source.urls_of(kind) or source.urls_of("code", "project", "other")
        host = normal_url(url).split("/")[0]
        if own and (source.urls_of(kind) or any(normal_url(other).split("/")[0] == host for other in own)):
            yield Finding("links", CONTRADICTED, place, f"the record links {own[0]}, not {url}", own[0])
        else:
            yield Finding("links", NOT_IN_RECORD, place, f"the record does not link {url}")


@cache
def _none() -> re.Pattern[str]:
    return re.compile(rf"\W*(?:{'|'.join(map(bounded, words.entries('none', 'words')))})\W*(?:\s*\([^)]*\))?\W*", re.IGNORECASE)


def nothing(value: str) -> bool:
    """Whether a field's value says "none" in any language."""
    return not value.strip() or bool(_none().fullmatch(value.strip()))


def code(text: str, source: Source, part: Part) -> Iterator[Finding]:
    """A code or link field that says "none" where the record has one. An empty field is only a heading of others."""
    value = text[part.start : part.end]
    place = (part.start, part.end)
    if not value.strip() or not nothing(value):
        return
    if part.name == "paper":
        yield Finding("code", CONTRADICTED, place, "the record has the paper's address", f"https://arxiv.org/abs/{source.id}")
        return
    own = source.urls_of("code") if part.name == "code" else source.urls_of("project", "other")
    if own:
        yield Finding("code", CONTRADICTED, place, f"the record links {own[0]}", own[0])
    else:
        yield Finding("code", SUPPORTED, place, "the record has no such link either")


def no_code(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """Prose that says there is no code."""
    for match in words.patterns("code", "denied").finditer(text, *span):
        if own := source.urls_of("code"):
            yield Finding("code", CONTRADICTED, match.span(), f"the record links {own[0]}", own[0])


_NAME = re.compile(r"[^,;、，；\n&]+")
_CUT = re.compile(r"\b(?:et al\.?|and others|u\. ?a\.)|(?:等|等人|ら|他|외)\s*$", re.IGNORECASE)
_FOOT = re.compile(r"[*†‡§¶#\d\^]+|\([^)]*\)")
_AND = re.compile(r"\s(?:and|und|et|y|e|и)\s|和|及", re.IGNORECASE)


def people(text: str, source: Source, span: tuple[int, int], raw: str = "") -> Iterator[Finding]:
    """The names in an authors field are the record's, all of them, as printed there.

    Found in either order and without diacritics, a name is the same person written otherwise; in another script it cannot be
    compared. ``raw``: the field before tags were resolved, where footnote asterisks may have become emphasis.
    """
    if source.authors is None:
        if text[slice(*span)].strip():
            yield Finding("people", UNCHECKED, span, "the record has no authors yet")
        return
    record = ", ".join(source.authors)
    cut = bool(_CUT.search(text[slice(*span)]))
    found = list(_people(text, span))
    matched: set[str] = set()
    findings = []
    for name, place in found:
        author, how = _match(name, source.authors)
        if author:
            matched.add(author)
            if how:
                findings.append(Finding("people", CONTRADICTED, place, f"the record writes {author}, not {name}: {how}", author))
        elif not scan.is_latin(name) and any(map(scan.is_latin, source.authors)):
            findings.append(Finding("people", UNCHECKED, place, f"{name} is in another script than the record's names", record))
        else:
            findings.append(Finding("people", CONTRADICTED, place, f"{name} is not an author", record))
    yield from findings
    other_script = any(f.verdict == UNCHECKED for f in findings)
    if not other_script and not source.authors_cut and (len(matched) < len(source.authors)):
        why = f"{len(matched)} of {len(source.authors)} authors" + (", cut" if cut else "")
        yield Finding("people", CONTRADICTED, span, why, record)
    elif re.search(r"</?em>|\*", raw) and found:
        yield Finding("people", CONTRADICTED, span, "footnote marks were left in the names", record)
    elif not findings and found:
        yield Finding("people", SUPPORTED, span, "the record's authors")


def _people(text: str, span: tuple[int, int]) -> Iterator[tuple[str, tuple[int, int]]]:
    for match in _NAME.finditer(text, *span):
        start = match.start()
        for piece in _AND.split(match[0]):
            a = text.index(piece, start)
            start = a + len(piece)
            name = _FOOT.sub("", _CUT.sub("", piece)).strip(" .-–•:\t")
            if name:
                a, b = scan.trimmed(text, a, a + len(piece))
                yield name, (a, b)


def _parts(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", scan.bare(name))


def _match(name: str, authors: tuple[str, ...]) -> tuple[str | None, str]:
    """The author that a name stands for, and how it departs from the record ("" when it does not)."""
    plain = scan.folded(name)
    if plain in (printed := {scan.folded(author): author for author in authors}):
        return printed[plain], ""
    for author in authors:
        if scan.bare(plain) == scan.bare(scan.folded(author)):
            return author, "diacritics or capitals changed"
    for author in authors:
        if sorted(_parts(name)) == sorted(_parts(author)) and _parts(name):
            return author, "the order of its parts changed"
    for author in authors:
        if _initials(_parts(name), _parts(author)):
            return author, "given names cut to initials"
    return None, ""


def _initials(name: list[str], author: list[str]) -> bool:
    """``q wang`` for ``qilin wang``: the family name whole, the others begun."""
    if len(name) < 2 or len(author) < 2 or name[-1] != author[-1]:
        return False
    return all(any(full.startswith(part) for full in author[:-1]) for part in name[:-1])


def cited_people(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """``Someone et al.`` in prose: an author, or somebody whom the record names."""
    for match in re.finditer(r"([A-ZÀ-Þ][\w'’-]+),? et al\b", text[span[0] : span[1]]):
        if scan.bare(match[1]) not in scan.bare(source.text):
            place = (span[0] + match.start(), span[0] + match.end())
            first = source.authors[0] if source.authors else None
            yield Finding(
                "people", CONTRADICTED if first else NOT_IN_RECORD, place, f"the record does not name {match[1]}", first
            )


def title(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """A title in the record's script is the record's title."""
    value = text[slice(*span)].strip(" \"'“”*")
    if not source.title or not value:
        return
    own, given = re.findall(r"\w+", scan.bare(scan.clean(source.title).text)), re.findall(r"\w+", scan.bare(value))
    if own == given:
        yield Finding("title", SUPPORTED, span, "the record's title")
    elif scan.language(value) == scan.language(source.title) or value.isascii():
        yield Finding("title", CONTRADICTED, span, f"the record's title is {source.title!r}", source.title)


def affiliation(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """A record rarely has affiliations: what it does not say is always marked."""
    value = text[slice(*span)].strip(" -•*")
    if nothing(value):
        return
    if scan.bare(scan.folded(value)) in scan.bare(source.text):
        yield Finding("affiliation", SUPPORTED, span, "the record names it")
    else:
        in_paper = bool(source.paper and scan.bare(value) in scan.bare(source.paper))
        where = "it is in the paper, not in the record" if in_paper else "the record has no affiliation like this"
        yield Finding("affiliation", NOT_IN_RECORD, span, where, in_paper=in_paper)
