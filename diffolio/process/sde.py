"""Continuous time: variance-preserving SDEs, the family of samplers between ODE and SDE, an ODE solver.

    dx = f(t) x dt + g(t) dw,      f = d log(alpha) / dt,   g^2 = -2 f,   sigma^2 = 1 - alpha^2        (Song et al., arXiv:2011.13456)

A score is any function ``score(x (B, ...), t) -> (B, ...)``; t is a 0-d tensor. Every function works on any tensor shape
unless it says otherwise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from diffolio.errors import BadInput, choose

Score = Callable[[Tensor, Tensor], Tensor]
Field = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


class SDE(ABC):
    """A variance-preserving SDE on [first, last]; at ``last`` the data are forgotten and the prior is N(0, I)."""

    name: str
    first: float
    last: float

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        """log of the share of the clean signal at t."""

    @abstractmethod
    def time(self, log_alpha: Tensor) -> Tensor:
        """The inverse of ``log_alpha``."""

    @abstractmethod
    def f(self, t: Tensor) -> Tensor:
        """Drift coefficient, d log(alpha) / dt."""

    def g2(self, t: Tensor) -> Tensor:
        """Squared diffusion coefficient."""
        return -2 * self.f(t)

    def alpha(self, t: Tensor) -> Tensor:
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self.log_alpha(t))).sqrt()

    def grid(self, steps: int, first: float | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
        """``steps + 1`` rising times from ``first`` to ``last``, evenly spaced in log(alpha / sigma), where scores change evenly."""
        ends = torch.tensor([self.first if first is None else first, self.last], dtype=torch.float64)
        ratio = self.log_alpha(ends) - self.sigma(ends).log()
        even = torch.linspace(float(ratio[0]), float(ratio[1]), steps + 1, dtype=torch.float64)
        times = self.time(torch.nn.functional.logsigmoid(2 * even) / 2)
        times[0], times[-1] = ends[0], ends[1]
        return times.to(dtype)

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """alpha x + sigma z at t, a number or (B,)."""
        shape = (-1,) + (1,) * (clean.ndim - 1) if t.ndim else ()
        return self.alpha(t).reshape(shape) * clean + self.sigma(t).reshape(shape) * noise


class Simple(SDE):
    """f = -10 t, g^2 = 20 t on [0.01, 1]: alpha = exp(-5 t^2)."""

    name, first, last = "simple", 0.01, 1.0

    def log_alpha(self, t: Tensor) -> Tensor:
        return -5 * t**2

    def time(self, log_alpha: Tensor) -> Tensor:
        return (-log_alpha / 5).sqrt()

    def f(self, t: Tensor) -> Tensor:
        return -10 * t


class Cosine(SDE):
    """f = -(pi/2) tan(pi t / 2) on [0.01, 0.999]: alpha = cos(pi t / 2). It ends before 1, where f is infinite."""

    name, first, last = "cosine", 0.01, 0.999

    def log_alpha(self, t: Tensor) -> Tensor:
        return (math.pi / 2 * t).cos().log()

    def time(self, log_alpha: Tensor) -> Tensor:
        return log_alpha.exp().acos() * 2 / math.pi

    def f(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * (math.pi / 2 * t).tan()


def find_sde(name: str) -> SDE:
    """An SDE by name: "simple" or "cosine"."""
    return {"simple": Simple, "cosine": Cosine}[choose("SDE", name, ("simple", "cosine"))]()


def flow(score: Score, sde: SDE) -> Score:
    """The velocity of the probability-flow ODE, F = f x - (g^2 / 2) s."""
    return lambda x, t: sde.f(t) * x - sde.g2(t) / 2 * score(x, t)


@torch.no_grad()
def euler_maruyama(score: Score, sde: SDE, x: Tensor, h: float, steps: int, generator: torch.Generator) -> Tensor:
    """Sample backward from ``x`` at ``sde.last``: h = 0 is the probability-flow ODE, h = 1 the reverse SDE.

        x <- x - f x e + (1 + h)/2 g^2 s e + sqrt(h g^2 e) z

    Every member has the same marginals if the score is exact (arXiv:2403.11262). Steps are even in t, as in the authors' code
    (whose times, by a factor taken twice, end a little before ``sde.first``; here they end on it). The noise is drawn
    at every h, so that runs at different h that start from equal generators can be compared draw by draw.
    """
    if h < 0 or steps < 1:
        raise BadInput(f"h={h}, steps={steps}: h is a noise strength, zero or above; steps is at least 1")
    times = torch.linspace(sde.last, sde.first, steps + 1, dtype=torch.float64).to(x.dtype)
    for now, after in pairwise(times):
        e = now - after
        g2 = sde.g2(now)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
        x = x - sde.f(now) * x * e + (1 + h) / 2 * g2 * score(x, now) * e + (h * g2 * e).sqrt() * z
    return x


def solve(
    field: Field, state: tuple[Tensor, ...], times: Tensor, each: Callable[[tuple[Tensor, ...]], None] | None = None
) -> tuple[Tensor, ...]:
    """Integrate d state / dt = field(t, state) along ``times`` (rising or falling) by the classical Runge-Kutta of order 4.

    ``each`` sees the state after every step.
    """

    def moved(by: Tensor, slope: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(s + by * d for s, d in zip(state, slope, strict=True))

    for now, after in pairwise(times):
        e = after - now
        k1 = field(now, state)
        k2 = field(now + e / 2, moved(e / 2, k1))
        k3 = field(now + e / 2, moved(e / 2, k2))
        k4 = field(after, moved(e, k3))
        state = moved(e / 6, tuple(a + 2 * b + 2 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)))
        if each is not None:
            each(state)
    return state
