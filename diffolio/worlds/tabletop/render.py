"""From scenes to pixels: a batched, anti-aliased, resolution-free renderer.

All things of one kind in a batch are drawn at once, each on a patch just large enough for it, and composited back to
front with the coverage that its signed distance gives. Any size, square or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.palette import BONE, COLOURS, INK, SNOW, STONE, STROKE, TEXTURE_CONTRAST, backdrop, paint
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.shapes import KINDS, silhouette

DETAILS = {"ink": INK, "bone": BONE, "stone": STONE}
FLAKES, FLAKE = 22, 0.015  # how many, and their radius in units of the shorter side


@dataclass(frozen=True)
class Rendering:
    """Pictures with their exact ground truth.

    ``images`` float (B, 3, H, W) in [0, 1]; ``full`` and ``visible`` bool (B, K, H, W): every thing's silhouette without
    and with occlusion, K the largest number of things in a scene, in depth order from back to front (absent: all False).
    """

    images: Tensor
    full: Tensor
    visible: Tensor

    def boxes(self) -> Tensor:
        """Pixel boxes (B, K, 4) as left, top, right, bottom (exclusive) of the full silhouettes; zeros if absent."""
        columns, rows = self.full.any(-2), self.full.any(-1)
        width, height = columns.shape[-1], rows.shape[-1]
        left, top = columns.int().argmax(-1), rows.int().argmax(-1)
        right, bottom = width - columns.flip(-1).int().argmax(-1), height - rows.flip(-1).int().argmax(-1)
        present = columns.any(-1)
        return torch.stack([left, top, right, bottom], -1) * present[..., None]


def render(scenes: Sequence[Scene], height: int = 64, width: int | None = None) -> Rendering:
    """Draw a batch of scenes. ``height``, ``width`` in pixels, 8 to 4096."""
    width = height if width is None else width
    if not scenes:
        raise BadInput("no scene to render: give at least one")
    if not (8 <= height <= 4096 and 8 <= width <= 4096):
        raise BadInput(f"picture size {width}x{height}: each side must lie in 8..4096")
    images = backgrounds(scenes, height, width)
    depth = max(len(scene.things) for scene in scenes)
    coverage = torch.zeros(len(scenes), depth, height, width)
    for layer in range(depth):
        for style_is_outline in (False, True):
            groups: dict[str, list[int]] = {}
            for index, scene in enumerate(scenes):
                if layer < len(scene.things) and (scene.style == "outline") == style_is_outline:
                    groups.setdefault(scene.things[layer].kind, []).append(index)
            for kind, members in groups.items():
                _draw(kind, [scenes[i] for i in members], layer, style_is_outline, images, coverage, torch.tensor(members))
    snow = [i for i, scene in enumerate(scenes) if scene.style == "snow"]
    if snow:
        flakes = _flakes([scenes[i] for i in snow], height, width)
        images[snow] = torch.lerp(images[snow], _rgb(SNOW)[:, None, None], flakes[:, None])
    full = coverage > 0.5
    hidden = full.flip(1).cumsum(1).flip(1) - full.int()
    return Rendering(images.clamp_(0, 1), full, full & (hidden == 0))


def alpha(scene: Scene, index: int, height: int = 64, width: int | None = None) -> Tensor:
    """The soft coverage (H, W) in [0, 1] of one thing, as if nothing stood in front of it."""
    width = height if width is None else width
    images, coverage = torch.zeros(1, 3, height, width), torch.zeros(1, len(scene.things), height, width)
    _draw(scene.things[index].kind, [scene], index, False, images, coverage, torch.tensor([0]))
    return coverage[0, index]


def backgrounds(scenes: Sequence[Scene], height: int, width: int) -> Tensor:
    """The empty tables (B, 3, H, W)."""
    y, x = _grid(height, width)
    base = torch.tensor([backdrop(scene.background, scene.style) for scene in scenes])
    shade = torch.ones(len(scenes), height, width)
    for texture in {scene.texture for scene in scenes} - {"plain"}:
        index = [i for i, scene in enumerate(scenes) if scene.texture == texture]
        phase = torch.stack([_random(scenes[i], 2) for i in index])
        pattern = _texture(texture, x + phase[:, 0, None, None], y + phase[:, 1, None, None], 1 / min(height, width))
        shade[index] = 1 - TEXTURE_CONTRAST * pattern
    images = base[:, :, None, None] * shade[:, None]
    snow = [i for i, scene in enumerate(scenes) if scene.style == "snow"]
    if snow:  # a drift along the lower edge says snow even where no flake falls
        phase = torch.stack([_random(scenes[i], 1) for i in snow])[..., None]
        edge = height / min(height, width) - 0.13 + 0.025 * torch.sin(9 * x + 6.28 * phase)
        drift = _coverage(edge - y, 1 / min(height, width))
        images[snow] = torch.lerp(images[snow], _rgb(SNOW)[:, None, None], drift[:, None])
    return images


def _draw(kind: str, scenes: list[Scene], layer: int, outline: bool, images: Tensor, coverage: Tensor, members: Tensor) -> None:
    """Composite the layer's things of one kind onto ``images`` and record their coverage, both in place."""
    height, width = images.shape[-2:]
    side = min(height, width)
    things = [scene.things[layer] for scene in scenes]
    centre = torch.tensor([[t.x * width, t.y * height] for t in things])
    half = torch.tensor([t.size * side / 2 for t in things])
    angle = torch.deg2rad(torch.tensor([t.angle for t in things]))
    patch = min(int(float(half.max()) * 2 * _reach(things)) + 4, 2 * max(height, width) + 2)
    corner = (centre - patch / 2).round().long()
    steps = torch.arange(patch)
    columns, rows = corner[:, 0, None] + steps, corner[:, 1, None] + steps
    dx = (columns + 0.5 - centre[:, 0, None])[:, None, :] / half[:, None, None]
    dy = (rows + 0.5 - centre[:, 1, None])[:, :, None] / half[:, None, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    points = torch.stack([dx * cos + dy * sin, dy * cos - dx * sin], -1)
    pixel = (1 / half)[:, None, None]

    inside = ((columns >= 0) & (columns < width))[:, None, :] & ((rows >= 0) & (rows < height))[:, :, None]
    flat = (rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]).view(len(things), -1)
    colour = torch.tensor([paint(COLOURS[t.colour], s.style) for t, s in zip(things, scenes, strict=True)])
    canvas = images[members].view(len(things), 3, -1)
    # Patches reach over the edge of the picture: what lies outside is read from and written to a spare cell.
    spare = torch.where(inside.view(len(things), -1), flat, height * width)
    canvas = torch.cat([canvas, canvas.new_zeros(len(things), 3, 1)], -1)
    where = spare[:, None].expand(-1, 3, -1)
    pixels = canvas.gather(-1, where).view(len(things), 3, patch, patch)
    whole = silhouette(kind)(points)
    if outline:
        pixels = torch.lerp(pixels, _rgb(SNOW)[None, :, None, None], _coverage(whole, pixel)[:, None])
        # The line lies inside the silhouette, so that it does not widen with the picture's resolution.
        distance = next(d for d, p in KINDS[kind] if p == "colour")(points)
        line = torch.maximum(distance, -distance - STROKE)
        pixels = torch.lerp(pixels, colour[:, :, None, None], _coverage(line, pixel)[:, None])
        inner = [part for part in KINDS[kind] if part[1] != "colour"]
    else:
        inner = KINDS[kind]
    for distance_of, name in inner:
        distance = distance_of(points)
        if outline:
            distance = torch.maximum(distance, -distance - STROKE * 0.7)
            rgb = _rgb(INK)[None]
        elif name == "colour":
            rgb = colour
        else:
            rgb = torch.tensor([paint(DETAILS[name], scene.style) for scene in scenes])
        pixels = torch.lerp(pixels, rgb[:, :, None, None], _coverage(distance, pixel)[:, None])
    images[members] = canvas.scatter(-1, where, pixels.view(len(things), 3, -1))[..., :-1].view(-1, 3, height, width)
    cover = torch.zeros(len(things), height * width + 1)
    cover.scatter_(-1, spare, _coverage(whole, pixel).view(len(things), -1))
    coverage[members, layer] = cover[:, :-1].view(-1, height, width)


