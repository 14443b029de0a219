"""``diffolio papers topics``: saved queries."""

from __future__ import annotations

from typing import Annotated

import typer

from diffolio.cli.library import At, Json, library

topics = typer.Typer(help="Saved queries: a topic is a digest, a feed and an alert.", no_args_is_help=True)


@topics.command("list")
def list_topics(at: At = None, as_json: Json = False) -> None:
    """Every topic with its query."""
    from diffolio.cli import papers_show as show
    from diffolio.papers.topics import topics as known_topics

    with library(at) as source:
        rows = known_topics(source)
    show.out(rows, as_json, lambda: show.topics(rows))


@topics.command("add")
def add_topic(
    name: str,
    include: Annotated[list[str], typer.Argument(metavar="QUERY", help="What belongs to it.")],
    exclude: Annotated[list[str] | None, typer.Option("--exclude", help="What does not; repeatable.")] = None,
    at: At = None,
) -> None:
    """Save a query under a name."""
    from diffolio.papers.topics import add_topic as save

    with library(at, write=True) as into:
        save(into, name, " ".join(include), " OR ".join(f"({one})" for one in exclude or []))


@topics.command("remove")
def remove_topic(name: str, at: At = None) -> None:
    """Forget a topic."""
    from diffolio.papers.topics import remove_topic as forget

    with library(at, write=True) as into:
        forget(into, name)
