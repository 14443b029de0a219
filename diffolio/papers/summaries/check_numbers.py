"""Numbers with their units and hedges: every one must stand in the source, as strong and as weak as there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from diffolio.papers.summaries.quantities import STRICT, Quantity, quantities, shown
from diffolio.papers.summaries.report import CONTRADICTED, NOT_IN_RECORD, UNCHECKED, Finding
from diffolio.papers.summaries.source import Source

HEDGES = {"upper": "up to", "lower": "at least", "about": "about"}


def numbers(
    text: str, source: Source, span: tuple[int, int], near: str | None = None, where: str = "the record"
) -> Iterator[Finding]:
    """Findings on the quantities of text[span]. ``near``: the source's own sentence where one clearly matches, or the quote.

    Only value, unit and hedge are compared, so this works across languages; ``near`` also catches a number that the source
    has, but says of something else.
    """
    part = text[span[0] : span[1]]
    local = quantities(near) if near is not None else []
    for q in quantities(part):
        place = (span[0] + q.start, span[0] + q.end)
        pool: Sequence[Quantity] = source.quantities
        if near is not None and any(q.agrees(other) for other in local):
            pool = local
        elif near is not None and not q.counted and any(q.agrees(other) for other in pool) and any(not o.counted for o in local):
            yield Finding(
                "numbers", CONTRADICTED, place, f"{where} says {_list(local, near)} in this place, not {shown(q, part)}"
            )
            continue
        yield from _judge(q, pool, near if pool is local else source.text, place, shown(q, part), source)


def _judge(
    q: Quantity, pool: Sequence[Quantity], text: str | None, place: tuple[int, int], printed: str, source: Source
) -> Iterator[Finding]:
    same = [other for other in pool if q.agrees(other)]
    if not same:
        if q.counted or (q.unit is None and q.values <= source.counts):
            if not q.values <= source.counts:
                yield Finding(
                    "numbers", UNCHECKED, place, f"the record does not count {printed}; it may be a count of listed items"
                )
            return
        yield _missing(q, pool, place, printed, source)
        return
    fitting = [other for other in same if _units_fit(q, other)]
    if not fitting:
        units = " or ".join(sorted({other.unit or "no unit" for other in same}))
        yield Finding(
            "numbers", CONTRADICTED, place, f"the record gives {printed} in another unit: {units}", _list(same, text or "")
        )
        return
    yield from _hedge(q, fitting, place, printed)


def _missing(q: Quantity, pool: Sequence[Quantity], place: tuple[int, int], printed: str, source: Source) -> Finding:
    if any(q.agrees(other) and _units_fit(q, other) for other in source.paper_quantities):
        return Finding("numbers", NOT_IN_RECORD, place, f"{printed} is in the paper, not in the record", in_paper=True)
    shifted = [other for other in pool if q.unit == other.unit and _other_magnitude(q, other)]
    if shifted:
        return Finding(
            "numbers", CONTRADICTED, place, f"the record says {_list(shifted, source.text)}, another magnitude than {printed}"
        )
    alike = [other for other in pool if q.unit and other.dimension == q.dimension]
    if alike:
        said = _list(alike, source.text) if pool is source.quantities else "another number"
        return Finding("numbers", CONTRADICTED, place, f"the record says {said}, not {printed}")
    return Finding("numbers", NOT_IN_RECORD, place, f"the record has no {printed}")


def _other_magnitude(q: Quantity, other: Quantity) -> bool:
    """The same digits a power of ten apart, from a thousand on: 2 billion read as 2亿."""
    return any(
        a >= 1000 and b >= 1000 and abs(math.log10(a / b) - round(math.log10(a / b))) < 1e-9
        for a in q.values
        for b in other.values
    )


def _units_fit(q: Quantity, other: Quantity) -> bool:
    if q.dimension == other.dimension:
        return True
    return not ({q.unit, other.unit} & STRICT) and (q.unit is None or other.unit is None)


def _hedge(q: Quantity, fitting: Iterable[Quantity], place: tuple[int, int], printed: str) -> Iterator[Finding]:
    said = {other.hedge for other in fitting}
    if q.hedge in said or (q.hedge == "about" and None in said):
        return
    if None in said:
        word = HEDGES[q.hedge or "about"]
        yield Finding("hedges", CONTRADICTED, place, f"the record says {printed} plainly, without {word!r}")
    else:
        words = " or ".join(repr(HEDGES[hedge]) for hedge in sorted(filter(None, said)))
        lost = "lost" if q.hedge is None else f"turned into {HEDGES[q.hedge]!r}"
        yield Finding("hedges", CONTRADICTED, place, f"the record's {words} before {printed} is {lost}")


def _list(found: Iterable[Quantity], text: str) -> str:
    return ", ".join(dict.fromkeys(shown(q, text) for q in found))
