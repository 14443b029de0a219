"""Rays through scenes: what each one meets first, and whether the way to a light is free.

Rays are flat lists: ``scene`` (R,) says through which scene of a batch each one goes, ``origin`` and unit ``direction`` are
(R, 3). Solids far from a ray are passed over by their bounding spheres, so that cost grows with what is on the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.worlds.solids.scene import GROUND_TEXTURES, ROOM_HALF, ROOM_HEIGHT, SETTINGS, TEXTURES, Scene
from diffolio.worlds.solids.shapes import BOUND, INTERSECT, KIND_NAMES, NORMAL
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS

FLOOR, WALL, CEILING, NOTHING = -1, -2, -3, -4  # ids of what is no solid
LEAST = 1e-4  # a ray does not meet what lies nearer than this
GROUND, VOID, ROOM = range(len(SETTINGS))


@dataclass(frozen=True)
class Packed:
    """A batch of scenes as tensors, K slots for solids and L for lights; absent solids have kind -1, absent lights strength 0."""

    kind: Tensor  # (B, K)
    centre: Tensor  # (B, K, 3)
    size: Tensor  # (B, K)
    rotation: Tensor  # (B, K, 3, 3), body to world
    colour: Tensor  # (B, K, 3)
    texture: Tensor  # (B, K)
    gloss: Tensor  # (B, K)
    light: Tensor  # (B, L, 3): position, or unit direction of a sun
    sun: Tensor  # (B, L) bool
    strength: Tensor  # (B, L)
    ambient: Tensor  # (B,)
    setting: Tensor  # (B,)
    background: Tensor  # (B, 3)
    walls: Tensor  # (B, 3)
    ground_texture: Tensor  # (B,)

    @property
    def bound(self) -> Tensor:
        """Squared radii (B, K) of bounding spheres; -1 for absent solids."""
        unit = torch.tensor([*(BOUND[name] for name in KIND_NAMES), 0.0])[self.kind]
        return torch.where(self.kind < 0, -1.0, (unit * self.size) ** 2)


@dataclass(frozen=True)
class Hits:
    """What rays meet: distance ``t`` (R,), infinite where nothing; ``owner`` (R,), the solid's slot or one of FLOOR, WALL,
    CEILING, NOTHING; world ``normal`` (R, 3), towards the ray's origin side; ``local`` (R, 3), the point in the solid's frame, or the
    world's; ``struck`` bool (R, K): solids on the ray, hidden or not, or None where it was not asked."""

    t: Tensor
    owner: Tensor
    normal: Tensor
    local: Tensor
    struck: Tensor | None


def pack(scenes: Sequence[Scene]) -> Packed:
    count, lights = max([1, *(len(s.solids) for s in scenes)]), max(len(s.lights) for s in scenes)
    absent = (-1, (0.0,) * 3, 1.0, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), (0.0,) * 3, 0, 0.0)
    dark = ((0.0, 1.0, 0.0), True, 0.0)
    bodies, lamps = [], []
    for scene in scenes:
        rows = [
            (KIND_NAMES.index(b.kind), b.centre, b.size, b.rotation, COLOURS[b.colour], TEXTURES.index(b.texture), b.gloss)
            for b in scene.solids
        ]
        bodies += rows + [absent] * (count - len(rows))
        for lamp in scene.lights:
            sun = lamp.distance == float("inf")
            lamps.append((tuple(v * (1 if sun else lamp.distance) for v in lamp.direction), sun, lamp.strength))
        lamps += [dark] * (lights - len(scene.lights))
    body = [torch.tensor(column).unflatten(0, (len(scenes), count)) for column in zip(*bodies, strict=True)]
    lamp = [torch.tensor(column).unflatten(0, (len(scenes), lights)) for column in zip(*lamps, strict=True)]
    return Packed(
        *body,
        *lamp,
        ambient=torch.tensor([s.ambient for s in scenes]),
        setting=torch.tensor([SETTINGS.index(s.setting) for s in scenes]),
        background=torch.tensor([BACKGROUNDS[s.background] for s in scenes]),
        walls=torch.tensor([BACKGROUNDS[s.walls] for s in scenes]),
        ground_texture=torch.tensor([GROUND_TEXTURES.index(s.texture) for s in scenes]),
    )


