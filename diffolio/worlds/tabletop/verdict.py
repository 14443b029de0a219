"""What was found in a picture, and whether it is what a caption asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.scene import Scene, Thing

SURE = 0.5  # confidence from which a person would agree


@dataclass(frozen=True)
class Found:
    """One thing that was seen. ``x``, ``y`` the centre of its full silhouette in [0, 1] of width and height, ``size`` as
    :class:`Thing`, ``angle`` in degrees (rough; 0 for what looks alike when turned), ``mask`` bool (H, W) what is visible;
    ``behind``: places in the reading's list of what stands in front of it."""

    kind: str
    colour: str
    x: float
    y: float
    size: float
    angle: float
    kind_confidence: float
    colour_confidence: float
    mask: Tensor = field(repr=False, compare=False)
    behind: tuple[int, ...] = ()

    @property
    def confidence(self) -> float:
        """In [0, 1]: that it is this kind in this colour."""
        return min(self.kind_confidence, self.colour_confidence)


@dataclass(frozen=True)
class Reading:
    """A picture's things (largest first) and setting; ``aspect`` is width / height. An outline drawing without a thing
    cannot be told from a flat one."""

    found: list[Found]
    background: str
    style: str
    confidence: float
    aspect: float = 1.0

    @property
    def count(self) -> int:
        return len(self.found)

    def relation(self, a: int, b: int) -> set[str]:
        """The relations in which thing ``a`` truly stands to thing ``b`` (places in ``found``).

        Sides hold where the centres differ by more than a tenth of the shorter side *and* that is the larger difference or
        at least two thirds of it: a thing up and to the left is both "left of" and "above".
        """
        for index in (a, b):
            if not 0 <= index < len(self.found):
                raise BadInput(f"thing {index} of a reading with {len(self.found)} things")
        first, second = self.found[a], self.found[b]
        unit = (self.aspect, 1.0) if self.aspect >= 1 else (1.0, 1 / self.aspect)
        dx, dy = (first.x - second.x) * unit[0], (first.y - second.y) * unit[1]
        holds = {"in front of"} if a in second.behind else set()
        if abs(dx) > max(0.1, abs(dy) * 2 / 3):
            holds.add("left of" if dx < 0 else "right of")
        if abs(dy) > max(0.1, abs(dx) * 2 / 3):
            holds.add("above" if dy < 0 else "below")
        return holds


@dataclass(frozen=True)
class Verdict:
    """Does a picture show what a scene asks? ``kinds``, ``colours``: each wanted one has a found one of its own;
    ``both``: in the same things; ``count``: as many things as wanted; ``relation``: holds between them (true where none is
    asked); ``all``: both, count and relation."""

    kinds: bool
    colours: bool
    both: bool
    count: bool
    relation: bool

    @property
    def all(self) -> bool:
        return self.both and self.count and self.relation


def judge(reading: Reading, scene: Scene, *, least_confidence: float = SURE) -> Verdict:
    """Compare a reading with the scene that the picture was asked to show.

    A kind or colour counts only if the reader is at least ``least_confidence`` sure of it; everything found, sure or not,
    counts as a thing.
    """

    def kind(thing: Thing, found: Found) -> bool:
        return thing.kind == found.kind and found.kind_confidence >= least_confidence

    def colour(thing: Thing, found: Found) -> bool:
        return thing.colour == found.colour and found.colour_confidence >= least_confidence

    def right(matching: Sequence[int], *tests: Callable[[Thing, Found], bool]) -> bool:
        return all(test(thing, reading.found[i]) for thing, i in zip(scene.things, matching, strict=True) for test in tests)

    matchings = list(permutations(range(reading.count), len(scene.things)))
    exact = [m for m in matchings if right(m, kind, colour)]
    related = scene.relation is None or any(
        scene.relation in reading.relation(m[scene.subject], m[1 - scene.subject]) for m in exact
    )
    return Verdict(
        kinds=any(right(m, kind) for m in matchings),
        colours=any(right(m, colour) for m in matchings),
        both=bool(exact),
        count=reading.count == len(scene.things),
        relation=related,
    )


def distance(found: Found, thing: Thing, aspect: float = 1.0) -> float:
    """How far a found thing's centre lies from a true one's, as a fraction of the shorter side."""
    unit = (aspect, 1.0) if aspect >= 1 else (1.0, 1 / aspect)
    return math.hypot((found.x - thing.x) * unit[0], (found.y - thing.y) * unit[1])
