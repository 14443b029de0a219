"""From aerial scenes to pictures with their exact truth: classes, roads, height, clouds, shadows, further bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from diffolio.errors import BadInput
from diffolio.worlds.earth import layers
from diffolio.worlds.earth.noise import fractal, hashed
from diffolio.worlds.earth.palette import (
    BUILDING,
    CLOUD,
    FIRST,
    NIR,
    NIR_WINTER,
    RADAR,
    ROAD,
    SEASONS,
    WATER,
    WOODS,
    paints,
)  # fmt: skip
from diffolio.worlds.earth.scene import BASE_SIDE, PLACES, Scene

SHADE = 0.62  # light that is left in a full shadow
WALL_GAP = 13.0  # metres from a plot's middle to what a house may not touch


@dataclass(frozen=True)
class Rendering:
    """B tiles with their truth.

    ``images``, ``clear`` (B, 3, H, W) in [0, 1]: with and without clouds and their shadows; ``classes`` int64 (B, H, W), what
    the ground is under any cloud (places in ``CLASSES``); ``roads`` bool (B, H, W); ``height`` (B, H, W) metres over the
    lowest water; ``cloud`` (B, 1, H, W) opacity in [0, 1]; ``cloud_mask``, ``cloud_shadow`` bool (B, H, W);
    ``nir``, ``radar`` (B, 1, H, W) in [0, 1]: near-infrared, clouded as the image is, and a speckled band that sees through.
    """

    images: Tensor
    clear: Tensor
    classes: Tensor
    roads: Tensor
    height: Tensor
    cloud: Tensor
    cloud_mask: Tensor
    cloud_shadow: Tensor
    nir: Tensor
    clear_nir: Tensor
    radar: Tensor
    metadata: Tensor

    @property
    def cloud_fraction(self) -> Tensor:
        """(B,) share of the picture that is under cloud."""
        return self.cloud_mask.float().mean((1, 2))

    @property
    def depth(self) -> Tensor:
        """(B, 1, H, W) in [0, 1]: 1 is nearest to the camera, the highest of the 40 metres that the world's ground spans."""
        return (self.height / 40).clamp(0, 1)[:, None]


def render(scenes: Scene | Sequence[Scene], size: int | tuple[int, int] = BASE_SIDE) -> Rendering:
    """Draw scenes, ``size`` the side or (height, width) in pixels: 8 to 2048. The shorter side spans 64 * gsd metres."""
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if not scenes:
        raise BadInput("no scene to render: give at least one")
    height, width = (size, size) if isinstance(size, int) else size
    if not (8 <= height <= 2048 and 8 <= width <= 2048):
        raise BadInput(f"picture size {width}x{height}: each side must lie in 8..2048")
    grid = _grid(scenes, height, width)
    ground = _ground(grid, scenes)
    density, falls = _clouds(scenes, height, width)
    alpha = density * layers.plane([s.opacity for s in scenes])
    light = 1 - (1 - SHADE) * falls
    white = torch.tensor(CLOUD).view(1, 3, 1, 1)
    images = torch.lerp(ground.rgb * light[:, None], white.expand_as(ground.rgb), alpha[:, None])
    nir = torch.lerp(ground.nir * light, torch.full_like(alpha, 0.95), alpha)
    return Rendering(
        images=images.clamp(0, 1),
        clear=ground.rgb,
        classes=ground.classes,
        roads=ground.classes == ROAD,
        height=ground.height,
        cloud=alpha[:, None],
        cloud_mask=density > 0.5,
        cloud_shadow=falls > 0.5,
        nir=nir[:, None],
        clear_nir=ground.nir[:, None],
        radar=ground.radar[:, None],
        metadata=torch.tensor([s.metadata for s in scenes]),
    )


@dataclass(frozen=True)
class _Ground:
    rgb: Tensor
    classes: Tensor
    height: Tensor
    nir: Tensor
    radar: Tensor


