"""The hand's skeleton: from 20 joint angles, 4 numbers of shape and a rotation to 21 keypoints in space, differentiable.

Axes of a right hand seen on its palm: x to the thumb's side, y along the straight fingers, z out of the palm. A left hand is
its mirror image in x. Lengths are in hands (wrist to the middle finger's tip = 1, about). Keypoint order: wrist, then four of
each finger from base to tip, thumb first.
"""

from __future__ import annotations

import torch
from torch import Tensor

FINGERS: tuple[str, ...] = ("thumb", "index", "middle", "ring", "little")
KEYPOINTS = 21
ANGLES = 20  # per finger: spread, then flexion of its three joints
PARENTS: tuple[int, ...] = tuple(-1 if k == 0 else 0 if k % 4 == 1 else k - 1 for k in range(KEYPOINTS))
FINGER_OF: tuple[int, ...] = tuple(-1 if k == 0 else (k - 1) // 4 for k in range(KEYPOINTS))

BASES = ((0.17, 0.13, 0.03), (0.16, 0.50, 0.0), (0.045, 0.53, 0.0), (-0.065, 0.50, 0.0), (-0.165, 0.44, 0.0))
BONES = ((0.20, 0.15, 0.12), (0.23, 0.13, 0.10), (0.25, 0.15, 0.105), (0.23, 0.14, 0.10), (0.17, 0.10, 0.09))
RADII = ((0.072, 0.064, 0.058, 0.045), (0.060, 0.054, 0.048, 0.040), (0.062, 0.055, 0.049, 0.041),
         (0.058, 0.052, 0.046, 0.039), (0.051, 0.045, 0.040, 0.034))  # fmt: skip
AIM = (-0.75, -0.10, 0.0, 0.10, 0.24)  # spread of the relaxed hand, radians; the thumb points aside

# Human ranges in radians, (low, high) of spread, first, second and third flexion; the thumb's differ.
RANGES = {
    "thumb": ((-0.25, 0.55), (-0.15, 0.75), (-0.1, 1.0), (-0.2, 1.2)),
    "finger": ((-0.28, 0.28), (-0.35, 1.57), (0.0, 1.85), (0.0, 1.25)),
}


def limits() -> Tensor:
    """(20, 2): the range of every angle."""
    return torch.tensor([pair for finger in FINGERS for pair in RANGES["thumb" if finger == "thumb" else "finger"]])


def forward(angles: Tensor, shape: Tensor | None = None, left: Tensor | None = None) -> Tensor:
    """Keypoints (B, 21, 3) with the wrist at the origin, from ``angles`` (B, 20) in radians, ``shape`` (B, 4) about 1 (size,
    fingers' length, palm's width, thickness; the last only acts on :func:`radii`) and ``left`` bool (B,)."""
    batch = angles.shape[0]
    shape = torch.ones(batch, 4, dtype=angles.dtype) if shape is None else shape
    per = angles.view(batch, 5, 4)
    turn = torch.tensor(AIM).to(angles) - per[..., 0]
    # The thumb flexes across the palm, the fingers towards it.
    along = torch.stack([-turn.sin(), turn.cos(), torch.zeros_like(turn)], -1)
    across = torch.zeros_like(along)
    across[..., 2] = 1.0
    thumb = torch.tensor([-0.75, 0.10, 0.65]).to(angles).expand(batch, 3)
    thumb = thumb - (thumb * along[:, 0]).sum(-1, keepdim=True) * along[:, 0]
    across = torch.cat([(thumb / thumb.norm(dim=-1, keepdim=True))[:, None], across[:, 1:]], 1)
    wide = torch.stack([shape[:, 2], torch.ones_like(shape[:, 2]), torch.ones_like(shape[:, 2])], -1)
    point = torch.tensor(BASES).to(angles) * wide[:, None]
    chain, bend = [point], torch.zeros_like(turn)
    for joint in range(3):
        bend = bend + per[..., joint + 1]
        direction = bend.cos()[..., None] * along + bend.sin()[..., None] * across
        point = point + direction * torch.tensor(BONES).to(angles)[:, joint, None] * shape[:, None, 1:2]
        chain.append(point)
    points = torch.cat([torch.zeros(batch, 1, 3).to(angles), torch.stack(chain, 2).flatten(1, 2)], 1) * shape[:, None, :1]
    if left is not None:
        points = torch.where(left.view(-1, 1, 1), points * torch.tensor([-1.0, 1.0, 1.0]).to(angles), points)
    return points


def radii(shape: Tensor) -> Tensor:
    """Radius of the flesh at every keypoint: (B, 21), from ``shape`` (B, 4)."""
    flat = torch.tensor([0.12, *(r for finger in RADII for r in finger)]).to(shape)
    return flat * (shape[:, :1] * shape[:, 3:4])


def rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """(B, 3, 3) from radians: yaw about the hand's long axis, pitch towards the camera, then roll in the picture."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, -1).view(-1, 3, 3)

    about_y = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    about_x = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    about_z = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return about_z @ about_x @ about_y
