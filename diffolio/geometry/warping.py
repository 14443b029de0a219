"""Moving pictures along a flow. A flow (B, 2, H, W) says, in pixels (x, y), where each pixel's centre of one frame lies in another."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.geometry.cameras import pixel_centres


def fetch(pictures: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """What ``pictures`` (B, C, H, W) hold where ``flow`` points to: out(p) = picture(p + flow(p)).

    With the flow from frame t to frame s this draws frame s as frame t: what is hidden in s comes out wrong. Beyond the edge the
    nearest pixel is taken. Gradients flow.
    """
    if flow.dim() != 4 or flow.shape[1] != 2 or flow.shape[2:] != pictures.shape[2:] or len(flow) != len(pictures):
        raise BadInput(
            f"pictures of {tuple(pictures.shape)} along a flow of {tuple(flow.shape)}: give (B, C, H, W) and (B, 2, H, W)"
        )
    height, width = pictures.shape[-2:]
    points = pixel_centres(height, width).to(flow) + flow.permute(0, 2, 3, 1)
    grid = points / points.new_tensor([width, height]) * 2 - 1
    return F.grid_sample(pictures, grid.to(pictures), mode=mode, padding_mode="border", align_corners=False)
