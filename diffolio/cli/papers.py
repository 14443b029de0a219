"""``diffolio papers``: read, search, pull, check and write digests. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffolio.cli.library import At, Json, known, library
from diffolio.cli.topics import topics

if TYPE_CHECKING:
    pass

papers = typer.Typer(help="The digest: import, search, pull, check and write.", no_args_is_help=True)
papers.add_typer(topics, name="topics")

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="arXiv ids in any spelling.")]
Remove = Annotated[bool, typer.Option("--remove", help="Take it back.")]


@papers.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Digests, Atom, RSS, OAI, BibTeX, JSON Lines.")],
    report: Annotated[bool, typer.Option("--report", help="List every repair and warning.")] = False,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Read digests and records into the library; all files of one call succeed together or not at all."""
    from diffolio.cli import papers_show as show
    from diffolio.papers.importing import import_files

    with library(at, write=True) as into:
        told = import_files(into, files)
    show.out(told, as_json, lambda: show.imported(told, report))


@papers.command()
def pull(
    source: Annotated[str, typer.Option(help="rss (today), api (a query) or oai (everything since a date).")] = "rss",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Category, as cs.CV; several are joined.")] = None,
    query: Annotated[str | None, typer.Option(help="For api: arXiv's query language, as cat:cs.CV AND abs:diffusion.")] = None,
    since: Annotated[str | None, typer.Option(help="YYYY-MM-DD or 7d; default: where the last pull ended.")] = None,
    until: Annotated[str | None, typer.Option(help="YYYY-MM-DD.")] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Fetch from arXiv, politely: one request per three seconds over all processes; stop and go on at any time."""
    from diffolio.cli import papers_show as show
    from diffolio.papers.pull import pull as fetch

    with library(at, write=True) as into:
        told = fetch(into, source=source, sets=set_ or [], query=query, since=since, until=until, progress=show.note)
    show.out(told, as_json, lambda: show.pulled(told))


@papers.command()
def search(
    query: Annotated[list[str], typer.Argument(metavar="QUERY", help="Words, phrases, fields: see `diffolio papers syntax`.")],
    limit: Limit = 20,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Rank all matches, not only the newest 20,000.")] = False,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Find papers. `diffolio papers search 'title:"token merging" -gan since:2024-03 runnable:yes'`"""
    from diffolio.cli import papers_show as show
    from diffolio.papers.search import search as find

    with library(at) as source:
        found = find(source, " ".join(query), limit=limit, offset=offset, all=everything)
    show.out(found, as_json, lambda: show.found(found))


@papers.command()
def syntax() -> None:
    """The query language on one page."""
    import inspect

    from diffolio.papers import query

    typer.echo(inspect.getdoc(query))


@papers.command()
def show(id: str, at: At = None, as_json: Json = False) -> None:
    """One paper: record, versions, links, where it was listed, repairs, marks, summaries, and whether it runs."""
    from diffolio.cli import papers_show as show

    with library(at) as source:
        paper = known(source, id)
    show.out(paper, as_json, lambda: show.paper(paper))


@papers.command()
def similar(id: str, limit: Limit = 10, at: At = None, as_json: Json = False) -> None:
    """Papers near one paper in meaning, with the words that they share."""
    from diffolio.cli import papers_show as show
    from diffolio.papers.likes import similar as near

    with library(at) as source:
        rows = near(source, id, limit)
    show.out(rows, as_json, lambda: show.scored(rows))


@papers.command()
def recommend(
    limit: Limit = 20,
    query: Annotated[str | None, typer.Option(help="Only among what this query finds.")] = None,
    decay: Annotated[float | None, typer.Option(min=0.0, help="How fast old likes count less; off by default.")] = None,
    ask: Annotated[bool, typer.Option("--ask", help="The papers whose rating would teach most.")] = False,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Papers ranked by your likes and dislikes, each with why."""
    from diffolio.cli import papers_show as show
    from diffolio.papers import likes

    with library(at) as source:
        rows = likes.ask(source, min(limit, 5)) if ask else likes.recommend(source, limit, query=query, decay=decay)
    show.out(rows, as_json, lambda: show.scored(rows))


def marker(kind: str, told: str) -> None:
    """A command that marks papers without a text."""

    def command(ids: Ids, remove: Remove = False, at: At = None) -> None:
        with library(at, write=True) as into, into.transaction():
            for id in ids:
                into.unmark(id, kind) if remove else into.mark(id, kind)

    command.__doc__ = told
    papers.command(kind)(command)


marker("like", "Like papers: recommendations go towards them.")
marker("dislike", "Dislike papers: recommendations go away from them.")
marker("read", "Mark papers as read.")
marker("hidden", "Hide papers from recommendations and digests.")


def texted(kind: str, told: str) -> None:
    """A command that marks a paper with a text."""

    def command(
        id: str, text: Annotated[str, typer.Argument(metavar="TEXT")] = "", remove: Remove = False, at: At = None
    ) -> None:
        with library(at, write=True) as into:
            into.unmark(id, kind, text or None) if remove else into.mark(id, kind, text)

    command.__doc__ = told
    papers.command(kind)(command)


texted("tag", "Tag a paper; tags are searched as tag:NAME.")
texted("note", "Keep a note with a paper.")


@papers.command()
def stats(at: At = None, as_json: Json = False) -> None:
    """What the library holds."""
    from diffolio.cli import papers_show as show

    with library(at) as source:
        told = source.stats()
    show.out(told, as_json, lambda: show.facts(told))


@papers.command()
def doctor(at: At = None, as_json: Json = False) -> None:
    """What is damaged, missing or uncertain in the library, and what to do."""
    from diffolio.cli import papers_show as show

    with library(at) as source:
        findings = source.doctor()
    show.out(findings, as_json, lambda: show.findings(findings))


@papers.command()
def repairs(
    id: Annotated[str | None, typer.Argument(help="Only those of this paper.")] = None,
    undo: Annotated[int | None, typer.Option(help="Put back the text before this repair.")] = None,
    redo: Annotated[int | None, typer.Option(help="Apply an undone repair again.")] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """The corrections of broken text: list, undo, redo."""
    from diffolio.cli import papers_show as show

    with library(at, write=undo is not None or redo is not None) as into:
        if undo is not None:
            into.undo(undo)
        if redo is not None:
            into.redo(redo)
        rows = into.repairs(id)
    show.out(rows, as_json, lambda: show.repairs(rows))


@papers.command()
def export(
    out: Annotated[Path | None, typer.Option("--out", help="File; default: standard output.")] = None,
    query: Annotated[str | None, typer.Option(help="Only what this finds (newest 10,000).")] = None,
    format: Annotated[str, typer.Option(help="jsonl (everything, canonical), bibtex, csl.")] = "jsonl",
    at: At = None,
) -> None:
    """Write the library as JSON lines (the fingerprint is their hash), BibTeX or CSL-JSON."""
    from diffolio.cli import papers_write as write

    with library(at) as source:
        write.export(source, out, query, format)


@papers.command()
def digest(
    topic: Annotated[str, typer.Argument(help="A saved topic (see `diffolio papers topics list`) or a query.")],
    format: Annotated[
        str, typer.Option(help="markdown, html, topic-list, overview, blog, rss, atom, json, jsonl, mail, bibtex, csl.")
    ] = "markdown",
    first: Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD or 7d; default: a week before --to.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="YYYY-MM-DD; default: the newest day in the library.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Only what changed since the last issue of this topic.")] = False,
    group: Annotated[str, typer.Option(help="family or date.")] = "date",
    strict: Annotated[bool, typer.Option("--strict", help="Leave out summary statements that are not in the record.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="File; default: standard output.")] = None,
    at: At = None,
) -> None:
    """Write an issue: what is new, what changed, what runs here."""
    from diffolio.cli import papers_write as write

    with library(at, write=new) as source:
        write.digest(source, topic, format, first, last, new, group, strict, out)


@papers.command()
def summarize(
    query: Annotated[list[str], typer.Argument(metavar="QUERY|ID", help="Which papers.")],
    endpoint: Annotated[str | None, typer.Option(help="An OpenAI-compatible URL, as http://localhost:11434/v1.")] = None,
    model: Annotated[str | None, typer.Option(help="The endpoint's model.")] = None,
    language: Annotated[str, typer.Option(help="ISO 639-1, for the endpoint.")] = "en",
    limit: Limit = 20,
    store: Annotated[bool, typer.Option("--store", help="Keep the summaries in the library.")] = False,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Summaries: sentences of the abstract, verbatim, or an endpoint's with a quote for every bullet, checked."""
    from diffolio.cli import papers_write as write

    with library(at, write=store) as source:
        write.summarize(source, " ".join(query), endpoint, model, language, limit, store, as_json)


@papers.command()
def check(
    what: Annotated[str, typer.Argument(metavar="FILE|ID", help="A digest with summaries, or a paper of the library.")],
    at: At = None,
    as_json: Json = False,
) -> None:
    """Check model-written summaries against the record: what is contradicted, lost or not in the record."""
    from diffolio.cli import papers_write as write

    bad = write.check(what, lambda: library(at), as_json)
    if bad:
        raise typer.Exit(1)


@papers.command()
def wanted(limit: Limit = 20, at: At = None, as_json: Json = False) -> None:
    """Liked papers that no method runs yet."""
    from diffolio.cli import papers_show as show

    with library(at) as source:
        ids = [id for id, _ in source.marked("like") if id not in source.methods]
        rows = source.papers(ids[:limit])
    show.out(rows, as_json, lambda: show.titles(rows))
