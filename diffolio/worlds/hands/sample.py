"""Drawing hands at random, from a seed, within human ranges."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import torch

from diffolio.errors import BadInput
from diffolio.worlds.hands.captions import caption, describe
from diffolio.worlds.hands.kinematics import FINGERS, limits
from diffolio.worlds.hands.render import keypoints
from diffolio.worlds.hands.scene import GROUNDS, SIDES, SKINS, Hand, Scene

HELD_OUT = 900_000  # seeds from here on are for claims; trainings use smaller ones


@dataclass(frozen=True)
class Mixture:
    """How often what is drawn: of each count of raised fingers, of the back seen, of the natural choice of fingers (index first)
    rather than any, and the bounds of size and of the turns in radians."""

    counts: tuple[float, float, float, float, float, float] = (0.1, 0.18, 0.2, 0.16, 0.16, 0.2)
    back: float = 0.3
    natural: float = 0.7
    size: tuple[float, float] = (0.62, 0.78)
    yaw: float = 0.6
    pitch: float = 0.35
    roll: float = 0.7
    canonical: bool = False  # the plain caption instead of a random one


_NATURAL = ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))


def sample_hand(rng: random.Random, mixture: Mixture) -> Hand:
    """One hand in the middle of the picture."""
    count = rng.choices(range(6), mixture.counts)[0]
    if rng.random() < mixture.natural and 1 <= count <= 4:
        chosen = (0, *_NATURAL[count - 2]) if count in (2, 3) and rng.random() < 0.25 else _NATURAL[count - 1]
    else:
        chosen = tuple(rng.sample(range(5), count))
    raised = tuple(finger in chosen for finger in range(5))
    low, high = limits().T.tolist()
    angles: list[float] = []
    for finger, up in enumerate(raised):
        spread = (0.25, 0.12, 0.02, -0.10, -0.18)[finger] + rng.gauss(0, 0.07)
        if FINGERS[finger] == "thumb":
            bends = (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.15), rng.uniform(-0.15, 0.2)) if up else (
                rng.uniform(0.5, 0.72), rng.uniform(0.6, 0.95), rng.uniform(0.6, 1.1))  # fmt: skip
            spread = spread if up else spread - 0.35
        elif up:
            bends = (rng.uniform(-0.15, 0.25), rng.uniform(0.0, 0.25), rng.uniform(0.0, 0.15))
        else:
            bends = (rng.uniform(1.2, 1.5), rng.uniform(1.4, 1.75), rng.uniform(0.7, 1.1))
        angles += [spread, *bends]
    angles = [min(max(a, lo), hi) for a, lo, hi in zip(angles, low, high, strict=True)]
    yaw = rng.uniform(-mixture.yaw, mixture.yaw) + (math.pi if rng.random() < mixture.back else 0.0)
    shape = (1.0, rng.uniform(0.9, 1.12), rng.uniform(0.9, 1.12), rng.uniform(0.9, 1.15))
    return Hand(
        rng.choice(SIDES), tuple(angles), raised, shape, yaw, rng.uniform(-mixture.pitch, mixture.pitch),
        rng.uniform(-mixture.roll, mixture.roll), size=rng.uniform(*mixture.size),
    )  # fmt: skip


def sample_scenes(n: int, seed: int, mixture: Mixture | None = None) -> list[Scene]:
    """``n`` scenes with the whole hand in the picture; the first k of n do not depend on n."""
    if n < 1:
        raise BadInput(f"{n} scenes asked for: give at least one")
    return [_scene(random.Random(f"hands/{seed}/{i}"), mixture or Mixture()) for i in range(n)]


def held_out(n: int, seed: int = HELD_OUT, mixture: Mixture | None = None) -> list[Scene]:
    """``n`` scenes that no training sees, with their plain captions."""
    if seed < HELD_OUT:
        raise BadInput(f"seed {seed}: held-out seeds start at {HELD_OUT}, smaller ones are for training")
    return sample_scenes(n, seed, replace(mixture or Mixture(), canonical=True))


def _scene(rng: random.Random, mixture: Mixture) -> Scene:
    hand = centred(sample_hand(rng, mixture), rng)
    scene = Scene(hand, rng.choice(tuple(SKINS)), rng.choice(tuple(GROUNDS)), rng.uniform(0, 0.3))
    return replace(scene, caption=describe(scene) if mixture.canonical else caption(scene, rng))


def centred(hand: Hand, rng: random.Random) -> Hand:
    """The hand moved so that its box lies in the picture, a little off the middle, and made smaller if it would not fit."""
    points = keypoints([hand], 1, 1)[0, :, :2]
    margin = 0.09 * hand.size
    low, high = points.amin(0) - margin, points.amax(0) + margin
    fit = min(1.0, 0.96 / float((high - low).max()))
    wrist = torch.tensor([hand.x, hand.y])
    middle = wrist + ((low + high) / 2 - wrist) * fit
    room = (1 - (high - low) * fit).clamp_min(0) / 2
    to = [0.5 + rng.uniform(-0.8, 0.8) * float(room[i]) for i in (0, 1)]
    return replace(hand, x=hand.x + to[0] - float(middle[0]), y=hand.y + to[1] - float(middle[1]), size=hand.size * fit)
