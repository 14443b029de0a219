"""DDIM inversion against the explicit formula in float64, and as the inverse of the scheduler's own step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffolio.errors import BadInput, NotFinite, UnknownName, Unsupported
from diffolio.process import Prediction, alpha_sigma, ddim_step, ddim_timesteps, invert, reconstruct
from diffolio.process.inversion import below, residuals

SCHEDULE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


@dataclass
class Toy:
    """A smooth denoiser: the exact one of data N(m, 0.5^2), m the condition, bent by a little sine."""

    scheduler: Any = field(default_factory=lambda: DDIMScheduler(**SCHEDULE))
    bend: float = 0.05
    calls: list[tuple[int, Tensor]] = field(default_factory=list)

    def predict(self, latents: Tensor, t: Any, condition: Any, guidance_scale: float | None = None) -> Prediction:
        self.calls.append((int(t), latents))
        alpha, sigma = (level.to(latents) for level in alpha_sigma(self.scheduler, t))
        noise = sigma * (latents - alpha * condition) / (alpha**2 * 0.25 + sigma**2) + self.bend * sigma * torch.sin(3 * latents)
        if self.scheduler.config.prediction_type == "v_prediction":
            noise = alpha * noise - sigma * (latents - sigma * noise) / alpha
        return Prediction(noise, latents, alpha, sigma, self.scheduler.config.prediction_type)


def data() -> Tensor:
    return 0.5 + 0.5 * torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_step_is_the_explicit_formula() -> None:
    z, eps = np.random.default_rng(0).normal(size=(2, 2, 4, 3, 3))
    a, b = 0.83, 0.37
    want = np.sqrt(b) * (z - np.sqrt(1 - a) * eps) / np.sqrt(a) + np.sqrt(1 - b) * eps
    got = ddim_step(torch.from_numpy(z), torch.from_numpy(eps), a, b)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-13)
    back = ddim_step(got, torch.from_numpy(eps), b, a)
    np.testing.assert_allclose(back.numpy(), z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_each_step_up_is_the_inverse_of_the_schedulers_step_down(spacing: str) -> None:
    scheduler = DDIMScheduler(**SCHEDULE | {"timestep_spacing": spacing, "steps_offset": int(spacing == "leading")})
    scheduler.set_timesteps(20)
    z, eps = (torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in (0, 1))
    table = scheduler.alphas_cumprod.double()
    for t in (int(t) for t in scheduler.timesteps):
        down = scheduler.step(eps, t, z).prev_sample
        t_prev = below(scheduler, t, 20)
        up = ddim_step(down, eps, table[t_prev] if t_prev >= 0 else scheduler.final_alpha_cumprod, table[t])
        torch.testing.assert_close(up, z, rtol=1e-5, atol=1e-5)  # the scheduler takes roots in float32


def test_the_whole_inversion_is_the_published_loop_in_float64() -> None:
    """Written out once more with numpy: the network reads z_{t-1} at the new timestep t; A_0 is final_alpha_cumprod."""
    toy, z0, steps = Toy(), data(), 50
    trajectory = invert(toy, z0, 0.5, steps)
    levels = toy.scheduler.alphas_cumprod.double().numpy()
    z, previous = z0.numpy(), float(toy.scheduler.final_alpha_cumprod)
    assert trajectory.timesteps == [1 + 20 * i for i in range(steps)]
    for i, t in enumerate(trajectory.timesteps):
        a, s = np.sqrt(levels[t]), np.sqrt(1 - levels[t])
        eps = s * (z - a * 0.5) / (a**2 * 0.25 + s**2) + 0.05 * s * np.sin(3 * z)
        z = a * (z - np.sqrt(1 - previous) * eps) / np.sqrt(previous) + s * eps
        previous = levels[t]
        np.testing.assert_allclose(trajectory.latents[i + 1].numpy(), z, rtol=1e-6, atol=1e-6)
    assert [t for t, _ in toy.calls] == trajectory.timesteps
    assert torch.equal(toy.calls[0][1], z0)


def test_clean_latents_are_at_final_alpha_cumprod() -> None:
    """With set_alpha_to_one the first step starts from exactly clean data: A_0 = 1."""
    toy = Toy(DDIMScheduler(**SCHEDULE | {"set_alpha_to_one": True}))
    z0 = data()
    trajectory = invert(toy, z0, 0.5, 50)
    alpha, sigma = (level.double() for level in alpha_sigma(toy.scheduler, 1))
    eps = toy.predict(z0, 1, 0.5).noise
    torch.testing.assert_close(trajectory.latents[1], alpha * z0 + sigma * eps, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_sampling_from_the_inversion_gives_the_original_back(prediction_type: str) -> None:
    z0 = data()
    errors = []
    for steps in (20, 60):
        toy = Toy(DDIMScheduler(**SCHEDULE, prediction_type=prediction_type))
        errors.append(float((reconstruct(toy, invert(toy, z0, 0.5, steps)) - z0).square().mean().sqrt()))
    assert errors[1] < 0.05
    assert errors[1] < errors[0] / 2


def test_picard_retraces_exactly_where_plain_inversion_does_not() -> None:
    z0, toy = data(), Toy()
    plain, solved = invert(toy, z0, 0.5, 12), invert(toy, z0, 0.5, 12, solver="picard", rounds=40, tol=1e-14)
    assert residuals(toy, plain).shape == (12, 2)
    assert float(residuals(toy, solved).max()) < 1e-6 * float(residuals(toy, plain).max())
    plain_error, solved_error = ((reconstruct(toy, path) - z0).square().mean() for path in (plain, solved))
    assert float(solved_error) < 1e-6 * float(plain_error)


def test_picard_stops_each_sample_alone() -> None:
    """A sample solved beside another one is the same as alone."""
    z0, toy = data(), Toy()
    z0[1] *= 4
    both = invert(toy, z0, 0.5, 6, solver="picard", rounds=12, tol=1e-5)
    alone = invert(toy, z0[:1], 0.5, 6, solver="picard", rounds=12, tol=1e-5)
    torch.testing.assert_close(both.noise[:1], alone.noise, rtol=1e-12, atol=1e-12)
    toy.calls.clear()
    invert(toy, z0, 0.5, 6, solver="picard", rounds=12, tol=1e-2)
    few = len(toy.calls)
    toy.calls.clear()
    invert(toy, z0, 0.5, 6, solver="picard", rounds=12, tol=0.0)
    assert few < len(toy.calls) == 6 * 13


def test_a_method_brings_its_own_solver() -> None:
    toy, seen = Toy(), []

    def mine(model: Any, z_prev: Tensor, t_prev: int, t: int, condition: Any, z_init: Tensor) -> Tensor:
        seen.append((t_prev, t))
        return z_init + 1

    path = invert(toy, data(), 0.5, 4, solver=mine)
    assert seen == [(-249, 1), (1, 251), (251, 501), (501, 751)]
    torch.testing.assert_close(path.latents[1] - 1, invert(toy, data(), 0.5, 4).latents[1])


def test_timesteps_leave_the_scheduler_alone() -> None:
    scheduler = DDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(7)
    before = scheduler.timesteps.clone()
    assert ddim_timesteps(scheduler, 4) == [1, 251, 501, 751]
    assert torch.equal(scheduler.timesteps, before)


def test_reconstruction_can_be_edited_on_the_way() -> None:
    toy, path = Toy(), invert(Toy(), data(), 0.5, 5)
    seen = []
    result = reconstruct(toy, path, after=lambda step, t, z: seen.append((step, t)) or z * 0)
    assert seen == [(0, 801), (1, 601), (2, 401), (3, 201), (4, 1)]
    assert float(result.abs().max()) == 0


@pytest.mark.parametrize("scheduler", [FlowMatchEulerDiscreteScheduler(), EulerDiscreteScheduler(), DDPMScheduler()])
def test_other_schedulers_are_refused(scheduler: Any) -> None:
    with pytest.raises(Unsupported, match="DDIM"):
        invert(Toy(scheduler), data(), 0.5, 5)


def test_clipping_cannot_be_inverted() -> None:
    with pytest.raises(Unsupported, match="clip_sample"):
        invert(Toy(DDIMScheduler()), data(), 0.5, 5)


def test_bad_input() -> None:
    toy = Toy()
    for steps in (0, 1001):
        with pytest.raises(BadInput, match="1 to 1000"):
            invert(toy, data(), 0.5, steps)
    with pytest.raises(UnknownName, match="picard"):
        invert(toy, data(), 0.5, 5, solver="pickard")
    with pytest.raises(BadInput, match="round"):
        invert(toy, data(), 0.5, 5, solver="picard", rounds=0)
    path = invert(toy, data(), 0.5, 5)
    with pytest.raises(BadInput, match="5"):
        reconstruct(toy, path, steps=6)
    with pytest.raises(BadInput, match="steps and a condition"):
        reconstruct(toy, path.noise, 0.5)
    with pytest.raises(NotFinite, match="timestep 1"):
        invert(toy, data() * torch.nan, 0.5, 5)
