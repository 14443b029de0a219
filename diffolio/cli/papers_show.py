"""How the papers half prints: tables and pages for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)


def note(text: str) -> None:
    """A remark beside the result, on standard error."""
    typer.secho(text, err=True, fg="yellow")


def out(value: Any, as_json: bool, pretty: Callable[[], None]) -> None:
    if as_json:
        typer.echo(json.dumps(plain(value), indent=1, ensure_ascii=False))
    else:
        pretty()


def plain(value: Any) -> Any:
    """Anything that the papers half returns, as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def names(paper: Any, most: int = 3) -> str:
    """``A. Author, B. Author, … (7)``"""
    if not paper.authors:
        return ""
    shown = ", ".join(author.name for author in paper.authors[:most])
    more = len(paper.authors) > most or paper.authors_cut
    return shown + (f", … ({len(paper.authors)}{'+' if paper.authors_cut else ''})" if more else "")


def titles(rows: Iterable[Any]) -> None:
    """Two or three lines a paper: id, title; authors, date, categories; what runs."""
    for paper in rows:
        line = Text()
        line.append(f"{paper.id:<12} ", style="cyan")
        line.append(paper.title or "(no title)", style="bold")
        console.print(line, soft_wrap=True)
        facts = [names(paper), (paper.published or "")[:10], " ".join(paper.categories or ())]
        facts += [f"v{paper.version}"] if paper.version and paper.version > 1 else []
        told = " · ".join(fact for fact in facts if fact)
        if told:
            console.print(Text(f"{'':13}{told}", style="dim"), soft_wrap=True)
        if paper.runnable:
            console.print(Text(f"{'':13}{paper.runnable.line}", style="green"), soft_wrap=True)


def imported(told: Any, report: bool) -> None:
    """What every file brought; with ``report`` each repair and warning."""
    table = Table("file", "format", "entries", "new", "changed", "same", "repairs", "warnings")
    for file in told.files:
        counts = (file.entries, file.new, file.changed, file.same, len(file.repairs), len(file.warnings))
        table.add_row(escape(file.path.rsplit("/", 1)[-1]), file.kind, *(f"{count:,}" for count in counts))
    console.print(table)
    for path, reason in told.skipped:
        note(f"skipped {path}: {reason}")
    for work in told.works:
        console.print(Text(f"the same work under several ids: {work}"), soft_wrap=True)
    if not report:
        if told.repairs or told.warnings:
            console.print(f"[dim]{told.repairs} repairs, {told.warnings} warnings: --report lists them[/]")
        return
    for file in told.files:
        for warning in file.warnings:
            console.print(Text(f"warning  {warning}", style="yellow"), soft_wrap=True)
        for id, repair in file.repairs:
            before, after = changed(repair.before, repair.after)
            line = Text(f"{repair.kind:<13} {id or 'header':<11} {repair.field:<9} {repair.confidence:.2f}  ")
            line.append(before, style="red")
            line.append(" -> ")
            line.append(after, style="green")
            console.print(line, soft_wrap=True)


def pulled(told: Any) -> None:
    facts(plain(told))


def found(result: Any) -> None:
    titles(result.papers)
    count = f"{result.total:,}" if result.exact else f"about {result.total:,}"
    console.print(f"[dim]{len(result.papers)} of {count}{'; ' + escape(result.note) if result.note else ''}[/]")


def paper(one: Any) -> None:
    console.print(Text(one.title or "(no title)", style="bold"), soft_wrap=True)
    console.print(Text(names(one, 30)), soft_wrap=True)
    head = [one.url, (one.published or "")[:10], " ".join(one.categories or ()), one.comments, one.journal_ref, one.doi]
    console.print(Text(" · ".join(str(part) for part in head if part), style="dim"), soft_wrap=True)
    if one.runnable:
        console.print(Text(one.runnable.line, style="green"), soft_wrap=True)
    if one.withdrawn:
        console.print("[red]withdrawn[/]")
    if one.abstract:
        uncertain = " (repaired, uncertain)" if "abstract" in one.uncertain else ""
        console.print(Text(f"\n{one.abstract}{uncertain}\n"), soft_wrap=True)
    for link in one.links:
        console.print(Text(f"{link.kind:<8} {link.url}  (from the {link.found_in})"), soft_wrap=True)
    for version in one.versions if len(one.versions) > 1 else ():
        console.print(Text(f"v{version.n:<7} {version.submitted or ''}"))
    for listing in one.listings:
        when = listing.first if listing.first == listing.last else f"{listing.first}--{listing.last}"
        console.print(Text(f"listed   {listing.series} {when}, place {listing.position}"), soft_wrap=True)
    for work in one.works:
        others = ", ".join(other for other in work.papers if other != one.id)
        console.print(Text(f"same as  {others} ({work.status}: {work.reason})"), soft_wrap=True)
    for mark in one.marks:
        console.print(Text(f"{mark.kind:<8} {mark.value}"), soft_wrap=True)
    for summary in one.summaries:
        by = f"{summary.kind}{', ' + summary.model if summary.model else ''}, {summary.language}"
        verdict = f" · check: {summary.verdict}" if summary.verdict else ""
        console.print(Text(f"summary  ({by}{verdict})", style="dim"))
    for repair in one.repairs:
        state = " (undone)" if repair.undone else ""
        console.print(Text(f"repair   #{repair.id} {repair.field}: {repair.kind}, {repair.confidence:.2f}{state}", style="dim"))


