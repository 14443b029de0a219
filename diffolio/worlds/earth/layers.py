"""The layers of ground: where ways, water, woods, fields and buildings lie, as soft covers over points in metres.

Points are x (east), y (south) in metres from the tile's middle, each (B, H, W); parameters come as (B, 1, 1). A cover is
the share of a pixel in [0, 1], from the signed distance to a border over the pixel's side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.worlds.earth.noise import fractal, hashed, value_noise
from diffolio.worlds.earth.palette import CROPS, ROOFS
from diffolio.worlds.earth.scene import PLACES, Scene, Way

WOODED = {"farmland": 0.62, "forest": 0.42, "town": 0.70, "meadows": 0.58}  # noise above which trees grow
BUILT = {"farmland": 0.035, "forest": 0.0, "town": 0.72, "meadows": 0.02}  # share of plots with a house
PLOT = 24.0  # metres a side
MEADOWS = PLACES.index("meadows")


@dataclass(frozen=True)
class Grid:
    """Points and what is told of every scene: ``x``, ``y`` (B, H, W) metres; ``pixel`` metres, ``seed`` int64, ``turn``
    radians of the lattice of fields and houses, all (B, 1, 1)."""

    x: Tensor
    y: Tensor
    pixel: Tensor
    seed: Tensor
    turn: Tensor

    def cover(self, distance: Tensor) -> Tensor:
        """Soft inside of a border: distance in metres, negative inside."""
        return (0.5 - distance / self.pixel).clamp(0, 1)

    def turned(self) -> tuple[Tensor, Tensor]:
        c, s = self.turn.cos(), self.turn.sin()
        return c * self.x + s * self.y, c * self.y - s * self.x


def plane(values: Sequence[float]) -> Tensor:
    """Numbers, one a scene, as (B, 1, 1)."""
    return torch.tensor(list(values), dtype=torch.float32).view(-1, 1, 1)


def way_distance(grid: Grid, ways: Sequence[Way | None]) -> Tensor:
    """Signed distance (B, H, W) in metres to the border of one way a scene (None: far from all)."""
    absent = Way(0.0, 0.0, -1e4)
    known = [way or absent for way in ways]
    angle = plane([math.radians(w.angle) for w in known])
    across = angle.cos() * grid.x + angle.sin() * grid.y
    along = angle.cos() * grid.y - angle.sin() * grid.x
    amplitude, rate = plane([w.amplitude for w in known]), plane([2 * math.pi / w.wavelength for w in known])
    wave = rate * along + plane([w.phase for w in known])
    off = across - plane([w.offset for w in known]) - amplitude * wave.sin()
    # First-order distance to the bent line: |f| / |grad f|.
    return off.abs() / (1 + (amplitude * rate * wave.cos()) ** 2).sqrt() - plane([w.width / 2 for w in known])


def road_distance(grid: Grid, scenes: Sequence[Scene]) -> Tensor:
    most = max((len(s.roads) for s in scenes), default=0)
    distance = torch.full_like(grid.x, 1e4)
    for k in range(most):
        distance = torch.minimum(distance, way_distance(grid, [s.roads[k] if k < len(s.roads) else None for s in scenes]))
    return distance


def water_distance(grid: Grid, scenes: Sequence[Scene]) -> Tensor:
    lakes = [s.lake or (0.0, 0.0, -1e4) for s in scenes]
    cx, cy, radius = (plane(part) for part in zip(*lakes, strict=True))
    shore = 14 * (fractal(grid.x / 28, grid.y / 28, grid.seed + 11, 2) - 0.5)
    lake = torch.hypot(grid.x - cx, 1.25 * (grid.y - cy)) - radius + 2 * shore
    return torch.minimum(lake, way_distance(grid, [s.river for s in scenes]) + 0.4 * shore)


def woods_distance(grid: Grid, scenes: Sequence[Scene]) -> Tensor:
    bound = plane([WOODED[s.place] for s in scenes])
    return 130 * (bound - fractal(grid.x / 62, grid.y / 62, grid.seed + 23, 3))


def fields(grid: Grid, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fields in a turned lattice of staggered rows: the paint of each point (int64), the distance to the field's border in
    metres, and a furrow pattern in [-1, 1]; (B, H, W) each."""
    u, v = grid.turned()
    row = (v / 58).floor()
    deep = v / 58 - row
    start = 100 * hashed(row.long(), torch.zeros_like(row, dtype=torch.int64), grid.seed + 31)
    column = ((u + start) / 84).floor()
    across = (u + start) / 84 - column
    crop = hashed(column.long(), row.long(), grid.seed + 37)
    border = torch.minimum(58 * torch.minimum(deep, 1 - deep), 84 * torch.minimum(across, 1 - across))
    lengthwise = hashed(column.long(), row.long(), grid.seed + 41) > 0.5
    furrow = (2 * math.pi * torch.where(lengthwise, u, v) / 7.0).sin()
    paint = (crop * CROPS).long()
    # Meadows and gardens are of two greens that flow into each other, not of parcels.
    soft = (fractal(grid.x / 45, grid.y / 45, grid.seed + 43, 2) > 0.5).long()
    parcels = places == PLACES.index("farmland")
    paint = torch.where(parcels, paint, soft * torch.where(places == MEADOWS, 1, 0) + torch.where(places == MEADOWS, 0, 1))
    return paint, torch.where(parcels, border, 1e4), torch.where(parcels, furrow, 0.0)


@dataclass(frozen=True)
class Houses:
    """``distance`` to the nearest wall of the plot's house (negative inside), ``roof`` paint, ``height`` in metres, and
    ``side`` in [-1, 1], which side of the ridge a point lies on."""

    distance: Tensor
    roof: Tensor
    height: Tensor
    side: Tensor


def houses(grid: Grid, scenes: Sequence[Scene], clear: Tensor) -> Houses:
    """Houses on a lattice of plots; a plot is built on only where ``clear`` (B, H, W), told of the middle of each pixel's plot, is
    positive."""
    u, v = grid.turned()
    i, j = (u / PLOT).floor(), (v / PLOT).floor()
    draw = [hashed(i.long(), j.long(), grid.seed + 50 + k) for k in range(6)]
    half_u, half_v = 4.5 + 4.0 * draw[1], 4.5 + 4.0 * draw[2]
    du = u - (i + 0.5) * PLOT - 3 * (draw[3] - 0.5)
    dv = v - (j + 0.5) * PLOT - 3 * (draw[4] - 0.5)
    distance = torch.maximum(du.abs() - half_u, dv.abs() - half_v)
    built = (draw[0] < plane([BUILT[s.place] for s in scenes])) & (clear > 0)
    along_u = half_u > half_v
    side = torch.where(along_u, dv / half_v, du / half_u).clamp(-1, 1)
    return Houses(torch.where(built, distance, 1e4), (draw[5] * ROOFS).long(), 5 + 6 * draw[0] + 4 * draw[5], side)


def plot_middles(grid: Grid) -> tuple[Tensor, Tensor]:
    """The point (x, y) in metres at the middle of the plot that every pixel lies in."""
    u, v = grid.turned()
    mu, mv = ((u / PLOT).floor() + 0.5) * PLOT, ((v / PLOT).floor() + 0.5) * PLOT
    c, s = grid.turn.cos(), grid.turn.sin()
    return c * mu - s * mv, s * mu + c * mv


def grain(grid: Grid) -> Tensor:
    """Fine texture of the ground in [-1, 1], finer where trees stand."""
    return 2 * value_noise(grid.x / 3.1, grid.y / 3.1, grid.seed + 61) - 1
