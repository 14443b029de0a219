"""Denoising the rest of a picture around a region that is given, which is kept less and less of (``process.expansion``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite
from diffolio.process.expansion import Expansion
from diffolio.process.prediction import add_noise, alpha_sigma
from diffolio.process.sampling import generators, noise

if TYPE_CHECKING:
    from diffolio.models.condition import Condition
    from diffolio.models.model import Model


def levels(model: Model, steps: int, like: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(t, alpha, sigma) before every step as the scheduler spaces them, and last of clean latents: alpha 1, sigma 0."""
    if steps < 1:
        raise BadInput(f"{steps} steps: give at least one")
    model.scheduler.set_timesteps(steps)
    times = [torch.as_tensor(t) for t in model.scheduler.timesteps]
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in times:
        alpha, sigma = alpha_sigma(model.scheduler, t)
        found.append((t, alpha.to(like), sigma.to(like)))
    return [*found, (torch.zeros(()), like.new_ones(()), like.new_zeros(()))]


@torch.no_grad()
def outpaint(
    model: Model, condition: Condition, given: Tensor, mask: Tensor, expansion: Expansion, *, steps: int = 25,
    guidance_scale: float = 1.0, seed: int | list[int] = 0, jumps: int = 0,
) -> Tensor:  # fmt: skip
    """Latents (B, C, h, w) by deterministic DDIM, in which ``given`` (clean latents, same shape) stays where ``mask`` bool (B, H, W) says.

    Before the first and after every step, z = kept * given(t) + (1 - kept) * z, where given(t) has exactly the level of z, with the
    noise that the sampling started from. One call of the model a step; with ``jumps`` each step at which the region shrinks is done that
    many times more, noised again in between (RePaint: Lugmayr et al., 2022, arXiv:2201.09865).
    """
    start = noise(given.shape, generators(seed, len(given))).to(given)
    path, size = levels(model, steps, given), tuple(given.shape[-2:])

    def blended(z: Tensor, done: int) -> Tensor:
        kept = expansion.kept(mask.to(given.device), done, steps, size)
        _, alpha, sigma = path[done]
        return torch.where(
            kept == 1, add_noise(given, start, alpha, sigma), torch.lerp(z, add_noise(given, start, alpha, sigma), kept)
        )

    z = blended(start, 0)
    for done in range(steps):
        t, alpha, sigma = path[done]
        _, alpha_next, sigma_next = path[done + 1]
        again = jumps if expansion.grown(done + 1, steps) < expansion.grown(done, steps) else 0
        for turn in range(1 + again):
            if turn:
                fresh = noise(given.shape, generators(_seeds(seed, len(given), 1 + done * (jumps + 1) + turn), len(given))).to(
                    given
                )
                share = alpha / alpha_next
                z = blended(share * z + (sigma**2 - (share * sigma_next) ** 2).clamp_min(0).sqrt() * fresh, done)
            said = model.predict(z, t, condition, guidance_scale)
            z = blended(alpha_next * said.clean + sigma_next * (said.noise if bool(sigma_next > 0) else 0), done + 1)
    if not bool(torch.isfinite(z).all()):
        raise NotFinite(
            f"outpainting gave NaN or infinity after {steps} steps at guidance {guidance_scale:g}: lower the guidance"
        )
    return z


def _seeds(seed: int | list[int], n: int, turn: int) -> list[int]:
    return [one + 1_000_003 * turn for one in (range(seed, seed + n) if isinstance(seed, int) else seed)]
