"""Keypoints of a hand from its picture: heat maps whose centres of mass are the joints, and which fingers are raised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffolio.worlds.hands import FINGERS
from diffolio.worlds.hands.kinematics import KEYPOINTS

SIDE = 48  # pixels of the square crop that it reads


class HandPoseNet(nn.Module):
    """Crops (B, 3, 48, 48) in [0, 1] -> keypoints (B, 21, 2), x and y in [0, 1] of the crop, and logits (B, 5) of raised fingers."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_block(3, 24), _block(24, 32, 2), _block(32, 32))
        self.coarse = nn.Sequential(_block(32, 64, 2), _block(64, 64), _block(64, 64))
        self.heat = nn.Sequential(_block(96, 48), nn.Conv2d(48, KEYPOINTS, 1))
        self.deep = nn.Sequential(_block(64, 64, 2), nn.Flatten(), nn.Linear(64 * 36, 64), nn.SiLU())
        self.raised = nn.Linear(64, len(FINGERS))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(crops * 2 - 1)
        coarse = self.coarse(fine)
        wide = nn.functional.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
        heat = self.heat(torch.cat([fine, wide], 1))
        share = heat.flatten(2).softmax(-1).unflatten(2, heat.shape[-2:])
        at = (torch.arange(heat.shape[-1], device=heat.device) + 0.5) / heat.shape[-1]
        points = torch.stack([(share.sum(2) * at).sum(-1), (share.sum(3) * at).sum(-1)], -1)
        return points, self.raised(self.deep(coarse))


def _block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.GroupNorm(8, out), nn.SiLU())
