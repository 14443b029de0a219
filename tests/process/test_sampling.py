"""Sampling of any tensor through diffusers' schedulers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from diffolio.errors import BadInput, NotFinite
from diffolio.process import alpha_sigma, generators, sample
from diffolio.process.sampling import logit_normal, noise, stratified

MEAN, STD = 1.5, 0.5


def of_a_gaussian(scheduler):  # type: ignore[no-untyped-def]
    """The exact denoiser of data N(MEAN, STD^2) in each coordinate."""

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = alpha_sigma(scheduler, t, x.dim())
        predicted = sigma * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        if "FlowMatch" not in type(scheduler).__name__:
            return predicted
        return predicted - (x - sigma * predicted) / alpha.clamp_min(1e-6)

    return denoise


@pytest.mark.parametrize("scheduler", [DDIMScheduler(clip_sample=False), DDPMScheduler(clip_sample=False)])
@pytest.mark.parametrize("shape", [(4000, 3), (200, 5, 4)])
def test_samples_have_the_datas_distribution(scheduler, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    x = sample(of_a_gaussian(scheduler), noise(shape, generator), scheduler, 100, generator)
    assert x.shape == shape
    assert abs(float(x.mean()) - MEAN) < 0.05
    assert abs(float(x.std()) - STD) < 0.04


def test_flow_matching_samples_points() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    x = sample(of_a_gaussian(scheduler), noise((4000, 2), torch.Generator().manual_seed(0)), scheduler, 100)
    assert abs(float(x.mean()) - MEAN) < 0.05
    assert abs(float(x.std()) - STD) < 0.04


def test_euler_gets_its_scaled_input() -> None:
    """For data N(0, 1) the denoiser of the variance-preserving input scaled by Euler is x -> sigma_t x."""
    scheduler = EulerDiscreteScheduler(timestep_spacing="trailing")
    reference = DDIMScheduler()
    start = noise((4000, 2), torch.Generator().manual_seed(0))
    x = sample(lambda z, t: alpha_sigma(reference, t.round(), 2)[1] * z, start, scheduler, 60)
    assert abs(float(x.std()) - 1) < 0.05


def test_each_sample_has_its_own_noise() -> None:
    together = noise((3, 4, 2), generators(7, 3))
    assert torch.equal(together[1:2], noise((1, 4, 2), generators(8, 1)))
    assert torch.equal(noise((2, 4), generators([9, 5], 2))[1:], noise((1, 4), generators(5, 1)))
    with pytest.raises(BadInput, match="2 seeds for 3"):
        generators([1, 2], 3)
    with pytest.raises(BadInput, match="2 generators for a batch of 3"):
        noise((3, 4), generators(0, 2))


def test_after_may_change_each_step() -> None:
    scheduler = DDIMScheduler(clip_sample=False)
    seen = []

    def pin(step: int, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        seen.append((step, int(t)))
        return torch.cat([torch.zeros_like(x[:, :1]), x[:, 1:]], 1)

    x = sample(of_a_gaussian(scheduler), noise((5, 2), torch.Generator().manual_seed(0)), scheduler, 4, after=pin)
    assert bool((x[:, 0] == 0).all())
    assert seen == [(i, int(t)) for i, t in enumerate(scheduler.timesteps)]


def test_bad_input_and_blow_ups() -> None:
    scheduler, x = DDIMScheduler(), torch.zeros(2, 2)
    with pytest.raises(BadInput, match="steps"):
        sample(lambda z, t: z, x, scheduler, 0)
    with pytest.raises(NotFinite, match="NaN"):
        sample(lambda z, t: z * torch.nan, x, scheduler, 2)


def test_stratified_numbers_fall_one_into_every_part():
    drawn = stratified(64, torch.Generator().manual_seed(3))
    assert torch.equal((drawn * 64).floor(), torch.arange(64.0))
    assert torch.equal(drawn, stratified(64, torch.Generator().manual_seed(3)))
    assert (drawn * 64 % 1).std() > 0.2  # and anywhere within it


def test_logit_normal_times_are_stratified():
    times = logit_normal(1000, torch.Generator().manual_seed(1), spread=1.3)
    expected = torch.special.ndtri((torch.arange(1000) + 0.5) / 1000) * 1.3
    assert (torch.logit(times) - expected)[50:-50].abs().max() < 0.05
    assert (times > 0).all() and (times < 1).all()
    shifted = logit_normal(1000, torch.Generator().manual_seed(1), spread=1.3, shift=3.0)
    assert torch.allclose(shifted, 3 * times / (1 + 2 * times))
