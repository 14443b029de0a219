"""Sampling joint latents: every modality follows its own noise levels, and clean ones are the condition and never change."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite
from diffolio.models.joint import reassigned
from diffolio.process.guidance import combine
from diffolio.process.prediction import Prediction
from diffolio.process.sampling import generators, noise

if TYPE_CHECKING:
    from diffolio.models.condition import Condition
    from diffolio.models.joint_network import JointNetwork
    from diffolio.models.model import Model


def grid(model: Model, steps: int, shift: float = 0.0) -> list[tuple[int, int]]:
    """(t, u) of every step and, last, of the end: t of the first modality as the scheduler spaces them, u that of the others,
    whose log-SNR differs by ``shift``. The last entry is timestep 0 for all."""
    if steps < 1:
        raise BadInput(f"{steps} steps: give at least one")
    model.scheduler.set_timesteps(steps)
    times = [int(t) for t in model.scheduler.timesteps]
    others = reassigned(model.scheduler, torch.tensor(times), shift).tolist() if shift else times
    return [*zip(times, others, strict=True), (0, 0)]


@torch.no_grad()
def ddim_joint(
    model: Model, network: JointNetwork, condition: Condition, size: tuple[int, int], *, clean: Mapping[str, Tensor] | None = None,
    shift: float = 0.0, steps: int = 50, guidance_scale: float = 1.0, seed: int | list[int] = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """Latents by modality (B, C, h, w), ``size`` = (h, w), by deterministic DDIM (Song et al., 2021) in each modality:

        x_m' = alpha(t_m') clean_m + sigma(t_m') noise_m        from the network's clean_m, noise_m at t_m

    ``clean`` are the condition: at timestep 0, given back bit for bit. Each modality and sample draws its own noise. Guidance is on
    the text alone: the row "uncond" has the same condition.
    """
    layout, given, n = network.layout, dict(clean or {}), len(condition)
    flags = layout.flags(*given, batch=n).to(model.device)
    start = noise((n, len(layout.names) * layout.channels, *size), generators(seed, n)).to(model.device)
    parts = layout.split(start) | {name: z.to(start) for name, z in given.items()}
    rows, path = (("uncond", "cond") if guidance_scale != 1 else ("cond",)), grid(model, steps, shift)
    for now, then in pairwise(path):
        t, after = (_times(pair, flags) for pair in (now, then))
        said = network.predict(model, layout.stack(**parts), t, flags, condition, rows, guidance_scale)
        alpha, sigma = (layout.split(level) for level in layout.levels(model.scheduler, after, start))
        for name in layout.names:
            if name in given:
                continue
            cond = said["cond"][name]
            raw = cond.raw if len(rows) == 1 else combine(said["uncond"][name].raw, cond.raw, guidance_scale)
            at = Prediction(raw, cond.latents, cond.alpha, cond.sigma, cond.kind)
            parts[name] = alpha[name] * at.clean + sigma[name] * at.noise
    if not all(bool(torch.isfinite(part).all()) for part in parts.values()):
        raise NotFinite(f"sampling gave NaN or infinity after {steps} steps at guidance {guidance_scale:g}: lower the guidance")
    return parts


def _times(pair: tuple[int, int], clean: Tensor) -> Tensor:
    """(B, M): t for the first modality, u for the others, 0 for clean ones."""
    t = torch.tensor([pair[0], *[pair[1]] * (clean.shape[1] - 1)], device=clean.device)
    return t.expand_as(clean).masked_fill(clean, 0)