def _grid(scenes: Sequence[Scene], height: int, width: int) -> layers.Grid:
    pixel = layers.plane([s.gsd for s in scenes]) * BASE_SIDE / min(height, width)
    x = (torch.arange(width) - (width - 1) / 2).view(1, 1, -1) * pixel
    y = (torch.arange(height) - (height - 1) / 2).view(1, -1, 1) * pixel
    seed = torch.tensor([s.seed for s in scenes]).view(-1, 1, 1)
    x, y = torch.broadcast_tensors(x, y)
    # Houses and fields stand along the first road where there is one.
    turn = layers.plane([torch.pi / 180 * (s.roads[0].angle if s.roads else s.seed % 90) for s in scenes])
    return layers.Grid(x, y, pixel, seed, turn)


def _ground(grid: layers.Grid, scenes: Sequence[Scene]) -> _Ground:
    road, water = layers.road_distance(grid, scenes), layers.water_distance(grid, scenes)
    # Trees keep away from roads and shores.
    woods = torch.maximum(layers.woods_distance(grid, scenes), 3.0 - torch.minimum(road, water))
    middles = replace(grid, x=layers.plot_middles(grid)[0], y=layers.plot_middles(grid)[1])
    free = torch.minimum(layers.road_distance(middles, scenes), layers.water_distance(middles, scenes)) - WALL_GAP
    free = torch.minimum(free, layers.woods_distance(middles, scenes) - 6.0)
    house = layers.houses(grid, scenes, free)
    place = torch.tensor([PLACES.index(s.place) for s in scenes]).view(-1, 1, 1)
    crop, border, furrow = layers.fields(grid, place)

    season = torch.tensor([SEASONS.index(s.season) for s in scenes])
    table = paints()[season]
    fine = layers.grain(grid)
    canopy = fractal(grid.x / 7, grid.y / 7, grid.seed + 71, 2) - 0.5
    rise = 14 * fractal(grid.x / 150, grid.y / 150, grid.seed + 83, 2)
    cover = {WATER: grid.cover(water), WOODS: grid.cover(woods), BUILDING: grid.cover(house.distance), ROAD: grid.cover(road)}

    def paint(index: Tensor | int) -> Tensor:
        index = index if isinstance(index, Tensor) else torch.full_like(crop, index)
        return torch.gather(table, 1, index.flatten(1)[..., None].expand(-1, -1, 3)).view(*crop.shape, 3).movedim(-1, 1)

    shade = 1 + 0.05 * furrow + 0.05 * fine - 0.22 * (1 - border / 3).clamp(0, 1)
    rgb = paint(crop) * shade[:, None]
    rgb = torch.lerp(rgb, paint(FIRST[WATER]) * (1 + 0.06 * (canopy + 0.3 * fine))[:, None], cover[WATER][:, None])
    rgb = torch.lerp(rgb, paint(FIRST[WOODS]) * (1 + 0.9 * canopy + 0.15 * fine)[:, None], cover[WOODS][:, None])
    rgb = torch.lerp(rgb, paint(FIRST[ROAD]) * (1 + 0.04 * fine)[:, None], cover[ROAD][:, None])
    roof = paint(FIRST[BUILDING] + house.roof) * torch.where(house.side > 0, 1.08, 0.84)[:, None]
    rgb = torch.lerp(rgb, roof, cover[BUILDING][:, None])

    classes = torch.zeros_like(crop)
    for kind in (WATER, WOODS, ROAD, BUILDING):
        classes = torch.where(cover[kind] > 0.5, kind, classes)
    tall = cover[WOODS] * (9 + 6 * canopy) * (classes == WOODS) + cover[BUILDING] * house.height
    height = torch.where(classes == WATER, 0.0, rise + 1) + tall
    rgb = rgb * _light(height, tall, grid.pixel, scenes)[:, None]
    speckle = hashed((grid.x / grid.pixel).round().long(), (grid.y / grid.pixel).round().long(), grid.seed + 97)
    nir_table = torch.tensor([NIR_WINTER if s.season == "winter" else NIR for s in scenes])
    nir = torch.gather(nir_table, 1, classes.flatten(1)).view_as(height) * (1 + 0.08 * fine)
    radar = torch.tensor(RADAR)[classes] * (0.7 + 0.6 * speckle)
    return _Ground(rgb.clamp(0, 1), classes, height, nir.clamp(0, 1), radar.clamp(0, 1))