def trace(world: Packed, scene: Tensor, origin: Tensor, direction: Tensor, *, all_struck: bool = False) -> Hits:
    """The first thing that each ray meets."""
    t = torch.full_like(origin[:, 0], torch.inf)
    owner = torch.full_like(scene, NOTHING)
    normal, local = torch.zeros_like(origin), torch.zeros_like(origin)
    struck = torch.zeros(len(scene), world.kind.shape[1], dtype=torch.bool) if all_struck else None
    _surroundings(world, scene, origin, direction, t, owner, normal)
    bound = world.bound
    for slot in range(world.kind.shape[1]):
        for name, rays, distance, point in _meet(world, bound, slot, scene, origin, direction):
            hit = torch.isfinite(distance)
            if struck is not None:
                struck[rays[hit], slot] = True
            first = (hit & (distance < t[rays])).nonzero()[:, 0]
            rays, point = rays[first], point(first)
            t[rays], owner[rays], local[rays] = distance[first], slot, point
            turned = torch.einsum("rij,rj->ri", world.rotation[scene[rays], slot], NORMAL[name](point))
            normal[rays] = turned
    plain = owner == FLOOR
    plain |= (owner == WALL) | (owner == CEILING)
    local[plain] = origin[plain] + t[plain, None] * direction[plain]
    return Hits(t, owner, normal, local, struck)


def blocked(world: Packed, scene: Tensor, origin: Tensor, direction: Tensor, reach: Tensor) -> Tensor:
    """Whether a solid stands within ``reach`` (R,) on each ray: bool (R,)."""
    result = torch.zeros(len(scene), dtype=torch.bool)
    bound = world.bound
    for slot in range(world.kind.shape[1]):
        for _, rays, distance, _ in _meet(world, bound, slot, scene, origin, direction):
            result[rays] |= distance < reach[rays]
    return result


def _meet(world: Packed, bound: Tensor, slot: int, scene: Tensor, origin: Tensor, direction: Tensor):
    """For the solids of one slot, kind by kind: (kind, rays that pass nearby, distances (n,), their points in the body's frame)."""
    offset = origin - world.centre[:, slot].index_select(0, scene)
    along = -(offset * direction).sum(-1)
    # From the point that is nearest to the body's centre, so that float32 suffices however far the camera is.
    nearest = torch.addcmul(offset, along[:, None], direction)
    near = nearest.square().sum(-1) < bound[:, slot].index_select(0, scene)
    near = near.nonzero()[:, 0]
    if not len(near):
        return
    kinds = world.kind[:, slot].index_select(0, scene[near])
    for code in world.kind[:, slot].unique().tolist():
        if code < 0:
            continue
        rays = near[kinds == code] if len(near) else near
        if not len(rays):
            continue
        where = scene[rays]
        rotation, size = world.rotation[where, slot], world.size[where, slot]
        o = torch.einsum("rji,rj->ri", rotation, nearest[rays]) / size[:, None]
        d = torch.einsum("rji,rj->ri", rotation, direction[rays])
        local = INTERSECT[KIND_NAMES[code]](o, d, (LEAST - along[rays]) / size)

        def point(index: Tensor, o: Tensor = o, d: Tensor = d, local: Tensor = local) -> Tensor:
            return o[index] + local[index, None] * d[index]

        yield KIND_NAMES[code], rays, along[rays] + local * size, point


def _surroundings(
    world: Packed, scene: Tensor, origin: Tensor, direction: Tensor, t: Tensor, owner: Tensor, normal: Tensor
) -> None:
    """Floors, walls and ceilings, written into ``t``, ``owner`` and ``normal``."""
    setting = world.setting[scene]
    rays = ((setting == GROUND) & (direction[:, 1] * origin[:, 1] < 0)).nonzero()[:, 0]
    t[rays], owner[rays] = -origin[rays, 1] / direction[rays, 1], FLOOR
    normal[rays, 1] = origin[rays, 1].sign()
    rays = (setting == ROOM).nonzero()[:, 0]
    if not len(rays):
        return
    o, d = origin[rays], direction[rays]
    d = torch.where(d.abs() < 1e-9, 1e-9, d)
    low, high = o.new_tensor([-ROOM_HALF, 0.0, -ROOM_HALF]), o.new_tensor([ROOM_HALF, ROOM_HEIGHT, ROOM_HALF])
    leave = (torch.where(d > 0, high, low) - o) / d
    enter = (torch.where(d > 0, low, high) - o) / d
    distance, axis = leave.min(-1)
    inside = (enter.amax(-1) < distance) & (distance > LEAST)
    rays, axis, d, distance = rays[inside], axis[inside], d[inside], distance[inside]
    upwards = d[:, 1] > 0
    t[rays] = distance
    owner[rays] = torch.where(axis == 1, torch.where(upwards, CEILING, FLOOR), WALL)
    normal[rays] = torch.zeros_like(d).scatter_(-1, axis[:, None], -d.gather(-1, axis[:, None]).sign())
