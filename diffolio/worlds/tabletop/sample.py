"""Drawing scenes at random, from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.captions import caption, describe
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS, TEXTURES
from diffolio.worlds.tabletop.render import render
from diffolio.worlds.tabletop.scene import SIDES, Scene, Thing
from diffolio.worlds.tabletop.shapes import KIND_NAMES

GAP = 0.04  # least space between two things that do not overlap, in units of the shorter side
OVERLAP = (0.08, 0.5)  # share of the rear thing that the front one hides


@dataclass(frozen=True)
class Mixture:
    """How often what is drawn: probabilities of one, two and three things, of a plain setting and of the flat style."""

    counts: tuple[float, float, float] = (0.45, 0.45, 0.10)
    plain: float = 0.6
    flat: float = 0.76
    upright: float = 0.6
    tilt: float = 28.0  # largest angle, degrees
    in_front: float = 0.2  # share of "in front of" among two-object scenes
    canonical: bool = False  # the plain caption instead of a random one


def sample_scenes(
    n: int, seed: int, mixture: Mixture | None = None, aspect: float = 1.0, kinds: Sequence[str] = KIND_NAMES
) -> list[Scene]:
    """``n`` scenes for pictures of the given aspect (width / height); the same seed gives the same scenes.

    Every scene has its own random stream, so the first k of n scenes do not depend on n.
    """
    if n < 1:
        raise BadInput(f"{n} scenes asked for: give at least one")
    mixture = mixture or Mixture()
    scenes = [_scene(random.Random(f"{seed}/{i}"), mixture, aspect, kinds) for i in range(n)]
    doubtful = [i for i, scene in enumerate(scenes) if scene.relation == "in front of"]
    for attempt in range(1, 40):  # redraw what does not truly overlap
        shares = _hidden([scenes[i] for i in doubtful], aspect) if doubtful else []
        doubtful = [i for i, share in zip(doubtful, shares, strict=True) if not OVERLAP[0] <= share <= OVERLAP[1]]
        for i in doubtful:
            rng = random.Random(f"{seed}/{i}/{attempt}")
            scenes[i] = _dress(_two(rng, mixture, aspect, kinds, "in front of"), rng, mixture)
    return scenes


def _hidden(scenes: list[Scene], aspect: float) -> list[float]:
    """Share of the rear thing that is hidden, per two-object scene."""
    height, width = (32, round(32 * aspect)) if aspect >= 1 else (round(32 / aspect), 32)
    drawn = render([replace(scene, texture="plain", style="flat") for scene in scenes], height, width)
    full, visible = drawn.full[:, 0].sum((1, 2)), drawn.visible[:, 0].sum((1, 2))
    return (1 - visible / full.clamp_min(1)).tolist()


def _scene(rng: random.Random, mixture: Mixture, aspect: float, kinds: Sequence[str]) -> Scene:
    count = rng.choices((1, 2, 3), mixture.counts)[0]
    if count == 1:
        scene = _one(rng, mixture, aspect, kinds)
    elif count == 2:
        relation = "in front of" if rng.random() < mixture.in_front else rng.choice(SIDES)
        scene = _two(rng, mixture, aspect, kinds, relation)
    else:
        scene = _three(rng, mixture, aspect, kinds)
    return _dress(scene, rng, mixture)


def _dress(scene: Scene, rng: random.Random, mixture: Mixture) -> Scene:
    texture = "plain" if rng.random() < mixture.plain else rng.choice(TEXTURES[1:])
    style = "flat" if rng.random() < mixture.flat else rng.choice(("outline", "night", "snow"))
    scene = replace(scene, background=rng.choice(tuple(BACKGROUNDS)), texture=texture, style=style, seed=rng.randrange(2**31))
    return replace(scene, caption=describe(scene) if mixture.canonical else caption(scene, rng))


def _canvas(aspect: float) -> tuple[float, float]:
    """Width and height in units of the shorter side."""
    return (aspect, 1.0) if aspect >= 1 else (1.0, 1 / aspect)


def _thing(rng: random.Random, mixture: Mixture, kinds: Sequence[str], size: float, avoid: Sequence[str] = ()) -> Thing:
    angle = 0.0 if rng.random() < mixture.upright else rng.uniform(-mixture.tilt, mixture.tilt)
    colour = rng.choice([c for c in COLOURS if c not in avoid])
    return Thing(rng.choice(list(kinds)), colour, 0.5, 0.5, size, angle)


def _at(thing: Thing, x: float, y: float, canvas: tuple[float, float]) -> Thing:
    return replace(thing, x=x / canvas[0], y=y / canvas[1])


def _one(rng: random.Random, mixture: Mixture, aspect: float, kinds: Sequence[str]) -> Scene:
    canvas, size = _canvas(aspect), rng.uniform(0.28, 0.68)
    x, y = (rng.uniform(size / 2, side - size / 2) for side in canvas)
    return Scene((_at(_thing(rng, mixture, kinds, size), x, y, canvas),))


def _two(rng: random.Random, mixture: Mixture, aspect: float, kinds: Sequence[str], relation: str) -> Scene:
    canvas = _canvas(aspect)
    if relation == "in front of":
        sizes = [rng.uniform(0.36, 0.52) for _ in range(2)]
        rear = _thing(rng, mixture, kinds, sizes[0])
        front = _thing(rng, mixture, kinds, sizes[1], avoid=(rear.colour,))
        apart = rng.uniform(0.42, 0.68) * sum(sizes) / 2
        while True:
            turn = rng.uniform(0, 1)
            dx, dy = apart * _cos(turn), apart * _cos(turn - 0.25)
            x, y = (rng.uniform(sizes[0] / 2, side - sizes[0] / 2) for side in canvas)
            inside = all(sizes[1] / 2 <= v <= side - sizes[1] / 2 for v, side in zip((x + dx, y + dy), canvas, strict=True))
            if inside:
                break
        return Scene((_at(rear, x, y, canvas), _at(front, x + dx, y + dy, canvas)), relation=relation, subject=1)
    sizes = [rng.uniform(0.26, 0.46) for _ in range(2)]
    first = _thing(rng, mixture, kinds, sizes[0])
    second = _thing(rng, mixture, kinds, sizes[1], avoid=(first.colour,) if rng.random() < 0.9 else ())
    along, across = canvas if relation in ("left of", "right of") else canvas[::-1]
    least = sum(sizes) / 2 + GAP
    a = rng.uniform(sizes[0] / 2, along - sizes[1] / 2 - least)
    b = rng.uniform(a + least, along - sizes[1] / 2)
    p = rng.uniform(sizes[0] / 2, across - sizes[0] / 2)
    q = p + rng.uniform(-0.4, 0.4) * (b - a)
    q = min(max(q, sizes[1] / 2), across - sizes[1] / 2)
    places = ((a, p), (b, q)) if relation in ("left of", "right of") else ((p, a), (q, b))
    things = tuple(_at(thing, x, y, canvas) for thing, (x, y) in zip((first, second), places, strict=True))
    subject = 0 if relation in ("left of", "above") else 1
    return Scene(things, relation=relation, subject=subject)


def _three(rng: random.Random, mixture: Mixture, aspect: float, kinds: Sequence[str]) -> Scene:
    canvas = _canvas(aspect)
    while True:
        things: list[Thing] = []
        for _ in range(3):
            size = rng.uniform(0.24, 0.36)
            thing = _thing(rng, mixture, kinds, size, avoid=[t.colour for t in things])
            for _ in range(12):
                x, y = (rng.uniform(size / 2, side - size / 2) for side in canvas)
                far = all(
                    ((t.x * canvas[0] - x) ** 2 + (t.y * canvas[1] - y) ** 2) ** 0.5 >= (t.size + size) / 2 + GAP for t in things
                )
                if far:
                    things.append(_at(thing, x, y, canvas))
                    break
        if len(things) == 3:
            return Scene(tuple(things))


def _cos(turns: float) -> float:
    return math.cos(2 * math.pi * turns)
