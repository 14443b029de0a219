"""Figures with hands: head, torso and limbs as capsules, one or two hands of this world raised, all with exact keypoints."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.errors import BadInput, choose
from diffolio.worlds.hands import render as hand
from diffolio.worlds.hands.capsules import Capsules, draw
from diffolio.worlds.hands.captions import CLOTHES, describe_body
from diffolio.worlds.hands.kinematics import radii
from diffolio.worlds.hands.sample import HELD_OUT, Mixture, sample_hand
from diffolio.worlds.hands.scene import GROUNDS, SKINS, Hand
from diffolio.worlds.hands.skeleton import bones, skeleton

JOINTS: tuple[str, ...] = ("neck", "head", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow",
                           "left wrist", "right hip", "right knee", "left hip", "left knee")  # fmt: skip
PARENTS: tuple[int, ...] = (-1, 0, 0, 2, 3, 0, 5, 6, 0, 8, 0, 10)
COLOURS = ((1.0, 1.0, 1.0), (0.9, 0.9, 0.9), *((1.0, 0.5, 0.2),) * 3, *((0.2, 0.9, 0.9),) * 3, *((0.6, 0.9, 0.3),) * 2,
           *((0.9, 0.4, 0.7),) * 2)  # fmt: skip
HEAD, TORSO, ARM, LEG, HAIR = 10, 11, 12, 13, 14  # labels of body parts; hands keep theirs, the second's come 20 later
SECOND = 20
SHIRTS = {"blue": (0.20, 0.34, 0.66), "green": (0.20, 0.52, 0.34), "violet": (0.42, 0.28, 0.62), "grey": (0.42, 0.45, 0.50),
          "white": (0.88, 0.90, 0.94)}  # fmt: skip


@dataclass(frozen=True)
class Body:
    """A figure seen from the front; its right side is at the picture's left. ``joints``: the twelve of :data:`JOINTS` as (x, y) in
    [0, 1] of the picture; ``hands`` one or two, each with its wrist where the body's is."""

    joints: tuple[tuple[float, float], ...]
    hands: tuple[Hand, ...]
    skin: str = "light"
    shirt: str = "blue"
    ground: str = "grey"
    shading: float = 0.1
    caption: str = ""

    def __post_init__(self) -> None:
        choose("skin", self.skin, tuple(SKINS))
        choose("shirt", self.shirt, CLOTHES)
        choose("ground", self.ground, tuple(GROUNDS))
        if len(self.joints) != len(JOINTS) or len(self.hands) not in (1, 2):
            raise BadInput(f"{len(self.joints)} joints and {len(self.hands)} hands: give {len(JOINTS)} and one or two")


@dataclass(frozen=True)
class Rendering:
    """``images`` (B, 3, H, W); ``joints`` (B, 12, 2) pixels; ``hand_keypoints`` (B, 2, 21, 3), NaN where there is no second hand,
    ``hand_visible`` bool (B, 2, 21); ``hand_masks`` bool (B, 2, H, W), what is visible; ``boxes`` (B, 2, 4) left, top, right,
    bottom in pixels (NaN); ``labels`` int64 (B, H, W): part of the body or finger; ``depth``; ``silhouette`` bool (B, H, W)."""

    images: Tensor
    joints: Tensor
    hand_keypoints: Tensor
    hand_visible: Tensor
    hand_masks: Tensor
    boxes: Tensor
    labels: Tensor
    depth: Tensor
    silhouette: Tensor


