"""From scenes of solids to pictures with their exact geometry, light and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.geometry.cameras import Camera, orbit, pixel_centres
from diffolio.worlds.solids.scene import Scene
from diffolio.worlds.solids.surface import albedo, illuminate
from diffolio.worlds.solids.trace import NOTHING, Packed, pack, trace

MOST_RAYS = 1 << 16  # traced at a time: what fits the cache
EDGE = 0.03  # a pixel that differs by more than this from a neighbour is drawn from several rays


@dataclass(frozen=True)
class Rendering:
    """B views with their ground truth, all but ``rgb`` taken at the pixels' centres.

    Drawn with one ray a pixel, ``rgb`` = clamp(albedo * shading + specular); with more, it is the mean of that over each
    pixel that holds an edge. What is no solid and no surroundings (sky, void) has infinite depth, normal 0, shading 1.

    ``rgb``, ``albedo`` (B, 3, H, W) in [0, 1]; ``shading`` (B, 1, H, W) = ambient + ``direct`` light, of which cast shadows
    are left out; ``shadow`` bool (B, H, W): some light that the surface faces is hidden; ``specular`` (B, 1, H, W);
    ``depth`` (B, H, W), the factor of the camera's rays; ``normals`` (B, 3, H, W), unit vectors in the world's axes;
    ``ids`` (B, H, W): a solid's place in its scene, or FLOOR, WALL, CEILING, NOTHING; ``visible``, ``full`` bool (B, K, H, W):
    every solid's mask with and without what stands before it.
    """

    rgb: Tensor
    depth: Tensor
    normals: Tensor
    albedo: Tensor
    shading: Tensor
    direct: Tensor
    specular: Tensor
    shadow: Tensor
    ids: Tensor
    visible: Tensor
    full: Tensor
    cameras: Camera

    @property
    def alpha(self) -> Tensor:
        """Whether a pixel's centre shows a solid: float (B, 1, H, W)."""
        return (self.ids >= 0).float()[:, None]

    @property
    def hit(self) -> Tensor:
        """Whether anything is there, surroundings included: bool (B, H, W)."""
        return self.ids != NOTHING

    @property
    def camera_normals(self) -> Tensor:
        """Normals in the cameras' axes (x right, y down, z forward): (B, 3, H, W). Visible ones of a pinhole have z < 0 mostly."""
        return torch.einsum("bij,bjhw->bihw", self.cameras.world_to_camera[:, :3, :3], self.normals)


def standard_camera(size: int | tuple[int, int] = 64) -> Camera:
    """The front view that captions speak of: azimuth 0, elevation 20 degrees, 4.5 units away."""
    return orbit(0.0, 20.0, 4.5, size=size, target=(0.0, 0.45, 0.0))


def render(
    scenes: Scene | Sequence[Scene], cameras: Camera | None = None, size: int | tuple[int, int] | None = None, *, samples: int = 2
) -> Rendering:
    """Draw scenes from cameras: as many of one as of the other, or one of either for all.

    ``size``: the side, or (height, width), in pixels; None: what the cameras say. ``samples``: rays along each side of a
    pixel that holds an edge (1: no anti-aliasing). 8 to 4096 pixels a side.
    """
    scenes = [scenes] if isinstance(scenes, Scene) else list(scenes)
    if not scenes:
        raise BadInput("no scene to render: give at least one")
    if cameras is None:
        cameras = standard_camera(64 if size is None else size)
    elif size is not None:
        cameras = cameras.resized(*((size, size) if isinstance(size, int) else size))
    height, width = cameras.height, cameras.width
    if not (8 <= height <= 4096 and 8 <= width <= 4096):
        raise BadInput(f"picture size {width}x{height}: each side must lie in 8..4096")
    if not 1 <= samples <= 16:
        raise BadInput(f"{samples} samples along a pixel's side: give 1 to 16")
    count = max(len(scenes), len(cameras))
    if {len(scenes), len(cameras)} - {1, count}:
        raise BadInput(f"{len(scenes)} scenes and {len(cameras)} cameras: give as many of each, or one of either")
    if len(cameras) < count:
        cameras = cameras[[0] * count]
    world = pack(scenes)
    place = torch.arange(count) if len(scenes) == count else torch.zeros(count, dtype=torch.long)
    pixels = pixel_centres(height, width).view(1, -1, 2).expand(count, -1, 2)
    view = torch.arange(count)[:, None].expand(-1, height * width).reshape(-1)
    flat = _cast(world, cameras, place, view, pixels.reshape(-1, 2), everything=True)

    def picture(name: str) -> Tensor:
        return flat[name].view(count, height, width, -1).movedim(-1, 1).contiguous()

    rgb, ids = picture("rgb"), picture("ids")[:, 0]
    if samples > 1:
        _smooth(rgb, ids, world, cameras, place, samples)
    struck = picture("struck")
    return Rendering(
        rgb=rgb,
        depth=picture("depth")[:, 0],
        normals=picture("normals"),
        albedo=picture("albedo"),
        shading=picture("shading"),
        direct=picture("direct"),
        specular=picture("specular"),
        shadow=picture("shadow")[:, 0],
        ids=ids,
        visible=ids[:, None] == torch.arange(struck.shape[1])[:, None, None],
        full=struck,
        cameras=cameras,
    )


