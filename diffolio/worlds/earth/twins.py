"""Counterfactual twins: the same ground in another season, under other clouds, at another resolution, without its roads."""

from __future__ import annotations

import random

from diffolio.errors import BadInput, choose
from diffolio.worlds.earth.sample import Mixture, sample_scenes
from diffolio.worlds.earth.scene import GSD, Scene

TWINS = ("season", "clouds", "clear", "resolution", "roads")


def twin(scene: Scene, what: str, rng: random.Random) -> Scene:
    """The scene with one thing changed: its "season" (three, six or nine months later), its "clouds" (other forms, another
    cover), a "clear" sky, its "resolution" (at least a third finer or coarser), or no "roads"."""
    choose("twin", what, TWINS)
    if what == "season":
        return scene.change(month=(scene.month - 1 + rng.choice((3, 6, 9))) % 12 + 1)
    if what == "clouds":
        cover = round((scene.cloud_cover + rng.uniform(0.2, 0.4)) % 0.7, 3)
        return scene.change(cloud_cover=max(cover, 0.05), cloud_seed=rng.randrange(1 << 20))
    if what == "clear":
        return scene.change(cloud_cover=0.0)
    if what == "resolution":
        finer = scene.gsd > (GSD[0] * GSD[1]) ** 0.5
        return scene.change(gsd=round(scene.gsd * rng.uniform(0.45, 0.7) ** (1 if finer else -1), 2))
    return scene.change(roads=())


def dates(scene: Scene, n: int, seed: int, cover: tuple[float, float] = (0.2, 0.5)) -> list[Scene]:
    """``n`` pictures of one place on different days of one season, each under clouds of its own."""
    if not 1 <= n <= 28:
        raise BadInput(f"{n} dates asked for: give 1 to 28")
    rng = random.Random(f"earth/dates/{seed}")
    days = rng.sample(range(1, 29), n)
    return [
        scene.change(day=day, cloud_cover=round(rng.uniform(*cover), 3), cloud_seed=rng.randrange(1 << 20))
        for day in sorted(days)
    ]


def twins(n: int, what: str, seed: int) -> list[tuple[Scene, Scene]]:
    """``n`` pairs of a scene and its twin, with plain captions; "roads" pairs all have roads, "clear" pairs clouds."""
    if n < 1:
        raise BadInput(f"{n} twins asked for: give at least one")
    choose("twin", what, TWINS)
    mixture = Mixture(canonical=True, road=1.0 if what == "roads" else 0.8, cloudy=1.0 if what == "clear" else 0.5)
    scenes = sample_scenes(n, seed, mixture)
    return [(scene, twin(scene, what, random.Random(f"{seed}/{what}/{i}"))) for i, scene in enumerate(scenes)]
