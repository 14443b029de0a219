"""A lenient reading of a labelled summary: which stretch of text is the authors, the keywords, the method.

Model output numbers and nests its labels at random, so only the labels count: a part goes on until the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from diffolio.papers.summaries import scan, words
from diffolio.papers.summaries.words import bounded, is_cjk

FIELDS = ("title", "authors", "affiliation", "keywords", "paper", "code", "project", "workload")  # short values, not prose


@dataclass(frozen=True)
class Part:
    """``name`` as in the labels table, ``text`` where no label stands before it; the value is at [start:end] of the cleaned text."""

    name: str
    start: int
    end: int
    label: tuple[int, int] = (0, 0)
    language: str = ""  # of the label


@cache
def _pattern() -> re.Pattern[str]:
    spellings = sorted(words.readings(), key=lambda s: (-len(s), s))
    names = "|".join(r"\s?".join(map(re.escape, s.split(" "))) if is_cjk(s[0]) else bounded(s) for s in spellings)
    mark = r"(?:[ \t>*•#\-–]|\d{1,2}(?:\.\d)?[.、)](?=\D)|\(\d{1,2}(?:\.\d)?\)[ :]*)*"
    # A label ends in a colon, or fills its line; inside a line it also needs a separator before it and is a short field.
    return re.compile(
        rf"(?:(?P<line>^|(?<=\n)){mark}(?P<a>{names})(?:\s?[:：]|[ \t]*(?=\n|\Z)))|(?:[,;，；。|][ \t]*(?P<b>{names})\s?:(?!//))",
        re.IGNORECASE,
    )


def parts(text: str) -> list[Part]:
    """The labelled parts of a cleaned text, in order; what stands before the first label is a part named ``text``."""
    readings = words.readings()
    found: list[tuple[re.Match[str], str, str]] = []
    for match in _pattern().finditer(text):
        field, language = readings[_fold(match["a"] or match["b"])]
        if match["a"] or field in ("paper", "code", "project"):
            found.append((match, field, language))
    starts = [match.start() for match, *_ in found] + [len(text)]
    out = [Part("text", *scan.trimmed(text, 0, starts[0]))] if text[: starts[0]].strip() else []
    for (match, field, language), end in zip(found, starts[1:], strict=True):
        where = match.span("a") if match["a"] else match.span("b")
        out.append(Part(field, *scan.trimmed(text, match.end(), end), label=where, language=language))
    return out


def _fold(label: str) -> str:
    readings = words.readings()
    label = re.sub(r"[\s-]+", " ", label).strip().lower()
    if label in readings:
        return label
    squeezed = label.replace(" ", "")
    return next(known for known in readings if re.sub(r"[\s-]+", "", known) == squeezed)


_CREDIT = re.compile(r"!?\[[^\]\n]*\]\([^)\n]*\)")  # a line that is only a link or a picture states nothing
_ITEM_MARK = re.compile(r"[ \t>*•\-–]*(?:\(?\d{1,2}(?:\.\d)?\)[ :]*|\d{1,2}[.、](?!\d))*[ \t:]*")


def items(text: str, part: Part) -> list[tuple[int, int]]:
    """The lines of a part without their list marks."""
    found = []
    for start, end in scan.lines(text[part.start : part.end]):
        start, end = start + part.start, end + part.start
        mark = _ITEM_MARK.match(text, start, end)
        start, end = scan.trimmed(text, mark.end() if mark else start, end)
        if end > start and not _CREDIT.fullmatch(text, start, end):
            found.append((start, end))
    return found


def statements(text: str, part: Part) -> list[tuple[int, int]]:
    """What is judged one by one: the whole value of a short field, the sentences of prose."""
    if part.name in FIELDS:
        return [(part.start, part.end)] if part.end > part.start else []
    return [
        scan.trimmed(text, start + a, start + b) for start, end in items(text, part) for a, b in scan.sentences(text[start:end])
    ]
