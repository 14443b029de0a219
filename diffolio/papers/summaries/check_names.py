"""Names of things (datasets, models, benchmarks), keywords, and terms given two ways.

A Latin token with a capital or a digit must equal a token of the source; being inside one is not enough (DTD in DTDB).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from diffolio.papers.summaries import scan, words
from diffolio.papers.summaries.quantities import quantities
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, Finding
from diffolio.papers.summaries.source import Source, url_spans

_TOKEN = re.compile(r"[A-Za-zÀ-ɏα-ωΑ-Ω0-9](?:[A-Za-zÀ-ɏα-ωΑ-Ω0-9_^]|[-.&/'’](?=[A-Za-zÀ-ɏ0-9])|\+)*")
_SKIP = re.compile(r"\[[\d,\s–-]+\]|\barxiv:?\s*\S+|\b\d{4}\.\d{4,5}(?:v\d+)?\b|\b10\.\d{4,9}/\S+", re.IGNORECASE)
_PLAIN = {
    "pdf",
    "github",
    "arxiv",
    "doi",
    "url",
    "http",
    "https",
    "none",
    "n/a",
    "et",
    "al",
    "i",
    "ii",
    "iii",
    "iv",
    "a",
    "vs",
    "e.g",
    "i.e",
    "sota",
    "ok",
}
_OPENERS = ("", ":", "\n", "•", "：", "-", "–", ")")
_DERIVED = r"(?:-?based|-?like|-?style|-?guided|-?driven|-?aware|-?free)$"


def named_tokens(text: str, language: str) -> Iterator[tuple[str, int, bool]]:
    """The tokens of a text with a capital or a digit, with their places, and whether that makes them names: where every
    sentence (German: every noun) begins with a capital, one at the front of a word says nothing."""
    numbers = ((q.start, q.end) for q in quantities(text))
    barred = scan.Spans([*url_spans(text), *(match.span() for match in _SKIP.finditer(text)), *numbers])
    starts = {a for a, _ in scan.sentences(text)}
    for match in _TOKEN.finditer(text):
        token, start = match[0].rstrip(".'’/&-"), match.start()
        if barred.touch(start, start + 1) or token.lower() in _PLAIN or not re.search(r"[A-Za-z]", token):
            continue
        if not any(char.isupper() or char.isdigit() for char in token):
            continue
        only_first = token[0].isupper() and not any(c.isupper() or c.isdigit() for c in token[1:])
        opening = start in starts or text[max(0, start - 8) : start].rstrip(" *_\"'“‘(")[-1:] in _OPENERS
        common = only_first and (language == "de" or (opening and language not in ("zh", "ja", "ko", "ru")))
        yield token, start, not common


def forms(token: str) -> set[str]:
    """What a token may stand for: itself without case, without a possessive or plural ending (GANs, but not ATLAS), without
    ``-based`` and the like."""
    token = re.sub(r"['’]s$", "", token)
    found = {token, re.sub(_DERIVED, "", token)}
    found |= {form[:-1] for form in found if form.endswith("s") and len(form) > 2}
    found |= {form[:-2] for form in found if form.endswith("es") and len(form) > 4}
    return {form.lower() for form in found}


class Names:
    """The tokens of a source, for looking names up."""

    def __init__(self, text: str) -> None:
        self.known: set[str] = set()
        self.loose: dict[str, str] = {}
        self.capital: list[str] = []
        for match in _TOKEN.finditer(text):
            token = match[0].rstrip(".'’/&-")
            pieces = re.split(r"[-/&]", token)
            if any(piece.isdigit() for piece in pieces):  # VQX-2: neither VQX nor 2 is its name
                pieces = []
            for piece in {token, *pieces} - {""}:
                self.known |= forms(piece)
                self.loose.setdefault(re.sub(r"[\^_+-]", "", piece.lower()), piece)
                if any(char.isupper() or char.isdigit() for char in piece):
                    self.capital.append(piece)

    def has(self, token: str) -> bool:
        if forms(token) & self.known:
            return True
        pieces = [piece for piece in re.split(r"[-/&.]", token) if piece]
        return len(pieces) > 1 and all(forms(piece) & self.known for piece in pieces)

    def nearest(self, token: str) -> str | None:
        """The source's token that this one misspells."""
        loose = self.loose.get(re.sub(r"[\^_+-]", "", token.lower()))
        if loose:
            return loose
        close = [other for other in dict.fromkeys(self.capital) if _misspelt(token.lower(), other.lower())]
        return min(close, key=lambda other: (_distance(token.lower(), other.lower()), other), default=None)


def _misspelt(a: str, b: str) -> bool:
    """One letter apart (two from eight letters on); of short tokens a pair such as 2D and 3D is not."""
    if min(len(a), len(b)) < 3 or a == b:
        return False
    return _distance(a, b) <= (2 if min(len(a), len(b)) >= 8 else 1)


