"""An issue in the three digest grammars of papers.formats, repaired and escaped; what runs or changed stands in a note."""

from __future__ import annotations

from typing import Any

from diffolio.papers.digest import EVERYTHING, Digest, DigestEntry
from diffolio.papers.formats import of
from diffolio.papers.record import Entry, ImportedSummary, Issue
from diffolio.papers.render import common
from diffolio.papers.shown import Statement


def topic_list(digest: Digest, **options: Any) -> str:
    """The grammar of daily topic lists."""
    return _written(digest, "topic-list", options)


def overview(digest: Digest, **options: Any) -> str:
    """The grammar of overviews over some days; ``heading`` is the words after the window."""
    return _written(digest, "overview", {"heading": "Papers"} | options)


def blog(digest: Digest, **options: Any) -> str:
    """The grammar of blog digests with summaries; ``labels``, ``updated`` and ``notice`` as in formats.blog."""
    makers = sorted({entry.summary.by for entry in digest.entries if entry.summary})
    notice = f"Summaries: {'; '.join(makers)}." if makers else None
    return _written(digest, "blog", {"notice": notice} | options)


def _written(digest: Digest, format: str, options: dict[str, Any]) -> str:
    notes = {entry.id: note for entry in digest.entries if (note := _note(entry))}
    text: str = of(format).write(issue_of(digest, format), mode="clean", notes=notes, **options)
    return text


def _note(entry: DigestEntry) -> str:
    told = [] if entry.kind == "new" and not entry.crossed else [common.news(entry)]
    return common.clean(" · ".join([*told, entry.runnable.line] if entry.runnable else told))


def issue_of(digest: Digest, format: str) -> Issue:
    """The issue as the importers would read it."""
    entries = tuple(_entry(entry) for entry in digest.entries)
    topic = common.clean(digest.topic)
    return Issue(format, topic, None if topic == EVERYTHING else topic, digest.first, digest.last, entries)


def _entry(entry: DigestEntry) -> Entry:
    paper = entry.paper
    return Entry(
        entry.id, {}, common.clean(entry.title), common.clean(entry.abstract) or None, entry.version, entry.url,
        tuple(common.clean(author.name) for author in entry.authors) or None, paper.authors_cut, paper.categories,
        entry.submitted if len(entry.submitted) == 10 else None, common.clean(paper.comments) or None, summary=_summary(entry),
    )  # fmt: skip


def _summary(entry: DigestEntry) -> ImportedSummary | None:
    if not entry.summary:
        return None
    whole = [_said(each) for each in entry.summary.statements if not each.label]
    bullets = tuple(_said(each) for each in entry.summary.statements if each.label)
    return ImportedSummary("", entry.summary.language, " ".join(whole) or None, bullets)


def _said(each: Statement) -> str:
    return common.clean(f"{each.label + ': ' if each.label else ''}{each.text}{f' ({each.doubt})' if each.doubt else ''}")
