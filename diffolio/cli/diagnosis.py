"""``diffolio doctor``: is everything here that is needed?"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

NEEDED = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "kornia", "torchmetrics", "scikit-image",
          "scikit-learn", "scipy", "matplotlib", "pillow", "typer", "rich", "platformdirs")  # fmt: skip


def diagnose() -> dict[str, Any]:
    import torch

    from diffolio import __version__, miniatures, registry

    versions, problems = {}, []
    for name in NEEDED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            problems.append(f"{name} is not installed: pip install {name}")
    models = {name: miniatures.checksums(name) for name in miniatures.available()}
    expected = miniatures.recorded_checksums()
    for name, sums in models.items():
        if name in expected and expected[name] != sums:
            problems.append(f"{name}: its files differ from the recorded checksums; reinstall diffolio")
    problems += [
        f"{name}: recorded but missing; reinstall diffolio"
        for name in expected
        if name not in models and name not in miniatures.BASELINES
    ]
    return {
        "diffolio": __version__, "versions": versions, "cuda": torch.cuda.is_available(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(), "cores": os.cpu_count(), "methods": len(registry.cards()), "models": models,
        "problems": problems,
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    typer.echo(f"diffolio {found['diffolio']}, {found['methods']} methods")
    typer.echo(f"device {found['device']}, {found['threads']} threads on {found['cores']} cores")
    typer.echo("  " + ", ".join(f"{name} {number}" for name, number in found["versions"].items()))
    for name, sums in found["models"].items():
        typer.echo(f"  {name}")
        for file, digest in sums.items():
            typer.echo(f"    {digest[:12]}  {file}")
    for problem in found["problems"]:
        typer.secho(f"  problem: {problem}", fg="red")
    if not found["problems"]:
        typer.secho("all well", fg="green")
