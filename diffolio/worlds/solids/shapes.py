"""The kinds of solid: where a ray meets them, and their normals. All analytic, but for the torus, which is sphere traced.

Every kind stands upright in its own frame (y up) inside the sphere of radius ``BOUND[kind]``. Rays are (R, 3) origins and unit
directions in that frame; origins lie close to the body, and distances along a ray may be negative. An intersection is the
least distance that exceeds ``least`` (R,), infinite where the ray misses.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

BOX = 0.8  # half edge
CYLINDER_RADIUS, CYLINDER_HALF = 0.7, 0.9
CONE_RADIUS, CONE_HALF = 0.9, 0.9
CONE_SLOPE = CONE_RADIUS / (2 * CONE_HALF)
TORUS_MAJOR, TORUS_MINOR = 0.7, 0.3
TRACE_STEPS, TRACE_HIT, TRACE_LEAST = 80, 4e-4, 1e-2

KIND_NAMES: tuple[str, ...] = ("sphere", "box", "cylinder", "cone", "torus")
BOUND = {
    "sphere": 1.0,
    "box": BOX * math.sqrt(3),
    "cylinder": math.hypot(CYLINDER_RADIUS, CYLINDER_HALF),
    "cone": math.hypot(CONE_RADIUS, CONE_HALF),
    "torus": TORUS_MAJOR + TORUS_MINOR,
}


def sphere(origin: Tensor, direction: Tensor, least: Tensor) -> Tensor:
    return _first(*_ball(origin, direction, 1.0), least)


def box(origin: Tensor, direction: Tensor, least: Tensor) -> Tensor:
    near, far = _slab(origin, direction, BOX)
    return _first(near.amax(-1), far.amin(-1), least)


def cylinder(origin: Tensor, direction: Tensor, least: Tensor) -> Tensor:
    across = direction[:, [0, 2]].square().sum(-1).clamp_min(1e-12)
    along = (origin[:, [0, 2]] * direction[:, [0, 2]]).sum(-1)
    square = along**2 - across * (origin[:, [0, 2]].square().sum(-1) - CYLINDER_RADIUS**2)
    root = square.clamp_min(0).sqrt()
    low, high = _slab(origin[:, 1], direction[:, 1], CYLINDER_HALF)
    near = torch.maximum((-along - root) / across, low)
    far = torch.minimum((root - along) / across, high)
    return _first(near, torch.where(square < 0, -torch.inf, far), least)


def cone(origin: Tensor, direction: Tensor, least: Tensor) -> Tensor:
    """The part of the double cone x^2 + z^2 <= (slope (half - y))^2 that lies between the base and the tip."""
    weight = origin.new_tensor([1.0, -(CONE_SLOPE**2), 1.0])
    tip = origin - origin.new_tensor([0.0, CONE_HALF, 0.0])
    a = (weight * direction**2).sum(-1)
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    b = (weight * direction * tip).sum(-1)
    square = b**2 - a * (weight * tip**2).sum(-1)
    root = square.clamp_min(0).sqrt()
    first, second = torch.minimum((-b - root) / a, (root - b) / a), torch.maximum((-b - root) / a, (root - b) / a)
    low, high = _slab(origin[:, 1], direction[:, 1], CONE_HALF)
    # A steep ray (a < 0) is inside both nappes and outside between its two roots: keep the lower nappe's end.
    steep, down = a < 0, direction[:, 1] < 0
    near = torch.where(steep, torch.where(down, second, -torch.inf), first)
    far = torch.where(steep, torch.where(down, torch.inf, first), second)
    near, far = torch.maximum(near, low), torch.minimum(far, high)
    return _first(near, torch.where(square < 0, -torch.inf, far), least)


def torus(origin: Tensor, direction: Tensor, least: Tensor) -> Tensor:
    """Sphere traced through the exact distance, which ends with Newton steps onto the surface (error below 1e-5)."""
    near, far = _ball(origin, direction, BOUND["torus"])
    t = torch.maximum(near, least)
    result = torch.full_like(t, torch.inf)
    active = (t < far).nonzero()[:, 0]
    for _ in range(TRACE_STEPS):
        if not len(active):
            break
        here = t[active]
        point = origin[active] + here[:, None] * direction[active]
        distance = _torus_distance(point)
        arrived = distance < TRACE_HIT
        # A ray that grazes must get on: so short a chord lies less than 5e-5 deep, and Newton steps back out of it.
        t[active] = here + distance.clamp_min(TRACE_LEAST)
        result[active[arrived]] = here[arrived]
        active = active[~arrived & (t[active] < far[active])]
    hit = torch.isfinite(result).nonzero()[:, 0]
    for _ in range(3):
        point = origin[hit] + result[hit, None] * direction[hit]
        slope = (torus_normal(point) * direction[hit]).sum(-1).clamp_max(-0.05)  # a grazing ray stays where it is
        result[hit] -= _torus_distance(point) / slope
    return torch.where(result > least, result, torch.inf)


def sphere_normal(p: Tensor) -> Tensor:
    return p / p.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def box_normal(p: Tensor) -> Tensor:
    face = p.abs().argmax(-1, keepdim=True)
    return torch.zeros_like(p).scatter_(-1, face, p.gather(-1, face).sign())


def cylinder_normal(p: Tensor) -> Tensor:
    radius = torch.hypot(p[:, 0], p[:, 2])
    side = torch.stack([p[:, 0], torch.zeros_like(radius), p[:, 2]], -1) / radius.clamp_min(1e-9)[:, None]
    cap = torch.zeros_like(p)
    cap[:, 1] = p[:, 1].sign()
    on_cap = p[:, 1].abs() - CYLINDER_HALF > radius - CYLINDER_RADIUS
    return torch.where(on_cap[:, None], cap, side)


def cone_normal(p: Tensor) -> Tensor:
    radius = torch.hypot(p[:, 0], p[:, 2])
    scale = math.hypot(1.0, CONE_SLOPE)
    level = 1 / (radius.clamp_min(1e-9) * scale)
    side = torch.stack([p[:, 0] * level, torch.full_like(radius, CONE_SLOPE / scale), p[:, 2] * level], -1)
    base = p.new_tensor([0.0, -1.0, 0.0]).expand_as(p)
    on_base = -p[:, 1] - CONE_HALF > (radius - CONE_SLOPE * (CONE_HALF - p[:, 1])) / scale
    return torch.where(on_base[:, None], base, side)


def torus_normal(p: Tensor) -> Tensor:
    radius = torch.hypot(p[:, 0], p[:, 2]).clamp_min(1e-9)
    inwards = TORUS_MAJOR / radius
    away = torch.stack([p[:, 0] * (1 - inwards), p[:, 1], p[:, 2] * (1 - inwards)], -1)
    return away / away.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def _torus_distance(p: Tensor) -> Tensor:
    return torch.hypot(torch.hypot(p[:, 0], p[:, 2]) - TORUS_MAJOR, p[:, 1]) - TORUS_MINOR


INTERSECT: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sphere": sphere, "box": box, "cylinder": cylinder, "cone": cone, "torus": torus,
}  # fmt: skip
NORMAL: dict[str, Callable[[Tensor], Tensor]] = {
    "sphere": sphere_normal, "box": box_normal, "cylinder": cylinder_normal, "cone": cone_normal, "torus": torus_normal,
}  # fmt: skip


def lowest(kind: str, rotation: list[list[float]]) -> float:
    """How far a turned body of unit size reaches below its centre; ``rotation`` takes its frame to the world."""
    up = rotation[1]  # world y of the body's three axes
    level = math.sqrt(max(0.0, 1 - up[1] ** 2))
    return {
        "sphere": 1.0,
        "box": BOX * sum(abs(u) for u in up),
        "cylinder": CYLINDER_HALF * abs(up[1]) + CYLINDER_RADIUS * level,
        "cone": max(CONE_HALF * up[1] + CONE_RADIUS * level, -CONE_HALF * up[1]),
        "torus": TORUS_MAJOR * level + TORUS_MINOR,
    }[kind]


def _ball(origin: Tensor, direction: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Where a ray enters and leaves the ball about the frame's origin; (inf, -inf) if it misses."""
    along = (origin * direction).sum(-1)
    square = radius**2 - (origin - along[:, None] * direction).square().sum(-1)
    root = square.clamp_min(0).sqrt()
    missed = square < 0
    return torch.where(missed, torch.inf, -along - root), torch.where(missed, -torch.inf, root - along)


def _slab(origin: Tensor, direction: Tensor, half: float) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave |coordinate| <= half, coordinate by coordinate."""
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    a, b = (-half - origin) * inverse, (half - origin) * inverse
    return torch.minimum(a, b), torch.maximum(a, b)


def _first(near: Tensor, far: Tensor, least: Tensor) -> Tensor:
    """The first crossing beyond ``least`` of a convex body that a ray is inside of from ``near`` to ``far``."""
    t = torch.where(near > least, near, far)
    return torch.where((near <= far) & (t > least), t, torch.inf)
