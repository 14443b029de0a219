"""FeynmanPath: how much sampling noise helps or hurts a diffusion model, and a knob h from ODE (DDIM) to SDE (DDPM) sampling.

Hirono, Tanaka, Fukushima, 2024, "Understanding Diffusion Models by Feynman's Path Integral", arXiv:2403.11262. The reverse
processes

    dx = [f x - (1 + h)/2 g^2 s] dt + sqrt(h) g dw

have the same marginals for every h >= 0 if the score s is exact. h weighs paths by exp(-action / h), as Planck's constant does: h = 1
is the reverse SDE, h -> 0 the classical path, the probability-flow ODE. With a learned score the density q^h of the sampler
depends on h. To first order (WKB), with F = f x - g^2/2 s, along the ODE from the data x_0 to x_T:

    x' = F,  l' = div F,                                                    NLL = -(log N(x_T) + l_T)  at h = 0
    y' = (y . grad) F - g^2/2 (s - grad log q),   c' = y . grad(div F) - g^2/2 (div s - lap log q),   y_0 = c_0 = 0
    d NLL / dh = -(c_T - x_T . y_T)                                         negative: a little noise improves the likelihood

Here q is the *model's* density at h = 0, not exp of its score: with s in place of grad log q the result is 0 identically.

"stencil", the authors' way, finds grad and lap of log q by re-solving the ODE from 1 + 2D points at every outer time.
"transport" [design] carries them: since l obeys log q' = -div F, one sweep from T with u = grad log q = -x_T, H = -1 obeys

    u' = -J^T u - grad div F,    H' = -J^T H - H J - sum_k u_k Hess F_k - Hess div F,    J = dF/dx

and u . y + c has the derivative below, which is zero-based and needs neither y, c nor the boundary term x_T . y_T:

    d NLL / dh = integral of g^2/2 [div s - tr H + u . (s - u)] dt

Both are first order in h: near a point with a steep slope they hold for tiny h only, so a radius 0.1 / |slope| is reported
beside each slope. On variance-preserving pipelines h is the square of DDIM's eta in the limit of small steps [design].
Where paper and code differ: what the code prints as 2-Wasserstein is its square; its W2 runs stop a little before the
last time. The code solves by RK45 to tolerances; here RK4 on a grid even in log-SNR, the error by halving the grid [design].
"""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, NotFinite, Unsupported
from diffolio.metrics.wasserstein import wasserstein2
from diffolio.process.likelihood import bits_per_dimension, flow_log_density, schedule_log_density
from diffolio.process.sde import SDE, Score, euler_maruyama
from diffolio.process.wkb import stencil_slope, transport_slope
from diffolio.registry import Tool, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result

LARGEST = 64  # dimensions; the sweep carries a D x D Hessian and differentiates the score three times


@method(paper="2403.11262", family="science", works_on={"sd", "sdxl", "pixart"})
@dataclass(frozen=True)
class FeynmanPath(Tool):
    """Likelihood of a score model's ODE sampler and how it changes with sampling noise; on pipelines, sampling at noise h.

    ``FeynmanPath()(score, sde, x)`` takes ``score(x (B, D), t) -> (B, D)`` (a function that keeps float64, or a module), an
    SDE of ``process/sde.py`` and points x (N, D); ``run`` samples a pipeline at h = 0 and at ``h`` from the same seeds, and with
    an image gives the likelihood of its latents (order 0: a slope would need a D x D Hessian).
    """

    h: float = knob(0.1, at_least=0.0, means="sampling noise: 0 the ODE (DDIM), 1 the SDE (DDPM); eta is its root")
    order: int = knob(1, choices=(0, 1), means="0: likelihood of the ODE; 1: also its slope in h (low dimensions only)")
    method: str = knob("transport", choices=("transport", "stencil"), means="how derivatives of log q are found")
    steps: int = knob(64, at_least=4, means="Runge-Kutta steps along a path")
    stencil: float = knob(0.01, above=0.0, means="distance of the stencil's points")
    bound: float = knob(5.0, above=0.0, means="paths that leave [-bound, bound] are dropped and counted")

    def __call__(self, score: Score | nn.Module, sde: SDE, x: Tensor) -> PathNLL:
        return path_nll(score, sde, x, self.order, self.method, self.steps, stencil=self.stencil, bound=self.bound)

    def run(self, job: Job) -> Result:
        """Pictures at h = 0 and at ``h``, the same initial noise and generators."""
        from diffolio.results import Result

        self.check(job.model)
        images, seconds = {}, {}
        for h in (0.0, self.h):
            started = time.perf_counter()
            with h_sampling(job.model, h):
                images[f"h = {h:g}"] = job.sample()
            seconds[f"seconds h = {h:g}"] = time.perf_counter() - started
        difference = float((images[f"h = {self.h:g}"] - images["h = 0"]).square().mean().sqrt())
        numbers = {"eta": math.sqrt(self.h), "rms_difference": difference, **seconds}
        if job.image is not None:
            latents = job.model.encode(job.image[None])
            numbers["bits_per_dimension_of_image"] = float(
                latent_bits(job.model, latents, job.prompts[:1], self.steps, seed=job.seed)
            )
        return Result(images, numbers, {"h": self.h}, job.prompts)


