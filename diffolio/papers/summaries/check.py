"""The fact check: every statement of a summary against the record it is about.

``supported`` means word for word, a field equal to the record's, or a bullet whose quote stands in the source and holds its
numbers and names. ``cannot be checked`` means that no rule objects; what the sentence means still needs a reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from diffolio.errors import BadInput
from diffolio.papers.record import ImportedSummary
from diffolio.papers.summaries import check_facts as facts
from diffolio.papers.summaries import check_form as form
from diffolio.papers.summaries import scan
from diffolio.papers.summaries.check_names import Names, keywords, names, terms
from diffolio.papers.summaries.check_numbers import numbers
from diffolio.papers.summaries.check_strength import strength
from diffolio.papers.summaries.parts import FIELDS, Part, parts, statements
from diffolio.papers.summaries.report import (
    CONTRADICTED,
    NOT_IN_RECORD,
    SUPPORTED,
    UNCHECKED,
    VERDICTS,
    Finding,
    Report,
    Statement,
)
from diffolio.papers.summaries.source import Source
from diffolio.papers.summaries.summary import Summary

MAX_CHARACTERS = 100_000  # what is longer is not a summary


def check(summary: Summary | ImportedSummary | str, source: Any, *, paper: str | None = None) -> Report:
    """Check a summary, or any text, against a record (anything with a Record's fields).

    ``paper``: the full text, for tier 2. Raises BadInput for a text over 100,000 characters.
    """
    source = Source.of(source, paper)
    if isinstance(summary, Summary):
        return _check_summary(summary, source)
    if isinstance(summary, ImportedSummary):
        return check_imported(summary, source)
    return _check_text(summary, source)


def check_imported(summary: ImportedSummary, source: Any, *, paper: str | None = None) -> Report:
    """Check the model-written text of a foreign digest: all of its raw text, and what its reading holds beyond that."""
    raw = summary.raw
    beyond = [text for text in (summary.summary, *summary.takeaways) if text and scan.folded(text) not in scan.folded(raw)]
    return _check_text("\n".join([*beyond, raw]), Source.of(source, paper))


def _check_text(raw: str, source: Source) -> Report:
    if len(raw) > MAX_CHARACTERS:
        raise BadInput(f"a text of {len(raw):,} characters is no summary; the check takes at most {MAX_CHARACTERS:,}")
    cleaned = scan.clean(raw)
    text = cleaned.text
    found = parts(text)
    checker = _Checker(text, source, scan.language(text))
    out: list[Statement] = []
    prose: list[tuple[int, int]] = []
    for part in found:
        spans = statements(text, part)
        if part.name not in FIELDS:
            prose += spans
        for span in spans:
            out.append(checker.statement(part, span, raw[slice(*cleaned.span(*span))]))
    notes = [*form.repeats(text, prose), *form.languages(text, found, prose), *form.lacking(text, source, found)]
    for part in found:
        if part.name in ("summary", "tldr"):
            notes += form.too_long(text, source, part)
        elif part.name == "text":  # without labels the first paragraph is the summary
            end = text.find("\n\n", part.start, part.end)
            notes += form.too_long(text, source, replace(part, end=end if end > 0 else part.end))

    def back(finding: Finding) -> Finding:
        return replace(finding, span=cleaned.span(*finding.span))

    mapped = tuple(
        replace(s, span=cleaned.span(*s.span), text=raw[slice(*cleaned.span(*s.span))], findings=tuple(map(back, s.findings)))
        for s in out
    )
    return Report(source.id, raw, mapped, (*map(back, notes), *form.broken_lists(raw)))


class _Checker:
    """All rules on one text; ``known``: the source's names."""

    def __init__(self, text: str, source: Source, language: str) -> None:
        self.text, self.source, self.language = text, source, language
        self.known = Names(source.text)
        self.same = scan.language(source.prose) == language
        self.bags = [set(scan.words(sentence)) for sentence in source.sentences] if self.same else []

    def statement(self, part: Part, span: tuple[int, int], raw: str = "", quote: str | None = None) -> Statement:
        found = tuple(self.findings(part, span, raw, quote))
        return Statement(part.name, span, self.text[slice(*span)], self._verdict(part, span, found, quote), found, quote)

    def _verdict(self, part: Part, span: tuple[int, int], found: tuple[Finding, ...], quote: str | None) -> str:
        worst = max((finding.verdict for finding in found), key=VERDICTS.index, default=None)
        if worst not in (None, SUPPORTED):
            return str(worst)
        if quote is not None or self._verbatim(span) or (part.name in FIELDS and worst == SUPPORTED):
            return SUPPORTED
        return UNCHECKED

    def _verbatim(self, span: tuple[int, int]) -> bool:
        said = scan.folded(self.text[slice(*span)])
        return len(said.split()) >= 3 and said in scan.folded(self.source.text)

    def findings(self, part: Part, span: tuple[int, int], raw: str, quote: str | None) -> Iterator[Finding]:
        text, source = self.text, self.source
        if part.name == "authors":
            yield from facts.people(text, source, span, raw)
            return
        if part.name == "affiliation":
            yield from facts.affiliation(text, source, span)
            return
        if part.name in ("code", "paper", "project"):
            yield from facts.code(text, source, part)
        yield from facts.ids(text, source, span)
        yield from facts.links(text, source, span)
        if part.name in ("code", "paper", "project"):
            return
        if part.name == "keywords":
            yield from keywords(text, source, span)
            yield from form.leftovers(text, source, span)
            return
        if part.name == "title":
            yield from facts.title(text, source, span)
        if part.name == "workload" and not facts.nothing(text[slice(*span)]) and not self._verbatim(span):
            yield Finding("workload", NOT_IN_RECORD, span, "an opinion on effort, which no record has")
        yield from self._prose(span, quote)

    def _prose(self, span: tuple[int, int], quote: str | None) -> Iterator[Finding]:
        text, source = self.text, self.source
        near = quote if quote is not None else self._near(span)
        where = "the quote" if quote is not None else "the record"
        yield from facts.no_code(text, source, span)
        yield from facts.cited_people(text, source, span)
        yield from numbers(text, source, span, near, where)
        quoted = Names(f"{quote} {source.title or ''}") if quote is not None else None
        yield from names(text, source, span, self.language, self.known, quoted)
        yield from terms(text, source, span)
        yield from strength(text, source, span, near if self.same else None)
        yield from form.leftovers(text, source, span)

    def _near(self, span: tuple[int, int]) -> str | None:
        """The source's sentence that a statement in the same language clearly restates (nine of ten of its words)."""
        said = {word for word in scan.words(self.text[slice(*span)]) if not word[0].isdigit()}
        if len(said) < 6:
            return None
        shares = (
            [(len(said & bag) / len(said), sentence) for bag, sentence in zip(self.bags, self.source.sentences, strict=True)]
            if self.same
            else []
        )
        best = max(shares, default=(0.0, ""))
        return best[1] if best[0] >= 0.85 else None


def _check_summary(summary: Summary, source: Source) -> Report:
    """Bullet by bullet; each quote must stand in the source, and hold the numbers and names of its bullet."""
    lines: list[str] = []
    spans: list[tuple[int, int]] = []
    out: list[Statement] = []
    place = 0
    for bullet in summary.bullets:
        line = scan.folded(scan.clean(bullet.text).text)
        spans.append((place, place + len(line)))
        lines.append(line)
        place += len(line) + 1
    text = "\n".join(lines)
    checker = _Checker(text, source, summary.language)
    folded = [scan.folded(piece) for piece in (source.title, source.abstract, source.comments, source.paper) if piece]
    for bullet, span in zip(summary.bullets, spans, strict=True):
        part = Part(bullet.part, *span)
        missing = bullet.quote is not None and not any(scan.folded(bullet.quote) in piece for piece in folded)
        verbatim = bullet.quote is not None and scan.folded(bullet.quote) == scan.folded(bullet.text)
        quote = None if bullet.quote is None or missing or verbatim else scan.folded(scan.clean(bullet.quote).text)
        statement = checker.statement(part, span, bullet.text, quote)
        if missing:
            wrong = Finding("quotes", CONTRADICTED, span, "its quote does not stand in the source")
            statement = replace(statement, verdict=CONTRADICTED, findings=(*statement.findings, wrong))
        out.append(statement)
    notes: Iterable[Finding] = form.repeats(text, spans)
    return Report(source.id, text, tuple(out), tuple(notes))
