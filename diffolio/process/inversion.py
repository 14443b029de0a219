"""DDIM inversion: from clean latents to the noise from which deterministic sampling would make them.

Song et al., 2021 (arXiv:2010.02502), equation 12 with eta 0. With A = alphas_cumprod the step between two noise levels is

    f(z, eps; A -> A') = sqrt(A') (z - sqrt(1 - A) eps) / sqrt(A) + sqrt(1 - A') eps

Sampling applies it downwards. Upwards from t_prev to t the noise that belongs there, eps(z_t, t), is not known yet. As in the
released code of SPDInv (Li et al., 2024, arXiv:2403.11105) it is first taken as eps(z_{t_prev}, t): the network reads the old
latents at the *new* timestep. A solver may then look for the fixed point z_t = f(z_{t_prev}, eps(z_t, t)). Inversion is
conditional only; guidance enters when sampling.

The noise levels are those of ``DDIMScheduler.step``: from t down to t - (training timesteps // steps), and to
``final_alpha_cumprod`` where that is negative. So each upward step is the exact inverse of the scheduler's own for the same eps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite, Unsupported, unknown
from diffolio.process.prediction import Prediction, alphas_cumprod


class Predicts(Protocol):
    """What inversion needs of a model."""

    @property
    def scheduler(self) -> Any: ...

    def predict(self, latents: Tensor, t: Any, condition: Any, guidance_scale: float | None = None) -> Prediction: ...


Solver = Callable[[Any, Tensor, int, int, Any, Tensor], Tensor]
"""``(model, z_prev, t_prev, t, condition, z_init) -> z_t``; ``t_prev`` is negative for clean latents."""


@dataclass(frozen=True)
class Trajectory:
    """Latents (B, C, h, w) on the way from clean to noise: ``latents[0]`` is z_0, ``latents[i]`` belongs to ``timesteps[i - 1]``."""

    latents: list[Tensor]
    timesteps: list[int]  # ascending, one a step
    condition: Any
    prompts: list[str] = field(default_factory=list)

    @property
    def clean(self) -> Tensor:
        return self.latents[0]

    @property
    def noise(self) -> Tensor:
        return self.latents[-1]

    @property
    def steps(self) -> int:
        return len(self.timesteps)


def ddim_step(z: Tensor, noise: Tensor, from_alpha_cumprod: Tensor | float, to_alpha_cumprod: Tensor | float) -> Tensor:
    """f(z, noise; A -> A') above. Any shape; the levels broadcast."""
    a, b = (torch.as_tensor(level, dtype=z.dtype, device=z.device) for level in (from_alpha_cumprod, to_alpha_cumprod))
    clean = (z - (1 - a).sqrt() * noise) / a.sqrt()
    return b.sqrt() * clean + (1 - b).sqrt() * noise


def ddim_timesteps(scheduler: Any, steps: int) -> list[int]:
    """The timesteps of ``steps`` DDIM steps, ascending. The scheduler's own state is left as it is."""
    _check_ddim(scheduler)
    count = scheduler.config.num_train_timesteps
    if not 1 <= steps <= count:
        raise BadInput(f"{steps} steps on a schedule of {count} timesteps: give 1 to {count}")
    fresh = type(scheduler).from_config(scheduler.config)
    fresh.set_timesteps(steps)
    return sorted(int(t) for t in fresh.timesteps)


def level(scheduler: Any, t: int) -> Tensor:
    """alphas_cumprod at ``t``; ``final_alpha_cumprod`` for a negative ``t``, which stands for clean latents."""
    return alphas_cumprod(scheduler)[t] if t >= 0 else scheduler.final_alpha_cumprod


def below(scheduler: Any, t: int, steps: int) -> int:
    """The timestep at which one of ``steps`` DDIM steps from ``t`` arrives; negative for clean latents."""
    return t - scheduler.config.num_train_timesteps // steps


def upward(model: Predicts, z: Tensor, z_prev: Tensor, t_prev: int, t: int, condition: Any) -> Tensor:
    """f(z_prev, eps(z, t); t_prev -> t): what z_t would be if the noise at t were that of ``z``."""
    noise = model.predict(z, t, condition).noise
    return ddim_step(z_prev, noise, level(model.scheduler, t_prev), level(model.scheduler, t))


@torch.no_grad()
def invert(
    model: Predicts,
    latents: Tensor,
    condition: Any,
    steps: int = 50,
    solver: str | Solver = "ddim",
    rounds: int = 5,
    tol: float = 1e-8,
) -> Trajectory:
    """The trajectory from clean ``latents`` (B, C, h, w) to noise.

    ``solver`` "ddim" takes the first guess; "picard" repeats z <- f(z_prev, eps(z, t)), at most ``rounds`` times a step, each
    sample until its mean squared change is below ``tol``. A function brings another way. Unsupported for schedulers that are
    not DDIM's, BadInput for steps out of range, NotFinite if the trajectory blows up.
    """
    if isinstance(solver, str):
        known: dict[str, Solver] = {"ddim": keep, "picard": picard(rounds, tol)}
        if solver not in known:
            raise unknown("inversion solver", solver, known)
        solver = known[solver]
    timesteps = ddim_timesteps(model.scheduler, steps)
    path = [latents]
    for t in timesteps:
        z_prev, t_prev = path[-1], below(model.scheduler, t, steps)
        first = upward(model, z_prev, z_prev, t_prev, t, condition)
        path.append(solver(model, z_prev, t_prev, t, condition, first).detach())
        if not bool(torch.isfinite(path[-1]).all()):
            raise NotFinite(f"inversion gave NaN or infinity at timestep {t}: fewer rounds, more steps, or float32 may help")
    return Trajectory(path, timesteps, condition, list(getattr(condition, "prompts", [])))


def keep(model: Predicts, z_prev: Tensor, t_prev: int, t: int, condition: Any, z_init: Tensor) -> Tensor:
    """The solver of plain DDIM inversion: the first guess is the answer."""
    return z_init


def picard(rounds: int, tol: float) -> Solver:
    """The solver that repeats z <- f(z) (as in AIDI and ReNoise), each sample until it changes no more."""
    if rounds < 1 or tol < 0:
        raise BadInput(f"picard with {rounds} rounds and tolerance {tol}: give at least one round and a tolerance of 0 or more")

    def solve(model: Predicts, z_prev: Tensor, t_prev: int, t: int, condition: Any, z_init: Tensor) -> Tensor:
        z = z_init
        moving = torch.ones(len(z), dtype=torch.bool, device=z.device)
        for _ in range(rounds):
            new = upward(model, z, z_prev, t_prev, t, condition)
            change = (new - z).square().flatten(1).mean(1)
            z = torch.where(moving.reshape(-1, *[1] * (z.dim() - 1)), new, z)
            moving = moving & (change > tol)
            if not bool(moving.any()):
                break
        return z

    return solve


@torch.no_grad()
def residuals(model: Predicts, trajectory: Trajectory) -> Tensor:
    """(T, B): mean squared distance of each z_t from its own f(z_t), zero where sampling would retrace the inversion."""
    rows = []
    for z_prev, z, t in zip(trajectory.latents[:-1], trajectory.latents[1:], trajectory.timesteps, strict=True):
        retraced = upward(model, z, z_prev, below(model.scheduler, t, trajectory.steps), t, trajectory.condition)
        rows.append((retraced - z).square().flatten(1).mean(1))
    return torch.stack(rows)


@torch.no_grad()
def reconstruct(
    model: Predicts,
    start: Trajectory | Tensor,
    condition: Any = None,
    guidance_scale: float | None = None,
    steps: int | None = None,
    after: Callable[[int, int, Tensor], Tensor | None] | None = None,
) -> Tensor:
    """DDIM sampling from the trajectory's end, or from noise, to clean latents (B, C, h, w).

    A trajectory brings its own steps and, unless another is given, its condition. ``after(step, t, z)`` may change what each
    step gives. BadInput if ``steps`` differ from the trajectory's, or are missing for plain noise.
    """
    if isinstance(start, Trajectory):
        if steps not in (None, start.steps):
            raise BadInput(f"{steps} steps, but the inversion took {start.steps}: a trajectory is sampled with its own steps")
        z, steps, condition = start.noise, start.steps, start.condition if condition is None else condition
    else:
        z = start
    if steps is None or condition is None:
        raise BadInput("sampling from noise needs steps and a condition; only a trajectory brings its own")
    for index, t in enumerate(reversed(ddim_timesteps(model.scheduler, steps))):
        noise = model.predict(z, t, condition, guidance_scale).noise
        z = ddim_step(z, noise, level(model.scheduler, t), level(model.scheduler, below(model.scheduler, t, steps)))
        changed = after(index, t, z) if after is not None else None
        z = z if changed is None else changed
    return z


def _check_ddim(scheduler: Any) -> None:
    alphas_cumprod(scheduler)
    name = type(scheduler).__name__
    if "DDIM" not in name or not hasattr(scheduler, "final_alpha_cumprod"):
        raise Unsupported(f"inversion follows DDIM, not {name}: set model.scheduler to DDIMScheduler.from_config(...)")
    if scheduler.config.get("clip_sample") or scheduler.config.get("thresholding"):
        raise Unsupported(f"{name} clips its clean estimate, which cannot be inverted: set clip_sample and thresholding to False")
