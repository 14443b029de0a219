"""Light on a depth map: points, normals, a volume before the camera, and rays marched through it towards the sun.

View axes, throughout: x to the right, y *up*, z *towards the camera*, so that the normals of what is seen have z > 0 mostly. A depth
(B, H, W) is the distance along the optical axis, infinite where there is nothing (sky); the camera is a pinhole with square
pixels and a centred axis, of which only ``focal``, in heights of the picture, is known (1.374 for 40 degrees from top to bottom).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.geometry.cameras import on_sphere, pixel_centres

FOCAL = 0.5 / math.tan(math.radians(20.0))
"""Of a vertical field of view of 40 degrees."""


def sun(azimuth: Tensor | float, elevation: Tensor | float, pitch: float = 0.0) -> Tensor:
    """Unit vectors (..., 3) towards the sun, in view axes.

    Degrees. Azimuth 0 is behind the camera and grows to the right, elevation is above the horizon, ``pitch`` says how far the camera
    looks down. BadInput for a sun below the horizon.
    """
    a, e = torch.broadcast_tensors(torch.as_tensor(azimuth, dtype=torch.float32), torch.as_tensor(elevation, dtype=torch.float32))
    if not bool(((e > 0) & (e <= 90)).all()):
        raise BadInput(f"a sun at elevation {float(e.min()):g} degrees: it stands above the horizon, in (0, 90]")
    x, y, z = on_sphere(a, e).unbind(-1)
    c, s = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    return torch.stack([x, c * y - s * z, s * y + c * z], -1)


def check_depth(depth: Tensor) -> Tensor:
    """Depth (B, H, W) as it is; BadInput for NaN, zeros, negative values, or nothing but sky."""
    if depth.dim() != 3:
        raise BadInput(f"depth of shape {tuple(depth.shape)}: give (B, H, W)")
    wrong = int((~(depth > 0)).sum())
    if wrong:
        raise BadInput(
            f"depth with {wrong} pixels that are zero, negative or NaN: give distances above 0, infinite where nothing is"
        )
    if not bool(torch.isfinite(depth).flatten(1).any(1).all()):
        raise BadInput("depth that is infinite everywhere: there is nothing to light")
    return depth


def points_of(depth: Tensor, focal: float = FOCAL) -> Tensor:
    """Points (B, 3, H, W) in view axes, p = [u d / f, v d / f, -d] with v upwards; infinite depth gives infinite points."""
    height, width = depth.shape[-2:]
    at = pixel_centres(height, width).to(depth) - depth.new_tensor([width / 2, height / 2])
    u, v = at.unbind(-1)
    return torch.stack([u * depth / (focal * height), -v * depth / (focal * height), -depth], 1)


def normals_of(depth: Tensor, focal: float = FOCAL) -> Tensor:
    """Unit normals (B, 3, H, W): the normalised cross product of discrete derivatives of the points; 0 where nothing is.

    Of the differences to either neighbour the one with the smaller step in depth is taken, so that outlines stay sharp.
    """
    there = torch.isfinite(depth)
    points = points_of(torch.where(there, depth, 1e6), focal)
    right, down = _nearer(points, 3), _nearer(points, 2)
    normal = torch.linalg.cross(right, -down, dim=1)
    return F.normalize(normal, dim=1, eps=1e-20) * there[:, None]


def _nearer(points: Tensor, dim: int) -> Tensor:
    """The difference of points to the next or the previous one along ``dim``, whichever steps less in depth."""
    step = points.diff(dim=dim)
    size = step.shape[dim]
    ahead = torch.cat([step, step.narrow(dim, size - 1, 1)], dim)
    back = torch.cat([step.narrow(dim, 0, 1), step], dim)
    return torch.where(ahead[:, 2:].abs() <= back[:, 2:].abs(), ahead, back)


def n_dot_l(normals: Tensor, light: Tensor) -> Tensor:
    """max(0, N.L), (B, 1, H, W), of normals (B, 3, H, W) and unit vectors ``light`` (B, 3): shading without cast shadows."""
    return torch.einsum("bchw,bc->bhw", normals, light.to(normals)).clamp_min(0)[:, None]


@dataclass(frozen=True)
class Planes:
    """A volume in the camera's normalised coordinates: ``count`` planes at depths from ``near`` (B,) to ``ratio`` times it, evenly
    spaced in the logarithm of the depth. Lengths are in units of ``near``, so that the scale of the depth does not matter."""

    near: Tensor
    count: int = 16
    ratio: float = 3.0

    @classmethod
    def of(cls, depth: Tensor, count: int = 16, ratio: float = 3.0) -> Planes:
        """From a little before the nearest point of a depth map (B, H, W) on."""
        return cls(0.9 * depth.flatten(1).amin(1), count, ratio)

    def place(self, depth: Tensor) -> Tensor:
        """Where depths (B, ...) lie: 0 on the first plane, count - 1 on the last."""
        near = self.near.view(-1, *[1] * (depth.dim() - 1))
        return (depth / near).clamp_min(1e-6).log() / math.log(self.ratio) * (self.count - 1)

    def weights(self, depth: Tensor) -> Tensor:
        """How a depth map (B, H, W) is split linearly between its two nearest planes: (B, count, H, W), 0 for sky and beyond."""
        place = self.place(depth)[:, None]
        plane = torch.arange(self.count, device=depth.device).view(1, -1, 1, 1)
        return (1 - (place - plane).abs()).clamp_min(0) * torch.isfinite(place)

    def expected(self, density: Tensor) -> Tensor:
        """The expected place (B, H, W) of the first surface of a density (B, 1, count, H, W) along the camera's rays; the last
        plane is where rays end that meet nothing."""
        thickness = math.log(self.ratio) / (self.count - 1)
        passed = torch.exp(-thickness * density[:, 0].cumsum(1))
        return passed[:, :-1].sum(1)


def march(
    density: Tensor, planes: Planes, depth: Tensor, light: Tensor, *, focal: float = FOCAL, steps: int = 20, reach: float = 1.0,
    start: float = 0.05, spread: float = 0.0, rays: int = 1,
) -> Tensor:  # fmt: skip
    """How much of the sun is seen from the points of a depth map: transmittance exp(-sum density * length), (B, 1, H, W).

    ``density`` (B, 1, D, h, w) per unit of ``planes.near``, any h, w; ``light`` (B, 3). A ray begins ``start`` above its point and goes
    on for ``reach``, both in units of near. ``spread``: the sun's angular radius in degrees, sampled by ``rays`` on a ring and one
    in the middle. Outside of the volume nothing blocks; where nothing is, the sun is seen. Gradients reach the density.
    """
    near = planes.near.view(-1, 1, 1, 1)
    points = points_of(torch.where(torch.isfinite(depth), depth, planes.ratio * near[:, 0]), focal) / near
    lengths = start + (reach - start) * (torch.arange(steps, device=depth.device) + 0.5) / steps
    seen: Tensor = sum(  # type: ignore[assignment]
        _transmittance(density, planes, points, way, lengths, focal) for way in _cone(light.to(depth), spread, rays)
    ) / max(1, rays)
    return torch.where(torch.isfinite(depth)[:, None], seen, 1.0)


def _transmittance(density: Tensor, planes: Planes, points: Tensor, way: Tensor, lengths: Tensor, focal: float) -> Tensor:
    height, width = points.shape[-2:]
    at = points[:, :, None] + way[:, :, None, None, None] * lengths.view(1, 1, -1, 1, 1)
    depth = (-at[:, 2]).clamp_min(1e-3)
    grid = torch.stack(
        [
            2 * focal * at[:, 0] / depth * (height / width),
            -2 * focal * at[:, 1] / depth,
            2 * depth.log() / math.log(planes.ratio) - 1,
        ],
        -1,
    )
    met = F.grid_sample(density, grid, align_corners=False, padding_mode="zeros")[:, 0]
    return torch.exp(-met.sum(1, keepdim=True) * (lengths[1] - lengths[0]))


def _cone(light: Tensor, spread: float, rays: int) -> list[Tensor]:
    """The direction itself and, with more than one ray, directions at ``spread`` degrees around it."""
    if rays <= 1 or spread <= 0:
        return [light] * max(1, rays)
    aside = torch.linalg.cross(light, torch.roll(light, 1, -1) + light.new_tensor([0.3, 0.5, 0.7]))
    aside = F.normalize(aside, dim=-1)
    other, radius = torch.linalg.cross(light, aside), math.tan(math.radians(spread))
    turns = [2 * math.pi * i / (rays - 1) for i in range(rays - 1)]
    return [light, *(F.normalize(light + radius * (math.cos(a) * aside + math.sin(a) * other), dim=-1) for a in turns)]
