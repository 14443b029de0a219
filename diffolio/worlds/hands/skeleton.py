"""Skeletons as condition pictures: one colour a finger, nearer bones over farther ones, dashed across what is not known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.hands.kinematics import FINGER_OF, KEYPOINTS, PARENTS
from diffolio.worlds.hands.scene import FINGER_COLOURS

LEAST_JOINTS = 5
DASH = 0.06  # length of a dash and of a gap, shares of the shorter side
HAND_COLOURS: tuple[tuple[float, float, float], ...] = tuple(FINGER_COLOURS[f] if f >= 0 else (1.0, 1.0, 1.0) for f in FINGER_OF)


def skeleton(keypoints: Tensor, size: int | tuple[int, int] = 64, width: float = 0.03) -> Tensor:
    """Hands' keypoints (B, 21, 2 or 3) in pixels -> (B, 3, H, W) on black; see :func:`bones`."""
    if keypoints.ndim != 3 or keypoints.shape[1] != KEYPOINTS or keypoints.shape[2] not in (2, 3):
        raise BadInput(f"keypoints of shape {tuple(keypoints.shape)}: give (B, 21, 2) or (B, 21, 3)")
    return bones(keypoints, PARENTS, HAND_COLOURS, size, width)


def bones(
    keypoints: Tensor,
    parents: Sequence[int],
    colours: Sequence[tuple[float, float, float]],
    size: int | tuple[int, int],
    width: float,
) -> Tensor:
    """A tree of bones, each in its end's colour. NaN joints are left out; the next known one is joined to its nearest known
    ancestor by a dashed line. With z (towards the viewer) nearer bones are drawn over farther ones and brighter. Fewer than five
    known joints are refused. ``width`` of a bone as a share of the shorter side."""
    height, wide = (size, size) if isinstance(size, int) else size
    short = min(height, wide)
    known = ~keypoints.isnan().any(-1)
    few = known.sum(1).min()
    if few < LEAST_JOINTS:
        raise BadInput(f"only {int(few)} joints are known: a skeleton needs at least {LEAST_JOINTS}")
    ends = [k for k, parent in enumerate(parents) if parent >= 0]
    table, start = torch.tensor(list(parents)), torch.tensor([parents[k] for k in ends]).expand(len(keypoints), -1)
    direct = start
    for _ in parents:
        unknown = ~torch.gather(known, 1, start) & (table[start] >= 0)
        start = torch.where(unknown, table[start], start)
    drawn = known[:, ends] & torch.gather(known, 1, start)
    points = keypoints.nan_to_num(0.0)
    depth = points[..., 2] if points.shape[-1] == 3 else torch.zeros_like(points[..., 0])
    a = torch.gather(points, 1, start[..., None].expand(-1, -1, points.shape[-1]))[..., :2]
    b = points[:, ends, :2]
    z = (torch.gather(depth, 1, start) + depth[:, ends]) / 2

    y = torch.arange(height).view(1, 1, -1, 1) + 0.5
    x = torch.arange(wide).view(1, 1, 1, -1) + 0.5
    axis = (b - a)[..., None, None]
    length = axis.square().sum(2).sqrt().clamp_min(1e-3)
    t = ((axis[:, :, 0] * (x - a[..., 0, None, None]) + axis[:, :, 1] * (y - a[..., 1, None, None])) / length**2).clamp(0, 1)
    apart = torch.hypot(x - a[..., 0, None, None] - t * axis[:, :, 0], y - a[..., 1, None, None] - t * axis[:, :, 1])
    cover = (max(width * short, 1.0) / 2 - apart + 0.5).clamp(0, 1) * drawn[..., None, None]
    gap = ((t * length / (DASH * short)).floor() % 2 == 1) & (start != direct)[..., None, None]
    cover = torch.where(gap, 0.0, cover)

    rank = z.argsort(1)
    reach = (z.amax(1, keepdim=True) - z.amin(1, keepdim=True)).clamp_min(1e-3)
    bright = 0.75 + 0.25 * (z - z.amin(1, keepdim=True)) / reach
    paint = torch.tensor([colours[k] for k in ends])[None] * bright[..., None]
    picture = torch.zeros(len(points), 3, height, wide)
    batch = torch.arange(len(points))
    for k in range(len(ends)):
        bone = rank[:, k]
        picture = torch.lerp(picture, paint[batch, bone][:, :, None, None].expand_as(picture), cover[batch, bone][:, None])
    return picture