def _light(height: Tensor, tall: Tensor, pixel: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Sunlight on the ground (B, H, W): slopes that face the sun are brighter, houses and trees cast shadows."""
    sun = torch.tensor([s.sun for s in scenes])
    lower = height - tall
    slope_x = functional.pad(lower[:, :, 2:] - lower[:, :, :-2], (1, 1), mode="replicate") / (2 * pixel)
    slope_y = functional.pad(lower[:, None, 2:] - lower[:, None, :-2], (0, 0, 1, 1), mode="replicate")[:, 0] / (2 * pixel)
    facing = 1 - 0.9 * (slope_x * sun[:, 0].view(-1, 1, 1) + slope_y * sun[:, 1].view(-1, 1, 1))
    size = torch.tensor([height.shape[2], height.shape[1]])
    step = sun[:, :2] / sun[:, 2:]  # metres towards the sun for one metre up
    base = functional.affine_grid(torch.eye(2, 3).expand(len(scenes), 2, 3), [len(scenes), 1, *height.shape[1:]], False)
    shadow = torch.zeros_like(height)
    for up in (2.0, 5.0, 8.0):
        shift = (step * up / pixel.view(-1, 1) * 2 / size).view(-1, 1, 1, 2)
        over = functional.grid_sample(tall[:, None], base + shift, padding_mode="border", align_corners=False)[:, 0]
        shadow = torch.maximum(shadow, ((over - tall - up) / 2).clamp(0, 1))
    return facing.clamp(0.8, 1.15) * (1 - (1 - SHADE) * shadow)


def _clouds(scenes: Sequence[Scene], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Cloud density and the density whose shadow falls here, (B, H, W) in [0, 1]; a cloud is where the density exceeds one
    half, and the threshold of the noise is such that this is the wanted share of a square frame."""
    seed = torch.tensor([s.cloud_seed for s in scenes]).view(-1, 1, 1)
    cover = torch.tensor([s.cloud_cover for s in scenes])

    def noise(rows: int, columns: int, dx: Tensor | float = 0.0, dy: Tensor | float = 0.0) -> Tensor:
        short = min(rows, columns)
        x = ((torch.arange(columns) + 0.5 - columns / 2) / short).view(1, 1, -1)
        y = ((torch.arange(rows) + 0.5 - rows / 2) / short).view(1, -1, 1)
        return fractal(2.2 * (x + dx) + 50.0, 2.2 * (y + dy) + 50.0, seed, 4)

    plain = noise(height, width)
    sample = plain if height == width else noise(BASE_SIDE, BASE_SIDE)
    ordered = sample.flatten(1).sort(1, descending=True).values
    count = (cover * ordered.shape[1]).round().long()
    at = torch.gather(functional.pad(ordered, (1, 1), value=0.0), 1, torch.stack([count, count + 1], 1))
    # The ends of the order: nothing is cloud, or everything.
    bound = torch.where(count == 0, 2.0, torch.where(count == ordered.shape[1], -1.0, at.mean(1))).view(-1, 1, 1)
    sun = torch.tensor([s.sun for s in scenes])
    shift = 0.16 * sun[:, :2] / sun[:, :2].norm(dim=1, keepdim=True)
    fallen = noise(height, width, shift[:, 0].view(-1, 1, 1), shift[:, 1].view(-1, 1, 1))

    def dense(values: Tensor) -> Tensor:
        return ((values - bound) / 0.09 + 0.5).clamp(0, 1)

    return dense(plain), dense(fallen)