def scored(rows: Iterable[Any]) -> None:
    """A ranking with why."""
    for place, row in enumerate(rows, start=1):
        line = Text(f"{place:>3}. ")
        line.append(f"{row.id:<12} ", style="cyan")
        line.append(row.title or "(no title)", style="bold")
        line.append(f"  {row.score:.3f}", style="dim")
        console.print(line, soft_wrap=True)
        why = row.why
        if why is None:
            continue
        parts = [f"for: {', '.join(word for word, _ in why.lifted[:6])}"] if why.lifted else []
        parts += [f"against: {', '.join(word for word, _ in why.lowered[:4])}"] if why.lowered else []
        parts += [f"near {why.nearest} ({why.closeness:.2f})"] if why.nearest else []
        told = "; ".join(parts)
        console.print(Text(f"     {told}", style="dim"), soft_wrap=True)


def facts(told: Mapping[str, Any]) -> None:
    """Names and numbers."""
    table = Table(show_header=False, box=None)
    for name, value in told.items():
        if isinstance(value, Mapping):
            value = ", ".join(
                f"{key} {number:,}" if isinstance(number, int) else f"{key} {number}" for key, number in value.items()
            )
        elif isinstance(value, (list, tuple)):
            value = ", ".join(str(part) for part in value)
        shown = (
            f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value if value is not None else "")
        )
        table.add_row(name.replace("_", " "), escape(shown))
    console.print(table)


def findings(rows: Iterable[Any]) -> None:
    rows = list(rows)
    for row in rows:
        told = plain(row)
        console.print(Text("- " + " · ".join(str(part) for part in told.values())), soft_wrap=True)
    console.print("[green]all is well[/]" if not rows else f"[dim]{len(rows)} findings[/]")


def repairs(rows: Iterable[Any]) -> None:
    table = Table("#", "paper", "field", "kind", "confidence", "before", "after", "state")
    for row in rows:
        before, after = changed(row.before, row.after)
        state = "undone" if row.undone else "uncertain" if row.confidence < 0.5 else ""
        table.add_row(str(row.id), row.paper or "(issue)", row.field, row.kind, f"{row.confidence:.2f}", escape(before),
                      escape(after), state)  # fmt: skip
    console.print(table)


def changed(before: str, after: str, around: int = 18) -> tuple[str, str]:
    """The two texts, cut down to where they first differ."""
    at = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    start = max(0, at - around)
    cut = lambda text: ("…" if start else "") + text[start : at + around] + ("…" if at + around < len(text) else "")  # noqa: E731
    return cut(before), cut(after)


def topics(rows: Iterable[Any]) -> None:
    table = Table("topic", "includes", "excludes")
    for row in rows:
        told = plain(row)
        table.add_row(told["name"], escape(told["include"]), escape(told["exclude"]))
    console.print(table)


VERDICT_STYLES = {"supported": "green", "contradicted": "red", "not in the record": "yellow", "cannot be checked": "dim"}


def summaries(rows: Iterable[Mapping[str, Any]]) -> None:
    """Each paper's bullets, and what the check says of them."""
    for row in rows:
        head = Text(f"{row['id']:<12} ", style="cyan")
        head.append(row["title"] or "(no title)", style="bold")
        console.print(head, soft_wrap=True)
        if "error" in row:
            console.print(Text(f"  no summary: {row['error']}", style="red"), soft_wrap=True)
            continue
        summary, checked = row["summary"], row["check"]
        for bullet in summary["bullets"]:
            console.print(Text(f"  {bullet['part']:<8} {' '.join(bullet['text'].split())}"), soft_wrap=True)
        if summary.get("code"):
            console.print(Text(f"  code     {summary['code']}"), soft_wrap=True)
        kind = "taken verbatim from the abstract" if summary["kind"] == "extractive" else f"written by {summary['model']}"
        console.print(Text(f"  {kind}; check: {tally(checked['tally'])}\n", style="dim"), soft_wrap=True)


def tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number) or "nothing to check"


def reports(rows: Iterable[Any]) -> None:
    """What is wrong with each summary: the place, the verdict, the reason, the record's value."""
    total: dict[str, int] = {}
    for report in rows:
        console.print(Text(f"{report.id}: {tally(report.tally())}", style="bold"), soft_wrap=True)
        for verdict, number in report.tally().items():
            total[verdict] = total.get(verdict, 0) + number
        for finding in report.findings:
            if finding.verdict in ("supported", "cannot be checked"):
                continue
            line = Text("  ")
            line.append(f"{finding.kind:<11} ", style=VERDICT_STYLES[finding.verdict])
            line.append(" ".join(report.text[slice(*finding.span)].split())[:60])
            line.append(f"  {finding.why}", style="dim")
            if finding.replacement:
                line.append(f"  -> {finding.replacement}", style="green")
            console.print(line, soft_wrap=True)
    console.print(f"[dim]all statements: {tally(total)}[/]")