def _cast(world: Packed, cameras: Camera, place: Tensor, view: Tensor, pixels: Tensor, *, everything: bool) -> dict[str, Tensor]:
    """Trace rays through pixel points (R, 2) of the cameras ``view`` (R,): values (R,) or (R, C) by name."""
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(view), MOST_RAYS):
        which, points = view[start : start + MOST_RAYS], pixels[start : start + MOST_RAYS]
        origin, factor = _rays(cameras, which, points)
        length = factor.norm(dim=-1)
        direction = factor / length[:, None]
        scene = place[which]
        hits = trace(world, scene, origin, direction, all_struck=everything)
        colour, light = albedo(world, scene, direction, hits), illuminate(world, scene, origin, direction, hits)
        shading = light.ambient + light.direct
        part = {"rgb": torch.addcmul(light.specular[:, None], colour, shading[:, None]).clamp_(0, 1)}
        if everything:
            part |= {"depth": hits.t / length, "normals": hits.normal, "albedo": colour, "shading": shading, "ids": hits.owner}
            part |= {"direct": light.direct, "specular": light.specular, "shadow": light.shadow}
            assert hits.struck is not None
            part["struck"] = hits.struck
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _rays(cameras: Camera, view: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Origins and directions (R, 3), ``view`` sorted or not; rays of one camera share its matrices."""
    if len(cameras) == 1:
        origin, direction = cameras.rays(pixels[None])
        return origin.expand(len(pixels), 3), direction[0]
    each = cameras[view]
    origin, direction = each.rays(pixels)
    return origin, direction


def _smooth(rgb: Tensor, ids: Tensor, world: Packed, cameras: Camera, place: Tensor, samples: int) -> None:
    """Draw the pixels at edges again, in place, as the mean of a grid of rays."""
    view, row, column = _edges(rgb, ids).nonzero(as_tuple=True)
    if not len(view):
        return
    steps = (torch.arange(samples) + 0.5) / samples
    inner = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).view(1, -1, 2)
    pixels = torch.stack([column, row], -1)[:, None] + inner
    flat = _cast(world, cameras, place, view.repeat_interleave(samples**2), pixels.view(-1, 2), everything=False)
    rgb[view, :, row, column] = flat["rgb"].view(len(view), samples**2, 3).mean(1)


def _edges(rgb: Tensor, ids: Tensor) -> Tensor:
    """Pixels (B, H, W) that differ from one of their four neighbours."""
    edge = torch.zeros_like(ids, dtype=torch.bool)
    for dim in (1, 2):
        size = ids.shape[dim] - 1
        a, b = rgb.narrow(dim + 1, 0, size), rgb.narrow(dim + 1, 1, size)
        differ = ((a - b).abs().amax(1) > EDGE) | (ids.narrow(dim, 0, size) != ids.narrow(dim, 1, size))
        edge.narrow(dim, 0, size).logical_or_(differ)
        edge.narrow(dim, 1, size).logical_or_(differ)
    return edge
