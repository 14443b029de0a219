"""Continuous-time SDEs: schedules, the sampler family, the solver."""

import math

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.process.sde import Cosine, Simple, euler_maruyama, find_sde, flow, solve

SDES = [Simple(), Cosine()]


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: sde.name)
def test_drift_is_the_slope_of_log_alpha_and_time_its_inverse(sde):
    t = torch.linspace(sde.first, sde.last, 50, dtype=torch.float64).requires_grad_()
    slope = torch.autograd.grad(sde.log_alpha(t).sum(), t)[0]
    torch.testing.assert_close(sde.f(t), slope)
    torch.testing.assert_close(sde.g2(t), -2 * slope)
    torch.testing.assert_close(sde.time(sde.log_alpha(t)), t, atol=1e-9, rtol=0)
    torch.testing.assert_close(sde.alpha(t) ** 2 + sde.sigma(t) ** 2, torch.ones_like(t))


@pytest.mark.parametrize("sde", SDES, ids=lambda sde: sde.name)
def test_the_grid_is_even_in_log_snr_and_ends_exactly(sde):
    times = sde.grid(20)
    assert len(times) == 21
    assert float(times[0]) == sde.first
    assert float(times[-1]) == sde.last
    steps = (sde.log_alpha(times) - sde.sigma(times).log()).diff()
    torch.testing.assert_close(steps, steps.mean().expand(20))
    assert float(sde.grid(4, first=0.3)[0]) == 0.3


def test_noise_is_added_per_sample():
    clean, noise = torch.ones(2, 3, 4), torch.full((2, 3, 4), 2.0)
    t = torch.tensor([0.1, 0.7])
    noisy = Simple().add_noise(clean, noise, t)
    expected = torch.exp(-5 * t**2) + 2 * (1 - torch.exp(-10 * t**2)).sqrt()
    torch.testing.assert_close(noisy[:, 0, 0], expected)


def gaussian_score(sde, variance):
    return lambda x, t: -x / (variance * sde.alpha(t) ** 2 + sde.sigma(t) ** 2)


def test_with_an_exact_score_every_h_has_the_same_marginal():
    """The identity of the family; the ODE beside it is exact sample by sample. Any shape."""
    sde, n = Simple(), 20000
    start = torch.randn(n, 1, 1, generator=torch.Generator().manual_seed(0))
    for h in (0.0, 0.3, 1.0):
        x = euler_maruyama(gaussian_score(sde, 0.25), sde, start, h, 400, torch.Generator().manual_seed(1))
        assert x.shape == (n, 1, 1)
        assert float(x.var()) == pytest.approx(0.25, rel=0.04), h
    ode = euler_maruyama(gaussian_score(sde, 0.25), sde, start, 0.0, 400, torch.Generator().manual_seed(2))
    assert float((ode / start).std()) < 1e-4, "a linear flow scales every sample alike, and no noise enters"


def test_equal_generators_share_their_draws_at_every_h():
    """Two runs that differ in h only by an epsilon differ by an epsilon."""
    sde, start = Simple(), torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    runs = [
        euler_maruyama(gaussian_score(sde, 0.3), sde, start, h, 50, torch.Generator().manual_seed(1)) for h in (0.2, 0.2000001)
    ]
    assert 0 < float((runs[0] - runs[1]).abs().max()) < 1e-5


def test_the_solver_is_of_fourth_order_and_keeps_shapes():
    def field(t, state):
        return -state[0] * t, state[1] * 0 + t

    start = (torch.ones(2, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    errors, seen = [], []
    for n in (10, 20):
        end = solve(field, start, torch.linspace(0, 2, n + 1, dtype=torch.float64), lambda state: seen.append(state))
        assert end[0].shape == (2, 3)
        torch.testing.assert_close(end[1], torch.full((4,), 2.0, dtype=torch.float64))
        errors.append(float((end[0] - math.exp(-2)).abs().max()))
    assert 12 < errors[0] / errors[1] < 24
    assert len(seen) == 30


def test_the_probability_flow_of_a_gaussian_is_exact():
    sde = Cosine()
    velocity = flow(gaussian_score(sde, 0.25), sde)
    times = sde.grid(100)
    end = solve(lambda t, state: (velocity(state[0], t),), (torch.tensor([[0.3]], dtype=torch.float64),), times)[0]
    spread = (0.25 * sde.alpha(times[[0, -1]]) ** 2 + sde.sigma(times[[0, -1]]) ** 2).sqrt()
    assert float(end) == pytest.approx(float(0.3 * spread[1] / spread[0]), rel=1e-6)


def test_bad_input():
    with pytest.raises(BadInput, match="zero or above"):
        euler_maruyama(gaussian_score(Simple(), 1.0), Simple(), torch.zeros(1, 1), -0.1, 10, torch.Generator())
    with pytest.raises(UnknownName, match="cosine"):
        find_sde("cosin")
    assert find_sde("simple").name == "simple"
