"""What ``diffolio papers`` writes: exports, issues, summaries, checks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffolio.cli import papers_show as show
from diffolio.errors import BadInput, choose

if TYPE_CHECKING:
    from diffolio.papers.store import Library

EXPORTS = ("jsonl", "bibtex", "csl")


def write(text: str, out: Path | None) -> None:
    """To standard output, or to a file that is there whole or not at all. Newlines are as given."""
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    fresh = out.with_name(out.name + ".new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(text.encode())
        os.replace(fresh, out)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise BadInput(f"cannot write {out} ({error.strerror}): name another file with --out") from error
    show.note(f"wrote {out} ({len(text.encode()):,} bytes)")


def now() -> str:
    """The time that an issue carries; SOURCE_DATE_EPOCH, where it is set, makes it repeatable."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None and not epoch.isdigit():
        raise BadInput(f"SOURCE_DATE_EPOCH is {epoch!r}: needed are seconds since 1970, or leave it unset")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def day(text: str | None, before: str) -> str | None:
    """``2024-03-15`` as it is; ``7d`` is as many days before ``before``, itself included."""
    if text is None or not (match := re.fullmatch(r"(\d{1,5})d", text)):
        return text
    return (date.fromisoformat(before) - timedelta(days=max(int(match[1]) - 1, 0))).isoformat()


def digest(
    source: Library, topic: str, format: str, first: str | None, last: str | None, new: bool, group: str, strict: bool,
    out: Path | None,
) -> None:  # fmt: skip
    from diffolio.papers.issue import compose, last_issue, newest_day, remember
    from diffolio.papers.render import FORMATS, render

    choose("format", format, FORMATS)
    time = now()
    last = day(last, time[:10]) or newest_day(source) or time[:10]
    since = last_issue(source, topic) if new else None
    begin = day(first or "7d", last)
    assert begin is not None
    made = compose(source, topic, first=begin, last=last, now=time, since=since, group=group, strict=strict)
    write(render(made, format), out)
    if new:
        remember(source, topic, made)
    counts = ", ".join(f"{number} {name}" for name, number in made.counts.items() if number)
    show.note(f"{made.topic}, {made.first} to {made.last}: {counts or 'no papers'}")


def export(source: Library, out: Path | None, query: str | None, format: str) -> None:
    import io

    from diffolio.papers.issue import Digest, DigestEntry
    from diffolio.papers.render import render
    from diffolio.papers.search import search

    choose("format", format, EXPORTS)
    if format == "jsonl" and query is None:
        stream = io.StringIO()
        source.export_jsonl(stream)
        write(stream.getvalue(), out)
        return
    papers = search(source, query or "", limit=10_000).papers
    if format == "jsonl":
        from diffolio.papers.export import line

        write("".join(line(paper) + "\n" for paper in sorted(papers, key=lambda p: p.key)), out)
    else:
        entries = tuple(DigestEntry(p, "new", (p.published or "")[:10], p.version, p.title or "", p.abstract) for p in papers)
        write(render(Digest(query or "", query or "", "", "", now(), entries), format), out)


def summarize(
    source: Library, query: str, endpoint: str | None, model: str | None, language: str, limit: int, store: bool, as_json: bool
) -> None:
    """Summaries of what is found, each with its check; a failure is told and stops nothing."""
    from diffolio.papers.summaries import check as examine
    from diffolio.papers.summaries import extract

    papers = one_or_found(source, query, limit)
    told: list[dict[str, Any]] = []
    if endpoint is None:
        made = [(paper, extract(paper), "") for paper in papers]
    else:
        if not model:
            raise BadInput("an endpoint needs the name of its model: give --model")
        from diffolio.papers.summaries.endpoint import summarize_endpoint

        outcomes = {told.id: told for told in summarize_endpoint(papers, endpoint, model, language=language)}
        made = [(paper, outcomes[paper.id].summary, outcomes[paper.id].error or "") for paper in papers]
    for paper, summary, error in made:
        if summary is None or not summary.bullets:
            told.append({"id": paper.id, "title": paper.title, "error": error or "there is no abstract to take sentences from"})
            continue
        report = examine(summary, paper)
        if store:
            keep(source, paper, summary, report)
        told.append({"id": paper.id, "title": paper.title, "summary": summary.to_json(), "check": report.to_json()})
    show.out(told, as_json, lambda: show.summaries(told))


def keep(source: Library, paper: Any, summary: Any, report: Any) -> None:
    """Store a summary with its check."""
    from diffolio.papers.view import Summary

    source.add_summary(
        paper.id,
        Summary(
            summary.language, summary.kind, summary.to_json(), summary.version, summary.model or "", summary.prompt or "",
            summary.schema, text=summary.text, check=report.to_json(), verdict=report.verdict, at=now()[:10],
        ),
    )  # fmt: skip


def check(what: str, open_library: Callable[[], Any], as_json: bool) -> bool:
    """Check a digest's summaries against its own records, or a paper's against the library's; True if any is contradicted."""
    from diffolio.papers.summaries import CONTRADICTED

    reports = _file(Path(what)) if Path(what).is_file() else _stored(what, open_library)
    show.out([report.to_json() for report in reports], as_json, lambda: show.reports(reports))
    return any(report.verdict == CONTRADICTED for report in reports)


def _file(path: Path) -> list[Any]:
    from diffolio.papers.importing import read_issue
    from diffolio.papers.summaries import check_imported

    entries = [entry for entry in read_issue(path).entries if entry.summary]
    if not entries:
        raise BadInput(f"{path} holds no summaries: checked are digests of the blog format")
    return [check_imported(entry.summary, entry) for entry in entries]


def _stored(id: str, open_library: Callable[[], Any]) -> list[Any]:
    from diffolio.cli.library import known
    from diffolio.papers.record import ImportedSummary
    from diffolio.papers.summaries import Summary, check_imported
    from diffolio.papers.summaries import check as examine

    with open_library() as source:
        paper = known(source, id)
    if not paper.summaries:
        raise BadInput(
            f"{paper.id} has no summary to check: import a digest that has one, or `diffolio papers summarize --store`"
        )
    reports = []
    for stored in paper.summaries:
        if stored.kind == "imported":
            body = stored.body
            told = ImportedSummary(stored.raw or "", stored.language, body.get("summary"), tuple(body.get("takeaways", ())))
            reports.append(check_imported(told, paper))
        else:
            reports.append(examine(Summary.from_json(stored.body), paper))
    return reports


def one_or_found(source: Library, query: str, limit: int) -> list[Any]:
    """The paper of an id, or what a query finds."""
    from diffolio.papers.identifiers import parse_id
    from diffolio.papers.search import search

    try:
        parse_id(query)
    except BadInput:
        papers = list(search(source, query, limit=limit).papers)
        if not papers:
            raise BadInput(f"{query!r} finds no paper in this library of {len(source)}") from None
        return papers
    from diffolio.cli.library import known

    return [known(source, query)]
