"""Camera paths over a flat picture: a clip out of one picture by a smooth affine motion, the same for as many pictures as wanted.

A path is (F, 2, 3): what output frame f shows at p is what the picture holds at A_f p + b_f, both in [-1, 1] with x to the right and y
down (the picture's edges are at -1 and 1). Pan, zoom, rotation and shear go smoothly from one end to the other.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput

CORNERS = torch.tensor([[-1.0, -1.0, 1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
SLACK = 1e-5


def random_path(
    frames: int, generator: torch.Generator, *, zoom: tuple[float, float] = (0.6, 0.95), turn: float = 12.0, shear: float = 0.08,
) -> Tensor:  # fmt: skip
    """A path (F, 2, 3) that stays inside of the picture.

    ``zoom``: side of what is seen, as a share of the picture's; ``turn``: largest rotation in degrees to either side; ``shear``: its
    largest value. Ends are drawn independently; between them the path goes evenly or eases in and out. A window that would leave
    the picture is made smaller, then moved inside.
    """
    if frames < 2:
        raise BadInput(f"a camera path of {frames} frames: give at least 2")
    if not 0 < zoom[0] <= zoom[1] <= 1:
        raise BadInput(f"zoom {zoom}: give shares of the picture's side, 0 < least <= most <= 1")
    ends = torch.rand(2, 5, generator=generator)
    time = torch.linspace(0, 1, frames)
    if float(torch.rand((), generator=generator)) < 0.5:
        time = time * time * (3 - 2 * time)
    at = torch.lerp(ends[:1], ends[1:], time[:, None])
    side = zoom[0] * (zoom[1] / zoom[0]) ** at[:, 0]
    angle = math.radians(turn) * (2 * at[:, 1] - 1)
    slant = shear * (2 * at[:, 2] - 1)
    linear = torch.stack([torch.stack([angle.cos(), slant - angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], dim=1)
    linear = linear * side[:, None, None]
    reach = linear.abs().sum(2)  # half the extent of the window along x and y
    linear = linear / reach.amax(1).clamp_min(1)[:, None, None]
    room = (1 - linear.abs().sum(2)).clamp_min(0)
    return torch.cat([linear, (room * (2 * at[:, 3:] - 1))[..., None]], dim=2)


def still_path(frames: int, side: float = 1.0) -> Tensor:
    """The camera does not move: the picture's middle, ``side`` of its sides, in every frame."""
    return torch.tensor([[side, 0.0, 0.0], [0.0, side, 0.0]]).expand(frames, 2, 3).clone()


def leaves(path: Tensor) -> Tensor:
    """How far each frame (F,) looks beyond the picture's edge, 0 where it stays inside."""
    return ((path @ CORNERS.to(path).T).abs().amax((1, 2)) - 1).clamp_min(0)


def follow(picture: Tensor, path: Tensor, size: int) -> Tensor:
    """The clip (F, C, size, size) that a camera on ``path`` (F, 2, 3) sees of ``picture`` (C, H, W), bilinear.

    BadInput for a path that leaves the picture: there is nothing to see.
    """
    if picture.dim() != 3 or path.dim() != 3 or path.shape[1:] != (2, 3):
        raise BadInput(
            f"a picture of shape {tuple(picture.shape)} and a path of {tuple(path.shape)}: give (C, H, W) and (F, 2, 3)"
        )
    if float((out := leaves(path)).max()) > SLACK:
        frames = (out > SLACK).nonzero().flatten().tolist()
        raise BadInput(
            f"the camera path leaves the picture in frames {frames}: make its window smaller or keep it nearer the middle"
        )
    grid = F.affine_grid(path.to(picture), [len(path), picture.shape[0], size, size], align_corners=False)
    return F.grid_sample(picture[None].expand(len(path), -1, -1, -1), grid, padding_mode="border", align_corners=False)
