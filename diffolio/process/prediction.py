"""What a denoiser says of noisy data, whatever it was trained to give.

Noisy data is x = alpha * clean + sigma * noise. Variance-preserving models (Ho et al., 2020; Rombach et al., 2022) have
alpha^2 + sigma^2 = 1; flow models (Lipman et al., 2023; Esser et al., 2024) have alpha = 1 - s and sigma = s. A network gives
one of

    epsilon        noise
    sample         clean
    v_prediction   alpha * noise - sigma * clean        (Salimans and Ho, 2022)
    flow           noise - clean
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, Unsupported, choose

KINDS = ("epsilon", "v_prediction", "sample", "flow")


@dataclass(frozen=True)
class Prediction:
    """A network's output with what it was given. Any shape; alpha and sigma broadcast over it.

    ``raw`` and ``latents`` (B, ...), ``alpha`` and ``sigma`` scalars or (B, 1, ...). Where a conversion divides by an alpha
    of zero (pure noise says nothing of clean data unless the kind is v_prediction, sample or flow), BadInput is raised.
    """

    raw: Tensor
    latents: Tensor
    alpha: Tensor
    sigma: Tensor
    kind: str

    def __post_init__(self) -> None:
        choose("prediction kind", self.kind, KINDS)

    @property
    def noise(self) -> Tensor:
        """The noise in the latents."""
        x, alpha, sigma, raw = self.latents, self.alpha, self.sigma, self.raw
        if self.kind == "epsilon":
            return raw
        if self.kind == "sample":
            return (x - alpha * raw) / _not_zero(sigma, "sigma", self.kind, "noise")
        if self.kind == "flow":
            return (x + alpha * raw) / _not_zero(alpha + sigma, "alpha + sigma", self.kind, "noise")
        return (alpha * raw + sigma * x) / (alpha**2 + sigma**2)

    @property
    def clean(self) -> Tensor:
        """The estimate of the clean latents."""
        x, alpha, sigma, raw = self.latents, self.alpha, self.sigma, self.raw
        if self.kind == "sample":
            return raw
        if self.kind == "epsilon":
            return (x - sigma * raw) / _not_zero(alpha, "alpha", self.kind, "clean latents")
        if self.kind == "flow":
            return (x - sigma * raw) / _not_zero(alpha + sigma, "alpha + sigma", self.kind, "clean latents")
        return (alpha * x - sigma * raw) / (alpha**2 + sigma**2)

    @property
    def velocity(self) -> Tensor:
        """noise - clean for a flow, alpha * noise - sigma * clean for every other kind."""
        return self.raw_as("flow" if self.kind == "flow" else "v_prediction")

    def raw_as(self, kind: str) -> Tensor:
        """What a network of another ``kind`` would have given."""
        choose("prediction kind", kind, KINDS)
        if kind == self.kind:
            return self.raw
        if kind == "epsilon":
            return self.noise
        if kind == "sample":
            return self.clean
        return self.noise - self.clean if kind == "flow" else self.alpha * self.noise - self.sigma * self.clean


def raw_from(
    kind: str, *, latents: Tensor, noise: Tensor | None = None, clean: Tensor | None = None, alpha: Tensor, sigma: Tensor
) -> Tensor:
    """What a network of ``kind`` would give if it meant this ``noise`` or this ``clean`` (exactly one of them)."""
    if noise is not None and clean is None:
        return Prediction(noise, latents, alpha, sigma, "epsilon").raw_as(kind)
    if clean is not None and noise is None:
        return Prediction(clean, latents, alpha, sigma, "sample").raw_as(kind)
    raise BadInput("raw_from needs exactly one of noise and clean: the other follows from the latents")


def add_noise(clean: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x = alpha * clean + sigma * noise."""
    return alpha * clean + sigma * noise


def alpha_sigma(scheduler: Any, t: Tensor | float, dims: int = 4) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) at timesteps ``t``, scalar or (B,), shaped (B, 1, ...) to broadcast over data of ``dims`` dimensions.

    For schedulers with ``alphas_cumprod`` whose latents are variance-preserving (DDIM, DDPM, PNDM, DPM-Solver, UniPC; t an
    integer timestep) and for flow matching (t = 1000 s). Unsupported for Euler-like ones, whose latents are scaled otherwise.
    """
    t = torch.as_tensor(t).reshape(-1)
    if is_flow(scheduler):
        s = t.to(torch.float64 if t.dtype == torch.float64 else torch.float32) / scheduler.config.num_train_timesteps
        alpha, sigma = 1 - s, s
    else:
        table = alphas_cumprod(scheduler)
        if bool((t < 0).any()) or bool((t >= len(table)).any()):
            raise BadInput(f"timestep {t.tolist()} is outside the schedule's 0 to {len(table) - 1}")
        if t.is_floating_point() and bool((t != t.round()).any()):
            raise BadInput(f"timestep {t.tolist()} is not whole: this schedule has {len(table)} whole timesteps")
        at_t = table.to(t.device)[t.long()]
        alpha, sigma = at_t.sqrt(), (1 - at_t).sqrt()
    shape = (-1,) + (1,) * (dims - 1)
    return alpha.reshape(shape), sigma.reshape(shape)


def alphas_cumprod(scheduler: Any) -> Tensor:
    """The table of alpha^2 (T,) of a variance-preserving scheduler; Unsupported for any other."""
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None or is_flow(scheduler):
        raise Unsupported(
            f"{type(scheduler).__name__} has no alphas_cumprod: use a variance-preserving scheduler such as DDIMScheduler"
        )
    if _scales_its_input(scheduler):
        raise Unsupported(
            f"{type(scheduler).__name__} keeps latents in another scale: use DDIMScheduler.from_config(scheduler.config)"
        )
    return table  # type: ignore[no-any-return]


def is_flow(scheduler: Any) -> bool:
    """Whether the scheduler is of flow matching."""
    return "FlowMatch" in type(scheduler).__name__ or getattr(scheduler.config, "prediction_type", "") == "flow_prediction"


def kind_of(scheduler: Any) -> str:
    """The kind of prediction that a scheduler expects."""
    if is_flow(scheduler):
        return "flow"
    return choose("prediction kind", getattr(scheduler.config, "prediction_type", "epsilon"), KINDS)


def _scales_its_input(scheduler: Any) -> bool:
    """Euler, Heun, LMS and KDPM2 samplers carry x / alpha, which starts with a deviation far above one."""
    return hasattr(scheduler, "is_scale_input_called") or float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1.0 + 1e-6


def _not_zero(value: Tensor, name: str, kind: str, wanted: str) -> Tensor:
    if bool((torch.as_tensor(value) == 0).any()):
        raise BadInput(
            f"{wanted} cannot be told from a prediction of kind {kind!r} where {name} is zero: "
            "leave that timestep out (a schedule without zero terminal SNR has none)"
        )
    return value
