"""What surfaces look like: albedo with textures that are fixed to the bodies and the world, and light with cast shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.worlds.solids.scene import GROUND_TEXTURES, TEXTURES
from diffolio.worlds.solids.trace import CEILING, FLOOR, GROUND, NOTHING, WALL, Hits, Packed, blocked
from diffolio.worlds.tabletop.palette import BONE

PALE = 0.8  # how far the second colour of a texture goes from the body's own towards bone
GROUND_CONTRAST, TILE = 0.25, 0.6  # the ground's darker tiles, and their side in world units
FADE = (5.0, 11.0)  # distances from the world's origin between which the ground's texture fades away
SHINE = 40.0  # exponent of highlights
OFFSET = 2e-3  # a shadow ray starts this far above the surface
DOTS, DOT = 26, 0.26  # how many dots a body has, and their angular radius
SKY_LOW, SKY_HIGH = (0.93, 0.95, 0.97), (0.55, 0.74, 0.93)


@dataclass(frozen=True)
class Lit:
    """Light on points: ``direct`` (R,), ``ambient`` (R,), ``specular`` (R,), and ``shadow`` bool (R,): a light that the
    surface faces is hidden from it."""

    direct: Tensor
    ambient: Tensor
    specular: Tensor
    shadow: Tensor


def albedo(world: Packed, scene: Tensor, direction: Tensor, hits: Hits) -> Tensor:
    """Colours (R, 3) without light; of the sky or the void, its own colour."""
    colour = world.background[scene]
    sky = ((hits.owner == NOTHING) & (world.setting[scene] == GROUND)).nonzero()[:, 0]
    height = direction[sky, 1:2].clamp(0, 1).sqrt()
    colour[sky] = torch.lerp(colour.new_tensor(SKY_LOW), colour.new_tensor(SKY_HIGH), height)
    ceiling = hits.owner == CEILING
    colour = torch.where(ceiling[:, None], colour.new_tensor((0.94, 0.94, 0.93)), colour)
    floor = (hits.owner == FLOOR).nonzero()[:, 0]
    colour[floor] *= 1 - GROUND_CONTRAST * _ground_pattern(world.ground_texture[scene[floor]], hits.local[floor])[:, None]
    wall = (hits.owner == WALL).nonzero()[:, 0]
    stripe = ((hits.local[wall, 0] + hits.local[wall, 2]) / (2 * TILE)) % 1 < 0.5
    colour[wall] = world.walls[scene[wall]] * (1 - 0.12 * stripe[:, None].float())
    solid = (hits.owner >= 0).nonzero()[:, 0]
    at = scene[solid], hits.owner[solid]
    own = world.colour[at]
    pattern = _pattern(world.texture[at], hits.local[solid])
    colour[solid] = torch.lerp(own, own.new_tensor(BONE), PALE * pattern[:, None])
    return colour


def illuminate(world: Packed, scene: Tensor, origin: Tensor, direction: Tensor, hits: Hits) -> Lit:
    """The light at what rays have met. Nothing is lit by ambient light 1 alone: it shines itself."""
    met = (hits.owner != NOTHING).nonzero()[:, 0]
    where, normal, view = scene[met], hits.normal[met], direction[met]
    point = origin[met] + hits.t[met, None] * view + OFFSET * normal
    direct, specular = (torch.zeros_like(hits.t) for _ in range(2))
    shadow = torch.zeros_like(hits.owner, dtype=torch.bool)
    ambient = torch.ones_like(hits.t)
    ambient[met] = world.ambient[where] * (0.85 + 0.15 * normal[:, 1])  # the sky gives more than the ground
    solid = hits.owner[met] >= 0
    gloss = torch.where(solid, world.gloss[where, hits.owner[met].clamp_min(0)], 0.0)
    for lamp in range(world.light.shape[1]):
        place, sun, strength = (value[where, lamp] for value in (world.light, world.sun, world.strength))
        way = torch.where(sun[:, None], place, place - point)
        length = way.norm(dim=-1)
        way = way / length.clamp_min(1e-9)[:, None]
        facing = (normal * way).sum(-1).clamp_min(0) * strength
        lit = (facing > 0).nonzero()[:, 0]
        reach = torch.where(sun[lit], torch.inf, length[lit])
        dark = blocked(world, where[lit], point[lit], way[lit], reach)
        free = lit[~dark]
        shadow[met[lit[dark]]] = True
        direct[met[free]] += facing[free]
        half = torch.nn.functional.normalize(way[free] - view[free], dim=-1)
        shine = (normal[free] * half).sum(-1).clamp_min(0) ** SHINE
        specular[met[free]] += gloss[free] * strength[free] * shine
    return Lit(direct, ambient, specular, shadow)


def _ground_pattern(texture: Tensor, p: Tensor) -> Tensor:
    """0 or 1 (R,), fading to its mean far from the origin, so that the horizon does not flicker."""
    x, z = (p[:, 0] / TILE).floor(), (p[:, 2] / TILE).floor()
    striped, checked = z % 2, (x + z) % 2
    pattern = torch.where(texture == GROUND_TEXTURES.index("checked"), checked, striped)
    share = ((FADE[1] - torch.hypot(p[:, 0], p[:, 2])) / (FADE[1] - FADE[0])).clamp(0, 1)
    return torch.where(texture == 0, 0.0, torch.lerp(torch.full_like(pattern, 0.5), pattern, share))


def _pattern(texture: Tensor, p: Tensor) -> Tensor:
    """0 or 1 (R,) at points of bodies in their own frames."""
    pattern = torch.zeros_like(p[:, 0])
    striped = (texture == TEXTURES.index("striped")).nonzero()[:, 0]
    pattern[striped] = ((p[striped, 1] * 0.94 + p[striped, 0] * 0.35) * 1.25 % 1 < 0.45).float()
    checked = (texture == TEXTURES.index("checked")).nonzero()[:, 0]
    pattern[checked] = (p[checked] * 2.2 + 0.5).floor().sum(-1) % 2
    dotted = (texture == TEXTURES.index("dotted")).nonzero()[:, 0]
    if len(dotted):
        towards = torch.nn.functional.normalize(p[dotted], dim=-1)
        pattern[dotted] = ((towards @ _dots().T).amax(-1) > math.cos(DOT)).float()
    return pattern


def _dots() -> Tensor:
    """Directions (DOTS, 3) spread evenly: a Fibonacci lattice on the sphere."""
    i = torch.arange(DOTS) + 0.5
    angle, y = i * math.pi * (1 + 5**0.5), 1 - 2 * i / DOTS
    level = (1 - y**2).sqrt()
    return torch.stack([angle.cos() * level, y, angle.sin() * level], -1)
