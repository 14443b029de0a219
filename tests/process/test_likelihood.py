"""Likelihood of the ODE sampler: exact for points, unbiased for tensors of any shape."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from diffolio.errors import BadInput, NotFinite
from diffolio.process.likelihood import bits_per_dimension, divergence, flow_log_density, schedule_log_density
from diffolio.process.sde import Cosine, Simple
from diffolio.worlds.points import GaussianMixture


def test_divergence_is_exact():
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value, div = divergence(lambda x, t: t * x**3 + x.flip(1))(x, torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(value, 2 * x**3 + x.flip(1))
    torch.testing.assert_close(div, 6 * (x**2).sum(1) + 1, msg="the middle coordinate meets itself in the flip")


@pytest.mark.parametrize("sde", [Simple(), Cosine()], ids=lambda sde: sde.name)
def test_an_exact_score_gives_the_true_density(sde):
    means = torch.tensor([[-0.8, 0.2], [0.6, -0.3]], dtype=torch.float64)
    mixture = GaussianMixture(means, torch.tensor([0.25, 0.4]).double(), torch.tensor([0.3, 0.7]).double())
    x = mixture.sample(6, 0)
    first = torch.tensor(sde.first, dtype=torch.float64)
    found, end = flow_log_density(lambda x, t: mixture.score(x, sde.alpha(t), sde.sigma(t)), sde, x, sde.grid(60))
    # The prior N(0, I) stands for the data noised up to the last time: that leaves about alpha(last).
    torch.testing.assert_close(found, mixture.log_density(x, sde.alpha(first), sde.sigma(first)), atol=0.02, rtol=0)
    assert end.shape == x.shape


def schedule(levels=200):
    sde = Cosine()
    return sde.alpha(sde.grid(levels))


def test_pictures_of_a_known_gaussian_have_its_density():
    """An isotropic Gaussian's noise network is linear, so the estimate is exact up to Heun's rule, which is of second order."""
    variance, errors = 0.3, []
    x = math.sqrt(variance) * torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for levels in (100, 200):
        alphas = schedule(levels)
        sigmas2 = 1 - alphas**2

        def noise(x, i, alphas=alphas, sigmas2=sigmas2):
            return sigmas2[i].sqrt() * x / (variance * alphas[i] ** 2 + sigmas2[i])

        found = schedule_log_density(noise, alphas, x, torch.Generator().manual_seed(1))
        level = float(variance * alphas[0] ** 2 + sigmas2[0])
        expected = -(x**2).flatten(1).sum(1) / (2 * level) - 16 * math.log(2 * math.pi * level)
        errors.append(float(bits_per_dimension(found - expected, 32).abs().max()))
    assert errors[1] < 0.006, "bits per dimension"
    assert 3 < errors[0] / errors[1] < 5


def test_random_directions_are_unbiased_where_they_are_not_exact():
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    alphas = schedule(60)
    x = torch.tensor([[0.2, -0.5]], dtype=torch.float64)
    spread = [a**2 * covariance + (1 - a**2) * torch.eye(2, dtype=torch.float64) for a in alphas]

    def noise(x, i):
        return (1 - alphas[i] ** 2).sqrt() * torch.linalg.solve(spread[i], x.T).T

    true = MultivariateNormal(torch.zeros(2, dtype=torch.float64), spread[0]).log_prob(x)
    one = schedule_log_density(noise, alphas, x, torch.Generator().manual_seed(0))
    many = schedule_log_density(noise, alphas, x, torch.Generator().manual_seed(0), probes=256)
    assert abs(float(one - true)) > 0.1, "one sign vector does not see the whole of an anisotropic trace"
    assert abs(float(many - true)) < 0.2 * abs(float(one - true))


def test_bad_input():
    with pytest.raises(BadInput, match="falling"):
        schedule_log_density(lambda x, i: x, torch.tensor([0.1, 0.9]), torch.zeros(1, 2), torch.Generator())
    with pytest.raises(NotFinite, match="not finite"):
        schedule_log_density(lambda x, i: x * torch.inf, torch.tensor([0.9, 0.1]), torch.ones(1, 2), torch.Generator())
