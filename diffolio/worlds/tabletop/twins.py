"""Counterfactual twins: a scene and the same scene after one edit, everything else, random parts included, as it was."""

from __future__ import annotations

import random
from dataclasses import replace

from diffolio.errors import BadInput, choose
from diffolio.worlds.tabletop.captions import describe
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS
from diffolio.worlds.tabletop.sample import Mixture, sample_scenes
from diffolio.worlds.tabletop.scene import Scene
from diffolio.worlds.tabletop.shapes import KIND_NAMES

TWINS = ("colour", "object", "delete", "add", "background", "style")


def twins(n: int, what: str, seed: int) -> list[tuple[Scene, Scene]]:
    """``n`` pairs of a scene and its twin, both with their plain captions: flat, on plain grounds, of one and two things in turn.

    ``what`` changes: "colour" or "object" (its kind) of one thing, to one that the scene does not hold; one of two things, which
    "delete" takes away and "add" brings; the "background"; the "style", to night or snow.
    """
    choose("twin", what, TWINS)
    if n < 1:
        raise BadInput(f"{n} twins asked for: give at least one")
    only_two = what in ("delete", "add")
    scenes = []
    for things in (2,) if only_two else (1, 2):
        counts = tuple(float(k == things) for k in (1, 2, 3))
        mixture = Mixture(counts=counts, plain=1.0, flat=1.0, canonical=True, in_front=0.0)  # type: ignore[arg-type]
        scenes.append(sample_scenes(n, seed + things, mixture))
    chosen = [group[i] for i in range(n) for group in scenes][:n]
    return [_pair(scene, what, random.Random(f"{seed}/{what}/{i}")) for i, scene in enumerate(chosen)]


def _pair(scene: Scene, what: str, rng: random.Random) -> tuple[Scene, Scene]:
    if what == "background":
        return scene, scene.change(background=rng.choice([b for b in BACKGROUNDS if b != scene.background]))
    if what == "style":
        return scene, scene.change(style=rng.choice(("night", "snow")))
    index = rng.randrange(len(scene.things))
    if what in ("delete", "add"):
        less = replace(scene, things=(scene.things[1 - index],), relation=None, subject=0)
        less = replace(less, caption=describe(less))
        return (scene, less) if what == "delete" else (less, scene)
    part, names = ("colour", tuple(COLOURS)) if what == "colour" else ("kind", KIND_NAMES)
    held = {getattr(thing, part) for thing in scene.things}
    return scene, scene.change(index, **{part: rng.choice([name for name in names if name not in held])})