@dataclass(frozen=True)
class PathNLL:
    """Per point (N,), float64; NaN where a path was dropped: ``nll`` in nats, ``slope`` d NLL/dh at h = 0 (None at order 0),
    ``error`` of the slope (at order 0 of the nll) when the grid is halved."""

    nll: Tensor
    slope: Tensor | None
    error: Tensor

    @property
    def kept(self) -> Tensor:
        """Points whose path stayed finite and inside the bound (N,) bool."""
        return self.nll.isfinite()

    @property
    def dropped(self) -> int:
        return int((~self.kept).sum())

    @property
    def radius(self) -> Tensor:
        """The h below which the first order is to be trusted at each point: |h slope| < 0.1."""
        if self.slope is None:
            raise BadInput("order 0 has no slope in h, hence no radius: use order=1")
        return 0.1 / self.slope.abs()

    def at(self, h: float) -> Tensor:
        """First-order NLL at h; trust it inside ``radius`` only."""
        if self.slope is None:
            raise BadInput("order 0 has no slope in h: use order=1")
        return self.nll + h * self.slope

    def as_dict(self) -> dict[str, Any]:
        kept = self.kept
        found: dict[str, Any] = {"points": len(kept), "dropped": self.dropped, "nll": float(self.nll[kept].mean())}
        if self.slope is not None:
            radius = self.radius[kept]
            found |= {"slope": float(self.slope[kept].mean()), "largest_error": float(self.error[kept].max())}
            found |= {"radius_median": float(radius.median()), "radius_5_percent": float(radius.quantile(0.05))}
        return found

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self.as_dict().items())


