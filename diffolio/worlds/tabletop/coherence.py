"""Scenes in which things have to do with each other: an arrow that points at one of two things, two things that touch or do not.

A layout says where things are and not how they stand to each other: of an arrow it shows only the disc in which it turns, and of a
pair only cells too coarse for its gap. The caption says the rest, and a reader (:mod:`coherence_reader`) tells from pixels
whether a picture follows it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.errors import BadInput, choose
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS
from diffolio.worlds.tabletop.render import render
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.shapes import ARROW, KIND_NAMES, silhouette

POINTS, TOUCHES, APART = COHERENCE = ("points at", "touches", "apart from")
CLASSES: dict[str, int] = {"background": 0, **{kind: i for i, kind in enumerate((*KIND_NAMES, ARROW), 1)}}
"""Ids in label maps."""

SPREAD = 50.0  # least angle, degrees, between an arrow's two possible targets
CLEAR = 0.03  # least space between the discs around things that have nothing to do with each other
GAPS = (0.07, 0.13)  # of things that are apart, along the line between them, in units of the picture's side


@dataclass(frozen=True)
class Coherent:
    """A square scene and how ``things[0]`` stands to ``things[1]``; with an arrow there is a third thing that it does not point at."""

    scene: Scene
    relation: str

    @property
    def caption(self) -> str:
        subject, target = (thing.kind for thing in self.scene.things[:2])
        return f"the {subject} {self.relation} the {target}"

    @property
    def words(self) -> dict[int, str]:
        """What each class of the label map is, in words: "red arrow"."""
        named = {CLASSES[thing.kind]: f"{thing.colour} {thing.kind}" for thing in self.scene.things}
        return {0: f"{self.scene.background} background", **named}

    @property
    def bearing(self) -> float:
        """The direction from the first thing's centre to the second's, degrees clockwise from the top."""
        first, second = self.scene.things[:2]
        return bearing(second.x - first.x, second.y - first.y)


def bearing(dx: float, dy: float) -> float:
    """Degrees clockwise from the top, in [0, 360), of a step to the right and down."""
    return math.degrees(math.atan2(dx, -dy)) % 360


def sample_coherent(n: int, seed: int, relations: Sequence[str] = COHERENCE) -> list[Coherent]:
    """``n`` scenes, their relations in turn; the same seed gives the same scenes, and the first k of them do not depend on n."""
    if n < 1:
        raise BadInput(f"{n} scenes asked for: give at least one")
    for relation in relations:
        choose("relation", relation, COHERENCE)
    return [_scene(random.Random(f"coherence/{seed}/{i}"), relations[i % len(relations)]) for i in range(n)]


def label_maps(scenes: Sequence[Coherent], size: int = 64) -> Tensor:
    """Class ids (B, size, size), int64: silhouettes, and for an arrow the whole disc in which it turns."""
    visible = render([c.scene for c in scenes], size).visible
    labels = torch.zeros(len(scenes), size, size, dtype=torch.long)
    steps = (torch.arange(size) + 0.5) / size
    for i, coherent in enumerate(scenes):
        for k, thing in enumerate(coherent.scene.things):
            disc = torch.hypot(steps[None, :] - thing.x, steps[:, None] - thing.y) < thing.size / 2
            labels[i][disc if thing.kind == ARROW else visible[i, k]] = CLASSES[thing.kind]
    return labels


def _scene(rng: random.Random, relation: str) -> Coherent:
    things = _pointing(rng) if relation == POINTS else _pair(rng, relation)
    return Coherent(Scene(things, rng.choice(tuple(BACKGROUNDS)), seed=rng.randrange(2**31)), relation)


def _pointing(rng: random.Random) -> tuple[Thing, ...]:
    """Arrow, target and another thing, their discs apart, the two seen from the arrow in clearly different directions."""
    colours, kinds = rng.sample(list(COLOURS), 3), rng.sample(KIND_NAMES, 2)
    while True:
        sizes = [rng.uniform(0.36, 0.42), rng.uniform(0.28, 0.36), rng.uniform(0.28, 0.36)]
        places = [(rng.uniform(s / 2, 1 - s / 2), rng.uniform(s / 2, 1 - s / 2)) for s in sizes]
        far = all(math.dist(places[i], places[j]) >= (sizes[i] + sizes[j]) / 2 + CLEAR for i, j in ((0, 1), (0, 2), (1, 2)))
        first, second = (bearing(x - places[0][0], y - places[0][1]) for x, y in places[1:])
        if far and abs((first - second + 180) % 360 - 180) >= SPREAD:
            break
    angles, kinds = (first, 0.0, 0.0), [ARROW, *kinds]
    made = zip(kinds, colours, places, sizes, angles, strict=True)
    return tuple(Thing(kind, colour, *place, size, angle) for kind, colour, place, size, angle in made)


def _pair(rng: random.Random, relation: str) -> tuple[Thing, ...]:
    """Two things that just touch, or the same with a gap between them, anywhere in the picture."""
    colours, kinds = rng.sample(list(COLOURS), 2), rng.sample(KIND_NAMES, 2)
    while True:
        a, b = (Thing(k, c, 0.0, 0.0, rng.uniform(0.32, 0.44)) for k, c in zip(kinds, colours, strict=True))
        turn = rng.uniform(0, 2 * math.pi)
        way = (math.sin(turn), -math.cos(turn))
        apart = contact(a, b, way) + (rng.uniform(*GAPS) if relation == APART else 0.0)
        dx, dy = way[0] * apart, way[1] * apart
        low = [max(a.size / 2, b.size / 2 - d) for d in (dx, dy)]
        high = [min(1 - a.size / 2, 1 - b.size / 2 - d) for d in (dx, dy)]
        if all(x < y for x, y in zip(low, high, strict=True)):
            break
    x, y = (rng.uniform(first, last) for first, last in zip(low, high, strict=True))
    return replace(a, x=x, y=y), replace(b, x=x + dx, y=y + dy)


def contact(a: Thing, b: Thing, way: tuple[float, float]) -> float:
    """How far from ``a`` the centre of ``b`` lies along ``way`` (a unit vector), in units of the side, where the two just touch."""
    steps = torch.linspace(-1, 1, 61)
    points = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).flatten(0, 1)
    points = points[silhouette(b.kind)(points) <= 0] * (b.size / 2)
    within, direction = silhouette(a.kind), torch.tensor(way)
    low, high = 0.0, (a.size + b.size) * 0.75
    for _ in range(11):
        middle = (low + high) / 2
        overlap = bool((within((points + middle * direction) / (a.size / 2)) < 0).any())
        low, high = (middle, high) if overlap else (low, middle)
    return high
