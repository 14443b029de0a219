"""Conversions between kinds of prediction, and the noise levels of schedules."""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from diffolio.errors import BadInput, UnknownName, Unsupported
from diffolio.process import Prediction, add_noise, alpha_sigma, kind_of, raw_from
from diffolio.process.prediction import KINDS


def draw(kind: str) -> dict[str, torch.Tensor]:
    """Clean data, noise and levels in float64, each sample at its own level."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(3, 4, 5, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    sigma = torch.tensor([0.1, 0.6, 0.95], dtype=torch.float64).reshape(3, 1, 1, 1)
    alpha = 1 - sigma if kind == "flow" else (1 - sigma**2).sqrt()
    return {"clean": clean, "noise": noise, "alpha": alpha, "sigma": sigma}


def trained_target(kind: str, clean, noise, alpha, sigma):  # type: ignore[no-untyped-def]
    return {"epsilon": noise, "sample": clean, "v_prediction": alpha * noise - sigma * clean, "flow": noise - clean}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_network_tells_clean_and_noise(kind: str) -> None:
    true = draw(kind)
    x = add_noise(true["clean"], true["noise"], true["alpha"], true["sigma"])
    prediction = Prediction(trained_target(kind, **true), x, true["alpha"], true["sigma"], kind)
    torch.testing.assert_close(prediction.clean, true["clean"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(prediction.noise, true["noise"], rtol=1e-12, atol=1e-12)
    velocity = trained_target("flow" if kind == "flow" else "v_prediction", **true)
    torch.testing.assert_close(prediction.velocity, velocity, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_round_trips_between_kinds(kind: str, other: str) -> None:
    """An imperfect output, converted to another kind and back, is the same; alpha^2 + sigma^2 need not be one."""
    true = draw("flow" if "flow" in (kind, other) else kind)
    x = add_noise(true["clean"], true["noise"], true["alpha"], true["sigma"])
    raw = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there = Prediction(raw, x, true["alpha"], true["sigma"], kind)
    back = Prediction(there.raw_as(other), x, true["alpha"], true["sigma"], other)
    torch.testing.assert_close(back.raw_as(kind), raw, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(add_noise(there.clean, there.noise, true["alpha"], true["sigma"]), x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_raw_from_noise_and_from_clean_agree(kind: str) -> None:
    true = draw(kind)
    x = add_noise(true["clean"], true["noise"], true["alpha"], true["sigma"])
    levels = {"latents": x, "alpha": true["alpha"], "sigma": true["sigma"]}
    want = trained_target(kind, **true)
    torch.testing.assert_close(raw_from(kind, noise=true["noise"], **levels), want, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(raw_from(kind, clean=true["clean"], **levels), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_clean_estimate_is_that_of_diffusers(prediction_type: str) -> None:
    scheduler = DDIMScheduler(prediction_type=prediction_type, clip_sample=False)
    scheduler.set_timesteps(10)
    generator = torch.Generator().manual_seed(2)
    raw, x = (torch.randn(2, 4, 3, 3, generator=generator) for _ in range(2))
    t = scheduler.timesteps[4]
    prediction = Prediction(raw, x, *alpha_sigma(scheduler, t), kind_of(scheduler))
    torch.testing.assert_close(prediction.clean, scheduler.step(raw, t, x).pred_original_sample)


def test_levels_of_each_sample_broadcast() -> None:
    scheduler = DDIMScheduler()
    alpha, sigma = alpha_sigma(scheduler, torch.tensor([0, 500, 999]))
    assert alpha.shape == sigma.shape == (3, 1, 1, 1)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(3, 1, 1, 1))
    torch.testing.assert_close(alpha.flatten() ** 2, scheduler.alphas_cumprod[[0, 500, 999]])
    assert alpha_sigma(scheduler, 500, dims=2)[0].shape == (1, 1)
    noisy = scheduler.add_noise(x := torch.ones(3, 4, 2, 2), n := torch.full((3, 4, 2, 2), 2.0), torch.tensor([0, 500, 999]))
    torch.testing.assert_close(add_noise(x, n, alpha, sigma), noisy)


def test_levels_of_a_flow_are_the_schedulers_own() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(7)
    alpha, sigma = alpha_sigma(scheduler, scheduler.timesteps)
    torch.testing.assert_close(sigma.flatten(), scheduler.sigmas[:-1])
    torch.testing.assert_close(alpha + sigma, torch.ones_like(alpha))
    assert kind_of(scheduler) == "flow"


def test_dpm_solver_shares_the_levels_of_ddim() -> None:
    torch.testing.assert_close(alpha_sigma(DPMSolverMultistepScheduler(), 321), alpha_sigma(DDIMScheduler(), 321))


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler, HeunDiscreteScheduler])
def test_latents_of_another_scale_are_refused(scheduler) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Unsupported, match="DDIMScheduler"):
        alpha_sigma(scheduler(), 10)


@pytest.mark.parametrize("t", [-1, 1000, 10.5])
def test_timesteps_outside_the_schedule_are_refused(t: float) -> None:
    with pytest.raises(BadInput, match="timestep"):
        alpha_sigma(DDIMScheduler(), t)


def test_pure_noise_has_no_clean_estimate_from_its_noise() -> None:
    x = torch.randn(1, 4, 2, 2)
    zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    with pytest.raises(BadInput, match="alpha is zero"):
        _ = Prediction(x, x, zero, one, "epsilon").clean
    with pytest.raises(BadInput, match="sigma is zero"):
        _ = Prediction(x, x, one, zero, "sample").noise
    # The kinds that say something of clean data at every level need no division.
    assert torch.equal(Prediction(-x, x, zero, one, "v_prediction").clean, x)
    assert torch.equal(Prediction(x, x, zero, one, "sample").clean, x)
    torch.testing.assert_close(Prediction(0.5 * x, x, zero, one, "flow").clean, 0.5 * x)


def test_bad_kinds_and_sources_are_refused() -> None:
    x, one = torch.zeros(1), torch.ones(1)
    with pytest.raises(UnknownName, match="v_prediction"):
        Prediction(x, x, one, one, "v-prediction")
    with pytest.raises(UnknownName):
        Prediction(x, x, one, one, "sample").raw_as("score")
    with pytest.raises(BadInput, match="exactly one"):
        raw_from("epsilon", latents=x, alpha=one, sigma=one)
    with pytest.raises(BadInput, match="exactly one"):
        raw_from("epsilon", latents=x, noise=x, clean=x, alpha=one, sigma=one)
