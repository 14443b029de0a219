"""``diffolio bench``: many methods beside each other in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffolio.errors import BadInput

bench = typer.Typer(help="Measure many methods beside each other, in one run.", no_args_is_help=True)

Record = Annotated[bool, typer.Option("--record", help="Write the outcome to evidence/.")]


@bench.callback()
def _group() -> None:
    """Measure many methods beside each other, in one run."""


@bench.command()
def editing(
    scenes: Annotated[int | None, typer.Option(min=1, help="Cases of every kind of edit; default 4, or all of --data.")] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000)] = 25,
    model: Annotated[str, typer.Option(help="A bundled model, a diffusers folder or a hub id.")] = "mini-sd",
    data: Annotated[Path | None, typer.Option(help="A folder with PIE-Bench's mapping_file.json and annotation_images/.")] = None,
    kinds: Annotated[str | None, typer.Option(help="Kinds of edit, joined by commas: colour,object,delete,...")] = None,
    only: Annotated[
        str | None, typer.Option(help="Editors, joined by commas; default: all. The baselines are always there.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise; default: the benchmark's own.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("out/bench"),
    record: Record = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Every editor on the same pictures: what stayed, whether the edit is there, and what it cost."""
    from diffolio.claims.benchmark import cases as tabletop
    from diffolio.claims.benchmark import editing as run
    from diffolio.claims.benchmark import pie, report
    from diffolio.claims.evidence import evidence_folder
    from diffolio.models import load

    if record and data:
        raise BadInput("--record writes the evidence of the tabletop run: leave --data out, or leave --record out")
    chosen = _choose(kinds, pie.KINDS if data else tabletop.TWINS)
    loaded = load(model)
    skipped: list[str] = []
    if data:
        multiple = loaded._architecture.multiple(loaded.pipeline)
        found, skipped = pie.pie_bench(data, loaded.default_size, multiple, scenes, chosen)
        typer.echo(f"{len(found)} cases, {len(skipped)} entries that could not be read", err=True)
    made = (lambda size: found) if data else run.on_tabletop(scenes or 4, chosen)
    done = run.benchmark(
        loaded, made, steps=steps, only=_listed(only), seed=run.SEED if seed is None else seed,
        tell=lambda name: typer.echo(f"  {name}", err=True),
    )  # fmt: skip
    done.skipped = skipped
    done.settings |= {"data": str(data.name) if data else "tabletop", "kinds": list(chosen)}
    paths = report.write(done, evidence_folder() / "benchmarks" if record else out)
    if as_json:
        from diffolio.cli.app import print_json

        print_json(done.as_dict())
        return
    _show(done.as_dict(), paths)


@bench.command()
def combinations(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("out/bench"),
    record: Record = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Every pair of techniques on the bundled models: stacks, or is refused as a declared conflict."""
    from rich.console import Console
    from rich.table import Table

    from diffolio.claims import combinations as pairs

    found = pairs.matrix()
    path = pairs.record(found, None if record else out)
    names = list(dict.fromkeys(verdict.first for verdict in found))
    if as_json:
        from diffolio.cli.app import print_json

        print_json(pairs.as_record(found))
    else:
        outcome = {(verdict.first, verdict.second): verdict.outcome for verdict in found}
        grid = Table("first \\ second", *names, title=f"{len(names)} techniques, every pair in both orders")
        for first in names:
            grid.add_row(first, *(outcome[first, second] for second in names))
        console = Console()
        console.print(grid)
        for reason in dict.fromkeys(verdict.reason for verdict in found if verdict.reason):
            console.print(reason, markup=False, highlight=False)
        console.print(str(path))
    if any(verdict.outcome == "broken" for verdict in found):
        raise typer.Exit(1)


@bench.command("miniatures")
def miniatures_sheet(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("out/bench"),
    record: Record = False,
) -> None:
    """One sheet of every bundled model: what it draws, with the reader's verdicts, under what its claim measured."""
    from diffolio.claims.benchmark import sheet

    typer.echo(str(sheet.record(None if record else out)))


def _show(record: dict, paths: list[Path]) -> None:  # type: ignore[type-arg]
    from rich.console import Console
    from rich.table import Table

    from diffolio.claims.benchmark.report import table

    head, rows = table(record, intervals=False)
    grid = Table(*head, title=f"{record['data']}, {record['steps']} steps on {record['model']}")
    for row in rows:
        grid.add_row(*row)
    console = Console()
    console.print(grid)
    for name, reason in record["left_out"].items():
        console.print(f"left out: {name}: {reason}", markup=False, highlight=False)
    for line in record["skipped"]:
        console.print(f"skipped: {line}", markup=False, highlight=False)
    for path in paths:
        console.print(str(path))


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _choose(text: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    from diffolio.errors import choose

    return tuple(choose("kind of edit", name, known) for name in _listed(text)) or known
