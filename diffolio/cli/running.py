"""``diffolio run``: from words on the command line to a job, a method and a folder of results."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from diffolio import registry
from diffolio.errors import BadInput, BadKnob

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


def run(request: Request) -> dict[str, Any]:
    """Run and write; returns the record with the folder and the files."""
    from diffolio.cli.app import parse_size
    from diffolio.models import load
    from diffolio.models.images import load_image
    from diffolio.results import Job, versions

    method = make(request.names, request.settings)
    width, height = parse_size(request.size)
    image = load_image(request.image) if request.image else None
    model = load(request.model)
    method.check(model)
    prompts = request.prompts or (EXAMPLES if image is None else [""])
    job = Job(model, prompts, image, request.seed, request.steps, request.guidance, height, width)
    started = time.perf_counter()
    result = method.run(job)
    name = "+".join(part.name for part in getattr(method, "techniques", (method,)))
    record = {
        "method": name, "knobs": method.knobs(), "model": request.model, "prompts": prompts, "seed": request.seed,
        "steps": request.steps, "guidance_scale": request.guidance, "size": request.size,
        "seconds": round(time.perf_counter() - started, 3), "versions": versions(),
    }  # fmt: skip
    out = request.out or Path("out") / name
    paths = result.save(out, record)
    return {**record, "numbers": result.numbers, "report": result.report, "out": str(out), "files": [str(p) for p in paths]}


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
    typer.echo(f"  pictures: {done['out']}/sheet.png  ({len(done['files'])} files, result.json among them)")
