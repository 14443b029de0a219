"""Drawing round bones: many capsules of linear radius at once, shaded, hiding each other by depth, with soft edges.

Points are in pixels (x right, y down) with z towards the viewer, also in pixels. Everything is a (B, K, H, W) tensor
operation; the nearest few capsules of each pixel are composited, so a soft edge shows what lies behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LAYERS = 3
RIM = 0.55  # light at a silhouette's rim: the dark line that keeps fingers of one colour apart
LIGHT = (-0.35, -0.55, 0.76)  # towards the lamp: left, up, near


@dataclass(frozen=True)
class Capsules:
    """``start``, ``end`` (B, K, 3) and ``radius`` (B, K, 2) in pixels, ``colour`` (B, K, 3), ``label`` int64 (K,). A capsule
    with radius 0 is not drawn."""

    start: Tensor
    end: Tensor
    radius: Tensor
    colour: Tensor
    label: Tensor


@dataclass(frozen=True)
class Drawn:
    """``rgb`` (B, 3, H, W); ``label`` int64 (B, H, W), -1 where no capsule is; ``depth`` (B, H, W) z of the surface in pixels,
    -inf where none is; ``alpha`` (B, 1, H, W) soft silhouette."""

    rgb: Tensor
    label: Tensor
    depth: Tensor
    alpha: Tensor


def draw(capsules: Capsules, background: Tensor) -> Drawn:
    """Over ``background`` (B, 3, H, W)."""
    height, width = background.shape[-2:]
    y = torch.arange(height, dtype=torch.float32).view(1, 1, -1, 1) + 0.5
    x = torch.arange(width, dtype=torch.float32).view(1, 1, 1, -1) + 0.5

    def lift(values: Tensor) -> Tensor:
        return values[..., None, None]

    axis = capsules.end - capsules.start
    along = lift(axis[..., 0]) * (x - lift(capsules.start[..., 0])) + lift(axis[..., 1]) * (y - lift(capsules.start[..., 1]))
    t = (along / lift((axis[..., :2] ** 2).sum(-1)).clamp_min(1e-6)).clamp(0, 1)
    dx = x - lift(capsules.start[..., 0]) - t * lift(axis[..., 0])
    dy = y - lift(capsules.start[..., 1]) - t * lift(axis[..., 1])
    radius = lift(capsules.radius[..., 0]) * (1 - t) + lift(capsules.radius[..., 1]) * t
    apart = (dx**2 + dy**2).sqrt()
    cover = ((radius - apart + 0.5).clamp(0, 1)) * (radius > 0)
    bulge = (radius**2 - apart**2).clamp_min(0).sqrt()
    z = lift(capsules.start[..., 2]) + t * lift(axis[..., 2]) + bulge
    z = torch.where(cover > 0, z, -torch.inf)

    nearest = z.topk(min(LAYERS, z.shape[1]), 1)
    where = nearest.indices

    def pick(values: Tensor) -> Tensor:
        return torch.gather(values, 1, where)

    safe = pick(radius).clamp_min(1e-3)
    normal = (pick(dx) / safe, pick(dy) / safe, pick(bulge) / safe)
    facing = sum(n * c for n, c in zip(normal, LIGHT, strict=True))
    shade = (0.62 + 0.45 * facing) * (RIM + (1 - RIM) * (normal[2] * 2.2).clamp(0, 1))
    hit = torch.isfinite(nearest.values)
    rgb = background
    alpha = torch.zeros_like(background[:, :1])
    for layer in reversed(range(where.shape[1])):
        index = where[:, layer].flatten(1)[..., None].expand(-1, -1, 3)
        colour = torch.gather(capsules.colour, 1, index).view(len(rgb), height, width, 3).movedim(-1, 1)
        share = (pick(cover)[:, layer] * hit[:, layer])[:, None]
        rgb = torch.lerp(rgb, (colour * shade[:, layer, None]).clamp(0, 1), share)
        alpha = share + (1 - share) * alpha
    solid = torch.where(cover >= 0.5, z, -torch.inf).max(1)
    label = torch.where(torch.isfinite(solid.values), capsules.label[solid.indices], -1)
    return Drawn(rgb, label, solid.values, alpha)
