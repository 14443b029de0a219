"""Training a condition adapter on a frozen base: the base's own error, and the conditions read back from the adapter's signal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import choose
from diffolio.models.controlled import controlled
from diffolio.process.prediction import add_noise, alpha_sigma, raw_from

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.models.control import ControlAdapter

Drawn = tuple[Tensor, list[str], dict[str, Tensor]] | tuple[Tensor, list[str], dict[str, Tensor], dict[str, Any]]
"""Clean latents (B, C, h, w), captions, conditions by name (B, C, H, W) in [0, 1], and what else ``controlled`` is to be told."""


class ControlTraining:
    """Objective: squared error of what the base predicts, plus ``recon_weight`` times that of the conditions read back from the
    encoder's signal (LightIt, arXiv:2403.10615, section 3.2; 0 without that head).

    ``timesteps``: "uniform", as the paper's, or "noisy", with a density that grows with the timestep: the condition matters where noise
    hides the picture [design, for short trainings]. ``draw(batch, generator)`` gives a batch. The base is frozen by who calls.
    """

    def __init__(
        self, model: Model, adapter: ControlAdapter, draw: Callable[[int, torch.Generator], Drawn], *, batch: int = 16,
        recon_weight: float = 1.0, timesteps: str = "uniform",
    ) -> None:  # fmt: skip
        self.model, self.adapter, self.draw, self.batch = model, adapter, draw, batch
        self.timesteps = choose("way to draw timesteps", timesteps, ("uniform", "noisy"))
        self.recon_weight = recon_weight if adapter.reconstruction is not None else 0.0
        self.modules: dict[str, nn.Module] = {"adapter": adapter}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        model, drawn = self.model, self.draw(self.batch, generator)
        latents, captions, conditions = drawn[:3]
        more = drawn[3] if len(drawn) == 4 else {}
        latents = latents.to(model.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        share = torch.rand(len(latents), generator=generator)
        share = share.sqrt() if self.timesteps == "noisy" else share
        t = (share * model.scheduler.config.num_train_timesteps).long().to(model.device)
        alpha, sigma = (level.to(latents) for level in alpha_sigma(model.scheduler, t))
        noisy = add_noise(latents, noise, alpha, sigma)
        with torch.no_grad():
            condition = model.condition(captions)
        with controlled(model, self.adapter, conditions, **more):
            said = model.predict(noisy, t, condition)
        known = {"noise": noise} if said.kind == "epsilon" else {"clean": latents}
        error = F.mse_loss(said.raw, raw_from(said.kind, latents=noisy, alpha=alpha, sigma=sigma, **known))
        if not self.recon_weight:
            return error, {"denoising": float(error.detach())}
        size = (latents.shape[-2] * self.adapter.factor, latents.shape[-1] * self.adapter.factor)
        back = self.adapter.reconstruction_loss(self.adapter.stacked(conditions, size, len(latents)))
        return error + self.recon_weight * back, {"denoising": float(error.detach()), "reconstruction": float(back.detach())}
