"""Drawing scenes of solids at random, from a seed, and views of them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import torch

from diffolio.errors import BadInput
from diffolio.geometry.cameras import orbit
from diffolio.worlds.solids.captions import RELATIONS, caption, describe
from diffolio.worlds.solids.render import Rendering, render
from diffolio.worlds.solids.scene import GROUND_TEXTURES, ROOM_HALF, SETTINGS, TEXTURES, Light, Scene, Solid
from diffolio.worlds.solids.shapes import KIND_NAMES
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS

# How far an upright body of unit size reaches sideways, however it is turned, and how high it is.
REACH = {"sphere": 1.0, "box": 1.14, "cylinder": 0.7, "cone": 0.9, "torus": 1.0}
HEIGHT = {"sphere": 2.0, "box": 1.6, "cylinder": 1.8, "cone": 1.8, "torus": 0.6}
GAP = 0.08  # least space between two bodies, world units


@dataclass(frozen=True)
class Mixture:
    """How often what is drawn: probabilities of one, two and three solids, of ground, void and room, of a textured body,
    of a textured ground, of one that hangs free, of one with a highlight."""

    counts: tuple[float, float, float] = (0.45, 0.40, 0.15)
    settings: tuple[float, float, float] = (0.7, 0.2, 0.1)
    textured: float = 0.35
    patterned_ground: float = 0.3
    hanging: float = 0.15
    glossy: float = 0.3
    canonical: bool = False  # the plain caption instead of a random one


def sample_scenes(n: int, seed: int, mixture: Mixture | None = None) -> list[Scene]:
    """``n`` scenes within the standard camera's view; the first k of n scenes do not depend on n."""
    if n < 1:
        raise BadInput(f"{n} scenes asked for: give at least one")
    return [_scene(random.Random(f"solids/{seed}/{i}"), mixture or Mixture()) for i in range(n)]


def sample_rooms(n: int, seed: int, solids: int = 5) -> list[Scene]:
    """``n`` rooms with solids all around the middle, for panoramas taken there."""
    if n < 1 or not 1 <= solids <= 8:
        raise BadInput(f"{n} rooms with {solids} solids each: give at least one room and one to eight solids")
    return [_room(random.Random(f"rooms/{seed}/{i}"), solids) for i in range(n)]


def views(
    scene: Scene, n: int = 8, *, elevation: float = 20.0, radius: float = 4.5, size: int | tuple[int, int] = 64, samples: int = 2
) -> Rendering:
    """``n`` views of a scene from a ring around it, the first from the front; the cameras are in the rendering."""
    if n < 1:
        raise BadInput(f"{n} views asked for: give at least one")
    return render(
        scene, orbit(torch.arange(n) * (360 / n), elevation, radius, size=size, target=(0.0, 0.45, 0.0)), samples=samples
    )


def _scene(rng: random.Random, mixture: Mixture) -> Scene:
    count = rng.choices((1, 2, 3), mixture.counts)[0]
    relation = None
    if count == 1:
        place = _spot(rng, 0.5)
        solids = [replace(_solid(rng, mixture, (0.45, 0.85)), x=place[0], z=place[1])]
    elif count == 2:
        relation = rng.choice(RELATIONS)
        solids = _pair(rng, mixture, relation)
    else:
        solids = _scattered(rng, mixture, 3, 1.1)
    hangs = relation is None and rng.random() < mixture.hanging
    if hangs:
        index = rng.randrange(len(solids))
        lift = rng.uniform(1.5, 2.0) * solids[index].size
        solids[index] = replace(solids[index], y=lift, tilt=rng.uniform(-60, 60))
    setting = rng.choices(SETTINGS, mixture.settings)[0]
    scene = Scene(
        tuple(solids),
        setting,
        rng.choice(tuple(BACKGROUNDS)),
        rng.choice(GROUND_TEXTURES[1:]) if setting != "void" and rng.random() < mixture.patterned_ground else "plain",
        rng.choice(tuple(BACKGROUNDS)),
        (_light(rng, setting),),
        rng.uniform(0.3, 0.4),
        relation,
    )
    return replace(scene, caption=describe(scene) if mixture.canonical else caption(scene, rng))


