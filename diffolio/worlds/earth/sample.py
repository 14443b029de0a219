"""Drawing aerial scenes at random, from a seed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from diffolio.errors import BadInput
from diffolio.worlds.earth.captions import caption, describe
from diffolio.worlds.earth.scene import GSD, PLACES, Scene, Way

HELD_OUT = 900_000  # seeds from here on are for claims; trainings use smaller ones
STREETS = 62.0  # metres between a town's streets


@dataclass(frozen=True)
class Mixture:
    """How often what is drawn: probabilities of the places, of a road where there is no town, of a river and of a lake, of a
    sky with clouds, and the bounds of cover, of clouds' opacity and of metres a pixel."""

    places: tuple[float, float, float, float] = (0.4, 0.15, 0.25, 0.2)
    road: float = 0.8
    river: float = 0.22
    lake: float = 0.18
    cloudy: float = 0.5
    cover: tuple[float, float] = (0.05, 0.6)
    opacity: tuple[float, float] = (0.75, 0.97)
    gsd: tuple[float, float] = GSD
    months: tuple[int, ...] = tuple(range(1, 13))
    canonical: bool = False  # the plain caption instead of a random one


def sample_scenes(n: int, seed: int, mixture: Mixture | None = None) -> list[Scene]:
    """``n`` scenes; the same seed gives the same scenes, and the first k of n do not depend on n."""
    if n < 1:
        raise BadInput(f"{n} scenes asked for: give at least one")
    return [_scene(random.Random(f"earth/{seed}/{i}"), mixture or Mixture()) for i in range(n)]


def held_out(n: int, seed: int = HELD_OUT, mixture: Mixture | None = None) -> list[Scene]:
    """``n`` scenes that no training sees, with their plain captions."""
    if seed < HELD_OUT:
        raise BadInput(f"seed {seed}: held-out seeds start at {HELD_OUT}, smaller ones are for training")
    return sample_scenes(n, seed, replace(mixture or Mixture(), canonical=True))


def _scene(rng: random.Random, mixture: Mixture) -> Scene:
    place = rng.choices(PLACES, mixture.places)[0]
    seed, cloud_seed = rng.randrange(1 << 20), rng.randrange(1 << 20)
    water = rng.random()
    river = _river(rng) if water < mixture.river else None
    lake = None
    if mixture.river <= water < mixture.river + mixture.lake:
        lake = (rng.uniform(-38, 38), rng.uniform(-38, 38), rng.uniform(22, 42))
    roads = _roads(rng, place, mixture)
    clouds = rng.random() < mixture.cloudy
    cover = rng.uniform(*mixture.cover) if clouds else 0.0
    scene = Scene(
        place, seed, roads, river, lake,
        gsd=round(math.exp(rng.uniform(*(math.log(g) for g in mixture.gsd))), 2), cloud_cover=round(cover, 3),
        opacity=round(rng.uniform(*mixture.opacity), 2), cloud_seed=cloud_seed, longitude=round(rng.uniform(-180, 180), 2),
        latitude=round(rng.choice((1, 1, -1)) * rng.uniform(25, 60), 2), year=rng.randint(2002, 2024),
        month=rng.choice(mixture.months), day=rng.randint(1, 28),
    )  # fmt: skip
    return replace(scene, caption=describe(scene) if mixture.canonical else caption(scene, rng))


def _roads(rng: random.Random, place: str, mixture: Mixture) -> tuple[Way, ...]:
    angle = rng.uniform(0, 180)
    if place == "town":
        at = (rng.uniform(-34, -20), rng.uniform(-34, -20))
        return tuple(
            Way(angle + 90 * side, at[side] + STREETS * step, 9.0 if side else 11.0) for side in (0, 1) for step in (0, 1)
        )
    if rng.random() >= mixture.road:
        return ()
    ways = [_bent(rng, angle, rng.uniform(9, 13))]
    for _ in range(rng.choices((0, 1, 2), (0.5, 0.38, 0.12))[0]):
        ways.append(_bent(rng, angle + rng.uniform(50, 130), rng.uniform(7.5, 10)))
    return tuple(ways)


def _bent(rng: random.Random, angle: float, width: float) -> Way:
    straight = rng.random() < 0.45
    bend = 0.0 if straight else rng.uniform(5, 16)
    return Way(angle, rng.uniform(-30, 30), width, bend, rng.uniform(130, 260), rng.uniform(0, 2 * math.pi))


def _river(rng: random.Random) -> Way:
    return Way(
        rng.uniform(0, 180), rng.uniform(-30, 30), rng.uniform(16, 34), rng.uniform(10, 22), rng.uniform(150, 260),
        rng.uniform(0, 2 * math.pi),
    )  # fmt: skip
