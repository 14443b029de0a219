"""What an instructed editor of clips is measured against: inversion with the caption of the outcome, and tuning on the clip itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.models.fine_tuning import copied, trainable
from diffolio.process.flow_inversion import follow_flow, invert_flow

if TYPE_CHECKING:
    from diffolio.models import Model


@torch.no_grad()
def by_inversion(model: Model, clips: Tensor, told: Sequence[str], wanted: Sequence[str], steps: int, scale: float) -> Tensor:
    """Clips (B, T, 3, H, W) up with the captions ``told`` of what they show, down with those ``wanted`` and guidance ``scale``."""
    start = invert_flow(model, model.encode(clips), model.condition(told), steps)
    return model.decode(follow_flow(model, start, model.condition(wanted), steps, scale))


def seconds_of_tuning(model: Model, clip: Tensor, caption: str, steps: int = 3) -> float:
    """Seconds of a step of tuning all of a flow's network on one clip (1, T, 3, H, W); the mean of ``steps``, after one to warm up."""
    student = copied(model)
    optimizer = torch.optim.AdamW(trainable(student.denoiser, "all").values(), 3e-5)
    with torch.no_grad():
        latents, condition = model.encode(clip), model.condition([caption])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents)
    started = time.perf_counter()
    for step in range(steps + 1):
        if step == 1:
            started = time.perf_counter()
        velocity = student.predict((latents + noise) / 2, 500.0, condition).raw
        (velocity - (noise - latents)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.perf_counter() - started) / steps
