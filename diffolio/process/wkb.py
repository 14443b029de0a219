"""First order in the sampling noise h: how the likelihood of a sampler changes as noise is added to its ODE.

WKB around the path of the probability-flow ODE, "Understanding Diffusion Models by Feynman's Path Integral" (arXiv:2403.11262);
the equations are in ``methods/science/feynman_path.py``. Two independent ways to the same number, in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from diffolio.process.likelihood import flow_log_density
from diffolio.process.sde import SDE, Score, flow, solve


@torch.no_grad()
def transport_slope(score: Score, sde: SDE, end: Tensor, steps: int) -> Tensor:
    """d NLL/dh at h = 0 by one sweep back from x_T (N, D): (N,)."""
    velocity = flow(score, sde)

    def one(x: Tensor, u: Tensor, hess: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        def speed(y: Tensor) -> tuple[Tensor, Tensor]:
            value = velocity(y[None], t)[0]
            return value, value

        def pulled(y: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            # Its first and second derivatives, u held fixed, are all that the sweep needs beyond J.
            jacobian, value = jacrev(speed, has_aux=True)(y)
            return u @ value + torch.trace(jacobian), (value, jacobian)

        def gradient(y: Tensor) -> tuple[Tensor, tuple[Tensor, tuple[Tensor, Tensor]]]:
            slope, known = grad(pulled, has_aux=True)(y)
            return slope, (slope, known)

        second, (first, (value, jacobian)) = jacrev(gradient, has_aux=True)(x)
        f, g2 = sde.f(t), sde.g2(t)
        score_here, div_s = 2 * (f * x - value) / g2, 2 * (len(x) * f - torch.trace(jacobian)) / g2
        gap = div_s - torch.trace(hess) + u @ (score_here - u)
        twist = jacobian.T @ hess
        return value, -first, -twist - twist.T - second, -g2 / 2 * gap

    every = vmap(one, in_dims=(0, 0, 0, None))
    n, d = end.shape
    start = (end, -end, -torch.eye(d, dtype=end.dtype).expand(n, d, d), end.new_zeros(n))
    return solve(lambda t, state: every(state[0], state[1], state[2], t), start, sde.grid(steps).flip(0))[3]


@torch.no_grad()
def stencil_slope(score: Score, sde: SDE, x: Tensor, steps: int, distance: float) -> Tensor:
    """d NLL/dh at h = 0 as the authors find it, from x_0 (N, D): (N,). The work grows with ``steps`` squared."""
    velocity = flow(score, sde)

    def log_density(points: Tensor, t: Tensor) -> Tensor:
        # As many steps whatever is left of the time: a number that jumped with t would spoil the outer integration.
        return flow_log_density(score, sde, points, sde.grid(steps, first=float(t)))[0]

    def derivatives(points: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """grad (N, D) and lap (N,) of log q at t from 1 + 2D points each."""
        if float(t) >= sde.last:
            return -points, torch.full_like(points[:, 0], -points.shape[1])
        n, d = points.shape
        offsets = distance * torch.cat([torch.zeros(1, d), torch.eye(d), -torch.eye(d)]).to(points)
        values = log_density((points[:, None] + offsets).reshape(-1, d), t).reshape(n, 1 + 2 * d)
        centre, plus, minus = values[:, :1], values[:, 1 : 1 + d], values[:, 1 + d :]
        return (plus - minus) / (2 * distance), (plus + minus - 2 * centre).sum(1) / distance**2

    def one(x: Tensor, y: Tensor, gradient: Tensor, laplacian: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        def speed(p: Tensor) -> Tensor:
            return velocity(p[None], t)[0]

        def div(p: Tensor) -> tuple[Tensor, Tensor]:
            jacobian = jacrev(speed)(p)
            return torch.trace(jacobian), jacobian

        div_slope, jacobian = grad(div, has_aux=True)(x)
        f, g2 = sde.f(t), sde.g2(t)
        value = speed(x)
        score_here, div_s = 2 * (f * x - value) / g2, 2 * (len(x) * f - torch.trace(jacobian)) / g2
        return value, jacobian @ y - g2 / 2 * (score_here - gradient), y @ div_slope - g2 / 2 * (div_s - laplacian)

    every = vmap(one, in_dims=(0, 0, 0, 0, None))

    def field(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return every(state[0], state[1], *derivatives(state[0], t), t)

    end, moved, change = solve(field, (x, torch.zeros_like(x), torch.zeros_like(x[:, 0])), sde.grid(steps))
    return -(change - (end * moved).sum(1))
