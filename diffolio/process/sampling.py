"""Sampling through diffusers' schedulers for any tensor: poses, trajectories, volumes, graphs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite

Denoise = Callable[[Tensor, Tensor], Tensor]
Generators = torch.Generator | Sequence[torch.Generator] | None


def generators(seed: int | Sequence[int], n: int, device: str = "cpu") -> list[torch.Generator]:
    """One generator a sample, seeded ``seed + i`` or ``seed[i]``, so that a sample does not depend on its batch."""
    seeds = range(seed, seed + n) if isinstance(seed, int) else list(seed)
    if len(seeds) != n:
        raise BadInput(f"{len(seeds)} seeds for {n} samples: give one, or one for each")
    return [torch.Generator(device).manual_seed(one) for one in seeds]


def stratified(n: int, generator: torch.Generator | None = None) -> Tensor:
    """``n`` uniform numbers (n,) in [0, 1], ascending, one from every n-th part of it: a small batch of times sees all levels."""
    return (torch.arange(n) + torch.rand(n, generator=generator)) / n


def logit_normal(n: int, generator: torch.Generator, spread: float = 1.3, shift: float = 1.0) -> Tensor:
    """``n`` times in (0, 1) from a logit-normal (Esser et al., 2024), one from every n-th part of it.

    With 1.3, 95 % of them lie in 0.07 .. 0.93. Stratifying lowers the variance of a small batch's gradient.
    ``shift`` moves them towards noise, t -> shift t / (1 + (shift - 1) t) (eq. 23 there): what has more cells that say the same
    needs more noise to hide as much.
    """
    times = torch.sigmoid(spread * torch.special.ndtri(stratified(n, generator).clamp(1e-6, 1 - 1e-6)))
    return shift * times / (1 + (shift - 1) * times)


def noise(shape: Sequence[int], generator: Generators, **to: Any) -> Tensor:
    """Standard normal noise; with a list of generators each sample is drawn from its own. Drawn in float32 on their device."""
    if isinstance(generator, Sequence):
        if len(generator) != shape[0]:
            raise BadInput(f"{len(generator)} generators for a batch of {shape[0]}: give one a sample")
        return torch.cat([torch.randn((1, *shape[1:]), generator=g, device=g.device) for g in generator]).to(**to)
    device = generator.device if generator is not None else None
    return torch.randn(tuple(shape), generator=generator, device=device).to(**to)


@torch.no_grad()
def sample(
    denoise: Denoise,
    latents: Tensor,
    scheduler: Any,
    steps: int,
    generator: Generators = None,
    *,
    after: Callable[[int, Tensor, Tensor], Tensor | None] | None = None,
    **step_arguments: Any,
) -> Tensor:
    """Follow a scheduler from noise to data. ``latents`` (B, ...), standard normal; ``denoise(x, t)`` gives the raw output.

    ``t`` is a scalar tensor. ``after(step, t, x)`` may change what each step gives. More ``step_arguments`` (eta, ...) go to
    the scheduler's step where it takes them. BadInput for steps below one, NotFinite if the result is not finite.
    """
    if steps < 1:
        raise BadInput(f"{steps} steps: give at least one")
    scheduler.set_timesteps(steps, device=latents.device)
    takes = inspect.signature(scheduler.step).parameters
    arguments = {name: value for name, value in {**step_arguments, "generator": generator}.items() if name in takes}
    x = latents * getattr(scheduler, "init_noise_sigma", 1.0)
    for index, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(denoise(scaled, t), t, x, return_dict=False, **arguments)[0]
        if after is not None:
            changed = after(index, t, x)
            x = x if changed is None else changed
    if not bool(torch.isfinite(x).all()):
        raise NotFinite(f"sampling gave NaN or infinity after {steps} steps: check the denoiser's output, or use float32")
    return x
