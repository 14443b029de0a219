"""Changes of a scene whose true size is known: what a perceptual distance should rank as the world does.

The unit is one edit: another colour or kind of one thing or another background counts 1, a move counts 1 per quarter of the
picture's side, growing or shrinking 1 per factor of two. How many pixels an edit touches plays no part.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from diffolio.errors import choose
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS
from diffolio.worlds.tabletop.scene import Scene
from diffolio.worlds.tabletop.shapes import KIND_NAMES

CHANGES = ("place", "size", "edits")
MOVE, RATIO = 0.25, 2.0  # what counts as one edit: a share of the side, a ratio of sizes


@dataclass(frozen=True)
class Changed:
    """A scene and how many edits it is away from the one that it was made from."""

    scene: Scene
    amount: float


def change(scene: Scene, what: str, rng: random.Random) -> Changed:
    """One changed version of ``scene``: by up to 1.2 edits in "place" or "size", by one to three in "edits"."""
    choose("change", what, CHANGES)
    if what == "edits":
        return _edit(scene, rng.randint(1, 3), rng)
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    amount = rng.uniform(0.1, 1.2)
    if what == "place":
        angle = rng.uniform(0, 2 * math.pi)
        # Towards the middle rather than out of the picture.
        dx = math.copysign(MOVE * amount * math.cos(angle), 0.5 - thing.x)
        dy = math.copysign(MOVE * amount * math.sin(angle), 0.5 - thing.y)
        return Changed(scene.change(index, x=thing.x + dx, y=thing.y + dy), amount)
    ratio = RATIO**amount if thing.size < 0.35 else RATIO**-amount
    return Changed(scene.change(index, size=thing.size * ratio), amount)


def _edit(scene: Scene, edits: int, rng: random.Random) -> Changed:
    """``edits`` different attributes, or as many as the scene has."""
    plans = [(i, part) for i in range(len(scene.things)) for part in ("colour", "kind")] + [(None, "background")]
    chosen = rng.sample(plans, min(edits, len(plans)))
    for index, part in chosen:
        if index is None:
            scene = scene.change(background=_other(rng, scene.background, tuple(BACKGROUNDS)))
        else:
            names = tuple(COLOURS) if part == "colour" else KIND_NAMES
            scene = scene.change(index, **{part: _other(rng, getattr(scene.things[index], part), names)})
    return Changed(scene, float(len(chosen)))


def _other(rng: random.Random, name: str, names: tuple[str, ...]) -> str:
    return rng.choice([other for other in names if other != name])