def path_nll(
    score: Score | nn.Module,
    sde: SDE,
    x: Tensor,
    order: int = 1,
    method: str = "transport",
    steps: int = 64,
    *,
    stencil: float = 0.01,
    bound: float = 5.0,
) -> PathNLL:
    """NLL of the ODE sampler at x (N, D) of time ``sde.first``, and its slope in h. Computed in float64."""
    if not isinstance(sde, SDE):
        raise Unsupported(
            f"{type(sde).__name__} is no continuous-time schedule: give an SDE of diffolio.process.sde, such as Simple()"
        )
    if x.ndim != 2 or len(x) == 0 or not bool((x.abs() <= bound).all()):
        outside = int((~(x.abs() <= bound)).any(-1).sum()) if x.ndim == 2 else 0
        raise BadInput(
            f"points of shape {tuple(x.shape)}, {outside} outside [-{bound:g}, {bound:g}]: give (N, D) inside, or a larger bound"
        )
    if order == 1 and x.shape[1] > LARGEST:
        raise BadInput(f"order=1 in {x.shape[1]} dimensions: it needs {LARGEST} or less; order=0 has no such limit")
    if isinstance(score, nn.Module):
        score = copy.deepcopy(score).double().requires_grad_(False)
    x = x.double()
    nll, end, kept = follow(score, sde, x, steps, bound)
    if order == 0:
        coarse, _, _ = follow(score, sde, x, steps // 2, bound)
        return PathNLL(nll.where(kept, math.nan), None, (nll - coarse).abs().where(kept, math.nan))
    if method == "transport":
        fine, coarse = (transport_slope(score, sde, end, n) for n in (steps, steps // 2))
    else:
        fine, coarse = (stencil_slope(score, sde, x, n, stencil) for n in (steps, steps // 2))
    kept = kept & fine.isfinite()
    return PathNLL(*(value.where(kept, math.nan) for value in (nll, fine, (fine - coarse).abs())))


def follow(score: Score, sde: SDE, x: Tensor, steps: int, bound: float) -> tuple[Tensor, Tensor, Tensor]:
    """The ODE from x to the prior: (NLL (N,), x_T (N, D), whether the path stayed finite and inside (N,))."""
    inside = torch.ones(len(x), dtype=torch.bool)

    def watch(state: tuple[Tensor, ...]) -> None:
        inside.logical_and_((state[0].abs() <= bound).all(-1))

    log_density, end = flow_log_density(score, sde, x, sde.grid(steps), watch)
    return -log_density, end, inside & log_density.isfinite()


def h_sample(score: Score, sde: SDE, n: int, h: float, steps: int = 1000, *, seed: int = 0, dimensions: int = 2) -> Tensor:
    """n points (n, D) float32 of the sampler at noise h; equal seeds share the initial noise and the draws at every h."""
    if n < 1:
        raise BadInput(f"{n} samples: ask for at least one")
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(n, dimensions, generator=generator)
    found = euler_maruyama(score, sde, start, h, steps, generator)
    if not bool(found.isfinite().all()):
        lost = int((~found.isfinite()).any(1).sum())
        raise NotFinite(f"{lost} of {n} samples are not finite after {steps} steps at h={h:g}: use more steps")
    return found


def w2_curve(
    score: Score, sde: SDE, reference: Tensor, hs: Sequence[float], trials: int = 10, steps: int = 1000, *, seed: int = 0
) -> Tensor:
    """Exact W2 between ``reference`` (N, D) and as many samples, for each h and trial: (len(hs), trials)."""
    n, d = reference.shape
    rows = [
        [wasserstein2(reference, h_sample(score, sde, n, h, steps, seed=seed + i, dimensions=d)) for i in range(trials)]
        for h in hs
    ]
    return torch.tensor(rows, dtype=torch.float64)


def latent_bits(model: Model, latents: Tensor, prompts: list[str], steps: int = 64, *, seed: int = 0, probes: int = 1) -> Tensor:
    """Bits per dimension of clean latents (B, C, h, w) under the pipeline's ODE without guidance, h = 0: (B,).

    Estimated with ``probes`` random directions; ``steps`` of the schedule's timesteps, even in log-SNR; two forwards each.
    """
    shares = getattr(model.scheduler, "alphas_cumprod", None)
    if shares is None:
        raise Unsupported(
            f"{type(model.scheduler).__name__} of {model.name} has no alphas_cumprod: variance-preserving models only"
        )
    ratio = (shares / (1 - shares)).log()
    even = torch.linspace(float(ratio[0]), float(ratio[-1]), steps + 1, dtype=ratio.dtype)
    times = torch.unique(torch.searchsorted(-ratio, -even).clamp(max=len(ratio) - 1))
    condition = model.condition(prompts)
    generator = torch.Generator().manual_seed(seed)
    found = schedule_log_density(
        lambda x, i: model.predict(x, times[i], condition).noise, shares[times].sqrt(), latents, generator, probes
    )
    return bits_per_dimension(found, latents[0].numel())


@contextmanager
def h_sampling(model: Model, h: float) -> Iterator[Model]:
    """Within the block the pipeline samples with DDIM's eta = sqrt(h), drawing from the pipeline's own generators."""
    if h < 0:
        raise BadInput(f"h={h}: a noise strength is zero or above")
    pipeline, scheduler = model.pipeline, model.pipeline.scheduler
    if not hasattr(pipeline, "prepare_extra_step_kwargs") or "eta" not in inspect.signature(scheduler.step).parameters:
        raise Unsupported(
            f"{type(scheduler).__name__} of {model.name} has no eta: set a DDIMScheduler (variance-preserving models only)"
        )
    original = pipeline.prepare_extra_step_kwargs

    def prepare(generator: Any, eta: float) -> dict[str, Any]:
        return {**original(generator, eta), "eta": math.sqrt(h)}

    pipeline.prepare_extra_step_kwargs = prepare
    try:
        yield model
    finally:
        del pipeline.prepare_extra_step_kwargs