def _distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def names(
    text: str, source: Source, span: tuple[int, int], language: str, known: Names, quote: Names | None = None
) -> Iterator[Finding]:
    """Findings on the names in text[span]; those of a bullet must stand in its quote."""
    for token, start, is_name in named_tokens(text[span[0] : span[1]], language):
        place = (span[0] + start, span[0] + start + len(token))
        if not is_name:
            close = None if len(token) < 5 or known.has(token) else known.nearest(token)
            if close and any(char.isupper() or char.isdigit() for char in close[1:]):
                yield Finding("names", CONTRADICTED, place, f"the record writes {close}, not {token}", close)
        elif quote is not None and not quote.has(token) and known.has(token):
            yield Finding("names", NOT_IN_RECORD, place, f"{token} is not in the quote of this bullet")
        elif not known.has(token):
            close = known.nearest(token)
            if close:
                yield Finding("names", CONTRADICTED, place, f"the record writes {close}, not {token}", close)
            elif source.paper and Names(source.paper).has(token):
                yield Finding("names", NOT_IN_RECORD, place, f"{token} is in the paper, not in the record", in_paper=True)
            else:
                yield Finding("names", NOT_IN_RECORD, place, f"the record does not name {token}")


_KEYWORD = re.compile(r"[^,;、，；。|\n]+")
_SMALL = {"of", "the", "and", "for", "in", "with", "to", "a", "an", "on", "by", "from", "de", "la", "des", "und"}


def keywords(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """A keyword in English must be made of the record's words (any ending); in another language it cannot be checked."""
    for match in _KEYWORD.finditer(text, *span):
        a, b = scan.trimmed(text, *match.span())
        keyword = text[a:b].strip("-*• .")
        if not keyword or not scan.is_latin(keyword) or scan.language(source.text) != "en":
            continue
        missing = [word for word in re.findall(r"[^\W_]+", keyword.lower()) if word not in _SMALL and not has_word(source, word)]
        if missing:
            why = f"the record has no {', '.join(missing)} in the sense of a keyword {keyword!r}"
            yield Finding("keywords", NOT_IN_RECORD, (a, b), why)


def has_word(source: Source, word: str) -> bool:
    """Whether the source has the word up to its ending: modelling, models, model."""
    stem = re.sub(r"(?:ization|isation|ations?|ings?|ions?|ers?|ors?|ed|es|s|e|al|ly|ve)$", "", word)
    stem = re.sub(r"(.)\1$", r"\1", stem) if len(stem) > 4 else stem
    if len(stem) < 3:
        return word in source.words
    return any(other.startswith(stem) for other in source.words)


@cache
def _compound() -> re.Pattern[str]:
    heads, modifiers = words.mapping("heads"), words.mapping("modifiers")

    def longest(table: dict[str, list[str]]) -> str:
        return "|".join(sorted(map(re.escape, table), key=lambda word: (-len(word), word)))

    return re.compile(rf"(?P<modifier>{longest(modifiers)})(?:性|式|化)?(?P<head>{longest(heads)})")


def terms(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    """Compounds whose modifier the source never uses. Where the summary elsewhere gives the source's own term for that head,
    it is a contradiction: one thing under two names."""
    if scan.language(source.text) != "en":
        return
    heads, modifiers = words.mapping("heads"), words.mapping("modifiers")
    good: dict[str, str] = {}
    for match in _compound().finditer(text):
        if _stands(source, modifiers[match["modifier"]], heads[match["head"]]):
            good.setdefault(match["head"], match[0])
    for match in _compound().finditer(text, *span):
        stems = modifiers[match["modifier"]]
        if _uses(source, stems):
            continue
        other = good.get(match["head"])
        why = f"the record has no word like {' or '.join(stem + '-' for stem in stems)} for {match[0]}"
        if other:
            yield Finding("terms", CONTRADICTED, match.span(), f"{match[0]} and {other} stand for one thing; {why}", other)
        else:
            yield Finding("terms", NOT_IN_RECORD, match.span(), why)


def _stands(source: Source, modifier: list[str], head: list[str]) -> bool:
    """Whether the source puts such a modifier right before such a head, with at most two words between."""
    first, last = "|".join(map(re.escape, modifier)), "|".join(map(re.escape, head))
    return re.search(rf"\b(?:{first})[\w-]*(?:[\s-]+\w+){{0,2}}?[\s-]+(?:{last})", source.prose, re.IGNORECASE) is not None


def _uses(source: Source, stems: list[str]) -> bool:
    return any(word.startswith(stem) for stem in stems for word in source.words) or any(
        "-" in s and s in source.text.lower() for s in stems
    )
