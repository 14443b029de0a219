"""Distribution matching distillation: a generator in one step, moved to where its teacher's samples are denser than its own.

DMD (Yin et al., 2024, arXiv:2311.18828) with the two time scales of DMD2 (Yin et al., 2024, arXiv:2405.14867), which need no
pairs of noise and picture from the teacher. A second denoiser, the *fake*, learns what the generator makes; the two denoisers'
difference at a noised sample is the gradient of the reverse Kullback-Leibler divergence between the two distributions:

    x = G(z, c),   x_t = alpha_t x + sigma_t n,   t uniform in [0.02, 0.98] of the schedule
    g = (mu_fake(x_t, c) - mu_real(x_t, c)) / mean |x - mu_real|           (DMD eq. 7 and 8; the mean is over each sample)
    generator:  1/2 mean |x - sg(x - g)|^2
    fake:       mean |eps_fake(x_t, c) - n|^2 on x without gradient, ``fake_steps`` times a step (DMD2 section 4.2)

mu are the clean latents that a denoiser sees in x_t: the real one's with guidance, the fake one's without. [design]: the fake's
steps of one training step share the generator's samples, with new noise each, where DMD2 draws new samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.process.prediction import add_noise, alpha_sigma
from diffolio.training.distill import OptimizerState, extrapolate, predict

Generate = Callable[[Tensor, dict[str, Any]], Tensor]
"""Noise (B, C, h, w) and the denoiser's condition to clean latents (B, C, h, w), with a gradient."""
Captions = Callable[[int, torch.Generator], list[str]]


class DistributionMatching:
    """Objective for the training loop. ``model`` is the teacher, a Model with a UNet, which stays as it is.

    ``student`` holds the parameters that ``generate`` runs; ``fake`` is a denoiser of the teacher's class, all of it or what of it
    requires a gradient trained at ``fake_rate``; ``guidance`` is the usual guidance scale, at which the teacher is matched.
    """

    def __init__(
        self, model: Any, student: nn.Module, generate: Generate, fake: nn.Module, captions: Captions, *, batch: int = 16,
        guidance: float = 4.0, fake_steps: int = 5, fake_rate: float = 1e-4, times: tuple[float, float] = (0.02, 0.98),
    ) -> None:  # fmt: skip
        if not 0 <= times[0] < times[1] <= 1:
            raise BadInput(f"times {times}: give (low, high) with 0 <= low < high <= 1, as shares of the schedule")
        if fake_steps < 1:
            raise BadInput(f"fake_steps {fake_steps}: the fake must follow the generator, give at least 1")
        self.model, self.generate, self.fake, self.captions = model, generate, fake, captions
        self.batch, self.guidance, self.fake_steps = batch, guidance, fake_steps
        train_steps = model.scheduler.config.num_train_timesteps
        self.low, self.high = int(times[0] * train_steps), max(int(times[1] * train_steps), int(times[0] * train_steps) + 1)
        # The loop's optimiser takes what requires a gradient: the fake's weights are the second optimiser's alone.
        self.followed = [parameter for parameter in fake.parameters() if parameter.requires_grad]
        fake.requires_grad_(False)
        self.second = OptimizerState(self.followed, fake_rate)
        self.modules: dict[str, nn.Module] = {"student": student, "fake": fake, "fake_optimizer": self.second}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        device, cells = self.model.device, self.model.default_size // self.model.factor
        with torch.no_grad():
            rows = self.model.condition(self.captions(self.batch, generator)).rows
        noise = torch.randn(self.batch, self.model.channels, cells, cells, generator=generator).to(device)
        made = self.generate(noise, rows["cond"])
        followed = [self.follow(made.detach(), rows["cond"], generator) for _ in range(self.fake_steps)]
        gradient = self.gradient(made.detach(), rows, generator)
        loss = 0.5 * (made - (made.detach() - gradient)).square().mean()
        return loss, {"fake_loss": sum(followed) / len(followed), "gradient": float(gradient.square().mean().sqrt())}

    @torch.no_grad()
    def gradient(self, made: Tensor, rows: dict[str, dict[str, Any]], generator: torch.Generator) -> Tensor:
        """g (B, C, h, w) at the generator's samples ``made``, each at a time of its own."""
        x, t, _ = self.noised(made, generator)
        cond, uncond = (predict(self.model.denoiser, self.model, x, t, rows[row]).clean for row in ("cond", "uncond"))
        real = extrapolate(cond, uncond, torch.full((len(made),), self.guidance - 1).to(made))
        fake = predict(self.fake, self.model, x, t, rows["cond"]).clean
        scale = (made - real).abs().flatten(1).mean(1).clamp_min(1e-6)
        return (fake - real) / scale.reshape(-1, *[1] * (made.dim() - 1))

    def follow(self, made: Tensor, row: dict[str, Any], generator: torch.Generator) -> float:
        """One step of the fake on the generator's samples; its loss."""
        x, t, noise = self.noised(made, generator)
        for parameter in self.followed:
            parameter.requires_grad_(True)
        try:
            loss = (predict(self.fake, self.model, x, t, row).noise - noise).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(self.followed, 1.0)
            self.second.optimizer.step()
            self.second.optimizer.zero_grad(set_to_none=True)
        finally:
            for parameter in self.followed:
                parameter.requires_grad_(False)
        return float(loss.detach())

    def noised(self, made: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """``made`` at uniform times: x_t, the integer timesteps (B,) and the noise."""
        t = torch.randint(self.low, self.high, (len(made),), generator=generator).to(made.device)
        noise = torch.randn(made.shape, generator=generator).to(made)
        return add_noise(made, noise, *alpha_sigma(self.model.scheduler, t)), t, noise
