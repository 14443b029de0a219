"""How steady a clip is: each frame against the next one, brought back along the exact flow."""

from __future__ import annotations

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.geometry.warping import fetch


def warp_error(clip: Tensor, flow: Tensor, occluded: Tensor) -> Tensor:
    """Mean squared difference of frame t and frame t + 1 along the flow, where nothing is occluded: a scalar.

    ``clip`` (T, 3, H, W) in [0, 1]; ``flow`` (T-1, 2, H, W) in pixels and ``occluded`` bool (T-1, H, W), as ``worlds.motion.film``
    gives them. 0 for a clip that moves exactly so, but for resampling: report it beside the true clip's own (Lai et al., 2018).
    """
    if len(clip) < 2 or len(flow) != len(clip) - 1:
        raise BadInput(f"{len(clip)} frames and {len(flow)} flows between them: give at least two frames, one flow fewer")
    error = (fetch(clip[1:], flow) - clip[:-1]).square().mean(1)
    return torch.where(occluded, 0, error).sum() / (~occluded).sum().clamp_min(1)
