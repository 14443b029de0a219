"""Likelihood of what the probability-flow ODE of a diffusion model samples: exact divergence for points, estimated for pictures.

Chen et al., 2018, arXiv:1806.07366; Song et al., 2021, arXiv:2011.13456. Along x' = F(x, t) the density obeys l' = div F, so

    log q(x_0) = log N(x_T; 0, I) + integral of div F dt
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from diffolio.errors import BadInput, NotFinite
from diffolio.process.sde import SDE, Score, flow, solve


def divergence(velocity: Score) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A function (x (B, D), t) -> (velocity (B, D), its exact divergence (B,)); D backward passes, for low D."""

    def one(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        jacobian, value = jacrev(lambda y: (lambda v: (v, v))(velocity(y[None], t)[0]), has_aux=True)(x)
        return value, torch.trace(jacobian)

    return vmap(one, in_dims=(0, None))


@torch.no_grad()
def flow_log_density(
    score: Score, sde: SDE, x: Tensor, times: Tensor, each: Callable[[tuple[Tensor, ...]], None] | None = None
) -> tuple[Tensor, Tensor]:
    """log q of the ODE sampler at points x (B, D) of ``times[0]``: (log q (B,), where the points end (B, D)).

    x' = F, l' = div F from times[0] to the last time; log q = log N(x_T; 0, I) + l_T.
    """
    both = divergence(flow(score, sde))
    end, volume = solve(lambda t, state: both(state[0], t), (x, torch.zeros_like(x[:, 0])), times, each)
    return log_normal(end) + volume, end


def log_normal(x: Tensor) -> Tensor:
    """log N(x; 0, I) of (B, D): (B,)."""
    return -x.square().sum(-1) / 2 - x.shape[-1] / 2 * math.log(2 * math.pi)


def schedule_log_density(
    noise: Callable[[Tensor, int], Tensor], alphas: Tensor, x: Tensor, generator: torch.Generator, probes: int = 1
) -> Tensor:
    """log q of the ODE sampler of a noise network on a discrete schedule, at clean x (B, ...): (B,), in nats.

    ``noise(x, i)`` is the network's noise at level i, ``alphas`` (L,) the falling signal shares of the levels, the first near 1.
    In y = x / alpha and u = sigma / alpha the ODE is dy = noise du, so that the network is asked at its own levels only (Heun's
    rule between them). The divergence is Hutchinson's, with ``probes`` random signs per sample: unbiased, not exact.
    x counts as drawn at level 0.
    """
    if alphas.ndim != 1 or len(alphas) < 2 or not bool((alphas.diff() < 0).all() and (alphas > 0).all() and (alphas < 1).all()):
        raise BadInput(f"alphas of shape {tuple(alphas.shape)}: give at least two falling values inside (0, 1)")
    alphas = alphas.to(x)
    spread = (1 - alphas**2).sqrt() / alphas
    signs = torch.randint(0, 2, (probes, *x.shape), generator=generator).to(x) * 2 - 1

    def slope(y: Tensor, level: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            given = (alphas[level] * y).detach().requires_grad_()
            value = noise(given, level)
            pulled = [torch.autograd.grad(value, given, sign, retain_graph=True)[0] for sign in signs]
        trace = torch.stack([(p * sign).flatten(1).sum(1) for p, sign in zip(pulled, signs, strict=True)]).mean(0)
        return value.detach(), alphas[level] * trace

    y, volume = x / alphas[0], torch.zeros_like(x.flatten(1)[:, 0])
    for level, step in enumerate(spread.diff()):
        first, change = slope(y, level)
        second, next_change = slope(y + step * first, level + 1)
        y = y + step * (first + second) / 2
        volume = volume + step * (change + next_change) / 2
    density = log_normal((alphas[-1] * y).flatten(1)) + volume + (alphas[-1] / alphas[0]).log() * x[0].numel()
    if not bool(density.isfinite().all()):
        raise NotFinite("the likelihood is not finite: the path left what the network knows; use more levels, or float32")
    return density


def bits_per_dimension(log_density: Tensor, dimensions: int) -> Tensor:
    """Nats of a continuous density as bits per dimension: -log q / (D log 2). Lower is likelier; it may be negative."""
    return -log_density / (dimensions * math.log(2))
