"""What a summary's text itself gives away: leftovers of its making, repeats, broken lists, fields that are missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from diffolio.papers.summaries import scan
from diffolio.papers.summaries.parts import FIELDS, Part
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, UNCHECKED, Finding
from diffolio.papers.summaries.source import Source, normal_url, urls_in
from diffolio.papers.summaries.words import patterns

LONGEST = 0.6  # of the abstract's length
REPEATED = 0.8  # of the shorter statement's words
_CITE = re.compile(r"\[\d{1,3}(?:\s*[,–-]\s*\d{1,3})*\]")
_NEUTRAL = re.compile(r"github|arxiv|doi|url|tl;?dr|pdf|code|demo", re.IGNORECASE)  # labels that every language uses


def leftovers(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """Citation marks, placeholders, prompt text and questions that the record does not have."""
    for match in _CITE.finditer(text, *span):
        if match[0] not in source.text:
            yield Finding("leftovers", NOT_IN_RECORD, match.span(), f"{match[0]} cites a list that is not here")
    for key, what in (("placeholder", "a placeholder"), ("prompt", "text of the prompt or of the model about itself")):
        for match in patterns("leftovers", key).finditer(text, *span):
            if match[0].lower() not in source.text.lower():
                yield Finding("leftovers", NOT_IN_RECORD, match.span(), f"{match[0]!r} is {what}")
    for match in re.finditer(r"[?？]", text[slice(*span)]):
        if "?" not in source.text:
            place = span[0] + match.start()
            yield Finding("leftovers", NOT_IN_RECORD, (place, place + 1), "a question, probably of the prompt")


def repeats(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Statements that say again what an earlier one said."""
    seen: list[tuple[set[str], tuple[int, int]]] = []
    for span in spans[:400]:
        words = scan.words(text[slice(*span)])
        grams = {" ".join(pair) for pair in pairwise(words)}
        if len(grams) < 6:
            continue
        for earlier, where in seen:
            if len(grams & earlier) >= REPEATED * min(len(grams), len(earlier)):
                first = scan.folded(text[slice(*where)])[:40]
                yield Finding("form", UNCHECKED, span, f"repeats {first!r}")
                break
        seen.append((grams, span))


def too_long(text: str, source: Source, part: Part) -> Iterator[Finding]:
    """A summary that is hardly shorter than the abstract. One of several numbered answers is no summary in this sense."""
    if not source.abstract or len(re.findall(r"(?:^|\n)\s*\(\d\)", text[part.start : part.end])) > 1:
        return
    ratio = scan.length(text[part.start : part.end]) / max(1.0, scan.length(source.abstract))
    if ratio > LONGEST and scan.length(source.abstract) > 40:
        yield Finding("form", UNCHECKED, (part.start, part.end), f"{ratio:.0%} of the abstract's length, more than {LONGEST:.0%}")


def languages(text: str, found: Sequence[Part], spans: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Labels and sentences in another language than most of the summary."""
    if not spans:
        return
    main = scan.language("\n".join(text[a:b] for a, b in spans))
    for part in found:
        if part.language and part.label[1] > part.label[0]:
            label = text[slice(*part.label)]
            if not _NEUTRAL.search(label) and _script(label) != _script_of(main):
                yield Finding("form", UNCHECKED, part.label, f"the label {label!r} is in another language than the text")
    for a, b in spans:
        words = scan.words(text[a:b])
        if len(words) >= 8 and not urls_in(text[a:b]) and _script(text[a:b]) != _script_of(main):
            yield Finding("form", UNCHECKED, (a, b), "a sentence in another language than the rest")


def _script(text: str) -> str:
    return _script_of(scan.language(text))


def _script_of(language: str) -> str:
    return {"zh": "cjk", "ja": "cjk", "ko": "hangul", "ru": "cyrillic"}.get(language, "latin")


def broken_lists(raw: str) -> Iterator[Finding]:
    """HTML lists that end before their items do, and TeX that nobody resolved."""
    for match in re.finditer(r"</[ou]l>\s*<p>\s*(?:<strong>)?\s*(?:\d{1,2}\s*[.、]|[(（]\d{1,2}[)）])", raw):
        yield Finding("form", UNCHECKED, match.span(), "the list ends before its items do")
    for match in re.finditer(r"\{\\[a-zA-Z]+\}|\\(?:emph|textbf|text|mathbf|mathcal|cite|ref)\{", raw):
        yield Finding("form", UNCHECKED, match.span(), f"TeX left raw: {match[0]}")


def lacking(text: str, source: Source, found: Sequence[Part]) -> Iterator[Finding]:
    """A labelled block that leaves out the code field, or a project page of the record that stands nowhere in the summary."""
    names = {part.name for part in found}
    if len(names & {*FIELDS, "method", "conclusion"}) < 3 or not names & {"paper", "code", "project"}:
        return
    last = max(part.end for part in found if part.name in ("paper", "code", "project"))
    first = min(part.label[0] for part in found if part.name in ("paper", "code", "project"))
    if "code" not in names:
        yield Finding("form", UNCHECKED, (first, last), "no code field", next(iter(source.urls_of("code")), None))
    given = {normal_url(url) for url in urls_in(text)}
    for url in source.urls_of("project"):
        if normal_url(url) not in given:
            yield Finding("links", CONTRADICTED, (first, last), f"the record's project page {url} is missing", url)
