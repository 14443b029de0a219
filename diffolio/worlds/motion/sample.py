"""Drawing clips of the tabletop at random, from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffolio.errors import BadInput
from diffolio.worlds.motion.paths import DIRECTIONS, LOOPS, SCALINGS, TURNS, CameraMove, Motion
from diffolio.worlds.motion.tabletop import Script, narrate
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS, TEXTURES
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.shapes import KIND_NAMES

# Kinds that look another way when they are turned by less than a right angle.
ORIENTED = tuple(kind for kind in KIND_NAMES if kind not in ("circle", "ring", "square", "cross", "star"))
MARGIN = 0.02  # least space between a thing and the picture's edge, in units of the shorter side


@dataclass(frozen=True)
class Mixture:
    """How often what is drawn: one or two things; directions, scalings, turns, loops and stillness among motions; bent ways
    among directions; a moving camera; a plain table and the flat style. ``sizes``: of a single thing."""

    counts: tuple[float, float] = (0.65, 0.35)
    motions: tuple[float, float, float, float, float] = (0.56, 0.14, 0.08, 0.12, 0.10)
    bent: float = 0.2
    camera: float = 0.1
    plain: float = 0.7
    flat: float = 0.85
    sizes: tuple[float, float] = (0.26, 0.44)


ONE_MOVER = Mixture(counts=(1.0, 0.0), motions=(0.72, 0.18, 0.0, 0.0, 0.10), bent=0.0, camera=0.0)
LOOPING = Mixture(motions=(0.0, 0.0, 0.0, 1.0, 0.0), camera=0.0)


def sample_scripts(n: int, seed: int, mixture: Mixture | None = None, length: int = 8, aspect: float = 1.0) -> list[Script]:
    """``n`` clips of ``length`` frames for pictures of an aspect (width / height). The first k of n clips do not depend on n.

    Things stay in the picture, and two things keep apart, as long as the camera stands still.
    """
    if n < 1:
        raise BadInput(f"{n} clips asked for: give at least one")
    return [_script(random.Random(f"motion/{seed}/{i}"), mixture or Mixture(), length, aspect) for i in range(n)]


def _script(rng: random.Random, mixture: Mixture, length: int, aspect: float) -> Script:
    count = rng.choices((1, 2), mixture.counts)[0]
    camera = _camera(rng) if rng.random() < mixture.camera else CameraMove()
    plain = not camera.still or rng.random() < mixture.plain
    style = "flat" if rng.random() < mixture.flat else rng.choice(("outline", "night"))
    colours = rng.sample(tuple(COLOURS), count)
    sides = (aspect, 1.0) if aspect >= 1 else (1.0, 1 / aspect)
    while True:
        sizes = [rng.uniform(*mixture.sizes) * (0.75 if count > 1 else 1.0) for _ in range(count)]
        motions = [_motion(rng, mixture, size, sides) for size in sizes]
        if count > 1 and not camera.still and rng.random() < 0.5:
            motions = [Motion()] * count
        kinds = [rng.choice(ORIENTED if m.what in TURNS or m.what == "spinning" else KIND_NAMES) for m in motions]
        places = [_place(rng, m, s, sides) for m, s in zip(motions, sizes, strict=True)]
        if None not in places and _apart(places, motions, sizes):
            break
    things = tuple(
        Thing(kind, colour, place[0] / sides[0], place[1] / sides[1], size)
        for kind, colour, place, size in zip(kinds, colours, places, sizes, strict=True)
    )
    texture = "plain" if plain else rng.choice(TEXTURES[1:])
    scene = Scene(things, rng.choice(tuple(BACKGROUNDS)), texture, style, seed=rng.randrange(2**31))
    script = Script(scene, tuple(motions), camera, length)
    return replace(script, caption=narrate(script))


def _camera(rng: random.Random) -> CameraMove:
    if rng.random() < 0.5:
        return CameraMove(rng.choice(tuple(DIRECTIONS)), rng.uniform(0.25, 0.4))
    return CameraMove(zoom=rng.uniform(1.5, 1.9) ** rng.choice((-1, 1)))


def _motion(rng: random.Random, mixture: Mixture, size: float, sides: tuple[float, float]) -> Motion:
    family = rng.choices(("direction", "scaling", "turn", "loop", "still"), mixture.motions)[0]
    if family == "direction":
        what = rng.choice(tuple(DIRECTIONS))
        dx, dy = DIRECTIONS[what]
        room = min((side - size) for side, step in zip(sides, (dx, dy), strict=True) if step) * math.hypot(dx, dy)
        path = rng.choice(("arc", "zigzag")) if rng.random() < mixture.bent else "straight"
        return Motion(what, min(rng.uniform(0.35, 0.6), 0.9 * room), path)
    if family == "scaling":
        return Motion(rng.choice(SCALINGS), rng.uniform(1.6, 2.1))
    if family == "turn":
        return Motion(rng.choice(TURNS), rng.uniform(70, 150))
    if family == "loop":
        what = rng.choice(LOOPS)
        amount = {"pulsing": rng.uniform(1.6, 2.0), "spinning": 1.0}.get(what, rng.uniform(0.14, 0.24))
        return Motion(what, amount, phase=rng.random())
    return Motion()


def _place(rng: random.Random, motion: Motion, size: float, sides: tuple[float, float]) -> tuple[float, float] | None:
    """A middle, in units of the shorter side, from which a thing never leaves the picture; None if there is none."""
    moves = [motion.at(i / 24) for i in range(25)]
    result = []
    for axis, side in enumerate(sides):
        reach = [((o.x, o.y)[axis], o.scale * size / 2 + MARGIN) for o in moves]
        low, high = max(r - o for o, r in reach), side - max(r + o for o, r in reach)
        if low > high:
            return None
        result.append(rng.uniform(low, high))
    return result[0], result[1]


def _apart(places: Sequence[tuple[float, float]], motions: Sequence[Motion], sizes: Sequence[float]) -> bool:
    """Whether two things never touch."""
    if len(places) < 2:
        return True
    for i in range(25):
        a, b = (m.at(i / 24) for m in motions)
        dx, dy = places[0][0] + a.x - places[1][0] - b.x, places[0][1] + a.y - places[1][1] - b.y
        if math.hypot(dx, dy) < (a.scale * sizes[0] + b.scale * sizes[1]) / 2 + MARGIN:
            return False
    return True
