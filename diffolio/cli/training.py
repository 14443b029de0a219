"""``diffolio train``: a miniature or a recipe, from words on the command line."""

from __future__ import annotations

from pathlib import Path

import typer

from diffolio import registry
from diffolio.errors import BadInput, BadKnob, unknown


def train(
    name: str, model: str | None, data: Path | None, budget: str | None, out: Path | None, resume: bool, seed: int,
    settings: list[str],
) -> None:  # fmt: skip
    from diffolio.training.loop import Budget
    from diffolio.training.miniatures import PLANS, train_miniature

    limit = Budget.parse(budget) if budget else None
    folder = out or Path("runs") / name
    if name in PLANS:
        if data is not None:
            raise BadInput(f"{name} is trained on its own world: --data does not apply")
        changes = {}
        for setting in settings:
            key, equals, changes[key] = setting.partition("=")
            if not equals:
                raise BadKnob(f"--set {setting!r}: give setting=value, such as batch=64")
        trained = train_miniature(name, folder, limit, start=model, resume=resume, seed=seed, changes=changes)
        typer.echo(f"{name}: {trained.steps} steps, {trained.seconds:.0f} s; weights in {folder / 'export'}")
        return
    recipes = [card.name for card in registry.cards().values() if card.kind == "recipe"]
    if name.replace("-", "_") not in recipes:
        raise unknown("recipe or miniature", name, [*PLANS, *recipes])
    from diffolio.cli.running import make
    from diffolio.models import load

    recipe = make(name, settings)
    assert isinstance(recipe, registry.Recipe)
    loaded = load(model or "mini-sd")
    recipe.check(loaded)
    trained = recipe.fit(loaded, recipe.read(data, loaded) if data else None, limit, folder=folder, resume=resume, seed=seed)
    typer.echo(f"{name}: {trained.steps} steps, {trained.seconds:.0f} s; weights in {trained.folder}")
