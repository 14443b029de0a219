"""How strong a claim is: better is more than on par; first and state of the art only if the record says so."""

from __future__ import annotations

from collections.abc import Iterator

from diffolio.papers.summaries import scan
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, Finding
from diffolio.papers.summaries.source import Source
from diffolio.papers.summaries.words import patterns


def strength(text: str, source: Source, span: tuple[int, int], near: str | None = None) -> Iterator[Finding]:
    """Findings on the claims in text[span]; ``near``: the source's own sentence where one clearly matches."""
    yield from _better(text, source, span, near)
    yield from _first(text, source, span)
    yield from _state_of_the_art(text, source, span, near)


def _has(key: str, text: str) -> bool:
    return patterns("strength", key).search(text) is not None


def _only_parity(text: str) -> bool:
    """Whether the text claims to be on par, and nothing better apart from that."""
    return _has("parity", text) and not _has("better", patterns("strength", "parity").sub(" ", text))


def _better(text: str, source: Source, span: tuple[int, int], near: str | None) -> Iterator[Finding]:
    part = text[slice(*span)]
    said = patterns("strength", "better").search(patterns("strength", "parity").sub(lambda m: " " * len(m[0]), part))
    if not said or _has("parity", part):
        return
    place = (span[0] + said.start(), span[0] + said.end())
    if (near and _only_parity(near)) or _only_parity(source.prose):
        phrase = patterns("strength", "parity").search(near if near and _only_parity(near) else source.prose)
        yield Finding(
            "strength", CONTRADICTED, place, f"the record says {phrase[0] if phrase else 'on par'!r}, not plainly better"
        )
    elif near and _has("parity", near) and len(scan.words(part)) >= 0.8 * len(scan.words(near)):
        phrase = patterns("strength", "parity").search(near)
        yield Finding("strength", CONTRADICTED, place, f"the record's {phrase[0] if phrase else 'on par'!r} is lost")
    elif near and not _has("better", near) and not _has("comparative", near) and not _has("sota", near):
        yield Finding("strength", CONTRADICTED, place, "the record's sentence claims nothing better")
    elif not any(_has(key, source.prose) for key in ("better", "comparative", "sota")):
        yield Finding("strength", NOT_IN_RECORD, place, "the record does not claim to be better than anything")


def _first(text: str, source: Source, span: tuple[int, int]) -> Iterator[Finding]:
    said = patterns("strength", "first").search(text, *span)
    if said and not _has("first", source.prose):
        yield Finding("strength", NOT_IN_RECORD, said.span(), f"the record does not claim a first ({said[0]!r})")


def _state_of_the_art(text: str, source: Source, span: tuple[int, int], near: str | None) -> Iterator[Finding]:
    said = patterns("strength", "sota").search(text, *span)
    if not said:
        return
    claim = patterns("strength", "sota_claim").search(text, *span)
    where = near or source.prose
    if _has("sota", source.prose):
        surpassed = _has("better", patterns("strength", "parity").sub(" ", where))
        if claim and not _has("sota_claim", where) and not surpassed:
            yield Finding("strength", CONTRADICTED, claim.span(), "the record only compares itself with the state of the art")
    elif claim and (_has("weak", source.prose) or _has("parity", source.prose)):
        phrase = patterns("strength", "parity").search(source.prose) or patterns("strength", "weak").search(source.prose)
        assert phrase
        yield Finding("strength", CONTRADICTED, claim.span(), f"the record says {phrase[0]!r}, not state of the art")
    else:
        yield Finding("strength", NOT_IN_RECORD, said.span(), "the record does not speak of the state of the art")
