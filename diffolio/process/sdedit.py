"""SDEdit: noise a picture part of the way and denoise it with another condition; what pipelines call image-to-image.

Meng et al., 2022, arXiv:2108.01073. The strength says how much of the schedule is run: near 0 the picture stays, at 1 all of it is new.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.process.inversion import Predicts
from diffolio.process.sampling import generators, noise


@torch.no_grad()
def sdedit(
    model: Predicts,
    latents: Tensor,
    condition: Any,
    strength: float,
    steps: int,
    guidance_scale: float | None = None,
    seed: int = 0,
) -> Tensor:
    """Clean ``latents`` (B, C, h, w) after the last ``strength`` of ``steps`` steps; sample i draws its noise from ``seed + i``.

    For schedulers that add noise by ``add_noise`` (diffusion) or ``scale_noise`` (flow); the model's own stays as it is.
    """
    if not 0 < strength <= 1 or steps < 1:
        raise BadInput(f"strength {strength:g}, {steps} steps: give a strength above 0 and at most 1, and at least one step")
    scheduler = type(model.scheduler).from_config(model.scheduler.config)
    scheduler.set_timesteps(steps, device=latents.device)
    start = steps - max(1, min(steps, int(steps * strength)))
    times = scheduler.timesteps[start:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    drawn = noise(latents.shape, generators(seed, len(latents)), device=latents.device, dtype=latents.dtype)
    blur = scheduler.scale_noise if hasattr(scheduler, "scale_noise") else None
    first = times[:1].expand(len(latents))
    x = scheduler.add_noise(latents, drawn, first) if blur is None else blur(latents, first, drawn)
    for t in times:
        x = scheduler.step(model.predict(x, t, condition, guidance_scale).raw, t, x, return_dict=False)[0]
    return x
