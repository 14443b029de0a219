"""The commands of ``diffolio``. Imports that cost time stand inside the commands."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from diffolio.cli.bench import bench
from diffolio.cli.papers import papers
from diffolio.errors import BadInput, DiffolioError

app = typer.Typer(help="A digest of diffusion papers that you can run.", no_args_is_help=True, add_completion=False)
app.add_typer(papers, name="papers")
app.add_typer(bench, name="bench")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to.")]


def main() -> None:
    """Run the command line; a DiffolioError is told in one line, without a trace."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        status = app(standalone_mode=False)  # of typer.Exit, which is not raised here
        if isinstance(status, int) and status:
            sys.exit(status)
    except DiffolioError as error:
        typer.secho(f"diffolio: {error}", err=True, fg="red")
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        typer.secho("diffolio: interrupted", err=True, fg="red")
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.startswith("click"):
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        raise


@app.command("list")
def list_methods(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only technique, tool or recipe.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Every paper of the catalogue with its state.")] = False,
    as_json: Json = False,
) -> None:
    """The methods that run, or all papers of the catalogue."""
    from diffolio.cli import listing

    rows = listing.papers(family, kind) if all else listing.methods(family, kind)
    if as_json:
        print_json(rows)
    else:
        listing.show_papers(rows) if all else listing.show_methods(rows)


@app.command()
def show(name: str, as_json: Json = False) -> None:
    """A method: its paper, idea, knobs, where it attaches, its claim and picture."""
    from diffolio.cli import listing

    details = listing.details(name)
    if as_json:
        print_json(details)
    else:
        listing.show_details(details)


@app.command()
def run(
    names: Annotated[str, typer.Argument(metavar="NAME[+NAME...]", help="A method, or techniques joined by +.")],
    model: Annotated[str, typer.Option(help="A bundled model, a diffusers folder or a hub id.")] = "mini-sd",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; give several for several pictures.")] = None,
    image: Annotated[Path | None, typer.Option(help="An input picture, for methods that take one.")] = None,
    seed: int = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000)] = 25,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; default: the model's own.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="knob=value; with several methods NAME.knob=value; target=PROMPT of an editor."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Where an edit may act: white in a picture of the same size.")] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", help="name=file, for methods with further inputs.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Run a method beside its baseline; write PNGs and result.json."""
    from diffolio.cli import running

    request = running.Request(
        names, model, prompt or [], image, seed, steps, guidance, size, set_ or [], out, mask, tuple(input_ or ())
    )
    done = running.run(request)
    if as_json:
        print_json(done)
    else:
        running.tell(done)


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="A recipe, or a miniature, such as mini-vae, mini-sd, mini-flow or mini-clip-a.")],
    model: Annotated[
        str | None,
        typer.Option(help="The model to start from: of a recipe by default mini-sd, of a miniature none, or what it was."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of pictures with captions (NAME.png + NAME.txt).")] = None,
    budget: Annotated[str | None, typer.Option(help="Steps (2000) or time (300s, 20m, 2h).")] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    seed: int = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="knob=value of the recipe; of a miniature batch, rate, ...")
    ] = None,
) -> None:
    """Train a recipe or a miniature; stop it at any time and go on with --resume."""
    from diffolio.cli import training

    training.train(name, model, data, budget, out, resume, seed, set_ or [])


@app.command()
def claim(
    name: str,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train the shipped parts again first.")] = False,
    record: Annotated[bool, typer.Option("--record", help="Write the outcome to evidence/.")] = False,
    as_json: Json = False,
) -> None:
    """Run the experiment behind a method: baseline and method in one run."""
    from diffolio.claims import evidence
    from diffolio.cli import listing

    found = evidence.measure(name.replace("-", "_"), retrain=retrain)
    paths = evidence.record(name.replace("-", "_"), found) if record else []
    found.pop("picture", None)
    if as_json:
        print_json(found)
    else:
        listing.show_claim(found, paths)


@app.command()
def claims(as_json: Json = False) -> None:
    """Every recorded claim: what the paper says, the baseline, ours, the interval, and whether it holds."""
    from diffolio.claims import rows
    from diffolio.cli import listing

    table = rows()
    if as_json:
        print_json(table)
    else:
        listing.show_claims(table)


@app.command()
def demo(out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("out/demo")) -> None:
    """A digest table, then a technique, a tool and an edit on mini-sd; pictures side by side in index.html."""
    from diffolio.cli import demo as demonstration

    demonstration.demo(out)


@app.command()
def web(
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine need --auth.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 7860,
    auth: Annotated[str | None, typer.Option(help="user:password that visitors must give.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs: the page writes there and nowhere else.")] = Path("out"),
    library: Annotated[
        Path | None, typer.Option(help="Library file; default: DIFFOLIO_LIBRARY or the user's data folder.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A diffusers folder or hub id to offer beside the bundled models.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """The page: read the digest, run the paper, look at the evidence."""
    from diffolio.cli.web import web as serve

    serve(host, port, auth, runs, library, tuple(model or ()), show)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, device, threads, bundled models and their checksums."""
    from diffolio.cli import diagnosis

    found = diagnosis.diagnose()
    if as_json:
        print_json(found)
    else:
        diagnosis.show(found)
    if found["problems"]:
        raise typer.Exit(1)


def print_json(value: Any) -> None:
    from diffolio.results import plain

    typer.echo(json.dumps(plain(value), indent=1, ensure_ascii=False))


def parse_size(text: str | None) -> tuple[int | None, int | None]:
    """``"128x64"`` is (width 128, height 64)."""
    if text is None:
        return None, None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise BadInput(f"size {text!r}: give WIDTHxHEIGHT in pixels, like 128x64")
    return int(width), int(height)
