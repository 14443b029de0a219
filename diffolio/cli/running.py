"""``diffolio run``: from words on the command line to a job, a method and a folder of results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diffolio import registry
from diffolio.errors import BadInput, BadKnob

if TYPE_CHECKING:
    from diffolio.models import Model

EXAMPLES = ["a red circle left of a blue star", "a green tree", "a yellow fish above a purple house", "an orange boat"]


@dataclass(frozen=True)
class Request:
    names: str
    model: str
    prompts: list[str]
    image: Path | None
    seed: int
    steps: int
    guidance: float | None
    size: str | None
    settings: list[str]
    out: Path | None
    mask: Path | None = None
    inputs: tuple[str, ...] = ()


def run(
    request: Request,
    loader: Callable[[str], Model] | None = None,
    around: Callable[[Model], AbstractContextManager[Any]] = nullcontext,
) -> dict[str, Any]:
    """Run and write; returns the record with the folder and the files.

    ``loader`` takes the place of ``models.load`` (the page keeps a model loaded); ``around`` is entered with the model while
    the method runs (the page watches its steps there).
    """
    from diffolio.cli.app import parse_size
    from diffolio.models import load
    from diffolio.models.photos import load_mask, load_photo
    from diffolio.results import Job, versions

    target, settings = target_of(request.names, request.settings)
    method = make(request.names, settings)
    width, height = parse_size(request.size)
    inputs = named_files(request.inputs)
    check_taken(method, {"image": request.image, "mask": request.mask, **inputs})
    photo = load_photo(request.image) if request.image else None
    mask = load_mask(request.mask) if request.mask else None
    model = (loader or load)(request.model)
    method.check(model)
    prompts = request.prompts or (EXAMPLES if photo is None else [""])
    job = Job(
        model, prompts, None if photo is None else photo.image, request.seed, request.steps, request.guidance, height, width,
        mask, inputs, target, None if photo is None else photo.alpha,
    )  # fmt: skip
    started = time.perf_counter()
    with around(model):
        result = method.run(job)
    if photo is not None:
        result.report["notes"] = [*photo.notes, *result.report.get("notes", [])]
    name = "+".join(part.name for part in getattr(method, "techniques", (method,)))
    given = {"image": request.image, "mask": request.mask, **inputs}
    record = {
        "method": name, "knobs": method.knobs(), "model": request.model, "prompts": prompts, "seed": request.seed,
        "steps": request.steps, "guidance_scale": request.guidance, "size": request.size,
        "inputs": {name: path.name for name, path in given.items() if path is not None}, "target": target,
        "seconds": round(time.perf_counter() - started, 3), "versions": versions(),
    }  # fmt: skip
    out = request.out or Path("out") / name
    paths = result.save(out, record)
    return {**record, "numbers": result.numbers, "report": result.report, "out": str(out), "files": [str(p) for p in paths]}


def target_of(names: str, settings: list[str]) -> tuple[str, list[str]]:
    """The target prompt that ``--set target=...`` gives an editor, and the other settings; what is no editor's stays a knob."""
    if "+" in names or "target" not in registry.card(names.strip()).takes:
        return "", settings
    mine = {"target", f"{names.strip().replace('-', '_')}.target"}
    targets = [value for key, _, value in (setting.partition("=") for setting in settings) if key.replace("-", "_") in mine]
    return (targets or [""])[-1], [s for s in settings if s.partition("=")[0].replace("-", "_") not in mine]


def named_files(inputs: Sequence[str]) -> dict[str, Path]:
    """``--input name=file`` by name; BadInput for a file that is not there."""
    found = {}
    for given in inputs:
        name, equals, file = given.partition("=")
        if not (equals and name and file):
            raise BadInput(f"--input {given!r}: give name=file")
        if not Path(file).is_file():
            raise BadInput(f"--input {name}: there is no file {file}")
        found[name.replace("-", "_")] = Path(file)
    return found


def check_taken(method: registry.Method, given: dict[str, Path | None]) -> None:
    """Refuse a picture, mask or input that the method would not look at. (A tool that is no editor may take pictures unsaid.)"""
    open_to = {"image"} if isinstance(method, (registry.Tool, registry.Recipe)) else set()
    for name, path in given.items():
        if path is None or name in method.takes | open_to:
            continue
        option = f"--{name}" if name in ("image", "mask") else f"--input {name}"
        takes = ", ".join(sorted(method.takes - {"target", "alpha"})) or "prompts only"
        raise BadInput(f"{option} is nothing that {method.name} looks at: it takes {takes}")


def make(names: str, settings: list[str]) -> registry.Method:
    """The method or stack that ``NAME[+NAME...]`` and ``--set`` describe."""
    parts = [registry.card(part.strip()).name for part in names.split("+")]
    knobs: dict[str, dict[str, str]] = {part: {} for part in parts}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BadKnob(f"--set {setting!r}: give knob=value")
        owner, dot, inner = key.partition(".")
        if dot and owner.replace("-", "_") in knobs:
            knobs[owner.replace("-", "_")][inner] = value
        elif len(parts) == 1:
            knobs[parts[0]][key] = value
        else:
            raise BadKnob(f"--set {setting!r} with several methods: say whose knob it is, like {parts[0]}.{key}={value}")
    made = [registry.make(part, knobs[part]) for part in parts]
    if len(made) == 1:
        return made[0]
    for one in made:
        if not isinstance(one, registry.Technique):
            raise BadInput(f"{one.name} is a {one.kind}: only techniques can be joined with +")
    return registry.stack(*made)  # type: ignore[arg-type]


def tell(done: dict[str, Any]) -> None:
    typer.echo(f"{done['method']} on {done['model']}, {done['seconds']:.1f} s")
    for key, value in done["numbers"].items():
        typer.echo(f"  {key}: {value:.4g}")
    for note in done["report"].get("notes", []):
        typer.echo(f"  note: {note}")
    typer.echo(f"  pictures: {done['out']}/sheet.png  ({len(done['files'])} files, result.json among them)")
