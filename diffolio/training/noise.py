"""The ordinary fine-tuning of a text-to-image model: predict the noise in latents of captioned pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.process.prediction import Prediction, alpha_sigma
from diffolio.process.sampling import logit_normal
from diffolio.training.latents import CaptionedLatents

if TYPE_CHECKING:
    from diffolio.models import Model


class PredictNoise:
    """Objective: what of ``model.denoiser`` requires gradients learns the noise; ``empty`` of the captions are left out.

    Timesteps are logit-normal and the error weighted by min-SNR (Hang et al., 2023, gamma 5), as the bundled models were trained.
    ``weights`` (N, h, w): how much each cell of the N latents counts; all the same if None.
    """

    gamma = 5.0

    def __init__(
        self, model: Model, data: CaptionedLatents, batch: int = 8, empty: float = 0.1, weights: Tensor | None = None
    ) -> None:
        self.model, self.data, self.batch, self.empty, self.weights = model, data, batch, empty, weights
        self.modules: dict[str, nn.Module] = {"unet": model.denoiser}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        import random

        model, n = self.model, self.batch
        chosen = torch.randint(len(self.data), (n,), generator=generator).tolist()
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        captions = ["" if rng.random() < self.empty else self.data.caption(i, rng) for i in chosen]
        latents = self.data.latents[chosen].float().to(model.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        steps = int(model.scheduler.config.num_train_timesteps)
        t = (logit_normal(n, generator) * steps).long().clamp_max(steps - 1).to(model.device)
        with torch.no_grad():
            row = model.condition(captions)["cond"]
        noisy = model.scheduler.add_noise(latents, noise, t)
        alpha, sigma = (level.to(noisy) for level in alpha_sigma(model.scheduler, t, noisy.dim()))
        raw = model.denoiser(noisy, t, **row, return_dict=False)[0]
        error = (Prediction(raw.float(), noisy, alpha, sigma, model.prediction).noise - noise).square().mean(1)
        told = {"plain": float(error.detach().mean())}
        if self.weights is not None:
            error = error * self.weights[chosen].to(error)
        snr = (alpha / sigma).square().reshape(n)
        return (error.mean((1, 2)) * snr.clamp(max=self.gamma) / snr).mean(), told