def _room(rng: random.Random, count: int) -> Scene:
    solids, mixture = [], Mixture()
    turn = rng.uniform(0, 2 * math.pi)
    for i in range(count):  # one in each sector, so that they cannot touch
        angle = turn + (i + rng.uniform(-0.15, 0.15)) * 2 * math.pi / count
        far = rng.uniform(1.5, 2.2)
        solid = _solid(rng, mixture, (0.3, 0.3 + 0.25 * min(1.0, 4 / count)))
        solids.append(replace(solid, x=far * math.sin(angle), z=far * math.cos(angle)))
    ground, walls = rng.sample(tuple(BACKGROUNDS), 2)
    scene = Scene(tuple(solids), "room", ground, rng.choice(GROUND_TEXTURES), walls, (_light(rng, "room"),))
    return replace(scene, caption=describe(scene))


def _light(rng: random.Random, setting: str) -> Light:
    if setting == "room":
        return Light(rng.uniform(0, 360), rng.uniform(65, 85), 0.9 * ROOM_HALF, 0.62)
    return Light(rng.uniform(-75, 75), rng.uniform(35, 70), strength=rng.uniform(0.55, 0.68))


def _solid(rng: random.Random, mixture: Mixture, sizes: tuple[float, float], avoid: str | None = None) -> Solid:
    texture = rng.choice(TEXTURES[1:]) if rng.random() < mixture.textured else "plain"
    gloss = rng.uniform(0.2, 0.6) if rng.random() < mixture.glossy else 0.0
    colour = rng.choice([c for c in COLOURS if c != avoid])
    return Solid(rng.choice(KIND_NAMES), colour, size=rng.uniform(*sizes), yaw=rng.uniform(0, 360), texture=texture, gloss=gloss)


def _spot(rng: random.Random, radius: float) -> tuple[float, float]:
    angle, far = rng.uniform(0, 2 * math.pi), radius * rng.random() ** 0.5
    return far * math.cos(angle), far * math.sin(angle)


def _pair(rng: random.Random, mixture: Mixture, relation: str) -> list[Solid]:
    a = _solid(rng, mixture, (0.35, 0.58))
    b = _solid(rng, mixture, (0.35, 0.58), avoid=a.colour)
    if relation == "above":
        x, z = _spot(rng, 0.5)
        a, b = replace(a, size=0.75 * a.size), replace(b, x=x, z=z, size=0.8 * b.size)
        return [replace(a, x=x, z=z, y=HEIGHT[b.kind] * b.size + GAP + a.size + rng.uniform(0, 0.2)), b]
    apart = REACH[a.kind] * a.size + REACH[b.kind] * b.size + GAP + rng.uniform(0, 0.35)
    level = relation in ("left of", "right of")
    # One behind another stands a little aside, or it could not be seen.
    aside = apart * (rng.uniform(-0.3, 0.3) if level else rng.choice((-1, 1)) * rng.uniform(0.35, 0.6))
    middle = rng.uniform(-0.2, 0.2)
    ahead = -1 if relation in ("left of", "behind") else 1
    along = (middle + ahead * apart / 2, middle - ahead * apart / 2)
    if level:
        return [replace(a, x=along[0], z=aside / 2), replace(b, x=along[1], z=-aside / 2)]
    return [replace(a, z=along[0], x=aside / 2), replace(b, z=along[1], x=-aside / 2)]


def _scattered(rng: random.Random, mixture: Mixture, count: int, radius: float) -> list[Solid]:
    while True:
        solids: list[Solid] = []
        for _ in range(count):
            solid = _solid(rng, mixture, (0.28, 0.44))
            for _ in range(12):
                x, z = _spot(rng, radius)
                reach = REACH[solid.kind] * solid.size
                if all(math.hypot(x - o.x, z - o.z) > reach + REACH[o.kind] * o.size + GAP for o in solids):
                    solids.append(replace(solid, x=x, z=z))
                    break
        if len(solids) == count and len({s.colour for s in solids}) == count:
            return solids