def render_bodies(bodies: Body | Sequence[Body], size: int | tuple[int, int] = 64) -> Rendering:
    """Draw figures, ``size`` the side or (height, width) in pixels, 16 to 1024."""
    bodies = [bodies] if isinstance(bodies, Body) else list(bodies)
    height, width = hand.check_size(size, len(bodies))
    short = min(height, width)
    joints = torch.tensor([b.joints for b in bodies]) * torch.tensor([float(width), float(height)])
    skins = torch.tensor([SKINS[b.skin] for b in bodies])
    both = [[b.hands[min(k, len(b.hands) - 1)] for b in bodies] for k in (0, 1)]
    present = torch.tensor([[True, len(b.hands) > 1] for b in bodies])
    points = torch.stack([hand.keypoints(hands, height, width) for hands in both], 1)
    points[..., 2] += 0.3 * short  # hands are held before the body
    parts = [_body(joints, skins, torch.tensor([SHIRTS[b.shirt] for b in bodies]), short)]
    flesh = []
    for k, hands in enumerate(both):
        capsules = hand.capsules(hands, points[:, k], skins, short)
        capsules = replace(capsules, radius=capsules.radius * present[:, k, None, None], label=capsules.label + SECOND * k)
        parts.append(capsules)
        flesh.append(radii(torch.tensor([h.shape for h in hands])) * torch.tensor([[h.size] for h in hands]) * short)
    together = Capsules(*(torch.cat([getattr(p, n) for p in parts], 0 if n == "label" else 1) for n in Capsules.__annotations__))
    grounds = torch.tensor([GROUNDS[b.ground] for b in bodies])
    drawn = draw(together, hand.ground(grounds, torch.tensor([b.shading for b in bodies]), height, width))
    masks = torch.stack([(drawn.label >= SECOND * k) & (drawn.label <= SECOND * k + hand.PALM) for k in (0, 1)], 1)
    visible = torch.stack([hand.seen(points[:, k], flesh[k], drawn.depth) for k in (0, 1)], 1) & present[..., None]
    points = torch.where(present[..., None, None], points, torch.nan)
    margin = 0.07 * torch.tensor([[h.size for h in hands] for hands in both]).T[..., None] * short
    boxes = torch.cat([points[..., :2].amin(2) - margin, points[..., :2].amax(2) + margin], -1)
    return Rendering(drawn.rgb, joints, points, visible, masks, boxes, drawn.label, drawn.depth, drawn.label >= 0)


def body_skeleton(rendering: Rendering, hands: bool = True, width: float = 0.03) -> Tensor:
    """The figures' bones (B, 3, H, W) on black, with the hands' over them unless ``hands`` is false."""
    size = rendering.depth.shape[1:]
    picture = bones(rendering.joints, PARENTS, COLOURS, (size[0], size[1]), width)
    for k in (0, 1) if hands else ():
        there = ~rendering.hand_keypoints[:, k].isnan().flatten(1).any(1)
        if there.any():
            over = skeleton(rendering.hand_keypoints[there, k], (size[0], size[1]), width * 0.7)
            picture[there] = torch.where(over.amax(1, keepdim=True) > 0.15, over, picture[there])
    return picture


def _body(joints: Tensor, skins: Tensor, shirts: Tensor, short: int) -> Capsules:
    """Torso, head, hair, arms and legs around the joints (B, 12, 2)."""
    neck, head, *_ = joints.unbind(1)
    hips, shoulders = (joints[:, 8] + joints[:, 10]) / 2, (joints[:, 2] + joints[:, 5]) / 2
    trousers, hair = torch.tensor([0.20, 0.22, 0.30]).expand_as(skins), torch.tensor([0.16, 0.15, 0.17]).expand_as(skins)
    rows = [
        (shoulders, hips, 0.115, 0.11, -0.10, shirts, TORSO), (joints[:, 2], joints[:, 8], 0.07, 0.075, -0.10, shirts, TORSO),
        (joints[:, 5], joints[:, 10], 0.07, 0.075, -0.10, shirts, TORSO), (joints[:, 2], joints[:, 5], 0.065, 0.065, -0.09, shirts, TORSO),
        (neck, head, 0.045, 0.05, -0.06, skins, HEAD), (head, head - 0.35 * (neck - head), 0.078, 0.085, -0.02, skins, HEAD),
        (head - 0.85 * (neck - head), head - 0.95 * (neck - head), 0.088, 0.078, -0.005, hair, HAIR),
    ]  # fmt: skip
    for side in (-1, 1):
        eye = head - 0.12 * (neck - head) + side * torch.tensor([0.03 * short, 0.0])
        rows.append((eye, eye, 0.012, 0.012, 0.065, hair, HEAD))
    for a, b in ((2, 3), (3, 4), (5, 6), (6, 7)):
        rows.append(
            (joints[:, a], joints[:, b], 0.055 if a in (2, 5) else 0.048, 0.047 if a in (2, 5) else 0.034, 0.06, shirts, ARM)
        )
    for a, b in ((8, 9), (10, 11)):
        rows.append((joints[:, a], joints[:, b], 0.075, 0.06, -0.05, trousers, LEG))

    def deep(point: Tensor, z: float) -> Tensor:
        return torch.cat([point, torch.full_like(point[:, :1], z * short)], 1)

    return Capsules(
        torch.stack([deep(row[0], row[4]) for row in rows], 1), torch.stack([deep(row[1], row[4]) for row in rows], 1),
        torch.tensor([[row[2], row[3]] for row in rows]).expand(len(joints), -1, 2) * short,
        torch.stack([row[5] for row in rows], 1), torch.tensor([row[6] for row in rows]),
    )  # fmt: skip