def _reach(things: list[Thing]) -> float:
    """How far a unit square reaches when it is turned: 1 upright, up to the square root of 2."""
    turned = max(abs(t.angle) for t in things)
    return 1.0 + 0.4143 * min(turned / 45, 1.0)


def _coverage(distance: Tensor, pixel: Tensor | float) -> Tensor:
    return (0.5 - distance / pixel).clamp(0, 1)


def _rgb(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb)


def _grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel centres (y of shape (H, 1), x of shape (1, W)) in units of the shorter side."""
    side = min(height, width)
    return ((torch.arange(height) + 0.5) / side)[:, None], ((torch.arange(width) + 0.5) / side)[None, :]


def _random(scene: Scene, n: int, stream: int = 0) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(scene.seed * 4 + stream))


def _texture(texture: str, x: Tensor, y: Tensor, pixel: float) -> Tensor:
    """Anti-aliased patterns in [0, 1]; x and y (B, H or 1, W or 1) in units of the shorter side."""

    def wave(u: Tensor) -> Tensor:  # distance to the nearest edge of stripes of width 1/8
        return ((u * 4) % 1 - 0.5).abs() / 4 - 1 / 16

    if texture == "striped":
        return _coverage(wave(x + y), pixel * 1.4)
    if texture == "checked":
        a, b = _coverage(wave(x), pixel), _coverage(wave(y), pixel)
        return a + b - 2 * a * b
    if texture == "dotted":
        return _coverage(torch.hypot((x * 6) % 1 - 0.5, (y * 6) % 1 - 0.5) / 6 - 0.045, pixel)
    phase = (x - x[..., :1])[:, :1, :1]  # "shaded": from light above to dark below
    rise = y - y[:, :1]
    return (rise / rise[:, -1:].clamp_min(1e-6) + phase).expand(-1, -1, x.shape[-1])


def _flakes(scenes: list[Scene], height: int, width: int) -> Tensor:
    """Coverage (B, H, W) of falling snow."""
    y, x = _grid(height, width)
    side = min(height, width)
    draws = torch.stack([_random(scene, FLAKES * 2, stream=1).view(FLAKES, 2) for scene in scenes])
    px, py = draws[..., 0, None, None] * width / side, draws[..., 1, None, None] * height / side
    nearest = ((x - px) ** 2 + (y - py) ** 2).amin(1).sqrt()
    return _coverage(nearest - FLAKE, 1 / side)