def sample_bodies(n: int, seed: int, mixture: Mixture | None = None) -> list[Body]:
    """``n`` figures from the knees up with every hand in the picture; the first k of n do not depend on n."""
    if n < 1:
        raise BadInput(f"{n} figures asked for: give at least one")
    return [_sample(random.Random(f"bodies/{seed}/{i}"), mixture or Mixture()) for i in range(n)]


def held_out_bodies(n: int, seed: int = HELD_OUT) -> list[Body]:
    """``n`` figures that no training sees, with plain captions."""
    if seed < HELD_OUT:
        raise BadInput(f"seed {seed}: held-out seeds start at {HELD_OUT}, smaller ones are for training")
    return sample_bodies(n, seed, Mixture(canonical=True))


def _sample(rng: random.Random, mixture: Mixture) -> Body:
    x, y = 0.5 + rng.uniform(-0.06, 0.06), 0.36 + rng.uniform(-0.03, 0.04)
    lean = rng.uniform(-0.02, 0.02)
    joints: list[tuple[float, float]] = [(x, y), (x + lean, y - 0.13)]
    hands: list[Hand] = []
    up = (True, True) if rng.random() < 0.5 else rng.choice(((True, False), (False, True)))
    for k, side in enumerate(("right", "left")):
        out = -1 if k == 0 else 1
        shoulder = (x + out * 0.13, y + 0.05)
        if up[k]:
            wrist = (x + out * rng.uniform(0.24, 0.30), y + rng.uniform(-0.02, 0.22))
            elbow = _elbow(shoulder, wrist, 0.2, 0.19, out)
            raised = _held(rng, mixture, side, wrist, elbow)
            hands.append(raised)
        else:
            elbow = (shoulder[0] + out * rng.uniform(0.03, 0.07), shoulder[1] + 0.2)
            wrist = (elbow[0] - out * rng.uniform(0.0, 0.12), elbow[1] + 0.17)
        joints += [shoulder, elbow, wrist]
    for out in (-1, 1):
        joints += [(x + out * 0.085, y + 0.40), (x + out * 0.1, y + 0.68)]
    body = Body(
        tuple(joints),
        tuple(hands),
        rng.choice(tuple(SKINS)),
        rng.choice(CLOTHES),
        rng.choice(tuple(GROUNDS)),
        rng.uniform(0, 0.3),
    )
    return replace(body, caption=describe_body(body, None if mixture.canonical else rng))


def _elbow(a: tuple[float, float], b: tuple[float, float], upper: float, fore: float, out: int) -> tuple[float, float]:
    """The joint of a two-bone arm from ``a`` to ``b`` in the plane, on the outer, lower side."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    reach = min(max(math.hypot(dx, dy), 0.05), upper + fore - 1e-3)
    bend = math.acos(max(-1.0, min(1.0, (upper**2 + reach**2 - fore**2) / (2 * upper * reach))))
    angle = math.atan2(dy, dx) + out * bend
    return (a[0] + upper * math.cos(angle), a[1] + upper * math.sin(angle))


def _held(rng: random.Random, mixture: Mixture, side: str, wrist: tuple[float, float], elbow: tuple[float, float]) -> Hand:
    """A hand that goes on from its forearm, bent a little at the wrist, and stays in the picture."""
    hand_ = replace(sample_hand(rng, mixture), side=side, x=wrist[0], y=wrist[1])
    forearm = math.atan2(-(wrist[0] - elbow[0]), elbow[1] - wrist[1])
    roll = max(-0.9, min(0.9, forearm)) * 0.6 + rng.uniform(-0.25, 0.25)
    placed = replace(hand_, roll=roll, size=rng.uniform(0.27, 0.31))
    points = hand.keypoints([placed], 1, 1)[0, :, :2]
    over = max(float(points.max()) - 0.98, 0.02 - float(points.min()), 0.0)
    return replace(placed, size=placed.size * (1 - min(0.4, 2.5 * over)))
